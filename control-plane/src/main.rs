//! `weir-control-plane`: the control plane alone.

use std::process::ExitCode;

use clap::Parser;
use weir_control_plane::ControlPlaneArgs;

/// The control plane of Weir: API, revisions, certificate authority, membership, injection.
#[derive(Debug, Parser)]
#[command(name = "weir-control-plane", version)]
struct Args {
    #[command(flatten)]
    control_plane: ControlPlaneArgs,
}

fn main() -> ExitCode {
    weir_control_plane::run(Args::parse().control_plane).into()
}
