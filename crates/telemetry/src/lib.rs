//! What Weir tells about itself: metric names and registry, access log, trace context, logging.
//!
//! Nothing here knows the engine or the policy. The one idea: what happens per request touches
//! only memory of its own worker (padded shards, a log buffer); summing, encoding and writing
//! happen on other threads.

pub mod access_log;
pub mod address_text;
pub mod closing;
mod family;
mod handles;
pub mod hex;
pub mod logging;
pub mod names;
mod process_metrics;
pub mod registry;
pub mod request_metrics;
pub mod sharded;
pub mod termination;
pub mod trace_context;

pub use family::{Family, Scalar};
pub use registry::Registry;
