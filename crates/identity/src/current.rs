//! Who this process is right now: certificate, key and trust, replaceable while connections run.
//!
//! [`Current`] is one immutable, checked combination; [`Identity`] is the handle that every TLS
//! configuration of the mesh reads at each handshake. Replacing the value changes the next
//! handshake and no open connection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::server::ParsedCertificate;
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};
use thiserror::Error;
use x509_parser::parse_x509_certificate;

use crate::authority::CLOCK_SKEW;
use crate::bundle::{BundleError, TrustBundle};
use crate::key::{KeyError, PrivateKey};
use crate::peer::{PeerError, leaf_id};
use crate::pem;
use crate::provider::provider;
use crate::spiffe::SpiffeId;
use crate::validity::{Validity, unix_seconds};

/// Why a certificate, key and bundle make no identity. All of them come from the authority, so
/// each of these is a fault of the authority or of the way to it.
#[derive(Debug, Error)]
pub enum IdentityError {
    /// The bundle is unusable.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// The certificate names nobody.
    #[error("the issued certificate is not a SPIFFE certificate: {0}")]
    Certificate(#[source] PeerError),
    /// The chain is not readable PEM.
    #[error("the PEM text of the certificate chain is malformed: {reason}")]
    ChainMalformed {
        /// What the parser says.
        reason: String,
    },
    /// The chain does not verify against the bundle.
    #[error("the issued certificate does not verify against its trust bundle: {0}")]
    ChainUntrusted(#[source] rustls::Error),
    /// The private key is unusable.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate belongs to another key.
    #[error("the issued certificate belongs to another private key")]
    KeyMismatch,
    /// A renewal came back with another name; the old identity stays.
    #[error("the renewed certificate is for {found}, this process is {ours}")]
    Renamed {
        /// Who the new certificate names.
        found: SpiffeId,
        /// Who this process is.
        ours: SpiffeId,
    },
}

/// One checked combination of certificate, key and trust.
#[derive(Debug)]
pub struct Current {
    spiffe_id: SpiffeId,
    bundle: TrustBundle,
    validity: Validity,
    certified: Arc<CertifiedKey>,
    /// The same with the roots appended, for peers that know only a root's fingerprint.
    certified_with_roots: Arc<CertifiedKey>,
}

impl Current {
    /// Checks and combines: the key belongs to the first certificate of the chain, which names
    /// exactly one SPIFFE id and verifies against the bundle. An expired certificate is accepted
    /// here (it may have been kept over a restart); peers will refuse it.
    pub fn new(
        key: &PrivateKey,
        chain_pem: &str,
        bundle: TrustBundle,
    ) -> Result<Self, IdentityError> {
        let chain = pem::certificates(chain_pem.as_bytes())
            .map_err(|reason| IdentityError::ChainMalformed { reason })?;
        let leaf = chain
            .first()
            .ok_or(IdentityError::Certificate(PeerError::NoCertificate))?;
        let spiffe_id = leaf_id(leaf).map_err(IdentityError::Certificate)?;
        let (_, parsed) = parse_x509_certificate(leaf)
            .map_err(|_| IdentityError::Certificate(PeerError::Unreadable))?;
        let validity = Validity::of(&parsed);
        check_trusted(&chain, bundle.store(), validity)?;

        let certified = CertifiedKey::new(chain, key.signing_key()?);
        certified
            .keys_match()
            .map_err(|_| IdentityError::KeyMismatch)?;
        Ok(Self::assemble(
            spiffe_id,
            bundle,
            validity,
            Arc::new(certified),
        ))
    }

    /// Who we are.
    pub fn spiffe_id(&self) -> &SpiffeId {
        &self.spiffe_id
    }

    /// Whom we trust.
    pub fn bundle(&self) -> &TrustBundle {
        &self.bundle
    }

    /// From when on the certificate is valid (set back a little for clock skew).
    pub fn not_before(&self) -> SystemTime {
        self.validity.not_before
    }

    /// Until when the certificate is valid.
    pub fn not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// [`Current::not_after`] in seconds since the epoch.
    pub fn expires_unix(&self) -> u64 {
        unix_seconds(self.validity.not_after)
    }

    /// When to renew this certificate: [`renew_at`], counted from when it was issued.
    pub fn renew_at(&self, draw: u64) -> SystemTime {
        let Validity {
            not_before,
            not_after,
        } = self.validity;
        // Our authority dates certificates back; a life of seconds would otherwise be "two thirds
        // over" at birth and be renewed without end.
        let issued_at = not_before
            .checked_add(CLOCK_SKEW)
            .filter(|issued| *issued < not_after);
        renew_at(issued_at.unwrap_or(not_before), not_after, draw)
    }

    pub(crate) fn certified(&self) -> &Arc<CertifiedKey> {
        &self.certified
    }

    pub(crate) fn certified_with_roots(&self) -> &Arc<CertifiedKey> {
        &self.certified_with_roots
    }

    fn with_bundle(&self, bundle: TrustBundle) -> Self {
        let certified = Arc::clone(&self.certified);
        Self::assemble(self.spiffe_id.clone(), bundle, self.validity, certified)
    }

    fn assemble(
        spiffe_id: SpiffeId,
        bundle: TrustBundle,
        validity: Validity,
        certified: Arc<CertifiedKey>,
    ) -> Self {
        let mut chain = certified.cert.clone();
        for root in bundle.roots() {
            if !chain.contains(root) {
                chain.push(root.clone());
            }
        }
        let with_roots = CertifiedKey::new(chain, Arc::clone(&certified.key));
        let certified_with_roots = Arc::new(with_roots);
        Self {
            spiffe_id,
            bundle,
            validity,
            certified,
            certified_with_roots,
        }
    }
}

/// The handle to this process's identity. Clones share the value.
#[derive(Clone, Debug)]
pub struct Identity(Arc<ArcSwap<Current>>);

impl Identity {
    /// A handle that starts with this value.
    pub fn new(current: Current) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(current)))
    }

    /// The value at this moment.
    pub fn current(&self) -> Arc<Current> {
        self.0.load_full()
    }

    /// Who we are; never changes in the life of a handle.
    pub fn spiffe_id(&self) -> SpiffeId {
        self.0.load().spiffe_id.clone()
    }

    /// Puts a renewed certificate (and its bundle) in place for the next handshakes. A certificate
    /// for another id is refused and changes nothing.
    pub fn replace(&self, renewed: Current) -> Result<(), IdentityError> {
        let ours = self.spiffe_id();
        if renewed.spiffe_id != ours {
            return Err(IdentityError::Renamed {
                found: renewed.spiffe_id,
                ours,
            });
        }
        self.0.store(Arc::new(renewed));
        Ok(())
    }

    /// Changes whom we trust and keeps the certificate: rotation of roots.
    pub fn replace_bundle(&self, bundle: &TrustBundle) {
        self.0.rcu(|current| current.with_bundle(bundle.clone()));
    }
}

/// When to renew a certificate valid from `not_before` to `not_after`: at two thirds of its life,
/// moved by up to a tenth of the life to either side so that proxies started together do not come
/// back together. `draw` is any uniformly random number.
pub fn renew_at(not_before: SystemTime, not_after: SystemTime, draw: u64) -> SystemTime {
    let life = not_after
        .duration_since(not_before)
        .unwrap_or(Duration::ZERO);
    let millis = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
    let earliest = millis / 3 * 2 - millis / 10;
    let spread = millis / 5;
    // The product of two u64 fits u128, and its high half is a number in 0..=spread.
    let scaled = (u128::from(draw) * (u128::from(spread) + 1)) >> 64;
    let jitter = u64::try_from(scaled).unwrap_or(spread);
    not_before + Duration::from_millis(earliest.saturating_add(jitter))
}

fn check_trusted(
    chain: &[CertificateDer<'static>],
    store: &RootCertStore,
    validity: Validity,
) -> Result<(), IdentityError> {
    let (leaf, intermediates) = chain
        .split_first()
        .ok_or(IdentityError::Certificate(PeerError::NoCertificate))?;
    let parsed = ParsedCertificate::try_from(leaf).map_err(IdentityError::ChainUntrusted)?;
    // Judged at the end of the leaf's own life: signatures and roots are the question here, and
    // whether the leaf is valid now is for the peers to say.
    let moment = UnixTime::since_unix_epoch(Duration::from_secs(unix_seconds(validity.not_after)));
    let algorithms = provider().signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, store, intermediates, moment, algorithms)
        .map_err(IdentityError::ChainUntrusted)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::renew_at;

    #[test]
    fn renewal_is_at_two_thirds_give_or_take_a_tenth() {
        let day = Duration::from_secs(86_400);
        let (from, to) = (UNIX_EPOCH + day, UNIX_EPOCH + 2 * day);
        let at = |seconds| from + Duration::from_secs(seconds);
        assert_eq!(renew_at(from, to, 0), at(48_960));
        assert_eq!(renew_at(from, to, 1 << 63), at(57_600));
        assert_eq!(renew_at(from, to, u64::MAX), at(66_240));
    }

    #[test]
    fn degenerate_lives_do_not_panic() {
        let later = UNIX_EPOCH + Duration::from_secs(5);
        assert_eq!(renew_at(later, UNIX_EPOCH, u64::MAX), later);
        assert_eq!(renew_at(later, later, 7), later);
    }
}
