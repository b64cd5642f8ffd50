//! A stack per core, with a guard below that no access gets past, and how much of it was used.

use core::cell::UnsafeCell;
use core::mem::{MaybeUninit, offset_of};

use crate::MAX_CORES;
use crate::mmu::PAGE_BYTES;

/// Bytes of the stack of a core.
pub const STACK_BYTES: usize = 48 * 1024;
/// Bytes of the stack that a core handles exceptions on.
const EXCEPTION_STACK_BYTES: usize = 12 * 1024;
/// What unused parts of a stack are filled with.
const PAINT: u64 = 0x5ac0_5ac0_5ac0_5ac0;
/// Bytes below the stack pointer that painting leaves alone: its own.
const MARGIN_BYTES: usize = 256;

/// The stacks of one core; they grow towards the guard in front of each.
#[repr(C, align(4096))]
pub(crate) struct Stack {
    exception_guard: [MaybeUninit<u8>; PAGE_BYTES],
    exception: [MaybeUninit<u8>; EXCEPTION_STACK_BYTES],
    guard: [MaybeUninit<u8>; PAGE_BYTES],
    main: [MaybeUninit<u64>; STACK_BYTES / 8],
}

pub(crate) const EXCEPTION_STACK_END: usize = offset_of!(Stack, guard);

/// Memory that only its core uses, through its stack pointers.
pub(crate) struct Stacks(UnsafeCell<[MaybeUninit<Stack>; MAX_CORES]>);
// SAFETY: each core keeps to its own stack; others only read the paint, in `high_water`.
unsafe impl Sync for Stacks {}

#[unsafe(link_section = ".bss.stacks")]
pub(crate) static STACKS: Stacks =
    Stacks(UnsafeCell::new([const { MaybeUninit::uninit() }; MAX_CORES]));

/// Addresses of the pages that must not be mapped.
pub(crate) fn guards() -> impl Iterator<Item = usize> {
    let start = STACKS.0.get() as usize;
    (0..MAX_CORES).map(move |core| start + core * size_of::<Stack>()).flat_map(|stack| {
        [stack + offset_of!(Stack, exception_guard), stack + offset_of!(Stack, guard)]
    })
}

/// The words of core `core`'s stack, lowest first.
fn words(core: usize) -> impl Iterator<Item = *mut u64> {
    let start = STACKS.0.get() as usize + core * size_of::<Stack>() + offset_of!(Stack, main);
    (0..STACK_BYTES / 8).map(move |i| (start + 8 * i) as *mut u64)
}

/// Fills what this core has not used of its stack.
pub(crate) fn paint() {
    let own = 0u64;
    let end = (&raw const own as usize).saturating_sub(MARGIN_BYTES);
    for word in words(crate::cores::number()).take_while(|&word| (word as usize) < end) {
        // SAFETY: it lies in this core's stack, below everything that is in use.
        unsafe { word.write_volatile(PAINT) };
    }
}

/// Bytes of its stack that core `core`, which is up, has used so far, at most.
#[must_use]
pub fn high_water(core: usize) -> usize {
    // SAFETY: it lies in a stack; whatever a core writes there meanwhile is a valid word.
    let is_unused = |word: &*mut u64| unsafe { word.read_volatile() } == PAINT;
    let unused = words(core).take_while(is_unused).count();
    STACK_BYTES - 8 * unused
}
