//! What members write before a barrier the others see after it; nobody else's turn is
//! touched; the slot is the leader's own again after the last barrier; a stop wakes.

use std::boxed::Box;
use std::vec::Vec;

use loom::sync::atomic::{AtomicBool, Ordering};

use super::platform::{CORRECT, NO_REGISTER, Wfe, send_event, spawn};
use super::{Watched, check, lend};
use crate::platform::hosted::Hosted;
use crate::platform::{Event, Platform, Ticks};
use crate::team::{Place, Team};

struct State<P: Platform> {
    team: Team<'static, P>,
    stopped: AtomicBool,
    /// Stands for the slot's contents.
    slot: Watched,
    /// Stands for the members' shares of an activation.
    shares: Vec<Watched>,
}

impl<P: Platform> State<P> {
    /// A member's work on a frame: its share, then all shares of the others. None when it is
    /// stopped before it has seen that all have ended it.
    fn work(&self, member: usize, frame: u32) -> Option<()> {
        // SAFETY: nobody writes the slot's byte during the frame.
        let slot = unsafe { self.team.cells(Place::Slot(0), 1) };
        assert_eq!(slot[0].get(), frame as i8);
        assert_eq!(self.slot.get(), frame);
        self.shares[member].set(frame);
        self.team.barrier(member, || Some(Ticks::NEVER)).unwrap();
        assert!(self.shares.iter().all(|share| share.get() == frame));
        self.team.barrier(member, || Some(Ticks::NEVER))
    }
}

/// A team of `members` works on `frames` frames and is stopped.
fn frames_pass<P: Platform>(members: usize, frames: u32) {
    let arrivals: Box<[_]> = (0..members).map(|_| Event::new()).collect();
    lend(arrivals, |arrivals| {
        let state = State {
            team: Team::<P>::new(&mut [], 1, arrivals),
            stopped: AtomicBool::new(false),
            slot: Watched::new(),
            shares: (0..members).map(|_| Watched::new()).collect(),
        };
        lend(state, |state| {
            let follow = |member| {
                move || {
                    let mut done = 0;
                    let stopped = || state.stopped.load(Ordering::Acquire);
                    while state.team.next(done, || (!stopped()).then_some(Ticks::NEVER)) {
                        done += 1;
                        if state.work(member, done).is_none() {
                            assert!(stopped());
                            break;
                        }
                    }
                    assert_eq!(done, frames);
                }
            };
            let others: Vec<_> = (1..members).map(|member| spawn(member, follow(member))).collect();
            let mut slot = [0];
            for frame in 1..=frames {
                // The leader has the slot to itself.
                state.slot.set(frame);
                slot[0] = frame as i8;
                state.team.begin(&mut slot);
                state.work(0, frame).unwrap();
            }
            state.slot.set(0);
            state.stopped.store(true, Ordering::Release);
            state.team.wake();
            others.into_iter().for_each(|other| other.join().unwrap());
        });
    });
}

#[test]
fn parking_two_members() {
    check(Some(3), || frames_pass::<Hosted>(2, 1));
    check(Some(2), || frames_pass::<Hosted>(2, 2));
}

#[test]
fn parking_three_members() {
    check(Some(1), || frames_pass::<Hosted>(3, 1));
}

/// Two members meet twice, if a third core that wakes the team lets them.
fn a_wake_ends_all() {
    let arrivals: Box<[_]> = (0..2).map(|_| Event::new()).collect();
    lend(arrivals, |arrivals| {
        lend(Team::<Hosted>::new(&mut [], 0, arrivals), |team| {
            let meet = |member| team.barrier(member, || Some(Ticks::NEVER));
            let other = spawn(1, move || {
                let _ = meet(1).and_then(|()| meet(1));
            });
            let waker = spawn(2, || team.wake());
            let _ = meet(0).and_then(|()| meet(0));
            other.join().unwrap();
            waker.join().unwrap();
        });
    });
}

#[test]
fn parking_members_that_arrive_are_woken() {
    check(Some(2), a_wake_ends_all);
}

#[test]
fn event_register_two_members() {
    check(Some(3), || frames_pass::<Wfe<CORRECT>>(2, 1));
    check(Some(2), || frames_pass::<Wfe<CORRECT>>(2, 2));
    check(Some(2), || {
        send_event();
        frames_pass::<Wfe<CORRECT>>(2, 1);
    });
}

#[test]
fn event_register_three_members() {
    check(Some(1), || frames_pass::<Wfe<CORRECT>>(3, 1));
}

#[test]
#[should_panic(expected = "deadlock")]
fn events_without_memory_are_found() {
    check(Some(2), || frames_pass::<Wfe<NO_REGISTER>>(2, 1));
}
