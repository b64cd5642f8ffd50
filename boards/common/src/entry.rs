//! What `entry.s` is told, and where it goes on in Rust.

use core::arch::global_asm;
use core::sync::atomic::{AtomicU8, Ordering};

use crate::stack::{EXCEPTION_STACK_END, STACKS, Stack};
use crate::{MAX_CORES, cores, mmu, stack};

global_asm!(
    include_str!("entry.s"),
    MAX_CORES = const MAX_CORES,
    STACKS = sym STACKS,
    STACK_BYTES = const size_of::<Stack>(),
    EXCEPTION_STACK_END = const EXCEPTION_STACK_END,
    PEN = sym cores::PEN,
    TABLES = sym mmu::TABLES,
    MAIR = const mmu::MAIR,
    TCR = const mmu::TCR,
    SCTLR_OFF = const mmu::SCTLR_OFF,
    SCTLR_ON = const mmu::SCTLR_ON,
    build_tables = sym mmu::build_tables,
    primary = sym primary,
    secondary = sym secondary,
);

unsafe extern "C" {
    fn pipeit_secondary();
}

/// Where a core begins that another one starts.
pub(crate) fn secondary_entry() -> usize {
    pipeit_secondary as *const () as usize
}

static RESET_LEVEL: AtomicU8 = AtomicU8::new(0);

/// The exception level the boot core came out of reset with: 1, 2 or 3.
#[must_use]
pub fn reset_level() -> u8 {
    RESET_LEVEL.load(Ordering::Relaxed)
}

extern "C" fn primary(level: usize) -> ! {
    RESET_LEVEL.store(level as u8, Ordering::Relaxed);
    stack::paint();
    crate::console::init();
    cores::init();
    crate::pipeit_main()
}

extern "C" fn secondary() -> ! {
    stack::paint();
    cores::secondary()
}
