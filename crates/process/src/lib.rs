//! What every long-running binary of Weir does alike: arguments, signals, drain, readiness, the
//! admin server, exit codes. It serves no user traffic and knows no configuration.

pub mod admin;
pub mod args;
pub mod build_info;
pub mod drain;
pub mod exit;
pub mod memory;
pub mod parent;
pub mod ports;
pub mod priority;
pub mod readiness;
pub mod signals;
