//! What the commands about boards print.

#[path = "support/skip.rs"]
mod skip;

use std::path::PathBuf;

use pipeit_tool::commands::{CommandError, boards, fit, gain};
use serde_json::Value;

/// What a command prints.
fn printed(run: impl FnOnce(&mut dyn std::io::Write) -> Result<(), CommandError>) -> String {
    let mut out = Vec::new();
    run(&mut out).unwrap();
    // Tables fill their last column with spaces.
    let text = String::from_utf8(out).unwrap();
    text.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The one line of JSON it prints.
fn json(run: impl FnOnce(&mut dyn std::io::Write) -> Result<(), CommandError>) -> Value {
    let text = printed(run);
    assert_eq!(text.lines().count(), 1);
    serde_json::from_str(&text).unwrap()
}

fn gain_args(board: &str, json: bool) -> gain::Args {
    gain::Args { board: vec![board.to_owned()], contention: None, json }
}

#[test]
fn boards_are_listed() {
    insta::assert_snapshot!(
        "boards",
        printed(|out| boards::run(&boards::Args { json: false }, out))
    );
    let boards = json(|out| boards::run(&boards::Args { json: true }, out));
    let board = &boards.as_array().unwrap()[0];
    assert_eq!(board["name"], "rk3399pro");
    assert_eq!(board["clusters"][1]["cores"], 4);
    assert_eq!(board["timings"], "published");
}

#[test]
fn gains_are_listed_with_their_sources() {
    for board in ["kirin970", "rk3399pro"] {
        let text = printed(|out| gain::run(&gain_args(board, false), out));
        insta::assert_snapshot!(format!("gain_{board}"), text);
    }
    let boards = json(|out| gain::run(&gain_args("kirin970", true), out));
    let mean = &boards[0]["isolated"]["geometric_mean"];
    assert!(mean["exact"].as_f64().unwrap() >= 1.67);
    assert!(mean["replicated"].as_f64().unwrap() >= 1.92);
    assert!(boards[0]["sources"].as_array().unwrap().len() >= 3);
}

#[test]
fn an_unknown_board_is_a_mistake_of_the_user() {
    let error = gain::run(&gain_args("z80", false), &mut Vec::new()).unwrap_err();
    assert!(error.is_usage());
    assert!(error.to_string().contains("no board \"z80\"; there are rk3399pro"), "{error}");
}

#[test]
fn published_layers_are_fitted() {
    let test = "published_layers_are_fitted";
    let Some(shared) = skip::shared(test) else { return };
    let table = shared.join("board-timings/layers.csv");
    let args = fit::Args { table: Some(table.clone()), profile: None, json: false };
    insta::assert_snapshot!("fit", printed(|out| fit::run(&args, out)));
    let fits =
        json(|out| fit::run(&fit::Args { table: Some(table), profile: None, json: true }, out));
    assert!(fits[0]["held_out_error"].as_f64().unwrap() <= 0.13);
    assert!(fits[1]["held_out_error"].as_f64().unwrap() <= 0.11);
}

#[test]
fn a_table_that_is_none_is_refused() {
    let run = |table: PathBuf| {
        let args = fit::Args { table: Some(table), profile: None, json: false };
        fit::run(&args, &mut Vec::new())
    };
    let missing = run(PathBuf::from("no such file")).unwrap_err();
    assert!(matches!(missing, CommandError::File { .. }));
    let other = run(PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")));
    assert!(matches!(other.unwrap_err(), CommandError::Published(_)));
}
