//! The per-service proxy of the mesh: the engine of `weir-proxy` beside one application.
//!
//! Outbound, the application speaks plain HTTP to a loopback address and reaches every service by
//! its name; inbound, other proxies speak mTLS and reach the application. The sidecar tells the
//! control plane where it is and whether its application answers.

mod application;
mod args;
mod control;
mod pod_labels;

pub use args::SidecarArgs;

use weir_process::exit::Exit;
use weir_process::parent::ParentError;

/// Runs a sidecar until it ends; logs and errors go to stderr.
#[must_use]
pub fn run(args: SidecarArgs) -> Exit {
    weir_identity::install_provider();
    let log = match args.log.start() {
        Ok(log) => log,
        Err(error) => return unusable(&error),
    };
    #[cfg(feature = "mimalloc")]
    if let Err(error) = weir_process::memory::managed_by(weir_process::memory::Allocator {
        give_back: weir_allocator::give_back,
        only_when_told: weir_allocator::give_back_only_when_told,
    }) {
        tracing::warn!(%error, "free memory goes back to the system while requests wait");
    }
    match args.parent.apply() {
        Ok(()) => {}
        // Whoever wanted this sidecar has gone already.
        Err(ParentError::Gone { .. }) => return Exit::Fine,
        Err(error) => tracing::warn!(%error, "not tied to the parent process"),
    }
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .on_thread_start(weir_process::priority::after_requests)
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return unusable(&error),
    };
    let exit = runtime.block_on(control::run(args, log));
    // Look-ups of names may hang in threads that cannot be stopped.
    runtime.shutdown_background();
    exit
}

fn unusable(error: &dyn std::error::Error) -> Exit {
    eprintln!("weir-sidecar: {error}");
    Exit::Unusable
}
