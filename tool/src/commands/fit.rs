//! `pipeit fit`: the cost of kernels from timings of layers, tried on networks held out.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use pipeit_planner::published::PublishedError;
use pipeit_planner::published::{ClusterFit, NetworkFit, fit_layers, read_layers};
use serde_json::{Value, json};

use super::CommandError;
use crate::report::table;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Times of layers (.csv) with the columns source, core_type, freq_mhz, cores, dtype, network,
    /// layer, metric, ms
    #[arg(long, value_name = "FILE")]
    pub table: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The table cannot be used.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let text = fs::read_to_string(&args.table)
        .map_err(|source| CommandError::File { path: args.table.clone(), source })?;
    let layers = read_layers(&text).map_err(PublishedError::from)?;
    let fits = fit_layers(&layers)?;
    if args.json {
        writeln!(out, "{}", Value::Array(fits.iter().map(fit_json).collect()))?;
        return Ok(());
    }
    for (index, fit) in fits.iter().enumerate() {
        if index > 0 {
            writeln!(out)?;
        }
        write_fit(fit, out)?;
    }
    Ok(())
}

fn write_fit(fit: &ClusterFit, out: &mut dyn Write) -> Result<(), CommandError> {
    let (cores, core, clock_mhz) = (fit.cores, &fit.core, fit.clock_mhz);
    writeln!(out, "{cores} x {core} at {clock_mhz:.0} MHz, published: {}", fit.source)?;
    let mut networks =
        table(&["network", ">units", ">held out, mean |error| %", ">whole %", ">fitted %"]);
    for network in &fit.networks {
        networks.add_row([
            network.name.to_owned(),
            network.units.len().to_string(),
            format!("{:.1}", 100.0 * network.held_out_error()),
            format!("{:+.1}", 100.0 * network.held_out_whole_error()),
            format!("{:.1}", 100.0 * network.fitted_error()),
        ]);
    }
    let units: usize = fit.networks.iter().map(|network| network.units.len()).sum();
    let mean = format!("{:.1}", 100.0 * fit.held_out_error());
    networks.add_row(["all".to_owned(), units.to_string(), mean, String::new(), String::new()]);
    writeln!(out, "{networks}\n")?;
    let mut costs = table(&["feature", ">ns per unit"]);
    for (name, ns) in fit.features.iter().zip(&fit.ns_per_unit) {
        costs.add_row([(*name).to_owned(), format!("{ns:.4}")]);
    }
    writeln!(out, "{costs}")?;
    Ok(())
}

fn fit_json(fit: &ClusterFit) -> Value {
    let network = |network: &NetworkFit| {
        let unit = |unit: &pipeit_planner::published::UnitFit| {
            json!({
                "unit": unit.unit,
                "measured_ns": unit.ns,
                "fitted_ns": unit.fitted_ns,
                "held_out_ns": unit.held_out_ns,
            })
        };
        json!({
            "network": network.name,
            "held_out_error": network.held_out_error(),
            "held_out_whole_error": network.held_out_whole_error(),
            "fitted_error": network.fitted_error(),
            "units": network.units.iter().map(unit).collect::<Vec<_>>(),
        })
    };
    let costs = fit.features.iter().zip(&fit.ns_per_unit);
    json!({
        "core": fit.core,
        "cores": fit.cores,
        "clock_mhz": fit.clock_mhz,
        "source": fit.source,
        "held_out_error": fit.held_out_error(),
        "networks": fit.networks.iter().map(network).collect::<Vec<_>>(),
        "costs": costs
            .map(|(name, ns)| json!({ "feature": name, "ns_per_unit": ns }))
            .collect::<Vec<_>>(),
    })
}
