//! What is left of the throughput when another program takes half of a core.
//!
//! ```text
//! cargo bench -p pipeit-tool --bench slowed [-- NETWORK...]
//! ```
//!
//! Of two cores, each a cluster, the second gets company by a process that computes without end. A
//! stream that may change plans goes on through that; beside its throughput afterwards stands that
//! of the best of all plans there are, which run one by one in the same company.

mod common;

use std::cell::Cell;
use std::env;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pipeit_planner::explore::all_plans;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_tool::commands::CommandError;
use pipeit_tool::interpreter::Interpreter;
use pipeit_tool::load::from_bytes;
use pipeit_tool::noise::Noise;
use pipeit_tool::partition::Partition;
use pipeit_tool::planning::{Planner, PlanningError};
use pipeit_tool::session::{KERNELS, fill, stream_live};
use pipeit_tool::{artefact, report};

/// How long a stream runs undisturbed, and has to find another plan.
const BEFORE: Duration = Duration::from_secs(2);
/// How long a rate is measured.
const TIME: Duration = Duration::from_secs(2);
/// The same for each of all plans, and the rounds of it, of which the median counts.
const TIME_OF_EACH: Duration = Duration::from_millis(300);
const ROUNDS: usize = 3;
/// Plans that are measured at most.
const MOST: usize = 1000;
/// Makes this program the company.
const HOG: &str = "--hog";

/// A process that takes what it can get of a CPU; ends when dropped.
struct Hog(Child);

impl Hog {
    fn on(cpu: usize) -> std::io::Result<Self> {
        let own = env::current_exe()?;
        let mut hog = Command::new(own);
        hog.args([HOG, &cpu.to_string()]).stdin(Stdio::null());
        hog.spawn().map(Self)
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // It has ended by itself if it cannot be ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Frames per second in spans of a stream, and what it went through.
struct Seen {
    rates: Vec<f64>,
    frames: usize,
    wrong: usize,
    changes: usize,
}

/// Streams frames through the first of `plans`, and others if that is better; `spans` are times of
/// which the first begins with the first frame, each with something to do when it begins.
fn run(
    plans: &[Plan<'_>],
    machine: &Machine,
    frames: &[(Vec<Vec<i8>>, Vec<i8>)],
    spans: &mut [(Duration, &mut dyn FnMut())],
) -> Result<Seen, CommandError> {
    let sent = Cell::new(0);
    let (mut seen, mut wrong, mut changes) = (0, 0, 0);
    let mut rates = Vec::new();
    let mut begun = (Instant::now(), 0);
    let is_over = Cell::new(false);
    stream_live::<Hosted>(
        plans,
        machine,
        |frame: &mut InputFrame<'_, '_, Hosted>| {
            if is_over.get() {
                return false;
            }
            fill(frame, &frames[sent.get() % frames.len()].0);
            sent.set(sent.get() + 1);
            true
        },
        |frame| {
            wrong += usize::from(frame.output(0) != Some(&frames[seen % frames.len()].1));
            seen += 1;
            let Some((time, _)) = spans.get(rates.len()) else { return };
            let taken = begun.0.elapsed();
            if taken >= *time {
                rates.push((seen - begun.1) as f64 / taken.as_secs_f64());
                match spans.get_mut(rates.len()) {
                    Some((_, begin)) => begin(),
                    None => is_over.set(true),
                }
                begun = (Instant::now(), seen);
            }
        },
        |_, _| changes += 1,
    )??;
    wrong += sent.get() - seen;
    Ok(Seen { rates, frames: seen, wrong, changes })
}

fn main() -> Result<(), CommandError> {
    let args: Vec<_> = env::args().skip(1).collect();
    if let [hog, cpu] = &args[..]
        && hog == HOG
    {
        let cpu = cpu.parse().unwrap_or_default();
        let machine = Machine { clusters: vec![HostCluster::new("hog", vec![cpu])] };
        // Longer than any run, lest it stay when its parent is killed.
        let end = Instant::now() + Duration::from_secs(600);
        machine.run(|_| while Instant::now() < end {}, || ());
        return Ok(());
    }
    let Some(kernels) = KERNELS.iter().find(|table| (table.supported)()) else { return Ok(()) };
    let Some([first, second]) = common::two_cpus() else { return Ok(()) };
    let cluster = |name, cpu| HostCluster::new(name, vec![cpu]);
    let machine = Machine { clusters: vec![cluster("a", first), cluster("b", second)] };
    let headings = [
        "network",
        ">before, frames/s",
        ">after the change",
        ">best of all plans",
        ">share",
        ">changes",
        ">frames",
        ">lost or wrong",
    ];
    let mut rows = report::table(&headings);
    for architecture in common::networks() {
        let file = architecture.tflite(0, &mut || {});
        let loaded = from_bytes(&file, Some("tflite"), &[kernels.path.into()])?;
        let mut tables = artefact::tables(&loaded.bytes)?;
        let model = artefact::open(&loaded.bytes, &mut tables)?.model;
        let planner = Planner::new(model, kernels.path);
        let mut frames = Vec::new();
        for seed in 0..3 {
            let frame = Noise::new(seed).frame(model);
            let expected = Interpreter::new(model).run(&frame).concat();
            frames.push((frame, expected));
        }

        let planned = planner.plans(&machine)?;
        let checked: Result<Vec<_>, _> = planned.iter().map(|plan| plan.check(model)).collect();
        let plans = checked.map_err(PlanningError::from)?;
        let mut hog = None;
        let mut join = || hog = Some(Hog::on(second).expect("another process"));
        let live = run(
            &plans,
            &machine,
            &frames,
            &mut [(BEFORE, &mut || ()), (BEFORE, &mut join), (TIME, &mut || ())],
        )?;

        let cores = vec![1; machine.clusters.len()];
        let all = all_plans(model.layers.len(), &cores, true, MOST);
        let all = all.ok_or(PlanningError::TooMany { most: MOST })?;
        let mut rates = vec![Vec::new(); all.len()];
        for _ in 0..ROUNDS {
            for (plan, rates) in all.iter().zip(&mut rates) {
                let owned = planner.plan(&Partition::from(plan), &machine, None)?;
                let plan = owned.check(model).map_err(PlanningError::from)?;
                let span: (_, &mut dyn FnMut()) = (TIME_OF_EACH, &mut || ());
                rates.extend(run(&[plan], &machine, &frames, &mut [span])?.rates);
            }
        }
        drop(hog);
        let median = |rates: &mut Vec<f64>| {
            rates.sort_by(f64::total_cmp);
            rates[ROUNDS / 2]
        };
        let best = rates.iter_mut().map(median).fold(0.0, f64::max);
        rows.add_row([
            architecture.name.to_owned(),
            format!("{:.1}", live.rates[0]),
            format!("{:.1}", live.rates[2]),
            format!("{best:.1}"),
            format!("{:.1} %", 100.0 * live.rates[2] / best),
            live.changes.to_string(),
            live.frames.to_string(),
            live.wrong.to_string(),
        ]);
        eprintln!("{}", architecture.name);
    }
    println!("{rows}");
    Ok(())
}
