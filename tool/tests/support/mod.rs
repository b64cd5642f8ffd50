//! What the tests that run networks under many plans share.

use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_tool::artefact::OwnedPlan;
use pipeit_tool::partition::{Partition, StageSpec, TeamSpec};
use pipeit_tool::session::{stream, with_pipeline};

/// A small reproducible source of choices (SplitMix64).
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `range`, both ends included.
    pub(crate) fn pick(&mut self, range: std::ops::RangeInclusive<u32>) -> u32 {
        range.start() + (self.next() % u64::from(range.end() - range.start() + 1)) as u32
    }

    pub(crate) fn of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.pick(0..=choices.len() as u32 - 1) as usize]
    }
}

/// One to four clusters of one to three cores, and stages of teams on some of them.
pub(crate) fn partition(rng: &mut Rng, layers: usize) -> (Machine, Partition) {
    let cpus: Vec<_> = Machine::detect().clusters.into_iter().flat_map(|c| c.cpus).collect();
    let mut clusters = Vec::new();
    let mut teams = Vec::new();
    for cluster in 0..rng.pick(1..=4) as usize {
        let cores = rng.of(&[1, 2, 3]);
        let dealt = (0..cores).map(|core| cpus[(cluster + core) % cpus.len()]).collect();
        clusters.push(HostCluster::new(&format!("c{cluster}"), dealt));
        let mut left = cores as u8;
        while left > 0 {
            let cores = rng.pick(1..=left.into()) as u8;
            teams.push(TeamSpec { cluster, cores });
            left -= cores;
        }
    }
    let count = (rng.pick(1..=teams.len() as u32) as usize).min(layers);
    let mut cuts: Vec<u16> = vec![0, layers as u16];
    while cuts.len() < count + 1 {
        let cut = rng.pick(1..=layers as u32 - 1) as u16;
        if !cuts.contains(&cut) {
            cuts.push(cut);
        }
    }
    cuts.sort_unstable();
    let mut stages: Vec<_> = cuts
        .windows(2)
        .map(|cut| StageSpec { layers: Some(cut[0]..cut[1]), teams: Vec::new() })
        .collect();
    // Every stage gets a team, some get the others, some teams stay out.
    for stage in &mut stages {
        stage.teams.push(teams.swap_remove(rng.pick(0..=teams.len() as u32 - 1) as usize));
    }
    for team in teams {
        let stage = rng.pick(0..=count as u32) as usize;
        if let Some(stage) = stages.get_mut(stage) {
            stage.teams.push(team);
        }
    }
    (Machine { clusters }, Partition { stages })
}

/// All outputs of all frames under a plan.
pub(crate) fn run(
    model: &pipeit_rt::Model<'_>,
    plan: &OwnedPlan,
    machine: &Machine,
    frames: &[Vec<Vec<i8>>],
) -> Vec<Vec<i8>> {
    let plan = plan.check(model).unwrap();
    let mut results = Vec::new();
    let mut next = frames.iter();
    with_pipeline(&plan, machine, |pipeline| {
        let fill = |frame: &mut pipeit_rt::pipeline::InputFrame<'_, '_, _>| {
            let Some(inputs) = next.next() else { return false };
            for (i, codes) in inputs.iter().enumerate() {
                frame.input(i).unwrap().copy_from_slice(codes);
            }
            true
        };
        stream(pipeline, fill, |output| {
            let outputs = (0..model.outputs.len()).flat_map(|i| output.output(i).unwrap());
            results.push(outputs.copied().collect());
        })
        .unwrap();
    })
    .unwrap();
    results
}
