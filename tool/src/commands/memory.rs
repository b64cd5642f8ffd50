//! `pipeit memory`: what networks take of RAM and flash, on one core and as a pipeline.

use std::io::Write;
use std::path::PathBuf;

use pipeit_rt::pipeline::Pipeline;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::{Hosted, Machine};
use serde_json::{Value, json};

use super::{CommandError, progress};
use crate::artefact;
use crate::load::load;
use crate::machine::MachineArgs;
use crate::memory::largest_live_set;
use crate::partition::Partition;
use crate::planning::Planner;
use crate::report::{grouped, table};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Networks (.tflite) or artefacts (.pipeit)
    #[arg(required = true)]
    pub models: Vec<PathBuf>,
    /// The machine of the pipeline.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Stages and teams of the pipeline, see `pipeit plan` [default: a stage per cluster, or per
    /// core of the only one]
    #[arg(long, value_name = "SPEC")]
    pub stages: Option<String>,
    /// Frames in flight in the pipeline [default: two per team and one]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// What one network takes, in bytes.
struct Memory {
    name: String,
    /// Activations of one frame on one core.
    one_frame: u64,
    /// The least that can be, the largest live set.
    bound: u64,
    slots: u8,
    /// What each further frame in flight costs.
    slot: u64,
    /// The arenas of all teams.
    arenas: u64,
    /// Slots and arenas.
    pipeline: u64,
    /// Slots, arenas, tables and the pipeline's own state.
    ram: u64,
    /// The artefact with the plan of the pipeline.
    flash: u64,
}

/// Runs the command.
///
/// # Errors
///
/// A network, the machine or the stages are refused.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let machine = args.machine.machine()?;
    let bar = progress(args.models.len(), "placing");
    let mut all = Vec::new();
    for path in &args.models {
        let loaded = load(path, &[args.machine.cores.target()])?;
        let mut tables = artefact::tables(&loaded.bytes)?;
        let model = artefact::open(&loaded.bytes, &mut tables)?.model;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let planner = Planner::new(model, args.machine.cores.path_in(model));
        all.push(measure(name, &planner, &machine, args)?);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{}", Value::Array(all.iter().map(Memory::json).collect()))?;
        return Ok(());
    }
    let mut frame = table(&["network", ">one frame", ">live set", ">over %", ">flash"]);
    let mut pipeline =
        table(&["network", ">slots", ">per slot", ">arenas", ">slots and arenas", ">RAM"]);
    for memory in &all {
        frame.add_row(memory.frame_row());
        pipeline.add_row(memory.pipeline_row());
    }
    writeln!(out, "One frame on one core: bytes of activations, at least the largest live set")?;
    writeln!(out, "{frame}\n")?;
    writeln!(out, "As a pipeline: bytes; RAM is slots, arenas, tables and state")?;
    writeln!(out, "{pipeline}")?;
    Ok(())
}

fn measure(
    name: String,
    planner: &Planner<'_>,
    machine: &Machine,
    args: &Args,
) -> Result<Memory, CommandError> {
    let model = planner.model;
    let one = planner.plan(&Partition::one_core(), machine, Some(1))?;
    let partition = match &args.stages {
        Some(stages) => Partition::parse(stages, machine, model.layers.len())?,
        None if machine.clusters.len() > 1 => Partition::stage_per_cluster(machine),
        None => Partition::stage_per_core(machine),
    };
    let owned = planner.plan(&partition, machine, args.slots)?;
    let bytes = artefact::write(model, std::slice::from_ref(&owned), &[])?;
    let plan: Plan<'_> = owned.check(model)?;
    let slot = u64::from(plan.needs.slot_bytes).next_multiple_of(64);
    let pipeline = plan.arena_bytes() as u64;
    Ok(Memory {
        name,
        one_frame: one.check(model)?.arena_bytes() as u64,
        bound: largest_live_set(model),
        slots: plan.needs.slots,
        slot,
        arenas: pipeline - slot * u64::from(plan.needs.slots),
        pipeline,
        ram: Pipeline::<Hosted>::ram_bytes(&bytes)? as u64,
        flash: bytes.len() as u64,
    })
}

impl Memory {
    fn over_percent(&self) -> f64 {
        100.0 * (self.one_frame as f64 / self.bound as f64 - 1.0)
    }

    fn frame_row(&self) -> [String; 5] {
        let over = format!("{:.1}", self.over_percent());
        let [frame, bound, flash] = [self.one_frame, self.bound, self.flash].map(grouped);
        [self.name.clone(), frame, bound, over, flash]
    }

    fn pipeline_row(&self) -> [String; 6] {
        let [slot, arenas, all, ram] =
            [self.slot, self.arenas, self.pipeline, self.ram].map(grouped);
        [self.name.clone(), self.slots.to_string(), slot, arenas, all, ram]
    }

    fn json(&self) -> Value {
        json!({
            "network": self.name,
            "one_frame_bytes": self.one_frame,
            "largest_live_set_bytes": self.bound,
            "slots": self.slots,
            "slot_bytes": self.slot,
            "team_arena_bytes": self.arenas,
            "arena_bytes": self.pipeline,
            "ram_bytes": self.ram,
            "flash_bytes": self.flash,
        })
    }
}
