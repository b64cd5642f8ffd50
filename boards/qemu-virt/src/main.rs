//! Runs a network on QEMU's virtual machine `virt`.
#![no_std]
#![no_main]

use pipeit_board::board;
use pipeit_firmware::Noise;

include!(concat!(env!("OUT_DIR"), "/network.rs"));

board!(qemu_virt::BOARD, main);

fn main() -> ! {
    pipeit_firmware::run(OPERATORS, KERNELS, &mut Noise::new())
}
