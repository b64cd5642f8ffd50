//! `pipeit gain`: how much faster than its best cluster a whole board is.

use std::io::Write;

use pipeit_planner::board::{self, Board};
use pipeit_planner::gain::{BoardGains, Gains, NetworkGains, gains};
use pipeit_planner::table::Table;
use serde_json::{Value, json};

use super::{CommandError, progress};
use crate::report::table;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// The boards [default: all with more than one cluster]
    #[arg(long, value_name = "NAME")]
    pub board: Vec<String>,
    /// By which share layers take longer for each further busy cluster [default: the board's]
    #[arg(long, value_name = "SHARE", value_parser = parse_contention)]
    pub contention: Option<f64>,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

fn parse_contention(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=10.0).contains(share));
    share.ok_or_else(|| "want a number from 0 to 10".to_owned())
}

/// A board's gains without and with contention.
struct Report {
    board: Board,
    timings: Table,
    gains: [BoardGains; 2],
}

/// Runs the command.
///
/// # Errors
///
/// There is no such board.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let boards = if args.board.is_empty() {
        let boards: Result<Vec<_>, _> = board::names().into_iter().map(Board::built_in).collect();
        boards?.into_iter().filter(|board| board.clusters.len() > 1).collect()
    } else {
        args.board.iter().map(|name| Board::built_in(name)).collect::<Result<Vec<_>, _>>()?
    };
    let bar = progress(boards.len(), "searching");
    let mut reports = Vec::new();
    for board in boards {
        let timings = board.table()?;
        let contention = args.contention.unwrap_or(board.memory.contention);
        let gains = [gains(&board, &timings, 0.0)?, gains(&board, &timings, contention)?];
        reports.push(Report { board, timings, gains });
        bar.inc(1);
    }
    bar.finish_and_clear();
    if args.json {
        writeln!(out, "{}", Value::Array(reports.iter().map(Report::json).collect()))?;
        return Ok(());
    }
    for (index, report) in reports.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        report.write(out)?;
    }
    Ok(())
}

impl Report {
    fn write(&self, out: &mut dyn Write) -> Result<(), CommandError> {
        writeln!(out, "{}: throughput over that of the best single cluster", self.board.title)?;
        for gains in &self.gains {
            let slower = 100.0 * gains.contention;
            writeln!(out, "\nLayers {slower:.1} % slower for each further busy cluster")?;
            let headings = Gains::NAMES.map(|name| format!(">{name}"));
            let headings = headings.iter().map(String::as_str);
            let headings: Vec<_> =
                ["network", "best cluster", ">frames/s"].into_iter().chain(headings).collect();
            let mut rows = table(&headings);
            for network in &gains.networks {
                let rate = format!("{:.2}", network.frames_per_s);
                let first = [network.network.clone(), network.cluster.clone(), rate];
                rows.add_row(first.into_iter().chain(numbers(&network.gains)));
            }
            let mean = ["geometric mean", "", ""].map(str::to_owned);
            rows.add_row(mean.into_iter().chain(numbers(&gains.mean)));
            writeln!(out, "{rows}")?;
        }
        writeln!(out, "\nSources")?;
        for (label, source) in self.timings.sources() {
            writeln!(out, "  {label}: {source}")?;
        }
        writeln!(out, "Of the board's contention: boards/{}/board.toml", self.board.name)?;
        Ok(())
    }

    fn json(&self) -> Value {
        let network = |network: &NetworkGains| {
            json!({
                "network": network.network,
                "best_cluster": network.cluster,
                "frames_per_s": network.frames_per_s,
                "gains": gains_json(&network.gains),
                "exact_plan": network.plans[0],
                "replicated_plan": network.plans[1],
            })
        };
        let gains = |gains: &BoardGains| {
            json!({
                "contention": gains.contention,
                "networks": gains.networks.iter().map(network).collect::<Vec<_>>(),
                "geometric_mean": gains_json(&gains.mean),
            })
        };
        let source = |(label, text): (_, &str)| json!({ "label": label, "source": text });
        json!({
            "board": self.board.name,
            "isolated": gains(&self.gains[0]),
            "contended": gains(&self.gains[1]),
            "sources": self.timings.sources().into_iter().map(source).collect::<Vec<_>>(),
        })
    }
}

fn numbers(gains: &Gains) -> impl Iterator<Item = String> {
    gains.values().into_iter().map(|value| format!("{value:.2}"))
}

fn gains_json(gains: &Gains) -> Value {
    json!({
        "ideal": gains.ideal,
        "stage_per_cluster": gains.stage_per_cluster,
        "paper": gains.paper,
        "exact": gains.exact,
        "replicated": gains.replicated,
    })
}
