//! Which plan to run: the one stated, the artefact's, or the best there is.

use pipeit_rt::Artefact;
use pipeit_rt::kernels::Path;
use pipeit_rt::model::Model;
use pipeit_rt::plan::PlanError;
use pipeit_rt::platform::hosted::Machine;
use pipeit_rt::topology::TooManyCores;

use crate::artefact::OwnedPlan;
use crate::cost::Costs;
use crate::machine::{MachineArgs, MachineError};
use crate::partition::{Partition, PartitionError};

/// Flags that choose a plan.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PlanArgs {
    /// The machine to plan for.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Stages and their teams, such as "0-11=big*1+big*1 12-=little*4" or "big*2 little*4"
    #[arg(long, value_name = "SPEC")]
    pub stages: Option<String>,
    /// Frames in flight [default: two per team and one]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
}

/// Why there is no plan.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PlanningError {
    /// There is no such machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The runtime cannot have such a machine.
    #[error(transparent)]
    Topology(#[from] TooManyCores),
    /// The stages are refused.
    #[error(transparent)]
    Partition(#[from] PartitionError),
    /// None of the artefact's plans fits the machine.
    #[error("no plan of the artefact fits this machine: the best {0}")]
    NoneFits(PlanError),
    /// The plan made here was refused.
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// A network and a machine to plan for.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The network.
    pub model: &'a Model<'a>,
    /// What its layers cost.
    pub costs: Costs,
    /// The kernel path of every cluster.
    pub path: Path,
}

impl<'a> Planner<'a> {
    /// For `model`, with kernels of `path`.
    #[must_use]
    pub fn new(model: &'a Model<'a>, path: Path) -> Self {
        Self { model, costs: Costs::of(model), path }
    }

    /// The plan of `partition` over `machine`.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn plan(
        &self,
        partition: &Partition,
        machine: &Machine,
        slots: Option<usize>,
    ) -> Result<OwnedPlan, PartitionError> {
        let mut plan = partition.plan(self.model, machine, &self.costs, slots)?;
        plan.needs.paths.fill(self.path);
        Ok(plan)
    }

    /// The plan of the partition `stages`, or of the best without.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn stated(
        &self,
        stages: Option<&str>,
        machine: &Machine,
        slots: Option<usize>,
    ) -> Result<OwnedPlan, PartitionError> {
        let layers = self.model.layers.len();
        let partition = match stages {
            Some(text) => Partition::parse(text, machine, layers)?,
            None => Partition::best(machine, &self.costs, layers, 1)?,
        };
        self.plan(&partition, machine, slots)
    }

    /// The best plan for `machine`, then for ever fewer of its cores, down to one. Cores are
    /// left out from the end, where the weakest clusters stand.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn ladder(&self, machine: &Machine) -> Result<Vec<OwnedPlan>, PartitionError> {
        let mut machine = machine.clone();
        let mut plans = Vec::new();
        while let Some(last) = machine.clusters.last_mut() {
            if last.cpus.is_empty() {
                machine.clusters.pop();
                continue;
            }
            plans.push(self.stated(None, &machine, None)?);
            if let Some(last) = machine.clusters.last_mut() {
                last.cpus.pop();
            }
        }
        Ok(plans)
    }
}

/// The machine and the plan the flags say. Without flags that state a plan, an artefact's best
/// plan for the machine is taken, or else the best there is.
///
/// # Errors
///
/// [`PlanningError`].
pub fn choose(
    artefact: &Artefact<'_>,
    args: &PlanArgs,
) -> Result<(Machine, OwnedPlan), PlanningError> {
    let machine = args.machine.machine()?;
    let path = args.machine.cores.path_in(artefact.model);
    let is_stated =
        args.stages.is_some() || args.slots.is_some() || args.machine.cores.path.is_some();
    let plan = match artefact.plans {
        [_, ..] if !is_stated => fitting(artefact, &machine)?,
        _ => Planner::new(artefact.model, path).stated(
            args.stages.as_deref(),
            &machine,
            args.slots,
        )?,
    };
    Ok((machine, plan))
}

fn fitting(artefact: &Artefact<'_>, machine: &Machine) -> Result<OwnedPlan, PlanningError> {
    match artefact.best_plan(&machine.topology()?) {
        Ok(plan) => Ok(plan.into()),
        // There are plans, so there is a reason why none fits.
        Err(reason) => {
            Err(PlanningError::NoneFits(reason.unwrap_or(PlanError::Layers { stage: 0 })))
        }
    }
}
