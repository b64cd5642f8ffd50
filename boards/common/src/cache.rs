//! Data caches and devices that read or write memory past them.
//!
//! Before a DMA engine reads a buffer, [`clean`] it. Before one writes a buffer,
//! [`invalidate`] it, so that no line is written back over it; when it is done, invalidate
//! again, because a core may have fetched lines ahead meanwhile. A buffer that a device writes
//! should have its cache lines to itself: aligned to and a multiple of [`LINE_BYTES`].

use core::arch::asm;

use aarch64_cpu::asm::barrier;

/// Bytes of the longest cache line of a core this is for.
pub const LINE_BYTES: usize = 64;

/// Bytes of the shortest cache line of this core.
fn step() -> usize {
    let ctr: usize;
    // SAFETY: reading this register has no effect.
    unsafe { asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags)) };
    4 << (ctr >> 16 & 0xf)
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = usize> {
    let (start, step) = (bytes.as_ptr() as usize, step());
    (start & !(step - 1)..start + bytes.len()).step_by(step)
}

/// Writes `bytes` back to memory, for a device to read.
pub fn clean(bytes: &[u8]) {
    for line in lines(bytes) {
        clean_word(line as *const u64);
    }
    barrier::dsb(barrier::SY);
}

/// Writes the line of a word back to memory; the caller waits for it.
pub(crate) fn clean_word(word: *const u64) {
    // SAFETY: changes no content.
    unsafe { asm!("dc cvac, {}", in(reg) word, options(nostack, preserves_flags)) };
}

/// Drops what the caches hold of `bytes`, which a device has written or is about to. What else
/// lies in the first and the last line is written back before.
pub fn invalidate(bytes: &mut [u8]) {
    barrier::dsb(barrier::SY);
    let whole = bytes.as_ptr_range();
    for line in lines(bytes) {
        let is_inside = line >= whole.start as usize && line + step() <= whole.end as usize;
        if is_inside {
            // SAFETY: the whole line belongs to `bytes`, whose content is the device's.
            unsafe { asm!("dc ivac, {}", in(reg) line, options(nostack, preserves_flags)) };
        } else {
            // SAFETY: changes no content but what the device has written.
            unsafe { asm!("dc civac, {}", in(reg) line, options(nostack, preserves_flags)) };
        }
    }
    barrier::dsb(barrier::SY);
}
