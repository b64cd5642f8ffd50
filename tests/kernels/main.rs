//! Every path's kernels against the portable ones, on noise and extremes: all tails of
//! channels and pixels, all windows, all shares of a team.
//!
//! The weights are noise in the packed layout, so that no packing is needed here; that packed
//! layers equal unpacked ones is the host tool's test.
#![cfg(not(miri))]

mod refused;
mod section;

use std::cell::Cell;

use pipeit_rt::kernels::packed::{
    Access, DepthwisePacking, FixedSum, PackedConv2d, PackedDepthwiseConv2d, Packing, Place,
    Rounding, Together, fitting, winograd,
};
use pipeit_rt::kernels::reference::{
    Add, AveragePool2d, Copy, Interpolation, Lookup, MaxPool2d, Mean, Mul, Pad, ResizeBilinear,
    ResizeNearestNeighbor, Softmax, Term, Ties,
};
use pipeit_rt::kernels::{self, Io, KernelTable, Op, Path, REFERENCE, Signature, Window};
use pipeit_rt::quant::{Multiplier, Output};
use pipeit_rt::team::share;
use pipeit_rt::tensor::{Hwc, Layout, Tile, View};
use pipeit_rt::weights::{Span, Weights};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use section::Section;

/// Layers tried per path and operator.
const CASES: u32 = 400;

/// Numbers that repeat for the same seed; SplitMix64.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Codes: noise, or nothing but extremes.
    fn codes(&mut self, len: usize, lowest: i8) -> Vec<i8> {
        let extreme = self.below(4) == 0;
        let code = |noise: &mut Self| match extreme {
            true => [lowest, 127][noise.below(2) as usize],
            false => (noise.next() as i8).max(lowest),
        };
        (0..len).map(|_| code(self)).collect()
    }
}

/// A layer and the extents of what it reads and writes.
struct Layer {
    op: Op,
    section: Section,
    inputs: Vec<Hwc>,
    output: Hwc,
}

fn window(noise: &mut Noise) -> Window {
    let mut pair = |n: u64| [noise.below(n) as u16, noise.below(n) as u16];
    let [taps, stride, dilation, pad] = [pair(4), pair(3), pair(6), pair(3)];
    let plus_1 = |pair: [u16; 2]| pair.map(|n| n + 1);
    let dilation = dilation.map(|n| if n == 5 { 2 } else { 1 });
    Window { taps: plus_1(taps), stride: plus_1(stride), dilation, pad }
}

fn common_window(noise: &mut Noise) -> Window {
    let (taps, pad) =
        [([1, 1], [0, 0]), ([3, 3], [1, 1]), ([5, 5], [2, 2])][noise.below(3) as usize];
    let stride = [1 + noise.below(2) as u16; 2];
    Window { taps, stride, dilation: [1, 1], pad }
}

fn any_window(noise: &mut Noise) -> Window {
    if noise.below(2) == 0 { window(noise) } else { common_window(noise) }
}

/// Per panel of `width` columns: bias, mantissa and shift of each, then what a path adds.
fn table(
    noise: &mut Noise,
    table: &KernelTable,
    widths: &[usize],
    parameters: usize,
    fast: bool,
    depth: u32,
) -> Vec<i32> {
    let mut numbers = Vec::new();
    // Sums of noise are about this large; most outputs are then not at the ends.
    let scale = (f64::from(depth).sqrt() * 74.0 * 74.0 / 40.0).log2() as i32;
    for &width in widths {
        let bias: Vec<_> = (0..width).map(|_| noise.next() as i32 >> 14).collect();
        let mantissa: Vec<_> =
            (0..width).map(|_| (1 << 30) | (noise.next() as i32 & 0x3FFF_FFFF)).collect();
        let shift: Vec<_> = (0..width)
            .map(|_| match fast {
                true => -(scale + noise.below(4) as i32 - 1).clamp(1, 30),
                false => 4 - noise.below(30) as i32,
            })
            .collect();
        let start = numbers.len();
        numbers.extend(bias.into_iter().chain(mantissa).chain(shift));
        numbers.resize(start + width * parameters, 0);
        kernels::packed::complete(table.path, &mut numbers[start..], width);
    }
    numbers
}

fn output(noise: &mut Noise) -> Output {
    let ends = [noise.next() as i8, noise.next() as i8];
    let (min, max) = if noise.below(2) == 0 {
        (-128, 127)
    } else {
        (ends[0].min(ends[1]), ends[0].max(ends[1]))
    };
    Output { zero_point: noise.next() as i8, min, max }
}

fn zero_point(noise: &mut Noise) -> i8 {
    match noise.below(12) {
        0 => -128,
        1 => 127,
        2 | 3 => noise.next() as i8,
        _ => 0,
    }
}

/// Filters of a convolution of `c` inputs, for panels as wide as told.
fn packed_noise(
    noise: &mut Noise,
    packing: &Packing,
    conv: &PackedConv2d,
    c: u32,
    widths: &[usize],
) -> Option<Vec<i8>> {
    let runs = conv.runs(c)?;
    let (depth, padded) = (packing.depth(runs)? as usize, packing.padded(runs.len)? as usize);
    let lowest = if conv.full_range { -128 } else { -127 };
    let mut weights = noise.codes(widths.iter().sum::<usize>() * depth, lowest);
    // Weights of inputs that only fill up are noise, too, unlike those the tool writes: what a
    // kernel reads there must be the code its contract says. They are zeroed here.
    let mut start = 0;
    for &width in widths {
        for k in (0..depth).filter(|k| k % padded >= runs.len as usize) {
            for slot in 0..width {
                weights[start + packing.position(width, k, slot)] = 0;
            }
        }
        start += width * depth;
    }
    Some(weights)
}

/// A panel for a path that saturates, with groups anywhere in the rows of the window.
fn panel_of_groups(noise: &mut Noise, packing: &Packing, conv: &PackedConv2d, c: u32) -> Vec<i8> {
    let all = conv.panel_groups as usize;
    let used = noise.below(all as u64 + 1) as usize;
    let fours = 4 * noise.below(used as u64 / 4 + 1) as usize;
    let twos = 2 * noise.below((used - fours) as u64 / 2 + 1) as usize;
    let reach = conv.reach(packing, conv.runs(c).unwrap()).unwrap();
    let (mut places, mut weights) = (Vec::new(), Vec::new());
    for group in 0..all {
        if group >= used {
            places.extend(Place::NONE.to_codes());
            weights.extend([0; 32]);
            continue;
        }
        let place = Place {
            row: noise.below(conv.window.taps[0].into()) as u16,
            input: noise.below(u64::from(reach) - 3) as u16,
            together: match group {
                _ if group < fours => Together::Four,
                _ if group < fours + twos => Together::Two,
                _ => Together::One,
            },
        };
        places.extend(place.to_codes());
        let step = u32::from(conv.window.dilation[1]) * c;
        for _ in 0..8 {
            let pairs = [0, 2].map(|first| {
                let pair = [any_weight(noise), any_weight(noise)].map(i16::from);
                // Of those of some groups, no sum is too large.
                let pair = match place.together {
                    Together::One => pair,
                    Together::Two => pair.map(|weight| weight >> 2),
                    Together::Four => pair.map(|weight| weight >> 3),
                };
                // Between taps, and behind them, there is nothing to be multiplied.
                let is_input = |i: u32| {
                    let at = u32::from(place.input) + i;
                    at / step < conv.window.taps[1].into() && at % step < c
                };
                let [a, b] = pair;
                fitting([
                    if is_input(first) { a } else { 0 },
                    if is_input(first + 1) { b } else { 0 },
                ])
            });
            weights.extend(pairs.as_flattened());
        }
    }
    places.extend(weights);
    places
}

/// A panel of filters for Winograd's filtering, `c` inputs deep, some of 9 bits.
fn transformed_panel(noise: &mut Noise, c: usize, width: usize) -> Vec<i8> {
    let mut panel = vec![0; width * c * 2 * winograd::POSITIONS];
    for (input, slot) in (0..c).flat_map(|input| (0..width).map(move |slot| (input, slot))) {
        let filter = std::array::from_fn(|_| match noise.below(4) {
            0 => noise.below(511) as i16 - 255,
            _ => any_weight(noise).into(),
        });
        let places = winograd::places(c, input, width, slot);
        for (number, at) in winograd::transformed(filter).into_iter().zip(places) {
            panel[at..at + 2].copy_from_slice(&number.to_le_bytes().map(u8::cast_signed));
        }
    }
    panel
}

fn any_weight(noise: &mut Noise) -> i8 {
    match noise.below(4) {
        0 => -128,
        1 => 127,
        _ => noise.next() as i8,
    }
}

fn conv_2d(noise: &mut Noise, kernels: &KernelTable) -> Option<Layer> {
    let packing = kernels.path.packing()?;
    let channels =
        [noise.below(40), 4 * noise.below(20), 16 * noise.below(10), 64 * noise.below(4)];
    let c = channels[noise.below(4) as usize] as u32 + 1 - u32::from(noise.below(2) == 0);
    let outputs = [noise.below(20), 16 * noise.below(12), noise.below(200)];
    let outputs = outputs[noise.below(3) as usize] as u32 + 1 - u32::from(noise.below(2) == 0);
    let groups = if noise.below(5) == 0 { 2 + noise.below(3) as u32 } else { 1 };
    let (c, outputs) = (c.max(1), outputs.max(1));
    let [h, w, output_h, output_w] = [9, 9, 7, 7].map(|n| 1 + noise.below(n) as u32);
    let mut input = Hwc { h, w, c: groups * c };
    let mut output_hwc = Hwc { h: output_h, w: output_w, c: groups * outputs };
    let is_wide = noise.below(16) == 0 && groups == 1;
    if is_wide {
        // Rows of which a kernel's memory does not hold a window's.
        (input.w, input.c) = (40 + noise.below(20) as u32, 300 + noise.below(300) as u32);
        (output_hwc.w, output_hwc.c) = (30 + noise.below(20) as u32, 1 + noise.below(3) as u32);
    }
    let is_large = noise.below(12) == 0 && groups == 1 && !is_wide;
    if is_large {
        // More of an output than residuals are added to at once.
        (input.h, input.c) = (30 + noise.below(20) as u32, 1 + noise.below(6) as u32);
        let [h, w, c] = [20, 10, 60].map(|n| n + noise.below(n.into()) as u32);
        output_hwc = Hwc { h: 2 * h, w: 2 * w, c: 2 * c };
    }
    let fast = noise.below(4) != 0;
    let full_range = noise.below(3) == 0;
    let accesses = kernels.path.accesses();
    let access = accesses[noise.below(accesses.len() as u64) as usize];
    let mut window = any_window(noise);
    if access == Access::Winograd {
        (window.taps, window.stride, window.dilation) = ([3; 2], [1; 2], [1; 2]);
        input.c = groups * 16 * (1 + noise.below(6) as u32);
        // Now and then more tiles than are transformed at once.
        output_hwc.w *= 1 + noise.below(6) as u32;
    }
    if access == Access::Widen {
        (window.taps, window.pad) = ([1; 2], [0; 2]);
        [input.h, input.w, output_hwc.h, output_hwc.w] = [1; 4];
    }
    let moves_in_place = access == Access::Direct && packing.offset != 0;
    if moves_in_place {
        // No inputs lie elsewhere.
        (window.taps, window.pad) = ([1; 2], [0; 2]);
        input.c = groups * 4 * (1 + noise.below(30) as u32);
        let [down, across] = window.stride.map(u32::from);
        // Now and then more than a tile.
        input.w *= 1 + noise.below(6) as u32;
        (output_hwc.h, output_hwc.w) = ((input.h - 1) / down + 1, (input.w - 1) / across + 1);
    }
    let (c, outputs) = (input.c / groups, output_hwc.c / groups);
    let mut conv = PackedConv2d {
        path: kernels.path,
        window,
        groups,
        input_zero_point: noise.next() as i8,
        weight_zero_point: match access {
            Access::Winograd => 0,
            _ if packing.saturates || moves_in_place => 0,
            _ => zero_point(noise),
        },
        access,
        rounding: if noise.below(4) == 0 { Rounding::Once } else { Rounding::Double },
        fast,
        full_range,
        block: 1 + noise.below(if is_large { 20 } else { 3 }) as u16,
        panel_groups: 0,
        weights: Span::new(0, 0, 0),
        columns: Span::new(0, 0, 0),
        output: output(noise),
        residual: (is_large || noise.below(3) == 0).then(|| sum(noise)),
    };
    if !conv.fits(input, output_hwc) {
        return None;
    }
    let packing = conv.packing()?;
    let columns = packing.all_columns(outputs)?;
    let panels = columns.div_ceil(packing.columns);
    let widths = (0..groups).flat_map(|_| 0..panels);
    let widths: Vec<_> = widths.map(|panel| packing.panel(outputs, panel).len()).collect();
    let mut section = Section::default();
    let runs = conv.runs(c)?;
    let weights = if access == Access::Winograd {
        widths.iter().flat_map(|&width| transformed_panel(noise, c as usize, width)).collect()
    } else if packing.saturates && access == Access::Band {
        conv.panel_groups = 2 * (1 + noise.below(20)) as u32;
        let panels = widths.iter().flat_map(|_| panel_of_groups(noise, &packing, &conv, c));
        panels.collect()
    } else {
        packed_noise(noise, &packing, &conv, c, &widths)?
    };
    conv.weights = section.codes(&weights);
    let mut numbers =
        table(noise, kernels, &widths, packing.parameters as usize, fast, runs.count * runs.len);
    if let Some(residual) = conv.residual.as_ref().filter(|_| packing.sum > 0) {
        // Now and then none is known to be exact.
        let has_sum = noise.below(4) != 0;
        numbers.extend(if has_sum { FixedSum::numbers(residual) } else { Default::default() });
    }
    conv.columns = section.numbers(&numbers);
    let residual = conv.residual.map(|_| output_hwc);
    let inputs = [input].into_iter().chain(residual).collect();
    Some(Layer { op: Op::PackedConv2d(conv), section, inputs, output: output_hwc })
}

fn depthwise(noise: &mut Noise, kernels: &KernelTable) -> Option<Layer> {
    let packing = DepthwisePacking::of(kernels.path)?;
    let c =
        1 + if noise.below(2) == 0 { noise.below(150) } else { 16 * noise.below(11) + 15 } as u32;
    let input = Hwc { h: 1 + noise.below(9) as u32, w: 1 + noise.below(9) as u32, c };
    let output_hwc = Hwc { h: 1 + noise.below(7) as u32, w: 1 + noise.below(7) as u32, c };
    let fast = noise.below(4) != 0;
    let full_range = noise.below(3) == 0;
    let window = any_window(noise);
    let taps = packing.taps(&window)? as usize;
    let blocks = (c as usize).div_ceil(packing.channels as usize);
    let block = packing.channels as usize;
    let mut weights = noise.codes(blocks * block * taps, if full_range { -128 } else { -127 });
    let mut filler = vec![true; block * taps];
    let [down, across] = window.taps.map(usize::from);
    for tap in (0..down).flat_map(|d| (0..across).map(move |a| [d, a])) {
        (0..block).for_each(|c| filler[packing.position(&window, tap, c)] = false);
    }
    for (weight, _) in weights.iter_mut().zip(filler.iter().cycle()).filter(|(_, filler)| **filler)
    {
        *weight = 0;
    }
    let mut section = Section::default();
    let weights = section.codes(&weights);
    let widths = vec![block; blocks];
    let numbers = table(
        noise,
        kernels,
        &widths,
        packing.parameters as usize,
        fast,
        window.taps.map(u32::from).iter().product(),
    );
    let op = PackedDepthwiseConv2d {
        path: kernels.path,
        window,
        input_zero_point: noise.next() as i8,
        weight_zero_point: zero_point(noise),
        fast,
        full_range,
        rows_at_once: 0,
        weights,
        columns: section.numbers(&numbers),
        output: output(noise),
    };
    let op = Op::PackedDepthwiseConv2d(op);
    Some(Layer { op, section, inputs: vec![input], output: output_hwc })
}

/// Extents of an image; channels in vectors and not.
fn image(noise: &mut Noise) -> Hwc {
    let c = if noise.below(2) == 0 { 1 + noise.below(150) } else { 16 * (1 + noise.below(12)) };
    Hwc { h: 1 + noise.below(9) as u32, w: 1 + noise.below(9) as u32, c: c as u32 }
}

fn multiplier(noise: &mut Noise, shift: i32) -> Multiplier {
    let mantissa = match noise.below(4) {
        0 => 1 << 30,
        _ => (1 << 30) | (noise.next() as i32 & 0x3FFF_FFFF),
    };
    Multiplier { mantissa, shift: (shift - noise.below(4) as i32).clamp(-31, 30) }
}

/// A window of which every output sees at least one element, and the output's extents.
fn pool_window(noise: &mut Noise, input: Hwc) -> (Window, Hwc) {
    let mut axis = |extent: u32| {
        let taps = 1 + noise.below(extent.min(7).into()) as u32;
        let (stride, pad) = (1 + noise.below(3) as u32, noise.below(taps.into()) as u32);
        (taps as u16, stride as u16, pad as u16, (extent + pad - 1) / stride + 1)
    };
    let (down, across) = (axis(input.h), axis(input.w));
    let window = Window {
        taps: [down.0, across.0],
        stride: [down.1, across.1],
        dilation: [1, 1],
        pad: [down.2, across.2],
    };
    let mut some = |most: u32| 1 + noise.below(most.into()) as u32;
    (window, Hwc { h: some(down.3), w: some(across.3), c: input.c })
}

fn pool(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let input = image(noise);
    let (window, hwc) = pool_window(noise, input);
    let Output { min, max, .. } = output(noise);
    let clamp = (min, max);
    let op = match noise.below(3) {
        0 => Op::MaxPool2d(MaxPool2d { window, clamp }),
        1 => Op::AveragePool2d(AveragePool2d { window, ties: Ties::Up, clamp }),
        _ => Op::AveragePool2d(AveragePool2d { window, ties: Ties::AwayFromZero, clamp }),
    };
    Some(Layer { op, section: Section::default(), inputs: vec![input], output: hwc })
}

fn mean(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let input = image(noise);
    let axes = match noise.below(2) {
        0 => [true, true, false],
        _ => [0; 3].map(|_: i32| noise.below(2) == 0),
    };
    let [h, w, c] = axes;
    let kept = |reduced: bool, extent: u32| if reduced { 1 } else { extent };
    let hwc = Hwc { h: kept(h, input.h), w: kept(w, input.w), c: kept(c, input.c) };
    let zero = noise.next() as i8;
    let multiplier = multiplier(noise, 1);
    let op = Mean { axes, input_zero_point: zero, multiplier, output: output(noise) };
    Some(Layer { op: Op::Mean(op), section: Section::default(), inputs: vec![input], output: hwc })
}

/// Two inputs of the same extents, or of which one is repeated along some axes.
fn pair(noise: &mut Noise) -> (Vec<Hwc>, Hwc) {
    let hwc = image(noise);
    let mut inputs = [hwc; 2];
    if noise.below(3) == 0 {
        let repeated = &mut inputs[noise.below(2) as usize];
        let mut extent = |n: u32| if noise.below(2) == 0 { 1 } else { n };
        *repeated = Hwc { h: extent(hwc.h), w: extent(hwc.w), c: extent(hwc.c) };
    }
    (inputs.to_vec(), hwc)
}

/// The parameters of an ADD.
fn sum(noise: &mut Noise) -> Add {
    let term = |noise: &mut Noise| {
        let shift = [0, -1, -15, 3][noise.below(4) as usize];
        Term { zero_point: noise.next() as i8, multiplier: multiplier(noise, shift) }
    };
    let terms = [term(noise), term(noise)];
    let shift = [-17, -18, -20, 2, -29][noise.below(5) as usize];
    Add { terms, multiplier: multiplier(noise, shift), output: output(noise) }
}

fn add(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let (inputs, hwc) = pair(noise);
    let op = sum(noise);
    Some(Layer { op: Op::Add(op), section: Section::default(), inputs, output: hwc })
}

fn mul(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let (inputs, hwc) = pair(noise);
    let shift = [-5, 2, -29][noise.below(3) as usize];
    let op = Mul {
        zero_points: [noise.next() as i8, noise.next() as i8],
        multiplier: multiplier(noise, shift),
        output: output(noise),
    };
    Some(Layer { op: Op::Mul(op), section: Section::default(), inputs, output: hwc })
}

fn softmax(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let mut input = image(noise);
    if noise.below(8) == 0 {
        (input.h, input.w, input.c) = (1, 1, 1000 + noise.below(100) as u32);
    }
    // From steep to flat: a sum of nothing but the largest, or of as many ones as channels.
    let bits = noise.below(32);
    let mut exponentials = vec![i32::MAX];
    exponentials.extend((1..256).map(|_| (noise.next() as i32 & i32::MAX) >> bits));
    let mut section = Section::default();
    let op = Op::Softmax(Softmax { exponentials: section.numbers(&exponentials) });
    Some(Layer { op, section, inputs: vec![input], output: input })
}

fn resize(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let (input, Hwc { h, w, .. }) = (image(noise), image(noise));
    let output = Hwc { h, w, c: input.c };
    let is_nearest = noise.below(2) == 0;
    let mut section = Section::default();
    let mut table = |outputs: u32, each: &dyn Fn(&mut Noise) -> Vec<i32>| {
        let entries: Vec<_> = (0..outputs).flat_map(|_| each(noise)).collect();
        section.numbers(&entries)
    };
    let place = |noise: &mut Noise, extent: u32| noise.below(extent.into()) as i32;
    if is_nearest {
        let rows = table(h, &|noise| vec![place(noise, input.h)]);
        let columns = table(w, &|noise| vec![place(noise, input.w)]);
        let op = Op::ResizeNearestNeighbor(ResizeNearestNeighbor { rows, columns });
        return Some(Layer { op, section, inputs: vec![input], output });
    }
    let between = |noise: &mut Noise, extent: u32| {
        let way = [-512, 1023, 0, 512, noise.below(1024) as i32][noise.below(5) as usize];
        vec![place(noise, extent), place(noise, extent), way]
    };
    let rows = table(h, &|noise| between(noise, input.h));
    let columns = table(w, &|noise| between(noise, input.w));
    let op = ResizeBilinear { rows, columns, interpolation: Interpolation::Fixed };
    Some(Layer { op: Op::ResizeBilinear(op), section, inputs: vec![input], output })
}

fn movement(noise: &mut Noise, _kernels: &KernelTable) -> Option<Layer> {
    let input = image(noise);
    let mut section = Section::default();
    let mut before = |n: u64| noise.below(n) as u32;
    let (op, output) = match before(3) {
        0 => (Op::Copy(Copy), input),
        1 => (Op::Lookup(Lookup { table: section.codes(&noise.codes(256, -128)) }), input),
        _ => {
            let [above, left, front] = [before(3), before(3), before(4).saturating_sub(2)];
            let Hwc { h, w, c } = input;
            let output = Hwc { h: h + above + before(3), w: w + left + before(3), c: c + front };
            (Op::Pad(Pad { before: [above, left, front], value: noise.next() as i8 }), output)
        }
    };
    Some(Layer { op, section, inputs: vec![input], output })
}

/// A layout with gaps, as a part of a concatenation has.
fn layout(noise: &mut Noise, hwc: Hwc) -> Layout {
    let pixel_stride = hwc.c + if noise.below(3) == 0 { noise.below(20) as u32 } else { 0 };
    Layout { hwc, row_stride: hwc.w * pixel_stride, pixel_stride }
}

fn cells(codes: &[i8]) -> Vec<Cell<i8>> {
    codes.iter().copied().map(Cell::new).collect()
}

/// Runs `layer` with `kernels` in a team of `cores`, each on its share.
fn compute(
    kernels: &KernelTable,
    layer: &Layer,
    inputs: &[(Vec<Cell<i8>>, Layout)],
    output: Layout,
    cores: usize,
) -> Vec<i8> {
    let (bytes, start) = layer.section.aligned();
    let mut weights = Weights::default();
    weights.push(&bytes[start..]).unwrap();
    let signature = Signature { inputs: &layer.inputs, output: layer.output };
    layer.op.check(kernels::KNOWN, signature, &weights).unwrap();
    let written = cells(&vec![0x55; output.extent().unwrap() as usize]);
    for member in 0..cores {
        let region = share(layer.output, layer.op.split(), member, cores);
        if region.rows.is_empty() || region.channels.is_empty() {
            continue;
        }
        let inputs = inputs.iter().map(|(cells, layout)| View::new(cells, *layout).unwrap());
        let inputs = inputs.collect();
        let io = Io { inputs, output: Tile::new(&written, output, region).unwrap() };
        // SAFETY: callers ask whether the core can execute these kernels.
        unsafe { kernels.run(&layer.op, &weights, &io) };
    }
    written.iter().map(Cell::get).collect()
}

fn equals_portable(make: fn(&mut Noise, &KernelTable) -> Option<Layer>) {
    for kernels in kernels::ALL.iter().filter(|kernels| (kernels.supported)()) {
        let tried = Cell::new(0u32);
        let mut runner = TestRunner::new_with_rng(
            Config { cases: CASES, failure_persistence: None, ..Config::default() },
            proptest::test_runner::TestRng::deterministic_rng(
                proptest::test_runner::RngAlgorithm::ChaCha,
            ),
        );
        runner
            .run(&any::<u64>(), |seed| {
                let mut noise = Noise(seed);
                let Some(layer) = make(&mut noise, kernels) else { return Ok(()) };
                tried.set(tried.get() + 1);
                let write = layout(&mut noise, layer.output);
                let inputs: Vec<_> = layer
                    .inputs
                    .iter()
                    .map(|&hwc| {
                        let layout = layout(&mut noise, hwc);
                        (cells(&noise.codes(layout.extent().unwrap() as usize, -128)), layout)
                    })
                    .collect();
                let cores = 1 + noise.below(4) as usize;
                let found = compute(kernels, &layer, &inputs, write, cores);
                let expected = compute(&REFERENCE, &layer, &inputs, write, 1);
                let read: Vec<_> = inputs.iter().map(|(_, layout)| layout).collect();
                let differs = found.iter().zip(&expected).position(|(a, b)| a != b);
                prop_assert!(
                    differs.is_none(),
                    "byte {differs:?}, {cores} cores, {read:?} to {write:?}: {:?}",
                    layer.op
                );
                Ok(())
            })
            .unwrap_or_else(|error| panic!("{}: {error}", kernels.path));
        println!("{}: {} layers", kernels.path, tried.get());
        let own = kernels.path != Path::Reference;
        assert!(tried.get() > CASES / 4 || !own, "{}", kernels.path);
    }
}

#[test]
fn convolutions_equal_portable_ones() {
    equals_portable(conv_2d);
}

#[test]
fn depthwise_convolutions_equal_portable_ones() {
    equals_portable(depthwise);
}

#[test]
fn pools_equal_portable_ones() {
    equals_portable(pool);
}

#[test]
fn means_equal_portable_ones() {
    equals_portable(mean);
}

#[test]
fn sums_equal_portable_ones() {
    equals_portable(add);
}

#[test]
fn products_equal_portable_ones() {
    equals_portable(mul);
}

#[test]
fn copies_and_tables_equal_portable_ones() {
    equals_portable(movement);
}

#[test]
fn softmaxes_equal_portable_ones() {
    equals_portable(softmax);
}

#[test]
fn resized_images_equal_portable_ones() {
    equals_portable(resize);
}
