//! What C programs do wrong is answered with a status, and does no harm.

#![allow(clippy::multiple_unsafe_ops_per_block, reason = "calls in a row, as C makes them")]

use std::ffi::CStr;
use std::mem::MaybeUninit;
use std::ptr::{null, null_mut};
use std::thread;

use pipeit_capi::*;

/// Two stages on two cores of the first cluster and one of the second.
const TINY: Aligned = Aligned(*include_bytes!("../../tests/data/tiny.pipeit"));
const CLUSTERS: [u8; 2] = [2, 1];
const SECOND_NS: u64 = 1_000_000_000;

#[derive(Clone)]
#[repr(C, align(64))]
struct Aligned([u8; include_bytes!("../../tests/data/tiny.pipeit").len()]);

fn ram_bytes(artefact: &[u8]) -> Result<usize, Status> {
    let mut bytes = 0;
    // SAFETY: a slice, and a place for the result.
    match unsafe { pipeit_ram_bytes(artefact.as_ptr().cast(), artefact.len(), &mut bytes) } {
        Status::Ok => Ok(bytes),
        error => Err(error),
    }
}

fn ram() -> Vec<MaybeUninit<u8>> {
    vec![MaybeUninit::uninit(); ram_bytes(&TINY.0).unwrap()]
}

fn config(artefact: &[u8], ram: &mut [MaybeUninit<u8>]) -> Config {
    Config {
        artefact: artefact.as_ptr().cast(),
        artefact_bytes: artefact.len(),
        ram: ram.as_mut_ptr().cast(),
        ram_bytes: ram.len(),
        cluster_cores: CLUSTERS.as_ptr(),
        clusters: 2,
        stall_timeout_ns: 0,
    }
}

/// # Safety
///
/// That of `pipeit_open`.
unsafe fn open(config: &Config) -> Result<*mut Session, Status> {
    let mut pipeline = null_mut();
    // SAFETY: the caller's promise.
    match unsafe { pipeit_open(config, &mut pipeline) } {
        Status::Ok => Ok(pipeline),
        error => {
            assert!(pipeline.is_null(), "a failure leaves the pointer as it was");
            Err(error)
        }
    }
}

/// An address that threads share.
#[derive(Clone, Copy)]
struct Shared(*const Session);
// SAFETY: the interface allows calls of all threads.
unsafe impl Send for Shared {}

impl Shared {
    fn get(self) -> *const Session {
        self.0
    }
}

/// Calls `body` beside the cores of an open pipeline.
fn with_cores(body: impl FnOnce(*mut Session)) {
    let artefact = TINY;
    let mut ram = ram();
    // SAFETY: artefact and RAM outlive the pipeline.
    let pipeline = unsafe { open(&config(&artefact.0, &mut ram)) }.unwrap();
    thread::scope(|scope| {
        let shared = Shared(pipeline);
        // SAFETY: open.
        let run = |core| scope.spawn(move || unsafe { pipeit_run_core(shared.get(), core) });
        let cores: Vec<_> = (0..3).map(run).collect();
        body(pipeline);
        // SAFETY: open.
        assert_eq!(unsafe { pipeit_stop(pipeline) }, Status::Ok);
        for core in cores {
            assert_eq!(core.join().unwrap(), Status::Ok);
        }
    });
    // SAFETY: nobody else uses it any more.
    assert_eq!(unsafe { pipeit_close(pipeline) }, Status::Ok);
}

fn acquire(pipeline: *const Session) -> Result<u64, Status> {
    let mut frame = 0;
    // SAFETY: an open pipeline.
    match unsafe { pipeit_acquire(pipeline, SECOND_NS, &mut frame) } {
        Status::Ok => Ok(frame),
        error => Err(error),
    }
}

fn poll(pipeline: *const Session) -> Result<u64, Status> {
    let mut frame = 0;
    // SAFETY: an open pipeline.
    match unsafe { pipeit_poll(pipeline, 60 * SECOND_NS, &mut frame, null_mut()) } {
        Status::Ok => Ok(frame),
        error => Err(error),
    }
}

fn input(pipeline: *const Session, frame: u64, index: u32) -> Result<(*mut i8, usize), Status> {
    let (mut codes, mut count) = (null_mut(), 0);
    // SAFETY: an open pipeline.
    match unsafe { pipeit_input(pipeline, frame, index, &mut codes, &mut count) } {
        Status::Ok => Ok((codes, count)),
        error => Err(error),
    }
}

fn output(pipeline: *const Session, frame: u64, index: u32) -> Result<(*const i8, usize), Status> {
    let (mut codes, mut count) = (null(), 0);
    // SAFETY: an open pipeline.
    match unsafe { pipeit_output(pipeline, frame, index, &mut codes, &mut count) } {
        Status::Ok => Ok((codes, count)),
        error => Err(error),
    }
}

fn submit(pipeline: *const Session, frame: u64) -> Status {
    // SAFETY: an open pipeline.
    unsafe { pipeit_submit(pipeline, frame, null_mut()) }
}

fn release(pipeline: *const Session, frame: u64) -> Status {
    // SAFETY: an open pipeline.
    unsafe { pipeit_release(pipeline, frame) }
}

#[test]
fn null_is_refused_everywhere() {
    const NULL: Status = Status::NullPointer;
    let nobody = null_mut::<Session>();
    // SAFETY: null, or a place for a result.
    unsafe {
        let (mut bytes, mut frame) = (0, 0);
        let (mut place, mut read, mut write, mut count) = (null_mut(), null(), null_mut(), 0);
        let mut port = MaybeUninit::uninit();
        let mut stats = MaybeUninit::uninit();
        let mut failure = MaybeUninit::uninit();
        assert_eq!(pipeit_ram_bytes(null(), 64, &mut bytes), NULL);
        assert_eq!(pipeit_open(null(), &mut place), NULL);
        assert_eq!(pipeit_close(nobody), NULL);
        assert_eq!(pipeit_run_core(nobody, 0), NULL);
        assert_eq!(pipeit_acquire(nobody, 0, &mut frame), NULL);
        assert_eq!(pipeit_acquire_newest(nobody, 0, &mut frame), NULL);
        assert_eq!(pipeit_input(nobody, 0, 0, &mut write, &mut count), NULL);
        assert_eq!(pipeit_submit(nobody, 0, null_mut()), NULL);
        assert_eq!(pipeit_poll(nobody, 0, &mut frame, null_mut()), NULL);
        assert_eq!(pipeit_output(nobody, 0, 0, &mut read, &mut count), NULL);
        assert_eq!(pipeit_release(nobody, 0), NULL);
        assert_eq!(pipeit_drain(nobody, 0), NULL);
        assert_eq!(pipeit_stop(nobody), NULL);
        assert_eq!(pipeit_input_port(nobody, 0, port.as_mut_ptr()), NULL);
        assert_eq!(pipeit_output_port(nobody, 0, port.as_mut_ptr()), NULL);
        assert_eq!(pipeit_stage_stats(nobody, 0, stats.as_mut_ptr()), NULL);
        assert_eq!(pipeit_failure(nobody, failure.as_mut_ptr()), NULL);
    }
    with_cores(|pipeline| {
        let mut count = 0;
        let frame = acquire(pipeline).unwrap();
        // SAFETY: an open pipeline; null, or a place for a result.
        unsafe {
            assert_eq!(pipeit_ram_bytes(TINY.0.as_ptr().cast(), TINY.0.len(), null_mut()), NULL);
            assert_eq!(pipeit_acquire(pipeline, 0, null_mut()), NULL);
            assert_eq!(pipeit_poll(pipeline, 0, null_mut(), null_mut()), NULL);
            assert_eq!(pipeit_input(pipeline, frame, 0, null_mut(), &mut count), NULL);
            assert_eq!(pipeit_output(pipeline, frame, 0, null_mut(), &mut count), NULL);
            assert_eq!(pipeit_input_port(pipeline, 0, null_mut()), NULL);
            assert_eq!(pipeit_stage_stats(pipeline, 0, null_mut()), NULL);
            assert_eq!(pipeit_failure(pipeline, null_mut()), NULL);
        }
        assert_eq!(release(pipeline, frame), Status::Ok);
    });
}

#[test]
fn what_a_pipeline_cannot_be_made_of_is_refused() {
    let artefact = TINY;
    let mut ram = ram();
    let good = config(&artefact.0, &mut ram);
    let refused = |change: fn(&mut Config)| {
        let mut config = good;
        change(&mut config);
        // SAFETY: artefact and RAM outlive the call.
        unsafe { open(&config) }.unwrap_err()
    };
    assert_eq!(refused(|c| c.artefact = null()), Status::NullPointer);
    assert_eq!(refused(|c| c.ram = null_mut()), Status::NullPointer);
    assert_eq!(refused(|c| c.cluster_cores = null()), Status::NullPointer);
    // Short buffers.
    assert_eq!(refused(|c| c.artefact_bytes -= 1), Status::BadArtefact);
    assert_eq!(refused(|c| c.artefact_bytes = 0), Status::BadArtefact);
    assert_eq!(refused(|c| c.ram_bytes = 0), Status::OutOfMemory);
    assert_eq!(refused(|c| c.ram_bytes /= 2), Status::OutOfMemory);
    assert_eq!(refused(|c| c.ram_bytes = usize::MAX), Status::BadMemory);
    assert_eq!(refused(|c| c.ram = c.artefact.cast_mut()), Status::BadMemory);
    // The second cluster's core is missing; there are none; there are too many.
    assert_eq!(refused(|c| c.clusters = 1), Status::NoPlan);
    assert_eq!(refused(|c| c.clusters = 0), Status::BadClusters);
    assert_eq!(refused(|c| c.cluster_cores = [255, 255].as_ptr()), Status::BadClusters);

    for (at, status) in
        [(0, Status::BadArtefact), (8, Status::BadVersion), (100, Status::BadArtefact)]
    {
        let mut damaged = TINY;
        damaged.0[at] ^= 0x40;
        let config = Config { artefact: damaged.0.as_ptr().cast(), ..good };
        // SAFETY: as above.
        assert_eq!(unsafe { open(&config) }, Err(status), "byte {at}");
    }
    let mut bytes = vec![0; TINY.0.len() + 64];
    let start = bytes.as_ptr().align_offset(64) + 1;
    let misaligned = &mut bytes[start..][..TINY.0.len()];
    misaligned.copy_from_slice(&TINY.0);
    let misaligned = Config { artefact: misaligned.as_ptr().cast(), ..good };
    // SAFETY: as above.
    assert_eq!(unsafe { open(&misaligned) }, Err(Status::Misaligned));

    // After all that, the same memory is good for a pipeline.
    // SAFETY: artefact and RAM outlive it.
    let pipeline = unsafe { open(&good) }.unwrap();
    // SAFETY: nobody else uses it.
    assert_eq!(unsafe { pipeit_close(pipeline) }, Status::Ok);
}

#[test]
fn the_memory_told_is_enough_and_all_of_it_is_checked_for() {
    let mut ram = ram();
    let artefact = TINY;
    let all = config(&artefact.0, &mut ram);
    let enough = |bytes| {
        // SAFETY: artefact and RAM outlive the pipeline.
        let pipeline = unsafe { open(&Config { ram_bytes: bytes, ..all }) };
        // SAFETY: nobody else uses it.
        pipeline.is_ok_and(|pipeline| unsafe { pipeit_close(pipeline) } == Status::Ok)
    };
    // The least that is enough; one byte less is refused, not overrun.
    let (mut less, mut more) = (0, all.ram_bytes);
    assert!(enough(more));
    while more - less > 1 {
        let middle = less.midpoint(more);
        if enough(middle) { more = middle } else { less = middle }
    }
    assert!(!enough(more - 1));
}

#[test]
fn frames_are_held_once_and_in_order() {
    with_cores(|pipeline| {
        let frame = acquire(pipeline).unwrap();
        let (codes, count) = input(pipeline, frame, 0).unwrap();
        // SAFETY: the frame's own codes.
        unsafe { codes.write_bytes(0, count) };
        assert_eq!(input(pipeline, frame, 1000), Err(Status::NoSuchIndex));
        assert_eq!(output(pipeline, frame, 0), Err(Status::WrongFrame));
        assert_eq!(submit(pipeline, frame), Status::Ok);
        assert_eq!(submit(pipeline, frame), Status::StaleFrame);
        assert_eq!(input(pipeline, frame, 0), Err(Status::StaleFrame));
        assert_eq!(release(pipeline, frame), Status::StaleFrame);

        let done = poll(pipeline).unwrap();
        assert_ne!(done, frame, "the number of a frame that was held is not used again");
        assert!(output(pipeline, done, 0).unwrap().1 > 0);
        assert_eq!(output(pipeline, done, 1000), Err(Status::NoSuchIndex));
        assert_eq!(input(pipeline, done, 0), Err(Status::WrongFrame));
        assert_eq!(submit(pipeline, done), Status::WrongFrame);
        assert!(output(pipeline, done, 0).is_ok(), "a refused call changes nothing");
        // SAFETY: open; that it is in use is what is tested.
        assert_eq!(unsafe { pipeit_close(pipeline) }, Status::Busy);
        assert_eq!(release(pipeline, done), Status::Ok);
        assert_eq!(release(pipeline, done), Status::StaleFrame);

        for never in [0, u64::MAX, frame ^ 0xff, frame + (1 << 8)] {
            let found = release(pipeline, never);
            assert!(matches!(found, Status::StaleFrame | Status::ForeignFrame), "{found:?}");
        }
        with_cores(|other| {
            let foreign = acquire(other).unwrap();
            assert_eq!(submit(pipeline, foreign), Status::ForeignFrame);
            assert_eq!(release(pipeline, foreign), Status::ForeignFrame);
            assert_eq!(release(other, foreign), Status::Ok);
        });

        // All frames held: there is none left, until one is given back unused.
        let mut held = vec![acquire(pipeline).unwrap()];
        let mut next = 0;
        // SAFETY: open.
        while unsafe { pipeit_acquire(pipeline, 0, &mut next) } == Status::Ok {
            held.push(next);
        }
        // SAFETY: open.
        assert_eq!(unsafe { pipeit_acquire(pipeline, 1000, &mut next) }, Status::TimedOut);
        assert_eq!(release(pipeline, held.pop().unwrap()), Status::Ok);
        held.push(acquire(pipeline).unwrap());
        assert!(held.into_iter().all(|frame| release(pipeline, frame) == Status::Ok));
    });
}

#[test]
fn cores_come_once_and_pipelines_end_once() {
    let artefact = TINY;
    let mut ram = ram();
    with_cores(|pipeline| {
        let frame = acquire(pipeline).unwrap();
        assert_eq!(submit(pipeline, frame), Status::Ok);
        assert_eq!(release(pipeline, poll(pipeline).unwrap()), Status::Ok);
        // SAFETY: open.
        unsafe {
            assert_eq!(pipeit_run_core(pipeline, 0), Status::CoreTaken);
            assert_eq!(pipeit_run_core(pipeline, 3), Status::NoSuchCore);
            assert_eq!(pipeit_run_core(pipeline, 256), Status::NoSuchCore);
            assert_eq!(pipeit_close(pipeline), Status::Busy, "cores are at work");
        }
    });
    // SAFETY: artefact and RAM outlive the pipeline.
    let pipeline = unsafe { open(&config(&artefact.0, &mut ram)) }.unwrap();
    // SAFETY: open, then closed, in memory that is still there.
    unsafe {
        assert_eq!(pipeit_drain(pipeline, 0), Status::Ok);
        assert_eq!(acquire(pipeline), Err(Status::Stopped));
        assert_eq!(pipeit_stop(pipeline), Status::Ok);
        assert_eq!(poll(pipeline), Err(Status::Stopped));
        assert_eq!(pipeit_close(pipeline), Status::Ok);
        assert_eq!(pipeit_close(pipeline), Status::NotOpen);
        assert_eq!(acquire(pipeline), Err(Status::NotOpen));
        assert_eq!(pipeit_run_core(pipeline, 0), Status::NotOpen);
        assert_eq!(pipeit_stop(pipeline.wrapping_byte_add(1)), Status::NotOpen);
    }
}

#[test]
fn a_core_that_never_comes_is_named() {
    let artefact = TINY;
    let mut ram = ram();
    let config = Config { stall_timeout_ns: SECOND_NS / 100, ..config(&artefact.0, &mut ram) };
    // SAFETY: artefact and RAM outlive the pipeline; it is open until it is closed.
    unsafe {
        let pipeline = open(&config).unwrap();
        let mut failure = MaybeUninit::<Failure>::uninit();
        assert_eq!(pipeit_failure(pipeline, failure.as_mut_ptr()), Status::Ok);
        assert_eq!(failure.assume_init().status, Status::Ok);
        assert_eq!(submit(pipeline, acquire(pipeline).unwrap()), Status::Ok);
        assert_eq!(poll(pipeline), Err(Status::Stalled));
        assert_eq!(pipeit_failure(pipeline, failure.as_mut_ptr()), Status::Ok);
        let Failure { status, core, layer } = failure.assume_init();
        assert_eq!((status, core, layer), (Status::Stalled, 0, 0));
        assert_eq!(pipeit_run_core(pipeline, 1), Status::Stalled);
        assert_eq!(pipeit_close(pipeline), Status::Ok);
    }
}

#[test]
fn ports_and_statistics_end_where_they_end() {
    with_cores(|pipeline| {
        let mut port = MaybeUninit::<Port>::uninit();
        let mut stats = MaybeUninit::<Stats>::uninit();
        let frame = acquire(pipeline).unwrap();
        // SAFETY: open; places for the results, which are there when it went well.
        unsafe {
            assert_eq!(pipeit_input_port(pipeline, 0, port.as_mut_ptr()), Status::Ok);
            let Port { height, width, channels, scale, .. } = port.assume_init();
            let count = input(pipeline, frame, 0).unwrap().1;
            assert_eq!((height * width * channels) as usize, count);
            assert!(scale > 0.0);
            assert_eq!(pipeit_input_port(pipeline, 16, port.as_mut_ptr()), Status::NoSuchIndex);
            assert_eq!(pipeit_output_port(pipeline, 16, port.as_mut_ptr()), Status::NoSuchIndex);
            assert_eq!(submit(pipeline, frame), Status::Ok);
            assert_eq!(release(pipeline, poll(pipeline).unwrap()), Status::Ok);
            for stage in [0, 1] {
                assert_eq!(pipeit_stage_stats(pipeline, stage, stats.as_mut_ptr()), Status::Ok);
                assert_eq!(stats.assume_init().frames, 1);
            }
            assert_eq!(pipeit_stage_stats(pipeline, 2, stats.as_mut_ptr()), Status::NoSuchIndex);
        }
    });
}

#[test]
fn every_status_has_words_of_its_own() {
    // SAFETY: they end with a zero byte and are never freed.
    let text = |status| unsafe { CStr::from_ptr(pipeit_status_text(status)) };
    let last = Status::NoSuchIndex as i32;
    let mut texts: Vec<_> = (-1..=last).map(text).collect();
    assert_eq!(text(last + 1), text(-1));
    assert_eq!(text(i32::MAX), text(-1));
    let all = texts.len();
    texts.sort_unstable();
    texts.dedup();
    assert_eq!(texts.len(), all);
    assert_eq!(text(Status::Stalled as i32), c"a core stalled");
}
