//! Clusters that have become slower than a plan was made for, and the plan to take instead.
//!
//! A cluster slows down when it is too hot, or when other programs take its cores. [`Watch`]
//! compares the time its teams take for a frame with the time the plan predicts
//! ([`Team::frame_ns`]), and [`Slowness::better_plan`] finds the plan that is best for what is
//! left. To change to it: submit no more frames, [`drain`](Pipeline::drain) and
//! [`stop`](Pipeline::stop) the pipeline, let all cores return from
//! [`run_core`](Pipeline::run_core), make a pipeline of the other plan in the same memory, and
//! go on. No frame is lost, and none overtakes another.
#![forbid(unsafe_code)]

use heapless::Vec;

use crate::pipeline::{Pipeline, StageStats};
use crate::plan::{Plan, Team};
use crate::platform::{Platform, Ticks};
use crate::stats::Pace;
use crate::topology::{ClusterId, MAX_CLUSTERS, MAX_CORES, Topology};

/// The predicted time, as a factor of [`Slowness`].
const AS_PREDICTED: u32 = 256;
/// The largest factor, 65 536 times the predicted time: emulators are slow.
const MOST: u64 = 1 << 24;
/// How long a cluster must have been slow: in most of so many windows of a [`Watch`].
const WINDOWS: usize = 3;
/// A plan is better if it takes at least one of so many parts less time for a frame.
const GAIN: u64 = 16;

/// How many times the predicted time each cluster takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Slowness([u32; MAX_CLUSTERS]);

impl Default for Slowness {
    fn default() -> Self {
        Self([AS_PREDICTED; MAX_CLUSTERS])
    }
}

impl Slowness {
    /// The factor of a cluster in thousandths: 1000 while it is as fast as predicted.
    #[must_use]
    pub fn permille(&self, cluster: ClusterId) -> u32 {
        let factor = u64::from(self.factor(cluster)).wrapping_mul(1000);
        (factor / u64::from(AS_PREDICTED)) as u32
    }

    /// The same, but for `cluster`, which takes `permille` thousandths of the predicted time.
    #[must_use]
    pub fn with(mut self, cluster: ClusterId, permille: u32) -> Self {
        if let Some(factor) = self.0.get_mut(usize::from(cluster.0)) {
            let scaled = u64::from(permille).wrapping_mul(AS_PREDICTED.into()) / 1000;
            *factor = scaled.clamp(1, MOST) as u32;
        }
        self
    }

    fn factor(&self, cluster: ClusterId) -> u32 {
        self.0.get(usize::from(cluster.0)).copied().unwrap_or(AS_PREDICTED)
    }

    /// The time from frame to frame through `plan`, in nanoseconds: that of its slowest stage,
    /// whose teams are dealt frames by how fast they are. A team that is too slow for any is tried
    /// now and then, and holds up the others.
    #[must_use]
    pub fn period_ns(&self, plan: &Plan<'_>) -> u64 {
        // Frames in so many nanoseconds, which is far more than any team takes for one.
        const SPAN_NS: u64 = 1 << 62;
        let time = |team: &Team| {
            let ns = u64::from(team.frame_ns).wrapping_mul(self.factor(team.cluster).into());
            (ns / u64::from(AS_PREDICTED)).max(1)
        };
        let period = |stage| {
            let teams = plan.teams_of(stage);
            // Another takes less for all the frames there can be.
            let slots = u64::from(plan.needs.slots);
            let most = teams.iter().map(time).min().unwrap_or(0).saturating_mul(slots);
            let (mut rates, mut held_up) = (0u64, 0u64);
            for time in teams.iter().map(time) {
                match time <= most {
                    true => rates = rates.saturating_add(SPAN_NS / time),
                    false => held_up = held_up.saturating_add((time - most) / Pace::FORGOTTEN),
                }
            }
            SPAN_NS.checked_div(rates).unwrap_or(0).saturating_add(held_up)
        };
        (0..plan.stages.len()).map(period).max().unwrap_or(0)
    }

    /// The fastest of `plans` that fits `topology`, that of fewest cores among equals, if it is
    /// clearly faster than `current`.
    #[must_use]
    pub fn better_plan<'p, 'a>(
        &self,
        plans: &'p [Plan<'a>],
        topology: &Topology,
        current: &Plan<'_>,
    ) -> Option<&'p Plan<'a>> {
        let fitting = plans.iter().filter(|plan| plan.fits(topology).is_ok());
        let cores = |plan: &Plan<'_>| plan.teams.iter().map(|team| u16::from(team.cores)).sum();
        let best =
            fitting.min_by_key(|plan| -> (u64, u16) { (self.period_ns(plan), cores(plan)) })?;
        let now = self.period_ns(current);
        (self.period_ns(best) < now.saturating_sub(now / GAIN)).then_some(best)
    }
}

/// Watches a pipeline at work for clusters that are slower than predicted, or fast again.
#[derive(Clone, Debug)]
pub struct Watch {
    /// How long a window is at least.
    window: Ticks,
    /// When the window began.
    since: Ticks,
    /// Per team, what it had done when the window began.
    begun: Vec<StageStats, MAX_CORES>,
    /// Per cluster, the factors of the last windows in which it had work.
    recent: [[u32; WINDOWS]; MAX_CLUSTERS],
}

impl Watch {
    /// Looks at windows of `window`, long enough for a few frames; a change counts once most of
    /// three windows show it.
    #[must_use]
    pub const fn new(window: Ticks) -> Self {
        let recent = [[AS_PREDICTED; WINDOWS]; MAX_CLUSTERS];
        Self { window, since: Ticks(0), begun: Vec::new(), recent }
    }

    /// To be called now and then while `pipeline` is at work; tells the slowness of all clusters
    /// at the end of each window, else nothing.
    pub fn look<P: Platform>(&mut self, pipeline: &Pipeline<'_, P>) -> Option<Slowness> {
        let teams = pipeline.plan().teams;
        let now = || (0..teams.len()).map_while(|team| pipeline.team_stats(team));
        // The first look at a pipeline, or at another after a change of plans.
        let is_other = self.begun.len() != teams.len()
            || self.begun.iter().zip(now()).any(|(begun, now)| now.frames < begun.frames);
        let time = P::now();
        if !is_other && time.since(self.since) < self.window {
            return None;
        }
        let mut times = [(0, 0); MAX_CLUSTERS];
        for ((team, begun), now) in teams.iter().zip(&self.begun).zip(now()) {
            let frames = now.frames.saturating_sub(begun.frames);
            let Some((taken, predicted)) = times.get_mut(usize::from(team.cluster.0)) else {
                continue;
            };
            let at_it = now.busy.since(begun.busy).after(now.late.since(begun.late));
            *taken = u64::saturating_add(*taken, nanoseconds::<P>(at_it));
            let planned = frames.saturating_mul(team.frame_ns.into());
            *predicted = u64::saturating_add(*predicted, planned);
        }
        self.since = time;
        self.begun.clear();
        for stats in now() {
            // A team has a core at least, so that there is room.
            let _ = self.begun.push(stats);
        }
        (!is_other).then(|| self.end_window(&times))
    }

    /// Takes the time that each cluster took for its frames in a window and the time predicted
    /// for them, in nanoseconds. What is known of a cluster without work stays.
    fn end_window(&mut self, times: &[(u64, u64); MAX_CLUSTERS]) -> Slowness {
        for (recent, &(taken, predicted)) in self.recent.iter_mut().zip(times) {
            let factor = taken.saturating_mul(AS_PREDICTED.into()).checked_div(predicted);
            if let Some(factor) = factor {
                recent.rotate_left(1);
                if let Some(last) = recent.last_mut() {
                    *last = factor.clamp(1, MOST) as u32;
                }
            }
        }
        // The median: what most of the windows reach.
        Slowness(self.recent.map(|[a, b, c]| a.min(b).max(a.max(b).min(c))))
    }
}

fn nanoseconds<P: Platform>(ticks: Ticks) -> u64 {
    const SECOND: u64 = 1_000_000_000;
    let hz = P::tick_hz().max(1);
    let rest = (ticks.0 % hz).saturating_mul(SECOND) / hz;
    (ticks.0 / hz).saturating_mul(SECOND).saturating_add(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_is_slow_once_it_has_been_for_long() {
        let mut watch = Watch::new(Ticks(8));
        let mut window = |taken| {
            let mut times = [(0, 0); MAX_CLUSTERS];
            times[1] = (taken, 1000);
            watch.end_window(&times).permille(ClusterId(1))
        };
        let seen = [1000, 2500, 1000, 2500, 2500, 1000, 0, 1000].map(&mut window);
        assert_eq!(seen, [1000, 1000, 1000, 2500, 2500, 2500, 1000, 1000]);
        // Nothing is learnt of a cluster that has no work.
        let idle = watch.end_window(&[(0, 0); MAX_CLUSTERS]);
        assert_eq!(idle.permille(ClusterId(1)), 1000);
    }

    #[test]
    fn factors_have_bounds() {
        let mut watch = Watch::new(Ticks(0));
        for _ in 0..WINDOWS {
            watch.end_window(&[(u64::MAX, 1); MAX_CLUSTERS]);
        }
        let slowness = watch.end_window(&[(u64::MAX, 1); MAX_CLUSTERS]);
        assert_eq!(slowness.permille(ClusterId(0)), 65_536_000);
        assert_eq!(slowness.permille(ClusterId(99)), 1000);
    }
}
