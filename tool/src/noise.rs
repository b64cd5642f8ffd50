//! Seeded noise: the same numbers on every machine.

use pipeit_rt::Model;

/// Pseudo-random numbers (SplitMix64).
#[derive(Clone, Debug)]
pub struct Noise(u64);

impl Noise {
    /// The sequence of `seed`.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which must not be zero.
    pub const fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    /// `len` codes, each equally likely.
    pub fn codes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.bits() >> 56) as i8).collect()
    }

    /// Codes for each input of `model`.
    pub fn frame(&mut self, model: &Model<'_>) -> Vec<Vec<i8>> {
        let inputs = model.inputs.iter().filter_map(|port| model.tensor(port.tensor));
        inputs.map(|tensor| self.codes(tensor.shape.elements())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sequence_is_fixed() {
        assert_eq!(Noise::new(0).bits(), 0xe220_a839_7b1d_cdaf);
        let codes = Noise::new(1).codes(4096);
        assert!((-128..=127).all(|code| codes.contains(&code)));
    }
}
