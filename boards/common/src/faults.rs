//! Things that go wrong, on request of a test.

use core::arch::asm;
use core::hint::black_box;
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};

use aarch64_cpu::registers::{CNTFRQ_EL0, Readable};

use crate::{cores, exceptions};

/// The core that never reports in.
static SILENT: AtomicUsize = AtomicUsize::new(usize::MAX);
/// Timer interrupts so far, of all cores.
static INTERRUPTS: AtomicU32 = AtomicU32::new(0);

/// Has core `core` never report in.
pub fn silence(core: usize) {
    SILENT.store(core, Ordering::Relaxed);
}

pub(crate) fn before_report() {
    if SILENT.load(Ordering::Relaxed) == cores::number() {
        cores::park();
    }
}

/// An instruction that there is none of.
pub fn undefined_instruction() {
    // SAFETY: ends in an exception.
    unsafe { asm!("udf #0") };
}

/// Goes past the end of the stack.
#[expect(unconditional_recursion, reason = "that is the fault")]
pub fn stack_overflow(depth: u64) -> u64 {
    let mut frame = black_box([depth; 64]);
    frame[0] = stack_overflow(depth + 1);
    black_box(frame)[0]
}

/// Has timer interrupts on this core, which change every vector register.
///
/// # Safety
///
/// At `control` the board has a word per core where bit 3 lets interrupts of the virtual timer
/// through to it.
pub unsafe fn start_timer_interrupts(control: usize) {
    exceptions::on_interrupt(timer_interrupt);
    let word = (control + 4 * cores::number()) as *mut u32;
    // SAFETY: the caller's promise.
    unsafe { word.write_volatile(1 << 3) };
    set_timer();
    // SAFETY: there is a handler.
    unsafe { asm!("msr cntv_ctl_el0, {}", "msr daifclr, #2", in(reg) 1u64) };
}

fn set_timer() {
    let ticks = CNTFRQ_EL0.get() / 5000;
    // SAFETY: the timer is used for nothing else.
    unsafe { asm!("msr cntv_tval_el0, {}", in(reg) ticks) };
}

fn timer_interrupt() {
    INTERRUPTS.fetch_add(1, Ordering::Relaxed);
    set_timer();
    // SAFETY: a handler may change any register.
    unsafe {
        asm!(
            "movi v0.16b, #0x55", "movi v1.16b, #0x55", "movi v2.16b, #0x55",
            "movi v3.16b, #0x55", "movi v4.16b, #0x55", "movi v5.16b, #0x55",
            "movi v6.16b, #0x55", "movi v7.16b, #0x55", "movi v16.16b, #0x55",
            "movi v17.16b, #0x55", "movi v18.16b, #0x55", "movi v19.16b, #0x55",
            "movi v20.16b, #0x55", "movi v21.16b, #0x55", "movi v22.16b, #0x55",
            "movi v23.16b, #0x55", "movi v24.16b, #0x55", "movi v25.16b, #0x55",
            "movi v26.16b, #0x55", "movi v27.16b, #0x55", "movi v28.16b, #0x55",
            "movi v29.16b, #0x55", "movi v30.16b, #0x55", "movi v31.16b, #0x55",
            out("v0") _, out("v1") _, out("v2") _, out("v3") _, out("v4") _, out("v5") _,
            out("v6") _, out("v7") _, out("v16") _, out("v17") _, out("v18") _, out("v19") _,
            out("v20") _, out("v21") _, out("v22") _, out("v23") _, out("v24") _, out("v25") _,
            out("v26") _, out("v27") _, out("v28") _, out("v29") _, out("v30") _, out("v31") _,
            options(nomem, nostack, preserves_flags)
        );
    }
}

/// Timer interrupts so far, of all cores.
#[must_use]
pub fn interrupts() -> u32 {
    INTERRUPTS.load(Ordering::Relaxed)
}
