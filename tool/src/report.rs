//! Tables and names that several commands print.

use comfy_table::{CellAlignment, ContentArrangement, LineStyle, Table, TableStyle};
use pipeit_rt::kernels::Op;
use pipeit_rt::model::{Model, Port, TensorId};
use pipeit_rt::pipeline::Pipeline;
use pipeit_rt::plan::{Plan, Stage, Team};
use pipeit_rt::platform::hosted::{Hosted, Machine};
use pipeit_rt::tensor::Hwc;
use serde_json::{Value, json};

use crate::measure::balance;

/// Columns that tables may take.
const WIDTH: u16 = 100;
/// A line below the headings, none else.
const STYLE: TableStyle =
    TableStyle::new().header_separator(LineStyle::none().fill('─').junction('─'));

/// A table with these headings; a heading that starts with `>` is of a column of numbers.
#[must_use]
pub fn table(headings: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(STYLE)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(WIDTH)
        .set_header(headings.iter().map(|heading| heading.trim_start_matches('>')));
    for (column, heading) in table.column_iter_mut().zip(headings) {
        column.set_padding((0, 2));
        if heading.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// The name of cluster `index`; its number where the machine has no such cluster.
fn cluster_name(machine: &Machine, index: u8) -> String {
    let cluster = machine.clusters.get(usize::from(index));
    cluster.map_or_else(|| format!("c{index}"), |cluster| cluster.name.clone())
}

/// The layers of a stage, ends included: `3-7`, or `3`.
#[must_use]
pub fn layers(stage: &Stage) -> String {
    let (first, last) = (stage.layers.start, stage.layers.end.saturating_sub(1));
    if first == last { first.to_string() } else { format!("{first}-{last}") }
}

/// The teams of a stage as a partition states them: `big*2+little*1`.
#[must_use]
pub fn teams(teams: &[Team], machine: &Machine) -> String {
    let name = |team: &Team| format!("{}*{}", cluster_name(machine, team.cluster.0), team.cores);
    teams.iter().map(name).collect::<Vec<_>>().join("+")
}

/// The plan as `--stages` takes it.
#[must_use]
pub fn spec(plan: &Plan<'_>, machine: &Machine) -> String {
    let stage = |(index, stage): (usize, &Stage)| {
        format!("{}={}", layers(stage), teams(plan.teams_of(index), machine))
    };
    plan.stages.iter().enumerate().map(stage).collect::<Vec<_>>().join(" ")
}

/// The operating system's CPUs that a stage's teams run on.
#[must_use]
pub fn cpus(teams: &[Team], machine: &Machine) -> Vec<usize> {
    let of = |team: &Team| {
        let cluster = machine.clusters.get(usize::from(team.cluster.0));
        cluster.and_then(|c| c.cpus.get(team.core_range())).unwrap_or_default()
    };
    teams.iter().flat_map(of).copied().collect()
}

/// Predicted nanoseconds between frames of stage `stage`.
#[must_use]
pub fn period_ns(plan: &Plan<'_>, stage: usize) -> f64 {
    let rates = plan.teams_of(stage).iter().map(|team| 1.0 / f64::from(team.frame_ns.max(1)));
    1.0 / rates.sum::<f64>()
}

/// Predicted mean load over that of the busiest stage.
#[must_use]
pub fn predicted_balance(plan: &Plan<'_>) -> f64 {
    balance((0..plan.stages.len()).map(|stage| period_ns(plan, stage)))
}

/// Bytes of memory a pipeline of `plan` takes on an ordinary machine.
#[must_use]
pub fn memory_bytes(plan: &Plan<'_>) -> usize {
    Pipeline::<Hosted>::memory_bytes(plan.demand())
}

/// A plan in full.
#[must_use]
pub fn plan_json(plan: &Plan<'_>, machine: &Machine) -> Value {
    let team = |team: &Team| {
        json!({
            "cluster": cluster_name(machine, team.cluster.0),
            "first_core": team.first_core,
            "cores": team.cores,
            "predicted_ns": team.frame_ns,
        })
    };
    let stage = |(index, stage): (usize, &Stage)| {
        json!({
            "layers": [stage.layers.start, stage.layers.end - 1],
            "teams": plan.teams_of(index).iter().map(team).collect::<Vec<_>>(),
            "arena_bytes_per_team": stage.arena_bytes,
            "predicted_ns": period_ns(plan, index),
        })
    };
    json!({
        "spec": spec(plan, machine),
        "paths": plan.needs.paths.iter().map(|path| path.name()).collect::<Vec<_>>(),
        "slots": plan.needs.slots,
        "slot_bytes": plan.needs.slot_bytes,
        "arena_bytes": plan.arena_bytes(),
        "pipeline_memory_bytes": memory_bytes(plan),
        "predicted_balance": predicted_balance(plan),
        "stages": plan.stages.iter().enumerate().map(stage).collect::<Vec<_>>(),
    })
}

/// A plan as a table, a row per stage.
#[must_use]
pub fn plan_table(plan: &Plan<'_>, machine: &Machine) -> Table {
    let mut table = table(&["stage", "layers", "teams", ">arena bytes/team", ">predicted us"]);
    for (index, stage) in plan.stages.iter().enumerate() {
        table.add_row([
            index.to_string(),
            layers(stage),
            teams(plan.teams_of(index), machine),
            grouped(stage.arena_bytes.into()),
            format!("{:.1}", period_ns(plan, index) / 1e3),
        ]);
    }
    table
}

/// What memory a plan takes, in a line.
#[must_use]
pub fn memory_line(plan: &Plan<'_>) -> String {
    let bytes = |bytes: usize| grouped(bytes as u64);
    format!(
        "{} slots of {} bytes; slots and arenas {} bytes; whole pipeline {} bytes",
        plan.needs.slots,
        grouped(plan.needs.slot_bytes.into()),
        bytes(plan.arena_bytes()),
        bytes(memory_bytes(plan)),
    )
}

/// Digits in groups of three.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// The name of layer `layer`'s operator.
#[must_use]
pub fn op_name(model: &Model<'_>, layer: u16) -> &'static str {
    let op = model.paths.first().and_then(|&path| model.op(path, layer));
    op.map_or("?", Op::name)
}

/// The extents of a layer's inputs and of its output, as `8x8x16 8x8x16 > 8x8x16`.
#[must_use]
pub fn shapes(model: &Model<'_>, layer: u16) -> String {
    let Some(layer) = model.layers.get(usize::from(layer)) else { return String::new() };
    let shape = |id: &TensorId| {
        let hwc = model.tensor(*id).map_or(Hwc { h: 0, w: 0, c: 0 }, |tensor| tensor.layout.hwc);
        format!("{}x{}x{}", hwc.h, hwc.w, hwc.c)
    };
    let inputs: Vec<_> = layer.inputs.iter().map(shape).collect();
    format!("{} > {}", inputs.join(" "), shape(&layer.output))
}

/// Elements of the output of layer `layer`.
#[must_use]
pub fn outputs(model: &Model<'_>, layer: u16) -> usize {
    let output = model.layers.get(usize::from(layer)).and_then(|l| model.tensor(l.output));
    output.map_or(0, |tensor| tensor.layout.hwc.elements())
}

/// The shape of a port, as `1x8x8x1`.
#[must_use]
pub fn port_shape(model: &Model<'_>, port: &Port) -> String {
    model.tensor(port.tensor).map(|tensor| tensor.shape.to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_grouped() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1 000", "1 234 567"]);
    }
}
