//! Traces in the form that `chrome://tracing` and Perfetto read.
//!
//! A simulation has a track per team and an event per frame in its hands; a run has a track per
//! core and an event per layer. Times in the file are microseconds.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use pipeit_planner::cost::Costs;
use pipeit_planner::plan::Plan;
use pipeit_planner::simulate::Span;
use pipeit_rt::platform::hosted::{Hosted, ParkingEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use serde_json::{Value, json};

use crate::report::op_name;

/// What happened on a track.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Index of the track.
    pub track: usize,
    /// What it is called.
    pub name: String,
    /// When it began, in nanoseconds.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
    /// Number of the frame.
    pub frame: u64,
}

/// A trace with these tracks, in order.
#[must_use]
pub fn trace(process: &str, tracks: &[String], events: &[Event]) -> Value {
    let process =
        json!({ "name": "process_name", "ph": "M", "pid": 0, "args": { "name": process } });
    let track = |(index, name): (usize, &String)| json!({ "name": "thread_name", "ph": "M", "pid": 0, "tid": index, "args": { "name": name } });
    let event = |event: &Event| {
        json!({
            "name": event.name,
            "ph": "X",
            "pid": 0,
            "tid": event.track,
            "ts": event.start_ns as f64 / 1e3,
            "dur": event.ns as f64 / 1e3,
            "args": { "frame": event.frame },
        })
    };
    let tracks = tracks.iter().enumerate().map(track);
    let all: Vec<_> =
        std::iter::once(process).chain(tracks).chain(events.iter().map(event)).collect();
    json!({ "traceEvents": all, "displayTimeUnit": "ns" })
}

/// [`Hosted`], with a record of every layer on every core.
#[derive(Debug)]
pub struct Tracing;

/// A layer that a core did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSpan {
    /// Number of the core, in the order in which cores did their first layer.
    pub core: usize,
    /// The layer.
    pub layer: u16,
    /// When it began, in nanoseconds.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
}

static SPANS: Mutex<Vec<LayerSpan>> = Mutex::new(Vec::new());
static CORES: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static CORE: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Platform for Tracing {
    type Relax = Yield;
    type Event = ParkingEvent;
    const INTERLEAVES: bool = false;

    fn now() -> Ticks {
        Hosted::now()
    }

    fn tick_hz() -> u64 {
        Hosted::tick_hz()
    }

    fn after_layer(layer: u16, started: Ticks) {
        Hosted::after_layer(layer, started);
        let ns = Hosted::now().since(started).0;
        let core = CORE.get().unwrap_or_else(|| CORES.fetch_add(1, Ordering::Relaxed));
        CORE.set(Some(core));
        let span = LayerSpan { core, layer, start_ns: started.0, ns };
        SPANS.lock().unwrap_or_else(PoisonError::into_inner).push(span);
    }
}

/// What cores on the platform [`Tracing`] have done since this was called last; their numbers
/// start from 0 again.
#[must_use]
pub fn take() -> Vec<LayerSpan> {
    CORES.store(0, Ordering::Relaxed);
    std::mem::take(&mut *SPANS.lock().unwrap_or_else(PoisonError::into_inner))
}

/// The trace of a run of `plan`; `process` is what ran it.
#[must_use]
pub fn of_run(process: &str, spans: &[LayerSpan], plan: &pipeit_rt::Plan<'_>) -> Value {
    let stage = |layer: u16| plan.stages.iter().position(|stage| stage.layers.contains(&layer));
    let cores = spans.iter().map(|span| span.core + 1).max().unwrap_or(0);
    let mut tracks = vec![String::new(); cores];
    // Frames that each core has begun.
    let mut frames = vec![0u64; cores];
    let begun = spans.iter().map(|span| span.start_ns).min().unwrap_or(0);
    let mut events = Vec::new();
    for span in spans {
        let stage = stage(span.layer).unwrap_or(0);
        if tracks[span.core].is_empty() {
            tracks[span.core] = format!("stage {stage}, core {}", span.core);
        }
        if plan.stages.get(stage).is_some_and(|stage| stage.layers.start == span.layer) {
            frames[span.core] += 1;
        }
        events.push(Event {
            track: span.core,
            name: format!("{} {}", span.layer, op_name(plan.model(), span.layer)),
            start_ns: span.start_ns - begun,
            ns: span.ns,
            frame: frames[span.core].saturating_sub(1),
        });
    }
    trace(process, &tracks, &events)
}

/// The trace of a simulation.
#[must_use]
pub fn of_simulation(spans: &[Span], plan: &Plan, costs: &Costs) -> Value {
    let names = costs.names();
    let teams = plan
        .stages
        .iter()
        .enumerate()
        .flat_map(|(stage, found)| found.teams.iter().map(move |team| (stage, team)));
    let tracks: Vec<_> = teams
        .map(|(stage, team)| format!("stage {stage}: {}*{}", names[team.cluster], team.cores))
        .collect();
    let event = |span: &Span| Event {
        track: span.team,
        name: format!("frame {}", span.frame),
        start_ns: span.start_ns as u64,
        ns: (span.end_ns - span.start_ns) as u64,
        frame: span.frame as u64,
    };
    trace("pipeit simulate", &tracks, &spans.iter().map(event).collect::<Vec<_>>())
}
