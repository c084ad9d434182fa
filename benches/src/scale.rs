//! How costs grow: per request with routes, endpoints, services, connections and cores, and per
//! push of the control plane with proxies.
//!
//! For: `make scale`. Not for: comparing Weir with others (`weir-bench` does). The one idea: a
//! series is measured at a few sizes, a model with two parameters is fitted to it, and the model is
//! tried on the largest size before it is believed: fitted without it, how far off does it predict
//! it?

pub mod control_plane;
pub mod fit;
pub mod gateway;
pub mod node;
pub mod origin;
pub mod process;
pub mod report;
pub mod request;
pub mod series;
