//! What teams count while they work.
#![forbid(unsafe_code)]

use crate::platform::Ticks;
use crate::sync::atomic::{AtomicU64, Ordering};

/// What a stage, or one of its teams, has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct StageStats {
    /// Frames finished.
    pub frames: u64,
    /// Time spent on frames.
    pub busy: Ticks,
    /// Time spent waiting for frames.
    pub starved: Ticks,
}

impl StageStats {
    /// The sum of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            frames: self.frames.wrapping_add(other.frames),
            busy: self.busy.after(other.busy),
            starved: self.starved.after(other.starved),
        }
    }
}

/// What a team's leader counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) starved: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self) -> StageStats {
        StageStats {
            frames: self.frames.load(Ordering::Relaxed),
            busy: Ticks(self.busy.load(Ordering::Relaxed)),
            starved: Ticks(self.starved.load(Ordering::Relaxed)),
        }
    }
}

/// How far a team has come with its frame; what a stall is told by, nothing else.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// The layer its leader is at.
    pub(crate) layer: core::sync::atomic::AtomicU32,
    /// When that layer was begun, or when the team was given work.
    pub(crate) since: core::sync::atomic::AtomicU64,
}

impl Progress {
    pub(crate) fn begin(&self, layer: u16, now: Ticks) {
        self.layer.store(layer.into(), Ordering::Relaxed);
        self.since.store(now.0, Ordering::Relaxed);
    }
}
