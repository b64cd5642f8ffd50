//! `fault=KIND[:N[@M]]`: things that go wrong on request, for tests only.
//!
//! | fault | what happens |
//! | --- | --- |
//! | `silent:N` | core N never reports in |
//! | `halt:N@M` | core N stops for good after M layers |
//! | `slow:N@M` | core N and those after it take M times as long for their shares |
//! | `undefined` | kernels execute an undefined instruction |
//! | `overflow` | kernels recurse without end |
//! | `ticks:ADDRESS` | timer interrupts change vector registers; must have no effect |

use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use pipeit_board::{cores, faults, println};
use pipeit_rt::kernels::{Io, KernelTable, Path};
use pipeit_rt::platform::baremetal::{BareMetal, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::region::{OutOfMemory, Region};
use pipeit_rt::weights::Weights;

static HALT_CORE: AtomicUsize = AtomicUsize::new(usize::MAX);
static HALT_AFTER: AtomicU32 = AtomicU32::new(0);
static SLOW_FROM: AtomicUsize = AtomicUsize::new(usize::MAX);
static SLOW_TIMES: AtomicU32 = AtomicU32::new(1);
static UNDEFINED: AtomicBool = AtomicBool::new(false);
static OVERFLOW: AtomicBool = AtomicBool::new(false);
static TICKS: AtomicUsize = AtomicUsize::new(0);

/// Takes note of a fault; `None` when there is no such.
pub(crate) fn request(words: &[u8]) -> Option<()> {
    let words = core::str::from_utf8(words).ok()?;
    let (kind, numbers) = words.split_once(':').unwrap_or((words, "0"));
    let (first, second) = numbers.split_once('@').unwrap_or((numbers, "0"));
    let first: usize = first.parse().ok()?;
    match kind {
        "silent" => faults::silence(first),
        "halt" => {
            HALT_CORE.store(first, Ordering::Relaxed);
            HALT_AFTER.store(second.parse().ok()?, Ordering::Relaxed);
        }
        "slow" => {
            SLOW_FROM.store(first, Ordering::Relaxed);
            SLOW_TIMES.store(second.parse().ok()?, Ordering::Relaxed);
        }
        "undefined" => UNDEFINED.store(true, Ordering::Relaxed),
        "overflow" => OVERFLOW.store(true, Ordering::Relaxed),
        "ticks" => TICKS.store(first, Ordering::Relaxed),
        _ => return None,
    }
    Some(())
}

/// Every core begins its work.
pub(crate) fn before_work() {
    let control = TICKS.load(Ordering::Relaxed);
    if control != 0 {
        // SAFETY: whoever asks for it knows the board.
        unsafe { faults::start_timer_interrupts(control) };
    }
}

pub(crate) fn after_layer(_layer: u16, started: Ticks) {
    if cores::number() >= SLOW_FROM.load(Ordering::Relaxed) {
        let taken = BareMetal::now().since(started).0;
        let times = SLOW_TIMES.load(Ordering::Relaxed);
        let end = started.after(Ticks(taken.saturating_mul(times.into())));
        while BareMetal::now() < end {
            <Yield as spin::RelaxStrategy>::relax();
        }
    }
    if HALT_CORE.load(Ordering::Relaxed) == cores::number()
        && HALT_AFTER.fetch_sub(1, Ordering::Relaxed) == 1
    {
        cores::park();
    }
}

/// The kernels to run in place of `tables`.
pub(crate) fn kernels(
    tables: &'static [&'static KernelTable],
    region: &mut Region<'static>,
) -> Result<&'static [&'static KernelTable], OutOfMemory> {
    let (undefined, overflow) =
        (UNDEFINED.load(Ordering::Relaxed), OVERFLOW.load(Ordering::Relaxed));
    // The tests' networks are packed for no other path.
    match tables.iter().find(|table| table.path == Path::Neon) {
        Some(&table) if undefined || overflow => {
            let table = KernelTable { packed_conv_2d: Some(faulty), ..*table };
            let table = region.place(table)?;
            Ok(core::slice::from_ref(region.place(table)?))
        }
        _ => Ok(tables),
    }
}

fn faulty<P>(_: &P, _: &Weights<'_>, _: &Io<'_>) {
    if UNDEFINED.load(Ordering::Relaxed) {
        faults::undefined_instruction();
    } else {
        faults::stack_overflow(0);
    }
}

/// What has happened.
pub(crate) fn report() {
    if TICKS.load(Ordering::Relaxed) != 0 {
        println!("interrupts: {}", faults::interrupts());
    }
}
