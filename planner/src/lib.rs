//! Predicts what layers take on unequal clusters of cores, and finds the best pipeline.
#![forbid(unsafe_code)]

pub mod cost;
pub mod explore;
pub mod plan;
