//! How the operating system maps memory.

/// Asks for large pages for memory of which nothing has been accessed yet: else the megabytes of a
/// network's weights and activations lie in so many pages that finding them takes time. A wish:
/// where the system has none, nothing changes.
#[cfg(target_os = "linux")]
pub fn prefer_large_pages(memory: *const u8, bytes: usize) {
    use rustix::mm::{Advice, madvise};

    let skipped = memory.align_offset(rustix::param::page_size());
    let (start, len) = (memory.wrapping_add(skipped), bytes.saturating_sub(skipped));
    if len > 0 {
        // SAFETY: what memory holds does not change, and which memory it is does not matter.
        let _ = unsafe { madvise(start.cast_mut().cast(), len, Advice::LinuxHugepage) };
    }
}

/// Does nothing, on this system.
#[cfg(not(target_os = "linux"))]
pub fn prefer_large_pages(_memory: *const u8, _bytes: usize) {}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn memory_stays_what_it_was() {
        let mut memory = std::vec![7u8; 4 << 20];
        prefer_large_pages(memory.as_ptr(), memory.len());
        prefer_large_pages(memory.as_ptr(), 1);
        prefer_large_pages(core::ptr::null(), 0);
        assert!(memory.iter().all(|&byte| byte == 7));
        memory.fill(8);
    }
}
