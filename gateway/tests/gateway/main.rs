//! The real binary in front of scripted upstreams: start, reload, refusal, hand-over, end.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests"
)]

mod hand_over;
mod lone;
mod site;
