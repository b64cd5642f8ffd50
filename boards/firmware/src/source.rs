//! Where frames come from.

use pipeit_rt::Model;

/// Fills frames.
pub trait Source {
    /// Writes the codes of input `input` of `model` for the next frame, in HWC order. Inputs are
    /// asked for in their order, frame by frame.
    fn fill(&mut self, model: &Model<'_>, input: usize, codes: &mut [i8]);
}

/// Pseudo-random codes (SplitMix64), the same as `pipeit run --noise` sends.
#[derive(Clone, Debug)]
pub struct Noise(u64);

/// The seed of the frames: another than that of the golden vectors.
const SEED: u64 = 1;

impl Noise {
    /// The sequence from its beginning.
    #[must_use]
    pub const fn new() -> Self {
        Self(SEED)
    }

    const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

impl Default for Noise {
    fn default() -> Self {
        Self::new()
    }
}

impl Source for Noise {
    fn fill(&mut self, _model: &Model<'_>, _input: usize, codes: &mut [i8]) {
        codes.fill_with(|| (self.bits() >> 56) as i8);
    }
}
