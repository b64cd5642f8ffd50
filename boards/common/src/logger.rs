//! defmt's messages, of all cores, to the host's file `defmt.bin`.
//!
//! One core writes at a time, in a critical section from the first to the last byte of a
//! message. Each is stamped with the core's number and the time: `core time message`.

use core::cell::UnsafeCell;

use defmt::{Encoder, Logger};
use heapless::Vec;
use pipeit_rt::platform::Platform;
use pipeit_rt::platform::baremetal::BareMetal;

use crate::cores;
use crate::semihosting::HostFile;

/// Longest message, encoded; longer ones lose their end.
const MESSAGE_BYTES: usize = 512;

#[defmt::global_logger]
struct AllCores;

struct State {
    encoder: Encoder,
    outside: critical_section::RestoreState,
    message: Vec<u8, MESSAGE_BYTES>,
    file: Option<HostFile>,
}

struct Shared(UnsafeCell<State>);
// SAFETY: reached between `acquire` and `release` only, in a critical section.
unsafe impl Sync for Shared {}

static STATE: Shared = Shared(UnsafeCell::new(State {
    encoder: Encoder::new(),
    outside: critical_section::RestoreState::invalid(),
    message: Vec::new(),
    file: None,
}));

/// The state, to be used in a critical section.
///
/// # Safety
///
/// The caller is in a critical section, and has no other reference to it.
unsafe fn state() -> &'static mut State {
    // SAFETY: the caller's promise.
    unsafe { &mut *STATE.0.get() }
}

impl State {
    /// Runs the encoder, whose output goes to the message.
    fn encode(&mut self, what: impl FnOnce(&mut Encoder, &mut dyn FnMut(&[u8]))) {
        let message = &mut self.message;
        what(&mut self.encoder, &mut |bytes| {
            let room = MESSAGE_BYTES - message.len();
            let _ = message.extend_from_slice(&bytes[..bytes.len().min(room)]);
        });
    }
}

// SAFETY: `acquire` excludes all others until `release`.
unsafe impl Logger for AllCores {
    fn acquire() {
        // SAFETY: `release` ends it.
        let outside = unsafe { critical_section::acquire() };
        // SAFETY: the critical section has begun.
        let state = unsafe { state() };
        state.outside = outside;
        state.encode(|encoder, write| encoder.start_frame(write));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: called between `acquire` and the end of the critical section below.
        let state = unsafe { state() };
        state.encode(|encoder, write| encoder.end_frame(write));
        if state.file.is_none() {
            state.file = HostFile::create(c"defmt.bin");
        }
        if let Some(file) = &mut state.file {
            file.write(&state.message);
        }
        state.message.clear();
        let outside = state.outside;
        // SAFETY: the section that `acquire` began; the state is not used any more.
        unsafe { critical_section::release(outside) };
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: called between `acquire` and `release`.
        let state = unsafe { state() };
        state.encode(|encoder, write| encoder.write(bytes, write));
    }
}

defmt::timestamp!("{=u8} {=u64:us}", cores::number() as u8, {
    let hz = BareMetal::tick_hz().max(1);
    BareMetal::now().0.saturating_mul(1_000_000) / hz
});
