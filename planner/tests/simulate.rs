//! The simulator agrees with what can be worked out by hand, and with the cost model.

use pipeit_planner::board::Board;
use pipeit_planner::cost::{Cluster, Costs};
use pipeit_planner::explore::{Explorer, Objective};
use pipeit_planner::plan::{Plan, Stage, Team};
use pipeit_planner::simulate::{Simulation, Source, least_slots, simulate};

/// Clusters of these cores, on which every layer takes so many nanoseconds.
fn costs(clusters: &[&[f64]], cores: usize) -> Costs {
    let cluster = |(index, layers): (usize, &&[f64])| Cluster {
        name: format!("c{index}"),
        team_ns: vec![layers.to_vec(); cores],
        core_watts: 1.0,
    };
    Costs::new(clusters.iter().enumerate().map(cluster).collect()).unwrap()
}

fn two_stages() -> Plan {
    let stage = |layer: usize| Stage {
        layers: layer..layer + 1,
        teams: vec![Team { cluster: layer, cores: 1 }],
    };
    Plan { stages: vec![stage(0), stage(1)] }
}

fn close(a: f64, b: f64) {
    assert!((a - b).abs() <= 1e-9 * b, "{a} is not {b}");
}

#[test]
fn one_frame_at_a_time_takes_its_latency() {
    let costs = costs(&[&[3.0, 100.0], &[100.0, 5.0]], 1).with_contention(0.5);
    let outcome = simulate(&costs, &two_stages(), Simulation::saturated(1));
    // With one slot the clusters never work together.
    close(outcome.period_ns, 8.0);
    close(outcome.latency.min_ns, 8.0);
    close(outcome.latency.max_ns, 8.0);
    close(outcome.stages[1].busy[0], 5.0 / 8.0);
}

#[test]
fn a_full_pipeline_is_as_fast_as_its_slowest_stage() {
    let costs = costs(&[&[3.0, 100.0], &[100.0, 5.0]], 1);
    let costs = costs.with_handover(|_, from, _| if from.is_some() { 1.0 } else { 0.0 });
    let outcome = simulate(&costs, &two_stages(), Simulation::saturated(4));
    close(outcome.period_ns, 6.0);
    assert_eq!(outcome.stages[1].longest_queue, 3);
    // Slots let frames in; then each waits for those before it in the queue of the second stage.
    close(outcome.latency.median_ns, 24.0);
    assert_eq!(least_slots(&costs, &two_stages(), 8, 0.0), 2);
}

#[test]
fn clusters_slow_each_other_only_while_both_are_busy() {
    let costs = costs(&[&[4.0, 100.0], &[100.0, 4.0]], 1).with_contention(0.5);
    let outcome = simulate(&costs, &two_stages(), Simulation::saturated(8));
    close(outcome.period_ns, 6.0);
    // The second stage is idle for a part of the time: the first works faster meanwhile. In 5
    // together it does 10/3 of 4; the rest takes it 2/3.
    let costs = self::costs(&[&[4.0, 100.0], &[100.0, 10.0 / 3.0]], 1).with_contention(0.5);
    let outcome = simulate(&costs, &two_stages(), Simulation::saturated(8));
    close(outcome.period_ns, 5.0 + 2.0 / 3.0);
    close(costs.predict(&two_stages()).period_ns, 6.0);
}

#[test]
fn teams_of_a_stage_share_frames_by_their_speed() {
    let costs = costs(&[&[10.0], &[25.0]], 1);
    let teams = vec![Team { cluster: 0, cores: 1 }, Team { cluster: 1, cores: 1 }];
    let plan = Plan::one_stage(1, teams);
    let outcome = simulate(&costs, &plan, Simulation::saturated(8));
    assert!((outcome.period_ns / (50.0 / 7.0) - 1.0).abs() < 0.02, "{outcome:?}");
    // Frames of the fast team wait at the sink for those of the slow one.
    assert!(outcome.sink_wait_ns > 0.0);
}

#[test]
fn a_team_that_is_fed_by_another_needs_frames_to_go_on_with() {
    let costs = costs(&[&[10.0]], 2);
    let plan = Plan::one_stage(1, vec![Team { cluster: 0, cores: 1 }; 2]);
    // A frame to work at and one more for the other team, whose turn comes in mid-frame; one and
    // one in the same way for the first.
    let outcome =
        |slots| simulate(&costs, &plan, Simulation { jitter: 0.2, ..Simulation::saturated(slots) });
    assert!(outcome(2).period_ns > 5.5);
    assert!(outcome(5).period_ns < 5.1);
    assert_eq!(least_slots(&costs, &plan, 8, 0.2), 4);
}

#[test]
fn a_slow_source_sets_the_pace() {
    let costs = costs(&[&[3.0, 100.0], &[100.0, 5.0]], 1);
    let source = Source::Paced { interval_ns: 10.0, jitter: 0.0 };
    let simulation = Simulation { source, ..Simulation::saturated(4) };
    let outcome = simulate(&costs, &two_stages(), simulation);
    close(outcome.period_ns, 10.0);
    close(outcome.latency.max_ns, 8.0);
    close(1.0 + outcome.source_wait_ns, 1.0);
    // A source that is too fast waits for slots.
    let source = Source::Paced { interval_ns: 4.0, jitter: 0.5 };
    let simulation = Simulation { source, jitter: 0.1, seed: 7, ..simulation };
    let outcome = simulate(&costs, &two_stages(), simulation);
    assert!((outcome.period_ns / 5.0 - 1.0).abs() < 0.02, "{outcome:?}");
    assert!(outcome.source_wait_ns > 0.0);
    assert!(outcome.latency.min_ns < outcome.latency.median_ns);
    assert_eq!(outcome, simulate(&costs, &two_stages(), simulation));
}

#[test]
fn the_cost_model_agrees_on_real_boards() {
    for name in ["rk3399pro", "kirin970"] {
        let board = Board::built_in(name).unwrap();
        let table = board.table().unwrap();
        for network in table.networks() {
            let costs = table.costs(&board, network).unwrap();
            let costs = costs.with_contention(board.memory.contention);
            for replication in [false, true] {
                let explorer = Explorer::new(&costs).with_replication(replication);
                let best = explorer.best(Objective::Throughput).unwrap();
                let slots = least_slots(&costs, &best.plan, 32, 0.0);
                let outcome = simulate(&costs, &best.plan, Simulation::saturated(slots));
                let ratio = outcome.period_ns / best.prediction.period_ns;
                println!("{name} {network} {slots} slots {ratio:.3}");
                // The model takes all clusters to be busy all the time, so it is never faster
                // than the simulation but for the frames that finish out of order.
                assert!((0.85..1.03).contains(&ratio), "{name} {network}: {ratio}");
            }
        }
    }
}
