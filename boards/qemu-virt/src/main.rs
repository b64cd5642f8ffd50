//! Runs a network on QEMU's virtual machine `virt`.
#![no_std]
#![no_main]

use pipeit_board::psci::Conduit;
use pipeit_board::{Board, Start, board, cores, semihosting};
use pipeit_firmware::Noise;

include!(concat!(env!("OUT_DIR"), "/board.rs"));

board!(
    Board {
        name: NAME,
        clusters: CLUSTERS,
        affinities: AFFINITIES,
        boot_core: BOOT_CORE,
        devices: &[0x0800_0000..0x1000_0000],
        console: 0x0900_0000,
        start,
        exit: semihosting::exit,
        arguments: semihosting::command_line,
    },
    main
);

/// QEMU is the firmware below: the exception level above ours.
fn start() -> Start {
    Start::Psci(if cores::reset_level() == 2 { Conduit::Smc } else { Conduit::Hvc })
}

fn main() -> ! {
    pipeit_firmware::run(KERNELS, &mut Noise::new())
}
