//! Plans explain themselves.

use pipeit_planner::board::Board;
use pipeit_planner::explain::{rank, slowed};
use pipeit_planner::explore::{Explorer, Objective};

#[test]
fn rivals_are_ranked_and_slow_clusters_avoided() {
    let board = Board::built_in("rk3399pro").unwrap();
    let costs = board.table().unwrap().costs(&board, "googlenet").unwrap();
    let costs = costs.with_contention(board.memory.contention);
    let explorer = Explorer::new(&costs);
    let best = explorer.best(Objective::Throughput).unwrap();
    let candidates = explorer.candidates(8);
    assert_eq!(candidates.len(), 8);
    assert!((candidates[0].prediction.period_ns / best.prediction.period_ns - 1.0).abs() < 1e-6);
    let ranked = rank(&costs, candidates, 32);
    assert!(ranked.is_sorted_by(|a, b| a.simulated.period_ns <= b.simulated.period_ns));
    assert!(ranked.iter().all(|ranked| (1..=32).contains(&ranked.slots)));
    // A plan cannot beat the best for the new state, nor the best get faster.
    for slowed in slowed(&costs, &best, 1.1) {
        assert!(slowed.best.prediction.period_ns <= slowed.period_ns * (1.0 + 1e-9));
        assert!(slowed.best.prediction.period_ns >= best.prediction.period_ns * (1.0 - 1e-9));
        assert!(slowed.period_ns <= best.prediction.period_ns * 1.1 * (1.0 + 1e-9));
    }
    let prediction = &best.prediction;
    assert_eq!(prediction.bubbles().len(), prediction.stages.len());
    assert!(prediction.bubbles()[prediction.bottleneck()] < 1e-9);
    assert!(prediction.balance() > 0.8);
}
