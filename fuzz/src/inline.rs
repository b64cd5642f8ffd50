//! Pipelines on the calling thread: a core is a coroutine, which yields where it would wait.
#![expect(deprecated, reason = "what replaces it does not reach into events")]

use std::sync::atomic::{AtomicU32, Ordering};

use generator::{Gn, yield_with};
use pipeit_rt::kernels::{self, KernelTable, Path, REFERENCE};
use pipeit_rt::pipeline::{CallError, Pipeline, RunError};
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::hosted::Yield;
use pipeit_rt::platform::{Event, Platform, Ticks};
use pipeit_rt::region::Region;
use pipeit_rt::topology::{CoreId, Topology};
use pipeit_rt::{Admission, Wait};

/// Most cores of a plan that is run.
const CORES: u16 = 6;
/// Most bytes of a pipeline that is run.
const MEMORY_BYTES: usize = 1 << 17;
/// Most frames at a time.
const FRAMES: usize = 2;
/// Stack of a core, in words: what the kernels for x86-64 need, and half as much again.
const STACK: usize = 1 << 17;

/// What a core says whenever it yields, and in the end.
type Worked = Result<(), RunError>;

/// Coroutines as cores.
struct Inline;

impl Platform for Inline {
    type Relax = Yield;
    type Event = Count;

    fn now() -> Ticks {
        Ticks(0)
    }

    fn tick_hz() -> u64 {
        1
    }
}

struct Count(AtomicU32);

impl Event for Count {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn wait(&self, seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        if self.count() == seen {
            deadline()?;
            yield_with(Worked::Ok(()));
        }
        Some(())
    }
}

/// True when `plan` is small enough to be run many times a second.
pub(crate) fn is_small(plan: &Plan<'_>) -> bool {
    plan.demand().cores <= CORES && Pipeline::<Inline>::memory_bytes(plan.demand()) <= MEMORY_BYTES
}

/// The kernels of every path: this CPU's own where it can, else the portable ones, which read
/// every layout.
fn kernels() -> Vec<&'static KernelTable> {
    static PORTABLE: [KernelTable; 6] = [
        KernelTable::portable(Path::Neon, || true),
        KernelTable::portable(Path::Dotprod, || true),
        KernelTable::portable(Path::I8mm, || true),
        KernelTable::portable(Path::Avx2, || true),
        KernelTable::portable(Path::Avx512Vnni, || true),
        KernelTable::portable(Path::Amx, || true),
    ];
    let own = kernels::ALL.iter().copied().filter(|table| (table.supported)());
    own.chain(&PORTABLE).chain([&REFERENCE]).collect()
}

/// Sends the frame `inputs` through `plan`, several times at once if it has the slots; all
/// outputs of each time. `None` when no machine is large enough, or the kernels are others.
pub(crate) fn run(plan: &Plan<'_>, inputs: &[Vec<i8>]) -> Option<Vec<Vec<i8>>> {
    let mut clusters = vec![0; plan.needs.paths.len()];
    for team in plan.teams {
        let cores = &mut clusters[usize::from(team.cluster.0)];
        *cores = u8::try_from(team.core_range().end).ok()?.max(*cores);
    }
    let topology = Topology::new(&clusters).ok()?;
    let mut memory: Vec<u8> = Vec::with_capacity(Pipeline::<Inline>::memory_bytes(plan.demand()));
    let mut region = Region::new(memory.spare_capacity_mut());
    let pipeline = Pipeline::<Inline>::new(plan, &topology, &kernels(), &mut region).ok()?;

    let frames = FRAMES.min(plan.needs.slots.into());
    for _ in 0..frames {
        let mut frame = pipeline.acquire(Admission::Block(Wait::Never)).expect("a slot");
        for (index, codes) in inputs.iter().enumerate() {
            frame.input(index).expect("an input").copy_from_slice(codes);
        }
        frame.submit().expect("an open pipeline");
    }
    let cores = (0..clusters.iter().sum()).map(CoreId);
    let pipeline = &pipeline;
    let mut cores: Vec<_> =
        cores.map(|core| Gn::<()>::new_opt(STACK, move || pipeline.run_core(core))).collect();
    let mut outputs = Vec::new();
    // In each round, some core does its share of a layer or hands over a frame.
    for _ in 0..=frames * (plan.model().layers.len() + plan.stages.len()) {
        for core in cores.iter_mut().filter(|core| !core.is_done()) {
            assert_eq!(core.resume(), Some(Ok(())), "a core fails");
        }
        loop {
            match pipeline.poll(Wait::Never) {
                Ok(frame) => {
                    let codes = (0..).map_while(|index| frame.output(index)).flatten();
                    outputs.push(codes.copied().collect());
                }
                Err(CallError::TimedOut) => break,
                Err(error) => panic!("{error}"),
            }
        }
        if outputs.len() == frames {
            break;
        }
    }
    assert_eq!(outputs.len(), frames, "cores wait for one another");
    pipeline.stop();
    for core in cores.iter_mut().filter(|core| !core.is_done()) {
        assert_eq!(core.resume(), Some(Ok(())), "a core goes on");
    }
    Some(outputs)
}
