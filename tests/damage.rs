//! A damaged artefact is refused, or runs without a fault.
//!
//! The artefact is small enough for every byte: a convolution, an addition and a maximum over
//! tensors that are parts of another, and a matrix, in two stages of which one has a team of
//! two. A test of the tool writes it and keeps it up to date.
//!
//! A sample of the damage is for Miri, which sees what a program does wrong unnoticed:
//! `MIRIFLAGS=-Zmiri-disable-isolation cargo +nightly miri test --test damage`
#![cfg(feature = "std")]

use std::sync::LazyLock;

use pipeit_rt::artefact::{ArtefactError, Header, sign};
use pipeit_rt::kernels::{KNOWN, OPERATORS, REFERENCE};
use pipeit_rt::pipeline::PipelineError;
use pipeit_rt::platform::hosted::{HostCluster, Hosted, Machine};
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::{Admission, Artefact, Pipeline, Plan, Region, Wait};

const TINY: Bytes = Bytes(*include_bytes!("data/tiny.pipeit"));

/// An artefact where the runtime wants it.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Bytes([u8; include_bytes!("data/tiny.pipeit").len()]);

/// Memory for a pipeline. What damage makes of its size is refused above that.
const PIPELINE_BYTES: usize = 256 << 10;
/// Far more than a frame takes, emulated or interpreted.
const SECONDS: u64 = 300;

/// Uninitialised memory: the spare capacity.
fn memory(bytes: usize) -> Vec<u8> {
    Vec::with_capacity(bytes)
}

/// Hands the artefact in `bytes` to `use_it`.
fn open<R>(bytes: &[u8], use_it: impl FnOnce(&Artefact<'_>) -> R) -> Result<R, ArtefactError> {
    let mut tables = memory(Header::read(bytes)?.table_bytes());
    let artefact = Artefact::open(bytes, &mut Region::new(tables.spare_capacity_mut()))?;
    Ok(use_it(&artefact))
}

/// All outputs of a frame through `plan`.
fn run(plan: &Plan<'_>, inputs: &[u8]) -> Result<Vec<u8>, PipelineError> {
    static CPU: LazyLock<usize> = LazyLock::new(|| Machine::detect().clusters[0].cpus[0]);
    let cluster = |name, cores| HostCluster::new(name, vec![*CPU; cores]);
    let machine = Machine { clusters: vec![cluster("big", 2), cluster("little", 1)] };
    let topology = machine.topology().unwrap();
    let mut memory = memory(PIPELINE_BYTES);
    let mut region = Region::new(memory.spare_capacity_mut());
    let mut pipeline = Pipeline::<Hosted>::new(plan, &topology, &[&REFERENCE], &mut region)?;
    pipeline.set_stall_timeout(Ticks(SECONDS * Hosted::tick_hz()));
    let core = |core| pipeline.run_core(core).expect("a core that works");
    let body = || {
        let _stop = pipeline.stop_on_drop();
        let mut frame = pipeline.acquire(Admission::Block(Wait::Never)).expect("a slot");
        let mut codes = inputs.iter().map(|&code| code.cast_signed()).cycle();
        for index in 0..plan.model().inputs.len() {
            frame.input(index).expect("an input").fill_with(|| codes.next().unwrap_or(0));
        }
        frame.submit().expect("a pipeline that runs");
        let deadline = Hosted::now().after(Ticks(SECONDS * Hosted::tick_hz()));
        let outputs = pipeline.poll(Wait::Until(deadline)).expect("a frame");
        let codes = (0..).map_while(|index| outputs.output(index));
        codes.flatten().map(|code| code.cast_unsigned()).collect()
    };
    Ok(machine.run(core, body))
}

/// Which of a number of steps are taken: fewer where they take long.
fn step(interpreted: usize, emulated: usize) -> usize {
    if cfg!(miri) {
        interpreted
    } else if std::env::var_os("PIPEIT_EMULATED").is_some() {
        emulated
    } else {
        1
    }
}

/// The artefact with one byte changed in each way that is tried: each bit, and all.
fn damaged(step: usize) -> impl Iterator<Item = (usize, Bytes)> {
    let masks = (0..8).map(|bit| 1 << bit).chain([0xff]);
    let changes = (0..TINY.0.len()).flat_map(move |at| masks.clone().map(move |mask| (at, mask)));
    changes.step_by(step).map(|(at, mask)| {
        let mut bytes = TINY;
        bytes.0[at] ^= mask;
        (at, bytes)
    })
}

#[test]
fn undamaged_it_gives_its_golden_outputs() {
    let outputs = open(&TINY.0, |artefact| {
        let goldens: Vec<_> = artefact.goldens.iter().collect();
        assert_eq!((artefact.plans.len(), goldens.len()), (1, 1));
        let (inputs, expected) = goldens[0];
        assert_eq!(run(&artefact.plans[0], inputs).as_deref(), Ok(expected));
    });
    assert_eq!(outputs, Ok(()));
}

#[test]
fn an_operator_that_the_program_lacks_is_named() {
    let mut tables = memory(Header::read(&TINY.0).unwrap().table_bytes());
    let mut open = |known| {
        let mut region = Region::new(tables.spare_capacity_mut());
        Artefact::open_with(&TINY.0, known, &mut region).map(drop)
    };
    assert_eq!(open(KNOWN), Ok(()));
    // The first layer is a convolution.
    assert_eq!(open(&[OPERATORS.add]), Err(ArtefactError::Operator { number: 0 }));
}

#[test]
fn every_damaged_byte_is_noticed() {
    for (at, bytes) in damaged(step(41, 3)) {
        assert!(open(&bytes.0, |_| ()).is_err(), "byte {at}");
    }
}

#[test]
fn wherever_it_is_cut_off_it_is_noticed() {
    for len in (0..TINY.0.len()).step_by(step(41, 3)) {
        assert!(open(&TINY.0[..len], |_| ()).is_err(), "{len} bytes");
    }
}

#[test]
fn damaged_and_signed_anew_it_is_refused_or_runs() {
    let (mut refused, mut ran) = (0, 0);
    for (_, mut bytes) in damaged(step(61, 11)) {
        sign(&mut bytes.0);
        let outputs = open(&bytes.0, |artefact| {
            let plan = artefact.plans.first()?;
            let inputs = artefact.goldens.iter().next().map_or(&[0][..], |(inputs, _)| inputs);
            run(plan, inputs).ok()
        });
        *(if matches!(outputs, Ok(Some(_))) { &mut ran } else { &mut refused }) += 1;
    }
    println!("{} bytes: {refused} times refused, {ran} times run", TINY.0.len());
    assert!(refused > 0 && ran > 0);
}
