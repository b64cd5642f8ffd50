//! What it costs the cores of an ordinary machine to meet: a team's barrier, and the hand-over
//! of a frame from stage to stage.
//!
//! Layers here do next to nothing, so that the time of a frame is that of its meetings. A
//! frame goes round at a time; the first core feeds the pipeline it works for, so that two
//! threads have two CPUs to themselves.
//!
//! What the machine itself takes for a cache line to go from core to core is measured beside it:
//! on a virtual machine that depends on where its CPUs are at the moment.

#[path = "../tests/common/mod.rs"]
#[allow(dead_code)]
mod common;

use std::cell::Cell;
use std::hint::{black_box, spin_loop};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Chain, OwnedPlan, machine, memory};
use criterion::{Criterion, criterion_group, criterion_main};
use pipeit_rt::kernels::REFERENCE;
use pipeit_rt::platform::Ticks;
use pipeit_rt::platform::hosted::Hosted;
use pipeit_rt::queue::CachePadded;
use pipeit_rt::topology::CoreId;
use pipeit_rt::{Admission, Pipeline, Region, Wait};

/// Layers that a team does between two hand-overs.
const LAYERS: u16 = 256;

/// The time of `frames` frames, one after another, through `layers` layers in `stages`.
fn time(layers: u16, stages: &[(u16, &[u8])], frames: u64) -> Duration {
    // Of one row, which one member has: with more, members would wait for lines of the frame, too.
    let chain = Chain::with_rows(layers, 1);
    let model = chain.model();
    let plan = OwnedPlan::new(1, stages);
    let plan = plan.check(&model);
    let machine = machine(plan.teams.iter().map(|team| usize::from(team.cores)).sum());
    let mut memory = memory::<Hosted>(&plan);
    let topology = machine.topology().expect("a machine");
    let mut region = Region::new(&mut memory);
    let pipeline = Pipeline::<Hosted>::new(&plan, &topology, &[&REFERENCE], &mut region);
    let pipeline = pipeline.expect("a pipeline");
    let taken = Mutex::new(Duration::ZERO);
    let feed = |core| {
        let (sent, seen) = (Cell::new(0), Cell::new(0));
        let begun = Cell::new(Instant::now());
        let beside = || {
            // It has been through the first stage, on this core.
            if seen.get() < sent.get() && pipeline.poll(Wait::Forever).is_ok() {
                seen.set(seen.get() + 1);
            }
            match seen.get() {
                // The first finds out whether everybody is there.
                1 => begun.set(Instant::now()),
                all if all > frames => {
                    *taken.lock().expect("no panics") = begun.get().elapsed();
                    pipeline.stop();
                    return Ticks::NEVER;
                }
                _ => {}
            }
            if let Ok(frame) = pipeline.acquire(Admission::Block(Wait::Never))
                && black_box(frame.submit()).is_ok()
            {
                sent.set(sent.get() + 1);
            }
            Ticks::NEVER
        };
        pipeline.run_core_beside(core, beside)
    };
    let core = |core| {
        let _ = if core == CoreId(0) { feed(core) } else { pipeline.run_core(core) };
    };
    machine.run(core, || ());
    taken.into_inner().expect("no panics")
}

/// The time of `exchanges` of two cores that answer each other, each in a line of its own.
fn exchange(exchanges: u64) -> Duration {
    let flags = [const { CachePadded(AtomicU64::new(0)) }; 2];
    let taken = Mutex::new(Duration::ZERO);
    machine(2).run(
        |core| {
            let (own, other) = (&flags[usize::from(core.0)], &flags[usize::from(1 - core.0)]);
            // The first finds out whether the other is there.
            let mut begun = Instant::now();
            for round in 1..=exchanges + 1 {
                own.store(round, Ordering::Release);
                while other.load(Ordering::Acquire) < round {
                    spin_loop();
                }
                if round == 1 {
                    begun = Instant::now();
                }
            }
            *taken.lock().expect("no panics") = begun.elapsed();
        },
        || (),
    );
    taken.into_inner().expect("no panics")
}

/// The difference of two times, each the least of a few, so that what other programs take is
/// left out.
fn more(
    count: u64,
    longer: impl Fn(u64) -> Duration,
    shorter: impl Fn(u64) -> Duration,
) -> Duration {
    let least = |time: &dyn Fn(u64) -> Duration| (0..3).map(|_| time(count)).min();
    let longer = least(&longer).unwrap_or_default();
    longer.saturating_sub(least(&shorter).unwrap_or_default())
}

fn meetings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("meeting");
    group.sample_size(10).warm_up_time(Duration::from_millis(500));
    group.bench_function("two flags answer each other", |bencher| {
        bencher
            .iter_custom(|exchanges| (0..3).map(|_| exchange(exchanges)).min().unwrap_or_default());
    });
    group.bench_function("barrier of two cores", |bencher| {
        bencher.iter_custom(|barriers| {
            let frames = barriers.div_ceil(LAYERS.into());
            let team = |frames| time(LAYERS, &[(LAYERS, &[2])], frames);
            let alone = |frames| time(LAYERS, &[(LAYERS, &[1])], frames);
            more(frames, team, alone).mul_f64(barriers as f64 / (frames * u64::from(LAYERS)) as f64)
        });
    });
    group.bench_function("hand-over to another core", |bencher| {
        // A frame goes to the second core and comes back: two hand-overs.
        bencher.iter_custom(|handovers| {
            let there = |frames| time(2, &[(1, &[1]), (1, &[1])], frames);
            let here = |frames| time(2, &[(2, &[1])], frames);
            more(handovers, there, here) / 2
        });
    });
    group.finish();
}

criterion_group!(benches, meetings);
criterion_main!(benches);
