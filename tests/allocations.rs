//! After start-up nothing allocates: a counting allocator watches a pipeline at work.
#![cfg(feature = "std")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Chain, OwnedPlan, is_slow, machine, memory};
use pipeit_rt::kernels::REFERENCE;
use pipeit_rt::pipeline::Pipeline;
use pipeit_rt::platform::hosted::Hosted;
use pipeit_rt::{Admission, Region, Wait};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn nothing_allocates_after_start_up() {
    let chain = Chain::new(6);
    let model = chain.model();
    let plan = OwnedPlan::new(8, &[(2, &[1]), (2, &[2]), (2, &[1, 1])]);
    let plan = plan.check(&model);
    let mut memory = memory::<Hosted>(&plan);
    let machine = machine(5);
    let topology = machine.topology().unwrap();
    let pipeline =
        Pipeline::<Hosted>::new(&plan, &topology, &[&REFERENCE], &mut Region::new(&mut memory))
            .unwrap();
    let frames = |count: u32| {
        for number in 0..count {
            let mut frame = pipeline.acquire(Admission::Block(Wait::Forever)).unwrap();
            frame.input(0).unwrap().fill(number as i8);
            frame.submit().unwrap();
            let output = pipeline.poll(Wait::Forever).unwrap();
            assert!(output.output(0).unwrap().iter().all(|&c| c == (number as i8).wrapping_add(6)));
        }
    };
    // Reading the environment allocates, too.
    let rounds = if is_slow() { 100 } else { 1_000 };
    let started = AtomicU64::new(0);
    machine.run(
        |core| {
            started.fetch_add(1, Ordering::Relaxed);
            pipeline.run_core(core).unwrap();
        },
        || {
            let _stop = pipeline.stop_on_drop();
            // Threads that start allocate, however late they do.
            while started.load(Ordering::Relaxed) < 5 {
                std::thread::yield_now();
            }
            frames(50);
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            frames(rounds);
            assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), before);
        },
    );
}
