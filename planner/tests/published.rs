//! What is made of published timings, where those are at hand.

#[path = "../../tool/tests/support/skip.rs"]
mod skip;

use std::fs;

use pipeit_planner::published::{self, Pipeline, Published, fit_contention, fit_layers, pipelines};

/// The published files, unless `test` is left out.
fn published(test: &str) -> Option<Published> {
    let folder = skip::shared(test)?.join("board-timings");
    let read = |name: &str| fs::read_to_string(folder.join(name)).unwrap();
    let files = ["layers.csv", "handover.csv", "pipelines.csv", "networks.csv"].map(read);
    Some(Published::parse(&files[0], &files[1], &files[2], &files[3]).unwrap())
}

#[test]
fn networks_held_out_are_predicted() {
    let Some(published) = published("networks_held_out_are_predicted") else { return };
    // Cores, mean error over all units, of the worst network.
    let bounds = [("Cortex-A72", 2, 0.13), ("Cortex-A53", 4, 0.11)];
    let fits = fit_layers(&published.layers).unwrap();
    for ((core, cores, bound), fit) in bounds.into_iter().zip(&fits) {
        assert_eq!((&*fit.core, fit.cores), (core, cores));
        println!("{cores} x {core}: held out {:.1} %", 100.0 * fit.held_out_error());
        for network in &fit.networks {
            println!(
                "  {:16} held out {:5.1} %, whole network {:+5.1} %; fitted {:5.1} %",
                network.name,
                100.0 * network.held_out_error(),
                100.0 * network.held_out_whole_error(),
                100.0 * network.fitted_error(),
            );
            assert!(network.held_out_error() <= 0.22);
        }
        for (name, ns) in fit.features.iter().zip(&fit.ns_per_unit) {
            println!("    {name:45} {ns:10.4} ns");
        }
        assert!(fit.held_out_error() <= bound);
        assert_eq!(fit.networks.len(), 5);
    }
}

#[test]
fn one_contention_constant_holds_for_both_networks() {
    let Some(published) = published("one_contention_constant_holds_for_both_networks") else {
        return;
    };
    let all = pipelines(&published).unwrap();
    assert_eq!(all.len(), 4);
    let networks = ["AlexNet", "Mobilenet"];
    let of = |name: &str| -> Vec<Pipeline> {
        all.iter().filter(|pipeline| pipeline.row.network == name).cloned().collect()
    };
    let fitted = fit_contention(&all);
    println!("contention {fitted:.3} by all");
    let board = pipeit_planner::board::Board::built_in("rk3399pro").unwrap();
    assert!((fitted - board.memory.contention).abs() < 5e-4);
    for (name, other) in networks.into_iter().zip(networks.into_iter().rev()) {
        let held_out = fit_contention(&of(other));
        println!("contention {held_out:.3} by {other}");
        for pipeline in of(name) {
            let [isolated, own, by_other] =
                [0.0, fitted, held_out].map(|contention| 100.0 * pipeline.error(contention));
            println!(
                "  {name} {}: {} ms; isolated {isolated:+.1} %, all {own:+.1} %, {other} {by_other:+.1} %",
                pipeline.row.mapping, pipeline.row.period_ms,
            );
            assert!(own.abs() <= 10.0 && by_other.abs() <= 10.0);
        }
    }
}

#[test]
fn the_tables_of_the_boards_are_those_generated() {
    let Some(published) = published("the_tables_of_the_boards_are_those_generated") else { return };
    let boards = concat!(env!("CARGO_MANIFEST_DIR"), "/../boards");
    let tables = [
        ("rk3399pro", published::rk3399pro(&published).unwrap()),
        ("kirin970", published::kirin970(&published).unwrap()),
    ];
    for (board, tables) in tables {
        let read = |name: &str| fs::read_to_string(format!("{boards}/{board}/{name}")).unwrap();
        assert_eq!(tables.units, read("units.csv"));
        assert_eq!(tables.teams, read("teams.csv"));
        assert_eq!(tables.handover, read("handover.csv"));
    }
}
