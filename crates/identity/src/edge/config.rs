//! The TLS configuration of an edge listener: TLS 1.2 and 1.3, AEAD suites with forward secrecy
//! only (all that the provider has), no early data.
//!
//! Sessions resume by tickets whose key the library rotates every six hours and forgets after
//! twelve. A ticket skips the verification of client certificates, so where those are asked for
//! nothing is resumed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs::Ticketer;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig};

use super::EdgeCertificates;
use super::files::{EdgeCertificateError, read};
use crate::pem;
use crate::provider::{TlsConfigError, provider};

/// What an edge listener wants to know from its clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EdgeClients {
    /// Any client, without a certificate.
    Anonymous,
    /// A client's certificate is verified by the authorities in this PEM file when there is one.
    Optional {
        /// The file of certificate authorities.
        authorities: PathBuf,
    },
    /// Only clients with a certificate of the authorities in this PEM file.
    Required {
        /// The file of certificate authorities.
        authorities: PathBuf,
    },
}

/// The configuration of an edge listener for anonymous clients. It follows `certificates` through
/// reloads, so one configuration serves for the whole life of a listener.
pub fn edge_server_config(
    certificates: &EdgeCertificates,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    edge_server_config_with_clients(certificates, &EdgeClients::Anonymous, alpn)
}

/// The configuration of an edge listener that may ask for client certificates.
pub fn edge_server_config_with_clients(
    certificates: &EdgeCertificates,
    clients: &EdgeClients,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?;
    let verifier = client_verifier(clients)?;
    let mut config = builder
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(certificates.clone()));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    // Tickets keep the state at the client; a store here would only cost memory beside them.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if *clients == EdgeClients::Anonymous {
        config.ticketer = Ticketer::new()?;
    } else {
        config.send_tls13_tickets = 0;
    }
    Ok(Arc::new(config))
}

fn client_verifier(clients: &EdgeClients) -> Result<Arc<dyn ClientCertVerifier>, TlsConfigError> {
    let (authorities, required) = match clients {
        EdgeClients::Anonymous => return Ok(WebPkiClientVerifier::no_client_auth()),
        EdgeClients::Optional { authorities } => (authorities, false),
        EdgeClients::Required { authorities } => (authorities, true),
    };
    let roots = Arc::new(authority_store(authorities)?);
    let builder = WebPkiClientVerifier::builder_with_provider(roots, provider());
    let builder = if required {
        builder
    } else {
        builder.allow_unauthenticated()
    };
    builder
        .build()
        .map_err(|source| TlsConfigError::ClientVerifier {
            file: authorities.display().to_string(),
            source,
        })
}

/// The certificate authorities of a PEM file; all of them must be usable.
pub(crate) fn authority_store(file: &Path) -> Result<RootCertStore, TlsConfigError> {
    let malformed = |reason| EdgeCertificateError::Malformed {
        file: file.to_owned(),
        reason,
    };
    let mut store = RootCertStore::empty();
    for authority in pem::certificates(&read(file)?).map_err(malformed)? {
        store
            .add(authority)
            .map_err(|error| malformed(error.to_string()))?;
    }
    if store.is_empty() {
        return Err(TlsConfigError::NoAuthority {
            file: file.display().to_string(),
        });
    }
    Ok(store)
}
