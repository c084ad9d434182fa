//! The control plane: accepts documents, numbers them, tells every proxy, and proves that all run
//! the same; issues the certificates of the mesh; knows who serves what; injects sidecars.
//!
//! Not on the path of any request: proxies keep serving when it is away.

pub mod api;
pub mod args;
pub mod board;
pub mod inject;
pub mod json_body;
pub mod mesh_port;
pub mod metrics;
pub mod nodes;
pub mod problem;
pub mod registry;
pub mod revisions;
mod run;
pub mod state;
pub mod store;
pub mod stream;
pub mod trust;

pub use args::ControlPlaneArgs;
pub use run::run;

/// Seconds since 1970.
fn unix_now() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
