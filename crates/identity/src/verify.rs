//! Verification of mesh peers: the chain against the trust of this moment, the name against the id
//! that was called. DNS names and addresses play no part.
//!
//! Every verifier reads the [`Identity`] in the handshake, so a rotated root counts from the next
//! handshake on. All of them speak TLS 1.3 only; their TLS 1.2 half refuses.

mod pinned_root;

use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError,
    PeerIncompatible, RootCertStore, SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

pub(crate) use pinned_root::PinnedRoot;

use crate::current::{Current, Identity};
use crate::peer::{PeerError, leaf_id};
use crate::provider::provider;
use crate::spiffe::SpiffeId;

/// Which server a mesh client accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// Any workload of our own trust domain.
    AnyInTrustDomain,
    /// The control plane of our own trust domain.
    ControlPlane,
    /// Exactly this id, which must be of our own trust domain to be ever accepted: our bundle
    /// vouches for no other.
    Exactly(SpiffeId),
}

impl Expect {
    /// Whether a peer whose chain verified is the one that was called.
    fn judge(&self, ours: &SpiffeId, found: SpiffeId) -> Result<(), PeerError> {
        check_domain(ours, &found)?;
        let expected = match self {
            Self::AnyInTrustDomain => return Ok(()),
            Self::ControlPlane => SpiffeId::control_plane(&ours.trust_domain()),
            Self::Exactly(id) => id.clone(),
        };
        if found == expected {
            Ok(())
        } else {
            Err(PeerError::UnexpectedId { expected, found })
        }
    }
}

/// Verifies the server side of mesh connections.
pub(crate) struct MeshServerVerifier {
    identity: Identity,
    expect: Expect,
    signatures: WebPkiSupportedAlgorithms,
}

impl MeshServerVerifier {
    pub(crate) fn new(identity: Identity, expect: Expect) -> Arc<Self> {
        let signatures = provider().signature_verification_algorithms;
        Arc::new(Self {
            identity,
            expect,
            signatures,
        })
    }
}

impl fmt::Debug for MeshServerVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MeshServerVerifier")
            .field("expect", &self.expect)
            .finish()
    }
}

impl ServerCertVerifier for MeshServerVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let current: Arc<Current> = self.identity.current();
        verify_chain(
            leaf,
            intermediates,
            current.bundle().store(),
            &self.signatures,
            now,
        )?;
        leaf_id(leaf)
            .and_then(|found| self.expect.judge(current.spiffe_id(), found))
            .map_err(refusal)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(TLS12_REFUSED.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}

/// Verifies the client side of mesh connections: anybody of our trust domain. Who of them may do
/// what is policy, decided per request from the peer's id.
pub(crate) struct MeshClientVerifier {
    identity: Identity,
    mandatory: bool,
    signatures: WebPkiSupportedAlgorithms,
}

impl MeshClientVerifier {
    pub(crate) fn new(identity: Identity, mandatory: bool) -> Arc<Self> {
        let signatures = provider().signature_verification_algorithms;
        Arc::new(Self {
            identity,
            mandatory,
            signatures,
        })
    }
}

impl fmt::Debug for MeshClientVerifier {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MeshClientVerifier")
            .field("mandatory", &self.mandatory)
            .finish()
    }
}

impl ClientCertVerifier for MeshClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    /// No hints: they could not follow the bundle, and mesh clients have one certificate only.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let current: Arc<Current> = self.identity.current();
        let verified =
            current
                .bundle()
                .client_verifier()
                .verify_client_cert(leaf, intermediates, now)?;
        leaf_id(leaf)
            .and_then(|found| check_domain(current.spiffe_id(), &found))
            .map_err(refusal)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(TLS12_REFUSED.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.signatures)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signatures.supported_schemes()
    }
}

/// WebPKI path validation of a server's chain, names aside.
fn verify_chain(
    leaf: &CertificateDer<'_>,
    intermediates: &[CertificateDer<'_>],
    roots: &RootCertStore,
    signatures: &WebPkiSupportedAlgorithms,
    now: UnixTime,
) -> Result<(), Error> {
    let parsed = ParsedCertificate::try_from(leaf)?;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, signatures.all)
}

fn check_domain(ours: &SpiffeId, found: &SpiffeId) -> Result<(), PeerError> {
    if found.trust_domain_name() == ours.trust_domain_name() {
        Ok(())
    } else {
        let expected = ours.trust_domain();
        Err(PeerError::ForeignTrustDomain {
            expected,
            found: found.clone(),
        })
    }
}

/// How a [`PeerError`] travels through rustls; [`PeerError::of`] finds it again.
fn refusal(error: PeerError) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(error))))
}

const TLS12_REFUSED: PeerIncompatible = PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig;
