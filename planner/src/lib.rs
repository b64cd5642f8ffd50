//! Predicts what layers take on unequal clusters of cores, and finds the best pipeline.
//!
//! ```text
//! board, table ──────────────┐                     ┌─▶ simulate ─▶ explain
//! features, fit ─▶ predict ──┼─▶ cost ─▶ explore ──┤
//! profile ───────────┘       ┘                     └─▶ gain
//! ```
//!
//! [`cost::Costs`] holds what every layer takes on every team of every cluster;
//! [`explore::Explorer`] finds the plan that is best by it. All times are nanoseconds, and all
//! results the same on every run.
//!
//! ```
//! use pipeit_planner::board::Board;
//! use pipeit_planner::explore::{Explorer, Objective};
//!
//! let board = Board::built_in("rk3399pro")?;
//! let costs = board.table()?.costs(&board, "mobilenet")?;
//! let costs = costs.with_contention(board.memory.contention);
//! let best = Explorer::new(&costs).best(Objective::Throughput).expect("no limit excludes all");
//! assert!(best.prediction.frames_per_s() > 20.0);
//! println!("{}", best.plan.spec(&costs.names()));
//! # Ok::<(), pipeit_planner::board::BoardError>(())
//! ```
#![forbid(unsafe_code)]

pub mod board;
pub mod cost;
pub mod explain;
pub mod explore;
pub mod features;
pub mod fit;
pub mod gain;
pub mod networks;
pub mod plan;
pub mod predict;
pub mod profile;
pub mod published;
pub mod simulate;
pub mod table;
