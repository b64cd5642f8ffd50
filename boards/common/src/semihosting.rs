//! Calls to the debugger or emulator the program runs under. Without one they are exceptions.

use core::arch::asm;

const OPEN: usize = 0x01;
const WRITE: usize = 0x05;
const GET_COMMAND_LINE: usize = 0x15;
const EXIT_EXTENDED: usize = 0x20;

/// The reason of an exit: the application ended by itself.
const APPLICATION_EXIT: usize = 0x20026;

/// Calls `operation` with a block of parameters.
///
/// # Safety
///
/// The addresses among the parameters are of memory that the operation may access the way it
/// does.
unsafe fn call(operation: usize, block: &mut [usize]) -> isize {
    let result: isize;
    // SAFETY: the caller's promise.
    unsafe {
        asm!("hlt #0xf000", inout("x0") operation => result, in("x1") block.as_mut_ptr(),
             options(nostack, preserves_flags));
    }
    result
}

/// Ends the program with an exit code.
pub fn exit(code: u8) -> ! {
    // SAFETY: there are no addresses among the parameters.
    unsafe { call(EXIT_EXTENDED, &mut [APPLICATION_EXIT, code.into()]) };
    crate::cores::park()
}

/// The words the program was called with.
pub fn command_line(buffer: &mut [u8]) -> Option<&[u8]> {
    let mut block = [buffer.as_mut_ptr() as usize, buffer.len()];
    // SAFETY: the buffer is ours to have written, as long as it is said to be.
    let result = unsafe { call(GET_COMMAND_LINE, &mut block) };
    let [_, len] = block;
    if result == 0 { buffer.get(..len) } else { None }
}

/// A file of the host, open for writing.
#[derive(Debug)]
pub struct HostFile {
    handle: usize,
}

impl HostFile {
    /// Creates the file `name`, or empties it.
    #[must_use]
    pub fn create(name: &core::ffi::CStr) -> Option<Self> {
        const WRITE_BINARY: usize = 5;
        let mut block = [name.as_ptr() as usize, WRITE_BINARY, name.count_bytes()];
        // SAFETY: the name is only read, as far as it goes.
        let handle = unsafe { call(OPEN, &mut block) };
        usize::try_from(handle).ok().map(|handle| Self { handle })
    }

    /// Appends `bytes`; those the host refuses are lost.
    pub fn write(&mut self, bytes: &[u8]) {
        let mut block = [self.handle, bytes.as_ptr() as usize, bytes.len()];
        // SAFETY: the bytes are only read, as far as they go.
        unsafe { call(WRITE, &mut block) };
    }
}
