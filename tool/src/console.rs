//! What firmware with the feature `trace` tells on its console, see
//! `boards/firmware/src/trace.rs`: which core was at which layer when.

use std::collections::BTreeMap;
use std::str::FromStr;

use pipeit_planner::features::Weights;
use pipeit_planner::networks::Layer;
use pipeit_planner::predict::HANDOVER_NS;
use pipeit_planner::profile::{FORMAT, Profile, ProfiledCluster, Row};
use pipeit_rt::Artefact;
use pipeit_rt::plan::{Plan, Team};

use crate::descriptors::describe;
use crate::profiling::{calmest, contention, today};
use crate::trace::LayerSpan;

/// A layer that a core did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// The plan, by its index in the artefact.
    pub plan: usize,
    /// The cluster of the core.
    pub cluster: usize,
    /// The core's index there.
    pub core: usize,
    /// The layer.
    pub layer: u16,
    /// When it began, in nanoseconds.
    pub start_ns: u64,
    /// How long it took.
    pub ns: u64,
}

/// Why a log is of no use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConsoleError {
    /// A line about a layer that cannot be read.
    #[error("line {line} of the log is malformed")]
    Line {
        /// The line, counted from 1.
        line: usize,
    },
    /// The artefact did not run.
    #[error("the log has no trace of the artefact with the checksum {crc:08x}")]
    NoTrace {
        /// Its checksum.
        crc: u32,
    },
    /// The artefact has no such plan, or that did not run.
    #[error("the log has nothing of plan {plan}")]
    NoPlan {
        /// Its index.
        plan: usize,
    },
}

/// What the console told, of all artefacts that ran.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Log {
    /// The machine, as it calls itself.
    pub machine: String,
    /// Per checksum of an artefact, what its layers did.
    traces: BTreeMap<u32, Vec<Span>>,
}

impl FromStr for Log {
    type Err = ConsoleError;

    /// Reads what the console told; lines that are about other things are passed over.
    fn from_str(text: &str) -> Result<Self, ConsoleError> {
        let mut log = Self::default();
        let mut crc = None;
        for (index, line) in text.lines().map(str::trim).enumerate() {
            let malformed = ConsoleError::Line { line: index + 1 };
            if let Some(rest) = line.strip_prefix("pipeit on ") {
                log.machine = rest.split(',').next().unwrap_or_default().to_owned();
            } else if let Some(rest) = line.strip_prefix("trace of artefact ") {
                crc = Some(u32::from_str_radix(rest, 16).map_err(|_| malformed)?);
            } else if let Some(rest) = line.strip_prefix("span ") {
                let span = span(rest).ok_or(malformed)?;
                log.traces.entry(crc.ok_or(malformed)?).or_default().push(span);
            }
        }
        Ok(log)
    }
}

/// Plan, cluster, core, layer, start and length.
fn span(text: &str) -> Option<Span> {
    let numbers: Result<Vec<u64>, _> = text.split(' ').map(str::parse).collect();
    let [plan, cluster, core, layer, start_ns, ns] = *numbers.ok()?.as_slice() else { return None };
    Some(Span {
        plan: plan.try_into().ok()?,
        cluster: cluster.try_into().ok()?,
        core: core.try_into().ok()?,
        layer: layer.try_into().ok()?,
        start_ns,
        ns,
    })
}

impl Log {
    /// What the artefact with this checksum did.
    ///
    /// # Errors
    ///
    /// [`ConsoleError::NoTrace`].
    pub fn spans(&self, crc: u32) -> Result<&[Span], ConsoleError> {
        self.traces.get(&crc).map(Vec::as_slice).ok_or(ConsoleError::NoTrace { crc })
    }

    /// What the cores did for plan `plan`, for a picture.
    ///
    /// # Errors
    ///
    /// [`ConsoleError`].
    pub fn of_plan(&self, crc: u32, plan: usize) -> Result<Vec<LayerSpan>, ConsoleError> {
        let spans = self.spans(crc)?.iter().filter(|span| span.plan == plan);
        let mut cores: Vec<_> = spans.clone().map(|span| (span.cluster, span.core)).collect();
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() {
            return Err(ConsoleError::NoPlan { plan });
        }
        let number = |span: &Span| cores.binary_search(&(span.cluster, span.core)).unwrap_or(0);
        let spans = spans.map(|span| LayerSpan {
            core: number(span),
            layer: span.layer,
            start_ns: span.start_ns,
            ns: span.ns,
        });
        Ok(spans.collect())
    }
}

/// A network that firmware has run.
#[derive(Debug)]
pub struct Subject<'a> {
    /// Its name.
    pub name: String,
    /// The checksum in the header of its artefact.
    pub crc: u32,
    /// Its artefact.
    pub artefact: Artefact<'a>,
}

/// The profile of the machine that has told `log`, of the plans of one stage. A team that was
/// alone tells the time of its layers; one beside teams of other clusters, what it takes when
/// these are busy.
///
/// # Errors
///
/// [`ConsoleError`].
pub fn profile(log: &Log, subjects: &[Subject<'_>]) -> Result<Profile, ConsoleError> {
    let mut rows = Vec::new();
    let mut clusters: BTreeMap<usize, ProfiledCluster> = BTreeMap::new();
    for subject in subjects {
        let spans = log.spans(subject.crc)?;
        let layers = describe(subject.artefact.model).layers;
        let plans = subject.artefact.plans.iter().enumerate();
        for (index, plan) in plans.filter(|(_, plan)| plan.stages.len() == 1) {
            let spans: Vec<_> = spans.iter().filter(|span| span.plan == index).collect();
            for team in plan.teams {
                let times = team_times(&spans, team, layers.len());
                if times.iter().all(Vec::is_empty) {
                    continue;
                }
                let cluster = usize::from(team.cluster.0);
                let profiled = clusters.entry(cluster).or_insert_with(|| ProfiledCluster {
                    name: name(cluster),
                    cores: 0,
                    clock_mhz: 0.0,
                    path: plan.path(team.cluster).map_or("", |path| path.name()).to_owned(),
                });
                profiled.cores = profiled.cores.max(team.cores.into());
                add(&mut rows, &subject.name, plan, team, &layers, &times);
            }
        }
    }
    // Those that were never alone have no time of their own.
    rows.retain(|row| row.ns > 0.0);
    Ok(Profile {
        format: FORMAT,
        machine: log.machine.clone(),
        date: today(),
        contention: contention(&rows, clusters.len()),
        clusters: clusters.into_values().collect(),
        handover_ns: HANDOVER_NS,
        source_ns: HANDOVER_NS,
        rows,
        frames: Vec::new(),
    })
}

/// The name of a cluster: a console tells numbers.
fn name(cluster: usize) -> String {
    format!("c{cluster}")
}

/// Nanoseconds of each layer in every frame but the first, by which the caches are warm: until the
/// last core of the team was through.
fn team_times(spans: &[&Span], team: &Team, layers: usize) -> Vec<Vec<f64>> {
    let mut frames: Vec<Vec<u64>> = vec![Vec::new(); layers];
    for core in team.core_range() {
        let mut seen = vec![0; layers];
        let own = |span: &&&Span| (span.cluster, span.core) == (team.cluster.0.into(), core);
        for span in spans.iter().filter(own) {
            let layer = usize::from(span.layer);
            let (Some(frames), Some(seen)) = (frames.get_mut(layer), seen.get_mut(layer)) else {
                continue;
            };
            match frames.get_mut(*seen) {
                Some(longest) => *longest = (*longest).max(span.ns),
                None => frames.push(span.ns),
            }
            *seen += 1;
        }
    }
    let warm = |frames: Vec<u64>| frames.into_iter().skip(1).map(|ns| ns as f64).collect();
    frames.into_iter().map(warm).collect()
}

/// Adds the times of a team to the rows.
fn add(
    rows: &mut Vec<Row>,
    network: &str,
    plan: &Plan<'_>,
    team: &Team,
    layers: &[Layer],
    times: &[Vec<f64>],
) {
    let weights = Weights::of(layers.iter().map(Layer::weights).sum());
    let cluster = name(team.cluster.0.into());
    let is_alone = plan.teams.len() == 1;
    let is_busy = plan.teams.iter().filter(|other| other.cluster == team.cluster).count() == 1;
    for (index, (layer, times)) in layers.iter().zip(times).enumerate() {
        let (ns, spread) = calmest(Some(times));
        let is_own = |row: &&mut Row| {
            row.network == network
                && row.cluster == cluster
                && (row.index, row.cores) == (index, team.cores.into())
        };
        let row = match rows.iter_mut().find(is_own) {
            Some(row) => row,
            None => {
                let cores = team.cores.into();
                let (network, cluster) = (network.to_owned(), cluster.clone());
                let (ns, spread, busy_ns) = (0.0, 0.0, None);
                let layer = *layer;
                rows.push(Row {
                    network,
                    index,
                    layer,
                    weights,
                    cluster,
                    cores,
                    ns,
                    spread,
                    busy_ns,
                });
                let Some(row) = rows.last_mut() else { continue };
                row
            }
        };
        if is_alone {
            (row.ns, row.spread) = (ns, spread);
        } else if is_busy {
            row.busy_ns = Some(ns);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "pipeit on qemu-virt, from EL1\r\ncores: 2 of 2\ntrace of artefact 0000beef\n\
                       plan 0: 1 slots\nspan 0 1 3 15 1730 812\nspan 1 0 0 0 5 7\nexit: ok (0)\n";

    #[test]
    fn logs_are_read() {
        let log: Log = LOG.parse().unwrap();
        assert_eq!(log.machine, "qemu-virt");
        let first = Span { plan: 0, cluster: 1, core: 3, layer: 15, start_ns: 1730, ns: 812 };
        assert_eq!(log.spans(0xbeef).unwrap().first(), Some(&first));
        let picture = LayerSpan { core: 0, layer: 0, start_ns: 5, ns: 7 };
        assert_eq!(log.of_plan(0xbeef, 1), Ok(vec![picture]));
        assert_eq!(log.of_plan(0xbeef, 2), Err(ConsoleError::NoPlan { plan: 2 }));
        assert_eq!(log.spans(1), Err(ConsoleError::NoTrace { crc: 1 }));
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (text, line) in [
            ("span 0 0 0 0 1 1", 1),
            ("trace of artefact 1\nspan 0 0 0 0 1", 2),
            ("\ntrace of artefact x", 2),
            ("trace of artefact 1\nspan 0 0 0 70000 1 1", 2),
        ] {
            assert_eq!(text.parse::<Log>(), Err(ConsoleError::Line { line }), "{text}");
        }
    }

    #[test]
    fn a_team_is_through_when_its_last_core_is() {
        let span = |core, layer, ns| Span { plan: 0, cluster: 0, core, layer, start_ns: 0, ns };
        let spans =
            [span(0, 0, 90), span(1, 0, 80), span(0, 0, 10), span(1, 0, 30), span(2, 0, 99)];
        let team = Team {
            cluster: pipeit_rt::topology::ClusterId(0),
            first_core: 0,
            cores: 2,
            frame_ns: 1,
        };
        assert_eq!(team_times(&spans.iter().collect::<Vec<_>>(), &team, 2), [vec![30.0], vec![]]);
    }
}
