//! Where configurations come from: a file, a control plane, or the copy of the last good one.

pub mod certificates;
pub mod control_plane;
pub mod file;
pub mod last_good;
