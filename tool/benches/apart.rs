//! What two cores lose by working together: the same cores apart are the bound.
//!
//! ```text
//! cargo bench -p pipeit-tool --bench apart [-- NETWORK...]
//! ```
//!
//! In rounds, of which the median counts, a network runs as two teams of a core each, beside it
//! as two pipelines of one core each at the same time; and as two stages, beside it each stage
//! alone on a core, while the other core computes frames of its own: the sum of its layers, one
//! frame at a time, and for the first stage what a pipeline of one core takes to be fed.

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
const ROUNDS: usize = 15;
/// How long each takes.
const TIME: Duration = Duration::from_millis(200);

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

    /// Frames per second of the slower of two stages, each alone on its core, while the other core
    /// has other work.
    fn rate_of_slower(
        &self,
        stages: &Partition,
        both: &Machine,
        cores: &[Machine; 2],
    ) -> Result<f64, CommandError> {
        let cuts = stages.cut(&self.planner.costs(both)?)?;
        let one_core = Partition::one_core();
        let mut slowest = 0.0;
        for (index, layers) in cuts.into_iter().enumerate() {
            let plan = self.planner.plan(&one_core, &cores[index], Some(1))?;
            let plan = plan.check(self.model).map_err(PlanningError::from)?;
            let times = beside(
                || self.rate(&one_core, &cores[1 - index]),
                || layer_times(&plan, &cores[index], from_ref(&self.frame), TIME),
            )?;
            // Means, as a rate is one, too.
            let means = times.iter().map(|times| times.iter().sum::<u64>() / times.len() as u64);
            let sum: u64 = means.skip(layers.start.into()).take(layers.len()).sum();
            let mut seconds = sum as f64 / 1e9;
            if index == 0 {
                let fed = beside(
                    || self.rate(&one_core, &cores[1]),
                    || self.measure(&one_core, &cores[0]),
                )?;
                seconds += fed.stages[0].starved / fed.frames_per_second();
            }
            slowest = f64::max(slowest, seconds);
        }
        Ok(1.0 / slowest)
    }
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
        let (teams, stages) = (Partition::replicated(&both), Partition::stage_per_core(&both));
        let mut rounds = [const { Vec::new() }; 4];
        for _ in 0..ROUNDS {
            let (together, apart) = (subject.rate(&teams, &both)?, subject.rate_apart(&cores)?);
            let (piped, alone) =
                (subject.rate(&stages, &both)?, subject.rate_of_slower(&stages, &both, &cores)?);
            for (all, value) in
                rounds.iter_mut().zip([together, together / apart, piped, piped / alone])
            {
                all.push(value);
            }
        }
        let [together, of_apart, piped, of_alone] = rounds.map(|mut values| {
            values.sort_by(f64::total_cmp);
            values[ROUNDS / 2]
        });
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
