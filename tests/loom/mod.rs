//! Model-checked concurrency: `cargo xtask test --only loom`.
//!
//! Every test runs the code of `src`, with loom's atomics and locks, through all orders in
//! which its threads may be interleaved and all values that weakly ordered loads may see.
//! A deadlock is a failure: there are no timeouts here, so that a lost wake-up is one. Data
//! that the code hands over is stood for by loom's cells, which fail on a data race.
//!
//! Part of the library's own tests, because it looks at what is private there.

mod events;
mod network;
mod pipeline;
mod platform;
mod queue;
mod team;

use core::sync::atomic::{AtomicU64, Ordering};
use std::boxed::Box;
use std::string::String;
use std::sync::Arc;
use std::time::Instant;
use std::{eprintln, format, thread};

use loom::cell::UnsafeCell;
use loom::model::Builder;

/// Runs `execution` in every order with at most `preemptions` threads taken off their core
/// while they could go on; without a bound when `None`.
fn check(preemptions: Option<usize>, execution: impl Fn() + Send + Sync + 'static) {
    let mut model = Builder::new();
    // Unless it is set by `LOOM_MAX_PREEMPTIONS`.
    model.preemption_bound = model.preemption_bound.or(preemptions);
    model.max_branches = 20_000;
    let executions = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&executions);
    let start = Instant::now();
    model.check(move || {
        counter.fetch_add(1, Ordering::Relaxed);
        execution();
    });
    let name = thread::current().name().map_or(String::new(), |name| format!("{name}: "));
    let count = executions.load(Ordering::Relaxed);
    eprintln!("{name}{count} executions in {:.1} s", start.elapsed().as_secs_f64());
}

/// Lends `value` to the threads of an execution, which `body` must all have joined.
fn lend<T: 'static>(value: T, body: impl FnOnce(&'static T)) {
    let value = Box::into_raw(Box::new(value));
    // SAFETY: freshly allocated and initialised, and freed only below. If `body` panics it is
    // not freed at all.
    body(unsafe { &*value });
    // SAFETY: from `into_raw`; the threads that had the reference have ended.
    drop(unsafe { Box::from_raw(value) });
}

/// A number that loom watches for data races.
struct Watched(UnsafeCell<u32>);

// SAFETY: loom fails the test at two accesses that race, before they happen.
unsafe impl Sync for Watched {}

impl Watched {
    fn new() -> Self {
        Self(UnsafeCell::new(0))
    }

    fn set(&self, value: u32) {
        // SAFETY: the pointer is valid, and loom excludes races.
        self.0.with_mut(|cell| unsafe { *cell = value });
    }

    fn get(&self) -> u32 {
        // SAFETY: the pointer is valid, and loom excludes races.
        self.0.with(|cell| unsafe { *cell })
    }
}
