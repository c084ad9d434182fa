//! Verification of the control plane by somebody who knows a root's fingerprint and nothing else.
//!
//! The server sends its root along with its leaf. The fingerprint picks the one certificate of the
//! chain that becomes the only trust anchor; the root itself names the trust domain, and the leaf
//! must be that domain's control plane: any other workload of the mesh must not be able to
//! collect join secrets.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::{DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::{TLS12_REFUSED, refusal, verify_chain};
use crate::fingerprint::Fingerprint;
use crate::peer::{PeerError, leaf_id, root_trust_domain};
use crate::provider::provider;
use crate::spiffe::SpiffeId;

/// Verifies the control plane by the fingerprint of its root.
#[derive(Debug)]
pub(crate) struct PinnedRoot {
    fingerprint: Fingerprint,
    signatures: WebPkiSupportedAlgorithms,
}

impl PinnedRoot {
    pub(crate) fn new(fingerprint: Fingerprint) -> Arc<Self> {
        let signatures = provider().signature_verification_algorithms;
        Arc::new(Self {
            fingerprint,
            signatures,
        })
    }
}

impl ServerCertVerifier for PinnedRoot {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let root = intermediates
            .iter()
            .find(|candidate| Fingerprint::of(candidate) == self.fingerprint)
            .ok_or_else(|| refusal(PeerError::UnknownRoot))?;
        let trust_domain = root_trust_domain(root).map_err(refusal)?;
        let mut roots = RootCertStore::empty();
        roots.add(root.clone().into_owned())?;
        verify_chain(leaf, intermediates, &roots, &self.signatures, now)?;

        let expected = SpiffeId::control_plane(&trust_domain);
        let found = leaf_id(leaf).map_err(refusal)?;
        if found != expected {
            return Err(refusal(PeerError::UnexpectedId { expected, found }));
        }
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
