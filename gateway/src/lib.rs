//! The edge gateway: the engine of `weir-proxy` in a process that Pingora's server runs.
//!
//! For: arguments, the process and its signals, listening sockets that are handed over to a new
//! binary. Not for: what happens to a request (`weir-proxy`, `weir-policy`). The one idea: three
//! kinds of threads that never wait for each other. Workers carry requests; one control thread
//! keeps configuration, memberships, keys and certificates coming; Pingora's server listens to
//! signals and hands over sockets.

mod args;
mod control;
mod pid_file;
mod server;
mod sockets;

pub use args::GatewayArgs;

use weir_process::exit::Exit;
use weir_process::parent::ParentError;

/// Runs a gateway until it ends; logs and errors go to stderr.
#[must_use]
pub fn run(args: GatewayArgs) -> Exit {
    weir_identity::install_provider();
    let log = match args.start_log() {
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
        // Whoever wanted this gateway has gone already.
        Err(ParentError::Gone { .. }) => return Exit::Fine,
        Err(error) => tracing::warn!(%error, "not tied to the parent process"),
    }
    match server::run(args, log) {
        Ok(exit) => exit,
        Err(error) => unusable(&error),
    }
}

fn unusable(error: &dyn std::error::Error) -> Exit {
    eprintln!("weir-gateway: {error}");
    Exit::Unusable
}
