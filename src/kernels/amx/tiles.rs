//! The tile registers: their shape, and products of tiles.

use core::arch::asm;
use core::marker::PhantomData;

/// Rows of a tile, and columns of sums.
pub(super) const SIDE: usize = 16;

/// Most inputs of a row.
pub(super) const DEPTH: usize = 64;

/// Sums of two tiles of pixels and up to four of columns, a row per pixel.
#[repr(C, align(64))]
pub(super) struct Sums(pub(super) [[i32; 4 * SIDE]; 2 * SIDE]);

/// Shapes as `LDTILECFG` takes them.
#[repr(C, align(64))]
struct Shapes {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// The tile registers of this core, in use: 0 to 3 for sums, 4 and 5 for inputs, 6 and 7 for
/// weights.
#[derive(Debug)]
pub(super) struct Tiles {
    /// Inputs of a row.
    depth: usize,
    /// Registers are a core's.
    core: PhantomData<*mut ()>,
}

/// Where the operands of a product lie, and how far from there the next ones.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operands {
    /// Inputs of the first pixel of each tile.
    pub(super) inputs: [*const i8; 2],
    /// Bytes from a pixel to the next.
    pub(super) pixel: usize,
    /// Runs, and bytes of one, and from one to that below.
    pub(super) runs: usize,
    pub(super) run: usize,
    pub(super) below: usize,
    /// Weights of the columns.
    pub(super) weights: *const i8,
    /// Columns of their panel.
    pub(super) width: usize,
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
        Self { depth, core: PhantomData }
    }

    /// The products of `ROWS` tiles of pixels and `COLUMNS` of columns, each one or two, into the
    /// rows at `sums`, which are those of [`Sums`].
    ///
    /// # Safety
    ///
    /// Inputs are readable for [`SIDE`] pixels from each that [`Operands`] name, weights for all
    /// runs, and sums writable.
    #[inline]
    pub(super) unsafe fn multiply<const ROWS: usize, const COLUMNS: usize>(
        input_depth: usize,
        operands: Operands,
        sums: *mut i32,
    ) {
        let Operands { inputs: [first, second], pixel, runs, run, below, weights, width } =
            operands;
        // SAFETY: reads and writes what the caller promises, and registers that the compiler does
        // not use.
        unsafe {
            asm!(
                "tilezero tmm0",
                ".if {columns} == 2", "tilezero tmm1", ".endif",
                ".if {rows} == 2", "tilezero tmm2", ".endif",
                ".if {rows} + {columns} == 4", "tilezero tmm3", ".endif",
                "2:",
                "mov {left}, {steps}",
                "3:",
                "tileloadd tmm6, [{weights} + {group}*1]",
                "tileloadd tmm4, [{first} + {pixel}*1]",
                "tdpbusd tmm0, tmm4, tmm6",
                ".if {columns} == 2",
                "tileloadd tmm7, [{weights} + {group}*1 + 64]",
                "tdpbusd tmm1, tmm4, tmm7",
                ".endif",
                ".if {rows} == 2",
                "tileloadd tmm5, [{second} + {pixel}*1]",
                "tdpbusd tmm2, tmm5, tmm6",
                "add {second}, {depth}",
                ".endif",
                ".if {rows} + {columns} == 4", "tdpbusd tmm3, tmm5, tmm7", ".endif",
                "add {first}, {depth}",
                "add {weights}, {step}",
                "dec {left}",
                "jnz 3b",
                "add {first}, {next}",
                ".if {rows} == 2", "add {second}, {next}", ".endif",
                "dec {runs}",
                "jnz 2b",
                "mov {left:e}, 256",
                "tilestored [{sums} + {left}*1], tmm0",
                ".if {columns} == 2", "tilestored [{sums} + {left}*1 + 64], tmm1", ".endif",
                ".if {rows} == 2", "tilestored [{sums} + {left}*1 + 4096], tmm2", ".endif",
                ".if {rows} + {columns} == 4",
                "tilestored [{sums} + {left}*1 + 4160], tmm3",
                ".endif",
                rows = const ROWS,
                columns = const COLUMNS,
                first = inout(reg) first => _,
                second = inout(reg) second => _,
                pixel = in(reg) pixel,
                weights = inout(reg) weights => _,
                group = in(reg) 4 * width,
                step = in(reg) input_depth * width,
                depth = in(reg) input_depth,
                steps = in(reg) run / input_depth,
                left = out(reg) _,
                next = in(reg) below.wrapping_sub(run),
                runs = inout(reg) runs => _,
                sums = in(reg) sums,
                out("tmm0") _,
                out("tmm1") _,
                out("tmm2") _,
                out("tmm3") _,
                out("tmm4") _,
                out("tmm5") _,
                out("tmm6") _,
                out("tmm7") _,
                options(nostack),
            );
        }
    }
}

impl Drop for Tiles {
    /// Frees the registers, which a change of threads then needs not save.
    fn drop(&mut self) {
        // SAFETY: whoever made this promised the instructions.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}
