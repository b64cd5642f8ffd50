//! The per-cluster spin queue: one lock, one lane per team.
//!
//! A queue lies in memory that only its cluster polls. Handing something over is one push
//! into a lane of the receiver's cluster; a lane has room for everything that can ever be
//! handed over, so nobody waits on a full queue.
#![forbid(unsafe_code)]

use core::fmt;
use core::ops::Deref;

use heapless::Deque;

use crate::platform::{Event, Platform};
use crate::sync::SpinMutex;

/// Keeps a value alone in its cache lines: 128 bytes, because cores fetch lines in pairs.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct CachePadded<T>(pub T);

impl<T> Deref for CachePadded<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// First in, first out, for one team.
pub type Lane<T, const N: usize> = Deque<T, N>;

/// The lanes of the teams of one cluster.
pub struct ClusterQueue<'a, T, const N: usize, P: Platform> {
    lanes: CachePadded<SpinMutex<&'a mut [Lane<T, N>], P::Relax>>,
    pushed: CachePadded<P::Event>,
}

impl<T, const N: usize, P: Platform> fmt::Debug for ClusterQueue<'_, T, N, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterQueue").finish_non_exhaustive()
    }
}

impl<'a, T, const N: usize, P: Platform> ClusterQueue<'a, T, N, P> {
    /// A queue of these lanes.
    #[must_use]
    pub fn new(lanes: &'a mut [Lane<T, N>]) -> Self {
        Self { lanes: CachePadded(SpinMutex::new(lanes)), pushed: CachePadded(P::Event::new()) }
    }

    /// Appends `item` to `lane` and wakes the cluster.
    ///
    /// # Errors
    ///
    /// Gives the item back when there is no such lane or it is full.
    pub fn push(&self, lane: usize, item: T) -> Result<(), T> {
        match self.lanes.lock().get_mut(lane) {
            Some(lane) => lane.push_back(item)?,
            None => return Err(item),
        }
        self.pushed.signal();
        Ok(())
    }

    /// Takes the oldest item of `lane`, if there is one.
    #[must_use]
    pub fn pop(&self, lane: usize) -> Option<T> {
        self.lanes.lock().get_mut(lane)?.pop_front()
    }

    /// Signalled with every push.
    #[must_use]
    pub fn pushed(&self) -> &P::Event {
        &self.pushed
    }
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::platform::hosted::Hosted;

    #[test]
    fn lanes_keep_their_order_and_refuse_when_full() {
        let mut lanes = [Lane::new(), Lane::new()];
        let queue = ClusterQueue::<u32, 2, Hosted>::new(&mut lanes);
        let seen = queue.pushed().count();
        assert_eq!(queue.push(0, 1), Ok(()));
        assert_ne!(queue.pushed().count(), seen);
        assert_eq!(queue.push(1, 9), Ok(()));
        assert_eq!(queue.push(0, 2), Ok(()));
        assert_eq!(queue.push(0, 3), Err(3));
        assert_eq!(queue.push(2, 4), Err(4));
        assert_eq!([queue.pop(0), queue.pop(0), queue.pop(0)], [Some(1), Some(2), None]);
        assert_eq!(queue.pop(1), Some(9));
    }
}
