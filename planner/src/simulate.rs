//! A pipeline at work: deterministic, event by event.
//!
//! ```text
//! source ─▶ slot ─▶ queue of a team of stage 0 ─▶ … ─▶ last stage ─▶ sink, in order ─▶ slot
//! ```
//!
//! As in the runtime, a frame goes into the queue of the team of the next stage that would be
//! done with it first by what is predicted, teams take whole frames in the order of their queue,
//! and a slot is free again when the sink has had its frame, in the order of submission. A
//! saturated source and its sink are a core of the first team, between its frames. Clusters slow
//! each other only while both are busy. The same inputs give the same outcome on every
//! machine.

use std::collections::VecDeque;

use crate::cost::Costs;
use crate::plan::{ClusterSet, Plan};

/// When frames come.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Source {
    /// Whenever there is a slot and the first team is between frames.
    Saturated,
    /// By the clock.
    Paced {
        /// Mean time between frames.
        interval_ns: f64,
        /// By which share of the interval a frame is early or late at most.
        jitter: f64,
    },
}

/// What to simulate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Simulation {
    /// Frames in flight at most.
    pub slots: usize,
    /// Frames until the end; more come behind them. The first quarter fills the pipeline and
    /// is not counted.
    pub frames: usize,
    /// When they come.
    pub source: Source,
    /// By which share the time of a frame on a team varies at most.
    pub jitter: f64,
    /// Of the noise; without jitter it does not matter.
    pub seed: u64,
}

impl Simulation {
    /// As many frames as it takes, as fast as they go, without jitter.
    #[must_use]
    pub const fn saturated(slots: usize) -> Self {
        Self { slots, frames: 400, source: Source::Saturated, jitter: 0.0, seed: 0 }
    }
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Mean time between frames that are done, and all before them.
    pub period_ns: f64,
    /// From a frame's slot to the sink.
    pub latency: Distribution,
    /// Mean time that frames wait for a slot.
    pub source_wait_ns: f64,
    /// Mean time that frames wait for the sink, for those before them.
    pub sink_wait_ns: f64,
    /// Per stage, in the order of the plan.
    pub stages: Vec<StageOutcome>,
}

/// Least, usual and greatest values.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Distribution {
    /// The least.
    pub min_ns: f64,
    /// Half are not above.
    pub median_ns: f64,
    /// 95 of 100 are not above.
    pub p95_ns: f64,
    /// 99 of 100 are not above.
    pub p99_ns: f64,
    /// The greatest.
    pub max_ns: f64,
}

impl Distribution {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |share: f64| {
            let index = (share * values.len() as f64).ceil() as usize;
            values.get(index.saturating_sub(1)).copied().unwrap_or(0.0)
        };
        let (min_ns, max_ns) = (at(0.0), at(1.0));
        Self { min_ns, median_ns: at(0.5), p95_ns: at(0.95), p99_ns: at(0.99), max_ns }
    }
}

/// What a stage did.
#[derive(Clone, Debug, PartialEq)]
pub struct StageOutcome {
    /// Mean time that frames wait in its queues.
    pub wait_ns: f64,
    /// Most frames in its queues at once.
    pub longest_queue: usize,
    /// Per team, the share of the time it was busy.
    pub busy: Vec<f64>,
}

/// A frame in the hands of a team.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    /// Index of the team, in the order of the plan.
    pub team: usize,
    /// Number of the frame.
    pub frame: usize,
    /// When the team took it.
    pub start_ns: f64,
    /// When it was done with it.
    pub end_ns: f64,
}

/// A frame on its way.
#[derive(Clone, Copy, Debug)]
struct Frame {
    arrived: f64,
    submitted: f64,
    done: Option<f64>,
}

struct Team {
    stage: usize,
    cluster: usize,
    handover_ns: f64,
    work_ns: f64,
    queue: VecDeque<(usize, f64)>,
    current: Option<Current>,
    busy_ns: f64,
}

/// The frame in the hands of a team.
struct Current {
    frame: usize,
    since: f64,
    handover_ns: f64,
    work_ns: f64,
}

impl Team {
    /// Time until the frame is done with, or taken over, at this slowdown.
    fn remaining_ns(&self, slowdown: f64) -> Option<f64> {
        let current = self.current.as_ref()?;
        let is_taking_over = current.handover_ns > 0.0;
        Some(if is_taking_over { current.handover_ns } else { current.work_ns * slowdown })
    }

    /// Frames in its queue or its hands.
    fn outstanding(&self) -> usize {
        self.queue.len() + usize::from(self.current.is_some())
    }
}

struct Run<'a> {
    costs: &'a Costs,
    simulation: Simulation,
    teams: Vec<Team>,
    /// Index of the first team of each stage, and one past the last.
    first_team: Vec<usize>,
    now: f64,
    /// Of the noise of frames at stages.
    seed: u64,
    arrivals: Vec<f64>,
    frames: Vec<Frame>,
    released: usize,
    /// When each frame left.
    release_ns: Vec<f64>,
    waits: Vec<f64>,
    longest: Vec<usize>,
    spans: Vec<Span>,
}

/// Runs `plan` and says what came of it.
///
/// A simulation of no slots or no frames is one of one.
#[must_use]
pub fn simulate(costs: &Costs, plan: &Plan, simulation: Simulation) -> Outcome {
    simulate_traced(costs, plan, simulation).0
}

/// As [`simulate`], with all that the teams did, in the order in which it ended.
#[must_use]
pub fn simulate_traced(costs: &Costs, plan: &Plan, simulation: Simulation) -> (Outcome, Vec<Span>) {
    Run::new(costs, plan, simulation).run()
}

/// The least number of slots, up to `most`, with which a saturated pipeline is as fast as with
/// `most`, but for a percent, when the times of frames vary by up to the share `jitter`.
#[must_use]
pub fn least_slots(costs: &Costs, plan: &Plan, most: usize, jitter: f64) -> usize {
    const TOLERANCE: f64 = 1.01;
    let simulation = |slots| Simulation { jitter, ..Simulation::saturated(slots) };
    let period_ns = |slots| simulate(costs, plan, simulation(slots)).period_ns;
    let bound = period_ns(most) * TOLERANCE;
    (1..most).find(|&slots| period_ns(slots) <= bound).unwrap_or(most)
}

impl<'a> Run<'a> {
    fn new(costs: &'a Costs, plan: &Plan, simulation: Simulation) -> Self {
        let mut simulation = simulation;
        simulation.slots = simulation.slots.max(1);
        simulation.frames = simulation.frames.max(1);
        let mut noise = Noise(simulation.seed);
        let all = simulation.frames + simulation.slots;
        let arrivals = (0..all).map(|frame| match simulation.source {
            Source::Saturated => 0.0,
            Source::Paced { interval_ns, jitter } => {
                interval_ns * (frame as f64 + 1.0 + jitter * noise.next())
            }
        });
        let mut arrivals: Vec<_> = arrivals.collect();
        arrivals.sort_by(f64::total_cmp);
        let mut teams = Vec::new();
        let mut first_team = vec![0];
        let mut from = ClusterSet::default();
        for (index, stage) in plan.stages.iter().enumerate() {
            teams.extend(stage.teams.iter().map(|&team| Team {
                stage: index,
                cluster: team.cluster,
                handover_ns: costs.handover_ns(stage.layers.start, from, team.cluster),
                work_ns: costs.work_ns(stage.layers.clone(), team),
                queue: VecDeque::new(),
                current: None,
                busy_ns: 0.0,
            }));
            first_team.push(teams.len());
            from = stage.clusters();
        }
        let stages = plan.stages.len();
        Self {
            costs,
            simulation,
            teams,
            first_team,
            now: 0.0,
            seed: noise.next_bits(),
            arrivals,
            frames: Vec::new(),
            released: 0,
            release_ns: Vec::new(),
            waits: vec![0.0; stages],
            longest: vec![0; stages],
            spans: Vec::new(),
        }
    }

    fn run(mut self) -> (Outcome, Vec<Span>) {
        while self.released < self.simulation.frames {
            if self.is_attended() {
                self.submit();
            }
            for team in 0..self.teams.len() {
                self.start(team);
            }
            self.advance();
            if self.is_attended() {
                self.release();
            }
        }
        let spans = std::mem::take(&mut self.spans);
        (self.outcome(), spans)
    }

    /// Whether someone is there to feed the pipeline and to take what is done.
    fn is_attended(&self) -> bool {
        let is_at_work = self.teams.first().is_some_and(|team| team.current.is_some());
        self.simulation.source != Source::Saturated || !is_at_work
    }

    /// Hands over what is done to the sink.
    fn release(&mut self) {
        while self.frames.get(self.released).is_some_and(|frame| frame.done.is_some()) {
            self.release_ns.push(self.now);
            self.released += 1;
        }
    }

    /// Lets frames that have come into free slots.
    fn submit(&mut self) {
        let in_flight = |run: &Self| run.frames.len() - run.released;
        while in_flight(self) < self.simulation.slots
            && self.arrivals.get(self.frames.len()).is_some_and(|&at| at <= self.now)
        {
            let frame = self.frames.len();
            let arrived = match self.simulation.source {
                Source::Saturated => self.now,
                Source::Paced { .. } => self.arrivals[frame],
            };
            self.frames.push(Frame { arrived, submitted: self.now, done: None });
            self.enqueue(frame, 0);
        }
    }

    /// Puts a frame into the queue of the team of `stage` that would be done with it first.
    fn enqueue(&mut self, frame: usize, stage: usize) {
        let slowdown = self.costs.slowdown(self.busy());
        let done_ns = |team: &Team| {
            let frame_ns = team.handover_ns + team.work_ns * slowdown;
            (team.outstanding() + 1) as f64 * frame_ns
        };
        let teams = self.first_team[stage]..self.first_team[stage + 1];
        let soonest = teams
            .clone()
            .min_by(|&a, &b| done_ns(&self.teams[a]).total_cmp(&done_ns(&self.teams[b])));
        if let Some(team) = soonest {
            self.teams[team].queue.push_back((frame, self.now));
        }
        let queued = teams.map(|team| self.teams[team].queue.len()).sum();
        self.longest[stage] = self.longest[stage].max(queued);
    }

    /// Gives a team that has nothing in its hands the next frame of its queue.
    fn start(&mut self, team: usize) {
        let jitter = self.simulation.jitter;
        let team = &mut self.teams[team];
        if team.current.is_some() {
            return;
        }
        if let Some((frame, queued)) = team.queue.pop_front() {
            self.waits[team.stage] += self.now - queued;
            // By frame and stage, so that runs that differ in slots compare.
            let mut noise = Noise(self.seed ^ ((frame as u64) << 16 | team.stage as u64));
            let work_ns = team.work_ns * (1.0 + jitter * noise.next());
            let (since, handover_ns) = (self.now, team.handover_ns);
            team.current = Some(Current { frame, since, handover_ns, work_ns });
        }
    }

    /// The clusters at work.
    fn busy(&self) -> ClusterSet {
        let at_work = self.teams.iter().filter(|team| team.current.is_some());
        at_work.fold(ClusterSet::default(), |set, team| set.with(team.cluster))
    }

    /// Goes on to the next event: something is taken over, done with, or comes.
    fn advance(&mut self) {
        let slowdown = self.costs.slowdown(self.busy());
        let next_done = self.teams.iter().filter_map(|team| team.remaining_ns(slowdown));
        let next_frame = self.arrivals.get(self.frames.len()).map(|at| at - self.now);
        let next_frame = next_frame.filter(|&wait| wait > 0.0);
        let step = next_done.chain(next_frame).fold(f64::INFINITY, f64::min);
        self.now += step;
        let mut done = Vec::new();
        for (index, team) in self.teams.iter_mut().enumerate() {
            let Some(current) = &mut team.current else { continue };
            team.busy_ns += step;
            if current.handover_ns > 0.0 {
                current.handover_ns = rest(current.handover_ns, step);
            } else {
                current.work_ns = rest(current.work_ns, step / slowdown);
            }
            if current.handover_ns <= 0.0 && current.work_ns <= 0.0 {
                let (frame, start_ns) = (current.frame, current.since);
                self.spans.push(Span { team: index, frame, start_ns, end_ns: self.now });
                done.push((frame, team.stage));
                team.current = None;
            }
        }
        for (frame, stage) in done {
            if stage + 1 < self.longest.len() {
                self.enqueue(frame, stage + 1);
            } else {
                self.frames[frame].done = Some(self.now);
            }
        }
    }

    fn outcome(self) -> Outcome {
        let counted = self.simulation.frames / 4..self.simulation.frames;
        let count = counted.len() as f64;
        let released = |frame: usize| self.release_ns[frame];
        let done = |frame: usize| self.frames[frame].done.unwrap_or(0.0);
        let all_done = |frames: usize| (0..frames).map(done).fold(0.0, f64::max);
        // From the last frame that is not counted, or from the start if all are.
        let period_ns = (all_done(counted.end) - all_done(counted.start)) / count;
        let mean = |of: &dyn Fn(usize) -> f64| counted.clone().map(of).sum::<f64>() / count;
        let latency = |frame: usize| released(frame) - self.frames[frame].submitted;
        let stage = |stage: usize| StageOutcome {
            wait_ns: self.waits[stage] / self.simulation.frames as f64,
            longest_queue: self.longest[stage],
            busy: self.teams[self.first_team[stage]..self.first_team[stage + 1]]
                .iter()
                .map(|team| team.busy_ns / self.now)
                .collect(),
        };
        Outcome {
            period_ns,
            latency: Distribution::of(counted.clone().map(latency).collect()),
            source_wait_ns: mean(&|frame| {
                self.frames[frame].submitted - self.frames[frame].arrived
            }),
            sink_wait_ns: mean(&|frame| released(frame) - done(frame)),
            stages: (0..self.longest.len()).map(stage).collect(),
        }
    }
}

/// What is left after `step`; nothing where only rounding is.
fn rest(left: f64, step: f64) -> f64 {
    if left <= step * (1.0 + 1e-12) { 0.0 } else { left - step }
}

/// Pseudo-random numbers (SplitMix64).
struct Noise(u64);

impl Noise {
    /// The next 64 bits.
    fn next_bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The next number, from -1 to 1.
    fn next(&mut self) -> f64 {
        (self.next_bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}
