//! Convolution as an implicit matrix product: tiles of output pixels times panels of columns.
//!
//! The driver finds where the inputs of a tile lie, or gathers them, and hands each tile and
//! panel to the path's [`Microkernel`]. Everything about instruction sets is below that trait;
//! everything about geometry is here.
//!
//! A residual is added by the microkernel, where [that can](Microkernel::adds), else by the path's
//! own ADD to some rows of the output at a time, over the codes that the tiles have just written
//! there. So it cannot be overwritten by the output.

use core::mem::MaybeUninit;
use core::ops::Range;

use super::band::{Band, Patch};
use super::direct::Direct;
use super::form::InputForm;
use super::group::Group;
use super::{Access, FixedSum, MAX_RUNS, PackedConv2d, Packing};
use crate::kernels::{Io, Kernel, Path};
use crate::tensor::{Layout, Region, View};
use crate::weights::Weights;

/// A tile of up to `ROWS` output pixels times some adjacent panels of columns.
#[derive(Debug)]
pub(crate) struct Job<'a, const ROWS: usize> {
    /// Pixels, at least 1. Entries of arrays from here on repeat the first.
    pub(crate) rows: usize,
    /// Where the inputs lie: of each run of each pixel, `run` readable codes.
    pub(crate) inputs: Inputs<'a, ROWS>,
    /// Inputs of a run, filled up.
    pub(crate) run: usize,
    /// Weights of the panels.
    pub(crate) panels: &'a [i8],
    /// Whether no job before had these panels.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AMX"))]
    pub(crate) is_first: bool,
    /// The panels' part of the table of columns.
    pub(crate) columns: &'a [i32],
    /// Columns to store, from the first of the first panel.
    pub(crate) stored: usize,
    /// Added to every sum of a pixel; zero while the zero point of the weights is.
    pub(crate) addends: &'a [i32; ROWS],
    /// Where `stored` codes of each pixel go.
    pub(crate) outputs: &'a [*mut i8; ROWS],
    /// What is to be added to the codes, where the microkernel does that.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX-512"))]
    pub(crate) residual: Option<Residual>,
    /// The layer.
    pub(crate) params: &'a PackedConv2d,
}

/// Where the other operands of sums lie: each as far from the others as its output is.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AVX-512"))]
pub(crate) struct Residual {
    operands: *const i8,
    outputs: *const i8,
    /// See [`PackedConv2d::sum`].
    pub(crate) sum: Option<FixedSum>,
}

impl Residual {
    /// None where they are not laid out like the outputs.
    fn new(operands: View<'_>, outputs: View<'_>, sum: Option<FixedSum>) -> Option<Self> {
        let first = |view: View<'_>| view.cells().as_ptr().cast();
        let alike = operands.layout() == outputs.layout();
        alike.then(|| Self { operands: first(operands), outputs: first(outputs), sum })
    }

    /// The operand for the output at `output`.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn of(self, output: *mut i8) -> *const i8 {
        self.operands.wrapping_add(output.addr().wrapping_sub(self.outputs.addr()))
    }
}

/// Where the runs of a tile lie: some, and others in the same order below them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Inputs<'a, const ROWS: usize> {
    /// Per run, where it begins for each pixel.
    pub(crate) starts: &'a [[*const i8; ROWS]],
    /// How often these runs are there; once unless [`Microkernel::BELOW`].
    pub(crate) down: usize,
    /// Bytes from there to those below.
    pub(crate) step: usize,
    /// Bytes from a pixel's to those of the next in its row.
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "for AMX"))]
    pub(crate) across: usize,
}

impl<'a, const ROWS: usize> Inputs<'a, ROWS> {
    /// The first `used` of `starts` are known, and that all are there `down` times.
    pub(super) fn new<M: Microkernel<ROWS>>(
        starts: &'a mut [[*const i8; ROWS]],
        used: usize,
        down: usize,
        [step, across]: [usize; 2],
    ) -> Self {
        if M::BELOW {
            let starts = starts.get(..used).unwrap_or_default();
            return Self { starts, down, step, across };
        }
        let all = used.wrapping_mul(down);
        for run in used..all {
            let Some((above, [here, ..])) = starts.split_at_mut_checked(run) else { break };
            let Some(above) = above.get(run.wrapping_sub(used)) else { break };
            for (start, above) in here.iter_mut().zip(above) {
                *start = above.wrapping_add(step);
            }
        }
        Self { starts: starts.get(..all).unwrap_or_default(), down: 1, step: 0, across }
    }

    /// Number of runs of a pixel.
    pub(crate) fn runs(&self) -> usize {
        self.starts.len().wrapping_mul(self.down)
    }

    /// Every run in order: where it or the one above begins for each pixel, and how far below.
    #[cfg(target_arch = "x86_64")]
    #[inline]
    pub(crate) fn each(self) -> impl Iterator<Item = (&'a [*const i8; ROWS], usize)> {
        let Self { starts, down, step, .. } = self;
        let offsets = (0..down).map(move |row| row.wrapping_mul(step));
        offsets.flat_map(move |offset| starts.iter().map(move |start| (start, offset)))
    }
}

/// What a path brings to a convolution.
///
/// # Safety
///
/// [`tile`](Self::tile) reads `run` inputs at each input, as long as [`Form`](Self::Form) makes
/// them, and writes `stored` bytes at each output of the first `rows`, no others. It reads the operands
/// of a residual for these bytes only.
pub(crate) unsafe trait Microkernel<const ROWS: usize> {
    /// The path.
    const PATH: Path;

    /// Pixels that are computed at once; tiles have a multiple of it where they can.
    const PART: usize = ROWS;

    /// A rest of up to so many pixels is shared with the tile before: for a mere rest, all weights
    /// would be read.
    const REST: usize = Self::PART / 3;

    /// Whether it takes runs that are some way below others by their distance.
    const BELOW: bool = false;

    /// How inputs that are copied are to be.
    type Form: InputForm;

    /// Adds the residual of a convolution to its output.
    const ADD: Kernel<PackedConv2d>;

    /// Whether [`tile`](Self::tile) adds the residual of such a layer of `channels`.
    fn adds(_params: &PackedConv2d, _channels: u32) -> bool {
        false
    }

    /// Computes the tile, panel after panel.
    ///
    /// # Safety
    ///
    /// The core can execute the path's instructions, and the pointers are as [`Job`] says.
    unsafe fn tile(job: &Job<'_, ROWS>);
}

/// Bytes of the output that are complete when the residual is added to them: few enough to be in
/// the core's cache still, and enough for tiles to be whole.
const COMPLETE: usize = 64 << 10;

/// Memory for a band and gathered inputs, or for a padding pixel and a spare one.
#[repr(align(64))]
struct Scratch<const BYTES: usize>([MaybeUninit<i8>; BYTES]);

/// Computes `io.output` with `M`; `SCRATCH` is [`Packing::scratch`] of its path.
///
/// # Safety
///
/// The core can execute the instructions of the path of `M`.
pub(crate) unsafe fn run<M: Microkernel<ROWS>, const ROWS: usize, const SCRATCH: usize>(
    params: &PackedConv2d,
    weights: &Weights<'_>,
    io: &Io<'_>,
) {
    // A constant, so that no division by its fields is left.
    let Some(packing) = M::PATH.packing().filter(|_| params.path == M::PATH) else { return };
    let compute = |group: Group<'_>| {
        // SAFETY: the caller's promise.
        unsafe { compute::<M, ROWS, SCRATCH>(params, weights, &packing, &group) };
    };
    let _ = params.each_group(&packing, weights, io, compute);
}

/// Computes one group.
///
/// # Safety
///
/// As [`run`].
#[inline]
unsafe fn compute<M: Microkernel<ROWS>, const ROWS: usize, const SCRATCH: usize>(
    params: &PackedConv2d,
    weights: &Weights<'_>,
    packing: &Packing,
    group: &Group<'_>,
) {
    let Group { input, output, filters, columns: table, depth, .. } = group;
    let depth = *depth as usize;
    let Some(runs) = params.runs(input.hwc().c) else { return };
    let Some(run) = packing.padded(runs.len) else { return };
    let (run, fill) = (run as usize, (run - runs.len) as usize);
    let channels = output.channels();
    let first = channels.start / packing.columns as usize;
    if channels.is_empty() {
        return;
    }
    if !channels.start.is_multiple_of(packing.columns as usize) {
        debug_assert!(false, "shares are made of whole panels");
        return;
    }
    let panels = first..channels.end.div_ceil(packing.columns as usize);

    let mut scratch = Scratch::<SCRATCH>([const { MaybeUninit::uninit() }; SCRATCH]);
    let scratch = scratch.0.as_mut_ptr().cast::<i8>();
    let share = Patch { rows: output.rows(), columns: output.columns() };
    let [height, width] = [share.rows.len(), share.columns.len()];
    let whole = |rows: usize| if rows > M::PART { rows - rows % M::PART } else { rows };
    let (mut source, most_rows) = match params.access {
        Access::Direct => {
            let spare = scratch.wrapping_add(run);
            if 2 * run <= SCRATCH {
                // SAFETY: the first of two runs that fit into the scratch: a pixel of padding.
                unsafe { M::Form::fill(scratch, params.input_zero_point, run) };
                // SAFETY: the second, the spare pixel.
                unsafe { M::Form::fill(spare, 0, run) };
            } else if params.needs_spare(input.hwc(), output.hwc(), run) {
                return;
            }
            let direct = Direct::new(*input, params, run, output.hwc(), scratch, spare);
            (Source::Direct(direct), whole(ROWS))
        }
        Access::Band => {
            let band = Band::new(*input, params, fill, scratch, SCRATCH / M::Form::WIDTH);
            (Source::Band(band), whole(ROWS))
        }
        // For kernels of their own.
        Access::Winograd | Access::Widen => return,
        Access::Gather => {
            let rows = whole((SCRATCH / 2).checked_div(run).unwrap_or(0).min(ROWS));
            let gathered = rows * run;
            for row in 0..rows {
                let end = scratch.wrapping_add(row * run + runs.len as usize);
                // SAFETY: the end of one of `rows` runs, which fit into the scratch. The weights
                // for what fills up a run are zero.
                unsafe { M::Form::fill(end, 0, fill) };
            }
            let rest = scratch.wrapping_add(gathered);
            (Source::Gather(Band::new(*input, params, fill, rest, SCRATCH - gathered)), rows)
        }
    };
    let extents = match &source {
        Source::Direct(_) => Some([height, width]),
        Source::Band(band) | Source::Gather(band) => band.patch(height, width),
    };
    let step = usize::from(params.block).max(1);
    let Some([mut height, width]) = extents.filter(|_| most_rows > 0) else { return };
    let residual = group.residual.filter(|_| M::adds(params, output.hwc().c));
    let residual =
        residual.and_then(|residual| Residual::new(residual, output.view(), params.sum(weights)));
    let adds_afterwards = group.residual.is_some() && residual.is_none();
    if adds_afterwards {
        let row = share.columns.len() * channels.len().min(step * packing.columns as usize);
        height = height.min(COMPLETE.checked_div(row).unwrap_or(0)).max(1);
    }
    let mut starts = [const { MaybeUninit::uninit() }; MAX_RUNS as usize];
    let Some(starts) = starts.get_mut(..runs.count as usize) else { return };
    for run in &mut *starts {
        run.write([core::ptr::null(); ROWS]);
    }
    // SAFETY: all have just been written.
    let starts = unsafe { starts.assume_init_mut() };

    let pieces = |range: &Range<usize>, step: usize| {
        let end = range.end;
        range.clone().step_by(step.max(1)).map(move |start| start..end.min(start + step))
    };
    let columns = share.columns.clone();
    let patches = pieces(&share.rows, height).flat_map(|rows| {
        pieces(&columns, width).map(move |columns| Patch { rows: rows.clone(), columns })
    });
    let first = output.cells().as_ptr().cast_mut().cast::<i8>();
    let Layout { row_stride, pixel_stride, .. } = output.layout();
    let steps = [row_stride, pixel_stride].map(|stride| stride as usize);
    let (mut outputs, mut addends) = ([core::ptr::null_mut(); ROWS], [0; ROWS]);
    let mut gathered = 0;
    for block in panels.clone().step_by(step) {
        let last = (block + step).min(panels.end).saturating_sub(1);
        let start = packing.panel(output.hwc().c, block as u32).start as usize;
        let end = packing.panel(output.hwc().c, last as u32).end as usize;
        let parameters = packing.parameters as usize;
        let (Some(panels), Some(columns)) = (
            filters.get(start * depth..end * depth),
            table.get(start * parameters..end * parameters),
        ) else {
            return;
        };
        let stored = channels.end.min(end) - start;
        // Inside the channels of the share, as is all that is stored.
        let channel = start - channels.start;
        let mut is_first = true;
        for patch in patches.clone() {
            if let Source::Band(band) | Source::Gather(band) = &mut source {
                // SAFETY: `Band::patch` has found the extents; the core can execute the path.
                unsafe { band.copy::<M::Form>(&patch) };
            }
            let (mut y, mut x) = (patch.rows.start, patch.columns.start);
            let mut left = patch.pixels();
            while left > 0 {
                let is_rest_small = left > most_rows && left - most_rows <= M::REST;
                let rows = if is_rest_small { left.div_ceil(2) } else { left.min(most_rows) };
                left -= rows;
                let first = first.wrapping_add(channel);
                place(&mut outputs, first, steps, [y - share.rows.start, x], &patch.columns, rows);
                let (inputs, run) = match &source {
                    Source::Direct(direct) => {
                        // SAFETY: padding and spare pixel are in the scratch; the core can execute
                        // the path.
                        unsafe { direct.pixels::<M, ROWS>(starts, [y, x], rows) }
                    }
                    Source::Band(band) => (band.pixels::<M, ROWS>(starts, [y, x], rows), run),
                    Source::Gather(band) => {
                        // SAFETY: `most_rows` runs fit into the scratch; the core can execute the
                        // path, which is one whose inputs are a byte each.
                        unsafe { band.gather::<M::Form>(scratch, run, [y, x], rows) };
                        // They are in the same places for every tile of as many.
                        if gathered != rows {
                            gathered = rows;
                            for (row, input) in starts.as_flattened_mut().iter_mut().enumerate() {
                                let row = if row < rows { row } else { 0 };
                                *input = scratch.wrapping_add(row * run);
                            }
                        }
                        (Inputs::new::<M>(starts, 1, 1, [0, run]), run)
                    }
                };
                x += rows;
                while x >= patch.columns.end {
                    (y, x) = (y + 1, x - patch.columns.len());
                }
                if params.weight_zero_point != 0 {
                    let all = packing.offset.wrapping_mul(runs.count.wrapping_mul(runs.len) as i32);
                    // Of a run that is filled up, only the inputs count; others are whole.
                    let len = (runs.count * runs.len) as usize / inputs.runs().max(1);
                    let sums = addends.get_mut(..rows).unwrap_or_default();
                    sums.fill(0);
                    for starts in inputs.starts {
                        let below = [inputs.down, inputs.step];
                        // SAFETY: the inputs have just been located, copied or gathered.
                        unsafe { M::Form::add_sums(sums, starts, below, len) };
                    }
                    let zero = i32::from(params.weight_zero_point);
                    for sum in sums {
                        *sum = all.wrapping_sub(*sum).wrapping_mul(zero);
                    }
                    repeat_first(&mut addends, rows);
                }
                let (addends, outputs) = (&addends, &outputs);
                let job = Job {
                    is_first,
                    rows,
                    inputs,
                    run,
                    panels,
                    columns,
                    stored,
                    addends,
                    outputs,
                    residual,
                    params,
                };
                // SAFETY: inputs are readable for `run` bytes, outputs are cells of this core's
                // share, and the core can execute the path.
                unsafe { M::tile(&job) };
                is_first = false;
            }
            if adds_afterwards && patch.columns.end == share.columns.end {
                let region = Region { rows: patch.rows, channels: start..start + stored };
                // SAFETY: the caller's promise.
                unsafe { add_residual(M::ADD, params, weights, group, region) };
            }
        }
    }
}

/// Adds the residual to the codes that the part `region` of the output has.
///
/// # Safety
///
/// The core can execute `add`.
#[inline(never)]
pub(crate) unsafe fn add_residual(
    add: Kernel<PackedConv2d>,
    params: &PackedConv2d,
    weights: &Weights<'_>,
    group: &Group<'_>,
    region: Region,
) {
    let (Some(residual), Some(output)) = (group.residual, group.output.within(region)) else {
        return;
    };
    let io = Io { inputs: [output.view(), residual].into(), output };
    // SAFETY: the caller's promise.
    unsafe { add(params, weights, &io) };
}

/// Where the inputs of a tile come from, see [`Access`].
// There is one per layer, on the stack.
#[allow(clippy::large_enum_variant)]
enum Source<'a> {
    Direct(Direct<'a>),
    Band(Band<'a>),
    Gather(Band<'a>),
}

/// Finds where `rows` outputs among `columns` from (`y`, `x`) on are written, if (0, 0) is at
/// `first` and others are `steps` bytes further down and across; the first again for the others.
#[inline]
fn place<const ROWS: usize>(
    outputs: &mut [*mut i8; ROWS],
    first: *mut i8,
    [down, across]: [usize; 2],
    [mut y, mut x]: [usize; 2],
    columns: &Range<usize>,
    rows: usize,
) {
    let mut done = 0;
    while done < rows && x < columns.end {
        let count = (columns.end - x).min(rows - done);
        let mut cell = first.wrapping_add(y * down + x * across);
        for output in outputs.get_mut(done..done + count).unwrap_or(&mut []) {
            *output = cell;
            cell = cell.wrapping_add(across);
        }
        done += count;
        (y, x) = (y + 1, columns.start);
    }
    repeat_first(outputs, rows);
}

/// Fills `values` from `len` on with the first.
pub(super) fn repeat_first<T: Copy, const N: usize>(values: &mut [T; N], len: usize) {
    if let Some(&first) = values.first() {
        values.iter_mut().skip(len).for_each(|value| *value = first);
    }
}
