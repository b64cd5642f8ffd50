//! What is fuzzed, and how its inputs are changed; `fuzz_targets` hands both to libFuzzer.
#![forbid(unsafe_code)]

mod inline;
pub mod mutator;
pub mod targets;

use std::alloc::System;

use cap::Cap;

/// Most bytes allocated at a time. An input that takes more is a finding.
const MEMORY_BYTES: usize = 128 << 20;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, MEMORY_BYTES);
