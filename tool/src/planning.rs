//! Which plan to run: the one stated, the artefact's, or the best there is.
//!
//! ```text
//! network ─ describe ─┐
//!                     ├─▶ Predictor ─▶ Costs ─ Explorer ─▶ stages ─ place ─▶ plan
//! machine or board ───┘   (profile)
//! ```

use std::path::{Path as FilePath, PathBuf};

use pipeit_planner::board::{Board, BoardError};
use pipeit_planner::cost::Costs;
use pipeit_planner::explore::{Explorer, Objective, paper};
use pipeit_planner::plan;
use pipeit_planner::predict::{Described, Predictor};
use pipeit_planner::profile::{Profile, ProfileError};
use pipeit_rt::Artefact;
use pipeit_rt::kernels::Path;
use pipeit_rt::model::Model;
use pipeit_rt::plan::PlanError;
use pipeit_rt::platform::hosted::Machine;
use pipeit_rt::topology::TooManyCores;

use crate::artefact::OwnedPlan;
use crate::descriptors::describe;
use crate::machine::{MachineArgs, MachineError, stand_in};
use crate::pack::PackTarget;
use crate::partition::{Partition, PartitionError, cores};

/// Flags that choose a plan.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct PlanArgs {
    /// The machine to plan for.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Stages and their teams, such as "0-11=big*1+big*1 12-=little*4" or "big*2 little*4"
    #[arg(long, value_name = "SPEC")]
    pub stages: Option<String>,
    /// Frames in flight [default: as many as keep the stages busy, and one]
    #[arg(long, value_name = "N")]
    pub slots: Option<usize>,
    /// Times measured by `pipeit profile` to plan by
    #[arg(long, value_name = "FILE")]
    pub profile: Option<PathBuf>,
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
    /// A profile cannot be read.
    #[error("{}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is no profile.
    #[error("{}: not a profile", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
    /// A profile is refused.
    #[error("{}", path.display())]
    Profile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: ProfileError,
    },
    /// There is no such board.
    #[error(transparent)]
    Board(#[from] BoardError),
    /// There are too many plans to run them all.
    #[error("more than {most} plans: too many to run them all")]
    TooMany {
        /// How many would do.
        most: usize,
    },
    /// No plan is within the limits.
    #[error("no plan keeps to the limits; {best}")]
    Limits {
        /// What the best without them does.
        best: String,
    },
}

/// What to plan for.
#[derive(Debug)]
pub struct Target {
    /// The machine, or one that has as many cores as the board.
    pub machine: Machine,
    /// What it does with layers.
    pub predictor: Predictor,
    /// The kernel paths of its clusters, each once, with the smallest cache.
    pub pack: Vec<PackTarget>,
    /// Whether it is this machine.
    pub is_here: bool,
}

impl Target {
    /// The board of that name or in that file, else the machine of the flags; timed by
    /// `profile`, else by static cycle counts.
    ///
    /// # Errors
    ///
    /// [`PlanningError`].
    pub fn of(
        args: &MachineArgs,
        board: Option<&str>,
        profile: Option<&FilePath>,
    ) -> Result<Self, PlanningError> {
        let Some(board) = board else {
            let pack = args.cores.target();
            let predictor = predictor(profile, pack.path)?;
            let machine = args.machine()?;
            return Ok(Self { machine, predictor, pack: vec![pack], is_here: true });
        };
        let board = match FilePath::new(board) {
            path if path.is_file() => Board::parse(
                &std::fs::read_to_string(path)
                    .map_err(|source| PlanningError::File { path: path.to_owned(), source })?,
            )?,
            _ => Board::built_in(board)?,
        };
        let mut predictor = Predictor::of(&board);
        if let Some(file) = profile {
            let known = predictor.clusters;
            predictor = self::predictor(profile, Path::Reference)?;
            for cluster in &known {
                let timed = predictor.clusters.iter_mut().find(|timed| timed.name == cluster.name);
                let unknown = || PlanningError::Profile {
                    path: file.to_owned(),
                    source: ProfileError::Empty { cluster: cluster.name.clone() },
                };
                timed.ok_or_else(unknown)?.core_watts = cluster.core_watts;
            }
        }
        let machine = args.slowed(stand_in(&board))?;
        machine.topology()?;
        let mut pack: Vec<PackTarget> = Vec::new();
        for cluster in &board.clusters {
            let Some(predicted) = predictor.cluster(&cluster.name) else { continue };
            let mut target = PackTarget::from(predicted.path);
            if cluster.l2_kib > 0 {
                target.l2_bytes = cluster.l2_kib.saturating_mul(1 << 10);
            }
            match pack.iter_mut().find(|known| known.path == target.path) {
                Some(known) => known.l2_bytes = known.l2_bytes.min(target.l2_bytes),
                None => pack.push(target),
            }
        }
        Ok(Self { machine, predictor, pack, is_here: false })
    }
}

/// Reads a profile and checks it.
///
/// # Errors
///
/// [`PlanningError::File`], [`PlanningError::Json`], [`PlanningError::Profile`].
pub fn read_profile(path: &FilePath) -> Result<Profile, PlanningError> {
    let path = || path.to_owned();
    let text = std::fs::read_to_string(path())
        .map_err(|source| PlanningError::File { path: path(), source })?;
    let profile: Profile = serde_json::from_str(&text)
        .map_err(|source| PlanningError::Json { path: path(), source })?;
    profile.check().map_err(|source| PlanningError::Profile { path: path(), source })?;
    Ok(profile)
}

/// A network and what its layers are predicted to take.
#[derive(Debug)]
pub struct Planner<'a> {
    /// The network.
    pub model: &'a Model<'a>,
    network: Described,
    /// What machines do with layers.
    pub predictor: Predictor,
}

/// Longer networks are cut between groups of layers, at most this many.
const GROUPS: usize = 512;
/// On machines with more ways than this to use some cores of every cluster, the paper's heuristic
/// searches: an exact search would take too long.
const WAYS: usize = 200;
/// Artefacts have plans for every number of cores of every cluster when those are no more.
const TOPOLOGIES: usize = 32;
/// How many times slower a cluster is in the plans for slowed clusters.
const SLOWED: f64 = 2.0;

impl<'a> Planner<'a> {
    /// For `model`, with kernels of `path`, by static cycle counts.
    #[must_use]
    pub fn new(model: &'a Model<'a>, path: Path) -> Self {
        Self::by(model, Predictor::typical(path))
    }

    /// For `model`, by these predictions.
    #[must_use]
    pub fn by(model: &'a Model<'a>, predictor: Predictor) -> Self {
        Self { model, network: describe(model), predictor }
    }

    /// What the layers cost on `machine`.
    ///
    /// # Errors
    ///
    /// [`PartitionError::Costs`]: the machine has no cores.
    pub fn costs(&self, machine: &Machine) -> Result<Costs, PartitionError> {
        let costs = self.predictor.costs(&self.network, &cores(machine));
        costs.map_err(PartitionError::Costs)
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
        let mut plan = partition.plan(self.model, &self.costs(machine)?, slots)?;
        let path = |name: &str| self.predictor.cluster(name).map(|cluster| cluster.path);
        for (to, cluster) in plan.needs.paths.iter_mut().zip(&machine.clusters) {
            // An artefact is packed for what it is packed for.
            let packed = |path: &Path| self.model.paths.contains(path);
            let path = path(&cluster.name).filter(packed);
            *to = path.or(self.model.paths.first().copied()).unwrap_or(Path::Reference);
        }
        Ok(plan)
    }

    /// The plan of the partition `stages`, or of the fastest without.
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
        let partition = match stages {
            Some(text) => Partition::parse(text, machine, self.model.layers.len())?,
            None => Partition::from(&fastest(&self.costs(machine)?)),
        };
        self.plan(&partition, machine, slots)
    }

    /// The fastest stages of which there are several, where machine and network have room.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn pipeline(&self, machine: &Machine) -> Result<Partition, PartitionError> {
        let costs = self.costs(machine)?;
        let cores: usize = machine.clusters.iter().map(|cluster| cluster.cpus.len()).sum();
        if cores.min(costs.layers()) < 2 || is_vast(&costs) {
            return Ok(Partition::from(&fastest(&costs)));
        }
        let candidates = Explorer::new(&costs).candidates(cores * machine.clusters.len());
        let several = candidates.iter().find(|found| found.plan.stages.len() > 1);
        Ok(several.map_or_else(
            || Partition::stage_per_core(machine),
            |found| Partition::from(&found.plan),
        ))
    }

    /// The plans of an artefact for `machine`, fastest first, then those for a slowed cluster.
    /// There is one for every number of cores of every cluster, so that whatever cores come up
    /// have theirs; where that would be too many, cores are left out from the end, where the
    /// weakest clusters stand.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn plans(&self, machine: &Machine) -> Result<Vec<OwnedPlan>, PartitionError> {
        let mut found: Vec<(f64, Partition)> = Vec::new();
        let add = |machine: &Machine, found: &mut Vec<(f64, Partition)>| {
            // Clusters without cores are left out, and counted again in the plan.
            let present = |index: &usize| !machine.clusters[*index].cpus.is_empty();
            let present: Vec<_> = (0..machine.clusters.len()).filter(present).collect();
            let clusters = present.iter().map(|&index| machine.clusters[index].clone());
            let costs = self.costs(&Machine { clusters: clusters.collect() })?;
            let stages = fastest(&costs);
            let mut partition = Partition::from(&stages);
            for team in partition.stages.iter_mut().flat_map(|stage| &mut stage.teams) {
                team.cluster = present[team.cluster];
            }
            if !found.iter().any(|(_, other)| *other == partition) {
                found.push((costs.predict(&stages).period_ns, partition));
            }
            Ok::<_, PartitionError>(())
        };
        for machine in &subsets(machine) {
            add(machine, &mut found)?;
        }
        found.sort_by(|a, b| a.0.total_cmp(&b.0));
        if machine.clusters.len() > 1 {
            for cluster in 0..machine.clusters.len() {
                let mut slowed = machine.clone();
                let permille = &mut slowed.clusters[cluster].slowdown_permille;
                *permille = (f64::from(*permille) * SLOWED) as u32;
                add(&slowed, &mut found)?;
            }
        }
        found.iter().map(|(_, partition)| self.plan(partition, machine, None)).collect()
    }
}

/// What is left of `machine` when clusters lose cores: the machine itself first.
fn subsets(machine: &Machine) -> Vec<Machine> {
    let counts: Vec<_> = machine.clusters.iter().map(|cluster| cluster.cpus.len()).collect();
    let ways = counts.iter().fold(1usize, |ways, count| ways.saturating_mul(count + 1));
    let with = |counts: &[usize]| {
        let mut machine = machine.clone();
        for (cluster, &count) in machine.clusters.iter_mut().zip(counts) {
            cluster.cpus.truncate(count);
        }
        machine
    };
    let is_any = |counts: &[usize]| counts.iter().any(|&count| count > 0);
    if ways > TOPOLOGIES {
        let mut left = counts;
        let mut all = Vec::new();
        while is_any(&left) {
            all.push(with(&left));
            if let Some(last) = left.iter_mut().rev().find(|count| **count > 0) {
                *last -= 1;
            }
        }
        return all;
    }
    let mut all = vec![Vec::new()];
    for &count in &counts {
        let more = |left: &Vec<usize>| {
            let left = left.clone();
            (0..=count).rev().map(move |count| [&left[..], &[count]].concat())
        };
        all = all.iter().flat_map(more).collect();
    }
    all.iter().filter(|counts| is_any(counts)).map(|counts| with(counts)).collect()
}

/// Whether there are too many ways to use the cores for an exact search.
#[must_use]
pub fn is_vast(costs: &Costs) -> bool {
    let cores = (0..costs.clusters().len()).map(|cluster| costs.cores(cluster) + 1);
    cores.fold(1usize, usize::saturating_mul) > WAYS
}

/// Where groups of layers begin, all but the first, of about equal work.
#[must_use]
pub fn groups(costs: &Costs) -> Vec<usize> {
    let layers = costs.layers();
    if layers <= GROUPS {
        return (1..layers).collect();
    }
    let team = plan::Team { cluster: 0, cores: 1 };
    let all_ns = costs.work_ns(0..layers, team);
    let group = |start: usize| (costs.work_ns(0..start, team) / all_ns * GROUPS as f64) as usize;
    (1..layers).filter(|&start| group(start) != group(start - 1)).collect()
}

/// What a plan over groups of layers is over layers.
#[must_use]
pub fn ungrouped(plan: &plan::Plan, groups: &[usize], layers: usize) -> plan::Plan {
    let start = |group: usize| match group.checked_sub(1) {
        None => 0,
        Some(before) => groups.get(before).copied().unwrap_or(layers),
    };
    let stage = |stage: &plan::Stage| plan::Stage {
        layers: start(stage.layers.start)..start(stage.layers.end),
        teams: stage.teams.clone(),
    };
    plan::Plan { stages: plan.stages.iter().map(stage).collect() }
}

/// The fastest plan there is, or on vast machines the heuristic's.
#[must_use]
pub fn fastest(costs: &Costs) -> plan::Plan {
    let groups = groups(costs);
    let grouped = costs.grouped(&groups);
    let found = match is_vast(costs) {
        true => None,
        false => Explorer::new(&grouped).best(Objective::Throughput),
    };
    let found = found.map_or_else(|| paper(&grouped), |found| found.plan);
    ungrouped(&found, &groups, costs.layers())
}

/// The predictions that the flags ask for: a profile's, or by static cycle counts.
///
/// # Errors
///
/// The profile is refused.
pub fn predictor(profile: Option<&FilePath>, path: Path) -> Result<Predictor, PlanningError> {
    let Some(file) = profile else { return Ok(Predictor::typical(path)) };
    let predictor = read_profile(file)?.predictor();
    predictor.map_err(|source| PlanningError::Profile { path: file.to_owned(), source })
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
    let is_stated = args.stages.is_some()
        || args.slots.is_some()
        || args.profile.is_some()
        || args.machine.cores.path.is_some();
    let plan = match artefact.plans {
        [_, ..] if !is_stated => fitting(artefact, &machine)?,
        _ => Planner::by(artefact.model, predictor(args.profile.as_deref(), path)?).stated(
            args.stages.as_deref(),
            &machine,
            args.slots,
        )?,
    };
    Ok((machine, plan))
}

/// The machine, the plan that the flags say, and the others there are for when clusters get
/// slower: those of the artefact, or new ones.
///
/// # Errors
///
/// [`PlanningError`].
pub fn choose_all(
    artefact: &Artefact<'_>,
    args: &PlanArgs,
) -> Result<(Machine, Vec<OwnedPlan>), PlanningError> {
    let (machine, plan) = choose(artefact, args)?;
    let path = args.machine.cores.path_in(artefact.model);
    let others = match artefact.plans {
        [] => Planner::by(artefact.model, predictor(args.profile.as_deref(), path)?)
            .plans(&machine)?,
        plans => plans.iter().map(OwnedPlan::from).collect(),
    };
    Ok((machine, [vec![plan], others].concat()))
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
