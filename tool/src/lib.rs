//! Host side of pipeit: imports networks and makes of them what the runtime executes.
//!
//! ```text
//! .tflite ─ import ─▶ graph ─ lower ─▶ network ─┐ partition, cost, memory
//!                                               ├─ planning ─▶ artefact ─▶ session
//! .pipeit ───────────── load ───────────────────┘
//! ```
//!
//! The binary parses its flags and calls one of the [`commands`].

pub mod arrays;
pub mod artefact;
pub mod commands;
pub mod console;
pub mod contest;
pub mod descriptors;
pub mod differences;
pub mod goldens;
pub mod graph;
pub mod images;
pub mod import;
pub mod interpreter;
pub mod layer_times;
pub mod load;
pub mod lower;
pub mod machine;
pub mod measure;
pub mod memory;
pub mod network;
pub mod noise;
pub mod pack;
pub mod partition;
pub mod picture;
pub mod planning;
pub mod profiling;
pub mod report;
pub mod search;
pub mod session;
pub mod trace;
pub mod trials;
pub mod zoo;
