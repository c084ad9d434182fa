//! Table tests: a document, a request, what must come of it. No sockets, no clock, no chance.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod admission;
mod balancing;
mod bench;
mod broken;
mod calls;
mod documents;
mod explaining;
mod paths;
mod properties;
mod rewriting;
mod routing;
mod shaping;
mod shedding;
mod size;
mod tunnels;
mod versions;
