//! Frames through pipelines on threads: none lost, repeated, reordered or altered.
#![cfg(feature = "std")]

mod common;

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use common::{CODES, Chain, OwnedPlan, is_slow, machine, memory};
use pipeit_rt::kernels::{KernelTable, Path, REFERENCE};
use pipeit_rt::model::{StorageId, TensorId};
use pipeit_rt::pipeline::{CallError, FrameId, Pipeline, PipelineError, RunError};
use pipeit_rt::plan::{Lifetime, Plan, PlanError};
use pipeit_rt::platform::hosted::{Hosted, Machine};
use pipeit_rt::platform::{Event, Platform, Ticks};
use pipeit_rt::topology::CoreId;
use pipeit_rt::{Admission, Region, Wait};

/// What a frame holds at the source.
fn codes(frame: u32) -> [i8; CODES] {
    std::array::from_fn(|i| frame.wrapping_mul(2_654_435_761).rotate_left(i as u32 * 4) as i8)
}

/// Gives `body` a pipeline of `plan` over a chain of `layers` layers, at which no core works yet.
fn with_pipeline<R>(
    layers: u16,
    plan: &OwnedPlan,
    machine: &Machine,
    kernels: &KernelTable,
    body: impl FnOnce(Pipeline<'_, Hosted>) -> R,
) -> R {
    let chain = Chain::new(layers);
    let model = chain.model();
    let plan = plan.check(&model);
    let mut memory = memory::<Hosted>(&plan);
    let topology = machine.topology().unwrap();
    let region = &mut Region::new(&mut memory);
    body(Pipeline::<Hosted>::new(&plan, &topology, &[kernels], region).unwrap())
}

/// Runs `body` beside the cores of a pipeline and stops it afterwards.
fn run<R>(
    layers: u16,
    plan: &OwnedPlan,
    machine: &Machine,
    body: impl FnOnce(&Pipeline<'_, Hosted>) -> R,
) -> R {
    with_pipeline(layers, plan, machine, &REFERENCE, |pipeline| {
        machine.run(
            |core| {
                let _ = pipeline.run_core(core);
            },
            || {
                let _stop = pipeline.stop_on_drop();
                body(&pipeline)
            },
        )
    })
}

fn submit(pipeline: &Pipeline<'_, Hosted>, admission: Admission, number: u32) -> FrameId {
    let mut frame = pipeline.acquire(admission).unwrap();
    frame.input(0).unwrap().copy_from_slice(&codes(number));
    frame.submit().unwrap()
}

/// Streams `frames` frames through a chain of `layers` layers and checks every one.
fn stream(layers: u16, slots: u8, stages: &[(u16, &[u8])], frames: u32) {
    let cores = stages.iter().flat_map(|(_, teams)| *teams).map(|&n| usize::from(n)).sum();
    let plan = OwnedPlan::new(slots, stages);
    run(layers, &plan, &machine(cores), |pipeline| {
        let (mut sent, mut seen) = (0, 0);
        while seen < frames {
            while sent < frames {
                match pipeline.acquire(Admission::Block(Wait::Never)) {
                    Ok(mut frame) => {
                        frame.input(0).unwrap().copy_from_slice(&codes(sent));
                        assert_eq!(frame.submit(), Ok(FrameId(sent)));
                        sent += 1;
                    }
                    Err(error) => {
                        assert_eq!(error, CallError::TimedOut);
                        break;
                    }
                }
            }
            let output = pipeline.poll(Wait::Forever).unwrap();
            assert_eq!(output.id(), FrameId(seen));
            let expected = codes(seen).map(|code| code.wrapping_add(layers as i8));
            assert_eq!(output.output(0).unwrap(), expected, "frame {seen}");
            output.release();
            seen += 1;
        }
        for stage in 0..stages.len() {
            let stats = pipeline.stats(stage).unwrap();
            assert!(stats.frames >= u64::from(frames) - 1, "stage {stage}: {stats:?}");
        }
        assert_eq!(pipeline.stats(stages.len()), None);
        assert_eq!(pipeline.dropped(), 0);
    });
}

#[test]
fn a_million_frames_through_three_stages() {
    let frames = if cfg!(miri) {
        100
    } else if is_slow() {
        20_000
    } else {
        1_000_000
    };
    stream(3, 16, &[(1, &[1]), (1, &[1]), (1, &[1])], frames);
}

#[test]
fn replicated_stages_keep_the_order() {
    let frames = if cfg!(miri) {
        50
    } else if is_slow() {
        2_000
    } else {
        20_000
    };
    stream(4, 7, &[(4, &[1, 1])], frames);
    stream(4, 9, &[(1, &[1, 1]), (2, &[1]), (1, &[1, 1, 1])], frames);
}

#[test]
fn teams_share_their_layers() {
    let frames = if cfg!(miri) {
        20
    } else if is_slow() {
        500
    } else {
        5_000
    };
    stream(5, 3, &[(5, &[2])], frames);
    stream(5, 4, &[(2, &[3]), (3, &[2])], frames / 4);
    stream(5, 6, &[(2, &[1]), (3, &[2, 1])], frames / 4);
}

#[test]
fn one_slot_is_enough() {
    let frames = if is_slow() { 50 } else { 1_000 };
    stream(3, 1, &[(1, &[1]), (2, &[1])], frames);
}

#[test]
fn admission_refuses_blocks_or_drops() {
    let plan = OwnedPlan::new(2, &[(2, &[1])]);
    let chain = Chain::new(2);
    let model = chain.model();
    let plan = plan.check(&model);
    let mut memory = memory::<Hosted>(&plan);
    let machine = machine(1);
    let topology = machine.topology().unwrap();
    // Nobody runs the core yet, so that frames stay where they are.
    let pipeline =
        Pipeline::<Hosted>::new(&plan, &topology, &[&REFERENCE], &mut Region::new(&mut memory))
            .unwrap();
    let never = Admission::Block(Wait::Never);
    let drop_oldest = Admission::DropOldest(Wait::Never);
    assert_eq!(pipeline.poll(Wait::Never).unwrap_err(), CallError::TimedOut);
    assert_eq!(submit(&pipeline, never, 0), FrameId(0));
    assert_eq!(submit(&pipeline, drop_oldest, 1), FrameId(1));
    assert_eq!(pipeline.acquire(never).unwrap_err(), CallError::TimedOut);
    let soon = Wait::Until(Hosted::now().after(Ticks(1_000_000)));
    assert_eq!(pipeline.acquire(Admission::Block(soon)).unwrap_err(), CallError::TimedOut);
    assert_eq!(submit(&pipeline, drop_oldest, 2), FrameId(2));
    assert_eq!(submit(&pipeline, drop_oldest, 3), FrameId(3));
    assert_eq!(pipeline.dropped(), 2);
    // An unused slot goes back.
    drop(pipeline.acquire(drop_oldest).unwrap());
    assert_eq!(pipeline.dropped(), 3);
    drop(pipeline.acquire(never).unwrap());

    machine.run(
        |core| pipeline.run_core(core).unwrap(),
        || {
            let _stop = pipeline.stop_on_drop();
            let output = pipeline.poll(Wait::Forever).unwrap();
            assert_eq!(output.id(), FrameId(3));
            assert_eq!(output.output(0).unwrap(), codes(3).map(|code| code.wrapping_add(2)));
        },
    );
}

#[test]
fn drained_frames_can_still_be_polled() {
    run(3, &OwnedPlan::new(4, &[(1, &[1]), (2, &[1])]), &machine(2), |pipeline| {
        for number in 0..4 {
            submit(pipeline, Admission::Block(Wait::Forever), number);
        }
        pipeline.drain(Wait::Forever).unwrap();
        let blocked = pipeline.acquire(Admission::Block(Wait::Forever));
        assert_eq!(blocked.unwrap_err(), CallError::Stopped);
        for number in 0..4 {
            assert_eq!(pipeline.poll(Wait::Never).unwrap().id(), FrameId(number));
        }
        assert_eq!(pipeline.poll(Wait::Forever).unwrap_err(), CallError::Stopped);
    });
}

#[test]
fn a_core_is_taken_once() {
    let plan = OwnedPlan::new(1, &[(2, &[2])]);
    run(2, &plan, &machine(3), |pipeline| {
        // Frames that come back show that the cores are at work.
        submit(pipeline, Admission::Block(Wait::Forever), 0);
        drop(pipeline.poll(Wait::Forever).unwrap());
        for core in [0, 1].map(CoreId) {
            assert_eq!(pipeline.run_core(core), Err(RunError::CoreTaken { core }));
        }
        assert_eq!(pipeline.run_core(CoreId(2)), Ok(()), "the plan leaves it out");
        submit(pipeline, Admission::Block(Wait::Forever), 1);
        assert!(pipeline.poll(Wait::Forever).is_ok());
    });
}

#[test]
fn a_stopped_pipeline_wakes_those_who_wait() {
    run(1, &OwnedPlan::new(1, &[(1, &[1])]), &machine(1), |pipeline| {
        std::thread::scope(|scope| {
            let poll = scope.spawn(|| pipeline.poll(Wait::Forever).map(|frame| frame.id()));
            std::thread::sleep(Duration::from_millis(20));
            pipeline.stop();
            assert_eq!(poll.join().unwrap(), Err(CallError::Stopped));
        });
    });
}

#[test]
fn a_core_that_never_comes_is_named() {
    let plan = OwnedPlan::new(2, &[(2, &[2])]);
    with_pipeline(2, &plan, &machine(2), &REFERENCE, |mut pipeline| {
        pipeline.set_stall_timeout(Ticks(Hosted::tick_hz() / 20));
        let stalled = RunError::Stalled { core: CoreId(1), layer: 0 };
        std::thread::scope(|scope| {
            let leader = scope.spawn(|| pipeline.run_core(CoreId(0)));
            submit(&pipeline, Admission::Block(Wait::Forever), 0);
            assert_eq!(pipeline.poll(Wait::Forever).unwrap_err(), CallError::Failed(stalled));
            assert_eq!(leader.join().unwrap(), Err(stalled));
        });
        assert_eq!(pipeline.run_core(CoreId(9)), Err(RunError::NoCore { core: CoreId(9) }));
    });
}

#[test]
fn layers_work_in_place_unless_something_reads_later() {
    let mut plan = OwnedPlan::new(2, &[(2, &[1]), (2, &[2])]);
    plan.placements.iter_mut().for_each(|placement| placement.offset = 0);
    plan.needs.slot_bytes = 64;
    run(4, &plan, &machine(3), |pipeline| {
        for frame in 0..100 {
            submit(pipeline, Admission::Block(Wait::Forever), frame);
            let found = pipeline.poll(Wait::Forever).unwrap();
            assert_eq!(found.output(0), Some(&codes(frame).map(|code| code.wrapping_add(4))[..]));
        }
    });
    let mut chain = Chain::new(4);
    chain.layers[2].inputs[0] = TensorId(0);
    let model = chain.model();
    let (lifetimes, order) = (&mut [Lifetime::NEVER; 5], &mut [0; 5]);
    let refused = Plan::new(&model, plan.tables(), lifetimes, order).unwrap_err();
    assert_eq!(refused, PlanError::Placement { storage: StorageId(1) });
}

#[test]
fn a_plan_is_not_checked_in_too_little_scratch() {
    let (chain, plan) = (Chain::new(4), OwnedPlan::new(1, &[(4, &[1])]));
    let model = chain.model();
    for (lifetimes, order) in [(4, 5), (5, 4)] {
        let (mut lifetimes, mut order) = (vec![Lifetime::NEVER; lifetimes], vec![0; order]);
        let refused = Plan::new(&model, plan.tables(), &mut lifetimes, &mut order).unwrap_err();
        assert_eq!(refused, PlanError::Placement { storage: StorageId(4) });
    }
}

/// Runs two stages, the second a team of two, whose kernels are `faulty`; returns what failed,
/// as each core and the caller learn it. Once it has failed, `release` lets kernels go on.
fn failure_of(
    faulty: &'static KernelTable,
    timeout: Ticks,
    release: impl FnOnce(),
) -> [RunError; 4] {
    let plan = OwnedPlan::new(3, &[(2, &[1]), (2, &[2])]);
    let chain = Chain::new(4);
    let model = chain.model();
    let plan = plan.check(&model);
    let mut memory = memory::<Hosted>(&plan);
    let topology = machine(3).topology().unwrap();
    let mut pipeline =
        Pipeline::<Hosted>::new(&plan, &topology, &[faulty], &mut Region::new(&mut memory))
            .unwrap();
    pipeline.set_stall_timeout(timeout);
    std::thread::scope(|scope| {
        let _stop = pipeline.stop_on_drop();
        let run = |core| {
            let pipeline = &pipeline;
            let run = move || pipeline.run_core(CoreId(core));
            scope.spawn(move || std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)))
        };
        let cores = [0, 1, 2].map(run);
        submit(&pipeline, Admission::Block(Wait::Forever), 0);
        let Err(CallError::Failed(error)) = pipeline.poll(Wait::Forever) else {
            panic!("no fault")
        };
        release();
        let [a, b, c] = cores.map(|core| {
            // A core that panicked has no result of its own.
            core.join().unwrap().map_or(error, |result| result.unwrap_err())
        });
        [error, a, b, c]
    })
}

type LookupKernel = pipeit_rt::kernels::Kernel<pipeit_rt::kernels::reference::Lookup>;

const fn faulty(kernel: LookupKernel) -> KernelTable {
    KernelTable { lookup: Some(kernel), ..KernelTable::empty(Path::Reference, || true) }
}

#[test]
fn a_core_that_dies_is_named_at_once() {
    static DIES: KernelTable = faulty(|params, weights, io| {
        // The second member's share.
        assert_eq!(io.output.rows().start, 0, "a fault made by the test");
        pipeit_rt::kernels::reference::lookup(params, weights, io);
    });
    // Nobody waits for the deadline.
    let died = RunError::Died { core: CoreId(2), layer: 2 };
    assert_eq!(failure_of(&DIES, Ticks(3600 * Hosted::tick_hz()), || ()), [died; 4]);
}

#[test]
fn a_core_that_hangs_is_named_within_its_deadline() {
    static RELEASED: AtomicBool = AtomicBool::new(false);
    static HANGS: KernelTable = faulty(|_, _, _| {
        while !RELEASED.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
    });
    // No team member waits for the first stage's only core: the caller finds it.
    let stalled = RunError::Stalled { core: CoreId(0), layer: 0 };
    let release = || RELEASED.store(true, Ordering::Release);
    assert_eq!(failure_of(&HANGS, Ticks(Hosted::tick_hz() / 20), release), [stalled; 4]);
}

/// A machine whose clock stands still but when the test turns it on, and whose waiters keep looking.
#[derive(Debug)]
struct Still;

static CLOCK: AtomicU64 = AtomicU64::new(0);

impl Platform for Still {
    type Relax = <Hosted as Platform>::Relax;
    type Event = Restless;

    fn now() -> Ticks {
        // Whoever looks at the clock gives others the time to look at what it has done so far.
        std::thread::yield_now();
        Ticks(CLOCK.load(Ordering::Relaxed))
    }

    fn tick_hz() -> u64 {
        1
    }
}

struct Restless(AtomicU32);

impl Event for Restless {
    fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    fn count(&self) -> u32 {
        self.0.load(Ordering::Acquire)
    }

    fn signal(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    fn wait(&self, _seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        std::thread::yield_now();
        deadline().map(drop)
    }
}

#[test]
fn a_core_that_had_nothing_to_do_has_not_stalled() {
    let plan = OwnedPlan::new(1, &[(1, &[1])]);
    let chain = Chain::new(1);
    let model = chain.model();
    let plan = plan.check(&model);
    let mut memory = memory::<Still>(&plan);
    let topology = machine(1).topology().unwrap();
    let mut pipeline =
        Pipeline::<Still>::new(&plan, &topology, &[&REFERENCE], &mut Region::new(&mut memory))
            .unwrap();
    pipeline.set_stall_timeout(Ticks(1));
    let frames = if is_slow() { 100 } else { 2_000 };
    std::thread::scope(|scope| {
        let _stop = pipeline.stop_on_drop();
        scope.spawn(|| pipeline.run_core(CoreId(0)));
        for _ in 0..frames {
            // Much later than the core was last at work, and no time passes while it is.
            CLOCK.fetch_add(1_000, Ordering::Relaxed);
            let polled = scope.spawn(|| pipeline.poll(Wait::Forever).map(|frame| frame.id()));
            pipeline.acquire(Admission::Block(Wait::Forever)).unwrap().submit().unwrap();
            polled.join().unwrap().unwrap();
        }
    });
}

#[cfg(feature = "check-kernels")]
#[test]
fn a_kernel_that_writes_other_bytes_is_named() {
    static IDLE: KernelTable = faulty(|_, _, _| ());
    let differs = RunError::Differs { path: Path::Reference, layer: 0 };
    assert_eq!(failure_of(&IDLE, Ticks::NEVER, || ()), [differs; 4]);
}

#[test]
fn a_core_can_feed_the_pipeline_it_computes_for() {
    for own in [0, 1] {
        feed_beside(4, &OwnedPlan::new(3, &[(2, &[1]), (2, &[1])]), CoreId(own), 200);
    }
    // A follower feeds, too.
    feed_beside(4, &OwnedPlan::new(3, &[(4, &[2])]), CoreId(1), 200);
}

/// Streams frames on the thread of core `own`, which works for the pipeline as well.
fn feed_beside(layers: u16, plan: &OwnedPlan, own: CoreId, frames: u32) {
    let (mut sent, mut seen) = (0, 0);
    with_pipeline(layers, plan, &machine(2), &REFERENCE, |pipeline| {
        std::thread::scope(|scope| {
            scope.spawn(|| pipeline.run_core(CoreId(1 - own.0)));
            let fed = pipeline.run_core_beside(own, || {
                while sent < frames
                    && let Ok(mut frame) = pipeline.acquire(Admission::Block(Wait::Never))
                {
                    frame.input(0).unwrap().copy_from_slice(&codes(sent));
                    assert_eq!(frame.submit(), Ok(FrameId(sent)));
                    sent += 1;
                }
                while let Ok(output) = pipeline.poll(Wait::Never) {
                    let expected = codes(seen).map(|code| code.wrapping_add(layers as i8));
                    assert_eq!(output.output(0).unwrap(), expected, "frame {seen}");
                    seen += 1;
                }
                if seen == frames {
                    pipeline.stop();
                }
                Hosted::now().after(Ticks(Hosted::tick_hz() / 1000))
            });
            assert_eq!(fed, Ok(()));
        });
    });
    assert_eq!(seen, frames);
}

#[test]
fn a_frame_that_waits_for_a_free_core_is_late() {
    const HELD_UP: Duration = Duration::from_millis(20);
    let plan = OwnedPlan::new(1, &[(1, &[1])]);
    let stats = with_pipeline(1, &plan, &machine(1), &REFERENCE, |pipeline| {
        let mut calls = 0;
        // The core is idle before the first frame is sent, and kept from it afterwards.
        let beside = || {
            std::thread::sleep(HELD_UP);
            calls += 1;
            match calls {
                1 => {
                    submit(&pipeline, Admission::Block(Wait::Never), 0);
                    std::thread::sleep(HELD_UP);
                }
                _ => pipeline.stop(),
            }
            Ticks::NEVER
        };
        assert_eq!(pipeline.run_core_beside(CoreId(0), beside), Ok(()));
        pipeline.team_stats(0).unwrap()
    });
    let held_up = Ticks(HELD_UP.as_nanos() as u64);
    assert_eq!(stats.frames, 1);
    assert!(stats.late >= held_up, "{stats:?}");
    assert!(stats.starved >= stats.late.after(held_up), "{stats:?}");
}

#[test]
fn what_the_machine_or_program_lacks_is_named() {
    let chain = Chain::new(2);
    let model = chain.model();
    let plan = OwnedPlan::new(1, &[(2, &[2])]);
    let plan = plan.check(&model);
    let mut memory = memory::<Hosted>(&plan);
    let all = memory.len();
    let mut make = |cores, kernels: &[&'static KernelTable], bytes| {
        let topology = machine(cores).topology().unwrap();
        let mut region = Region::new(&mut memory[..bytes]);
        Pipeline::<Hosted>::new(&plan, &topology, kernels, &mut region).map(|_| ()).unwrap_err()
    };
    let error = make(1, &[&REFERENCE], 0);
    let cluster = pipeit_rt::topology::ClusterId(0);
    let lacking = PlanError::TooManyCores { cluster, asked: 2, present: 1 };
    assert_eq!(error, PipelineError::Plan(lacking));
    assert_eq!(make(2, &[], all), PipelineError::PathNotLinked { path: Path::Reference });
    static NOTHING: KernelTable = KernelTable::empty(Path::Reference, || true);
    let lacking = PipelineError::NoKernel { path: Path::Reference, layer: 0 };
    assert_eq!(make(2, &[&NOTHING], all), lacking);
    assert!(matches!(make(2, &[&REFERENCE], 64), PipelineError::Memory(_)));
}

#[test]
fn a_core_without_the_path_is_named() {
    static UNSUPPORTED: KernelTable =
        KernelTable { supported: || false, ..faulty(pipeit_rt::kernels::reference::lookup) };
    let plan = OwnedPlan::new(1, &[(1, &[1])]);
    with_pipeline(1, &plan, &machine(1), &UNSUPPORTED, |pipeline| {
        let lacking = RunError::PathNotSupported { core: CoreId(0), path: Path::Reference };
        assert_eq!(pipeline.run_core(CoreId(0)), Err(lacking));
        assert_eq!(pipeline.poll(Wait::Forever).unwrap_err(), CallError::Failed(lacking));
    });
}
