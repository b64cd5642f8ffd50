//! Text for a person: one line at a time, from any core.

use core::fmt::{self, Write};

use pipeit_rt::platform::Platform;
use pipeit_rt::platform::baremetal::{BareMetal, Yield};
use spin::mutex::SpinMutex;

use crate::board;
use crate::pl011::Pl011;

static CONSOLE: SpinMutex<Option<Pl011>, Yield> = SpinMutex::new(None);

pub(crate) fn init() {
    *CONSOLE.lock() = Some(Pl011::new(board().console));
}

/// Writes to the console; see [`println!`](crate::println). Not for interrupt handlers, which
/// may have come while this core had the console.
pub fn print(text: fmt::Arguments<'_>) {
    if let Some(uart) = &mut *CONSOLE.lock() {
        // It has no errors.
        let _ = uart.write_fmt(text);
    }
}

/// Writes though another core may hold the console, or this one before its exception: for the
/// last words of a program.
pub(crate) fn print_at_last(text: fmt::Arguments<'_>) {
    let deadline = BareMetal::now().0.saturating_add(BareMetal::tick_hz() / 10);
    while CONSOLE.is_locked() && BareMetal::now().0 < deadline {
        <Yield as spin::RelaxStrategy>::relax();
    }
    let mut uart = Pl011::new(board().console);
    let _ = uart.write_fmt(text);
}

/// Writes a line to the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}
