//! Nothing pushed is lost or altered, lanes keep their order, and pushing wakes.

use std::boxed::Box;
use std::vec::Vec;

use super::platform::{CORRECT, NO_REGISTER, Wfe, send_event, spawn};
use super::{Watched, check, lend};
use crate::platform::hosted::Hosted;
use crate::platform::{Event, Platform, Ticks};
use crate::queue::{ClusterQueue, Lane};

/// Most items of a model.
const ITEMS: usize = 4;

struct State<P: Platform> {
    queue: ClusterQueue<'static, usize, ITEMS, P>,
    data: [Watched; ITEMS],
}

/// Gives `body` a queue of `lanes` lanes.
fn with_queue<P: Platform>(lanes: usize, body: impl FnOnce(&'static State<P>)) {
    let lanes: Box<[Lane<usize, ITEMS>]> = (0..lanes).map(|_| Lane::new()).collect();
    let lanes = Box::into_raw(lanes);
    // SAFETY: freshly allocated; the queue, which alone has the reference, is gone before it
    // is freed.
    let queue = ClusterQueue::new(unsafe { &mut *lanes });
    lend(State { queue, data: core::array::from_fn(|_| Watched::new()) }, body);
    // SAFETY: from `into_raw`, and the queue is gone.
    drop(unsafe { Box::from_raw(lanes) });
}

impl<P: Platform> State<P> {
    /// Pushes the items of `range` to `lane`, one after the other.
    fn push(&self, lane: usize, range: core::ops::Range<usize>) {
        for item in range {
            self.data[item].set(1);
            self.queue.push(lane, item).unwrap();
        }
    }

    /// Pops as a leader does.
    fn pop(&self, lane: usize) -> usize {
        loop {
            let seen = self.queue.pushed().count();
            if let Some(item) = self.queue.pop(lane) {
                assert_eq!(self.data[item].get(), 1);
                self.data[item].set(2);
                return item;
            }
            self.queue.pushed().wait(seen, || Some(Ticks::NEVER));
        }
    }
}

/// Two threads push `each` items to one lane.
fn two_push<P: Platform>(each: usize) {
    with_queue::<P>(1, |state| {
        let first = spawn(1, move || state.push(0, 0..each));
        let second = spawn(2, move || state.push(0, each..2 * each));
        let popped: Vec<_> = (0..2 * each).map(|_| state.pop(0)).collect();
        let of = |range: core::ops::Range<usize>| {
            popped.iter().copied().filter(|item| range.contains(item)).collect::<Vec<_>>()
        };
        assert_eq!(of(0..each), (0..each).collect::<Vec<_>>());
        assert_eq!(of(each..2 * each), (each..2 * each).collect::<Vec<_>>());
        assert_eq!(state.queue.pop(0), None);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// One thread pushes to two lanes, each popped by a thread of its own: both wait on the same
/// event, which each push must end for the right one.
fn two_pop<P: Platform>() {
    with_queue::<P>(2, |state| {
        let other = spawn(1, move || assert_eq!(state.pop(1), 2));
        let pusher = spawn(2, move || {
            state.push(0, 0..1);
            state.push(1, 2..3);
            state.push(0, 1..2);
        });
        assert_eq!([state.pop(0), state.pop(0)], [0, 1]);
        other.join().unwrap();
        pusher.join().unwrap();
    });
}

/// One thread pushes two items, one pops.
fn one_to_one<P: Platform>() {
    with_queue::<P>(1, |state| {
        let pusher = spawn(1, move || state.push(0, 0..2));
        assert_eq!([state.pop(0), state.pop(0)], [0, 1]);
        pusher.join().unwrap();
    });
}

#[test]
fn parking_one_to_one() {
    check(None, one_to_one::<Hosted>);
}

#[test]
fn parking_two_push() {
    check(Some(3), || two_push::<Hosted>(1));
    check(Some(2), || two_push::<Hosted>(2));
}

#[test]
fn parking_two_pop() {
    check(Some(2), two_pop::<Hosted>);
}

#[test]
fn event_register_one_to_one() {
    check(None, one_to_one::<Wfe<CORRECT>>);
    check(Some(3), || {
        send_event();
        one_to_one::<Wfe<CORRECT>>();
    });
}

#[test]
fn event_register_two_push() {
    check(Some(3), || two_push::<Wfe<CORRECT>>(1));
    check(Some(2), || two_push::<Wfe<CORRECT>>(2));
}

#[test]
fn event_register_two_pop() {
    check(Some(2), two_pop::<Wfe<CORRECT>>);
}

#[test]
#[should_panic(expected = "deadlock")]
fn events_without_memory_are_found() {
    check(Some(2), one_to_one::<Wfe<NO_REGISTER>>);
}
