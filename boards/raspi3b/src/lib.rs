//! The Raspberry Pi 3 B.
#![no_std]
#![forbid(unsafe_code)]

use pipeit_board::{Board, Start, semihosting};

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// The board.
pub const BOARD: Board = Board {
    name: NAME,
    clusters: CLUSTERS,
    affinities: AFFINITIES,
    boot_core: BOOT_CORE,
    // The peripherals; the first page with the firmware's spin table, not cached either.
    devices: &[0x3f00_0000..0x4100_0000, 0..0x1000],
    console: 0x3f20_1000,
    start: || Start::SpinTable(release_address),
    exit: semihosting::exit,
    arguments: semihosting::command_line,
};

/// Where the firmware's spin table has a core wait.
fn release_address(affinity: u64) -> usize {
    0xd8 + 8 * affinity as usize
}
