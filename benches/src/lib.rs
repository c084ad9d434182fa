//! Benchmarks.

pub mod plot;
