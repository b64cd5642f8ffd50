//! Runs a network on the Raspberry Pi 3 B.
#![no_std]
#![no_main]

use pipeit_board::board;
use pipeit_firmware::Noise;

include!(concat!(env!("OUT_DIR"), "/network.rs"));

board!(raspi3b::BOARD, main);

fn main() -> ! {
    pipeit_firmware::run(OPERATORS, KERNELS, &mut Noise::new())
}
