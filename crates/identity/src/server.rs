//! The server side of the mesh: TLS 1.3, our certificate of this moment, clients by SPIFFE id.
//!
//! No session is ever resumed. A resumed handshake verifies no certificate: it would carry an
//! identity past its expiry, and a root past its removal from the bundle. Mesh connections are
//! pooled and long-lived, so the full handshakes that this costs are rare.

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;

use crate::current::Identity;
use crate::provider::{TlsConfigError, provider};
use crate::verify::MeshClientVerifier;

/// Whether clients of a mesh port must have a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// A certificate is verified when there is one: the control plane's port, where newcomers ask
    /// for their first. Since those know only a root's fingerprint, the server sends the roots of
    /// its bundle along with its certificate.
    Optional,
    /// No certificate, no connection: every port between proxies.
    Required,
}

/// The configuration of a mesh server. It follows `identity` through renewals and rotations, so
/// one configuration serves for the whole life of a listener. `alpn` is in order of preference,
/// e.g. `&[b"h2", b"http/1.1"]`.
pub fn mesh_server_config(
    identity: &Identity,
    client: ClientAuth,
    alpn: &[&[u8]],
) -> Result<Arc<ServerConfig>, TlsConfigError> {
    let mandatory = client == ClientAuth::Required;
    let verifier = MeshClientVerifier::new(identity.clone(), mandatory);
    let presented = Presented {
        identity: identity.clone(),
        roots_too: !mandatory,
    };
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(presented));
    config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Our certificate of the moment of the handshake.
struct Presented {
    identity: Identity,
    roots_too: bool,
}

impl ResolvesServerCert for Presented {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.identity.current();
        let certified = if self.roots_too {
            current.certified_with_roots()
        } else {
            current.certified()
        };
        Some(Arc::clone(certified))
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Presented({})", self.identity.spiffe_id())
    }
}
