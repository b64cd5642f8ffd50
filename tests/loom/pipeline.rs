//! Slots through admission, cores and the sink: none lost, repeated, reordered or shared.

use core::mem::MaybeUninit;
use std::vec::Vec;

use super::network::OneLayer;
use super::platform::{CORRECT, Wfe, spawn};
use super::{Watched, check, lend};
use crate::kernels::reference::Lookup;
use crate::kernels::{Io, KernelTable, Path};
use crate::pipeline::{Admission, CallError, InputFrame, OutputFrame, Pipeline, Wait};
use crate::platform::Platform;
use crate::platform::hosted::Hosted;
use crate::region::Region;
use crate::topology::{CoreId, Topology};
use crate::weights::Weights;

/// Most slots of a model.
const SLOTS: usize = 2;
/// Where in a frame's input, and in its output, the number of its slot is; the frame's own
/// number is in front. The last row, so that it is in the share of the last member.
const TAG: usize = 7;

loom::lazy_static! {
    /// Stand for the two halves of every slot's contents.
    static ref CONTENTS: [[Watched; 2]; SLOTS] =
        core::array::from_fn(|_| core::array::from_fn(|_| Watched::new()));
}

/// Stands for a kernel: each of the halves it has a share of counts up by one.
fn count_up(_: &Lookup, _: &Weights<'_>, io: &Io<'_>) {
    let [input] = io.inputs.as_slice() else { return };
    let contents = &CONTENTS[input.pixel(3, 0).get(1) as usize];
    for (y, half) in [(0, 0), (3, 1)] {
        for (cell, code) in io.output.pixel(y, 0).iter().zip(input.pixel(y, 0).iter()) {
            cell.set(code);
        }
        if io.output.rows().contains(&y) {
            contents[half].set(contents[half].get() + 1);
        }
    }
}

static KERNELS: KernelTable =
    KernelTable { lookup: Some(count_up), ..KernelTable::empty(Path::Reference, || true) };

/// Gives `body` a pipeline of one stage and one layer, with empty slots that are numbered.
fn with_pipeline<P: Platform>(
    slots: u8,
    cores: u8,
    body: impl FnOnce(&'static Pipeline<'static, P>),
) {
    lend(OneLayer::new(cores), |layer| {
        lend(layer.model(), |model| {
            lend(layer.plan(model, slots), |plan| {
                let bytes = Pipeline::<P>::memory_bytes(plan.demand());
                let memory: &mut [MaybeUninit<u8>] =
                    Vec::leak(std::vec![MaybeUninit::uninit(); bytes]);
                let start = memory.as_mut_ptr();
                let topology = Topology::new(&[cores]).unwrap();
                let pipeline =
                    Pipeline::<P>::new(plan, &topology, &[&KERNELS], &mut Region::new(memory));
                lend(pipeline.unwrap(), |pipeline| {
                    number_slots(pipeline, slots);
                    body(pipeline);
                });
                // SAFETY: leaked above with this length, and what was made from it is gone.
                drop(unsafe { Vec::from_raw_parts(start, bytes, bytes) });
            });
        });
    });
}

fn number_slots<P: Platform>(pipeline: &Pipeline<'_, P>, slots: u8) {
    let free = |_| pipeline.acquire(Admission::Block(Wait::Never)).unwrap();
    let mut frames: Vec<_> = (0..slots).map(free).collect();
    for (tag, frame) in (0..).zip(&mut frames) {
        frame.input(0).unwrap()[TAG] = tag;
    }
}

/// Fills and submits frame `number`.
fn submit<P: Platform>(mut frame: InputFrame<'_, '_, P>, number: u32) {
    let input = frame.input(0).unwrap();
    input[0] = number as i8;
    CONTENTS[input[TAG] as usize].iter().for_each(|half| half.set(number));
    assert_eq!(frame.submit().unwrap().0, number);
}

/// Checks a result, gives its slot back, and returns its number.
fn take<P: Platform>(frame: OutputFrame<'_, '_, P>) -> u32 {
    let (output, number) = (frame.output(0).unwrap(), frame.id().0);
    assert_eq!(output[0], number as i8);
    for half in &CONTENTS[output[TAG] as usize] {
        assert_eq!(half.get(), number + 1);
    }
    frame.release();
    number
}

/// Runs all cores beside `body`, which the pipeline is stopped after.
fn beside_cores<P: Platform>(
    slots: u8,
    cores: u8,
    body: impl FnOnce(&'static Pipeline<'static, P>),
) {
    with_pipeline::<P>(slots, cores, |pipeline| {
        let run = |core: u8| {
            spawn(usize::from(core) + 1, move || pipeline.run_core(CoreId(core)).unwrap())
        };
        let cores: Vec<_> = (0..cores).map(run).collect();
        body(pipeline);
        pipeline.stop();
        cores.into_iter().for_each(|core| core.join().unwrap());
    });
}

const BLOCK: Admission = Admission::Block(Wait::Forever);

/// All slots are filled, then emptied, then the next frames follow.
fn frames_pass<P: Platform>(slots: u8, cores: u8, frames: u32) {
    beside_cores::<P>(slots, cores, |pipeline| {
        let (mut sent, mut seen) = (0, 0);
        while seen < frames {
            while sent < frames && sent < seen + u32::from(slots) {
                submit(pipeline.acquire(BLOCK).unwrap(), sent);
                sent += 1;
            }
            assert_eq!(take(pipeline.poll(Wait::Forever).unwrap()), seen);
            seen += 1;
        }
    });
}

/// A thread of its own submits; admission holds it back while the slot is in use.
fn source_and_sink<P: Platform>() {
    beside_cores::<P>(1, 1, |pipeline| {
        let source = spawn(2, || {
            (0..2).for_each(|number| submit(pipeline.acquire(BLOCK).unwrap(), number));
        });
        assert_eq!(take(pipeline.poll(Wait::Forever).unwrap()), 0);
        assert_eq!(take(pipeline.poll(Wait::Forever).unwrap()), 1);
        source.join().unwrap();
    });
}

/// Dropping the oldest frame against the core that takes it: exactly one of them has it.
fn drop_against_pop<P: Platform>(slots: u8) {
    beside_cores::<P>(slots, 1, |pipeline| {
        let mut sent = u32::from(slots);
        (0..sent).for_each(|number| submit(pipeline.acquire(BLOCK).unwrap(), number));
        match pipeline.acquire(Admission::DropOldest(Wait::Never)) {
            Ok(frame) => {
                submit(frame, sent);
                sent += 1;
            }
            Err(error) => assert_eq!(error, CallError::TimedOut),
        }
        let dropped = pipeline.dropped();
        assert_eq!(sent, u32::from(slots) + dropped);
        let seen: Vec<_> =
            (dropped..sent).map(|_| take(pipeline.poll(Wait::Forever).unwrap())).collect();
        assert!(seen.is_sorted() && seen.contains(&(sent - 1)), "{seen:?}");
        assert_eq!(pipeline.poll(Wait::Never).unwrap_err(), CallError::TimedOut);
        // Every slot is free again.
        let free: Vec<_> =
            (0..slots).map(|_| pipeline.acquire(Admission::Block(Wait::Never)).unwrap()).collect();
        drop(free);
    });
}

/// Whoever waits when the pipeline is stopped is woken.
fn a_stop_wakes<P: Platform>() {
    with_pipeline::<P>(1, 1, |pipeline| {
        let core = spawn(1, || pipeline.run_core(CoreId(0)).unwrap());
        let sink = spawn(2, || {
            assert_eq!(pipeline.poll(Wait::Forever).unwrap_err(), CallError::Stopped);
        });
        pipeline.stop();
        sink.join().unwrap();
        core.join().unwrap();
    });
}

/// A drain waits for the frame under way, which can still be polled.
fn a_drain_keeps_frames<P: Platform>() {
    beside_cores::<P>(1, 1, |pipeline| {
        submit(pipeline.acquire(BLOCK).unwrap(), 0);
        pipeline.drain(Wait::Forever).unwrap();
        assert_eq!(take(pipeline.poll(Wait::Never).unwrap()), 0);
        assert_eq!(pipeline.acquire(BLOCK).unwrap_err(), CallError::Stopped);
    });
}

#[test]
fn parking_frames_pass() {
    check(Some(3), || frames_pass::<Hosted>(1, 1, 2));
    check(Some(3), || frames_pass::<Hosted>(2, 1, 2));
}

#[test]
fn parking_team_of_two() {
    check(Some(2), || frames_pass::<Hosted>(1, 2, 1));
}

#[test]
fn parking_source_and_sink() {
    check(Some(2), source_and_sink::<Hosted>);
}

#[test]
fn parking_drop_against_pop() {
    check(Some(3), || drop_against_pop::<Hosted>(1));
    check(Some(3), || drop_against_pop::<Hosted>(2));
}

#[test]
fn parking_stop_and_drain() {
    check(Some(3), a_stop_wakes::<Hosted>);
    check(Some(3), a_drain_keeps_frames::<Hosted>);
}

#[test]
fn event_register_frames_pass() {
    check(Some(2), || frames_pass::<Wfe<CORRECT>>(1, 1, 2));
    check(Some(2), || frames_pass::<Wfe<CORRECT>>(2, 1, 2));
}

#[test]
fn event_register_drop_against_pop() {
    check(Some(2), || drop_against_pop::<Wfe<CORRECT>>(1));
    check(Some(2), || drop_against_pop::<Wfe<CORRECT>>(2));
}

#[test]
fn event_register_stop_and_drain() {
    check(Some(2), a_stop_wakes::<Wfe<CORRECT>>);
    check(Some(2), a_drain_keeps_frames::<Wfe<CORRECT>>);
}
