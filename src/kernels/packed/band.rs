//! The inputs of a patch of output pixels, copied row by row with their padding, so that what a
//! window sees of a row lies side by side.

use core::ops::Range;

use super::PackedConv2d;
use super::driver::{Inputs, Microkernel, repeat_first};
use super::form::{InputForm, Pieces};
use crate::kernels::Window;
use crate::tensor::{Hwc, View};

/// Output pixels: all that lie in both ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Patch {
    pub(super) rows: Range<usize>,
    pub(super) columns: Range<usize>,
}

impl Patch {
    pub(super) fn pixels(&self) -> usize {
        self.rows.len().saturating_mul(self.columns.len())
    }
}

/// A window along one axis, rows or columns.
#[derive(Clone, Copy, Debug)]
struct Axis {
    taps: usize,
    stride: usize,
    dilation: usize,
    pad: usize,
    /// Elements of the input.
    extent: usize,
}

impl Axis {
    fn of(window: &Window, extents: [u32; 2]) -> [Self; 2] {
        [0, 1].map(|axis| {
            let pick = |pair: [u16; 2]| {
                let [down, across] = pair;
                usize::from(if axis == 0 { down } else { across })
            };
            let [h, w] = extents;
            Self {
                taps: pick(window.taps),
                stride: pick(window.stride),
                dilation: pick(window.dilation),
                pad: pick(window.pad),
                extent: if axis == 0 { h } else { w } as usize,
            }
        })
    }

    /// Elements of the copy from an output's to the next one's: of elements that only one tap
    /// sees, the others are left out.
    const fn step(&self) -> usize {
        if self.taps == 1 { 1 } else { self.stride }
    }

    /// Elements of the input from one in the copy to the next.
    const fn source_step(&self) -> usize {
        if self.taps == 1 { self.stride } else { 1 }
    }

    /// Elements copied for `outputs` neighbouring outputs, at least one.
    const fn copied(&self, outputs: usize) -> usize {
        let steps = outputs.saturating_sub(1).saturating_mul(self.step());
        let reach = self.taps.saturating_sub(1).saturating_mul(self.dilation);
        steps.saturating_add(reach).saturating_add(1)
    }

    /// Which elements of the copy for `outputs` from output `at` on lie inside the input, and
    /// where there the first of them is.
    fn inside(&self, at: usize, outputs: usize) -> (Range<usize>, usize) {
        let (origin, step) = (at.wrapping_mul(self.stride), self.source_step().max(1));
        let all = self.copied(outputs);
        let start = self.pad.saturating_sub(origin).div_ceil(step).min(all);
        let end = (self.extent.saturating_add(self.pad)).saturating_sub(origin).div_ceil(step);
        let first = origin.wrapping_add(start.wrapping_mul(step)).wrapping_sub(self.pad);
        (start..end.clamp(start, all), first)
    }
}

/// Inputs, those at the end included that only fill up the last run, to be copied for a patch.
fn copied([rows, columns]: &[Axis; 2], pixel: usize, fill: usize, patch: [usize; 2]) -> usize {
    let [down, across] = patch;
    let pixels = rows.copied(down).saturating_mul(columns.copied(across));
    pixels.saturating_mul(pixel).saturating_add(fill)
}

impl PackedConv2d {
    /// Inputs to be copied at least; `channels` are those of a group, runs end with `fill`
    /// inputs that only fill them up.
    pub(super) fn least_copied(&self, channels: u32, fill: u32) -> usize {
        let axes = Axis::of(&self.window, [0, 0]);
        copied(&axes, channels as usize, fill as usize, [1, 1])
    }
}

/// Memory for the copy, and how it is made.
#[derive(Debug)]
pub(super) struct Band<'a> {
    input: View<'a>,
    axes: [Axis; 2],
    /// What padding stands for.
    zero: i8,
    /// Inputs that fill up a run.
    fill: usize,
    memory: *mut i8,
    /// Inputs there is room for.
    room: usize,
    /// The outputs whose inputs are there.
    patch: Patch,
    steps: Steps,
}

/// Bytes of the copy from one thing to the next of its kind, down and across.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    /// From a row of inputs to the next, and from a pixel to the next.
    inputs: [usize; 2],
    /// From an output's window to the next one's.
    pub(super) outputs: [usize; 2],
    /// From a tap to the next.
    pub(super) taps: [usize; 2],
}

impl<'a> Band<'a> {
    /// A band of up to `room` inputs at `memory`.
    pub(super) fn new(
        input: View<'a>,
        params: &PackedConv2d,
        fill: usize,
        memory: *mut i8,
        room: usize,
    ) -> Self {
        let Hwc { h, w, .. } = input.hwc();
        let axes = Axis::of(&params.window, [h, w]);
        let patch = Patch { rows: 0..0, columns: 0..0 };
        let zero = params.input_zero_point;
        let steps = Steps { inputs: [0; 2], outputs: [0; 2], taps: [0; 2] };
        Self { input, axes, zero, fill, memory, room, patch, steps }
    }

    /// Rows and columns of a patch whose inputs fit: whole rows, about as many in every patch,
    /// or a part of one. None if no pixel's fit.
    pub(super) fn patch(&self, rows: usize, columns: usize) -> Option<[usize; 2]> {
        let channels = self.input.hwc().c as usize;
        let fits = |patch| copied(&self.axes, channels, self.fill, patch) <= self.room;
        // The most that fit, of the number of elements `n`, along one axis.
        let most = |n: usize, patch: &dyn Fn(usize) -> [usize; 2]| {
            let (mut most, mut more) = (0, n.saturating_add(1));
            while more - most > 1 {
                let middle = most.midpoint(more);
                *(if fits(patch(middle)) { &mut most } else { &mut more }) = middle;
            }
            (most > 0).then(|| n.div_ceil(n.div_ceil(most).max(1)))
        };
        if let Some(rows) = most(rows, &|rows| [rows, columns]) {
            return Some([rows, columns]);
        }
        most(columns, &|columns| [1, columns]).map(|columns| [1, columns])
    }

    /// Those of the copy for `patch`, whose codes are `width` bytes each.
    fn steps_for(&self, patch: &Patch, width: usize) -> Steps {
        let [rows, columns] = &self.axes;
        let pixel = self.input.hwc().c as usize * width;
        let row = columns.copied(patch.columns.len()) * pixel;
        Steps {
            inputs: [row, pixel],
            outputs: [rows.step().wrapping_mul(row), columns.step().wrapping_mul(pixel)],
            taps: [rows.dilation.wrapping_mul(row), columns.dilation.wrapping_mul(pixel)],
        }
    }

    /// Copies the inputs of `patch`, unless they are there already.
    ///
    /// # Safety
    ///
    /// The patch is no larger than [`patch`](Self::patch) says, the memory is writable, and the
    /// core can execute the path of `F`.
    pub(super) unsafe fn copy<F: InputForm>(&mut self, patch: &Patch) {
        if self.patch == *patch {
            return;
        }
        self.patch = patch.clone();
        self.steps = self.steps_for(patch, F::WIDTH);
        let [row_step, pixel] = self.steps.inputs;
        let [rows, columns] = &self.axes;
        let c = self.input.hwc().c as usize;
        let (inside, first_row) = rows.inside(patch.rows.start, patch.rows.len());
        let all = rows.copied(patch.rows.len());
        let wide = columns.copied(patch.columns.len());
        let (within, first) = columns.inside(patch.columns.start, patch.columns.len());
        let source = columns.source_step();
        for row in 0..all {
            // SAFETY: the rows before are in the memory, as is this one.
            let to = unsafe { self.memory.add(row * row_step) };
            if !inside.contains(&row) || within.is_empty() {
                // SAFETY: a row.
                unsafe { F::fill(to, self.zero, wide * c) };
                continue;
            }
            let y = first_row + (row - inside.start) * rows.source_step();
            let last = first + (within.len() - 1) * source;
            let cells = self.input.pixel_cells(y, first..last + 1);
            let from_step = source * self.input.layout().pixel_stride as usize;
            debug_assert!(cells.len() >= (within.len() - 1) * from_step + c);
            // SAFETY: the padding before the image.
            unsafe { F::fill(to, self.zero, within.start * c) };
            let at = to.wrapping_add(within.start * pixel);
            let rest = to.wrapping_add(within.end * pixel);
            let pieces = match from_step == c {
                true => Pieces { len: cells.len(), count: 1, from_step, to_step: pixel },
                false => Pieces { len: c, count: within.len(), from_step, to_step: pixel },
            };
            // SAFETY: the cells are those of the pixels inside the image, for which there is room.
            unsafe { F::copy_pieces(at, cells.as_ptr().cast::<i8>(), pieces) };
            // SAFETY: the padding behind the image.
            unsafe { F::fill(rest, self.zero, (wide - within.end) * c) };
        }
        // SAFETY: all rows are in the memory, and there is room for this behind them.
        let end = unsafe { self.memory.add(all * row_step) };
        // SAFETY: as above.
        unsafe { F::fill(end, 0, self.fill) };
    }

    /// Calls `each` for the outputs of every row among `count` from (`y`, `x`) on, which are in the
    /// patch: with the number of those before, their number, and where in the copy the window of
    /// the first begins.
    #[inline]
    pub(super) fn each_line(
        &self,
        [mut y, mut x]: [usize; 2],
        count: usize,
        mut each: impl FnMut(usize, usize, *const i8),
    ) {
        let Patch { rows, columns } = &self.patch;
        let [down, across] = self.steps.outputs;
        let mut done = 0;
        while done < count && x < columns.end {
            let len = (columns.end - x).min(count - done);
            let first = self.memory.wrapping_add(y.wrapping_sub(rows.start).wrapping_mul(down));
            let first = first.wrapping_add((x - columns.start).wrapping_mul(across));
            each(done, len, first);
            done += len;
            (y, x) = (y + 1, columns.start);
        }
    }

    /// Runs of adjacent inputs that a window sees, down and across, and the inputs of one.
    pub(super) fn pieces(&self) -> ([usize; 2], usize) {
        let [rows, columns] = &self.axes;
        let c = self.input.hwc().c as usize;
        match columns.dilation {
            1 => ([rows.taps, 1], columns.taps.wrapping_mul(c)),
            _ => ([rows.taps, columns.taps], c),
        }
    }

    /// See [`Steps`].
    pub(super) const fn steps(&self) -> Steps {
        self.steps
    }

    /// Finds the inputs of `count` outputs from `start` on, which are in the patch.
    pub(super) fn pixels<'s, M: Microkernel<ROWS>, const ROWS: usize>(
        &self,
        starts: &'s mut [[*const i8; ROWS]],
        start: [usize; 2],
        count: usize,
    ) -> Inputs<'s, ROWS> {
        let Steps { outputs: [_, step], taps: [row_step, tap_step], .. } = self.steps;
        let ([down, across], _) = self.pieces();
        for (tap, run) in starts.iter_mut().enumerate().take(across) {
            self.each_line(start, count, |done, len, first| {
                let mut first = first.wrapping_add(tap.wrapping_mul(tap_step));
                for start in run.get_mut(done..done + len).unwrap_or(&mut []) {
                    *start = first;
                    first = first.wrapping_add(step);
                }
            });
            repeat_first(run, count);
        }
        Inputs::new::<M>(starts, across, down, [row_step, step])
    }
}
