//! `pipeit report`: one HTML page about a network and its plan, with pictures, nothing to load.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use pipeit_planner::cost::Costs;
use pipeit_planner::explain::Ranked;
use pipeit_planner::explore::Candidate;
use pipeit_planner::simulate::{Simulation, Span, simulate_traced};
use pipeit_rt::model::Model;
use pipeit_rt::pipeline::InputFrame;
use pipeit_rt::plan::{Home, Lifetime, Plan};
use pipeit_rt::platform::hosted::{Hosted, Machine};
use serde_json::json;

use super::import::write_file;
use super::{CommandError, spinner};
use crate::artefact::{self, OwnedPlan};
use crate::layer_times::layer_times;
use crate::load::load;
use crate::measure::{Length, measure};
use crate::memory::lifetimes;
use crate::noise::Noise;
use crate::partition::{Partition, stages_of};
use crate::picture::{Scale, Svg, color, escape};
use crate::planning::{PlanArgs, Planner, Target, choose};
use crate::report::{self, grouped};
use crate::search::SearchArgs;
use crate::session::{fill, stream, with_pipeline};
use crate::trace::{self, LayerSpan, Tracing};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// Which plan.
    #[command(flatten)]
    pub plan: PlanArgs,
    /// Plan for a board instead of this machine: its name, see `pipeit boards`, or its board.toml.
    /// Nothing is measured then
    #[arg(long, value_name = "NAME|FILE", conflicts_with_all = ["clusters", "cores", "path"])]
    pub board: Option<String>,
    /// Page to write
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(1);
/// Frames of the Gantt chart.
const FRAMES: usize = 12;
/// Width of the drawings.
const WIDTH: f64 = 960.0;
/// Where they begin, behind the labels.
const LEFT: f64 = 110.0;

/// What the page is about.
struct Page<'a> {
    name: String,
    plan: &'a Plan<'a>,
    machine: &'a Machine,
    costs: &'a Costs,
    stages: pipeit_planner::plan::Plan,
    source: &'a str,
    front: Vec<Candidate>,
    simulated: Simulated,
    measured: Option<Measured>,
}

/// The plan in the simulation.
struct Simulated {
    period_ns: f64,
    spans: Vec<Span>,
}

/// The plan on this machine.
struct Measured {
    period_ns: f64,
    /// Median nanoseconds of each layer, one frame at a time.
    layers_ns: Vec<f64>,
    spans: Vec<LayerSpan>,
}

/// Runs the command.
///
/// # Errors
///
/// The network, the machine or the stages are refused; the page cannot be written.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let PlanArgs { machine, stages, slots, profile } = &args.plan;
    let target = Target::of(machine, args.board.as_deref(), profile.as_deref())?;
    let loaded = load(&args.model, &target.pack)?;
    let mut tables = artefact::tables(&loaded.bytes)?;
    let artefact = artefact::open(&loaded.bytes, &mut tables)?;
    let planner = Planner::by(artefact.model, target.predictor.clone());
    let costs = planner.costs(&target.machine)?;
    let bar = spinner("planning");
    let owned: OwnedPlan = match (stages, artefact.plans) {
        (None, [_, ..]) if target.is_here => choose(&artefact, &args.plan)?.1,
        (None, _) => {
            let found = SearchArgs::default().run(&planner, &target.machine)?;
            let Ranked { candidate, slots: usual, .. } = &found.ranked[0];
            let partition = Partition::from(&candidate.plan);
            planner.plan(&partition, &target.machine, Some(slots.unwrap_or(*usual)))?
        }
        (Some(text), _) => planner.stated(Some(text), &target.machine, *slots)?,
    };
    let plan = owned.check(artefact.model)?;
    let stages = stages_of(&owned);
    let simulation = Simulation::saturated(plan.needs.slots.into());
    let (outcome, spans) = simulate_traced(&costs, &stages, simulation);
    bar.set_message("measuring");
    let measured = match target.is_here {
        true => Some(Measured::of(&plan, &target.machine)?),
        false => None,
    };
    bar.finish_and_clear();
    let page = Page {
        name: args.model.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        plan: &plan,
        machine: &target.machine,
        costs: &costs,
        stages,
        source: &planner.predictor.source,
        front: SearchArgs::default().front(&planner, &target.machine)?,
        simulated: Simulated { period_ns: outcome.period_ns, spans },
        measured,
    };
    write_file(&args.output, page.html().as_bytes())?;
    let prediction = page.costs.predict(&page.stages);
    if args.json {
        let report = json!({
            "output": args.output,
            "spec": report::spec(&plan, &target.machine),
            "period_ns": prediction.period_ns,
            "simulated_period_ns": page.simulated.period_ns,
            "measured_period_ns": page.measured.as_ref().map(|measured| measured.period_ns),
        });
        writeln!(out, "{report}")?;
        return Ok(());
    }
    writeln!(out, "{}: {}", args.output.display(), report::spec(&plan, &target.machine))?;
    Ok(())
}

impl Measured {
    fn of(plan: &Plan<'_>, machine: &Machine) -> Result<Self, CommandError> {
        let frames = [Noise::new(0).frame(plan.model())];
        let times = layer_times(plan, machine, &frames, TIME)?;
        let median = |times: &Vec<u64>| times.get(times.len() / 2).map_or(0.0, |&ns| ns as f64);
        let length = Length { time: TIME, frames: 0 };
        let next = |_, frame: &mut InputFrame<'_, '_, Hosted>| fill(frame, &frames[0]);
        let measured = measure(plan, machine, length, next, |_, _| {})??;
        let mut left = 2 * FRAMES;
        let _ = trace::take();
        with_pipeline::<Tracing, _>(plan, machine, |pipeline| {
            let next = |frame: &mut InputFrame<'_, '_, Tracing>| {
                fill(frame, &frames[0]);
                left = left.saturating_sub(1);
                left > 0
            };
            stream(pipeline, next, |_| {})
        })??;
        Ok(Self {
            period_ns: 1e9 / measured.frames_per_second().max(f64::MIN_POSITIVE),
            layers_ns: times.iter().map(median).collect(),
            spans: trace::take(),
        })
    }
}

/// A bar of a Gantt chart.
struct Bar {
    row: usize,
    stage: usize,
    start_ns: f64,
    end_ns: f64,
    frame: usize,
}

impl Page<'_> {
    fn model(&self) -> &Model<'_> {
        self.plan.model()
    }

    /// The stage of a layer.
    fn stage(&self, layer: usize) -> usize {
        let has = |stage: &pipeit_planner::plan::Stage| stage.layers.contains(&layer);
        self.stages.stages.iter().position(has).unwrap_or(0)
    }

    /// Predicted nanoseconds of a layer on the first team of its stage.
    fn predicted_ns(&self, layer: usize) -> f64 {
        let stage = &self.stages.stages[self.stage(layer)];
        stage.teams.first().map_or(0.0, |&team| self.costs.work_ns(layer..layer + 1, team))
    }

    fn html(&self) -> String {
        let prediction = self.costs.predict(&self.stages);
        let title = escape(&self.name);
        let us = |ns: f64| format!("{:.1}", ns / 1e3);
        let mut facts = vec![
            ("frames/s, predicted", format!("{:.1}", prediction.frames_per_s())),
            ("frames/s, simulated", format!("{:.1}", 1e9 / self.simulated.period_ns)),
        ];
        if let Some(measured) = &self.measured {
            facts.push(("frames/s, measured", format!("{:.1}", 1e9 / measured.period_ns)));
        }
        facts.extend([
            ("us between frames, predicted", us(prediction.period_ns)),
            ("us of latency, predicted", us(prediction.latency_ns)),
            ("bottleneck", format!("stage {}", prediction.bottleneck())),
            ("balance", format!("{:.1} %", 100.0 * prediction.balance())),
            ("bytes of memory", grouped(report::memory_bytes(self.plan) as u64)),
        ]);
        let fact = |(name, value): &(&str, String)| {
            format!("<div><b>{}</b><span>{}</span></div>", escape(value), escape(name))
        };
        let facts: String = facts.iter().map(fact).collect();
        let spec = escape(&report::spec(self.plan, self.machine));
        let mut body = format!(
            "<h1>{title}</h1>\n<p><code>{spec}</code></p>\n<div class=\"facts\">{facts}</div>\n\
             <p>Times: {}.</p>\n",
            escape(self.source),
        );
        let mut section = |heading: &str, text: &str, content: String| {
            body += &format!("<section><h2>{heading}</h2>\n<p>{text}</p>\n{content}</section>\n");
        };
        section(
            "Stages",
            "Teams, and what each stage takes per frame.",
            self.stage_table(&prediction),
        );
        section(
            "Network",
            "A bar is a layer: its height is the predicted time on a team of its stage, its color \
             the stage. Arcs are tensors that skip layers.",
            self.network(),
        );
        let gantt = match self.measured {
            Some(_) => "Frames on teams: predicted above, measured on this machine below.",
            None => "Frames on teams, as predicted. A board that is not here cannot be measured.",
        };
        section("Frames", gantt, self.gantt());
        if let Some(measured) = &self.measured {
            section(
                "Prediction",
                "Predicted time of each layer over the measured one, alone in the pipeline.",
                self.errors(measured),
            );
        }
        section(
            "Memory",
            "Where each tensor lies, from the layer that writes it to the last that reads it.",
            self.memory(),
        );
        section(
            "Choices",
            "Plans of which none is better in both throughput and latency.",
            self.front(),
        );
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n\
             <meta name=\"color-scheme\" content=\"light dark\">\n\
             <title>{title}: pipeit report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n\
             {body}</body>\n</html>\n"
        )
    }

    fn stage_table(&self, prediction: &pipeit_planner::cost::Prediction) -> String {
        let mut rows = String::new();
        for (index, (stage, found)) in self.plan.stages.iter().zip(&prediction.stages).enumerate() {
            let idle = 100.0 * prediction.bubbles()[index];
            let teams = report::teams(self.plan.teams_of(index), self.machine);
            rows += &format!(
                "<tr><td><i class=\"key {}\"></i>{index}</td><td>{}</td><td>{}</td>\
                 <td class=\"n\">{:.1}</td><td class=\"n\">{idle:.1}</td><td class=\"n\">{}</td></tr>\n",
                color(index),
                report::layers(stage),
                escape(&teams),
                found.period_ns / 1e3,
                grouped(stage.arena_bytes.into()),
            );
        }
        format!(
            "<table><thead><tr><th>stage</th><th>layers</th><th>teams</th><th class=\"n\">predicted us</th>\
             <th class=\"n\">idle %</th><th class=\"n\">arena bytes/team</th></tr></thead><tbody>\n{rows}</tbody></table>\n"
        )
    }

    fn network(&self) -> String {
        let layers = self.costs.layers();
        let (top, base) = (10.0, 190.0);
        let mut svg = Svg::new(WIDTH, 290.0);
        let longest = (0..layers).map(|layer| self.predicted_ns(layer)).fold(0.0, f64::max);
        let y = Scale::new(longest / 1e3, base, top);
        axis(&mut svg, y, "us");
        let x = Scale::new(layers as f64, LEFT, WIDTH - 10.0);
        for layer in 0..layers {
            let ns = self.predicted_ns(layer);
            let at = x.at(layer as f64)..x.at(layer as f64 + 0.85);
            let title = format!(
                "layer {layer}: {} {}, {:.1} us, stage {}",
                report::op_name(self.model(), layer as u16),
                report::shapes(self.model(), layer as u16),
                ns / 1e3,
                self.stage(layer),
            );
            svg.rect(at, y.at(ns / 1e3).min(base - 1.0)..base, &color(self.stage(layer)), &title);
        }
        let middle = |layer: usize| x.at(layer as f64 + 0.42);
        for (from, to) in self.skips() {
            let depth = (10.0 + 4.0 * (to - from) as f64).min(110.0);
            svg.arc(middle(from)..middle(to), base + 2.0, depth, "edge");
        }
        svg.text([LEFT, 285.0], "start", "layer 0");
        svg.text([WIDTH - 10.0, 285.0], "end", &format!("layer {}", layers - 1));
        svg.finish("predicted time of every layer, by stage")
    }

    /// Writers and readers that are not neighbours.
    fn skips(&self) -> Vec<(usize, usize)> {
        let layers = self.model().layers;
        let writer = |id: &pipeit_rt::model::TensorId, before: usize| {
            let storage = self.model().storage_of(*id);
            let writes = |index: &usize| self.model().storage_of(layers[*index].output) == storage;
            (0..before).rev().find(writes)
        };
        let mut all = Vec::new();
        for (index, layer) in layers.iter().enumerate() {
            let from = layer.inputs.iter().filter_map(|id| writer(id, index));
            all.extend(from.filter(|from| from + 1 < index).map(|from| (from, index)));
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    fn gantt(&self) -> String {
        let teams = self
            .stages
            .stages
            .iter()
            .enumerate()
            .flat_map(|(stage, found)| found.teams.iter().map(move |team| (stage, *team)));
        let teams: Vec<_> = teams.collect();
        let names = self.costs.names();
        let predicted = self.simulated.spans.iter().map(|span| Bar {
            row: span.team,
            stage: teams[span.team].0,
            start_ns: span.start_ns,
            end_ns: span.end_ns,
            frame: span.frame,
        });
        let mut charts = vec![("predicted", self.window(predicted.collect()))];
        if let Some(measured) = &self.measured {
            charts.push(("measured", self.window(self.measured_bars(&measured.spans))));
        }
        let longest = charts.iter().flat_map(|(_, bars)| bars).map(|bar| bar.end_ns);
        let longest_ns = longest.fold(0.0, f64::max);
        let (unit, unit_ns) = if longest_ns < 2e7 { ("us", 1e3) } else { ("ms", 1e6) };
        let x = Scale::new(longest_ns / unit_ns, LEFT, WIDTH - 30.0);
        let row = 20.0;
        let rows = |chart: usize| {
            let bars = charts[chart].1.iter().map(|bar| bar.row + 1);
            bars.max().unwrap_or(0).max(if chart == 0 { teams.len() } else { 0 })
        };
        let height: f64 = (0..charts.len()).map(|chart| row * rows(chart) as f64 + 34.0).sum();
        let mut svg = Svg::new(WIDTH, height + 24.0);
        let mut top = 4.0;
        for (chart, (what, bars)) in charts.iter().enumerate() {
            svg.text([0.0, top + 14.0], "start", what);
            top += 20.0;
            for index in 0..rows(chart) {
                let label = match (chart, teams.get(index)) {
                    (0, Some((stage, team))) => {
                        format!("{stage}: {}*{}", names[team.cluster], team.cores)
                    }
                    _ => format!("core {index}"),
                };
                svg.text([LEFT - 8.0, top + row * index as f64 + 14.0], "end", &label);
            }
            for bar in bars {
                let y = top + row * bar.row as f64;
                let title = format!(
                    "frame {}, stage {}: {:.1} us",
                    bar.frame,
                    bar.stage,
                    (bar.end_ns - bar.start_ns) / 1e3,
                );
                let at = x.at(bar.start_ns / unit_ns)..x.at(bar.end_ns / unit_ns) - 0.5;
                let shade = if bar.frame % 2 == 0 { "" } else { " odd" };
                svg.rect(at, y + 2.0..y + row - 2.0, &(color(bar.stage) + shade), &title);
            }
            top += row * rows(chart) as f64 + 14.0;
        }
        for tick in x.ticks() {
            svg.line([x.at(tick), 0.0], [x.at(tick), top - 8.0], "grid");
            svg.text([x.at(tick), top + 8.0], "middle", &format!("{tick} {unit}"));
        }
        svg.finish("frames on teams over time, predicted and measured")
    }

    /// Some frames in the middle, from time 0 on.
    fn window(&self, bars: Vec<Bar>) -> Vec<Bar> {
        let frames = bars.iter().map(|bar| bar.frame + 1).max().unwrap_or(0);
        let first = frames.saturating_sub(FRAMES) / 2;
        let inside = |bar: &Bar| (first..first + FRAMES).contains(&bar.frame);
        let mut bars: Vec<_> = bars.into_iter().filter(inside).collect();
        let begun = bars.iter().map(|bar| bar.start_ns).fold(f64::INFINITY, f64::min);
        for bar in &mut bars {
            (bar.start_ns, bar.end_ns) = (bar.start_ns - begun, bar.end_ns - begun);
        }
        bars
    }

    /// The layers of a frame on a core as one bar.
    fn measured_bars(&self, spans: &[LayerSpan]) -> Vec<Bar> {
        let mut bars: Vec<Bar> = Vec::new();
        let mut frames: Vec<usize> = Vec::new();
        let mut current: Vec<Option<usize>> = Vec::new();
        for span in spans {
            let layer = usize::from(span.layer);
            let stage = self.stage(layer);
            if frames.len() <= span.core {
                frames.resize(span.core + 1, 0);
                current.resize(span.core + 1, None);
            }
            let (start_ns, end_ns) = (span.start_ns as f64, (span.start_ns + span.ns) as f64);
            if layer == self.stages.stages[stage].layers.start || current[span.core].is_none() {
                current[span.core] = Some(bars.len());
                bars.push(Bar {
                    row: span.core,
                    stage,
                    start_ns,
                    end_ns,
                    frame: frames[span.core],
                });
                frames[span.core] += 1;
            } else if let Some(bar) = current[span.core].and_then(|at| bars.get_mut(at)) {
                bar.end_ns = end_ns;
            }
        }
        bars
    }

    fn errors(&self, measured: &Measured) -> String {
        let layers = self.costs.layers();
        let ratio = |layer: usize| {
            self.predicted_ns(layer)
                / measured.layers_ns.get(layer).copied().unwrap_or(0.0).max(1.0)
        };
        let mut svg = Svg::new(WIDTH, 220.0);
        // Logarithmic: twice and half are equally far from right.
        let y = |ratio: f64| 100.0 - 80.0 * (ratio.log2() / 2.0).clamp(-1.0, 1.0);
        for value in [0.25, 0.5, 1.0, 2.0, 4.0] {
            svg.line([LEFT, y(value)], [WIDTH - 10.0, y(value)], "grid");
            svg.text([LEFT - 8.0, y(value) + 4.0], "end", &format!("x {value}"));
        }
        let x = Scale::new(layers as f64, LEFT, WIDTH - 10.0);
        for layer in 0..layers {
            let title = format!(
                "layer {layer}: {} predicted {:.1} us, measured {:.1} us",
                report::op_name(self.model(), layer as u16),
                self.predicted_ns(layer) / 1e3,
                measured.layers_ns.get(layer).copied().unwrap_or(0.0) / 1e3,
            );
            let at = [x.at(layer as f64 + 0.42), y(ratio(layer))];
            svg.dot(at, 4.0, &color(self.stage(layer)), &title);
        }
        let mean = (0..layers).map(|layer| (ratio(layer) - 1.0).abs()).sum::<f64>() / layers as f64;
        let [predicted, found] = [
            (0..layers).map(|layer| self.predicted_ns(layer)).sum::<f64>(),
            measured.layers_ns.iter().sum::<f64>(),
        ];
        let whole = 100.0 * (predicted / found.max(1.0) - 1.0);
        svg.text([LEFT, 212.0], "start", "layers in order");
        svg.finish("predicted over measured time of every layer")
            + &format!(
                "<p>Mean error of a layer {:.1} %, of the sum {whole:+.1} %.</p>\n",
                100.0 * mean
            )
    }

    fn memory(&self) -> String {
        let lifetimes = lifetimes(self.model());
        let layers = self.costs.layers();
        let slot = ("slot", None, u64::from(self.plan.needs.slot_bytes));
        let arenas = self.plan.stages.iter().enumerate();
        let arenas = arenas.map(|(i, stage)| ("arena", Some(i), u64::from(stage.arena_bytes)));
        let memories: Vec<_> =
            std::iter::once(slot).chain(arenas).filter(|(_, _, bytes)| *bytes > 0).collect();
        let height = 120.0;
        let mut svg = Svg::new(WIDTH, memories.len() as f64 * (height + 24.0) + 16.0);
        let x = Scale::new(layers as f64, LEFT, WIDTH - 10.0);
        for (number, &(name, stage, bytes)) in memories.iter().enumerate() {
            let top = number as f64 * (height + 24.0) + 8.0;
            let y = Scale::new(bytes as f64, top + height, top);
            svg.line([LEFT, top], [WIDTH - 10.0, top], "grid");
            svg.line([LEFT, top + height], [WIDTH - 10.0, top + height], "grid");
            let label = stage.map_or(name.to_owned(), |stage| format!("{name} of stage {stage}"));
            svg.text([LEFT - 8.0, top + 14.0], "end", &label);
            svg.text([LEFT - 8.0, top + 32.0], "end", &grouped(bytes));
            for (storage, (lifetime, &size)) in
                lifetimes.iter().zip(self.model().storages).enumerate()
            {
                let Some(placed) = self.plan.placements.get(storage) else { continue };
                let is_here = match stage {
                    None => placed.home == Home::Slot,
                    Some(stage) => {
                        placed.home == Home::Arena
                            && self.plan.stages[stage].layers.contains(&lifetime.first)
                    }
                };
                if *lifetime == Lifetime::NEVER || !is_here {
                    continue;
                }
                let from = f64::from(placed.offset);
                let title = format!(
                    "{} bytes at {}, layers {} to {}",
                    grouped(size.into()),
                    grouped(placed.offset.into()),
                    lifetime.first,
                    lifetime.last,
                );
                svg.rect(
                    x.at(f64::from(lifetime.first))..x.at(f64::from(lifetime.last) + 1.0) - 0.5,
                    y.at(from + f64::from(size)) + 0.25..y.at(from) - 0.25,
                    &color(self.stage(lifetime.first.into())),
                    &title,
                );
            }
        }
        let bottom = memories.len() as f64 * (height + 24.0) + 10.0;
        svg.text([LEFT, bottom], "start", "layers in order");
        svg.finish("placement of tensors over layers")
            + &format!("<p>{}.</p>\n", report::memory_line(self.plan))
    }

    fn front(&self) -> String {
        let mut svg = Svg::new(WIDTH, 300.0);
        let most = |of: fn(&Candidate) -> f64| self.front.iter().map(of).fold(0.0, f64::max);
        let latency_us = |found: &Candidate| found.prediction.latency_ns / 1e3;
        let x = Scale::new(1.05 * most(latency_us), LEFT, WIDTH - 10.0);
        let y = Scale::new(1.05 * most(|found| found.prediction.frames_per_s()), 260.0, 10.0);
        axis(&mut svg, y, "frames/s");
        for tick in x.ticks() {
            svg.line([x.at(tick), 10.0], [x.at(tick), 260.0], "grid");
            svg.text([x.at(tick), 278.0], "middle", &format!("{tick}"));
        }
        svg.text([WIDTH - 10.0, 296.0], "end", "latency in us");
        let names = self.costs.names();
        let mut rows = String::new();
        for found in &self.front {
            let spec = found.plan.spec(&names).to_string();
            let rate = found.prediction.frames_per_s();
            let class = if found.plan == self.stages { "c0 chosen" } else { "c0" };
            svg.dot([x.at(latency_us(found)), y.at(rate)], 5.0, class, &spec);
            if rows.len() < 4000 {
                rows += &format!(
                    "<tr><td>{}</td><td class=\"n\">{rate:.1}</td><td class=\"n\">{:.1}</td>\
                     <td class=\"n\">{:.3}</td><td class=\"n\">{}</td></tr>\n",
                    escape(&spec),
                    latency_us(found),
                    found.prediction.energy_nj / 1e6,
                    grouped(found.ram_bytes.unwrap_or(0)),
                );
            }
        }
        svg.finish("throughput over latency of the best plans")
            + &format!(
                "<table><thead><tr><th>plan</th><th class=\"n\">frames/s</th>\
                 <th class=\"n\">latency us</th><th class=\"n\">mJ</th><th class=\"n\">bytes</th></tr></thead><tbody>\n{rows}</tbody></table>\n"
            )
    }
}

/// Lines and numbers of a vertical scale.
fn axis(svg: &mut Svg, y: Scale, unit: &str) {
    for tick in y.ticks() {
        svg.line([LEFT, y.at(tick)], [WIDTH - 10.0, y.at(tick)], "grid");
        svg.text([LEFT - 8.0, y.at(tick) + 4.0], "end", &format!("{tick} {unit}"));
    }
}

/// Colors that can be told apart by all, on light and on dark ground, and printed.
const STYLE: &str = "
:root{color-scheme:light dark;--page:#fff;--ink:#1b1f24;--soft:#57606a;--line:#d8dee4;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b58900;--c5:#56b4e9;--c6:#7a5195;--c7:#6e7781}
@media (prefers-color-scheme:dark){:root{--page:#0d1117;--ink:#e6edf3;--soft:#9198a1;--line:#30363d;
--c0:#58a6ff;--c1:#ff9a57;--c2:#3fd0a0;--c3:#f0a6d0;--c4:#e3c14b;--c5:#9bd7ff;--c6:#c39bf0;--c7:#a9b1ba}}
@media print{:root{--page:#fff;--ink:#000;--soft:#333;--line:#ccc}section{break-inside:avoid}}
body{margin:2rem auto;max-width:62rem;padding:0 1rem;background:var(--page);color:var(--ink);
font:15px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:0}h2{font-size:1.15rem;margin:2rem 0 0}p{margin:.3rem 0 .8rem;color:var(--soft)}
code{color:var(--ink);overflow-wrap:anywhere}
.facts{display:flex;flex-wrap:wrap;gap:.6rem 2rem;margin:1rem 0}
.facts div{display:flex;flex-direction:column}.facts b{font-size:1.25rem}.facts span{color:var(--soft)}
svg{display:block;max-width:100%;height:auto}
text{font:12px system-ui,sans-serif;fill:var(--soft)}
.grid{stroke:var(--line)}.edge{fill:none;stroke:var(--soft);stroke-opacity:.6}
.odd{opacity:.65}.chosen{stroke:var(--ink);stroke-width:2}
table{border-collapse:collapse;width:100%}th{text-align:left;color:var(--soft);font-weight:500}
th,td{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);overflow-wrap:anywhere}
th.n,td.n{text-align:right;white-space:nowrap;font-variant-numeric:tabular-nums}
.key{display:inline-block;width:.8em;height:.8em;margin-right:.4em}
.c0{fill:var(--c0)}.c1{fill:var(--c1)}.c2{fill:var(--c2)}.c3{fill:var(--c3)}
.c4{fill:var(--c4)}.c5{fill:var(--c5)}.c6{fill:var(--c6)}.c7{fill:var(--c7)}
i.c0{background:var(--c0)}i.c1{background:var(--c1)}i.c2{background:var(--c2)}i.c3{background:var(--c3)}
i.c4{background:var(--c4)}i.c5{background:var(--c5)}i.c6{background:var(--c6)}i.c7{background:var(--c7)}
";
