//! The gateway's edge: what it speaks, what it refuses, and what it does when a service fails. One
//! gateway with a file, a scripted upstream behind it, real clients in front.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod balancing;
mod bounds;
mod breakers;
mod cache;
mod compression;
mod cors;
mod deadlines;
mod dns;
mod drains;
mod failures;
mod fallbacks;
mod faults;
mod framing;
mod grpc;
mod health;
mod hedging;
mod hops;
mod http2;
mod levels;
mod limits;
mod mirrors;
mod openapi;
mod paths;
mod protocols;
mod proxy_protocol;
mod requests;
mod rewriting;
mod routing;
mod service_limits;
mod shedding;
mod signing;
mod sleeping;
mod slow;
mod smuggling;
mod sni;
mod streams;
mod tcp;
mod tls;
mod tokens;
mod transforms;
mod upgrades;
mod upstreams;
mod versions;
mod websockets;
