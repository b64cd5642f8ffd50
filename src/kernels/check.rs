//! Kernels beside the portable ones, byte by byte.

use std::vec::Vec;

use super::{Io, KernelTable, Op};
use crate::weights::Weights;

/// Runs `op` with the portable kernels and with `table`, and says whether both wrote the same.
///
/// # Safety
///
/// [`KernelTable::supported`] is true on the core that calls this.
pub(crate) unsafe fn run(table: &KernelTable, op: &Op, weights: &Weights<'_>, io: &Io<'_>) -> bool {
    let portable = KernelTable::portable(table.path, || true);
    // An output may be one of the inputs.
    let before = contents(io);
    // SAFETY: every core can execute portable kernels.
    unsafe { portable.run(op, weights, io) };
    let expected = contents(io);
    cells(io).zip(before).for_each(|(cell, code)| cell.set(code));
    // SAFETY: the caller's promise.
    unsafe { table.run(op, weights, io) };
    cells(io).map(core::cell::Cell::get).eq(expected)
}

fn cells<'a>(io: &Io<'a>) -> impl Iterator<Item = &'a core::cell::Cell<i8>> {
    let tile = io.output.clone();
    let columns = tile.columns();
    let pixels = tile.rows().flat_map(move |y| columns.clone().map(move |x| (y, x)));
    pixels.flat_map(move |(y, x)| tile.pixel(y, x))
}

fn contents(io: &Io<'_>) -> Vec<i8> {
    cells(io).map(core::cell::Cell::get).collect()
}
