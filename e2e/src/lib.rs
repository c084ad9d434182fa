//! What the end-to-end tests stand on: real binaries on free loopback ports, in temporary
//! directories, gone when the test ends.
//!
//! A test begins with a [`stand::Stand`] (a control plane, and proxies that join it) or with a
//! gateway alone ([`lone::Lone`]), talks to it with `weir_testkit`'s client, load and scripted
//! upstreams, and asks the processes themselves ([`metrics`], access log, the verbs of `weir`).
//! Nothing here sleeps for a fixed time: everything waits for a fact, with a deadline.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test harness fails loudly; nothing here ships"
)]

pub mod balancers;
pub mod command;
pub mod consul;
pub mod lone;
pub mod metrics;
pub mod proxy;
pub mod stand;

use std::time::Duration;

/// How long anything that has to happen may take. Generous: three tests share two cores.
pub const DEADLINE: Duration = Duration::from_secs(15);
