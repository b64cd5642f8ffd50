//! The smallest firmware: one frame through the network that is linked in.
#![no_std]
#![no_main]

use core::mem::MaybeUninit;

use pipeit_board::{board, cores, exit, println};
use pipeit_rt::platform::baremetal::BareMetal;
use pipeit_rt::topology::{CoreId, Topology};
use pipeit_rt::{Admission, Artefact, Pipeline, Region, Wait};
use spin::mutex::{SpinMutex, SpinMutexGuard};
use spin::once::Once;

include!(concat!(env!("OUT_DIR"), "/network.rs"));

board!(qemu_virt::BOARD, main);

/// Cores that compute, of each cluster: all but core 0, which feeds them.
const CLUSTERS: [u8; 2] = [3, 4];

/// What the network takes, known at compile time.
const RAM_BYTES: usize = match Pipeline::<BareMetal>::ram_bytes(NETWORK) {
    Ok(bytes) => bytes,
    Err(_) => panic!("the network is not an artefact of this version"),
};
static RAM: SpinMutex<[MaybeUninit<u8>; RAM_BYTES]> =
    SpinMutex::new([MaybeUninit::uninit(); RAM_BYTES]);
static PIPELINE: Once<Pipeline<'static, BareMetal>> = Once::new();

fn main() -> ! {
    let mut region = Region::new(&mut SpinMutexGuard::leak(RAM.lock())[..]);
    let topology = Topology::new(&CLUSTERS).expect("the runtime allows for these cores");
    let artefact = Artefact::open_with(NETWORK, OPERATORS, &mut region);
    let artefact = artefact.expect("the artefact is sound");
    let plan = artefact.best_plan(&topology).expect("a plan fits these cores");
    let pipeline = Pipeline::new(plan, &topology, KERNELS, &mut region).expect("all is there");
    let pipeline = PIPELINE.call_once(|| pipeline);

    cores::start(8, |core, why| println!("core {core} is missing: {why}"));
    cores::run_on_others(&|core| {
        let result = PIPELINE.wait().run_core(CoreId(core as u8 - 1));
        result.expect("the core works until it is stopped");
    });

    let (inputs, expected) = artefact.goldens.frame(0).expect("there is a golden vector");
    let mut frame = pipeline.acquire(Admission::Block(Wait::Forever)).expect("a slot is free");
    let codes = frame.input(0).expect("there is an input");
    codes.iter_mut().zip(inputs).for_each(|(code, &byte)| *code = byte as i8);
    frame.submit().expect("the pipeline is open");
    let done = pipeline.poll(Wait::Forever).expect("the frame comes back");
    let codes = done.output(0).expect("there is an output");
    let is_met = codes.iter().zip(expected).all(|(&code, &byte)| code as u8 == byte);
    println!("{RAM_BYTES} bytes of RAM, golden output {}", if is_met { "met" } else { "NOT met" });
    exit(u8::from(!is_met))
}
