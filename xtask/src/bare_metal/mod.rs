//! Networks on bare metal, emulated: `cargo xtask qemu`, `cargo xtask count`, and their tests.
//!
//! ```text
//!  network.tflite ──tool──▶ artefact ──┐
//!                                      ├──emulator──▶ report: hash, exit code
//!  boards/<name> ──image──▶ firmware ──┘
//! ```
//!
//! One firmware per board runs all networks: the emulator loads the artefact to the address
//! that the firmware's linker script sets aside.

mod board;
mod c_programs;
pub(crate) mod commands;
mod emulator;
mod image;
mod snapshot;
mod suite;
mod tool;

pub(crate) use suite::{Scope, run as run_suite};
