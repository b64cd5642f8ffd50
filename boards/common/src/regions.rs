//! Where the linker script has put things.

use core::mem::MaybeUninit;
use core::ops::Range;
use core::slice;
use core::sync::atomic::{AtomicBool, Ordering};

macro_rules! symbols {
    ($($name:ident)*) => {
        unsafe extern "C" {
            $(safe static $name: u8;)*
        }
    };
}

symbols! {
    __text_start __text_end __rodata_start __rodata_end __data_start __scratch_end
    __linked_start __linked_end __loaded_start __loaded_end __free_start __free_end
}

macro_rules! range {
    ($start:ident .. $end:ident) => {
        &raw const $start as usize..&raw const $end as usize
    };
}

/// The code.
#[must_use]
pub fn text() -> Range<usize> {
    range!(__text_start..__text_end)
}

/// Constants, with the linked artefact if there is one.
#[must_use]
pub fn constants() -> Range<usize> {
    range!(__rodata_start..__rodata_end)
}

/// Variables and stacks.
pub(crate) fn variables() -> Range<usize> {
    range!(__data_start..__scratch_end)
}

/// The artefact that was linked in; empty if there is none.
#[must_use]
pub fn linked_artefact() -> Range<usize> {
    range!(__linked_start..__linked_end)
}

/// Where an artefact may be loaded to.
#[must_use]
pub fn loaded_artefact() -> Range<usize> {
    range!(__loaded_start..__loaded_end)
}

/// Memory that nothing else uses.
#[must_use]
pub fn free() -> Range<usize> {
    range!(__free_start..__free_end)
}

/// The bytes of the artefact's memory: the linked one, else all that one may be loaded to.
#[must_use]
pub fn artefact() -> &'static [u8] {
    let linked = linked_artefact();
    let range = if linked.is_empty() { loaded_artefact() } else { linked };
    // SAFETY: mapped, initialised as far as RAM goes, and never written while a core runs.
    unsafe { slice::from_raw_parts(range.start as *const u8, range.len()) }
}

/// The free memory; `None` when it was taken before.
pub fn take_free() -> Option<&'static mut [MaybeUninit<u8>]> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::Relaxed) {
        return None;
    }
    let range = free();
    // SAFETY: mapped, used for nothing else, and given away once.
    Some(unsafe { slice::from_raw_parts_mut(range.start as *mut MaybeUninit<u8>, range.len()) })
}
