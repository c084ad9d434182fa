//! Who is who, and how that is proved: certificates, trust, SPIFFE identities and the rustls
//! configurations made from them.
//!
//! Two separate worlds live here. The *mesh* is ours alone: TLS 1.3, certificates of our own
//! [`Authority`], peers verified by SPIFFE id and never by DNS name. The *edge* is everybody
//! else's: certificates from files chosen by SNI ([`EdgeCertificates`]), and plain TLS towards
//! services outside the mesh ([`upstream_client_config`]).
//!
//! Nothing here does network I/O or reads a clock by itself (rustls does, at handshake time); time
//! is an argument. Trust is read when a handshake needs it, from the value that [`Identity`] holds
//! now, so renewing a certificate or rotating a root never needs a new TLS configuration.

mod authority;
mod bundle;
mod client;
mod current;
mod edge;
mod fingerprint;
mod join_token;
mod key;
mod peer;
mod pem;
mod provider;
mod request;
mod server;
mod spiffe;
mod upstream;
mod validity;
mod verify;

pub use authority::{Authority, AuthorityError, CLOCK_SKEW, Issued, TTL_MAX, TTL_MIN};
pub use bundle::{BundleError, ROOTS_MAX, TrustBundle};
pub use client::{join_client_config, mesh_client_config, mesh_server_name};
pub use current::{Current, Identity, IdentityError, renew_at};
pub use edge::{
    CertificateFiles, EdgeCertificateError, EdgeCertificateSet, EdgeCertificateWarning,
    EdgeCertificates, EdgeClients, SelfSignedError, edge_server_config,
    edge_server_config_with_clients, self_signed,
};
pub use fingerprint::Fingerprint;
pub use join_token::{JoinToken, JoinTokenError};
pub use key::{KeyError, PrivateKey};
pub use peer::{PeerError, peer_id};
pub use provider::{TlsConfigError, install_provider, provider};
pub use request::{KeyRequest, RequestError};
pub use server::{ClientAuth, mesh_server_config};
pub use spiffe::{Role, SpiffeId, SpiffeIdError, TrustDomain};
pub use upstream::{UpstreamTrust, upstream_client_config};
pub use verify::Expect;
