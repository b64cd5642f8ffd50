//! Runtime for int8 CNN inference pipelined over unequal cores.
//!
//! It carries out a plan that a host tool has made; it never makes one up. No standard
//! library, no heap, integers only on the frame path (but for uint8 RESIZE_BILINEAR, whose
//! reference is floating point), and the same bytes as TFLite's reference kernels for every
//! plan.
//!
//! ```text
//!  artefact ──▶ model + plans ──▶ pipeline ◀── every core: run_core
//!  (flash)      (checked once)     acquire ▸ fill ▸ submit ▸ poll ▸ release
//! ```
//!
//! From the bottom up:
//!
//! | module | what it is |
//! | --- | --- |
//! | [`tensor`], [`quant`], [`weights`], [`region`], `values` | views of activations, fixed point, borrowed weights, memory, decoding |
//! | [`kernels`] | operators: contracts and kernels per instruction-set path |
//! | [`model`], [`topology`], [`plan`] | the network, the machine, the partition of one over the other |
//! | [`artefact`] | the file all that comes from |
//! | `sync` | atomics and locks, or models of them for the model checker |
//! | [`platform`] | waiting, waking and time: [`hosted`](platform::hosted) threads, `baremetal` cores |
//! | [`queue`], [`team`] | where a team's frames wait; its shares and barriers |
//! | [`pipeline`], [`executor`] | slots and order; the loop every core runs |
//!
//! # Features
//!
//! | feature | adds |
//! | --- | --- |
//! | `std` (default) | `platform::hosted`: threads as cores |
//! | `baremetal` | `platform::baremetal`: cores of a machine without operating system (aarch64) |
//! | `log`, `defmt` | messages |
//! | `check-kernels` | the portable kernel beside every other: a difference ends the run |
#![no_std]
#![warn(clippy::std_instead_of_core, clippy::alloc_instead_of_core)]

#[cfg(any(test, feature = "std"))]
extern crate std;

#[macro_use]
mod fmt;

pub mod artefact;
pub mod executor;
pub mod kernels;
pub mod live;
pub mod model;
pub mod pipeline;
pub mod plan;
pub mod platform;
pub mod quant;
pub mod queue;
pub mod region;
mod stats;
mod sync;
pub mod team;
pub mod tensor;
pub mod topology;
mod values;
pub mod weights;

// The tests that the model checker runs; they see what is private to this crate.
#[cfg(all(test, loom))]
#[path = "../tests/loom/mod.rs"]
mod loom_models;

pub use artefact::Artefact;
pub use model::Model;
pub use pipeline::{Admission, Pipeline, Wait};
pub use plan::Plan;
pub use platform::Platform;
pub use region::Region;
