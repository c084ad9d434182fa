//! Trust: the set of root certificates that vouch for the ids of our trust domain.
//!
//! Usually one root; several while a root is being rotated. Immutable and cheap to clone: a change
//! of trust is a new bundle put into the [`Identity`](crate::Identity).

use std::fmt;
use std::sync::Arc;

use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls_pki_types::CertificateDer;
use thiserror::Error;
use x509_parser::parse_x509_certificate;

use crate::fingerprint::Fingerprint;
use crate::pem;
use crate::provider::provider;

/// How many roots a bundle may hold. A rotation needs two or three.
pub const ROOTS_MAX: usize = 16;

/// Why a text is not a trust bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// There is no certificate in it.
    #[error("the trust bundle contains no certificate")]
    Empty,
    /// It is not readable PEM.
    #[error("the PEM text of the trust bundle is malformed: {reason}")]
    Malformed {
        /// What the parser says.
        reason: String,
    },
    /// A certificate is not one of an authority, or not a readable certificate.
    #[error("certificate {number} of the trust bundle is not a root certificate")]
    NotARoot {
        /// Which one, from 1.
        number: usize,
    },
    /// There are too many.
    #[error("a trust bundle holds at most {ROOTS_MAX} roots, this one has {count}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// A set of root certificates; never empty.
#[derive(Clone)]
pub struct TrustBundle(Arc<Bundle>);

struct Bundle {
    roots: Vec<CertificateDer<'static>>,
    store: Arc<RootCertStore>,
    /// Built once here because building it is the only step that can fail.
    client_verifier: Arc<dyn ClientCertVerifier>,
}

impl TrustBundle {
    /// Reads the roots of a PEM text; a root that occurs twice counts once.
    pub fn from_pem(text: &str) -> Result<Self, BundleError> {
        let roots = pem::certificates(text.as_bytes())
            .map_err(|reason| BundleError::Malformed { reason })?;
        Self::from_roots(roots)
    }

    /// A bundle of these roots; a root that occurs twice counts once.
    pub fn from_roots(given: Vec<CertificateDer<'static>>) -> Result<Self, BundleError> {
        if given.len() > ROOTS_MAX {
            return Err(BundleError::TooMany { count: given.len() });
        }
        let mut roots = Vec::with_capacity(given.len());
        let mut store = RootCertStore::empty();
        for (index, root) in given.into_iter().enumerate() {
            let not_a_root = BundleError::NotARoot { number: index + 1 };
            if !is_authority(&root) {
                return Err(not_a_root);
            }
            if !roots.contains(&root) {
                store.add(root.clone()).map_err(|_| not_a_root)?;
                roots.push(root);
            }
        }
        let store = Arc::new(store);
        let client_verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&store), provider())
                .build()
                // The only complaint left without revocation lists: there is no root.
                .map_err(|_| BundleError::Empty)?;
        Ok(Self(Arc::new(Bundle {
            roots,
            store,
            client_verifier,
        })))
    }

    /// The roots as PEM text.
    pub fn to_pem(&self) -> String {
        pem::write_certificates(&self.0.roots)
    }

    /// The roots.
    pub fn roots(&self) -> &[CertificateDer<'static>] {
        &self.0.roots
    }

    /// The roots by name, in their order.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.0
            .roots
            .iter()
            .map(|root| Fingerprint::of(root))
            .collect()
    }

    pub(crate) fn store(&self) -> &RootCertStore {
        &self.0.store
    }

    pub(crate) fn client_verifier(&self) -> &dyn ClientCertVerifier {
        &*self.0.client_verifier
    }
}

impl PartialEq for TrustBundle {
    fn eq(&self, other: &Self) -> bool {
        self.0.roots == other.0.roots
    }
}

impl Eq for TrustBundle {}

impl fmt::Debug for TrustBundle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("TrustBundle")
            .field(&self.fingerprints())
            .finish()
    }
}

fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    parse_x509_certificate(certificate).is_ok_and(|(_, parsed)| parsed.is_ca())
}
