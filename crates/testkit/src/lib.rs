//! Scripted upstreams and a process harness, for tests only.
//!
//! A dev-dependency of the other crates and of `e2e`, never part of a binary. Everything listens on
//! loopback, everything has a deadline, and what a test starts ends with the test. A helper that
//! cannot do its job panics and says why: a test has no better use for the error.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test harness fails loudly; nothing here ships"
)]

pub mod authority;
pub mod client;
pub mod eventually;
pub mod load;
pub mod names;
pub mod ports;
pub mod process;
pub mod upstream;
