//! The cores of one team on one layer: shares, shared memory, barrier.
//!
//! Members run the same steps, each on its own share of the output, with a barrier after
//! every step. The first member, the *leader*, brings the frame: it shares the frame's slot
//! with the others before the first step and has it to itself again after the last.

use core::cell::Cell;
use core::marker::PhantomData;
use core::ptr::{self, NonNull};
use core::slice;

use crate::platform::{Event, Platform, Ticks};
use crate::queue::CachePadded;
use crate::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use crate::tensor::{Hwc, Region, Split};

/// The part of an `output` that core `member` of `cores` computes: rows, or channels where
/// that leaves a largest part that is smaller by at least an eighth. Channels that lie in one
/// cache line are written by several cores, by turns, and half of what they are computed from
/// comes from other cores. Parts are disjoint and cover the output; some may be empty.
///
/// The runtime, the cost model and the simulator all use this function.
#[must_use]
pub fn share(output: Hwc, split: Split, member: usize, cores: usize) -> Region {
    let (h, c) = (output.h as usize, output.c as usize);
    let cores = cores.max(1);
    let part = |n: usize| {
        let at = |i: usize| n.saturating_mul(i).checked_div(cores).unwrap_or(0);
        at(member.min(cores))..at(member.saturating_add(1).min(cores))
    };
    if shares_rows(output, split, cores) {
        return Region { rows: part(h), channels: 0..c };
    }
    let step = step(output, split);
    let steps = part(c.div_ceil(step));
    let end = |i: usize| i.saturating_mul(step).min(c);
    Region { rows: 0..h, channels: end(steps.start)..end(steps.end) }
}

/// Whether a [`share`] of `output` is rows.
#[inline(never)]
pub(crate) fn shares_rows(output: Hwc, split: Split, cores: usize) -> bool {
    let (h, c) = (output.h as usize, output.c as usize);
    let cores = cores.max(1);
    let step = step(output, split);
    // Largest parts, as fractions of the output: rows / h against channels / c. Each has 32 bits.
    let by_rows = h.div_ceil(cores).wrapping_mul(c);
    let by_channels = c.div_ceil(step).div_ceil(cores).wrapping_mul(step).min(c);
    by_channels.wrapping_mul(h).wrapping_mul(8) > by_rows.wrapping_mul(7)
}

/// Channels that stay together.
fn step(output: Hwc, split: Split) -> usize {
    match split {
        Split::Rows => (output.c as usize).max(1),
        Split::RowsOrChannels { step } => usize::from(step.max(1)),
    }
}

/// Bytes that several cores use, each its own share at a time.
#[derive(Debug)]
pub(crate) struct SharedBytes<'a> {
    start: NonNull<i8>,
    len: usize,
    memory: PhantomData<&'a mut [i8]>,
}

// SAFETY: the bytes are reached through `cells` only, whose contract excludes races.
unsafe impl Send for SharedBytes<'_> {}
// SAFETY: as above.
unsafe impl Sync for SharedBytes<'_> {}

impl<'a> SharedBytes<'a> {
    /// Shares `bytes` for as long as they are borrowed.
    pub(crate) fn new(bytes: &'a mut [i8]) -> Self {
        let len = bytes.len();
        Self { start: NonNull::from(bytes).cast(), len, memory: PhantomData }
    }

    /// The `len` bytes from `offset`; none when that is not all inside.
    ///
    /// # Safety
    ///
    /// While the cells are in use, no other core may write a byte that is accessed through
    /// them, nor access one that is written through them.
    unsafe fn cells(&self, offset: usize, len: usize) -> &'a [Cell<i8>] {
        if offset.checked_add(len).is_none_or(|end| end > self.len) {
            return &[];
        }
        // SAFETY: `offset` is inside the allocation that `new` was given.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: the bytes lie inside that allocation, which is borrowed for `'a`; they are
        // initialised, and `Cell<i8>` has the layout of `i8`. Cells may alias; that no other
        // core races is the caller's promise.
        unsafe { slice::from_raw_parts(start.as_ptr().cast::<Cell<i8>>(), len) }
    }
}

/// Where a tensor lies during a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Place {
    /// In the frame's slot, from this byte.
    Slot(usize),
    /// In the team's arena, from this byte.
    Arena(usize),
}

/// A team at work: its memory, its barrier, and the frame it has.
pub(crate) struct Team<'a, P: Platform> {
    arena: SharedBytes<'a>,
    slot_len: usize,
    frame: CachePadded<Frame<P>>,
    /// For each member an event that is signalled when it arrives at a barrier.
    arrivals: &'a [P::Event],
    /// Whether events have been signalled for no frame and no barrier.
    woken: AtomicBool,
}

/// What the leader tells the other members, in one cache line.
struct Frame<P: Platform> {
    /// The slot of the current frame, of `slot_len` bytes.
    slot: AtomicPtr<i8>,
    /// Signalled with each frame.
    begun: P::Event,
}

/// Events to set aside for the arrivals of `cores` members, so that they fill cache lines.
pub(crate) const fn arrivals<P: Platform>(cores: usize) -> usize {
    match align_of::<CachePadded<u8>>().checked_div(size_of::<P::Event>()) {
        None | Some(0) => cores,
        Some(in_line) => cores.next_multiple_of(in_line),
    }
}

impl<'a, P: Platform> Team<'a, P> {
    /// A team of as many members as `arrivals`, the leader first.
    pub(crate) fn new(arena: &'a mut [i8], slot_len: usize, arrivals: &'a [P::Event]) -> Self {
        Self {
            arena: SharedBytes::new(arena),
            slot_len,
            frame: CachePadded(Frame { slot: AtomicPtr::default(), begun: P::Event::new() }),
            arrivals,
            woken: AtomicBool::new(false),
        }
    }

    /// Number of cores.
    pub(crate) fn cores(&self) -> usize {
        self.arrivals.len()
    }

    /// Leader: shares `slot` with the team and sets the other members off.
    pub(crate) fn begin(&self, slot: &mut [i8]) {
        debug_assert_eq!(slot.len(), self.slot_len, "slots of one pipeline are equally long");
        self.frame.slot.store(slot.as_mut_ptr(), Ordering::Relaxed);
        // Who sees the new count (in `next`) sees the slot and all that is in it.
        self.frame.begun.signal();
    }

    /// Other members: waits for the frame after `done` frames. Whenever there is none, `idle`
    /// says until when to wait for it; false when it says not to.
    pub(crate) fn next(&self, done: u32, mut idle: impl FnMut() -> Option<Ticks>) -> bool {
        loop {
            if self.frame.begun.count() != done {
                return !self.is_woken();
            }
            if self.frame.begun.wait(done, &mut idle).is_none() {
                return false;
            }
        }
    }

    /// Wakes all members that wait: there will be no other frame, and no barrier is passed.
    pub(crate) fn wake(&self) {
        // Release: who sees it sees what led to it. Who sees a count that is signalled here sees it.
        self.woken.store(true, Ordering::Release);
        self.frame.begun.signal();
        self.arrivals.iter().for_each(Event::signal);
    }

    fn is_woken(&self) -> bool {
        self.woken.load(Ordering::Acquire)
    }

    /// The `len` bytes at `place`; none when they are not all inside.
    ///
    /// # Safety
    ///
    /// The caller is a member between [`begin`](Self::begin) or [`next`](Self::next) and the
    /// frame's last [`barrier`](Self::barrier), and until the next barrier no other member
    /// writes a byte that is accessed through the cells, or accesses one written through them.
    pub(crate) unsafe fn cells(&self, place: Place, len: usize) -> &[Cell<i8>] {
        match place {
            // SAFETY: the caller's promise; only this team uses its arena.
            Place::Arena(offset) => unsafe { self.arena.cells(offset, len) },
            Place::Slot(offset) => {
                let Some(start) = NonNull::new(self.frame.slot.load(Ordering::Relaxed)) else {
                    return &[];
                };
                let slot = SharedBytes { start, len: self.slot_len, memory: PhantomData };
                // SAFETY: the caller's promise. The leader holds the slot exclusively for the
                // whole frame, so that nobody outside the team reaches it.
                unsafe { slot.cells(offset, len) }
            }
        }
    }

    /// Waits until all members have arrived; what they wrote before is then visible to all.
    /// None when `watch` says so before that, which otherwise gives the time to call it again, or
    /// when the team [wakes](Self::wake).
    ///
    /// Everyone looks at everyone. The arrivals lie side by side: who signals his own has the
    /// cache line then, and with it those of the others.
    pub(crate) fn barrier(&self, member: usize, watch: impl Fn() -> Option<Ticks>) -> Option<()> {
        let own = self.arrivals.get(member)?;
        if self.cores() == 1 {
            return Some(());
        }
        let passed = own.count();
        // Who sees the new count (below) sees what this member wrote.
        own.signal();
        for other in self.arrivals.iter().filter(|other| !ptr::eq(*other, own)) {
            // Nobody is behind by more than one, since this member passed the last barrier only
            // when all had arrived there.
            while other.count() == passed {
                other.wait(passed, || if self.is_woken() { None } else { watch() })?;
            }
        }
        (!self.is_woken()).then_some(())
    }

    /// The first member that another is a barrier ahead of, or else the leader.
    pub(crate) fn absent(&self) -> usize {
        let all = || self.arrivals.iter().map(Event::count);
        all().position(|late| all().any(|other| other == late.wrapping_add(1))).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(if cfg!(miri) { 5 } else { 2_000 }))]
        #[test]
        fn shares_are_disjoint_and_cover(
            h in 1u32..40, c in 1u32..200, cores in 1usize..9, rows_only: bool,
        ) {
            let split = if rows_only { Split::Rows } else { Split::RowsOrChannels { step: 16 } };
            let mut times = vec![0u8; (h * c) as usize];
            for member in 0..cores {
                let region = share(Hwc { h, w: 3, c }, split, member, cores);
                for row in region.rows {
                    for channel in region.channels.clone() {
                        times[row * c as usize + channel] += 1;
                    }
                }
            }
            prop_assert!(times.iter().all(|&n| n == 1));
        }
    }

    #[test]
    fn few_rows_are_divided_by_channels() {
        let region = share(Hwc { h: 1, w: 1, c: 100 }, Split::RowsOrChannels { step: 16 }, 1, 2);
        assert_eq!(region, Region { rows: 0..1, channels: 48..100 });
        let region = share(Hwc { h: 7, w: 7, c: 512 }, Split::RowsOrChannels { step: 16 }, 0, 4);
        assert_eq!(region, Region { rows: 0..7, channels: 0..128 });
        let region = share(Hwc { h: 1, w: 1, c: 100 }, Split::Rows, 0, 2);
        assert_eq!(region, Region { rows: 0..0, channels: 0..100 });
    }

    #[cfg(all(feature = "std", not(loom)))]
    mod hosted {
        use super::*;
        use crate::platform::hosted::Hosted;
        use std::thread;

        const ROUNDS: u32 = if cfg!(miri) { 20 } else { 2000 };

        #[test]
        fn members_see_what_the_others_wrote() {
            let arrivals = [(); 3].map(|()| Event::new());
            let mut arena = [0i8; 3];
            let mut slot = [0i8; 64];
            let team = Team::<Hosted>::new(&mut arena, 64, &arrivals);
            let team = &team;
            // Each member counts up its byte, then looks at those of the others.
            let work = |member: usize| {
                for round in 1..=ROUNDS {
                    // SAFETY: each member writes its own byte and reads none before the barrier.
                    let own = unsafe { team.cells(Place::Arena(member), 1) };
                    own[0].set(round as i8);
                    team.barrier(member, || Some(Ticks::NEVER)).unwrap();
                    // SAFETY: nobody writes between the two barriers.
                    let all = unsafe { team.cells(Place::Arena(0), 3) };
                    assert!(all.iter().all(|cell| cell.get() == round as i8));
                    team.barrier(member, || Some(Ticks::NEVER)).unwrap();
                }
            };
            thread::scope(|scope| {
                for member in 1..3 {
                    scope.spawn(move || {
                        assert!(team.next(0, || Some(Ticks::NEVER)));
                        work(member);
                        assert!(!team.next(1, || None));
                    });
                }
                team.begin(&mut slot);
                work(0);
            });
        }

        #[test]
        fn an_absent_member_is_named() {
            let arrivals = [(); 2].map(|()| Event::new());
            let mut arena = [0i8; 0];
            let team = Team::<Hosted>::new(&mut arena, 0, &arrivals);
            assert_eq!(team.barrier(0, || None), None);
            assert_eq!(team.absent(), 1);
        }

        #[test]
        fn cells_outside_are_none() {
            let arrivals = [(); 1].map(|()| Event::new());
            let mut arena = [0i8; 8];
            let team = Team::<Hosted>::new(&mut arena, 0, &arrivals);
            for (offset, len) in [(0, 9), (8, 1), (usize::MAX, 2)] {
                // SAFETY: there is one thread.
                assert!(unsafe { team.cells(Place::Arena(offset), len) }.is_empty());
            }
            // SAFETY: there is one thread.
            assert!(unsafe { team.cells(Place::Slot(0), 1) }.is_empty());
        }
    }
}
