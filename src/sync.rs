//! Atomics and locks: those of the machine or, under `cfg(loom)`, models of them.
//!
//! Nothing here differs from what it stands for, so that the code which uses it is the code
//! that the model checker loom runs through every interleaving (`tests/loom`).
#![forbid(unsafe_code)]

#[cfg(not(loom))]
pub(crate) use core::sync::atomic;
#[cfg(not(loom))]
pub(crate) use spin::mutex::SpinMutex;
#[cfg(all(not(loom), feature = "std"))]
pub(crate) use std::sync::{Condvar, Mutex};

#[cfg(loom)]
pub(crate) use loom::sync::{Condvar, Mutex, atomic};
#[cfg(loom)]
pub(crate) use modelled::SpinMutex;

/// Stands between two `SeqCst` accesses whose order matters to other threads. The accesses
/// see to it themselves; loom alone takes them for `AcqRel` and needs the fence.
#[cfg(feature = "std")]
#[inline]
pub(crate) fn seq_cst_in_models() {
    #[cfg(loom)]
    atomic::fence(atomic::Ordering::SeqCst);
}

#[cfg(loom)]
mod modelled {
    use core::marker::PhantomData;
    use std::sync::PoisonError;

    use loom::sync::{Mutex, MutexGuard};

    /// A lock that blocks: to the one who has it, the same as one that spins.
    pub(crate) struct SpinMutex<T, R> {
        inner: Mutex<T>,
        relax: PhantomData<fn() -> R>,
    }

    impl<T, R> SpinMutex<T, R> {
        pub(crate) fn new(value: T) -> Self {
            Self { inner: Mutex::new(value), relax: PhantomData }
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            self.inner.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
