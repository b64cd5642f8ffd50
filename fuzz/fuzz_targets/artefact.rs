#![no_main]

use libfuzzer_sys::{Corpus, fuzz_mutator, fuzz_target, fuzzer_mutate};
use pipeit_fuzz::{mutator, targets};

fuzz_target!(|bytes: &[u8]| -> Corpus { targets::artefact(bytes) });

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    mutator::artefact::change(data, size, max_size, seed, fuzzer_mutate)
});
