//! What the time of a layer is spent on, for the kernels that run it.
//!
//! Two kinds of kernels: ours, and those of the Arm Compute Library, in single precision, which
//! published timings are about. Each says how much of every feature a layer has on a team of
//! cores, and what one unit of it takes by static cycle counts: the prior of a [fit](crate::fit).

use pipeit_rt::team::share;
use pipeit_rt::tensor::{Hwc, Split};

use crate::networks::{Layer, Op};

/// What is known of a type of core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    name: &'static str,
    /// Rates of the Arm Compute Library's 8x12 kernel by its own performance model, per cycle:
    /// multiply-accumulates, bytes packed, bytes merged.
    gemm: [f64; 3],
    /// Multiply-accumulates per cycle of our convolution kernels, and of the depthwise ones;
    /// cycles to requantize an output. Static analysis by llvm-mca, all data in the L1 cache.
    int8: [f64; 3],
    /// Rows, channels and depth of a tile of our convolution kernels.
    tile: [usize; 3],
}

/// Tile of the kernels for Armv8.0, and with `SDOT`.
const NEON: [usize; 3] = [4, 4, 16];
const DOTPROD: [usize; 3] = [6, 16, 4];

/// Where a source has no figures for a core, those of the most similar one stand.
const CORES: [Core; 5] = [
    Core {
        name: "cortex-a53",
        gemm: [2.777, 0.987, 0.898],
        int8: [3.4, 2.0, 72.0 / 16.0],
        tile: NEON,
    },
    Core {
        name: "cortex-a55",
        gemm: [3.954, 1.252, 1.141],
        int8: [16.0, 2.0, 72.0 / 16.0],
        tile: DOTPROD,
    },
    Core {
        name: "cortex-a72",
        gemm: [2.885, 1.429, 1.163],
        int8: [8.0, 5.7, 19.0 / 16.0],
        tile: NEON,
    },
    Core {
        name: "cortex-a73",
        gemm: [2.885, 1.429, 1.163],
        int8: [8.0, 5.7, 19.0 / 16.0],
        tile: NEON,
    },
    Core { name: "cortex-a76", gemm: [2.885, 1.429, 1.163], int8: [32.0, 5.8, 1.0], tile: DOTPROD },
];

/// A type of core that nothing is known of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing is known of cores of type \"{name}\"; known are {}", known())]
pub struct UnknownCore {
    /// As asked.
    pub name: String,
}

fn known() -> String {
    CORES.map(|core| core.name).join(", ")
}

impl Core {
    /// The type of that name, such as `cortex-a72`; upper case does not matter.
    ///
    /// # Errors
    ///
    /// [`UnknownCore`].
    pub fn named(name: &str) -> Result<Self, UnknownCore> {
        let found = CORES.into_iter().find(|core| core.name.eq_ignore_ascii_case(name));
        found.ok_or_else(|| UnknownCore { name: name.to_owned() })
    }
}

/// Kernels on a team of cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernels {
    /// Ours.
    Int8 {
        /// Type of the cores.
        core: Core,
        /// How many.
        cores: usize,
    },
    /// Those of the Arm Compute Library, release 21.02, in single precision.
    ArmCompute {
        /// Type of the cores.
        core: Core,
        /// How many.
        cores: usize,
    },
}

/// The features of our kernels.
const INT8: [&str; 7] = [
    "layers and barriers",
    "MACs of whole tiles",
    "depthwise MACs",
    "bytes gathered",
    "outputs requantized",
    "bytes of other operators",
    "weight bytes from memory",
];

/// The features of the Arm Compute Library's.
const ARM_COMPUTE: [&str; 12] = [
    "layers",
    "GEMM MACs of whole tiles",
    "Winograd MACs of whole tiles",
    "Winograd elements",
    "weight bytes of convolutions",
    "weight bytes of dense layers",
    "elements of columns",
    "elements of columns of less than 16 channels",
    "elements read",
    "elements written",
    "depthwise outputs",
    "normalized elements",
];

impl Kernels {
    /// What the features are called.
    #[must_use]
    pub const fn names(&self) -> &'static [&'static str] {
        match self {
            Self::Int8 { .. } => &INT8,
            Self::ArmCompute { .. } => &ARM_COMPUTE,
        }
    }

    /// How much of every feature the layers have together, for the core with the largest share.
    #[must_use]
    pub fn features(&self, layers: &[Layer]) -> Vec<f64> {
        let mut sum = vec![0.0; self.names().len()];
        for layer in layers {
            let amounts: &[f64] = match *self {
                Self::Int8 { core, cores } => &int8(layer, core, cores),
                Self::ArmCompute { cores, .. } => &arm_compute(layer, cores),
            };
            for (sum, amount) in sum.iter_mut().zip(amounts) {
                *sum += amount;
            }
        }
        sum
    }

    /// Nanoseconds per unit of every feature by static cycle counts, at a clock in megahertz,
    /// with a memory that gives so many bytes per nanosecond to a team.
    #[must_use]
    pub fn prior_ns(&self, clock_mhz: f64, gb_per_s: f64) -> Vec<f64> {
        let cycle = 1e3 / clock_mhz;
        match *self {
            Self::Int8 { core, cores } => {
                let [macs, depthwise, requantize] = core.int8;
                // A layer starts and ends with a barrier, a cache line's way per core.
                let barrier = 200.0 + 100.0 * cores as f64;
                let byte = cycle / 4.0;
                let weights = 1.0 / gb_per_s;
                let [macs, depthwise] = [macs, depthwise].map(|rate| cycle / rate);
                vec![barrier, macs, depthwise, byte, requantize * cycle, byte, weights]
            }
            Self::ArmCompute { core, cores } => {
                let [macs, pack, merge] = core.gemm;
                let macs = cycle / macs;
                // An element of four bytes.
                let [pack, merge] = [pack, merge].map(|bytes| 4.0 * cycle / bytes);
                let weights = 1.0 / gb_per_s;
                // Threads are woken for every layer, by the operating system.
                let layer = 30e3 * cores as f64;
                // Passes over memory: a column is packed, and gathered from afar where its
                // pieces are short; an output is merged, then read and written for its bias
                // and its activation; a Winograd element is packed and merged on both sides; a
                // depthwise output reads nine values, a normalized one ten.
                let (winograd, written) = (2.0 * (pack + merge), 4.0 * merge);
                let (depthwise, normalized) = (9.0 * merge, 10.0 * merge);
                let (column, short, read) = (pack, 2.0 * pack, pack);
                vec![
                    layer, macs, macs, winograd, weights, weights, column, short, read, written,
                    depthwise, normalized,
                ]
            }
        }
    }
}

/// The largest of the runtime's shares.
fn int8(layer: &Layer, core: Core, cores: usize) -> [f64; INT8.len()] {
    let [h, w, c] = layer.output;
    let output = Hwc { h: h as u32, w: w as u32, c: c as u32 };
    let split = Split::RowsOrChannels { step: 16 };
    let shares = (0..cores).map(|member| share(output, split, member, cores));
    let (rows, channels) = shares
        .map(|region| (region.rows.len(), region.channels.len()))
        .max_by_key(|(rows, channels)| rows * channels)
        .unwrap_or((h, c));
    let outputs = (rows * w * channels) as f64;
    let [mr, nr, kr] = core.tile;
    let tiled = |groups: usize, depth: usize| {
        let per_group = (channels / groups).max(1).next_multiple_of(nr) * groups;
        ((rows * w).next_multiple_of(mr) * per_group * depth.next_multiple_of(kr)) as f64
    };
    let taps = (layer.window * layer.window) as f64;
    let weights = layer.weights() as f64;
    let mut macs = 0.0;
    let mut depthwise = 0.0;
    let mut gathered = 0.0;
    let mut requantized = 0.0;
    let mut other = 0.0;
    match layer.op {
        Op::Conv { groups } => {
            let depth = layer.window * layer.window * (layer.input[2] / groups);
            macs = tiled(groups, depth);
            if layer.window > 1 {
                gathered = (rows * w) as f64 * taps * layer.input[2] as f64;
            }
            requantized = outputs;
        }
        Op::Depthwise => {
            depthwise = outputs * taps;
            requantized = outputs;
        }
        // One row: the weights' way from memory counts, not the tile.
        Op::Dense => {
            macs = (layer.input.iter().product::<usize>() * channels) as f64;
            requantized = outputs;
        }
        Op::Pool => other = outputs * taps,
        Op::Normalize => {}
        Op::Add => other = 3.0 * outputs,
    }
    [1.0, macs, depthwise, gathered, requantized, other, weights]
}

/// Shares as the library's scheduler makes them: blocks of eight rows of a matrix, else evenly.
fn arm_compute(layer: &Layer, cores: usize) -> [f64; ARM_COMPUTE.len()] {
    /// Rows and columns of a tile of the matrix multiplication.
    const TILE: [usize; 2] = [8, 12];
    /// Side of a Winograd tile of the output, and multiplications for it.
    const WINOGRAD: (usize, usize) = (4, 36);
    /// Convolutions of fewer channels do not run as Winograd's.
    const MIN_CHANNELS: usize = 16;

    let even = |amount: usize| amount as f64 / cores as f64;
    let inputs: usize = layer.input.iter().product();
    let [h, w, c] = layer.output;
    let outputs = h * w * c;
    let [mut gemm, mut winograd, mut elements] = [0.0; 3];
    let [mut weights, mut dense, mut columns, mut short] = [0.0; 4];
    let [mut depthwise, mut normalized] = [0.0; 2];
    let [mut read, mut written] = [even(inputs), even(outputs)];
    match layer.op {
        Op::Conv { groups } => {
            let (from, to) = (layer.input[2] / groups, c / groups);
            let padded = to.next_multiple_of(TILE[1]);
            if layer.window == 3 && layer.stride == 1 && from >= MIN_CHANNELS {
                let (side, macs) = WINOGRAD;
                let tiles = h.div_ceil(side) * w.div_ceil(side);
                winograd = even(groups * macs * tiles * from * padded);
                elements = even(groups * macs * tiles * (from + to));
                weights = (4 * groups * macs * from * to) as f64;
            } else {
                let depth = layer.window * layer.window * from;
                let rows = (h * w).div_ceil(TILE[0]).div_ceil(cores) * TILE[0];
                gemm = (groups * rows * depth * padded) as f64;
                if layer.window > 1 {
                    columns = even(groups * h * w * depth);
                    short = if from < MIN_CHANNELS { columns } else { 0.0 };
                }
                weights = (4 * groups * depth * to) as f64;
            }
        }
        Op::Depthwise => depthwise = even(outputs),
        Op::Dense => {
            dense = 4.0 * layer.weights() as f64;
            [read, written] = [0.0; 2];
        }
        Op::Normalize => normalized = even(outputs),
        Op::Pool | Op::Add => {}
    }
    [
        1.0, gemm, winograd, elements, weights, dense, columns, short, read, written, depthwise,
        normalized,
    ]
}
