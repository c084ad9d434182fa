//! Which build of Weir this is.

use weir_telemetry::{Registry, names};

/// The version of the workspace.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The source revision, when the build was told it by `WEIR_SOURCE_REVISION`.
pub const SOURCE_REVISION: &str = match option_env!("WEIR_SOURCE_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// Puts `weir_build_info` among the metrics; `role` is gateway, sidecar or control-plane.
pub fn expose(registry: &Registry, role: &str) {
    registry
        .family(&names::BUILD_INFO)
        .with(&[role, VERSION, SOURCE_REVISION])
        .set(0, 1);
}
