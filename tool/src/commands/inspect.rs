//! `pipeit inspect`: what is in a network or artefact, and what it takes.

use std::io::Write;
use std::path::PathBuf;

use pipeit_rt::Artefact;
use pipeit_rt::artefact::{HEADER_BYTES, SECTION_BYTES, SectionKind};
use pipeit_rt::model::{Model, Port};
use pipeit_rt::platform::hosted::Machine;
use serde_json::{Value, json};

use super::CommandError;
use super::import::plans;
use crate::arrays::element_name;
use crate::artefact;
use crate::descriptors::LayerCost;
use crate::load::{Loaded, Origin, load};
use crate::machine::MachineArgs;
use crate::memory::largest_live_set;
use crate::planning::Target;
use crate::report::{self, grouped, op_name, port_shape, table};

/// Flags.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Network (.tflite) or artefact (.pipeit)
    pub model: PathBuf,
    /// The machine to plan for, where the file has no plans.
    #[command(flatten)]
    pub machine: MachineArgs,
    /// Print one line of JSON
    #[arg(long)]
    pub json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The network or the machine is refused.
pub fn run(args: &Args, out: &mut dyn Write) -> Result<(), CommandError> {
    let Loaded { mut bytes, origin } = load(&args.model, &[args.machine.cores.target()])?;
    if origin.is_some() {
        // Shown as `pipeit import` would write it.
        let target = Target::of(&args.machine, None, None)?;
        let mut tables = artefact::tables(&bytes)?;
        let model = artefact::open(&bytes, &mut tables)?.model;
        let planned = artefact::write(model, &plans(model, &target, &[])?, &[])?;
        bytes = planned;
    }
    let mut tables = artefact::tables(&bytes)?;
    let artefact = artefact::open(&bytes, &mut tables)?;
    let inspection = Inspection {
        artefact: &artefact,
        origin: origin.as_ref(),
        machine: args.machine.machine()?,
        sections: sections(&bytes),
        bytes: bytes.len(),
    };
    if args.json {
        writeln!(out, "{}", inspection.json())?;
        return Ok(());
    }
    inspection.print(out)?;
    Ok(())
}

/// Name and length of each section.
fn sections(bytes: &[u8]) -> Vec<(&'static str, u32)> {
    let count = bytes.get(10..12).map_or(0, |b| u16::from_le_bytes([b[0], b[1]]).into());
    let table = bytes.get(HEADER_BYTES..).unwrap_or_default();
    let entries = table.chunks_exact(SECTION_BYTES).take(count);
    let number = |entry: &[u8], at: usize| {
        u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]])
    };
    let section = |entry: &[u8]| {
        let kinds = [
            (SectionKind::Model, "tables"),
            (SectionKind::Plans, "plans"),
            (SectionKind::Goldens, "golden vectors"),
            (SectionKind::Weights, "weights"),
        ];
        let kind = kinds.iter().find(|(kind, _)| *kind as u32 == number(entry, 0));
        (kind.map_or("?", |(_, name)| name), number(entry, 8))
    };
    entries.map(section).collect()
}

struct Inspection<'a> {
    artefact: &'a Artefact<'a>,
    origin: Option<&'a Origin>,
    machine: Machine,
    sections: Vec<(&'static str, u32)>,
    bytes: usize,
}

/// A layer as both reports show it.
struct Row {
    source: String,
    inputs: Vec<String>,
    output: String,
    cost: LayerCost,
}

impl Inspection<'_> {
    fn model(&self) -> &Model<'_> {
        self.artefact.model
    }

    fn row(&self, index: u16) -> Row {
        let layer = &self.model().layers[usize::from(index)];
        let shape = |&id| {
            let tensor = self.model().tensor(id);
            tensor.map(|tensor| tensor.shape.to_string()).unwrap_or_default()
        };
        let info = self.origin.and_then(|origin| origin.info.get(usize::from(index)));
        let other = info.filter(|info| info.name != op_name(self.model(), index));
        let name = other.map(|info| format!(" {}", info.name)).unwrap_or_default();
        Row {
            source: format!("{}{name}", layer.source),
            inputs: layer.inputs.iter().map(shape).collect(),
            output: shape(&layer.output),
            cost: LayerCost::of(self.model(), index),
        }
    }

    fn layers(&self) -> std::ops::Range<u16> {
        0..self.model().layers.len() as u16
    }

    fn json(&self) -> Value {
        let layer = |index| {
            let row = self.row(index);
            let info = self.origin.and_then(|origin| origin.info.get(usize::from(index)));
            json!({
                "index": index,
                "op": op_name(self.model(), index),
                "source_op": self.model().layers[usize::from(index)].source,
                "source_name": info.map(|info| &info.name),
                "source_output": info.map(|info| &*info.output),
                "inputs": row.inputs,
                "output": row.output,
                "macs": row.cost.macs,
                "weight_bytes": row.cost.weight_bytes,
                "activation_bytes": row.cost.activation_bytes,
            })
        };
        let port = |port: &Port| {
            json!({
                "shape": port_shape(self.model(), port),
                "element": element_name(port.element),
                "scale": port.scale,
                "zero_point": shown_zero_point(port),
            })
        };
        let folded = self.origin.map(|origin| {
            let folded = origin.folded.iter();
            let entry = |f: &crate::network::Folded| {
                json!({ "source_op": f.op.index, "name": f.op.name, "into": f.into })
            };
            folded.map(entry).collect::<Vec<_>>()
        });
        let plans = self.artefact.plans.iter().map(|p| report::plan_json(p, &self.machine));
        let section = |&(name, bytes): &(&str, u32)| json!({ "section": name, "bytes": bytes });
        json!({
            "layers": self.layers().map(layer).collect::<Vec<_>>(),
            "inputs": self.model().inputs.iter().map(port).collect::<Vec<_>>(),
            "outputs": self.model().outputs.iter().map(port).collect::<Vec<_>>(),
            "folded": folded,
            "plans": plans.collect::<Vec<_>>(),
            "macs": self.total(|cost| cost.macs),
            "weight_bytes": self.total(|cost| cost.weight_bytes),
            "largest_live_set_bytes": largest_live_set(self.model()),
            "golden_frames": self.artefact.goldens.iter().count(),
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "artefact_bytes": self.bytes,
        })
    }

    fn total(&self, of: impl Fn(LayerCost) -> u64) -> u64 {
        self.layers().map(|layer| of(LayerCost::of(self.model(), layer))).sum()
    }

    fn print(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut layers =
            table(&[">#", "op", "from", "inputs", "output", ">MAC", ">weights", ">activations"]);
        for index in self.layers() {
            let row = self.row(index);
            layers.add_row([
                index.to_string(),
                op_name(self.model(), index).to_owned(),
                row.source,
                row.inputs.join(" "),
                row.output,
                grouped(row.cost.macs),
                grouped(row.cost.weight_bytes),
                grouped(row.cost.activation_bytes),
            ]);
        }
        writeln!(out, "{layers}")?;
        let macs = self.total(|cost| cost.macs);
        let weights = self.total(|cost| cost.weight_bytes);
        writeln!(
            out,
            "{} layers, {} MAC, {} bytes of weights; largest live set {} bytes",
            self.layers().len(),
            grouped(macs),
            grouped(weights),
            grouped(largest_live_set(self.model())),
        )?;
        let inputs = self.model().inputs.iter().map(|port| ("input", port));
        let outputs = self.model().outputs.iter().map(|port| ("output", port));
        for (what, port) in inputs.chain(outputs) {
            let (shape, element) = (port_shape(self.model(), port), element_name(port.element));
            let zero_point = shown_zero_point(port);
            writeln!(out, "{what} {shape} {element}: {} x (code - {zero_point})", port.scale)?;
        }
        for folded in self.origin.iter().flat_map(|origin| &origin.folded) {
            writeln!(out, "folded: {} -> {}", folded.op, folded.into)?;
        }
        for (index, plan) in self.artefact.plans.iter().enumerate() {
            writeln!(out, "\nplan {index}: {}", report::spec(plan, &self.machine))?;
            writeln!(out, "{}", report::plan_table(plan, &self.machine))?;
            writeln!(out, "{}", report::memory_line(plan))?;
        }
        let section = |(name, bytes): &(&str, u32)| format!("{name} {}", grouped((*bytes).into()));
        let sections: Vec<_> = self.sections.iter().map(section).collect();
        let all = grouped(self.bytes as u64);
        writeln!(out, "\nartefact {all} bytes: {}", sections.join(", "))
    }
}

/// The zero point in the codes the original file has.
fn shown_zero_point(port: &Port) -> i16 {
    let offset = if port.element == pipeit_rt::model::Element::U8 { 128 } else { 0 };
    i16::from(port.zero_point) + offset
}
