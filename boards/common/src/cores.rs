//! Starting the other cores, and giving them work.
//!
//! ```text
//!            start           reports in           run_on_others, beside
//!  absent ─────────▶ starting ─────────▶ up ─ waits ─────▶ a job ─┐
//!                       │                 ▲───────────────────────┘
//!                       └── out of time ─▶ given up: parks for good, should it ever come
//! ```

use core::cell::UnsafeCell;
use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use aarch64_cpu::asm::{self, barrier};
use aarch64_cpu::registers::{Readable, TPIDR_EL1};
use pipeit_rt::platform::baremetal::{BareMetal, WfeEvent, Yield, start_event_stream};
use pipeit_rt::platform::{Event, Platform, Ticks};
use spin::mutex::SpinMutex;

use crate::psci::{self, Conduit, PsciError};
use crate::{MAX_CORES, board, cache, entry};

pub use crate::entry::reset_level;

/// How a board's cores are started.
#[derive(Clone, Copy, Debug)]
pub enum Start {
    /// By the firmware below.
    Psci(Conduit),
    /// By writing the entry point to an address that the core polls with its caches off; which
    /// one, the function tells for each affinity.
    SpinTable(fn(affinity: u64) -> usize),
}

/// Why a core is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// The firmware below refused.
    Psci(PsciError),
    /// It did not report in time.
    Silent,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psci(error) => error.fmt(f),
            Self::Silent => write!(f, "no sign of life in {START_LIMIT_MS} ms"),
        }
    }
}

/// How long a core may take to report in.
const START_LIMIT_MS: u64 = 1000;
/// How often a core that waits looks around at least.
const EVENT_STREAM_HZ: u32 = 10_000;

/// Where cores that came out of reset with the boot core wait for a word that is not zero. They
/// look with their caches off.
#[repr(C, align(256))]
pub(crate) struct Pen(UnsafeCell<[u64; MAX_CORES]>);
// SAFETY: written by the boot core only.
unsafe impl Sync for Pen {}

#[unsafe(link_section = ".data.pen")]
pub(crate) static PEN: Pen = Pen(UnsafeCell::new([0; MAX_CORES]));

const ABSENT: u8 = 0;
const STARTING: u8 = 1;
const UP: u8 = 2;
const GIVEN_UP: u8 = 3;

static STATES: [AtomicU8; MAX_CORES] = [const { AtomicU8::new(ABSENT) }; MAX_CORES];
/// What the other cores are to do.
type Job<'a> = &'a (dyn Fn(usize) + Sync);
/// The job, if there is one, and how often it has changed.
static JOB: SpinMutex<(Option<Job<'static>>, u32), Yield> = SpinMutex::new((None, 0));
/// The job that each core has returned from, by that count.
static RETURNED: [AtomicU32; MAX_CORES] = [const { AtomicU32::new(0) }; MAX_CORES];
/// Signalled when a state, the job, or the number of those returned from changes.
static CHANGED: WfeEvent = WfeEvent::new();

/// The number of the core that runs this, in the order of [`Board::affinities`].
///
/// [`Board::affinities`]: crate::Board::affinities
#[must_use]
#[inline]
pub fn number() -> usize {
    TPIDR_EL1.get() as usize
}

/// Does nothing for ever.
pub fn park() -> ! {
    loop {
        asm::wfi();
    }
}

pub(crate) fn init() {
    start_event_stream(EVENT_STREAM_HZ);
    if let Some(state) = STATES.get(number()) {
        state.store(UP, Ordering::Relaxed);
    }
}

/// Starts the other cores among the first `count` of the board; the boot core calls this once.
/// `missing` is told of each that is not there.
///
/// Takes at most a second longer than the firmware below.
pub fn start(count: usize, mut missing: impl FnMut(usize, StartError)) {
    let mut failures = [None; MAX_CORES];
    let how = (board().start)();
    let cores = board().affinities.iter().zip(&STATES).zip(&mut failures).enumerate().take(count);
    for (core, ((&affinity, state), failure)) in cores {
        if state.load(Ordering::Relaxed) == ABSENT {
            state.store(STARTING, Ordering::Relaxed);
            if let Err(error) = start_one(how, core, affinity) {
                state.store(ABSENT, Ordering::Relaxed);
                *failure = Some(StartError::Psci(error));
            }
        }
    }
    let limit = Ticks(BareMetal::tick_hz().saturating_mul(START_LIMIT_MS) / 1000);
    let deadline = BareMetal::now().after(limit);
    for (state, failure) in STATES.iter().zip(&mut failures) {
        loop {
            let seen = CHANGED.count();
            if state.load(Ordering::Acquire) != STARTING {
                break;
            }
            if BareMetal::now() >= deadline {
                let given_up = (Ordering::Relaxed, Ordering::Relaxed);
                if state.compare_exchange(STARTING, GIVEN_UP, given_up.0, given_up.1).is_ok() {
                    *failure = Some(StartError::Silent);
                }
                break;
            }
            CHANGED.wait(seen, || Some(deadline));
        }
    }
    let failures = failures.into_iter().enumerate();
    failures.for_each(|(core, failure)| failure.into_iter().for_each(|why| missing(core, why)));
}

fn start_one(how: Start, core: usize, affinity: u64) -> Result<(), PsciError> {
    let entry = entry::secondary_entry();
    match how {
        // SAFETY: it is the entry for that.
        Start::Psci(conduit) => unsafe { psci::cpu_on(conduit, affinity, entry) },
        Start::SpinTable(address) => {
            let pen = PEN.0.get().cast::<u64>().wrapping_add(core);
            for word in [pen, address(affinity) as *mut u64] {
                // SAFETY: an entry of our pen, or one that the board declares to be one of a
                // spin table; both are mapped, and aligned words.
                unsafe { word.write_volatile(entry as u64) };
                cache::clean_word(word);
            }
            barrier::dsb(barrier::SY);
            asm::sev();
            Ok(())
        }
    }
}

/// Whether core `core` takes part.
#[must_use]
pub fn is_up(core: usize) -> bool {
    STATES.get(core).is_some_and(|state| state.load(Ordering::Relaxed) == UP)
}

/// Has every other core that is up call `job` with its number, once it has returned from the job
/// before.
pub fn run_on_others(job: Job<'static>) {
    hand_out(Some(job));
}

/// Hands a job out, or takes the last one back; how often that was done.
fn hand_out(job: Option<Job<'static>>) -> u32 {
    let mut last = JOB.lock();
    let jobs = last.1 + 1;
    *last = (job, jobs);
    drop(last);
    CHANGED.signal();
    jobs
}

/// Has every other core that is up call `job` with its number, while this one runs `body`; comes
/// back when all are through.
///
/// # Panics
///
/// If a core has not returned from `job` within `limit` after `body`: there is no coming back while
/// it may use what the job borrows.
pub fn beside<R>(job: Job<'_>, limit: Ticks, body: impl FnOnce() -> R) -> R {
    // SAFETY: only a lifetime changes. No core calls the job when this function has returned: each
    // has been waited for, and one that comes later finds none. Nor does it end in another way: a
    // panic ends the program.
    let job = unsafe { core::mem::transmute::<Job<'_>, Job<'static>>(job) };
    let jobs = hand_out(Some(job));
    let result = body();
    let deadline = BareMetal::now().after(limit);
    for (core, returned) in RETURNED.iter().enumerate() {
        while is_up(core) && core != number() && returned.load(Ordering::Acquire) != jobs {
            let seen = CHANGED.count();
            assert!(BareMetal::now() < deadline, "core {core} does not come back");
            CHANGED.wait(seen, || Some(deadline));
        }
    }
    hand_out(None);
    result
}

/// Where a core goes that another one started.
pub(crate) fn secondary() -> ! {
    start_event_stream(EVENT_STREAM_HZ);
    let Some(state) = STATES.get(number()) else { park() };
    #[cfg(feature = "faults")]
    crate::faults::before_report();
    if state.compare_exchange(STARTING, UP, Ordering::Release, Ordering::Relaxed).is_err() {
        park();
    }
    CHANGED.signal();
    let mut done = 0;
    loop {
        let seen = CHANGED.count();
        let (job, jobs) = *JOB.lock();
        match job {
            Some(job) if jobs != done => {
                job(number());
                done = jobs;
                if let Some(returned) = RETURNED.get(number()) {
                    returned.store(jobs, Ordering::Release);
                }
                CHANGED.signal();
            }
            _ => {
                CHANGED.wait(seen, || Some(Ticks::NEVER));
            }
        }
    }
}
