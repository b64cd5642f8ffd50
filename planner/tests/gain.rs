//! The paper's question, answered from the boards' tables.

use std::fmt::Write;

use pipeit_planner::board::Board;
use pipeit_planner::gain::{BoardGains, Gains, gains};

fn write(text: &mut String, found: &BoardGains) {
    let mut line = |name: &str, gains: &Gains| {
        let values = gains.values().map(|value| format!("{value:6.3}"));
        writeln!(text, "{name:16} {}", values.join(" ")).unwrap();
    };
    for network in &found.networks {
        line(&network.network, &network.gains);
    }
    line("geometric mean", &found.mean);
}

#[test]
fn gains_of_boards() {
    for name in ["kirin970", "rk3399pro", "rk3588"] {
        let board = Board::built_in(name).unwrap();
        let table = board.table().unwrap();
        let mut text = format!("{}\n", Gains::NAMES.join(", "));
        for contention in [0.0, board.memory.contention] {
            let found = gains(&board, &table, contention).unwrap();
            writeln!(text, "contention {contention}").unwrap();
            write(&mut text, &found);
            for gains in found.networks.iter().map(|network| network.gains) {
                let best_without = gains.paper.max(gains.stage_per_cluster).max(1.0);
                assert!(gains.replicated >= gains.exact * (1.0 - 1e-6));
                assert!(gains.exact >= best_without * (1.0 - 1e-6));
            }
        }
        insta::assert_snapshot!(format!("gains_{name}"), text);
    }
}
