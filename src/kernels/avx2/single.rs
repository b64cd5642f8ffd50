//! Convolutions of a single pixel, as fully connected layers are: their time is that of the weights
//! on their way, which come as they are and become numbers of 16 bits when they are multiplied.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::requantize::{Codes, Columns, begun, scaled};
use super::vector;
use crate::kernels::Path;
use crate::kernels::packed::driver::add_residual;
use crate::kernels::packed::group::Group;
use crate::kernels::packed::place::{COLUMNS, GROUP, Group as Quads};
use crate::kernels::packed::{MOST_WIDENED, PARAMETERS, PackedConv2d};
use crate::kernels::x86::group::GroupKernel;
use crate::kernels::x86::{BIAS, Sequence};
use crate::tensor::Region;
use crate::weights::Weights;

/// Bytes of weights that are on their way while others are multiplied.
const AHEAD: usize = 2 << 10;

/// Inputs that are widened at once.
const WIDE: usize = 16;

/// The kernel of [`Access::Widen`](crate::kernels::packed::Access).
#[derive(Debug)]
pub(super) struct Kernel;

impl GroupKernel for Kernel {
    const PATH: Path = Path::Avx2;

    #[target_feature(enable = "avx2")]
    unsafe fn compute<S: Sequence>(
        params: &PackedConv2d,
        weights: &Weights<'_>,
        group: &Group<'_>,
    ) {
        let Group { input, output, filters, columns, depth, .. } = group;
        let (pixel, share) = (input.pixel_cells(0, 0..1), output.channels());
        let mut numbers = [MaybeUninit::uninit(); MOST_WIDENED as usize + WIDE];
        let rest = numbers.get_mut(..pixel.len().next_multiple_of(WIDE));
        let (Some(numbers), true) = (rest, share.start.is_multiple_of(COLUMNS)) else { return };
        for (numbers, codes) in numbers.as_chunks_mut().0.iter_mut().zip(pixel.chunks(WIDE)) {
            // SAFETY: as many codes as there are.
            let codes = unsafe { vector::load(codes.as_ptr().cast(), codes.len()) };
            widen(numbers, codes);
        }
        // SAFETY: all have just been written.
        let numbers = unsafe { numbers.assume_init_ref() };
        let quads = numbers.as_chunks::<GROUP>().0;

        let first = share.start / COLUMNS;
        let panels = filters.chunks_exact(COLUMNS * (*depth).max(1) as usize).skip(first);
        let tables = columns.chunks_exact(COLUMNS * PARAMETERS as usize).skip(first);
        let (codes, target) = (Codes::new(params.output), output.pixel(output.rows().start, 0));
        for ((panel, table), target) in panels.zip(tables).zip(target.chunks(COLUMNS)) {
            let Some(columns) = Columns::<1>::new(table) else { return };
            let [biases] = columns.row::<BIAS>();
            let sums = _mm256_add_epi32(begun::<S>(biases), multiply(quads, panel.as_chunks().0));
            let [step] = scaled::<S, 1>([sums], params.rounding, columns);
            let [row, ..] = codes.rows([step; 4]);
            // SAFETY: cells of this core's share.
            unsafe { vector::store(target.as_ptr().cast_mut().cast(), row, target.len()) };
        }
        if group.residual.is_some() {
            let region = Region { rows: output.rows(), channels: share };
            // SAFETY: the core has AVX2.
            unsafe { add_residual(super::add_residual, params, weights, group, region) };
        }
    }
}

/// Codes as numbers of 16 bits.
#[inline]
#[target_feature(enable = "avx2")]
fn widen(numbers: &mut [MaybeUninit<i16>; WIDE], codes: __m128i) {
    let codes = _mm256_cvtepi8_epi16(codes);
    // SAFETY: an array of 32 bytes.
    unsafe { _mm256_storeu_si256(numbers.as_mut_ptr().cast(), codes) };
}

/// The sums of the products of a panel, column by column.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply(inputs: &[[i16; GROUP]], weights: &[Quads]) -> __m256i {
    let zero = _mm256_setzero_si256();
    // Of two inputs of the first four columns, and of the others.
    let (mut low, mut high) = (zero, zero);
    for (inputs, weights) in inputs.iter().zip(weights) {
        _mm_prefetch::<_MM_HINT_T0>(weights.as_ptr().wrapping_add(AHEAD));
        // SAFETY: an array of 8 bytes.
        let inputs = _mm256_broadcastq_epi64(unsafe { _mm_loadl_epi64(inputs.as_ptr().cast()) });
        let (first, others) = weights.split_at(weights.len() / 2);
        // SAFETY: 16 bytes.
        let first = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(first.as_ptr().cast()) });
        // SAFETY: as above.
        let others = _mm256_cvtepi8_epi16(unsafe { _mm_loadu_si128(others.as_ptr().cast()) });
        low = _mm256_add_epi32(low, _mm256_madd_epi16(inputs, first));
        high = _mm256_add_epi32(high, _mm256_madd_epi16(inputs, others));
    }
    _mm256_permute4x64_epi64::<0b11_01_10_00>(_mm256_hadd_epi32(low, high))
}
