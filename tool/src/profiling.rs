//! Times layers on the pinned cores that will run them, for `pipeit profile`.
//!
//! Every network runs on a team of every size of every cluster, in rounds: what disturbs the
//! machine for a while disturbs all of them. In a network, layers find their weights where frames
//! leave them; those made up are alone, with theirs in the nearest cache.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use pipeit_planner::features::Weights;
use pipeit_planner::networks::Layer;
use pipeit_planner::profile::{FORMAT, FrameRow, Profile, ProfiledCluster, Row, SYNTHETIC};
use pipeit_rt::model::Model;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_rt::{Pipeline, kernels};

use crate::artefact::{self, AlignedBytes, OwnedPlan};
use crate::commands::CommandError;
use crate::descriptors::describe;
use crate::layer_times::{frame_times, layer_times};
use crate::measure::{Length, measure};
use crate::noise::Noise;
use crate::partition::Partition;
use crate::planning::{Planner, PlanningError};
use crate::session::{fill, stream, with_pipeline};

/// A network to be timed.
#[derive(Debug)]
pub struct Subject {
    /// Its name, or [`SYNTHETIC`].
    pub name: String,
    /// The artefact.
    pub bytes: AlignedBytes,
    /// Where its weights are.
    pub weights: Weights,
}

impl Subject {
    /// A network, whose weights are where its frames leave them.
    ///
    /// # Errors
    ///
    /// The artefact is refused.
    pub fn network(name: &str, bytes: AlignedBytes) -> Result<Self, CommandError> {
        let weights = Weights::of(weight_bytes(&bytes)?);
        Ok(Self { name: name.to_owned(), bytes, weights })
    }

    /// A layer that was made up: with its weights in the nearest cache if they fit there, else
    /// from a cache that cores share, and again from memory.
    ///
    /// # Errors
    ///
    /// The artefact is refused.
    pub fn synthetic(bytes: AlignedBytes) -> Result<Vec<Self>, CommandError> {
        let places: &[Weights] = match Weights::of(weight_bytes(&bytes)?) {
            Weights::Warm => &[Weights::Warm],
            _ => &[Weights::Shared, Weights::Memory],
        };
        let subject =
            |&weights: &Weights| Self { name: SYNTHETIC.to_owned(), bytes: bytes.clone(), weights };
        Ok(places.iter().map(subject).collect())
    }
}

/// Bytes of the weights of all layers.
fn weight_bytes(bytes: &AlignedBytes) -> Result<u64, CommandError> {
    let mut tables = artefact::tables(bytes)?;
    let layers = describe(artefact::open(bytes, &mut tables)?.model).layers;
    Ok(layers.iter().map(Layer::weights).sum())
}

/// Bytes to read so that weights are no nearer than this.
const fn evicting(weights: Weights) -> usize {
    match weights {
        Weights::Warm => 0,
        Weights::Shared => 4 << 20,
        Weights::Memory => 128 << 20,
    }
}

/// How to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds.
    pub rounds: usize,
    /// Time of every network on every team in a round.
    pub time: Duration,
}

/// Times of one network on one team.
struct Timed {
    subject: usize,
    cluster: usize,
    cores: usize,
    /// Per layer the median of every round, while the other clusters are idle, and while they
    /// are busy.
    alone: Vec<Vec<f64>>,
    busy: Vec<Vec<f64>>,
    /// Of whole frames, with nothing in between that tells the time of layers.
    frames: Vec<f64>,
    /// From one of them to the next.
    between: Vec<f64>,
}

/// The profile of `machine` for kernels of `path`; `done` is called after each network and team.
///
/// # Errors
///
/// A pipeline does not start, or fails.
pub fn profile(
    machine: &Machine,
    path: kernels::Path,
    subjects: &[Subject],
    effort: Effort,
    mut done: impl FnMut(),
) -> Result<Profile, CommandError> {
    let mut all = Vec::new();
    for (cluster, found) in machine.clusters.iter().enumerate() {
        for cores in 1..=found.cpus.len() {
            let timed = |subject| Timed {
                subject,
                cluster,
                cores,
                alone: Vec::new(),
                busy: Vec::new(),
                frames: Vec::new(),
                between: Vec::new(),
            };
            // While one core reads other things, the others of a team fall asleep.
            let is_timed = |&subject: &usize| {
                let Subject { name, weights, .. } = &subjects[subject];
                name != SYNTHETIC || *weights == Weights::Warm || cores == 1
            };
            all.extend((0..subjects.len()).filter(is_timed).map(timed));
        }
    }
    for _ in 0..effort.rounds {
        for timed in &mut all {
            timed.measure(machine, path, &subjects[timed.subject], effort.time)?;
            done();
        }
    }
    let mut rows = Vec::new();
    let mut frames = Vec::new();
    for (number, subject) in subjects.iter().enumerate() {
        let mut tables = artefact::tables(&subject.bytes)?;
        let layers = describe(artefact::open(&subject.bytes, &mut tables)?.model).layers;
        let index = if subject.name == SYNTHETIC { number } else { 0 };
        for timed in all.iter().filter(|timed| timed.subject == number) {
            rows.extend(timed.rows(subject, index, &layers, machine));
            if subject.name != SYNTHETIC {
                frames.push(FrameRow {
                    network: subject.name.clone(),
                    cluster: machine.clusters[timed.cluster].name.clone(),
                    cores: timed.cores,
                    ns: calmest(Some(&timed.frames)).0,
                });
            }
        }
    }
    let cluster = |cluster: &HostCluster| ProfiledCluster {
        name: cluster.name.clone(),
        cores: cluster.cpus.len(),
        clock_mhz: cluster.cpus.first().map_or(0.0, |&cpu| clock_mhz(cpu)),
        path: path.name().to_owned(),
    };
    Ok(Profile {
        format: FORMAT,
        machine: machine_name(),
        date: today(),
        clusters: machine.clusters.iter().map(cluster).collect(),
        handover_ns: handover_ns(machine, path, subjects, effort)?,
        source_ns: source_ns(&all),
        contention: contention(&rows, machine.clusters.len()),
        rows,
        frames,
    })
}

impl Timed {
    fn measure(
        &mut self,
        machine: &Machine,
        path: kernels::Path,
        subject: &Subject,
        time: Duration,
    ) -> Result<(), CommandError> {
        let mut tables = artefact::tables(&subject.bytes)?;
        let model = artefact::open(&subject.bytes, &mut tables)?.model;
        let part = |index: usize, cores: usize| {
            let cluster = &machine.clusters[index];
            let cpus = cluster.cpus[..cores].to_vec();
            Machine { clusters: vec![HostCluster::new(&cluster.name, cpus)] }
        };
        let own = part(self.cluster, self.cores);
        let planned = |machine: &Machine, slots: usize| -> Result<OwnedPlan, CommandError> {
            let partition = Partition::stage_per_cluster(machine);
            Ok(Planner::new(model, path).plan(&partition, machine, Some(slots))?)
        };
        let owned = planned(&own, 1)?;
        let plan = owned.check(model).map_err(PlanningError::from)?;
        let frames = [Noise::new(0).frame(model)];
        if model.layers.len() == 1 {
            let evict = evicting(subject.weights);
            append(&mut self.alone, &[frame_times(&plan, &own, &frames, time / 2, evict)?.busy]);
        } else {
            append(&mut self.alone, &layer_times(&plan, &own, &frames, time)?);
            let times = frame_times(&plan, &own, &frames, time, 0)?;
            self.frames.extend(mean(&times.busy));
            self.between.extend(median(&times.between));
        }
        let others = (0..machine.clusters.len()).filter(|&other| other != self.cluster);
        let others: Vec<_> =
            others.map(|index| part(index, machine.clusters[index].cpus.len())).collect();
        if others.is_empty() {
            return Ok(());
        }
        let loads: Vec<_> =
            others.iter().map(|machine| planned(machine, 3)).collect::<Result<_, _>>()?;
        let over = AtomicBool::new(false);
        let times = thread::scope(|scope| {
            for (machine, load) in others.iter().zip(&loads) {
                scope.spawn(|| keep_busy(model, load, machine, &frames[0], &over));
            }
            let times = layer_times(&plan, &own, &frames, time);
            over.store(true, Ordering::Relaxed);
            times
        })?;
        append(&mut self.busy, &times);
        Ok(())
    }

    fn rows<'a>(
        &'a self,
        subject: &'a Subject,
        first: usize,
        layers: &'a [Layer],
        machine: &'a Machine,
    ) -> impl Iterator<Item = Row> {
        // Layers of a network add up to its frames, in which nothing tells the time of layers, and
        // in which a core may be late.
        let sum: f64 = self.alone.iter().map(|times| calmest(Some(times)).0).sum();
        let scale = if self.frames.is_empty() { 1.0 } else { calmest(Some(&self.frames)).0 / sum };
        layers.iter().enumerate().map(move |(index, layer)| {
            let (ns, spread) = calmest(self.alone.get(index));
            Row {
                network: subject.name.clone(),
                index: first + index,
                layer: *layer,
                weights: subject.weights,
                cluster: machine.clusters[self.cluster].name.clone(),
                cores: self.cores,
                ns: ns * scale,
                spread,
                busy_ns: self.busy.get(index).map(|times| calmest(Some(times)).0 * scale),
            }
        })
    }
}

/// Adds the medians of a round.
fn append(all: &mut Vec<Vec<f64>>, times: &[Vec<u64>]) {
    all.resize_with(times.len(), Vec::new);
    for (all, times) in all.iter_mut().zip(times) {
        all.extend(median(times));
    }
}

/// The median of sorted times.
fn median(times: &[u64]) -> Option<f64> {
    times.get(times.len() / 2).map(|&ns| ns as f64)
}

/// The mean of times, to which the few that are long count: several cores have more of them than
/// one, for all wait for the one that is late.
fn mean(times: &[u64]) -> Option<f64> {
    (!times.is_empty()).then(|| times.iter().sum::<u64>() as f64 / times.len() as f64)
}

/// Sends frames through a pipeline until it is over. A pipeline that fails leaves its cluster
/// idle: the times beside it are then those without load.
fn keep_busy(
    model: &Model<'_>,
    load: &OwnedPlan,
    machine: &Machine,
    inputs: &[Vec<i8>],
    over: &AtomicBool,
) {
    let Ok(plan) = load.check(model) else { return };
    let run = |pipeline: &Pipeline<'_, Hosted>| {
        stream(
            pipeline,
            |frame| {
                fill(frame, inputs);
                !over.load(Ordering::Relaxed)
            },
            |_| {},
        )
    };
    let _ = with_pipeline(&plan, machine, run);
}

/// The calmest round's median, at least 1: other programs only ever make it longer. And by which
/// share of it the median round's is longer.
pub(crate) fn calmest(medians: Option<&Vec<f64>>) -> (f64, f64) {
    let mut medians = medians.cloned().unwrap_or_default();
    medians.sort_by(f64::total_cmp);
    let least = medians.first().copied().unwrap_or(0.0).max(1.0);
    (least, medians.get(medians.len() / 2).map_or(0.0, |median| median.max(1.0) / least - 1.0))
}

/// What it takes to send a frame and to take its result, but for copying a large input: the least
/// over the networks on one core.
fn source_ns(all: &[Timed]) -> f64 {
    let of_one = all.iter().filter(|timed| timed.cores == 1 && !timed.between.is_empty());
    let times = of_one.map(|timed| calmest(Some(&timed.between)).0);
    times.min_by(f64::total_cmp).unwrap_or(pipeit_planner::predict::HANDOVER_NS)
}

/// What a team loses between two frames that another hands it. The smallest network shows it: of
/// two stages, a core each, the first has one layer, so that the second never waits for anything
/// else. The least over the rounds.
fn handover_ns(
    machine: &Machine,
    path: kernels::Path,
    subjects: &[Subject],
    effort: Effort,
) -> Result<f64, CommandError> {
    let networks = subjects.iter().filter(|subject| subject.name != SYNTHETIC);
    // A CPU may stand in several clusters.
    let mut taken = Vec::new();
    let some = |cluster: &HostCluster| {
        let free = cluster.cpus.iter().copied().filter(|cpu| !taken.contains(cpu));
        let cpus: Vec<_> = free.take(2 - taken.len()).collect();
        taken.extend(&cpus);
        (!cpus.is_empty()).then(|| HostCluster { cpus, ..cluster.clone() })
    };
    let pair = Machine { clusters: machine.clusters.iter().filter_map(some).collect() };
    let smallest = networks.min_by_key(|subject| subject.bytes.len());
    let Some(smallest) = smallest.filter(|_| taken.len() == 2) else {
        return Ok(pipeit_planner::predict::HANDOVER_NS);
    };
    let mut tables = artefact::tables(&smallest.bytes)?;
    let model = artefact::open(&smallest.bytes, &mut tables)?.model;
    let layers = model.layers.len() as u16;
    if layers < 2 {
        return Ok(pipeit_planner::predict::HANDOVER_NS);
    }
    let mut partition = Partition::stage_per_core(&pair);
    for (stage, range) in partition.stages.iter_mut().zip([0..1, 1..layers]) {
        stage.layers = Some(range);
    }
    let owned = Planner::new(model, path).plan(&partition, &pair, None)?;
    let plan = owned.check(model).map_err(PlanningError::from)?;
    let inputs = Noise::new(0).frame(model);
    let length = Length { time: effort.time, frames: 0 };
    let mut least = f64::INFINITY;
    for _ in 0..effort.rounds {
        let measured = measure(&plan, &pair, length, |_, frame| fill(frame, &inputs), |_, _| {})??;
        let starved = measured.stages.last().map_or(1.0, |stage| stage.starved);
        least = least.min(1e9 * starved / measured.frames_per_second());
    }
    Ok(least)
}

/// By which share layers take longer for each further busy cluster: the median over the layers.
pub(crate) fn contention(rows: &[Row], clusters: usize) -> f64 {
    let share = |row: &Row| Some((row.busy_ns? / row.ns - 1.0) / (clusters - 1) as f64);
    let mut shares: Vec<_> = rows.iter().filter_map(share).collect();
    shares.sort_by(f64::total_cmp);
    shares.get(shares.len() / 2).copied().unwrap_or(0.0).max(0.0)
}

/// The machine, as it calls itself.
fn machine_name() -> String {
    let read = |path: &str| fs::read_to_string(path).ok();
    let model = read("/proc/device-tree/model");
    let processor = || {
        let info = read("/proc/cpuinfo")?;
        let line = info.lines().find(|line| line.starts_with("model name"))?;
        Some(line.split_once(':')?.1.to_owned())
    };
    let name = model.or_else(processor).unwrap_or_else(|| "unknown".to_owned());
    name.trim_matches(['\0', ' ', '\n']).to_owned()
}

/// The highest clock of a CPU in megahertz, 0 where the system does not tell.
fn clock_mhz(cpu: usize) -> f64 {
    let highest = format!("/sys/devices/system/cpu/cpu{cpu}/cpufreq/cpuinfo_max_freq");
    let read = |path: &Path| fs::read_to_string(path).ok();
    let khz = || read(Path::new(&highest))?.trim().parse::<f64>().ok();
    let current = || {
        let info = read(Path::new("/proc/cpuinfo"))?;
        let line = info.lines().filter(|line| line.starts_with("cpu MHz")).nth(cpu)?;
        line.split_once(':')?.1.trim().parse::<f64>().ok()
    };
    khz().map(|khz| khz / 1e3).or_else(current).unwrap_or(0.0)
}

/// The day, in UTC.
pub(crate) fn today() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    date(since.as_secs() / 86400)
}

/// The day so many days after 1 January 1970.
fn date(mut days: u64) -> String {
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    format!("{year}-{month:02}-{:02}", days + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let dates = [(0, "1970-01-01"), (59, "1970-03-01"), (11_016, "2000-02-29")];
        for (days, expected) in dates {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date(20_454 + 364), "2026-12-31");
    }

    #[test]
    fn the_calmest_round_counts() {
        assert_eq!(calmest(Some(&vec![15.0, 10.0, 900.0])), (10.0, 0.5));
        assert_eq!(calmest(None), (1.0, 0.0));
    }
}
