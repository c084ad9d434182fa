//! Generated files and the laws of the repository: who may import whom, and what every file looks
//! like. The tests of this crate hold the laws.

pub mod dependencies;
pub mod generate;
pub mod reasons;
pub mod tidy;
pub mod tracked;

use std::path::{Path, PathBuf};

/// The root of the workspace.
#[must_use]
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .map_or_else(|| manifest.to_path_buf(), Path::to_path_buf)
}
