//! A small network made by hand: a chain of layers that each add one to every code.

use std::mem::MaybeUninit;

use pipeit_rt::kernels::reference::Lookup;
use pipeit_rt::kernels::{KNOWN, Op, Path};
use pipeit_rt::model::{Element, Layer, Model, ModelTables, Port, StorageId, Tensor, TensorId};
use pipeit_rt::pipeline::Pipeline;
use pipeit_rt::plan::{Home, Lifetime, Needs, Placement, Plan, PlanTables, Stage, Team};
use pipeit_rt::platform::Platform;
use pipeit_rt::platform::hosted::{HostCluster, Machine};
use pipeit_rt::tensor::{Layout, Shape};
use pipeit_rt::topology::ClusterId;
use pipeit_rt::weights::{Span, Weights};

/// Codes per frame.
pub(crate) const CODES: usize = 8;

#[repr(align(64))]
struct Table([u8; 256]);

static PLUS_ONE: Table = {
    let mut table = [0u8; 256];
    let mut code = 0;
    while code < 256 {
        // Entry 0 is for code -128; its result is -127, which is 0x81.
        table[code] = (code as u8).wrapping_add(0x81);
        code += 1;
    }
    Table(table)
};

/// The tables of a chain of layers.
pub(crate) struct Chain {
    storages: Vec<u32>,
    tensors: Vec<Tensor>,
    pub(crate) layers: Vec<Layer>,
    ops: Vec<Op>,
    ports: [Port; 2],
}

impl Chain {
    pub(crate) fn new(layers: u16) -> Self {
        Self::with_rows(layers, 4)
    }

    /// Of frames with this many rows, which the members of a team share.
    pub(crate) fn with_rows(layers: u16, rows: u32) -> Self {
        let shape = Shape::new(&[1, rows, 1, CODES as u32 / rows]).unwrap();
        let tensor = |i| Tensor {
            shape,
            storage: StorageId(i),
            offset: 0,
            layout: Layout::contiguous(shape.hwc()),
        };
        let layer = |i| Layer {
            inputs: heapless::Vec::from_slice(&[TensorId(i)]).unwrap(),
            output: TensorId(i + 1),
            source: i,
        };
        let op = Op::Lookup(Lookup { table: Span::new(0, 0, 256) });
        let port =
            |i| Port { tensor: TensorId(i), scale: 1.0, zero_point: 0, element: Element::I8 };
        Self {
            storages: vec![CODES as u32; usize::from(layers) + 1],
            tensors: (0..=layers).map(tensor).collect(),
            layers: (0..layers).map(layer).collect(),
            ops: vec![op; layers.into()],
            ports: [port(0), port(layers)],
        }
    }

    pub(crate) fn model(&self) -> Model<'_> {
        let mut weights = Weights::default();
        weights.push(&PLUS_ONE.0).unwrap();
        let tables = ModelTables {
            storages: &self.storages,
            tensors: &self.tensors,
            layers: &self.layers,
            paths: &[Path::Reference],
            ops: &self.ops,
            inputs: &self.ports[..1],
            outputs: &self.ports[1..],
            weights,
        };
        Model::new(tables, KNOWN, &mut vec![false; self.storages.len()]).unwrap()
    }
}

/// A plan's tables; every storage has bytes of its own in the slot.
pub(crate) struct OwnedPlan {
    pub(crate) needs: Needs,
    stages: Vec<Stage>,
    pub(crate) teams: Vec<Team>,
    pub(crate) placements: Vec<Placement>,
}

impl OwnedPlan {
    /// `stages` are numbers of layers with their teams: cores, all of cluster 0.
    pub(crate) fn new(slots: u8, stages: &[(u16, &[u8])]) -> Self {
        let mut plan = Self {
            needs: Needs {
                paths: heapless::Vec::from_slice(&[Path::Reference]).unwrap(),
                slots,
                slot_bytes: 0,
            },
            stages: Vec::new(),
            teams: Vec::new(),
            placements: Vec::new(),
        };
        let (mut layer, mut core) = (0, 0);
        for &(layers, teams) in stages {
            let first_team = plan.teams.len() as u8;
            for &cores in teams {
                let cluster = ClusterId(0);
                plan.teams.push(Team { cluster, first_core: core, cores, frame_ns: 1000 });
                core += cores;
            }
            let teams = first_team..plan.teams.len() as u8;
            plan.stages.push(Stage { layers: layer..layer + layers, teams, arena_bytes: 0 });
            layer += layers;
        }
        let offsets = (0..=u32::from(layer)).map(|i| 64 * i);
        plan.placements = offsets.map(|offset| Placement { home: Home::Slot, offset }).collect();
        plan.needs.slot_bytes = 64 * (u32::from(layer) + 1);
        plan
    }

    pub(crate) fn tables(&self) -> PlanTables<'_> {
        PlanTables {
            needs: self.needs.clone(),
            stages: &self.stages,
            teams: &self.teams,
            placements: &self.placements,
        }
    }

    pub(crate) fn check<'a>(&'a self, model: &'a Model<'a>) -> Plan<'a> {
        let storages = model.storages.len();
        let mut lifetimes = vec![Lifetime::NEVER; storages];
        Plan::new(model, self.tables(), &mut lifetimes, &mut vec![0; storages]).unwrap()
    }
}

/// A cluster of `cores` threads, dealt over the CPUs there are.
pub(crate) fn machine(cores: usize) -> Machine {
    let cpus: Vec<_> = Machine::detect().clusters.into_iter().flat_map(|c| c.cpus).collect();
    let cpus = (0..cores).map(|core| cpus[core % cpus.len()]).collect();
    Machine { clusters: vec![HostCluster::new("test", cpus)] }
}

pub(crate) fn memory<P: Platform>(plan: &Plan<'_>) -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); Pipeline::<P>::memory_bytes(plan.demand())]
}

/// True under Miri or an emulator, where tests take fewer rounds.
pub(crate) fn is_slow() -> bool {
    cfg!(miri) || std::env::var_os("PIPEIT_EMULATED").is_some()
}
