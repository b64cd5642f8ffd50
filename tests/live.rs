//! Plans for clusters that have become slower, and the change from one to another.
#![cfg(feature = "std")]

#[allow(dead_code)]
mod common;

use common::{CODES, Chain, OwnedPlan};
use pipeit_rt::kernels::{Path, REFERENCE};
use pipeit_rt::live::{Slowness, Watch};
use pipeit_rt::plan::Demand;
use pipeit_rt::platform::Ticks;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_rt::topology::ClusterId;
use pipeit_rt::{Admission, Pipeline, Plan, Region, Wait};

const LAYERS: u16 = 4;

/// A plan whose team `i` is core 0 of cluster `i`.
fn plan(stages: &[(u16, &[u8])], frame_ns: u32) -> OwnedPlan {
    let mut plan = OwnedPlan::new(3, stages);
    plan.needs.paths = heapless::Vec::from_slice(&[Path::Reference; 2]).unwrap();
    for (cluster, team) in (0..).map(ClusterId).zip(&mut plan.teams) {
        (team.cluster, team.first_core, team.frame_ns) = (cluster, 0, frame_ns);
    }
    plan
}

/// A stage per cluster; one cluster alone; each frame to one of both clusters.
fn plans() -> [OwnedPlan; 3] {
    let alone = plan(&[(LAYERS, &[1])], 2000);
    [plan(&[(2, &[1]), (2, &[1])], 1000), alone, plan(&[(LAYERS, &[1, 1])], 2000)]
}

fn machine() -> Machine {
    let cpus: Vec<_> = Machine::detect().clusters.into_iter().flat_map(|c| c.cpus).collect();
    let cluster = |i: usize| HostCluster::new("one", vec![cpus[i % cpus.len()]]);
    Machine { clusters: vec![cluster(0), cluster(1)] }
}

#[test]
fn the_plan_for_a_slow_cluster_leaves_it_less_to_do() {
    let chain = Chain::new(LAYERS);
    let model = chain.model();
    let owned = plans();
    let plans: Vec<Plan<'_>> = owned.iter().map(|plan| plan.check(&model)).collect();
    let topology = machine().topology().unwrap();
    let periods = |slowness: Slowness| [0, 1, 2].map(|i| slowness.period_ns(&plans[i]));
    let better = |slowness: Slowness, current: usize| {
        let plan = slowness.better_plan(&plans, &topology, &plans[current])?;
        plans.iter().position(|other| std::ptr::eq(other, plan))
    };

    let fast = Slowness::default();
    assert_eq!(periods(fast), [1000, 2000, 1000]);
    assert_eq!(better(fast, 0), None, "nothing is better");
    assert_eq!(better(fast, 1), Some(0));

    // With three slots, who takes four times as long as another is only tried now and then.
    assert_eq!(periods(fast.with(ClusterId(1), 4000)), [4000, 2000, 2000 + (8000 - 6000) / 256]);
    let slow = fast.with(ClusterId(1), 2500);
    assert_eq!(periods(slow), [2500, 2000, 1428]);
    assert_eq!(better(slow, 0), Some(2));
    assert_eq!(better(slow, 1), Some(2));
    assert_eq!(better(slow, 2), None);

    // A little is not worth the change.
    assert_eq!(better(fast.with(ClusterId(1), 1050), 0), None);

    // Only cores that are there count.
    let one = pipeit_rt::topology::Topology::new(&[1]).unwrap();
    let left = slow.better_plan(&plans, &one, &plans[0]).map(|plan| plan.stages.len());
    assert_eq!(left, Some(1), "only the plan of one cluster fits");
}

#[test]
fn frames_are_dealt_by_how_fast_teams_are() {
    const FRAMES: u64 = 2000;
    let chain = Chain::new(LAYERS);
    let model = chain.model();
    let [.., owned] = plans();
    let plan = owned.check(&model);
    let mut machine = machine();
    machine.clusters[1].slowdown_permille = 50_000;
    let topology = machine.topology().unwrap();
    let mut memory =
        vec![std::mem::MaybeUninit::uninit(); Pipeline::<Hosted>::memory_bytes(plan.demand())];
    let mut region = Region::new(&mut memory);
    let pipeline = Pipeline::<Hosted>::new(&plan, &topology, &[&REFERENCE], &mut region).unwrap();
    let core = |core| pipeline.run_core(core).unwrap();
    machine.run(core, || {
        let _stop = pipeline.stop_on_drop();
        let mut seen = 0;
        while seen < FRAMES {
            match pipeline.acquire(Admission::Block(Wait::Never)) {
                Ok(frame) => drop(frame.submit().unwrap()),
                Err(_) => {
                    drop(pipeline.poll(Wait::Forever).unwrap());
                    seen += 1;
                }
            }
        }
        pipeline.drain(Wait::Forever).unwrap();
    });
    let [fast, slow] = [0, 1].map(|team| pipeline.team_stats(team).unwrap().frames);
    assert!(fast > 3 * slow, "planned alike, dealt {fast} and {slow}");
}

#[test]
fn no_frame_is_lost_when_plans_change() {
    let chain = Chain::new(LAYERS);
    let model = chain.model();
    let owned = plans();
    let plans: Vec<Plan<'_>> = owned.iter().map(|plan| plan.check(&model)).collect();
    let machine = machine();
    let topology = machine.topology().unwrap();
    let demand = plans.iter().map(|plan| plan.demand()).fold(Demand::default(), Demand::max);
    let mut memory =
        vec![std::mem::MaybeUninit::uninit(); Pipeline::<Hosted>::memory_bytes(demand)];
    let mut watch = Watch::new(Ticks(1000));
    let (mut sent, mut seen) = (0u8, 0u8);
    for (round, plan) in plans.iter().chain(&plans).enumerate() {
        let mut region = Region::new(&mut memory);
        let pipeline =
            Pipeline::<Hosted>::new(plan, &topology, &[&REFERENCE], &mut region).unwrap();
        let core = |core| pipeline.run_core(core).unwrap();
        machine.run(core, || {
            let _stop = pipeline.stop_on_drop();
            let take = |seen: u8| {
                let frame = pipeline.poll(Wait::Forever).unwrap();
                let expected = [(seen as i8).wrapping_add(LAYERS as i8); CODES];
                assert_eq!(frame.output(0).unwrap(), expected, "round {round}");
                seen.wrapping_add(1)
            };
            let mut windows = 0;
            while windows < 4 {
                if let Ok(mut frame) = pipeline.acquire(Admission::Block(Wait::Never)) {
                    frame.input(0).unwrap().copy_from_slice(&[sent as i8; CODES]);
                    frame.submit().unwrap();
                    sent = sent.wrapping_add(1);
                    continue;
                }
                seen = take(seen);
                if let Some(slowness) = watch.look(&pipeline) {
                    // How slow, the machine decides; that it was measured is seen by this.
                    assert!(slowness.permille(ClusterId(0)) > 0);
                    windows += 1;
                }
            }
            while sent != seen {
                seen = take(seen);
            }
            pipeline.drain(Wait::Never).unwrap();
        });
    }
}
