//! What the time of a layer is spent on, for the kernels that run it.
//!
//! Two kinds of kernels: ours, and those of the Arm Compute Library, in single precision, which
//! published timings are about. Each says how much of every feature a layer has on a team of
//! cores, and what one unit of it takes by static cycle counts: the prior of a [fit](crate::fit).

use pipeit_rt::kernels::Path;
use pipeit_rt::kernels::packed::{Access, Packing, Runs, winograd};
use pipeit_rt::team::share;
use pipeit_rt::tensor::{Hwc, Split};

use serde::{Deserialize, Serialize};

use crate::networks::{Layer, Op};

/// What is known of a type of core.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    name: &'static str,
    /// Rates of the Arm Compute Library's 8x12 kernel by its own performance model, per cycle:
    /// multiply-accumulates, bytes packed, bytes merged.
    gemm: [f64; 3],
    /// Of our kernels for the fastest path of such a core.
    int8: Rates,
}

/// What a core does of our kernels, by static analysis (llvm-mca), all data in the L1 cache.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    /// Multiply-accumulates of convolutions per cycle.
    macs: f64,
    /// Multiply-accumulates of depthwise convolutions per cycle.
    depthwise: f64,
    /// Cycles to requantize an output.
    requantize: f64,
    /// Bytes moved per cycle.
    bytes: f64,
}

/// Of the portable kernels on any core.
const PORTABLE: Rates = Rates { macs: 0.7, depthwise: 0.5, requantize: 6.0, bytes: 1.0 };
/// Of those for AVX2 and AVX-512 VNNI.
const AVX2: Rates = Rates { macs: 24.0, depthwise: 8.0, requantize: 0.5, bytes: 8.0 };
const AVX512: Rates = Rates { macs: 64.0, depthwise: 24.0, requantize: 0.3, bytes: 16.0 };
/// Of those for AMX, whose products are so many times as fast as those of AVX-512.
const AMX: Rates = Rates { macs: 64.0 * AMX_GAIN as f64, ..AVX512 };
const AMX_GAIN: usize = 4;

const fn rates(macs: f64, depthwise: f64, requantize: f64) -> Rates {
    Rates { macs, depthwise, requantize, bytes: 4.0 }
}

/// Where a source has no figures for a core, those of the most similar one stand.
const CORES: [Core; 5] = [
    Core { name: "cortex-a53", gemm: [2.777, 0.987, 0.898], int8: rates(3.4, 2.0, 72.0 / 16.0) },
    Core { name: "cortex-a55", gemm: [3.954, 1.252, 1.141], int8: rates(16.0, 2.0, 72.0 / 16.0) },
    Core { name: "cortex-a72", gemm: [2.885, 1.429, 1.163], int8: rates(8.0, 5.7, 19.0 / 16.0) },
    Core { name: "cortex-a73", gemm: [2.885, 1.429, 1.163], int8: rates(8.0, 5.7, 19.0 / 16.0) },
    Core { name: "cortex-a76", gemm: [2.885, 1.429, 1.163], int8: rates(32.0, 5.8, 1.0) },
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

    /// One that executes the kernels of `path`, where nothing more is known.
    #[must_use]
    pub const fn typical(path: Path) -> Self {
        let [_, _, a72, _, a76] = CORES;
        match path {
            Path::Dotprod | Path::I8mm => a76,
            _ => a72,
        }
    }

    const fn rates(&self, path: Path) -> Rates {
        match path {
            Path::Reference => PORTABLE,
            Path::Avx2 => AVX2,
            Path::Avx512Vnni => AVX512,
            Path::Amx => AMX,
            _ => self.int8,
        }
    }
}

/// Kernels on a team of cores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kernels {
    /// Ours.
    Int8 {
        /// Type of the cores.
        core: Core,
        /// The kernels they execute.
        path: Path,
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

/// Where the weights are that a layer reads, which the layers around it decide.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Weights {
    /// In the core's own caches: all weights between two frames fit.
    #[default]
    Warm,
    /// In a cache that cores share.
    Shared,
    /// In memory.
    Memory,
}

impl Weights {
    /// Where the weights of a network of so many bytes are, by usual sizes of caches.
    #[must_use]
    pub const fn of(bytes: u64) -> Self {
        match bytes {
            0..0x8_0000 => Self::Warm,
            0x8_0000..0x100_0000 => Self::Shared,
            _ => Self::Memory,
        }
    }
}

/// Name of the feature that a stage has, too, when it takes over what another has written.
pub(crate) const READ_OF_OTHERS: &str = "bytes read of other cores";

/// The features of our kernels.
const INT8: [&str; 30] = [
    "layers",
    "layers in tile registers",
    "barriers",
    "MACs of tiles",
    "input bytes of tiles",
    "tiles",
    "runs of tiles",
    "bytes gathered",
    "pieces gathered",
    "outputs of tiles",
    "depthwise MACs",
    "depthwise MACs in steps",
    "depthwise strips",
    "dense MACs",
    "dense outputs",
    "outputs pooled",
    "elements pooled",
    "elements averaged",
    "outputs of sums",
    "bytes moved",
    "other MACs",
    "other outputs",
    "convolutions' weight bytes from a shared cache",
    "convolutions' weight bytes from memory",
    "dense weight bytes from a shared cache",
    "dense weight bytes from memory",
    "dense weight bytes of the team from memory",
    READ_OF_OTHERS,
    "bytes written by turns",
    "pixels that cores share",
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
    /// Where the weights are matters to our kernels only: the library's always stream.
    #[must_use]
    pub fn features(&self, layers: &[Layer], weights: Weights) -> Vec<f64> {
        let mut sum = vec![0.0; self.names().len()];
        for layer in layers {
            let amounts: &[f64] = match *self {
                Self::Int8 { path, cores, .. } => &int8(layer, weights, path, cores),
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
            Self::Int8 { core, path, .. } => {
                let Rates { macs, depthwise, requantize, bytes } = core.rates(path);
                let [macs, depthwise, byte] = [macs, depthwise, bytes].map(|rate| cycle / rate);
                let requantize = requantize * cycle;
                // A layer starts and ends with a barrier, a cache line's way per core.
                let (layer, barrier) = (150.0, 100.0);
                let portable = cycle / PORTABLE.macs;
                // The rate of a tile of whole panels is that of multiplying and reading inputs.
                let columns = path.packing().map_or(1, |packing| packing.columns);
                let tile_macs = macs * (1.0 - 1.0 / f64::from(columns));
                let weights = 1.0 / gb_per_s;
                vec![
                    layer,
                    500.0 * cycle,
                    barrier,
                    tile_macs,
                    macs,
                    20.0 * cycle,
                    5.0 * cycle,
                    byte,
                    10.0 * cycle,
                    requantize,
                    depthwise,
                    2.0 * depthwise,
                    20.0 * cycle,
                    2.0 * macs,
                    10.0 * requantize,
                    4.0 * byte,
                    byte / 2.0,
                    byte,
                    3.0 * byte + requantize,
                    2.0 * byte,
                    portable,
                    10.0 * cycle,
                    // Those of a convolution are read ahead while it multiplies.
                    weights / 8.0,
                    weights / 4.0,
                    weights / 2.0,
                    weights / 4.0,
                    3.0 * weights / 4.0,
                    2.0 * byte,
                    byte,
                    20.0 * cycle,
                ]
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

/// How the kernels of a path cut their work.
#[derive(Clone, Copy, Debug)]
struct Geometry {
    /// Pixels of a tile of convolutions.
    tile: usize,
    /// Pixels that a tile has in registers at once, for up to two vectors of columns and for more.
    at_once: [usize; 2],
    /// What is missing to that is computed, too.
    is_filled: bool,
    /// A rest of up to so many pixels is shared with the tile before.
    rest: usize,
    /// Output columns and rows of a strip of depthwise convolutions.
    strip: [usize; 2],
}

impl Geometry {
    fn of(path: Path) -> Self {
        let arm = |rows| Self {
            tile: rows,
            at_once: [rows; 2],
            is_filled: true,
            rest: rows / 3,
            strip: [1, 1],
        };
        let avx512 =
            Self { tile: 120, at_once: [11, 6], is_filled: false, rest: 2, strip: [2, 16] };
        match path {
            Path::Reference => arm(1),
            Path::Neon | Path::I8mm => arm(4),
            Path::Dotprod => Self { tile: 20, is_filled: false, ..arm(5) },
            Path::Avx2 => {
                Self { tile: 192, at_once: [8; 2], is_filled: false, rest: 2, strip: [2, 1] }
            }
            Path::Amx => Self { tile: 112, rest: 15, ..avx512 },
            _ => avx512,
        }
    }

    /// The tiles of `pixels` pixels: how many, of how many pixels.
    fn tiles(&self, pixels: usize) -> [(usize, usize); 3] {
        let (full, rest) = (pixels / self.tile, pixels % self.tile);
        let little = 1..=self.rest;
        if full > 0 && little.contains(&rest) {
            let last = self.tile + rest;
            return [(full - 1, self.tile), (1, last.div_ceil(2)), (1, last / 2)];
        }
        [(full, self.tile), (usize::from(rest > 0), rest), (0, 0)]
    }
}

/// The largest of the runtime's shares.
fn int8(layer: &Layer, at: Weights, path: Path, cores: usize) -> [f64; INT8.len()] {
    let [h, w, c] = layer.output;
    let output = Hwc { h: h as u32, w: w as u32, c: c as u32 };
    let packing = path.packing();
    let panel = packing.map_or(1, |packing| packing.columns).max(16) as u16;
    let split = match layer.op {
        Op::Conv { groups: 1 } if is_transformed(layer, 1, path) => {
            Split::RowsOrChannels { step: 16 }
        }
        Op::Conv { groups: 1 } | Op::Dense => Split::RowsOrChannels { step: panel },
        Op::Conv { .. } | Op::Other { .. } => Split::Rows,
        _ => Split::RowsOrChannels { step: 16 },
    };
    let shares = (0..cores).map(|member| share(output, split, member, cores));
    let (rows, channels) = shares
        .map(|region| (region.rows.len(), region.channels.len()))
        .max_by_key(|(rows, channels)| rows * channels)
        .unwrap_or((h, c));
    let outputs = (rows * w * channels) as f64;
    let part = outputs / (h * w * c).max(1) as f64;
    let macs = layer.macs() as f64 * part;
    // Of vectors that the last channels do not fill.
    let [blocks, vectors] = [16, 64].map(|width| channels.next_multiple_of(width));
    let geometry = Geometry::of(path);
    let mut found = [0.0; INT8.len()];
    let [
        layers,
        shaped,
        barriers,
        tile_macs,
        tile_inputs,
        tiles,
        runs,
        gathered,
        pieces,
        tile_outputs,
        depthwise,
        stepped,
        strips,
        dense,
        dense_outputs,
        pooled_outputs,
        pooled,
        averaged,
        summed,
        moved,
        other,
        other_outputs,
        conv_shared,
        conv_memory,
        dense_shared,
        dense_memory,
        team_memory,
        read_of_others,
        written_by_turns,
        split_pixels,
    ] = &mut found;
    *layers = 1.0;
    *barriers = (cores - 1) as f64;
    let weights = layer.weights() as f64 * channels as f64 / c.max(1) as f64;
    match (layer.op, packing) {
        (Op::Conv { groups }, Some(packing)) => {
            let conv = Conv { layer, groups, rows, columns: channels / groups, packing, geometry };
            let amounts = conv.amounts(path);
            [*shaped, *tile_macs, *tile_inputs, *tiles, *runs, *tile_outputs, *gathered, *pieces] =
                amounts;
            match at {
                Weights::Warm => {}
                Weights::Shared => *conv_shared = weights,
                Weights::Memory => *conv_memory = weights,
            }
        }
        (Op::Depthwise, Some(_)) => {
            let [wide, high] = geometry.strip;
            let computed = blocks * rows * w.next_multiple_of(wide) * layer.taps();
            *(if layer.stride > 1 { stepped } else { depthwise }) = computed as f64;
            *strips = (blocks / 16 * w.div_ceil(wide) * rows.div_ceil(high)) as f64;
        }
        // One row: the weights' way counts, not the tile.
        (Op::Dense, Some(_)) => {
            (*dense, *dense_outputs) = (macs, vectors as f64);
            match at {
                Weights::Warm => {}
                Weights::Shared => *dense_shared = weights,
                Weights::Memory => {
                    (*dense_memory, *team_memory) = (weights, layer.weights() as f64);
                }
            }
        }
        (Op::Pool, _) => {
            let computed = (rows * w * vectors) as f64;
            let elements = computed * layer.taps() as f64;
            let is_mean = layer.taps() == layer.input[0] * layer.input[1];
            *pooled_outputs = computed;
            *(if is_mean { averaged } else { pooled }) = elements;
        }
        (Op::Add, _) => {}
        (Op::Copy, _) => *moved = outputs,
        // There is no such operator in int8.
        (Op::Normalize, _) => *layers = 0.0,
        _ => (*other, *other_outputs) = (macs, outputs),
    }
    if layer.residual || layer.op == Op::Add {
        *summed = outputs;
    }
    // Memory is used again for what other cores write.
    let of_others = (cores - 1) as f64 / cores as f64;
    *written_by_turns = outputs * of_others;
    if channels < c {
        // Rows of the input are each a core's, as a rule.
        let [h, w, all] = layer.input;
        let read = if matches!(layer.op, Op::Conv { .. } | Op::Dense) { all } else { channels };
        *read_of_others = (h * w * read) as f64 * of_others;
        if !channels.is_multiple_of(LINE) {
            *split_pixels = (rows * w) as f64;
        }
    }
    found
}

/// Rows of a tile register, and bytes of one.
const REGISTER: [usize; 2] = [16, 64];

/// Tile registers that cover `pixels` of lines of `line` pixels with `gap` others in between.
fn registers(pixels: usize, line: usize, gap: usize) -> usize {
    let (mut count, mut x, mut left) = (0, 0, pixels);
    while left > 0 {
        let mut room = REGISTER[0];
        while room > 0 && left > 0 {
            let some = (line - x).min(room).min(left);
            (left, room, x) = (left - some, room - some, x + some);
            if x == line {
                (x, room) = (0, room.saturating_sub(gap));
            }
        }
        count += 1;
    }
    count
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Whether a convolution is computed by Winograd's filtering, as far as extents tell.
fn is_transformed(layer: &Layer, groups: usize, path: Path) -> bool {
    let [h, w, c] = layer.output.map(|n| n as u32);
    let channels = (layer.input[2] / groups) as u32;
    path.accesses().contains(&Access::Winograd)
        && (layer.window, layer.stride) == ([3, 3], 1)
        && channels.is_multiple_of(winograd::CHANNELS)
        && channels <= winograd::MOST_CHANNELS
        && winograd::pays(path, channels, Hwc { h, w, c: c / groups as u32 })
}

/// A core's share of a convolution.
#[derive(Clone, Copy, Debug)]
struct Conv<'a> {
    layer: &'a Layer,
    groups: usize,
    /// Output rows.
    rows: usize,
    /// Output channels of a group.
    columns: usize,
    packing: Packing,
    geometry: Geometry,
}

impl Conv<'_> {
    /// Whether tile registers are shaped; multiply-accumulates, bytes of input read for them, tiles,
    /// runs of inputs of all tiles, outputs; bytes and pieces gathered.
    fn amounts(&self, path: Path) -> [f64; 8] {
        let Self { layer, groups, columns, packing, geometry, .. } = *self;
        let [down, across] = layer.window;
        let channels = layer.input[2] / groups;
        if is_transformed(layer, groups, path) {
            return self.transformed(path, channels);
        }
        let is_copied = packing.offset != 0;
        // Runs are filled up: those of a row of the window, or where that is less one of all.
        let align = packing.align as usize;
        let (run_count, depth) = match is_copied {
            true => (down, down * (across * channels).next_multiple_of(align)),
            false => (1, (layer.taps() * channels).next_multiple_of(align)),
        };
        let [wide, narrow] = [packing.columns, packing.narrow].map(|width| width as usize);
        let whole = (columns / wide, wide);
        let last =
            (usize::from(!columns.is_multiple_of(wide)), (columns % wide).next_multiple_of(narrow));
        let run = match is_copied {
            true => Runs { count: down as u32, len: (across * channels) as u32 },
            false => Runs { count: 1, len: (layer.taps() * channels) as u32 },
        };
        let in_registers = packing.uses_tiles(run);
        // What a multiply-accumulate takes, in those of the path's own instructions.
        let (depth, slower) = match path {
            Path::Amx if in_registers => (depth.next_multiple_of(down * REGISTER[1]), 1),
            Path::Amx => (depth, AMX_GAIN),
            _ => (depth, 1),
        };
        let [mut macs, mut inputs, mut tiles, mut outputs] = [0; 4];
        let [mut bytes, mut pieces] = [0; 2];
        for (patches, [patch_rows, patch_columns]) in self.patches(channels) {
            let copied = self.copied([patch_rows, patch_columns]);
            for (count, pixels) in geometry.tiles(patch_rows * patch_columns) {
                for (panels, width) in [whole, last] {
                    let at_once = geometry.at_once[usize::from(width > 2 * 16)];
                    let parts = match in_registers {
                        true => registers(pixels, patch_columns, copied[1] - patch_columns),
                        false => pixels.div_ceil(at_once),
                    };
                    let multiplied = match geometry.is_filled {
                        _ if in_registers => parts * REGISTER[0],
                        true => parts * at_once,
                        false => pixels,
                    };
                    let scaled = if geometry.is_filled { multiplied } else { pixels };
                    let count = patches * count * panels;
                    macs += count * multiplied * width * depth * slower;
                    inputs += count * multiplied * depth * slower;
                    tiles += count * parts;
                    outputs += count * scaled * width;
                }
            }
            // Neighbours in a row lie side by side.
            let is_adjacent = groups == 1 && (across > 1 || layer.stride == 1);
            if is_copied || layer.taps() > 1 {
                bytes += patches * copied[0] * copied[1] * channels;
                pieces += patches * copied[0] * if is_adjacent { 1 } else { copied[1] };
            }
        }
        let runs = if in_registers { 0 } else { tiles * run_count };
        if path == Path::Amx && !in_registers {
            // A tile is a product of registers here, which takes longer than beginning one of
            // AVX-512: that is among its runs.
            tiles = 0;
        }
        let shaped = usize::from(in_registers);
        let all = [shaped, macs, inputs, tiles, runs, outputs, bytes, pieces];
        all.map(|n| (groups * n) as f64)
    }

    /// The amounts by Winograd's filtering: what products and sums take in those of the path's
    /// other kernel.
    fn transformed(&self, path: Path, channels: usize) -> [f64; 8] {
        let Self { layer, groups, columns, .. } = *self;
        let tiles =
            self.rows.div_ceil(winograd::OUTPUTS) * layer.output[1].div_ceil(winograd::OUTPUTS);
        let [h, w] = [self.rows, layer.output[1]].map(|n| n as u32);
        let multiplications = winograd::multiplications(Hwc { h, w, c: 1 }) as usize;
        let products = multiplications * channels;
        // Columns whose sums are in registers at once; how many of its products a multiplication
        // takes, and of its outputs a sum, in halves.
        let (at_once, [slower, scaled]) = match path {
            Path::Avx2 => (16, [3, 5]),
            _ => (64, [4, 3]),
        };
        let columns = columns.next_multiple_of(16);
        let parts = multiplications.div_ceil(6) * columns.div_ceil(at_once);
        let sums = tiles * winograd::OUTPUTS * winograd::OUTPUTS * columns;
        let macs = products * columns * slower / 2;
        let all = [0, macs, products, parts, 0, sums * scaled / 2, products, 0];
        all.map(|n| (groups * n) as f64)
    }

    /// Rows and columns of the input under a patch of outputs.
    fn copied(&self, patch: [usize; 2]) -> [usize; 2] {
        [0, 1].map(|axis| match self.layer.window[axis] {
            1 => patch[axis],
            taps => (patch[axis].max(1) - 1) * self.layer.stride + taps,
        })
    }

    /// The patches of outputs whose inputs fit into a kernel's memory: how many, of how many rows
    /// and columns.
    fn patches(&self, channels: usize) -> [(usize, [usize; 2]); 2] {
        let columns = self.layer.output[1];
        let fits = |patch: [usize; 2]| {
            let [rows, columns] = self.copied(patch);
            rows * columns * channels <= self.packing.scratch as usize
        };
        let most = |n: usize, patch: &dyn Fn(usize) -> [usize; 2]| {
            (1..=n).rev().find(|&n| fits(patch(n))).map(|most| n.div_ceil(n.div_ceil(most)))
        };
        let Some(rows) = most(self.rows, &|rows| [rows, columns]) else {
            let some = most(columns, &|columns| [1, columns]).unwrap_or(1);
            let (all, rest) = (columns / some, columns % some);
            return [(self.rows * all, [1, some]), (usize::from(rest > 0) * self.rows, [1, rest])];
        };
        let (all, rest) = (self.rows / rows, self.rows % rows);
        [(all, [rows, columns]), (usize::from(rest > 0), [rest, columns])]
    }
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
            if layer.taps() == 9 && layer.stride == 1 && from >= MIN_CHANNELS {
                let (side, macs) = WINOGRAD;
                let tiles = h.div_ceil(side) * w.div_ceil(side);
                winograd = even(groups * macs * tiles * from * padded);
                elements = even(groups * macs * tiles * (from + to));
                weights = (4 * groups * macs * from * to) as f64;
            } else {
                let depth = layer.taps() * from;
                let rows = (h * w).div_ceil(TILE[0]).div_ceil(cores) * TILE[0];
                gemm = (groups * rows * depth * padded) as f64;
                if layer.taps() > 1 {
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
        Op::Pool | Op::Add | Op::Copy | Op::Other { .. } => {}
    }
    [
        1.0, gemm, winograd, elements, weights, dense, columns, short, read, written, depthwise,
        normalized,
    ]
}
