//! What a piece of work takes of memory and time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Instant;

/// The most memory that any file may take, however it was made.
const MOST_BYTES: usize = 100 << 20;

thread_local! {
    /// Bytes that this thread has allocated and not freed, and the most it ever had.
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which counts.
struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // What was counted by a thread and freed by another makes the count too large or,
        // wrapped, too small: for a moment, and not in what is measured here.
        LIVE.set(LIVE.get().wrapping_add(layout.size()));
        PEAK.set(PEAK.get().max(LIVE.get()));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Does `work`, all on this thread, and says what it took; fails when that is too much memory.
pub(crate) fn in_little_memory<R>(name: &str, work: impl FnOnce() -> R) -> R {
    let before = LIVE.get();
    PEAK.set(before);
    let started = Instant::now();
    let result = work();
    let (seconds, bytes) = (started.elapsed().as_secs_f64(), PEAK.get() - before);
    println!("{name}: {:.1} ms, {} kB", seconds * 1e3, bytes >> 10);
    assert!(bytes < MOST_BYTES, "{name}: {bytes} bytes");
    result
}
