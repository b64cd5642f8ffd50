//! The paper's question, answered from the boards' tables.

use pipeit_planner::board::Board;
use pipeit_planner::gain::{BoardGains, Gains, gains};

fn text(gains: &BoardGains) -> String {
    let line = |name: &str, gains: &Gains| {
        let values = gains.values().map(|value| format!("{value:.3}"));
        format!("{name:16} {}\n", values.join("  "))
    };
    let networks = gains.networks.iter().map(|network| line(&network.network, &network.gains));
    let head = format!("contention {}\n", gains.contention);
    head + &networks.collect::<String>() + &line("geometric mean", &gains.mean)
}

#[test]
fn gains_of_boards() {
    for name in ["kirin970", "rk3399pro", "rk3588"] {
        let board = Board::built_in(name).unwrap();
        let table = board.table().unwrap();
        let isolated = gains(&board, &table, 0.0).unwrap();
        let contended = gains(&board, &table, board.memory.contention).unwrap();
        println!("{name}\n{}{}", text(&isolated), text(&contended));
        for found in [&isolated, &contended] {
            for network in &found.networks {
                println!("{} {:?}", network.network, network.plans);
            }
        }
    }
}
