//! The C interface: `include/pipeit.h`, where ownership and threads are explained.
//!
//! A pipeline lives in memory of the caller. What C gets is its address, and for each frame a
//! number that names the pipeline, an entry of its table of frames, and the use of that entry:
//!
//! ```text
//!  63      48 47                     8 7      0
//! | pipeline |          use           | entry |      0 is no frame
//! ```
#![cfg_attr(target_os = "none", no_std)]
#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod status;

use core::ffi::c_void;
use core::mem::{MaybeUninit, offset_of};
use core::slice;
use core::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use pipeit_rt::artefact::Header;
use pipeit_rt::kernels;
use pipeit_rt::model::{Port as ModelPort, Tensor};
use pipeit_rt::pipeline::{InputFrame, OutputFrame, RunError};
use pipeit_rt::plan::MAX_SLOTS;
#[cfg(target_os = "none")]
use pipeit_rt::platform::baremetal::{BareMetal as Machine, start_event_stream};
#[cfg(not(target_os = "none"))]
use pipeit_rt::platform::hosted::Hosted as Machine;
use pipeit_rt::platform::{Platform, Ticks};
use pipeit_rt::region::OutOfMemory;
use pipeit_rt::topology::{CoreId, MAX_CLUSTERS, Topology};
use pipeit_rt::{Admission, Artefact, Pipeline, Region, Wait};
use spin::mutex::SpinMutex;

pub use crate::status::{Status, pipeit_status_text};

/// What a pipeline is made of.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// The artefact, at a multiple of 64.
    pub artefact: *const c_void,
    /// Bytes from there that may be read; what lies behind the artefact is not looked at.
    pub artefact_bytes: usize,
    /// Memory for the pipeline, of any alignment and content.
    pub ram: *mut c_void,
    /// Its bytes, at least as many as `pipeit_ram_bytes` tells.
    pub ram_bytes: usize,
    /// The cores that are there, of each cluster; copied.
    pub cluster_cores: *const u8,
    /// How many clusters these are.
    pub clusters: u32,
    /// Most nanoseconds for a core's share of a layer, after which it counts as stalled; 0 for
    /// a minute.
    pub stall_timeout_ns: u64,
}

/// An input or output of the network. Its codes are one byte each, signed, in the order row,
/// column, channel; a code stands for `scale * (code - zero_point)`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Port {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Channels.
    pub channels: u32,
    /// Real value of one step.
    pub scale: f32,
    /// The code of real zero.
    pub zero_point: i32,
}

/// What a stage has done so far, summed over its teams.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Stats {
    /// Frames finished.
    pub frames: u64,
    /// Nanoseconds spent on frames.
    pub busy_ns: u64,
    /// Nanoseconds spent waiting for frames.
    pub starved_ns: u64,
}

/// Which core failed, and at which layer.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Failure {
    /// How.
    pub status: Status,
    /// The core.
    pub core: u32,
    /// The layer; 0 where the failure has none.
    pub layer: u32,
}

/// A frame that C holds.
#[derive(Debug)]
enum Held {
    Input(InputFrame<'static, 'static, Machine>),
    Output(OutputFrame<'static, 'static, Machine>),
}

/// A place for a frame that C holds.
#[derive(Debug)]
struct Entry {
    /// Counts the frames that were held here; the number of the one that is.
    uses: u64,
    held: Option<Held>,
}

/// [`Session::state`] as long as the pipeline is open.
const OPEN: u32 = u32::from_le_bytes(*b"PIPE");
/// Bits of a frame's number for its entry, and for its use.
const ENTRY_BITS: u32 = 8;
const USE_BITS: u32 = 40;

/// A network at work.
#[derive(Debug)]
pub struct Session {
    /// [`OPEN`], or anything else.
    state: AtomicU32,
    /// Cores in `pipeit_run_core`.
    at_work: AtomicU32,
    id: u16,
    pipeline: &'static Pipeline<'static, Machine>,
    entries: SpinMutex<&'static mut [Entry], <Machine as Platform>::Relax>,
}

const _: () = {
    const fn is_shared_by_threads<T: Send + Sync>() {}
    is_shared_by_threads::<Session>();
    assert!(MAX_SLOTS <= 1 << ENTRY_BITS);
};

impl Session {
    fn new(
        pipeline: &'static Pipeline<'static, Machine>,
        region: &mut Region<'static>,
    ) -> Result<Self, OutOfMemory> {
        static NEXT_ID: AtomicU16 = AtomicU16::new(1);
        let slots = pipeline.plan().needs.slots.into();
        Ok(Self {
            state: AtomicU32::new(OPEN),
            at_work: AtomicU32::new(0),
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            pipeline,
            entries: SpinMutex::new(
                region.slice(slots, |_| Ok::<_, OutOfMemory>(Entry { uses: 0, held: None }))?,
            ),
        })
    }

    /// Takes note of a frame that C holds from now on; its number.
    fn hold(&self, frame: Held) -> Result<u64, Status> {
        let mut entries = self.entries.lock();
        let mut places = (0u64..).zip(entries.iter_mut());
        // There are as many as frames.
        let free = places.find(|(_, entry)| entry.held.is_none());
        let (index, entry) = free.ok_or(Status::Busy)?;
        entry.uses = entry.uses.wrapping_add(1) % (1 << USE_BITS);
        entry.held = Some(frame);
        Ok(u64::from(self.id) << (USE_BITS + ENTRY_BITS) | entry.uses << ENTRY_BITS | index)
    }

    /// The number of an empty frame.
    fn acquire(&self, admission: Admission) -> Result<u64, Status> {
        self.hold(Held::Input(self.pipeline.acquire(admission)?))
    }

    /// Gives the entry of `frame` to `act`, which may take the frame out.
    fn with<R>(
        &self,
        frame: u64,
        act: impl FnOnce(&mut Option<Held>) -> Result<R, Status>,
    ) -> Result<R, Status> {
        if frame >> (USE_BITS + ENTRY_BITS) != self.id.into() {
            let none = frame == 0;
            return Err(if none { Status::StaleFrame } else { Status::ForeignFrame });
        }
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(frame as usize % (1 << ENTRY_BITS));
        let uses = frame >> ENTRY_BITS & ((1 << USE_BITS) - 1);
        let entry = entry.filter(|entry| entry.uses == uses && entry.held.is_some());
        act(&mut entry.ok_or(Status::StaleFrame)?.held)
    }

    /// A port of the network and its tensor.
    fn port(&self, ports: &[ModelPort], index: u32) -> Result<Port, Status> {
        let find =
            |port: &ModelPort| Some((*port, self.pipeline.plan().model().tensor(port.tensor)?));
        let found: Option<(ModelPort, &Tensor)> = ports.get(index as usize).and_then(find);
        let (port, tensor) = found.ok_or(Status::NoSuchIndex)?;
        let hwc = tensor.layout.hwc;
        Ok(Port {
            height: hwc.h,
            width: hwc.w,
            channels: hwc.c,
            scale: port.scale,
            zero_point: port.zero_point.into(),
        })
    }
}

const NS_PER_S: u64 = 1_000_000_000;

/// `ns` nanoseconds in ticks, rounded up.
fn ticks(ns: u64) -> Ticks {
    let hz = Machine::tick_hz();
    let (s, ns) = (ns / NS_PER_S, ns % NS_PER_S);
    Ticks(s.saturating_mul(hz).saturating_add(ns.saturating_mul(hz).div_ceil(NS_PER_S)))
}

/// `ticks` in nanoseconds.
fn nanoseconds(ticks: Ticks) -> u64 {
    let hz = Machine::tick_hz().max(1);
    let (s, rest) = (ticks.0 / hz, ticks.0 % hz);
    s.saturating_mul(NS_PER_S).saturating_add(rest.saturating_mul(NS_PER_S) / hz)
}

fn wait(timeout_ns: u64) -> Wait {
    match timeout_ns {
        0 => Wait::Never,
        u64::MAX => Wait::Forever,
        ns => Wait::Until(Machine::now().after(ticks(ns))),
    }
}

fn status(call: impl FnOnce() -> Result<(), Status>) -> Status {
    call().err().unwrap_or(Status::Ok)
}

/// The bytes at `start`.
///
/// # Safety
///
/// They may be read, and nobody writes them for `'a`.
unsafe fn bytes<'a>(start: *const u8, len: usize) -> Result<&'a [u8], Status> {
    if start.is_null() {
        return Err(Status::NullPointer);
    }
    if isize::try_from(len).is_err() || start.addr().checked_add(len).is_none() {
        return Err(Status::BadMemory);
    }
    // SAFETY: not null; the caller's promise; no longer than a slice may be.
    Ok(unsafe { slice::from_raw_parts(start, len) })
}

/// The artefact at the beginning of the bytes at `start`.
///
/// # Safety
///
/// As for [`bytes`].
unsafe fn artefact<'a>(start: *const c_void, len: usize) -> Result<&'a [u8], Status> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { bytes(start.cast::<u8>(), len) }?;
    let total = Header::front(bytes)?.total_bytes as usize;
    bytes.get(..total).ok_or(Status::BadArtefact)
}

/// A place for a result.
///
/// # Safety
///
/// It may be written, unless it is null.
unsafe fn place<'a, T>(place: *mut T) -> Result<&'a mut MaybeUninit<T>, Status> {
    // SAFETY: the caller's promise; what is written may be uninitialised before.
    unsafe { place.cast::<MaybeUninit<T>>().as_mut() }.ok_or(Status::NullPointer)
}

/// The pipeline at an address.
///
/// # Safety
///
/// Null, or the address of a pipeline that is open or was closed last, in memory that may be
/// read; nobody closes it meanwhile.
unsafe fn session<'a>(session: *const Session) -> Result<&'a Session, Status> {
    if session.is_null() {
        return Err(Status::NullPointer);
    }
    let state = session.wrapping_byte_add(offset_of!(Session, state)).cast::<AtomicU32>();
    // SAFETY: the state, alone, may be read as the caller promises.
    if !session.is_aligned() || unsafe { &*state }.load(Ordering::Acquire) != OPEN {
        return Err(Status::NotOpen);
    }
    // SAFETY: it is open, thus all of it is there.
    Ok(unsafe { &*session })
}

/// Has `act` use the pipeline at an address.
///
/// # Safety
///
/// As for [`session`].
unsafe fn on(
    pipeline: *const Session,
    act: impl FnOnce(&'static Session) -> Result<(), Status>,
) -> Status {
    // SAFETY: the caller's promise.
    status(|| act(unsafe { session(pipeline) }?))
}

/// Has `act` use the pipeline at an address; its result goes to `to`.
///
/// # Safety
///
/// As for [`session`] and [`place`].
unsafe fn answer<T>(
    pipeline: *const Session,
    to: *mut T,
    act: impl FnOnce(&'static Session) -> Result<T, Status>,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, to) = (unsafe { session(pipeline) }?, unsafe { place(to) }?);
        to.write(act(session)?);
        Ok(())
    })
}

/// Has `act` find codes of a pipeline at an address; where they are and how many is the result.
///
/// # Safety
///
/// As for [`session`] and [`place`].
unsafe fn buffer<T>(
    pipeline: *const Session,
    codes: *mut T,
    count: *mut usize,
    act: impl FnOnce(&'static Session) -> Result<(T, usize), Status>,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (session, codes) = (unsafe { session(pipeline) }?, unsafe { place(codes) }?);
        // SAFETY: the caller's promise.
        let count = unsafe { place(count) }?;
        let (start, len) = act(session)?;
        codes.write(start);
        count.write(len);
        Ok(())
    })
}

/// Bytes of RAM for a pipeline of this artefact, whichever of its plans is chosen. Looks at
/// the artefact's header only.
///
/// # Safety
///
/// `artefact_bytes` bytes can be read at `artefact`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_ram_bytes(
    artefact: *const c_void,
    artefact_bytes: usize,
    ram_bytes: *mut usize,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let (artefact, place) =
            (unsafe { self::artefact(artefact, artefact_bytes) }?, unsafe { place(ram_bytes) }?);
        let own = [
            size_of::<Pipeline<'_, Machine>>() + align_of::<Pipeline<'_, Machine>>(),
            size_of::<Session>() + align_of::<Session>(),
            size_of::<Entry>() * MAX_SLOTS + align_of::<Entry>(),
        ];
        let bytes = Pipeline::<Machine>::ram_bytes(artefact)?;
        place.write(own.iter().fold(bytes, |sum, own| sum.saturating_add(*own)));
        Ok(())
    })
}

/// Validates the artefact and makes a pipeline of the best of its plans that fits the cores
/// there are. Its address goes to `pipeline`; it lies in the RAM of `config`, which is the
/// pipeline's until `pipeit_close`, or the caller's again at once when this fails.
///
/// # Safety
///
/// What `config` points to is there, and stays as the header demands.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_open(config: *const Config, pipeline: *mut *mut Session) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let config = unsafe { config.as_ref() }.ok_or(Status::NullPointer)?;
        // SAFETY: the caller's promise.
        let place = unsafe { place(pipeline) }?;
        // SAFETY: the caller's promise; the artefact is not written until it is closed.
        let artefact = unsafe { artefact(config.artefact, config.artefact_bytes) }?;
        // SAFETY: the caller's promise.
        let cores = unsafe { bytes(config.cluster_cores, config.clusters as usize) }?;
        // SAFETY: the caller's promise; looked at for its place only.
        let ram = unsafe { bytes(config.ram.cast::<u8>(), config.ram_bytes) }?.as_ptr_range();
        let whole = artefact.as_ptr_range();
        if ram.start < whole.end && whole.start < ram.end {
            return Err(Status::BadMemory);
        }
        if cores.is_empty() || cores.len() > MAX_CLUSTERS {
            return Err(Status::BadClusters);
        }
        let topology = Topology::new(cores).map_err(|_| Status::BadClusters)?;

        let ram = config.ram.cast::<MaybeUninit<u8>>();
        // SAFETY: the RAM is the pipeline's alone until it is closed; it is apart from the
        // artefact, and as long as it was found possible above.
        let ram = unsafe { slice::from_raw_parts_mut(ram, config.ram_bytes) };
        let mut region = Region::new(ram);
        let artefact = Artefact::open(artefact, &mut region)?;
        let plan = artefact.best_plan(&topology).map_err(|_| Status::NoPlan)?;
        let mut pipeline = Pipeline::new(plan, &topology, kernels::ALL, &mut region)?;
        if config.stall_timeout_ns != 0 {
            pipeline.set_stall_timeout(ticks(config.stall_timeout_ns));
        }
        let pipeline = region.place(pipeline)?;
        let session = Session::new(pipeline, &mut region)?;
        place.write((&raw const *region.place(session)?).cast_mut());
        Ok(())
    })
}

/// Ends a pipeline; artefact and RAM are the caller's again. `PIPEIT_STATUS_BUSY` while a core is
/// in `pipeit_run_core` or a frame is held.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null; no other call for it is under way.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_close(pipeline: *mut Session) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session(pipeline) }?;
        let is_held = session.entries.lock().iter().any(|entry| entry.held.is_some());
        // Acquire: all that its cores did is done.
        if is_held || session.at_work.load(Ordering::Acquire) != 0 {
            return Err(Status::Busy);
        }
        session.state.store(0, Ordering::Release);
        Ok(())
    })
}

/// Works for core `core`, counted through all clusters, until the pipeline stops. Every core of
/// the machine calls this once, on a thread of its own; those that the plan leaves out return
/// at once.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_run_core(pipeline: *const Session, core: u32) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        on(pipeline, |session| {
            let core = u8::try_from(core).map_err(|_| Status::NoSuchCore)?;
            #[cfg(target_os = "none")]
            start_event_stream(EVENT_STREAM_HZ);
            session.at_work.fetch_add(1, Ordering::Relaxed);
            let result = session.pipeline.run_core(CoreId(core));
            // Release: pairs with `pipeit_close`.
            session.at_work.fetch_sub(1, Ordering::Release);
            Ok(result?)
        })
    }
}

/// How often a core that waits looks around at least.
#[cfg(target_os = "none")]
const EVENT_STREAM_HZ: u32 = 10_000;

/// Takes an empty frame, its number to `frame`. Waits at most `timeout_ns` nanoseconds for one:
/// 0 for not at all, `UINT64_MAX` for as long as it takes.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_acquire(
    pipeline: *const Session,
    timeout_ns: u64,
    frame: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, frame, |session| session.acquire(Admission::Block(wait(timeout_ns))))
    }
}

/// As `pipeit_acquire`, but rather than wait it drops the oldest frame that no core has begun.
/// Frames that are polled later show a gap in their sequence numbers.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_acquire_newest(
    pipeline: *const Session,
    timeout_ns: u64,
    frame: *mut u64,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, frame, |session| session.acquire(Admission::DropOldest(wait(timeout_ns))))
    }
}

/// Tells where the codes of input `index` of a frame go, and how many there are. They hold what
/// an earlier frame left there.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_input(
    pipeline: *const Session,
    frame: u64,
    index: u32,
    codes: *mut *mut i8,
    count: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        buffer(pipeline, codes, count, |session| {
            session.with(frame, |held| {
                let Some(Held::Input(frame)) = held else { return Err(Status::WrongFrame) };
                let input = frame.input(index as usize).ok_or(Status::NoSuchIndex)?;
                Ok((input.as_mut_ptr(), input.len()))
            })
        })
    }
}

/// Sends a frame on its way; it is no longer held, even when the pipeline has stopped. Its
/// sequence number goes to `sequence`, unless that is null.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_submit(
    pipeline: *const Session,
    frame: u64,
    sequence: *mut u32,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session(pipeline) }?;
        let frame = session.with(frame, |held| match held.take() {
            Some(Held::Input(frame)) => Ok(frame),
            other => {
                *held = other;
                Err(Status::WrongFrame)
            }
        })?;
        let id = frame.submit()?;
        // SAFETY: the caller's promise.
        if let Ok(place) = unsafe { place(sequence) } {
            place.write(id.0);
        }
        Ok(())
    })
}

/// Takes the next finished frame, in the order of submission. Waits as `pipeit_acquire` does.
/// Its sequence number goes to `sequence`, unless that is null.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_poll(
    pipeline: *const Session,
    timeout_ns: u64,
    frame: *mut u64,
    sequence: *mut u32,
) -> Status {
    status(|| {
        // SAFETY: the caller's promise.
        let session = unsafe { session(pipeline) }?;
        // SAFETY: the caller's promise.
        let place_of_frame = unsafe { place(frame) }?;
        let finished = session.pipeline.poll(wait(timeout_ns))?;
        let id = finished.id();
        place_of_frame.write(session.hold(Held::Output(finished))?);
        // SAFETY: the caller's promise.
        if let Ok(place) = unsafe { place(sequence) } {
            place.write(id.0);
        }
        Ok(())
    })
}

/// Tells where the codes of output `index` of a frame are, and how many.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_output(
    pipeline: *const Session,
    frame: u64,
    index: u32,
    codes: *mut *const i8,
    count: *mut usize,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        buffer(pipeline, codes, count, |session| {
            session.with(frame, |held| {
                let Some(Held::Output(frame)) = held else { return Err(Status::WrongFrame) };
                let output = frame.output(index as usize).ok_or(Status::NoSuchIndex)?;
                Ok((output.as_ptr(), output.len()))
            })
        })
    }
}

/// Gives a frame back: one that was polled, or one that was acquired and is not needed.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_release(pipeline: *const Session, frame: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        on(pipeline, |session| {
            drop(session.with(frame, |held| Ok(held.take()))?);
            Ok(())
        })
    }
}

/// Admits no more frames, and waits as `pipeit_acquire` does until all that were submitted have
/// left the last stage; they can still be polled.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_drain(pipeline: *const Session, timeout_ns: u64) -> Status {
    // SAFETY: the caller's promise.
    unsafe { on(pipeline, |session| Ok(session.pipeline.drain(wait(timeout_ns))?)) }
}

/// Ends the work: every `pipeit_run_core` returns after the stage it is at, if not before, and
/// calls that wait return. Frames under way are lost.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_stop(pipeline: *const Session) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        on(pipeline, |session| {
            session.pipeline.stop();
            Ok(())
        })
    }
}

/// Describes input `index` of the network.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_input_port(
    pipeline: *const Session,
    index: u32,
    port: *mut Port,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, port, |session| {
            session.port(session.pipeline.plan().model().inputs, index)
        })
    }
}

/// Describes output `index` of the network.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_output_port(
    pipeline: *const Session,
    index: u32,
    port: *mut Port,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, port, |session| {
            session.port(session.pipeline.plan().model().outputs, index)
        })
    }
}

/// Tells what stage `stage` has done so far. `PIPEIT_STATUS_NO_SUCH_INDEX` behind the last stage.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_stage_stats(
    pipeline: *const Session,
    stage: u32,
    stats: *mut Stats,
) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, stats, |session| {
            let found = session.pipeline.stats(stage as usize).ok_or(Status::NoSuchIndex)?;
            Ok(Stats {
                frames: found.frames,
                busy_ns: nanoseconds(found.busy),
                starved_ns: nanoseconds(found.starved),
            })
        })
    }
}

/// Tells which core made the pipeline fail. The status there is `PIPEIT_STATUS_OK` if none did.
///
/// # Safety
///
/// `pipeline` is what `pipeit_open` gave, or null.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pipeit_failure(pipeline: *const Session, failure: *mut Failure) -> Status {
    // SAFETY: the caller's promise.
    unsafe {
        answer(pipeline, failure, |session| {
            let failure = session.pipeline.failure();
            let (core, layer) = match failure {
                Some(RunError::Stalled { core, layer } | RunError::Died { core, layer }) => {
                    (core, layer)
                }
                Some(RunError::PathNotSupported { core, .. }) => (core, 0),
                _ => (CoreId(0), 0),
            };
            let status = failure.map_or(Status::Ok, Status::from);
            Ok(Failure { status, core: core.0.into(), layer: layer.into() })
        })
    }
}

/// Nothing that the library does once a pipeline is open can panic. A trap ends the program.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: traps.
    unsafe { core::arch::asm!("udf #0", options(noreturn, nomem, nostack)) }
}
