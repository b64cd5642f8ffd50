//! `pipeit fit`: the cost of kernels from timings of layers, tried on networks held out.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use pipeit_planner::fit::{NetworkFit, UnitFit};
use pipeit_planner::profile::{ProfileFit, ProfiledCluster};
use pipeit_planner::published::PublishedError;
use pipeit_planner::published::{ClusterFit, fit_layers, read_layers};
use serde_json::{Value, json};

use super::CommandError;
use crate::planning::{PlanningError, read_profile};
use crate::report::table;

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Times of layers (.csv) with the columns source, core_type, freq_mhz, cores, dtype, network,
    /// layer, metric, ms
    #[arg(long, value_name = "FILE", required_unless_present = "profile")]
    pub table: Option<PathBuf>,
    /// Times measured by `pipeit profile`
    #[arg(long, value_name = "FILE", conflicts_with = "table")]
    pub profile: Option<PathBuf>,
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
    if let Some(profile) = &args.profile {
        return write_profile(profile, args.json, out);
    }
    let table = args.table.clone().unwrap_or_default();
    let text =
        fs::read_to_string(&table).map_err(|source| CommandError::File { path: table, source })?;
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
            network.name.clone(),
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
    writeln!(out, "{}", costs_table(fit.features, &fit.ns_per_unit))?;
    Ok(())
}

fn costs_table(features: &[&str], ns_per_unit: &[f64]) -> comfy_table::Table {
    let mut costs = table(&["feature", ">ns per unit"]);
    for (name, ns) in features.iter().zip(ns_per_unit) {
        costs.add_row([(*name).to_owned(), format!("{ns:.4}")]);
    }
    costs
}

fn costs_json(features: &[&str], ns_per_unit: &[f64]) -> Value {
    let costs = features.iter().zip(ns_per_unit);
    costs.map(|(name, ns)| json!({ "feature": name, "ns_per_unit": ns })).collect()
}

/// What a profile says, and how well networks are predicted by the others.
///
/// # Errors
///
/// The profile is refused.
pub fn write_profile(file: &Path, json: bool, out: &mut dyn Write) -> Result<(), CommandError> {
    let profile = read_profile(file)?;
    let fits = profile.fit();
    let fits = fits.map_err(|source| PlanningError::Profile { path: file.to_owned(), source })?;
    if json {
        let fits: Vec<_> = fits.iter().map(profile_fit_json).collect();
        let report = json!({
            "machine": profile.machine,
            "date": profile.date,
            "rows": profile.rows.len(),
            "contention": profile.contention,
            "handover_ns": profile.handover_ns,
            "clusters": fits,
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    let (rows, contention) = (profile.rows.len(), profile.contention);
    writeln!(out, "{}, {}: {rows} times of layers", profile.machine, profile.date)?;
    writeln!(out, "layers take {:.1} % longer per further busy cluster", 100.0 * contention)?;
    for fit in &fits {
        let ProfiledCluster { name, cores, clock_mhz, path } = &fit.cluster;
        writeln!(out, "\n{name}: {cores} cores at {clock_mhz:.0} MHz, path {path}")?;
        let headings =
            ["network", ">cores", ">layers", ">held out, mean |error| %", ">whole %", ">fitted %"];
        let mut networks = table(&headings);
        for (cores, tried) in (1..).zip(&fit.teams) {
            for network in tried {
                networks.add_row([
                    network.name.clone(),
                    i32::to_string(&cores),
                    network.units.len().to_string(),
                    format!("{:.1}", 100.0 * network.held_out_error()),
                    format!("{:+.1}", 100.0 * network.held_out_whole_error()),
                    format!("{:.1}", 100.0 * network.fitted_error()),
                ]);
            }
        }
        let [layers, whole] = [fit.layer_error(), fit.network_error()];
        let percent = |share: f64| format!("{:.1}", 100.0 * share);
        networks.add_row(["mean |error|", "", "", &percent(layers), &percent(whole), ""]);
        writeln!(out, "{networks}\n")?;
        writeln!(out, "{}", costs_table(fit.features, &fit.ns_per_unit))?;
    }
    Ok(())
}

fn profile_fit_json(fit: &ProfileFit) -> Value {
    let team = |(cores, networks): (usize, &Vec<NetworkFit>)| json!({ "cores": cores, "networks": networks.iter().map(network_json).collect::<Vec<_>>() });
    json!({
        "cluster": fit.cluster.name,
        "cores": fit.cluster.cores,
        "clock_mhz": fit.cluster.clock_mhz,
        "path": fit.cluster.path,
        "held_out_layer_error": fit.layer_error(),
        "held_out_network_error": fit.network_error(),
        "teams": (1..).zip(&fit.teams).map(team).collect::<Vec<_>>(),
        "costs": costs_json(fit.features, &fit.ns_per_unit),
    })
}

fn network_json(network: &NetworkFit) -> Value {
    let unit = |unit: &UnitFit| {
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
}

fn fit_json(fit: &ClusterFit) -> Value {
    json!({
        "core": fit.core,
        "cores": fit.cores,
        "clock_mhz": fit.clock_mhz,
        "source": fit.source,
        "held_out_error": fit.held_out_error(),
        "networks": fit.networks.iter().map(network_json).collect::<Vec<_>>(),
        "costs": costs_json(fit.features, &fit.ns_per_unit),
    })
}
