//! `pipeit zoo`: networks of the literature with random weights.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::import::write_file;
use super::{CommandError, progress};
use crate::report::{grouped, table};
use crate::zoo::{Architecture, ZOO};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Networks to write; without any, all are listed
    #[arg(
        value_parser = PossibleValuesParser::new(ZOO.map(|architecture| architecture.name)),
        group = "chosen",
    )]
    pub names: Vec<String>,
    /// Write all networks
    #[arg(long, group = "chosen")]
    pub all: bool,
    /// Folder for NAME.tflite
    #[arg(short, long, value_name = "DIR", default_value = ".", requires = "chosen")]
    pub output: PathBuf,
    /// Seed of the weights
    #[arg(long, default_value_t = 0, requires = "chosen")]
    pub seed: u64,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A file cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let named: Vec<_> = args.names.iter().filter_map(|name| Architecture::named(name)).collect();
    let chosen = if args.all { ZOO.to_vec() } else { named };
    if chosen.is_empty() {
        return list(args.json, out);
    }
    let error = |source| CommandError::File { path: args.output.clone(), source };
    fs::create_dir_all(&args.output).map_err(error)?;
    let mut written = Vec::new();
    for architecture in chosen {
        let bar = progress(architecture.network().layers(), architecture.name);
        let bytes = architecture.tflite(args.seed, &mut || bar.inc(1));
        bar.finish_and_clear();
        let path = args.output.join(format!("{}.tflite", architecture.name));
        write_file(&path, &bytes)?;
        if !args.json {
            writeln!(out, "{}: {} bytes", path.display(), grouped(bytes.len() as u64))?;
            out.flush()?;
        }
        written.push(json!({ "name": architecture.name, "path": path, "bytes": bytes.len() }));
    }
    if args.json {
        writeln!(out, "{}", json!({ "seed": args.seed, "written": written }))?;
    }
    Ok(())
}

fn list(json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let networks = ZOO.map(|architecture| (architecture.name, architecture.network()));
    if json {
        let network = networks.map(|(name, network)| {
            json!({
                "name": name,
                "input": network.input(),
                "layers": network.layers(),
                "parameters": network.parameters(),
                "macs": network.macs(),
                "operators": network.operators(),
            })
        });
        writeln!(out, "{}", json!({ "networks": network }))?;
        return Ok(());
    }
    let mut table = table(&["network", "input", ">parameters", ">MMAC", ">layers", "operators"]);
    for (name, network) in networks {
        table.add_row([
            name.to_owned(),
            network.input().map(|extent| extent.to_string()).join("x"),
            grouped(network.parameters()),
            format!("{:.1}", network.macs() as f64 / 1e6),
            network.layers().to_string(),
            network.operators().join(" "),
        ]);
    }
    writeln!(out, "{table}")?;
    Ok(())
}
