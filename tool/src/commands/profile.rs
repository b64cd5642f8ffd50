//! `pipeit profile`: times layers on this machine's cores, for planning by.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pipeit_planner::profile::Profile;

use super::import::write_file;
use super::{CommandError, fit, progress};
use crate::load::{from_bytes, load};
use crate::machine::MachineArgs;
use crate::profiling::{Effort, Subject, profile};
use crate::zoo::{self, Architecture};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Networks (.tflite) to time besides those of the zoo
    pub models: Vec<PathBuf>,
    /// Times these networks only, not those of the zoo
    #[arg(long, requires = "models")]
    pub only: bool,
    /// The clusters to time.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Profile to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Rounds over all networks and teams
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub rounds: usize,
    /// Seconds for a network on a team in a round
    #[arg(long, default_value_t = 0.2, value_name = "S")]
    pub seconds: f64,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A network or the machine is refused; the profile cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let machine = args.machine.machine()?;
    let target = args.machine.cores.own_target()?;
    let mut subjects = Vec::new();
    for model in &args.models {
        let name = model.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if subjects.iter().any(|subject: &Subject| subject.name == name) {
            return Err(CommandError::SameName { name });
        }
        subjects.push(Subject::network(&name, load(model, &[target])?.bytes)?);
    }
    if !args.only {
        let architectures = of_zoo(&subjects);
        let layers = architectures.iter().map(|found| found.network().layers()).sum();
        let bar = progress(layers, "networks");
        for architecture in architectures {
            let file = architecture.tflite(0, &mut || bar.inc(1));
            let bytes = from_bytes(&file, Some("tflite"), &[target])?.bytes;
            subjects.push(Subject::network(architecture.name, bytes)?);
        }
        bar.finish_and_clear();
    }
    for file in zoo::synthetic() {
        let bytes = from_bytes(&file, Some("tflite"), &[target])?.bytes;
        subjects.extend(Subject::synthetic(bytes)?);
    }
    let time = Duration::try_from_secs_f64(args.seconds).unwrap_or_default();
    let teams: usize = machine.clusters.iter().map(|cluster| cluster.cpus.len()).sum();
    let bar = progress(args.rounds * teams * subjects.len(), "timing");
    let effort = Effort { rounds: args.rounds.max(1), time };
    let found = profile(&machine, target.path, &subjects, effort, || bar.inc(1))?;
    bar.finish_and_clear();
    write_rows(&found, &args.output)?;
    fit::write_profile(&args.output, args.json, out)
}

/// The networks of the zoo but those that `given` ones take the place of: a profile's rows are
/// told apart by their network's name.
fn of_zoo(given: &[Subject]) -> Vec<Architecture> {
    let is_given = |name: &str| given.iter().any(|subject| subject.name == name);
    zoo::ZOO.into_iter().filter(|architecture| !is_given(architecture.name)).collect()
}

/// Writes `profile` to `file`, a row per line: files that people can compare.
pub(super) fn write_rows(profile: &Profile, file: &Path) -> Result<(), CommandError> {
    let text = serde_json::to_string(profile).map_err(std::io::Error::from)?;
    let text = text.replace("},{\"network\"", "},\n{\"network\"");
    write_file(file, (text + "\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use pipeit_planner::features::Weights;

    use super::*;
    use crate::artefact::AlignedBytes;

    #[test]
    fn a_given_network_takes_the_place_of_the_zoos() {
        let [first, taken, ..] = zoo::ZOO;
        let bytes = AlignedBytes::new(64);
        let given = Subject { name: taken.name.to_owned(), bytes, weights: Weights::Warm };
        let left = of_zoo(&[given]);
        assert_eq!(left.len(), zoo::ZOO.len() - 1);
        assert_eq!(left[0].name, first.name);
        assert!(left.iter().all(|architecture| architecture.name != taken.name));
    }
}
