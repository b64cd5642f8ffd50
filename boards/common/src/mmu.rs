//! Page tables: every address stands for itself, with the rights its content needs.
//!
//! | what | rights |
//! | --- | --- |
//! | code | read, execute |
//! | constants, artefact | read |
//! | variables, stacks, free memory | read, write |
//! | guards of stacks | none |
//! | devices | read, write; not cached |
//!
//! The tables are built by the boot core with the MMU off, when memory behaves like a device:
//! only plain aligned accesses work. `aarch64-unknown-none` compiles to nothing else.

use core::cell::UnsafeCell;
use core::ops::Range;

use crate::{board, regions, stack};

/// Bytes of a page.
pub(crate) const PAGE_BYTES: usize = 4096;
/// Entries of a table.
const ENTRIES: usize = 512;
/// Tables there are: one of level 1, then as needed.
const TABLES_COUNT: usize = 16;

/// Attribute 0 is a device (nGnRE), attribute 1 memory cached for reads and writes.
pub(crate) const MAIR: u64 = 0xff04;
/// 39-bit addresses from level 1, 4 KiB pages, walks cached and shared, no upper half.
pub(crate) const TCR: u64 = 25 | 1 << 8 | 1 << 10 | 3 << 12 | 1 << 23;
/// The bits that are always one, and nothing on.
pub(crate) const SCTLR_OFF: u64 = 0x30d0_0800;
/// MMU, data and instruction caches, stack alignment; unaligned accesses are allowed.
pub(crate) const SCTLR_ON: u64 = SCTLR_OFF | 1 | 1 << 2 | 1 << 3 | 1 << 12;

const VALID: u64 = 1;
/// A table (levels 1 and 2), or a page (level 3).
const TABLE_OR_PAGE: u64 = 1 << 1;
const MEMORY: u64 = 1 << 2;
const READ_ONLY: u64 = 1 << 7;
const INNER_SHAREABLE: u64 = 3 << 8;
const ACCESSED: u64 = 1 << 10;
const NO_EXECUTE: u64 = 3 << 53;
const UNPRIVILEGED_NO_EXECUTE: u64 = 1 << 54;
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

const CODE: u64 = MEMORY | INNER_SHAREABLE | READ_ONLY | UNPRIVILEGED_NO_EXECUTE;
const CONSTANTS: u64 = MEMORY | INNER_SHAREABLE | READ_ONLY | NO_EXECUTE;
const VARIABLES: u64 = MEMORY | INNER_SHAREABLE | NO_EXECUTE;
const DEVICE: u64 = NO_EXECUTE;

#[repr(C, align(4096))]
struct Table([u64; ENTRIES]);

/// Only the boot core writes them, before any MMU is on.
pub(crate) struct Tables(UnsafeCell<[Table; TABLES_COUNT]>);
// SAFETY: Rust code reaches the tables in `build_tables` only, which one core runs once.
unsafe impl Sync for Tables {}

#[unsafe(link_section = ".bss.tables")]
pub(crate) static TABLES: Tables =
    Tables(UnsafeCell::new([const { Table([0; ENTRIES]) }; TABLES_COUNT]));

/// Fills in [`TABLES`]. What does not fit stays unmapped: using it is a reported exception.
pub(crate) extern "C" fn build_tables() {
    let mut builder = Builder { used: 1 };
    for i in 0..TABLES_COUNT * ENTRIES {
        builder.write(i, 0);
    }
    for range in board().devices {
        builder.map(range.clone(), DEVICE);
    }
    builder.map(regions::text(), CODE);
    builder.map(regions::constants(), CONSTANTS);
    builder.map(regions::loaded_artefact(), CONSTANTS);
    let variables = regions::variables();
    let mut start = variables.start;
    for guard in stack::guards() {
        builder.map(start..guard, VARIABLES);
        start = guard + PAGE_BYTES;
    }
    builder.map(start..variables.end, VARIABLES);
    builder.map(regions::free(), VARIABLES);
}

struct Builder {
    /// Tables in use.
    used: usize,
}

impl Builder {
    /// Entry `entry` of all tables, counted through.
    fn entry(entry: usize) -> *mut u64 {
        TABLES.0.get().cast::<u64>().wrapping_add(entry)
    }

    fn write(&mut self, entry: usize, value: u64) {
        // SAFETY: callers keep to the entries there are; only this core runs.
        unsafe { Self::entry(entry).write_volatile(value) };
    }

    fn read(&self, entry: usize) -> u64 {
        // SAFETY: as above.
        unsafe { Self::entry(entry).read_volatile() }
    }

    /// Maps whole pages with the largest blocks that fit.
    fn map(&mut self, range: Range<usize>, attributes: u64) {
        let mut address = range.start;
        while address < range.end {
            let Some(bytes) = self.map_one(address, range.end - address, attributes) else {
                return;
            };
            address += bytes;
        }
    }

    /// Maps one block or page of at most `room` bytes at `address`; tells how many bytes it has.
    fn map_one(&mut self, address: usize, room: usize, attributes: u64) -> Option<usize> {
        let mut table = 0;
        for level in 1..=3 {
            let shift = 39 - 9 * level;
            let bytes = 1usize << shift;
            let entry = table * ENTRIES + (address >> shift) % ENTRIES;
            let found = self.read(entry);
            if found == 0 && address.is_multiple_of(bytes) && (bytes <= room || level == 3) {
                let kind = if level == 3 { TABLE_OR_PAGE } else { 0 };
                self.write(entry, address as u64 | attributes | kind | ACCESSED | VALID);
                return Some(bytes);
            }
            table = self.next_table(entry, found)?;
        }
        None
    }

    /// The table that `entry` points to, made if there is none yet.
    fn next_table(&mut self, entry: usize, found: u64) -> Option<usize> {
        let first = Self::entry(0) as u64;
        if found == 0 {
            let table = self.used;
            if table == TABLES_COUNT {
                return None;
            }
            self.used += 1;
            self.write(entry, (first + (table * PAGE_BYTES) as u64) | TABLE_OR_PAGE | VALID);
            Some(table)
        } else if found & TABLE_OR_PAGE != 0 {
            Some(((found & ADDRESS) - first) as usize / PAGE_BYTES)
        } else {
            None
        }
    }
}
