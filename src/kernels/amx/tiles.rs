//! The tile registers: their shape, and products of tiles.

use core::arch::asm;
use core::marker::PhantomData;

/// Rows of a tile, and columns of sums.
pub(super) const SIDE: usize = 16;

/// Most inputs of a row.
pub(super) const DEPTH: usize = 64;

/// Sums of two tiles of pixels and up to four of columns, a row per pixel.
#[repr(C, align(64))]
pub(super) struct Sums([[i32; 4 * SIDE]; 2 * SIDE]);

/// Shapes as `LDTILECFG` takes them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The tile registers of this core, in use until this is dropped: 0 to 3 for sums, 4 and 5 for
/// inputs, 6 and 7 for weights.
#[derive(Debug)]
pub(super) struct Tiles(PhantomData<*mut ()>);

/// Where the operands of a product lie, and how far from there the next ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    /// Bytes from the inputs of a pixel to those of the next.
    pub(super) pixel: usize,
    /// Runs of a pixel.
    pub(super) runs: usize,
    /// Pieces of a run, of `depth` inputs.
    pub(super) steps: usize,
    /// Bytes from a run to the one below.
    pub(super) below: usize,
    /// Inputs of a piece.
    pub(super) depth: usize,
    /// Weights of the columns.
    pub(super) weights: *const i8,
    /// Columns of their panel.
    pub(super) width: usize,
    /// Weights that will be wanted soon.
    pub(super) ahead: *const i8,
}

impl Tiles {
    /// Shapes the registers for rows of `depth` inputs, a multiple of 4 up to [`DEPTH`].
    ///
    /// # Safety
    ///
    /// The core has AMX, and the operating system lets this thread use it.
    pub(super) unsafe fn new(depth: usize) -> Self {
        let (inputs, weights) = (depth as u16, (depth / 4) as u8);
        let mut shapes = Shapes {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            row_bytes: [0; 16],
            rows: [0; 16],
        };
        let (sums, full) = (SIDE as u8, DEPTH as u16);
        let each = [(sums, full); 4].into_iter();
        let each = each.chain([(sums, inputs); 2]).chain([(weights, full); 2]);
        for ((rows, row_bytes), shape) in
            shapes.rows.iter_mut().zip(&mut shapes.row_bytes).zip(each)
        {
            (*rows, *row_bytes) = shape;
        }
        // SAFETY: the shapes are valid, and the caller promises the instruction.
        unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const shapes, options(readonly, nostack)) };
        Self(PhantomData)
    }
}

/// The products of two tiles of pixels, which begin at `inputs`, and `COLUMNS`, one or two, of
/// columns, into the rows at `sums`, which are those of [`Sums`].
///
/// # Safety
///
/// The core's [`Tiles`] are in use, shaped for the depth of the operands. Inputs are readable for
/// [`SIDE`] pixels from each of `inputs`, weights for all runs, and sums writable.
#[inline]
pub(super) unsafe fn multiply_two<const COLUMNS: usize, const FETCH: bool>(
    [first, second]: [*const i8; 2],
    operands: &Operands,
    sums: *mut i32,
) {
    let &Operands { pixel, runs, steps, below, depth, weights, width, ahead } = operands;
    // SAFETY: reads and writes what the caller promises, and registers that the compiler does not
    // use.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm2",
            ".if {columns} > 1", "tilezero tmm1", "tilezero tmm3", ".endif",
            "2:",
            "mov {left}, {steps}",
            "3:",
            "tileloadd tmm6, [{weights} + {group}*1]",
            "tileloadd tmm4, [{first} + {pixel}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            ".if {columns} > 1",
            "tileloadd tmm7, [{weights} + {group}*1 + 64]",
            "tdpbusd tmm1, tmm4, tmm7",
            ".endif",
            "tileloadd tmm5, [{second} + {pixel}*1]",
            "tdpbusd tmm2, tmm5, tmm6",
            ".if {columns} > 1", "tdpbusd tmm3, tmm5, tmm7", ".endif",
            ".if {fetch}",
            ".set .Lline, 0",
            ".rept 16", "prefetcht1 [{ahead} + .Lline]", ".set .Lline, .Lline + 64", ".endr",
            "add {ahead}, 1024",
            ".endif",
            "add {first}, {depth}",
            "add {second}, {depth}",
            "add {weights}, {step}",
            "dec {left}",
            "jnz 3b",
            "add {first}, {next}",
            "add {second}, {next}",
            "dec {runs}",
            "jnz 2b",
            "mov {left:e}, 256",
            "tilestored [{sums} + {left}*1], tmm0",
            "tilestored [{sums} + {left}*1 + 4096], tmm2",
            ".if {columns} > 1",
            "tilestored [{sums} + {left}*1 + 64], tmm1",
            "tilestored [{sums} + {left}*1 + 4160], tmm3",
            ".endif",
            columns = const COLUMNS,
            fetch = const FETCH as usize,
            first = inout(reg) first => _,
            second = inout(reg) second => _,
            pixel = in(reg) pixel,
            weights = inout(reg) weights => _,
            group = in(reg) 4 * width,
            step = in(reg) depth * width,
            depth = in(reg) depth,
            steps = in(reg) steps,
            left = out(reg) _,
            next = in(reg) below.wrapping_sub(steps * depth),
            runs = inout(reg) runs => _,
            ahead = inout(reg) ahead => _,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

/// The products of a tile of pixels, which begins at `input`, and `COLUMNS` of columns, up to four,
/// into the first rows at `sums`, which are those of [`Sums`].
///
/// # Safety
///
/// As [`multiply_two`].
#[inline]
pub(super) unsafe fn multiply_one<const COLUMNS: usize, const FETCH: bool>(
    input: *const i8,
    operands: &Operands,
    sums: *mut i32,
) {
    let &Operands { pixel, runs, steps, below, depth, weights, width, ahead } = operands;
    // SAFETY: reads and writes what the caller promises, and registers that the compiler does not
    // use.
    unsafe {
        asm!(
            "tilezero tmm0",
            ".if {columns} > 1", "tilezero tmm1", ".endif",
            ".if {columns} > 2", "tilezero tmm2", ".endif",
            ".if {columns} > 3", "tilezero tmm3", ".endif",
            "2:",
            "mov {left}, {steps}",
            "3:",
            "tileloadd tmm4, [{input} + {pixel}*1]",
            "tileloadd tmm6, [{weights} + {group}*1]",
            "tdpbusd tmm0, tmm4, tmm6",
            ".if {columns} > 1",
            "tileloadd tmm7, [{weights} + {group}*1 + 64]",
            "tdpbusd tmm1, tmm4, tmm7",
            ".endif",
            ".if {columns} > 2",
            "tileloadd tmm6, [{weights} + {group}*1 + 128]",
            "tdpbusd tmm2, tmm4, tmm6",
            ".endif",
            ".if {columns} > 3",
            "tileloadd tmm7, [{weights} + {group}*1 + 192]",
            "tdpbusd tmm3, tmm4, tmm7",
            ".endif",
            ".if {fetch}",
            ".set .Lline, 0",
            ".rept 16", "prefetcht1 [{ahead} + .Lline]", ".set .Lline, .Lline + 64", ".endr",
            "add {ahead}, 1024",
            ".endif",
            "add {input}, {depth}",
            "add {weights}, {step}",
            "dec {left}",
            "jnz 3b",
            "add {input}, {next}",
            "dec {runs}",
            "jnz 2b",
            "mov {left:e}, 256",
            "tilestored [{sums} + {left}*1], tmm0",
            ".if {columns} > 1", "tilestored [{sums} + {left}*1 + 64], tmm1", ".endif",
            ".if {columns} > 2", "tilestored [{sums} + {left}*1 + 128], tmm2", ".endif",
            ".if {columns} > 3", "tilestored [{sums} + {left}*1 + 192], tmm3", ".endif",
            columns = const COLUMNS,
            fetch = const FETCH as usize,
            input = inout(reg) input => _,
            pixel = in(reg) pixel,
            weights = inout(reg) weights => _,
            group = in(reg) 4 * width,
            step = in(reg) depth * width,
            depth = in(reg) depth,
            steps = in(reg) steps,
            left = out(reg) _,
            next = in(reg) below.wrapping_sub(steps * depth),
            runs = inout(reg) runs => _,
            ahead = inout(reg) ahead => _,
            sums = in(reg) sums,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack),
        );
    }
}

impl Drop for Tiles {
    /// Frees the registers, which a change of threads then needs not save.
    fn drop(&mut self) {
        // SAFETY: whoever made this promised the instructions.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
