//! What every core did when.
//!
//! ```text
//! trace of artefact 5c10f3a7         its checksum
//! span 2 1 3 15 1730 812             plan 2, cluster 1, its core 3: layer 15, from 1730 ns on for
//!                                    812 ns
//! ```
//!
//! `pipeit console` makes a profile of that, or a picture.

use core::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use pipeit_board::{cores, println};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::region::{OutOfMemory, Region};
use spin::once::Once;

use crate::machine::{Cores, Machine};

/// Spans that are kept of a plan, the first of them.
const MOST: usize = 1 << 14;

/// A layer that a core did.
#[derive(Debug, Default)]
struct Span {
    core: AtomicU32,
    layer: AtomicU32,
    start: AtomicU64,
    ticks: AtomicU64,
}

static SPANS: Once<&'static [Span]> = Once::new();
static USED: AtomicUsize = AtomicUsize::new(0);

/// Sets memory for spans aside.
pub(crate) fn prepare(region: &mut Region<'static>) -> Result<(), OutOfMemory> {
    let spans: &[Span] = region.slice(MOST, |_| Ok::<_, OutOfMemory>(Span::default()))?;
    SPANS.call_once(|| spans);
    Ok(())
}

pub(crate) fn after_layer(layer: u16, started: Ticks) {
    let ticks = Machine::now().since(started);
    let Some(spans) = SPANS.get() else { return };
    if let Some(span) = spans.get(USED.fetch_add(1, Ordering::Relaxed)) {
        span.core.store(cores::number() as u32, Ordering::Relaxed);
        span.layer.store(layer.into(), Ordering::Relaxed);
        span.start.store(started.0, Ordering::Relaxed);
        span.ticks.store(ticks.0, Ordering::Relaxed);
    }
}

/// Tells the spans of plan `plan`, whose cores have returned, and forgets them.
pub(crate) fn print(plan: usize, cores: &Cores) {
    let ns = |ticks: u64| {
        let hz = Machine::tick_hz().max(1);
        ticks / hz * 1_000_000_000 + ticks % hz * 1_000_000_000 / hz
    };
    let used = USED.swap(0, Ordering::Relaxed);
    for span in SPANS.get().into_iter().flat_map(|spans| spans.iter()).take(used) {
        let number = span.core.load(Ordering::Relaxed) as usize;
        let (cluster, core) = cores.place(number).unwrap_or_default();
        let layer = span.layer.load(Ordering::Relaxed);
        let (start, ticks) =
            (span.start.load(Ordering::Relaxed), span.ticks.load(Ordering::Relaxed));
        println!("span {plan} {cluster} {core} {layer} {} {}", ns(start), ns(ticks));
    }
    if used > MOST {
        println!("{} more spans are left out", used - MOST);
    }
}
