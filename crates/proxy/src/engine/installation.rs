//! What an engine is asked to run, and why it may not be possible.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::{ClientConfig, ServerConfig};
use weir_identity::Identity;
use weir_policy::snapshot::{ListenerId, Snapshot};

/// What the engine is to run.
#[derive(Debug)]
pub struct Installation {
    /// The compiled document.
    pub snapshot: Arc<Snapshot>,
    /// Where its listeners listen.
    pub bindings: Vec<Binding>,
    /// TLS towards endpoints without a mesh identity, by service id; `None` is clear text.
    pub service_tls: Vec<Option<Arc<ClientConfig>>>,
    /// Who this process is in the mesh.
    pub identity: Option<Arc<Identity>>,
}

/// One address of one listener.
#[derive(Debug, Clone)]
pub struct Binding {
    /// The listener.
    pub listener: ListenerId,
    /// The address; port 0 takes a free one ([`Engine::local_address`] tells which).
    pub address: SocketAddr,
    /// Present: TLS is spoken.
    pub tls: Option<Arc<ServerConfig>>,
    /// Whether clients are mesh peers, known by their certificate.
    pub mesh: bool,
}

/// Why an installation changed nothing.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Two bindings name one address.
    #[error("{address} is bound twice")]
    Duplicate {
        /// The address.
        address: SocketAddr,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// A binding names a listener that the snapshot does not have.
    #[error("{address} belongs to listener {listener}, of which there are {listeners}")]
    UnknownListener {
        /// The address.
        address: SocketAddr,
        /// The listener's number.
        listener: u16,
        /// How many there are.
        listeners: usize,
    },
}

/// Refuses what no worker could run.
pub(super) fn check(installation: &Installation) -> Result<(), InstallError> {
    let listeners = installation.snapshot.listeners.len();
    let bindings = &installation.bindings;
    for (index, binding) in bindings.iter().enumerate() {
        let address = binding.address;
        if bindings[..index]
            .iter()
            .any(|other| other.address == address)
        {
            return Err(InstallError::Duplicate { address });
        }
        let listener = binding.listener.0;
        if usize::from(listener) >= listeners {
            return Err(InstallError::UnknownListener {
                address,
                listener,
                listeners,
            });
        }
    }
    Ok(())
}
