//! Nothing pushed is lost or altered, queues keep their order, and pushing wakes.

use std::vec::Vec;

use super::platform::{CORRECT, NO_REGISTER, Wfe, send_event, spawn};
use super::{Watched, check, lend};
use crate::platform::hosted::Hosted;
use crate::platform::{Event, Platform, Ticks};
use crate::queue::SpinQueue;

/// Most items of a model.
const ITEMS: usize = 4;

struct State<P: Platform> {
    queues: [SpinQueue<usize, ITEMS, P>; 2],
    data: [Watched; ITEMS],
}

/// Gives `body` two queues.
fn with_queues<P: Platform>(body: impl FnOnce(&'static State<P>)) {
    let queues = core::array::from_fn(|_| SpinQueue::new());
    lend(State { queues, data: core::array::from_fn(|_| Watched::new()) }, body);
}

impl<P: Platform> State<P> {
    /// Pushes the items of `range` to queue `to`, one after the other.
    fn push(&self, to: usize, range: core::ops::Range<usize>) {
        for item in range {
            self.data[item].set(1);
            self.queues[to].push(item).unwrap();
        }
    }

    /// Pops as a leader does.
    fn pop(&self, from: usize) -> usize {
        let queue = &self.queues[from];
        loop {
            let seen = queue.pushed().count();
            if let Some(item) = queue.pop() {
                assert_eq!(self.data[item].get(), 1);
                self.data[item].set(2);
                return item;
            }
            queue.pushed().wait(seen, || Some(Ticks::NEVER));
        }
    }
}

/// Two threads push `each` items to one queue.
fn two_push<P: Platform>(each: usize) {
    with_queues::<P>(|state| {
        let first = spawn(1, move || state.push(0, 0..each));
        let second = spawn(2, move || state.push(0, each..2 * each));
        let popped: Vec<_> = (0..2 * each).map(|_| state.pop(0)).collect();
        let of = |range: core::ops::Range<usize>| {
            popped.iter().copied().filter(|item| range.contains(item)).collect::<Vec<_>>()
        };
        assert_eq!(of(0..each), (0..each).collect::<Vec<_>>());
        assert_eq!(of(each..2 * each), (each..2 * each).collect::<Vec<_>>());
        assert_eq!(state.queues[0].pop(), None);
        first.join().unwrap();
        second.join().unwrap();
    });
}

/// One thread pushes to two queues, each popped by a thread of its own: where both sleep until the
/// same event, each push must end it for the right one.
fn two_pop<P: Platform>() {
    with_queues::<P>(|state| {
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
    with_queues::<P>(|state| {
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
