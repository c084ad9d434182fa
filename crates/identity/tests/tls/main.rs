//! Real TLS handshakes between the configurations of this crate, carried in memory: no sockets, no
//! runtime, no waiting.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod authority;
mod edge;
mod edge_files;
mod join;
mod mesh;
mod wire;
mod world;
