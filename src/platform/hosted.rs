//! Ordinary machines: a core is a thread, pinned where the system allows it.
#![forbid(unsafe_code)]

use core::cell::Cell;
use core::time::Duration;
use std::string::{String, ToString};
use std::sync::{LazyLock, PoisonError};
use std::time::Instant;
use std::vec::Vec;
use std::{fs, thread, thread_local};

pub use super::pages::prefer_large_pages;
use super::{Event, Platform, Ticks};
use crate::sync::atomic::{AtomicU32, Ordering};
use crate::sync::{Condvar, Mutex, seq_cst_in_models};
use crate::topology::{CoreId, MAX_CLUSTERS, MAX_CORES, TooManyCores, Topology};

/// The threads of this process as cores.
#[derive(Debug)]
pub struct Hosted;

/// Gives the CPU to another thread, because the holder of a lock may be waiting for it.
#[derive(Debug)]
pub struct Yield;

impl spin::RelaxStrategy for Yield {
    fn relax() {
        thread::yield_now();
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

thread_local! {
    /// By how much the core this thread stands for is slower, in thousandths of its time.
    static EXTRA_PERMILLE: Cell<u64> = const { Cell::new(0) };
    /// Whether other threads of this process may be on the same CPU.
    static SHARES_CPU: Cell<bool> = const { Cell::new(true) };
}

impl Platform for Hosted {
    type Relax = Yield;
    type Event = ParkingEvent;

    fn now() -> Ticks {
        Ticks(u64::try_from(START.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    fn tick_hz() -> u64 {
        1_000_000_000
    }

    fn after_layer(_layer: u16, started: Ticks) {
        let extra = EXTRA_PERMILLE.get();
        if extra > 0 {
            let now = Self::now();
            let rest = now.since(started).0.saturating_mul(extra) / 1000;
            let end = now.after(Ticks(rest));
            while Self::now() < end {
                core::hint::spin_loop();
            }
        }
    }
}

/// How long a waiter spins before it parks: a little more than waking a thread takes. Not at
/// all in models, which know no time.
const SPIN: Duration = Duration::from_micros(if cfg!(loom) { 0 } else { 20 });
/// Looks at the count before the first look at the clock, which takes longer than what most
/// waits are for, and between two of them. One in models, where more would see the same.
const LOOKS_PER_TIME: u32 = if cfg!(loom) { 1 } else { 32 };

/// An event whose waiters spin for a moment, then park.
#[derive(Debug)]
pub struct ParkingEvent {
    count: AtomicU32,
    parked: AtomicU32,
    lock: Mutex<()>,
    wake: Condvar,
}

impl ParkingEvent {
    /// Looks at the count for a moment: whether it is no longer `seen`.
    fn changes(&self, seen: u32) -> bool {
        (0..LOOKS_PER_TIME).any(|_| {
            let changed = self.count() != seen;
            if !changed {
                core::hint::spin_loop();
            }
            changed
        })
    }
}

impl Event for ParkingEvent {
    fn new() -> Self {
        Self {
            count: AtomicU32::new(0),
            parked: AtomicU32::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
        }
    }

    fn count(&self) -> u32 {
        self.count.load(Ordering::Acquire)
    }

    fn signal(&self) {
        // Sequentially consistent with `wait`: either this sees the waiter parked, or the
        // waiter sees the new count before it parks.
        self.count.fetch_add(1, Ordering::SeqCst);
        seq_cst_in_models();
        if self.parked.load(Ordering::SeqCst) > 0 {
            drop(self.lock.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_all();
        }
    }

    fn wait(&self, seen: u32, deadline: impl FnOnce() -> Option<Ticks>) -> Option<()> {
        if self.changes(seen) {
            return Some(());
        }
        let deadline = deadline()?;
        let spin_end = Hosted::now().after(Ticks(SPIN.as_nanos() as u64)).min(deadline);
        while Hosted::now() < spin_end {
            if self.changes(seen) {
                return Some(());
            }
            // Only to threads of ours: another program would take a whole time slice, while a
            // parked thread runs as soon as it is woken.
            if SHARES_CPU.get() {
                thread::yield_now();
            }
        }
        let mut guard = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.fetch_add(1, Ordering::SeqCst);
        seq_cst_in_models();
        while self.count.load(Ordering::SeqCst) == seen {
            let now = Hosted::now();
            if now >= deadline {
                break;
            }
            let left = Duration::from_nanos(deadline.since(now).0);
            let woken = self.wake.wait_timeout(guard, left).unwrap_or_else(PoisonError::into_inner);
            guard = woken.0;
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
        Some(())
    }
}

/// A cluster of this machine, or one that stands for a cluster of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCluster {
    /// Its name.
    pub name: String,
    /// The operating system's numbers of its CPUs.
    pub cpus: Vec<usize>,
    /// Time a core takes for what it does, in thousandths; above 1000 emulates a slower one.
    pub slowdown_permille: u32,
}

impl HostCluster {
    /// The cluster `name` of `cpus`, at full speed.
    #[must_use]
    pub fn new(name: &str, cpus: Vec<usize>) -> Self {
        Self { name: name.to_string(), cpus, slowdown_permille: 1000 }
    }
}

/// The clusters of a hosted machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// In the order of their [`ClusterId`](crate::topology::ClusterId).
    pub clusters: Vec<HostCluster>,
}

impl Machine {
    /// The CPUs this process may use, a cluster for each kind: by the capacity that Linux
    /// states on big.LITTLE machines, strongest first, otherwise one cluster.
    #[must_use]
    pub fn detect() -> Self {
        let mut kinds: Vec<(u64, Vec<usize>)> = Vec::new();
        for cpu in allowed_cpus().into_iter().take(MAX_CORES) {
            let file = std::format!("/sys/devices/system/cpu/cpu{cpu}/cpu_capacity");
            let read = fs::read_to_string(file).ok();
            let capacity = read.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
            match kinds.iter_mut().find(|(kind, _)| *kind == capacity) {
                Some((_, cpus)) => cpus.push(cpu),
                None => kinds.push((capacity, std::vec![cpu])),
            }
        }
        kinds.sort_by_key(|&(capacity, _)| core::cmp::Reverse(capacity));
        let names: &[&str] = match kinds.len() {
            1 => &["cpu"],
            2 => &["big", "little"],
            _ => &["big", "middle", "little", "c3", "c4", "c5", "c6", "c7"],
        };
        let named = names.iter().zip(kinds).take(MAX_CLUSTERS);
        Self { clusters: named.map(|(name, (_, cpus))| HostCluster::new(name, cpus)).collect() }
    }

    /// The clusters as the runtime sees them.
    ///
    /// # Errors
    ///
    /// Too many clusters or cores.
    pub fn topology(&self) -> Result<Topology, TooManyCores> {
        let cores: Result<Vec<u8>, _> =
            self.clusters.iter().map(|cluster| u8::try_from(cluster.cpus.len())).collect();
        Topology::new(&cores.map_err(|_| TooManyCores)?)
    }

    /// Runs `core` once per core, each on a thread of its own pinned to its CPU, and `body`
    /// on the calling thread; returns `body`'s result when all have ended. A panic of `core`
    /// ends only that core: its pipeline knows.
    pub fn run<R>(&self, core: impl Fn(CoreId) + Sync, body: impl FnOnce() -> R) -> R {
        let core = &core;
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let cpus = self.clusters.iter().flat_map(|cluster| {
                cluster.cpus.iter().map(|&cpu| (cpu, cluster.slowdown_permille))
            });
            for (id, (cpu, permille)) in (0u8..).map(CoreId).zip(cpus.clone()) {
                let shares_cpu = cpus.clone().filter(|&(other, _)| other == cpu).count() > 1;
                threads.push(scope.spawn(move || {
                    pin(cpu);
                    SHARES_CPU.set(shares_cpu);
                    EXTRA_PERMILLE.set(u64::from(permille.saturating_sub(1000)));
                    core(id);
                }));
            }
            let result = body();
            for thread in threads {
                // The message of a panic has been printed where it happened.
                let _ = thread.join();
            }
            result
        })
    }
}

#[cfg(target_os = "linux")]
fn allowed_cpus() -> Vec<usize> {
    use rustix::thread::{CpuSet, sched_getaffinity};
    let set = sched_getaffinity(None).unwrap_or_else(|_| CpuSet::new());
    let cpus: Vec<_> = (0..CpuSet::MAX_CPU).filter(|&cpu| set.is_set(cpu)).collect();
    if cpus.is_empty() { std::vec![0] } else { cpus }
}

#[cfg(not(target_os = "linux"))]
fn allowed_cpus() -> Vec<usize> {
    (0..thread::available_parallelism().map_or(1, core::num::NonZero::get)).collect()
}

/// Keeps the calling thread on `cpu`; without effect where the system refuses.
#[cfg(target_os = "linux")]
fn pin(cpu: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};
    if cpu < CpuSet::MAX_CPU {
        let mut set = CpuSet::new();
        set.set(cpu);
        // A container may forbid it; the thread then runs where the system likes.
        let _ = sched_setaffinity(None, &set);
    }
}

#[cfg(not(target_os = "linux"))]
fn pin(_cpu: usize) {}
