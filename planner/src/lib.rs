//! Predicts what layers take on unequal clusters of cores, and finds the best pipeline.
#![forbid(unsafe_code)]

pub mod board;
pub mod cost;
pub mod explore;
pub mod features;
pub mod fit;
pub mod gain;
pub mod networks;
pub mod plan;
pub mod published;
pub mod simulate;
pub mod table;
