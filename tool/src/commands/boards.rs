//! `pipeit boards`: the boards there are timings of.

use std::io::Write;

use pipeit_planner::board::{self, Board, Cluster};
use serde_json::{Value, json};

use super::CommandError;
use crate::report::table;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The report cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let boards: Result<Vec<_>, _> = board::names().into_iter().map(Board::built_in).collect();
    let boards = boards?;
    if args.json {
        let boards: Result<Vec<_>, _> = boards.iter().map(board_json).collect();
        writeln!(out, "{}", Value::Array(boards?))?;
        return Ok(());
    }
    let mut rows = table(&["board", "clusters", ">GB/s", "timings", "device"]);
    for board in &boards {
        let clusters: Vec<_> = board.clusters.iter().map(cluster_text).collect();
        rows.add_row([
            board.name.clone(),
            clusters.join(", "),
            format!("{:.1}", board.memory.gb_per_s),
            board.label()?.to_string(),
            board.title.clone(),
        ]);
    }
    writeln!(out, "{rows}")?;
    Ok(())
}

fn cluster_text(cluster: &Cluster) -> String {
    let (cores, core, clock_mhz) = (cluster.cores(), &cluster.core, cluster.clock_mhz);
    format!("{} {cores} x {core} {clock_mhz:.0} MHz", cluster.name)
}

fn board_json(board: &Board) -> Result<Value, CommandError> {
    let timings = board.table()?;
    let cluster = |cluster: &Cluster| {
        json!({
            "name": cluster.name,
            "core": cluster.core,
            "cores": cluster.cores(),
            "clock_mhz": cluster.clock_mhz,
            "path": cluster.path,
            "l1d_kib": cluster.l1d_kib,
            "l2_kib": cluster.l2_kib,
            "core_watts": cluster.core_watts,
        })
    };
    let source = |(label, text): (_, &str)| json!({ "label": label, "source": text });
    Ok(json!({
        "name": board.name,
        "title": board.title,
        "idle_watts": board.idle_watts,
        "gb_per_s": board.memory.gb_per_s,
        "contention": board.memory.contention,
        "clusters": board.clusters.iter().map(cluster).collect::<Vec<_>>(),
        "networks": timings.networks(),
        "timings": board.label()?,
        "sources": timings.sources().into_iter().map(source).collect::<Vec<_>>(),
    }))
}
