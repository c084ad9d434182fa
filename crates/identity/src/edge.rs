//! Certificates of the edge: from files, chosen by the name a client asks for, reloaded while
//! connections run.
//!
//! [`EdgeCertificateSet`] is one loaded, checked set; [`EdgeCertificates`] is the handle that a
//! listener's TLS configuration reads at each handshake. Certificates that will not work are
//! errors and the set is not made; certificates that will work badly (expired, names that do not
//! fit) are warnings, because refusing to start would be worse than serving them.

mod config;
mod development;
mod files;
mod names;
mod set;

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

pub(crate) use config::authority_store;
pub use config::{EdgeClients, edge_server_config, edge_server_config_with_clients};
pub use development::{SelfSignedError, self_signed};
pub use files::{CertificateFiles, EdgeCertificateError};
pub use set::{EdgeCertificateSet, EdgeCertificateWarning};

/// The handle to the certificates of a listener. Clones share the value.
#[derive(Clone)]
pub struct EdgeCertificates(Arc<ArcSwap<EdgeCertificateSet>>);

impl EdgeCertificates {
    /// A handle that starts with this set.
    pub fn new(set: EdgeCertificateSet) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(set)))
    }

    /// The set of this moment.
    pub fn current(&self) -> Arc<EdgeCertificateSet> {
        self.0.load_full()
    }

    /// Puts another set in place for the next handshakes.
    pub fn replace(&self, set: EdgeCertificateSet) {
        self.0.store(Arc::new(set));
    }
}

/// One certificate with its key, for a client to present.
pub(crate) fn load_certified(
    files: &CertificateFiles,
) -> Result<Arc<CertifiedKey>, EdgeCertificateError> {
    Ok(files::load(files)?.certified)
}

impl ResolvesServerCert for EdgeCertificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(
            self.0
                .load()
                .choose(hello.server_name(), hello.signature_schemes()),
        )
    }
}

impl fmt::Debug for EdgeCertificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("EdgeCertificates")
            .field(&*self.0.load())
            .finish()
    }
}
