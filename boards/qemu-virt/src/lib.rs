//! QEMU's virtual machine `virt`.
#![no_std]
#![forbid(unsafe_code)]

use pipeit_board::psci::Conduit;
use pipeit_board::{Board, Start, cores, semihosting};

include!(concat!(env!("OUT_DIR"), "/board.rs"));

/// The board.
pub const BOARD: Board = Board {
    name: NAME,
    clusters: CLUSTERS,
    affinities: AFFINITIES,
    boot_core: BOOT_CORE,
    // Interrupt controller and console.
    devices: &[0x0800_0000..0x0802_0000, 0x0900_0000..0x0900_1000],
    console: 0x0900_0000,
    start,
    exit: semihosting::exit,
    arguments: semihosting::command_line,
};

/// QEMU is the firmware below: the exception level above ours.
fn start() -> Start {
    Start::Psci(if cores::reset_level() == 2 { Conduit::Smc } else { Conduit::Hvc })
}
