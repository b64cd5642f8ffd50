//! A firmware that runs a network over all cores of a board, checks it, and tells how it went.
//!
//! 1. starts the cores, those that do not come are named and left out;
//! 2. validates the artefact, linked in or loaded to its address;
//! 3. takes the best plan that fits the cores, and memory for exactly that;
//! 4. runs the golden vectors through it, then frames from a [`Source`]; if asked to, changes to a
//!    better plan where a cluster has slowed for long, and does all that with the next plans, too;
//! 5. prints statistics and a checksum of all outputs; exits with 0, or with the code of the
//!    [`Failure`].
#![no_std]
#![cfg_attr(not(feature = "faults"), forbid(unsafe_code))]

mod arguments;
mod exit;
#[cfg(feature = "faults")]
mod faults;
mod feed;
mod machine;
mod source;
#[cfg(feature = "trace")]
mod trace;

use core::ops::Range;
use core::sync::atomic::{AtomicBool, Ordering};

use pipeit_board::{MAX_CORES, board, cores, println, regions, stack};
use pipeit_rt::artefact::Header;
use pipeit_rt::kernels::{KernelTable, Known};
use pipeit_rt::live::Slowness;
use pipeit_rt::plan::Plan;
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::region::{OutOfMemory, Region};
use pipeit_rt::topology::ClusterId;
use pipeit_rt::{Artefact, Pipeline};

use arguments::Arguments;
pub use exit::Failure;
use feed::Feed;
use machine::{Cores, Machine, ticks};
pub use source::{Noise, Source};

/// Stages that statistics are kept of: every stage has a core.
const MAX_STAGES: usize = MAX_CORES;

/// Longest command line.
const ARGUMENT_BYTES: usize = 512;

/// Runs the network on the frames of `source`: it has no operators but these, which have kernels in
/// these tables.
pub fn run(
    operators: &[Known],
    kernels: &'static [&'static KernelTable],
    source: &mut dyn Source,
) -> ! {
    finish(program(operators, kernels, source))
}

/// Tells how a program went and ends it.
pub fn finish(result: Result<(), Failure>) -> ! {
    match result {
        Ok(()) => end("ok", 0),
        Err(failure) => fail(failure),
    }
}

/// Tells the failure and ends the program; of several cores that call it, one is heard.
fn fail(failure: Failure) -> ! {
    static IS_FAILING: AtomicBool = AtomicBool::new(false);
    if IS_FAILING.swap(true, Ordering::Relaxed) {
        cores::park();
    }
    println!("failed: {failure}");
    let (name, code) = failure.code();
    end(name, code)
}

fn end(name: &str, code: u8) -> ! {
    println!("exit: {name} ({code})");
    pipeit_board::exit(code)
}

fn program(
    operators: &[Known],
    kernels: &'static [&'static KernelTable],
    source: &mut dyn Source,
) -> Result<(), Failure> {
    let mut words = [0; ARGUMENT_BYTES];
    let words = (board().arguments)(&mut words).unwrap_or_default();
    let arguments = Arguments::parse(words, board())?;
    let cores = start_cores(&arguments)?;
    let mut region = memory(&arguments);
    let all = region.left();

    let bytes = regions::artefact();
    let header = Header::front(bytes)?;
    let bytes = bytes.get(..header.total_bytes as usize).unwrap_or(bytes);
    let artefact = Artefact::open_with(bytes, operators, &mut region)?;
    let artefact = region.place(artefact)?;
    let tables = all - region.left();
    let plan = artefact.best_plan(&cores.topology).map_err(Failure::NoPlan)?;
    #[cfg(feature = "trace")]
    println!("trace of artefact {:08x}", header.crc);
    println!(
        "artefact: {} bytes, {} layers, {} plans",
        bytes.len(),
        artefact.model.layers.len(),
        artefact.plans.len()
    );
    print_plan(artefact, plan, false);

    #[cfg(feature = "faults")]
    let kernels = faults::kernels(kernels, &mut region)?;
    #[cfg(feature = "trace")]
    trace::prepare(&mut region)?;
    // Whatever plan comes later has its memory now.
    let several = arguments.plans > 1 || arguments.live_ms > 0;
    let demand = if several { header.demand } else { plan.demand() };
    let needed = Pipeline::<Machine>::memory_bytes(demand);
    let left = region.left();
    let memory = region.into_rest();
    let memory = memory.get_mut(..needed).ok_or(OutOfMemory { needed, left })?;
    println!(
        "memory: tables {tables}, arena {}, all {} of {all} bytes",
        plan.arena_bytes(),
        all - left + needed
    );

    let fitting = artefact.plans.iter().filter(|plan| plan.fits(&cores.topology).is_ok());
    for (turn, plan) in fitting.take(arguments.plans as usize).enumerate() {
        if turn > 0 {
            print_plan(artefact, plan, true);
        }
        let mut feed = Feed::new(artefact, &cores.topology, &mut *source, &arguments);
        let mut next = Some(plan);
        while let Some(plan) = next {
            let mut region = Region::new(memory);
            let mut pipeline = Pipeline::new(plan, &cores.topology, kernels, &mut region)?;
            pipeline.set_stall_timeout(ticks(arguments.stall_ms));
            stream(&pipeline, &cores, &mut feed, &arguments);
            #[cfg(feature = "trace")]
            trace::print(index(artefact, plan), &cores);
            next = feed.change().map(|(plan, slowness)| {
                print_change(artefact, plan, &slowness, &cores);
                plan
            });
        }
        #[cfg(feature = "faults")]
        faults::report();
        let up = (0..MAX_CORES).filter(|&core| cores::is_up(core));
        let used = up.map(stack::high_water).max().unwrap_or(0);
        println!("stack: {used} of {} bytes", stack::STACK_BYTES);
        println!("frames {}, hash {:08x}", arguments.frames, feed.hash());
    }
    Ok(())
}

/// Has all cores work at `pipeline`, until all frames are through or the plan is to change.
fn stream(
    pipeline: &Pipeline<'_, Machine>,
    cores: &Cores,
    feed: &mut Feed<'_>,
    arguments: &Arguments,
) {
    let work = |number| {
        let Some(core) = cores.id(number) else { return };
        #[cfg(feature = "faults")]
        faults::before_work();
        if let Err(error) = pipeline.run_core(core) {
            fail(error.into());
        }
    };
    cores::beside(&work, ticks(arguments.stall_ms), || {
        #[cfg(feature = "faults")]
        faults::before_work();
        // The others may not come back.
        if let Err(failure) = feed.run(pipeline, cores.id(cores::number())) {
            fail(failure);
        }
    });
    report(pipeline, feed);
}

fn start_cores(arguments: &Arguments) -> Result<Cores, Failure> {
    let declared: usize = arguments.clusters.iter().map(|&cores| usize::from(cores)).sum();
    println!("pipeit on {}, from EL{}", board().name, cores::reset_level());
    cores::start(declared, |core, why| println!("core {core} is missing: {why}"));
    let error = arguments::ArgumentError::Value { key: "clusters" };
    let cores = Cores::up(&arguments.clusters).map_err(|_| error)?;
    println!("cores: {} of {declared}", cores.topology.total_cores());
    Ok(cores)
}

fn memory(arguments: &Arguments) -> Region<'static> {
    let free = regions::take_free().unwrap_or_default();
    let len = free.len().min(arguments.ram_bytes as usize);
    Region::new(free.get_mut(..len).unwrap_or_default())
}

fn index(artefact: &Artefact<'static>, plan: &Plan<'static>) -> usize {
    artefact.plans.iter().position(|found| core::ptr::eq(found, plan)).unwrap_or(0)
}

fn print_plan(artefact: &Artefact<'static>, plan: &'static Plan<'static>, is_change: bool) {
    let index = index(artefact, plan);
    let why = if index == 0 || is_change { "" } else { ", those before need more cores" };
    println!("plan {index}: {} slots{why}", plan.needs.slots);
    for (index, stage) in plan.stages.iter().enumerate() {
        print_stage(plan, index, &stage.layers);
    }
}

fn print_stage(plan: &Plan<'_>, index: usize, layers: &Range<u16>) {
    println!("stage {index}: layers {}-{}", layers.start, layers.end.saturating_sub(1));
    for team in plan.teams_of(index) {
        let (first, cores, path) =
            (team.first_core, team.cores, plan.path(team.cluster).map_or("?", |path| path.name()));
        let last = first + cores.saturating_sub(1);
        println!("  cluster {} cores {first}-{last} {path}", team.cluster.0);
    }
}

fn print_change(
    artefact: &Artefact<'static>,
    plan: &'static Plan<'static>,
    slowness: &Slowness,
    cores: &Cores,
) {
    for cluster in (0..cores.topology.clusters() as u8).map(ClusterId) {
        let permille = slowness.permille(cluster);
        println!("cluster {} takes {permille} thousandths of the time planned", cluster.0);
    }
    print_plan(artefact, plan, true);
}

fn report(pipeline: &Pipeline<'_, Machine>, feed: &Feed<'_>) {
    let us = |ticks: Ticks| ticks.0.saturating_mul(1_000_000) / Machine::tick_hz().max(1);
    for (stage, stats) in (0..).map_while(|stage| Some((stage, feed.stats(pipeline, stage)?))) {
        println!(
            "stage {stage}: {} frames, busy {} us, starved {} us",
            stats.frames,
            us(stats.busy),
            us(stats.starved)
        );
    }
}
