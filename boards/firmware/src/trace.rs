//! The cycles of each layer, where they are asked for. One core, one frame at a time.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pipeit_board::pmu;

/// Layers there is a record for.
const LAYERS: usize = 256;

static IS_ON: AtomicBool = AtomicBool::new(false);
/// The cycle count when the last layer ended.
static LAST: AtomicU64 = AtomicU64::new(0);
/// The cycles of each layer of the last frame.
static CYCLES: [AtomicU64; LAYERS] = [const { AtomicU64::new(0) }; LAYERS];

/// Records from now on.
pub(crate) fn start() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// A frame begins.
pub(crate) fn begin(cycles: u64) {
    LAST.store(cycles, Ordering::Relaxed);
}

pub(crate) fn after_layer(layer: u16) {
    if !IS_ON.load(Ordering::Relaxed) {
        return;
    }
    let now = pmu::cycles();
    let cycles = now.wrapping_sub(LAST.swap(now, Ordering::Relaxed));
    if let Some(record) = CYCLES.get(usize::from(layer)) {
        record.store(cycles, Ordering::Relaxed);
    }
}

/// The cycles of each of the first `layers` layers of the last frame; none when they are not
/// recorded.
pub(crate) fn cycles(layers: usize) -> impl Iterator<Item = u64> {
    let layers = if IS_ON.load(Ordering::Relaxed) { layers } else { 0 };
    CYCLES.iter().take(layers).map(|cycles| cycles.load(Ordering::Relaxed))
}
