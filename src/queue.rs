//! The spin queue that a team takes its frames from.
//!
//! A cluster has one for each of its teams, in memory that only the team polls: a cluster that
//! works as one team has one queue. Handing something over is one push; there is room for
//! everything that can ever be handed over, so nobody waits on a full queue.
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

/// First in, first out, of at most `N` items. The lock and the event lie in lines of their own, so
/// that a team that waits does not hold up who pushes.
pub struct SpinQueue<T, const N: usize, P: Platform> {
    items: CachePadded<SpinMutex<Deque<T, N>, P::Relax>>,
    pushed: CachePadded<P::Event>,
}

impl<T, const N: usize, P: Platform> fmt::Debug for SpinQueue<T, N, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SpinQueue").finish_non_exhaustive()
    }
}

impl<T, const N: usize, P: Platform> SpinQueue<T, N, P> {
    /// An empty queue.
    #[must_use]
    #[allow(clippy::new_without_default)]
    pub fn new() -> Self {
        let items = CachePadded(SpinMutex::new(Deque::new()));
        Self { items, pushed: CachePadded(P::Event::new()) }
    }

    /// Appends `item` and wakes the team.
    ///
    /// # Errors
    ///
    /// Gives the item back when the queue is full.
    pub fn push(&self, item: T) -> Result<(), T> {
        self.items.lock().push_back(item)?;
        self.pushed.signal();
        Ok(())
    }

    /// Takes the oldest item, if there is one.
    #[must_use]
    pub fn pop(&self) -> Option<T> {
        self.items.lock().pop_front()
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
    fn keeps_the_order_and_refuses_when_full() {
        let queue = SpinQueue::<u32, 2, Hosted>::new();
        let seen = queue.pushed().count();
        assert_eq!(queue.push(1), Ok(()));
        assert_ne!(queue.pushed().count(), seen);
        assert_eq!(queue.push(2), Ok(()));
        assert_eq!(queue.push(3), Err(3));
        assert_eq!([queue.pop(), queue.pop(), queue.pop()], [Some(1), Some(2), None]);
    }
}
