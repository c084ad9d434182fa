//! The one crypto provider of the process: aws-lc-rs.
//!
//! Every configuration is built with [`provider`] explicitly, so that a library which compiled
//! another provider in (pingora brings ring) cannot change what Weir uses. Such libraries take the
//! process default without asking, or panic when rustls finds two candidates: hence
//! [`install_provider`] as the first act of every `main`.

use std::sync::{Arc, OnceLock};

use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::default_provider;
use thiserror::Error;

/// A TLS configuration could not be built.
#[derive(Debug, Error)]
pub enum TlsConfigError {
    /// The TLS library refuses these settings together: a fault of Weir, not of the operator.
    #[error("the TLS library refuses the configuration: {0}")]
    Rustls(#[from] rustls::Error),
    /// No certificate of the file of accepted authorities can be used: the operator's file.
    #[error("no usable certificate authority in {file}")]
    NoAuthority {
        /// The file, or what stands for the system's own store.
        file: String,
    },
    /// The verifier of client certificates could not be built from the authorities given.
    #[error("client certificates cannot be verified with {file}: {source}")]
    ClientVerifier {
        /// The file of certificate authorities.
        file: String,
        /// What the library says.
        source: rustls::server::VerifierBuilderError,
    },
    /// The verifier of server certificates could not be built from the authorities given.
    #[error("server certificates cannot be verified: {source}")]
    ServerVerifier {
        /// What the library says.
        source: rustls::server::VerifierBuilderError,
    },
    /// A certificate or key file is missing or wrong: the operator's file.
    #[error(transparent)]
    File(#[from] crate::EdgeCertificateError),
}

/// Makes aws-lc-rs the default of the process; calling it again, or after another provider was
/// installed, changes nothing.
pub fn install_provider() {
    if CryptoProvider::get_default().is_none() {
        // Losing a race against another thread is the same as having been installed before.
        let _ = default_provider().install_default();
    }
}

/// The provider that every configuration of this crate is built with.
pub fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: OnceLock<Arc<CryptoProvider>> = OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(default_provider())))
}

#[cfg(test)]
mod tests {
    use super::{install_provider, provider};

    #[test]
    fn installing_twice_is_harmless() {
        install_provider();
        install_provider();
        assert!(rustls::crypto::CryptoProvider::get_default().is_some());
        assert!(!provider().cipher_suites.is_empty());
    }
}
