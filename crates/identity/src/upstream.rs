//! Plain TLS towards services outside the mesh: the ordinary web PKI, by DNS name.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, RootCertStore};
use rustls_native_certs::load_native_certs;

use crate::edge::{CertificateFiles, authority_store, load_certified};
use crate::provider::{TlsConfigError, provider};

/// Whose certificates a service outside the mesh may present.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamTrust {
    /// Those of the authorities in this PEM file, and no others.
    File(PathBuf),
    /// Those of the system's own store (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    System,
}

/// The configuration of a client for services outside the mesh, which presents the certificate
/// `client` when there is one (its `hosts` do not matter). Reads files and, for
/// [`UpstreamTrust::System`], some hundred certificates: make it once per service and keep it.
/// Its sessions resume, so share one per service and never across different trust.
pub fn upstream_client_config(
    trust: &UpstreamTrust,
    client: Option<&CertificateFiles>,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let roots = match trust {
        UpstreamTrust::File(file) => authority_store(file)?,
        UpstreamTrust::System => system_store()?,
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| TlsConfigError::ServerVerifier { source })?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13, &TLS12])?
        .with_webpki_verifier(verifier);
    let mut config = match client {
        Some(files) => builder.with_client_cert_resolver(Arc::new(
            rustls::sign::SingleCertAndKey::from(load_certified(files)?),
        )),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(Arc::new(config))
}

fn system_store() -> Result<RootCertStore, TlsConfigError> {
    let mut store = RootCertStore::empty();
    // Some of a system's certificates may be unreadable or too old to be parsed; what is left
    // counts, as long as anything is.
    store.add_parsable_certificates(load_native_certs().certs);
    if store.is_empty() {
        return Err(TlsConfigError::NoAuthority {
            file: "the system's certificate store".into(),
        });
    }
    Ok(store)
}
