//! From reset to `main` on every core, and the little that a firmware needs around it.
//!
//! ```text
//!  reset ─▶ entry.s: EL3/EL2 → EL1, NEON, stack, MMU and caches
//!             │ boot core                         │ the others, when `cores::start` lets them
//!             ▼                                   ▼
//!           main given to `board!`              wait for `cores::run_on_others`
//! ```
//!
//! A board is a [`Board`] handed to [`board!`], and a linker script that names its memory and
//! includes `linker/sections.ld`. Rust code runs with the MMU on, but for the few lines that
//! build the page tables ([`mmu`]): before that, neither atomics nor unaligned accesses work.
#![no_std]

#[macro_use]
pub mod console;

pub mod cache;
pub mod cores;
mod critical_section;
mod entry;
pub mod exceptions;
#[cfg(feature = "faults")]
pub mod faults;
#[cfg(feature = "defmt")]
mod logger;
mod memory;
mod mmu;
mod pl011;
pub mod pmu;
pub mod psci;
pub mod regions;
pub mod semihosting;
pub mod stack;

use core::ops::Range;

pub use cores::Start;

/// Most cores of a board.
pub const MAX_CORES: usize = 8;

/// In [`Board::affinities`]: no core.
pub const NO_CORE: u64 = u64::MAX;

/// What the code here has to know of a machine. Its addresses are taken on trust: whoever hands
/// it to [`board!`] vouches for them.
#[derive(Debug)]
pub struct Board {
    /// Its name.
    pub name: &'static str,
    /// Its clusters, in the order of their numbers.
    pub clusters: &'static [Cluster],
    /// The affinity fields of each core's `MPIDR_EL1`, cluster by cluster; see [`affinities`].
    pub affinities: &'static [u64],
    /// The core that comes out of reset by itself, or goes on where all of them do.
    pub boot_core: usize,
    /// Addresses of devices, at multiples of 4096.
    pub devices: &'static [Range<usize>],
    /// Address of the PL011 that is the console.
    pub console: usize,
    /// How the other cores are started.
    pub start: fn() -> Start,
    /// Ends the program: 0 is success.
    pub exit: fn(code: u8) -> !,
    /// Writes what the program was called with into the buffer; `None` where there is no such
    /// thing, or more than fits.
    pub arguments: fn(&mut [u8]) -> Option<&[u8]>,
}

/// Cores of one kind with a cache in common.
#[derive(Clone, Copy, Debug)]
pub struct Cluster {
    /// Its name.
    pub name: &'static str,
    /// How many cores it has.
    pub cores: u8,
}

/// Declares the program: its board, and what the boot core runs once it is set up.
///
/// ```ignore
/// board!(Board { name: "mine", ... }, main);
/// fn main() -> ! { ... }
/// ```
#[macro_export]
macro_rules! board {
    ($board:expr, $main:path) => {
        /// The board this firmware is for.
        #[unsafe(no_mangle)]
        static PIPEIT_BOARD: $crate::Board = $board;
        #[unsafe(no_mangle)]
        static PIPEIT_AFFINITIES: [u64; $crate::MAX_CORES] =
            $crate::affinities(PIPEIT_BOARD.affinities);
        #[unsafe(no_mangle)]
        static PIPEIT_BOOT_CORE: usize = PIPEIT_BOARD.boot_core;
        #[unsafe(no_mangle)]
        fn pipeit_main() -> ! {
            $main()
        }
    };
}

/// `found`, filled up with [`NO_CORE`]: a table that `entry.s` searches.
///
/// # Panics
///
/// At compile time, when there are more than [`MAX_CORES`].
#[must_use]
pub const fn affinities(found: &[u64]) -> [u64; MAX_CORES] {
    let mut table = [NO_CORE; MAX_CORES];
    let (start, _) = table.split_at_mut(found.len());
    start.copy_from_slice(found);
    table
}

unsafe extern "Rust" {
    safe static PIPEIT_BOARD: Board;
    safe fn pipeit_main() -> !;
}

/// The board this program was built for.
#[must_use]
pub fn board() -> &'static Board {
    &PIPEIT_BOARD
}

/// Ends the program for all cores; 0 is success. Of several cores that call it, the first is
/// heard.
pub fn exit(code: u8) -> ! {
    use core::sync::atomic::{AtomicBool, Ordering};
    static ENDING: AtomicBool = AtomicBool::new(false);
    if ENDING.swap(true, Ordering::Relaxed) {
        cores::park();
    }
    (board().exit)(code)
}
