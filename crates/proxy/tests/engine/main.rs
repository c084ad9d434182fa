//! The engine on real sockets: clients, workers and scripted upstreams on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bodies;
mod connections;
mod http1;
mod install;
mod protocols;
mod retries;
mod solo;
mod tls;
mod upgrades;
mod world;
