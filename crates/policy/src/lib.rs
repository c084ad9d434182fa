//! Decisions about requests: pure, synchronous, no I/O.
//!
//! A document is compiled to an immutable [`Snapshot`](snapshot::Snapshot); a request then passes
//! five phases, [`admit`](pipeline::admit) → [`choose`](pipeline::choose) →
//! [`prepare`](pipeline::prepare) → [`judge`](pipeline::judge) → [`settle`](pipeline::settle).
//! Time and chance are arguments. The proxies, `weir check`, `weir explain`, the control plane's
//! admission, the benches and the fuzzers call the same functions; a [`Note`](note::Note) passed in
//! turns the production path into an explanation.

#![forbid(unsafe_code)]

pub mod auth;
pub mod balance;
pub mod cache;
pub mod clients;
pub mod compile;
pub mod compress;
pub mod content;
pub mod cors;
pub mod explain;
pub mod framing;
pub mod grpc;
pub mod health;
mod json;
pub mod key;
pub mod limit;
pub mod live;
pub mod moment;
pub mod note;
pub mod openapi;
pub mod pipeline;
pub mod proxy_protocol;
pub mod refusal;
pub mod request;
pub mod resilience;
pub mod rewrite;
pub mod route;
pub mod shaping;
pub mod snapshot;
mod transform;
pub mod tunnel;
