//! What teams count while they work.
#![forbid(unsafe_code)]

use crate::platform::Ticks;
use crate::sync::atomic::{AtomicU32, AtomicU64, Ordering};

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
    /// The part of that in which a frame was there for a team that was free: what hand-over takes,
    /// and what it takes to get the core back from other programs.
    pub late: Ticks,
}

impl StageStats {
    /// The sum of both.
    pub(crate) const fn and(self, other: Self) -> Self {
        Self {
            frames: self.frames.wrapping_add(other.frames),
            busy: self.busy.after(other.busy),
            starved: self.starved.after(other.starved),
            late: self.late.after(other.late),
        }
    }
}

/// What a team's leader counts.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) frames: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) starved: AtomicU64,
    pub(crate) late: AtomicU64,
}

impl Counters {
    /// Another frame. Only the leader calls this, so that nothing need be added in one go.
    pub(crate) fn add(&self, busy: Ticks, starved: Ticks, late: Ticks) {
        let add = |counter: &AtomicU64, more| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
        };
        add(&self.frames, 1);
        add(&self.busy, busy.0);
        add(&self.starved, starved.0);
        add(&self.late, late.0);
    }

    pub(crate) fn read(&self) -> StageStats {
        StageStats {
            frames: self.frames.load(Ordering::Relaxed),
            busy: Ticks(self.busy.load(Ordering::Relaxed)),
            starved: Ticks(self.starved.load(Ordering::Relaxed)),
            late: Ticks(self.late.load(Ordering::Relaxed)),
        }
    }
}

/// How far a team has come with its frame: what a stall and a late start are told by.
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

/// What a team has to do. In one cache line, because who deals it a frame writes all of it.
#[derive(Debug)]
pub(crate) struct Load {
    /// Frames in the queue or at work.
    pub(crate) outstanding: AtomicU32,
    pub(crate) pace: Pace,
    pub(crate) progress: Progress,
}

impl Load {
    /// When another frame would be through, in ticks from now.
    pub(crate) fn wait(&self) -> u64 {
        let frames = self.outstanding.load(Ordering::Relaxed).wrapping_add(1);
        u64::from(frames).saturating_mul(self.pace.ticks())
    }
}

/// What one frame takes a team: as predicted at first, then as its last ones took. What frames are
/// dealt by, nothing else.
#[derive(Debug)]
pub(crate) struct Pace {
    predicted: u64,
    ticks: core::sync::atomic::AtomicU64,
}

impl Pace {
    /// After about so many frames to other teams, a team that was too slow is tried again.
    pub(crate) const FORGOTTEN: u64 = 256;

    /// Predicted are `ns` nanoseconds, of a clock that ticks `hz` times a second.
    pub(crate) fn new(ns: u32, hz: u64) -> Self {
        let predicted = (u64::from(ns).saturating_mul(hz) / 1_000_000_000).max(1);
        Self { predicted, ticks: core::sync::atomic::AtomicU64::new(predicted) }
    }

    pub(crate) fn ticks(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }

    /// A frame took `time`.
    pub(crate) fn add(&self, time: Ticks) {
        let before = self.ticks();
        // A frame that was held up, by an interrupt or another program, is not to decide.
        let time = time.0.min(before.saturating_mul(2));
        let after = before.saturating_sub(before / 4).saturating_add(time.div_ceil(4));
        self.ticks.store(after.max(1), Ordering::Relaxed);
    }

    /// A frame went to another team.
    pub(crate) fn forget(&self) {
        let before = self.ticks();
        let excess = before.saturating_sub(self.predicted);
        if excess > 0 {
            self.ticks
                .store(before.saturating_sub(excess.div_ceil(Self::FORGOTTEN)), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_follows_the_frames_and_is_forgotten_slowly() {
        let pace = Pace::new(8000, 125_000_000);
        assert_eq!(pace.ticks(), 1000, "as predicted");
        pace.add(Ticks(1_000_000));
        assert_eq!(pace.ticks(), 1250, "one frame counts for little");
        (0..40).for_each(|_| pace.add(Ticks(20_000)));
        assert!(pace.ticks().abs_diff(20_000) < 10, "{}", pace.ticks());
        (0..256).for_each(|_| pace.forget());
        assert!((5000..10_000).contains(&pace.ticks()), "{}", pace.ticks());
        (0..10_000).for_each(|_| pace.forget());
        assert_eq!(pace.ticks(), 1000);
        (0..40).for_each(|_| pace.add(Ticks(3)));
        pace.forget();
        assert!(pace.ticks() < 10, "faster than predicted stays");
    }
}
