//! A signal is never lost between looking and waiting, and carries what came before it.

use std::vec::Vec;

use super::platform::{CORRECT, EVENT_FIRST, NO_RELEASE, WfeEvent, send_event, spawn};
use super::{Watched, check, lend};
use crate::platform::hosted::ParkingEvent;
use crate::platform::{Event, Ticks};

struct State<E> {
    event: E,
    data: Vec<Watched>,
}

/// As many threads as `signals` write and signal; `waiters` wait until all have.
fn signals_arrive<E: Event + 'static>(signals: u32, waiters: usize, left_over: bool) {
    if left_over {
        send_event();
    }
    let data = (0..signals).map(|_| Watched::new()).collect();
    lend(State { event: E::new(), data }, |state| {
        let wait = move || {
            loop {
                let seen = state.event.count();
                if seen == signals {
                    break;
                }
                state.event.wait(seen, || Some(Ticks::NEVER));
            }
            assert!(state.data.iter().all(|data| data.get() == 1));
        };
        let mut threads = Vec::new();
        for signal in 0..signals as usize {
            threads.push(spawn(1 + signal, move || {
                state.data[signal].set(1);
                state.event.signal();
            }));
        }
        for waiter in 1..waiters {
            threads.push(spawn(signals as usize + waiter, wait));
        }
        wait();
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn parking_one_waiter() {
    check(None, || signals_arrive::<ParkingEvent>(1, 1, false));
    check(Some(3), || signals_arrive::<ParkingEvent>(2, 1, false));
}

#[test]
fn parking_two_waiters() {
    check(Some(3), || signals_arrive::<ParkingEvent>(1, 2, false));
}

#[test]
fn event_register_one_waiter() {
    for left_over in [false, true] {
        check(None, move || signals_arrive::<WfeEvent<CORRECT>>(1, 1, left_over));
        check(Some(3), move || signals_arrive::<WfeEvent<CORRECT>>(2, 1, left_over));
    }
}

#[test]
fn event_register_two_waiters() {
    for left_over in [false, true] {
        check(Some(3), move || signals_arrive::<WfeEvent<CORRECT>>(1, 2, left_over));
    }
}

#[test]
#[should_panic(expected = "deadlock")]
fn an_event_before_the_count_is_found() {
    check(None, || signals_arrive::<WfeEvent<EVENT_FIRST>>(1, 1, false));
}

#[test]
#[should_panic(expected = "Causality violation")]
fn a_count_without_release_is_found() {
    check(None, || signals_arrive::<WfeEvent<NO_RELEASE>>(1, 1, false));
}
