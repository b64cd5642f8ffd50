//! Plans of every kind, on declared machines, for comparing their outputs.

use pipeit_rt::platform::hosted::{HostCluster, Machine};

use crate::artefact::OwnedPlan;
use crate::noise::Noise;
use crate::partition::{Partition, PartitionError, StageSpec, TeamSpec};
use crate::planning::Planner;

/// A plan and the machine it is for.
#[derive(Clone, Debug)]
pub struct Trial {
    /// What it is.
    pub name: String,
    /// The machine; a CPU may stand for several cores.
    pub machine: Machine,
    /// The plan.
    pub plan: OwnedPlan,
}

/// Makes trials for one network.
#[derive(Debug)]
pub struct Trials<'a> {
    /// Plans the network.
    pub planner: &'a Planner<'a>,
    /// The CPUs that stand for the cores, in turn.
    pub cpus: &'a [usize],
}

/// Most clusters of a random machine.
const CLUSTERS: usize = 4;
/// Most cores of a random machine.
const CORES: usize = 4;

impl Trials<'_> {
    /// One core; two stages; a team of two; two teams on one stage.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn usual(&self) -> Result<Vec<Trial>, PartitionError> {
        let two = self.machine(&[2]);
        let mut trials = vec![
            ("one core", Partition::one_core()),
            ("a team of two", Partition::stage_per_cluster(&two)),
            ("two teams on one stage", Partition::replicated(&two)),
        ];
        // A network of one layer has one stage.
        if self.layers() > 1 {
            trials.insert(1, ("two stages", Partition::stage_per_core(&two)));
        }
        let trial = |(name, partition)| self.trial(name, &two, &partition, None);
        trials.into_iter().map(trial).collect()
    }

    /// One stage, served by one team of `cores` cores.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn team(&self, cores: usize) -> Result<Trial, PartitionError> {
        let machine = self.machine(&[cores]);
        let partition = Partition::stage_per_cluster(&machine);
        self.trial("a team", &machine, &partition, None)
    }

    /// Any number of clusters, cores, stages, teams and slots.
    ///
    /// # Errors
    ///
    /// [`PartitionError`].
    pub fn random(&self, noise: &mut Noise) -> Result<Trial, PartitionError> {
        let clusters = 1 + noise.below(CLUSTERS);
        let mut cores = vec![1; clusters];
        for _ in 0..noise.below(CORES - clusters + 1) {
            cores[noise.below(clusters)] += 1;
        }
        let machine = self.machine(&cores);
        // All cores are dealt into teams, the teams to stages in random order.
        let mut teams = Vec::new();
        for (cluster, &cores) in cores.iter().enumerate() {
            let mut left = cores;
            while left > 0 {
                let size = 1 + noise.below(left);
                let place = noise.below(teams.len() + 1);
                teams.insert(place, TeamSpec { cluster, cores: size as u8 });
                left -= size;
            }
        }
        let slots = 1 + noise.below(2 * teams.len() + 1);
        let count = 1 + noise.below(teams.len().min(self.layers()));
        let mut cuts: Vec<u16> = vec![0, self.layers() as u16];
        while cuts.len() < count + 1 {
            let cut = 1 + noise.below(self.layers() - 1) as u16;
            if !cuts.contains(&cut) {
                cuts.push(cut);
            }
        }
        cuts.sort_unstable();
        let mut stages: Vec<_> = cuts
            .windows(2)
            .map(|ends| StageSpec { layers: Some(ends[0]..ends[1]), teams: Vec::new() })
            .collect();
        for (index, team) in teams.into_iter().enumerate() {
            let stage = if index < count { index } else { noise.below(count) };
            stages[stage].teams.push(team);
        }
        self.trial("random", &machine, &Partition { stages }, Some(slots))
    }

    fn layers(&self) -> usize {
        self.planner.model.layers.len()
    }

    /// A machine whose cluster `i` has `cores[i]` cores.
    fn machine(&self, cores: &[usize]) -> Machine {
        let mut cpus = self.cpus.iter().copied().cycle();
        let cluster = |(i, &count): (usize, &usize)| {
            HostCluster::new(&format!("c{i}"), cpus.by_ref().take(count).collect())
        };
        Machine { clusters: cores.iter().enumerate().map(cluster).collect() }
    }

    fn trial(
        &self,
        name: &str,
        machine: &Machine,
        partition: &Partition,
        slots: Option<usize>,
    ) -> Result<Trial, PartitionError> {
        let plan = self.planner.plan(partition, machine, slots)?;
        Ok(Trial { name: name.to_owned(), machine: machine.clone(), plan })
    }
}
