//! Micro-benches without sockets: the work that is timed by criterion (`benches/benches/`) and
//! whose instructions and allocations are counted (`make micro-counts`).
//!
//! For: one place where a document is compiled and a request is built for every measurement, so
//! that times and counts are of the same work. Not for: anything with a socket; `weir-bench` and
//! `weir-scale` measure the real programs. The one idea: a [`Case`] is a name and a set-up that
//! gives a closure; one call of the closure is one operation.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a set-up that fails is a broken bench; nothing here ships"
)]

pub mod allocations;
pub mod baseline;
pub mod callgrind;
pub mod cases;
pub mod documents;
pub mod request;

pub use cases::{Case, Work};
