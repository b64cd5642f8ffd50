//! What two cores lose by working together: the same cores apart are the bound.
//!
//! ```text
//! cargo bench -p pipeit-tool --bench apart [-- NETWORK...]
//! ```
//!
//! In rounds, of which the median counts, a network runs as two teams of a core each, beside it
//! as two pipelines of one core each at the same time; and as two stages, cut where the times of
//! layers say or next to it, whichever is faster, beside it each stage alone on a core, while the
//! other core computes frames of its own: of the time that a pipeline of one core is at work on a
//! frame, the part of the stage's layers, timed one by one; and for the first stage what such a
//! pipeline takes to be fed.

mod common;

use std::slice::from_ref;
use std::thread;
use std::time::Duration;

use pipeit_rt::model::Model;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_tool::commands::CommandError;
use pipeit_tool::layer_times::layer_times;
use pipeit_tool::load::from_bytes;
use pipeit_tool::measure::{Length, Measurement, measure};
use pipeit_tool::noise::Noise;
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::{Planner, PlanningError};
use pipeit_tool::session::{KERNELS, fill};
use pipeit_tool::{artefact, report};

/// Rounds of each measurement: many short ones, since what is compared must be close in time where
/// clocks vary.
const ROUNDS: usize = 61;
/// Rounds in which the fastest stages are looked for.
const TRIALS: usize = 9;
/// How long each takes.
const TIME: Duration = Duration::from_millis(50);

/// A network on cores.
struct Subject<'a> {
    model: &'a Model<'a>,
    planner: Planner<'a>,
    frame: Vec<Vec<i8>>,
}

impl Subject<'_> {
    /// What a plan gives.
    fn measure(&self, stages: &Partition, machine: &Machine) -> Result<Measurement, CommandError> {
        let plan = self.planner.plan(stages, machine, None)?;
        let plan = plan.check(self.model).map_err(PlanningError::from)?;
        let length = Length { time: TIME, frames: 0 };
        Ok(measure(&plan, machine, length, |_, frame| fill(frame, &self.frame), |_, _| {})??)
    }

    /// Frames per second.
    fn rate(&self, stages: &Partition, machine: &Machine) -> Result<f64, CommandError> {
        Ok(self.measure(stages, machine)?.frames_per_second())
    }

    /// Frames per second of two pipelines of a core each, at the same time.
    fn rate_apart(&self, cores: &[Machine; 2]) -> Result<f64, CommandError> {
        let rate = |machine| self.rate(&Partition::one_core(), machine);
        let (one, other) = thread::scope(|scope| {
            let other = scope.spawn(|| rate(&cores[1]));
            (rate(&cores[0]), other.join().expect("no panic"))
        });
        Ok(one? + other?)
    }

    /// Nanoseconds of each layer by itself on a core: means, as a rate is one, too.
    fn layer_ns(&self, core: &Machine) -> Result<Vec<u64>, CommandError> {
        let plan = self.planner.plan(&Partition::one_core(), core, Some(1))?;
        let plan = plan.check(self.model).map_err(PlanningError::from)?;
        let times = layer_times(&plan, core, from_ref(&self.frame), TIME)?;
        Ok(times.iter().map(|times| times.iter().sum::<u64>() / times.len() as u64).collect())
    }

    /// The fastest two stages of a core each, and the first layer of the second: of those whose
    /// slower takes as little as possible by the times of layers, and those cut a layer before and
    /// after, for what a stage takes to be handed frames is not in these times.
    fn stages(&self, both: &Machine, core: &Machine) -> Result<(Partition, usize), CommandError> {
        let times = self.layer_ns(core)?;
        let slower = |cut: &usize| {
            let (first, second) = times.split_at(*cut);
            first.iter().sum::<u64>().max(second.iter().sum())
        };
        let cut = (1..times.len()).min_by_key(slower).unwrap_or(1);
        let mut fastest = (0.0, Partition::stage_per_core(both), cut);
        for cut in (cut - 1).max(1)..=(cut + 1).min(times.len() - 1) {
            let mut stages = Partition::stage_per_core(both);
            for (stage, layers) in stages.stages.iter_mut().zip([0..cut, cut..times.len()]) {
                stage.layers = Some(layers.start as u16..layers.end as u16);
            }
            let rates = (0..TRIALS).map(|_| self.rate(&stages, both));
            let rate = median(rates.collect::<Result<_, _>>()?);
            if rate > fastest.0 {
                fastest = (rate, stages, cut);
            }
        }
        let (_, stages, cut) = fastest;
        Ok((stages, cut))
    }

    /// Frames per second of the slower of two stages, of which the second begins with layer `cut`,
    /// each alone on its core, while the other core has other work.
    fn rate_of_slower(&self, cut: usize, cores: &[Machine; 2]) -> Result<f64, CommandError> {
        let one_core = Partition::one_core();
        let mut slowest = 0.0;
        for (index, core) in cores.iter().enumerate() {
            let other = || self.rate(&one_core, &cores[1 - index]);
            let times = beside(other, || self.layer_ns(core))?;
            let (first, second) = times.split_at(cut);
            let of_stage = [first, second][index].iter().sum::<u64>();
            let part = of_stage as f64 / times.iter().sum::<u64>() as f64;
            let whole = beside(other, || self.measure(&one_core, core))?;
            let fed = if index == 0 { whole.stages[0].starved } else { 0.0 };
            let seconds = (part * whole.stages[0].busy + fed) / whole.frames_per_second();
            slowest = f64::max(slowest, seconds);
        }
        Ok(1.0 / slowest)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What `body` gives while `other` runs on a thread of its own.
fn beside<T, U: Send>(other: impl FnOnce() -> U + Send, body: impl FnOnce() -> T) -> T {
    thread::scope(|scope| {
        scope.spawn(other);
        body()
    })
}

fn main() -> Result<(), CommandError> {
    let Some(kernels) = KERNELS.iter().find(|table| (table.supported)()) else { return Ok(()) };
    let Some([first, second]) = common::two_cpus() else { return Ok(()) };
    let machine =
        |cpus: &[usize]| Machine { clusters: vec![HostCluster::new("cpu", cpus.to_vec())] };
    let (both, cores) = (machine(&[first, second]), [machine(&[first]), machine(&[second])]);
    let headings = [
        "network",
        ">two teams, frames/s",
        ">of the cores apart",
        ">two stages, frames/s",
        ">of the slower alone",
    ];
    let mut rows = report::table(&headings);
    for architecture in common::networks() {
        let file = architecture.tflite(0, &mut || {});
        let loaded = from_bytes(&file, Some("tflite"), &[kernels.path.into()])?;
        let mut tables = artefact::tables(&loaded.bytes)?;
        let model = artefact::open(&loaded.bytes, &mut tables)?.model;
        let planner = Planner::new(model, kernels.path);
        let subject = Subject { model, planner, frame: Noise::new(0).frame(model) };
        let teams = Partition::replicated(&both);
        let (stages, cut) = subject.stages(&both, &cores[0])?;
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let (together, apart) = (subject.rate(&teams, &both)?, subject.rate_apart(&cores)?);
            let (piped, alone) =
                (subject.rate(&stages, &both)?, subject.rate_of_slower(cut, &cores)?);
            for (all, value) in
                rounds.iter_mut().zip([together, together / apart, piped, piped / alone])
            {
                all.push(value);
            }
        }
        let [together, of_apart, piped, of_alone] = rounds.map(median);
        rows.add_row([
            architecture.name.to_owned(),
            format!("{together:.1}"),
            format!("{:.1} %", 100.0 * of_apart),
            format!("{piped:.1}"),
            format!("{:.1} %", 100.0 * of_alone),
        ]);
        eprintln!("{}", architecture.name);
    }
    println!("{rows}");
    Ok(())
}
