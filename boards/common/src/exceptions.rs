//! Exceptions: an interrupt may have a handler, everything else ends the program.

use core::arch::global_asm;
use core::fmt;
use core::panic::PanicInfo;

use pipeit_rt::platform::baremetal::Yield;
use spin::mutex::SpinMutex;

use crate::console::print_at_last;
use crate::{cores, exit};

/// Exit code of a program that panicked.
pub const PANIC: u8 = 16;
/// Exit code of a program that an exception has ended.
pub const EXCEPTION: u8 = 17;

global_asm!(include_str!("vectors.s"), fatal = sym fatal, interrupt = sym interrupt);

static HANDLER: SpinMutex<Option<fn()>, Yield> = SpinMutex::new(None);

/// Has `handler` called at interrupts, on whichever core they come, with further ones masked.
/// Registers are kept, those of NEON among them. To be called with interrupts masked, as they
/// are from the start.
pub fn on_interrupt(handler: fn()) {
    *HANDLER.lock() = Some(handler);
}

extern "C" fn interrupt() {
    let handler = *HANDLER.lock();
    match handler {
        Some(handler) => handler(),
        None => die(format_args!("an interrupt without a handler")),
    }
}

extern "C" fn fatal(vector: usize, syndrome: u64, address: u64, fault: u64) -> ! {
    if vector / 4 == 1 {
        // While handling an exception: printing might be what fails.
        exit(EXCEPTION);
    }
    let kind = match vector % 4 {
        0 => "synchronous exception",
        1 => "interrupt",
        2 => "fast interrupt",
        _ => "system error",
    };
    die(format_args!(
        "{kind}: {} at {address:#x}, fault address {fault:#x}, syndrome {syndrome:#x}",
        Syndrome(syndrome),
    ))
}

fn die(what: fmt::Arguments<'_>) -> ! {
    print_at_last(format_args!(
        "core {}: {what}\nexit: exception ({EXCEPTION})\n",
        cores::number()
    ));
    exit(EXCEPTION)
}

/// `ESR_EL1` in words.
struct Syndrome(u64);

impl fmt::Display for Syndrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let class = self.0 >> 26 & 0x3f;
        let name = match class {
            0x00 => "undefined instruction",
            0x07 => "trapped NEON instruction",
            0x20 | 0x21 => "instruction abort",
            0x22 => "misaligned program counter",
            0x24 | 0x25 if self.0 & 1 << 6 != 0 => "data abort, write",
            0x24 | 0x25 => "data abort, read",
            0x26 => "misaligned stack pointer",
            0x3c => "BRK",
            _ => "other cause",
        };
        f.write_str(name)?;
        if !matches!(class, 0x20..=0x21 | 0x24..=0x25) {
            return Ok(());
        }
        f.write_str(match self.0 & 0x3f {
            0x04..=0x07 => " (no such page)",
            0x0c..=0x0f => " (not permitted)",
            0x21 => " (misaligned)",
            _ => "",
        })
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    print_at_last(format_args!("core {}: {info}\nexit: panic ({PANIC})\n", cores::number()));
    exit(PANIC)
}
