//! The client side of the mesh: TLS 1.3, our certificate of this moment, the server by SPIFFE id;
//! and the one connection made before there is a certificate, for joining.
//!
//! As on the server side, no session is ever resumed (see `server.rs` for why).

use std::fmt;
use std::net::Ipv4Addr;
use std::sync::Arc;

use rustls::client::{ResolvesClientCert, Resumption};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{ClientConfig, SignatureScheme};
use rustls_pki_types::ServerName;

use crate::current::Identity;
use crate::join_token::JoinToken;
use crate::provider::{TlsConfigError, provider};
use crate::verify::{Expect, MeshServerVerifier, PinnedRoot};

/// The configuration of a mesh client that accepts the server `expect` and presents our
/// certificate. It follows `identity` through renewals and rotations. One configuration per
/// expected id: whoever pools connections keys the pool by that id.
pub fn mesh_client_config(
    identity: &Identity,
    expect: Expect,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let verifier = MeshServerVerifier::new(identity.clone(), expect);
    let presented = Presented {
        identity: identity.clone(),
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(presented));
    Ok(finished(config, alpn))
}

/// The configuration of a client that has a join token and nothing else: accepts the control plane
/// whose chain contains the token's root, presents no certificate.
pub fn join_client_config(
    token: &JoinToken,
    alpn: &[&[u8]],
) -> Result<Arc<ClientConfig>, TlsConfigError> {
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(PinnedRoot::new(token.fingerprint()))
        .with_no_client_auth();
    Ok(finished(config, alpn))
}

/// The server name to connect to mesh servers with. The library demands one; mesh verifiers ignore
/// it, and being an address it is not sent.
pub fn mesh_server_name() -> ServerName<'static> {
    ServerName::from(Ipv4Addr::UNSPECIFIED)
}

fn finished(mut config: ClientConfig, alpn: &[&[u8]]) -> Arc<ClientConfig> {
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    Arc::new(config)
}

/// Our certificate of the moment of the handshake.
struct Presented {
    identity: Identity,
}

impl ResolvesClientCert for Presented {
    fn resolve(
        &self,
        _root_hint_subjects: &[&[u8]],
        _signature_schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(self.identity.current().certified()))
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Presented({})", self.identity.spiffe_id())
    }
}
