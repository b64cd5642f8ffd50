//! The smallest network: one layer, in one stage with one team.

use crate::kernels::reference::Lookup;
use crate::kernels::{KNOWN, Op, Path};
use crate::model::{Element, Layer, Model, ModelTables, Port, StorageId, Tensor, TensorId};
use crate::plan::{Home, Lifetime, Needs, Placement, Plan, PlanTables, Stage, Team};
use crate::tensor::{Layout, Shape};
use crate::topology::ClusterId;
use crate::weights::{Span, Weights};

#[repr(align(64))]
struct Table([u8; 256]);
static TABLE: Table = Table([0; 256]);

/// Codes of the input and of the output, in four rows.
const CODES: u32 = 8;

/// The tables of that network and its plan.
pub(super) struct OneLayer {
    tensors: [Tensor; 2],
    layers: [Layer; 1],
    ops: [Op; 1],
    ports: [Port; 2],
    stages: [Stage; 1],
    teams: [Team; 1],
}

impl OneLayer {
    /// With a team of `cores`.
    pub(super) fn new(cores: u8) -> Self {
        let shape = Shape::new(&[1, 4, 1, CODES / 4]).unwrap();
        let layout = Layout::contiguous(shape.hwc());
        let tensor = |i| Tensor { shape, storage: StorageId(i), offset: 0, layout };
        let port =
            |i| Port { tensor: TensorId(i), scale: 1.0, zero_point: 0, element: Element::I8 };
        let inputs = heapless::Vec::from_slice(&[TensorId(0)]).unwrap();
        let cluster = ClusterId(0);
        Self {
            tensors: [tensor(0), tensor(1)],
            layers: [Layer { inputs, output: TensorId(1), source: 0 }],
            ops: [Op::Lookup(Lookup { table: Span::new(0, 0, 256) })],
            ports: [port(0), port(1)],
            stages: [Stage { layers: 0..1, teams: 0..1, arena_bytes: 0 }],
            teams: [Team { cluster, first_core: 0, cores, frame_ns: 1 }],
        }
    }

    pub(super) fn model(&self) -> Model<'_> {
        let mut weights = Weights::default();
        weights.push(&TABLE.0).unwrap();
        let tables = ModelTables {
            storages: &[CODES, CODES],
            tensors: &self.tensors,
            layers: &self.layers,
            paths: &[Path::Reference],
            ops: &self.ops,
            inputs: &self.ports[..1],
            outputs: &self.ports[1..],
            weights,
        };
        Model::new(tables, KNOWN, &mut [false; 2]).unwrap()
    }

    pub(super) fn plan<'a>(&'a self, model: &'a Model<'a>, slots: u8) -> Plan<'a> {
        const PLACEMENTS: [Placement; 2] =
            [Placement { home: Home::Slot, offset: 0 }, Placement { home: Home::Slot, offset: 64 }];
        let paths = heapless::Vec::from_slice(&[Path::Reference]).unwrap();
        let tables = PlanTables {
            needs: Needs { paths, slots, slot_bytes: 128 },
            stages: &self.stages,
            teams: &self.teams,
            placements: &PLACEMENTS,
        };
        Plan::new(model, tables, &mut [Lifetime::NEVER; 2], &mut [0; 2]).unwrap()
    }
}
