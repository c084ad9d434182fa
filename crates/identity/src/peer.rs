//! Who the other side of an established connection is, read from the chain it presented.
//!
//! The chain was verified in the handshake; this only reads the name. It still treats every byte as
//! foreign: an odd certificate is an error, never a panic.

use rustls::CertificateError;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::spiffe::{SpiffeId, SpiffeIdError, TrustDomain};

/// Why a peer has no identity, or not the expected one.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PeerError {
    /// The peer belongs to another trust domain than we do.
    #[error("the peer is {found}, which is not of the trust domain {expected}")]
    ForeignTrustDomain {
        /// Our trust domain.
        expected: TrustDomain,
        /// Who the peer is.
        found: SpiffeId,
    },
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The certificate does not have exactly one URI among its alternative names.
    #[error("the peer's certificate has {found} URI names, a SPIFFE certificate has exactly one")]
    NotOneUri {
        /// How many there are.
        found: usize,
    },
    /// The URI is not a SPIFFE id.
    #[error("the URI of the peer's certificate is not a SPIFFE id: {0}")]
    SpiffeId(#[from] SpiffeIdError),
    /// The peer is not who was called.
    #[error("the peer is {found}, expected {expected}")]
    UnexpectedId {
        /// Who was called.
        expected: SpiffeId,
        /// Who answered.
        found: SpiffeId,
    },
    /// The chain does not contain the root that the join token names.
    #[error("the peer's chain does not contain the root that the join token names")]
    UnknownRoot,
    /// The certificate cannot be read.
    #[error("the peer's certificate cannot be read")]
    Unreadable,
}

impl PeerError {
    /// The reason inside a failed handshake's error, when a verifier of this crate gave it.
    pub fn of(error: &rustls::Error) -> Option<&Self> {
        match error {
            rustls::Error::InvalidCertificate(CertificateError::Other(other)) => {
                other.0.downcast_ref()
            }
            _ => None,
        }
    }
}

/// The SPIFFE id of a peer from the chain it presented
/// (`connection.peer_certificates().unwrap_or_default()`).
pub fn peer_id(chain: &[CertificateDer<'_>]) -> Result<SpiffeId, PeerError> {
    leaf_id(chain.first().ok_or(PeerError::NoCertificate)?)
}

/// The SPIFFE id of one leaf certificate.
pub(crate) fn leaf_id(leaf: &CertificateDer<'_>) -> Result<SpiffeId, PeerError> {
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|_| PeerError::Unreadable)?;
    Ok(SpiffeId::parse(only_uri(&parsed)?)?)
}

/// The trust domain that a root certificate says it is the root of.
pub(crate) fn root_trust_domain(root: &CertificateDer<'_>) -> Result<TrustDomain, PeerError> {
    let (_, parsed) = parse_x509_certificate(root).map_err(|_| PeerError::Unreadable)?;
    Ok(TrustDomain::parse_uri(only_uri(&parsed)?)?)
}

fn only_uri<'a>(certificate: &'a X509Certificate<'_>) -> Result<&'a str, PeerError> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| PeerError::Unreadable)?;
    let names = names.map(|extension| extension.value.general_names.as_slice());
    let mut uris = names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::URI(uri) => Some(*uri),
            _ => None,
        });
    match (uris.next(), uris.count()) {
        (Some(uri), 0) => Ok(uri),
        (first, more) => Err(PeerError::NotOneUri {
            found: usize::from(first.is_some()) + more,
        }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use rcgen::{CertificateParams, KeyPair, SanType};
    use rustls_pki_types::CertificateDer;

    use super::{PeerError, peer_id};
    use crate::spiffe::SpiffeIdError;

    fn certificate(names: &[SanType]) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.to_vec();
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .into()
    }

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    #[test]
    fn exactly_one_uri_is_an_identity() {
        let dns = SanType::DnsName("orders.mesh".try_into().unwrap());
        let good = certificate(&[dns.clone(), uri("spiffe://d/service/orders")]);
        assert_eq!(
            peer_id(&[good]).unwrap().as_str(),
            "spiffe://d/service/orders"
        );

        let none = certificate(&[dns]);
        assert_eq!(peer_id(&[none]), Err(PeerError::NotOneUri { found: 0 }));
        let bare = certificate(&[]);
        assert_eq!(peer_id(&[bare]), Err(PeerError::NotOneUri { found: 0 }));
        let two = certificate(&[uri("spiffe://d/service/a"), uri("spiffe://d/service/b")]);
        assert_eq!(peer_id(&[two]), Err(PeerError::NotOneUri { found: 2 }));
        let web = certificate(&[uri("https://example.com/")]);
        assert_eq!(
            peer_id(&[web]),
            Err(PeerError::SpiffeId(SpiffeIdError::Scheme))
        );
        let domain = certificate(&[uri("spiffe://d")]);
        assert_eq!(
            peer_id(&[domain]),
            Err(PeerError::SpiffeId(SpiffeIdError::PathMissing))
        );
    }

    #[test]
    fn odd_bytes_never_panic() {
        assert_eq!(peer_id(&[]), Err(PeerError::NoCertificate));
        assert_eq!(
            peer_id(&[CertificateDer::from(vec![])]),
            Err(PeerError::Unreadable)
        );
        let good = certificate(&[uri("spiffe://d/service/orders")]);
        // Every truncation and every flipped byte of a real certificate.
        for at in 0..good.len() {
            let _ = peer_id(&[CertificateDer::from(good[..at].to_vec())]);
            for bit in [0x01, 0x20, 0x80, 0xff] {
                let mut bytes = good.to_vec();
                bytes[at] ^= bit;
                let _ = peer_id(&[CertificateDer::from(bytes)]);
            }
        }
    }
}
