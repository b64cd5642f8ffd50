//! Arm's PL011 serial port, as far as it writes.

use core::fmt;

/// Offsets of its registers.
const DATA: usize = 0x00;
const FLAGS: usize = 0x18;
const LINE_CONTROL: usize = 0x2c;
const CONTROL: usize = 0x30;

/// In the flags: no room for another byte.
const FULL: u32 = 1 << 5;
/// Line control: 8 bits, FIFOs on.
const EIGHT_BITS_FIFO: u32 = 3 << 5 | 1 << 4;
/// Control: on, for writing.
const ON: u32 = 1 | 1 << 8;

/// A port that sends; its clock and rate are as the firmware before us has set them.
#[derive(Debug)]
pub(crate) struct Pl011 {
    base: usize,
}

impl Pl011 {
    /// The port at `base`, which the board declares to be one.
    pub(crate) fn new(base: usize) -> Self {
        let port = Self { base };
        port.write(LINE_CONTROL, EIGHT_BITS_FIFO);
        port.write(CONTROL, ON);
        port
    }

    fn write(&self, register: usize, value: u32) {
        // SAFETY: the board maps a PL011 here; writing these registers affects nothing else.
        unsafe { ((self.base + register) as *mut u32).write_volatile(value) };
    }

    fn is_full(&self) -> bool {
        // SAFETY: as above; reading the flags has no effect.
        let flags = unsafe { ((self.base + FLAGS) as *const u32).read_volatile() };
        flags & FULL != 0
    }
}

impl fmt::Write for Pl011 {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while self.is_full() {}
            self.write(DATA, byte.into());
        }
        Ok(())
    }
}
