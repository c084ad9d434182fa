//! Where configurations come from, with real files and a scripted control plane: start, change,
//! refusal, outage, certificates and keys.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    reason = "tests"
)]

mod files;
mod joined;
mod mesh_port;
mod world;
