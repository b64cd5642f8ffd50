//! Counts the cycles of one inference on one core, and of each of its layers. Where the
//! emulator counts instructions (`-icount shift=0`), those are instructions.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use pipeit_board::{pmu, println, regions};
use pipeit_firmware::{Failure, Noise, Source, finish};
use pipeit_rt::artefact::Header;
use pipeit_rt::platform::baremetal::{BareMetal, WfeEvent, Yield};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::topology::{CoreId, Topology};
use pipeit_rt::{Admission, Artefact, Pipeline, Region, Wait};

include!(concat!(env!("OUT_DIR"), "/network.rs"));

pipeit_board::board!(qemu_virt::BOARD, main);

/// Bare metal that tells the cycles of each layer when asked to.
#[derive(Debug)]
struct Counted;

static TELLS: AtomicBool = AtomicBool::new(false);
/// The count when the layer at work was begun.
static BEGUN: AtomicU64 = AtomicU64::new(0);

impl Platform for Counted {
    type Relax = Yield;
    type Event = WfeEvent;

    fn now() -> Ticks {
        BareMetal::now()
    }

    fn tick_hz() -> u64 {
        BareMetal::tick_hz()
    }

    fn after_layer(layer: u16, _started: Ticks) {
        if TELLS.load(Ordering::Relaxed) {
            let cycles = pmu::cycles().wrapping_sub(BEGUN.load(Ordering::Relaxed));
            println!("layer {layer}: {cycles} cycles");
            BEGUN.store(pmu::cycles(), Ordering::Relaxed);
        }
    }
}

fn main() -> ! {
    finish(count())
}

fn count() -> Result<(), Failure> {
    let mut region = Region::new(regions::take_free().unwrap_or_default());
    let bytes = regions::artefact();
    let length = Header::front(bytes)?.total_bytes as usize;
    let artefact =
        Artefact::open_with(bytes.get(..length).unwrap_or(bytes), OPERATORS, &mut region)?;
    let topology = Topology::new(&[1]).unwrap_or_default();
    let plan = artefact.best_plan(&topology).map_err(Failure::NoPlan)?;
    let pipeline = Pipeline::<Counted>::new(plan, &topology, KERNELS, &mut region)?;

    pmu::start();
    let mut source = Noise::new();
    let mut sent = 0;
    // The frame as a whole first: telling of its layers would count.
    pipeline.run_core_beside(CoreId(0), || {
        if pipeline.poll(Wait::Never).is_ok() && sent == 1 {
            println!("frame: {} cycles", pmu::cycles().wrapping_sub(BEGUN.load(Ordering::Relaxed)));
            TELLS.store(true, Ordering::Relaxed);
        }
        match pipeline.acquire(Admission::Block(Wait::Never)) {
            Ok(_) if sent == 2 => pipeline.stop(),
            Ok(mut frame) => {
                for input in 0.. {
                    let Some(codes) = frame.input(input) else { break };
                    source.fill(artefact.model, input, codes);
                }
                sent += 1;
                BEGUN.store(pmu::cycles(), Ordering::Relaxed);
                let _ = frame.submit();
            }
            Err(_) => {}
        }
        Ticks::NEVER
    })?;
    Ok(())
}
