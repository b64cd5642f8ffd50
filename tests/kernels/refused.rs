//! Convolutions whose weights would make kernels give other outputs than the portable one are refused.

use pipeit_rt::kernels::packed::{
    Access, FixedSum, PackedConv2d, Place, Rounding, Together, winograd,
};
use pipeit_rt::kernels::reference::{Add, Term};
use pipeit_rt::kernels::{Operator, Path, Signature, Window};
use pipeit_rt::quant::{Multiplier, Output};
use pipeit_rt::tensor::Hwc;
use pipeit_rt::weights::{Span, Weights};

use crate::section::Section;

#[test]
fn groups_whose_sums_might_not_fit_are_refused() {
    let place = |row, input, together| Place { row, input, together };
    let checked = |places: &[Place], weights: [i8; 4]| {
        let mut section = Section::default();
        let codes = places.iter().flat_map(|place| place.to_codes());
        let codes = codes.chain(weights.into_iter().cycle().take(32 * places.len()));
        let weights = section.codes(&codes.collect::<Vec<_>>());
        let columns = section.numbers(&[[0; 8], [1 << 30; 8], [-1; 8]].concat().repeat(3)[..64]);
        let conv = checked_conv(Path::Avx2, Access::Band, [2, 1]);
        let panel_groups = places.len() as u32;
        let conv = PackedConv2d { weights, columns, panel_groups, ..conv };
        is_accepted(&conv, &section, &[Hwc { h: 2, w: 1, c: 6 }], Hwc { h: 1, w: 1, c: 8 })
    };
    let [one, two, four] = [Together::One, Together::Two, Together::Four];
    let places = |together| [place(0, 0, together), place(1, 4, together)];
    assert!(checked(&places(one), [127, 1, -128, 0]));
    assert!(!checked(&places(one), [127, 2, 0, 0]), "two products");
    assert!(!checked(&places(one), [0, 0, -128, -1]), "two products");
    assert!(checked(&places(two), [60, 4, -64, 0]));
    assert!(!checked(&places(two), [60, 5, 0, 0]), "four products");
    let all_four = [places(four), places(four)].concat();
    assert!(checked(&all_four, [30, 2, -32, 0]));
    assert!(!checked(&all_four, [30, 3, 0, 0]), "eight products");
    assert!(checked(&[places(one)[0], Place::NONE], [127, 1, 0, 0]));
    assert!(!checked(&[place(2, 0, one), Place::NONE], [0; 4]), "outside the window");
    assert!(!checked(&[place(0, 5, one), Place::NONE], [0; 4]), "outside the row");
    assert!(!checked(&[place(0, 0, two), place(1, 4, one)], [0; 4]), "together with none");
    assert!(!checked(&[places(two), places(four)].concat(), [0; 4]), "of four only two");
    assert!(
        !checked(&[places(two), places(four), places(four)].concat(), [0; 4]),
        "in wrong order"
    );
}

/// A convolution without padding, as far as it is the same in what is to be refused.
fn checked_conv(path: Path, access: Access, taps: [u16; 2]) -> PackedConv2d {
    PackedConv2d {
        path,
        window: Window { taps, stride: [1; 2], dilation: [1; 2], pad: [0; 2] },
        groups: 1,
        input_zero_point: 0,
        weight_zero_point: 0,
        access,
        rounding: Rounding::Double,
        fast: false,
        full_range: true,
        block: 1,
        panel_groups: 0,
        weights: Span::new(0, 0, 0),
        columns: Span::new(0, 0, 0),
        output: Output { zero_point: 0, min: -128, max: 127 },
        residual: None,
    }
}

/// Whether a convolution whose weights and columns are in `section` is accepted.
fn is_accepted(conv: &PackedConv2d, section: &Section, inputs: &[Hwc], output: Hwc) -> bool {
    let (bytes, start) = section.aligned();
    let mut weights = Weights::default();
    weights.push(&bytes[start..]).unwrap();
    conv.check(Signature { inputs, output }, &weights).is_ok()
}

#[test]
fn sums_with_residuals_that_give_other_codes_are_refused() {
    let term =
        |zero_point, mantissa| Term { zero_point, multiplier: Multiplier { mantissa, shift: -1 } };
    let residual = Add {
        terms: [term(5, 0x5A82_799A), term(-128, 0x4C1B_F829)],
        multiplier: Multiplier { mantissa: 0x6ED9_EBA1, shift: -18 },
        output: Output { zero_point: -3, min: -128, max: 127 },
    };
    let exact = FixedSum::numbers(&residual);
    let checked = |path: Path, sum: &[i32]| {
        let packing = path.packing().unwrap();
        let width = packing.narrow as usize;
        let mut section = Section::default();
        let weights = section.codes(&vec![0; 4 * width]);
        let kinds = [0, 1 << 30, -1, 0, 0, 0, 0, 0];
        let columns = kinds.map(|number| vec![number; width]).concat();
        let columns = section.numbers(&[&columns, sum].concat());
        let conv = checked_conv(path, Access::Band, [1; 2]);
        let conv = PackedConv2d { weights, columns, residual: Some(residual), ..conv };
        let [input, output] = [4, width as u32].map(|c| Hwc { h: 1, w: 1, c });
        is_accepted(&conv, &section, &[input, output], output)
    };
    for path in [Path::Avx512Vnni, Path::Amx] {
        assert!(checked(path, &exact));
        assert!(checked(path, &[0; 4]), "none is known");
        assert!(!checked(path, &[]), "none is there");
        for (number, change) in [(0, 1 << 12), (1, -1 << 12), (2, 1 << 18), (2, i32::MAX), (3, -1)]
        {
            let mut other = exact;
            other[number] = exact[number].wrapping_add(change);
            assert!(!checked(path, &other), "{number} {change}");
        }
    }
}

#[test]
fn filters_for_winograd_that_give_other_sums_are_refused() {
    let checked = |path: Path, channels: u32, [weight, zero_point]: [i16; 2], change: i8| {
        let width = path.packing().unwrap().narrow as usize;
        let panel_bytes = width * channels as usize * 2 * winograd::POSITIONS;
        let mut panel = vec![0i8; panel_bytes];
        for (input, slot) in (0..channels as usize).flat_map(|i| (0..width).map(move |s| (i, s))) {
            let places = winograd::places(channels as usize, input, width, slot);
            for (number, at) in winograd::transformed([weight; 9]).into_iter().zip(places) {
                panel[at..at + 2].copy_from_slice(&number.to_le_bytes().map(u8::cast_signed));
            }
        }
        panel[panel_bytes / 2] += change;
        let mut section = Section::default();
        let weights = section.codes(&panel);
        let kinds = [0, 1 << 30, -1, 0, 0, 0, 0, 0];
        let columns = section.numbers(&kinds.map(|number| vec![number; width]).concat());
        let conv = checked_conv(path, Access::Winograd, [3; 2]);
        let weight_zero_point = zero_point as i8;
        let conv = PackedConv2d { weights, columns, weight_zero_point, ..conv };
        let (input, output) =
            (Hwc { h: 4, w: 4, c: channels }, Hwc { h: 2, w: 2, c: width as u32 });
        is_accepted(&conv, &section, &[input], output)
    };
    for path in [Path::Avx2, Path::Avx512Vnni] {
        assert!(checked(path, 32, [127, 0], 0));
        assert!(checked(path, 32, [-255, 0], 0), "9 bits");
        assert!(!checked(path, 32, [127, 0], 1), "no filter's transform");
        assert!(!checked(path, 32, [256, 0], 0), "10 bits");
        assert!(!checked(path, 32, [127, 1], 0), "zero point of weights");
        assert!(checked(path, 224, [127, 0], 0));
        assert!(!checked(path, 240, [127, 0], 0), "sums of more than 26 bits");
        assert!(!checked(path, 24, [127, 0], 0), "channels");
    }
    assert!(!checked(Path::Amx, 32, [127, 0], 0), "a path without");
}
