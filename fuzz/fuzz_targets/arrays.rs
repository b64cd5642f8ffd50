#![no_main]

use pipeit_fuzz::targets;

libfuzzer_sys::fuzz_target!(
    init: targets::pass_caught_panics(),
    |bytes: &[u8]| targets::arrays(bytes)
);
