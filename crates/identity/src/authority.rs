//! The control plane's own certificate authority.
//!
//! One ECDSA P-256 root per trust domain, which carries `spiffe://<trust domain>` and signs leaves
//! directly (path length 0). A signing request contributes its public key and the proof of its
//! possession, nothing else: the name, the usages and the validity are the issuer's decision.
//! No name constraints are written: webpki refuses every chain with URI constraints.

mod signing_request;

use std::fmt;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand;
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType, SerialNumber,
};
use rustls_pki_types::{CertificateDer, DnsName};
use thiserror::Error;
use time::OffsetDateTime;
use x509_parser::parse_x509_certificate;

use crate::bundle::{BundleError, TrustBundle};
use crate::fingerprint::Fingerprint;
use crate::peer::{PeerError, root_trust_domain};
use crate::pem;
use crate::spiffe::{SpiffeId, TrustDomain};
use crate::validity::{Validity, unix_seconds};

/// How far certificates are dated back, for peers whose clock is behind ours.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The shortest life of a leaf. Certificates count whole seconds.
pub const TTL_MIN: Duration = Duration::from_secs(1);

/// The longest life of a leaf: nothing revokes one, so its life is the bound on a stolen key.
pub const TTL_MAX: Duration = Duration::from_secs(30 * 24 * 3600);

/// Why the authority cannot be made, loaded or used.
#[derive(Debug, Error)]
pub enum AuthorityError {
    /// The root is no usable trust bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// A DNS name to be put into a certificate is none, or there are too many.
    #[error("{name:?} is not a DNS name that can be put into a certificate")]
    DnsName {
        /// The name.
        name: String,
    },
    /// The id asked for belongs to another trust domain.
    #[error("{id} is not of the trust domain {ours}")]
    ForeignTrustDomain {
        /// The id asked for.
        id: SpiffeId,
        /// The authority's trust domain.
        ours: TrustDomain,
    },
    /// The stored key cannot be read.
    #[error("the authority's private key cannot be read")]
    KeyUnreadable,
    /// The stored key belongs to another root.
    #[error("the authority's private key belongs to another root certificate")]
    KeyMismatch,
    /// Keys or certificates could not be generated; only a broken system gets here.
    #[error("the certificate cannot be made: {0}")]
    Generation(#[from] rcgen::Error),
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
    /// The signing request is malformed, too large or not signed by its own key.
    #[error("the signing request is refused: {0}")]
    Request(&'static str),
    /// The root's own life is over: a new root is needed.
    #[error("the root certificate has expired; create a new authority and rotate to it")]
    RootExpired,
    /// The stored root is not a root of ours.
    #[error("the root certificate does not name a trust domain: {0}")]
    RootName(#[source] PeerError),
    /// The life asked for is out of bounds.
    #[error("a certificate's life must be between 1 second and 30 days, not {ttl:?}")]
    Ttl {
        /// The life asked for.
        ttl: Duration,
    },
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The leaf as PEM text. The root is not in it: peers have it in their bundle.
    pub chain_pem: String,
    /// From when on it is valid: [`CLOCK_SKEW`] before it was issued.
    pub not_before: SystemTime,
    /// Until when it is valid.
    pub not_after: SystemTime,
    /// Whom it names.
    pub spiffe_id: SpiffeId,
}

impl Issued {
    /// [`Issued::not_after`] in seconds since the epoch.
    pub fn expires_unix(&self) -> u64 {
        unix_seconds(self.not_after)
    }
}

/// A root certificate with its key.
pub struct Authority {
    trust_domain: TrustDomain,
    root: CertificateDer<'static>,
    validity: Validity,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new authority, valid for ten years from `now`.
    pub fn create(trust_domain: &TrustDomain, now: SystemTime) -> Result<Self, AuthorityError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let now = whole_seconds(now);
        let mut params = CertificateParams::default();
        params.not_before = now - CLOCK_SKEW;
        params.not_after = now + ROOT_LIFE;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = subject(&format!("Weir root of {trust_domain}"));
        params.subject_alt_names = vec![uri(&trust_domain.uri())?];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key)?.into();
        Self::assemble(root, key)
    }

    /// An authority from what [`Authority::to_pem`] gave.
    pub fn load(cert_pem: &str, key_pem: &str) -> Result<Self, AuthorityError> {
        let roots = pem::certificates(cert_pem.as_bytes())
            .map_err(|reason| BundleError::Malformed { reason })?;
        let root = roots.into_iter().next().ok_or(BundleError::Empty)?;
        let key = KeyPair::from_pem(key_pem).map_err(|_| AuthorityError::KeyUnreadable)?;
        Self::assemble(root, key)
    }

    /// The root certificate and its private key, as PEM texts: the second one is the secret of the
    /// whole mesh, to be kept in a file of mode 0600.
    pub fn to_pem(&self) -> (String, String) {
        (self.root_pem(), self.issuer.key().serialize_pem())
    }

    /// The trust domain that this authority vouches for.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The root certificate as PEM text.
    pub fn root_pem(&self) -> String {
        pem::write_certificates([&self.root])
    }

    /// The root's fingerprint, as join tokens carry it.
    pub fn root_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.root)
    }

    /// Until when the root is valid.
    pub fn root_not_after(&self) -> SystemTime {
        self.validity.not_after
    }

    /// The bundle of this root alone.
    pub fn bundle(&self) -> Result<TrustBundle, AuthorityError> {
        Ok(TrustBundle::from_roots(vec![self.root.clone()])?)
    }

    /// Certifies the request's key as `id` for `ttl` (cut to the root's own life). Whether the one
    /// who asks may have this id is the caller's question; it must be answered before.
    pub fn issue(
        &self,
        csr_pem: &str,
        id: &SpiffeId,
        dns_names: &[String],
        ttl: Duration,
        now: SystemTime,
    ) -> Result<Issued, AuthorityError> {
        if !id.is_in(&self.trust_domain) {
            let ours = self.trust_domain.clone();
            return Err(AuthorityError::ForeignTrustDomain {
                id: id.clone(),
                ours,
            });
        }
        if !(TTL_MIN..=TTL_MAX).contains(&ttl) {
            return Err(AuthorityError::Ttl { ttl });
        }
        let public_key = signing_request::verified_key(csr_pem)?;
        let from = whole_seconds(now);
        let until = (from + ttl).min(whole_seconds(self.validity.not_after));
        if until <= from {
            return Err(AuthorityError::RootExpired);
        }

        let mut params = CertificateParams::default();
        params.not_before = from - CLOCK_SKEW;
        params.not_after = until;
        params.serial_number = Some(random_serial()?);
        params.distinguished_name = subject("Weir workload");
        params.subject_alt_names = alternative_names(id, dns_names)?;
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        params.use_authority_key_identifier_extension = true;
        let leaf = params.signed_by(&public_key, &self.issuer)?;
        Ok(Issued {
            chain_pem: pem::write_certificates([leaf.der()]),
            not_before: params.not_before.into(),
            not_after: params.not_after.into(),
            spiffe_id: id.clone(),
        })
    }

    fn assemble(root: CertificateDer<'static>, key: KeyPair) -> Result<Self, AuthorityError> {
        // The bundle's checks are the ones that every proxy will make of this root.
        TrustBundle::from_roots(vec![root.clone()])?;
        let trust_domain = root_trust_domain(&root).map_err(AuthorityError::RootName)?;
        let (_, parsed) =
            parse_x509_certificate(&root).map_err(|_| BundleError::NotARoot { number: 1 })?;
        if parsed.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(AuthorityError::KeyMismatch);
        }
        let validity = Validity::of(&parsed);
        let issuer = Issuer::from_ca_cert_der(&root, key)?;
        Ok(Self {
            trust_domain,
            root,
            validity,
            issuer,
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .field("root", &self.root_fingerprint())
            .finish_non_exhaustive()
    }
}

fn alternative_names(id: &SpiffeId, dns: &[String]) -> Result<Vec<SanType>, AuthorityError> {
    let mut names = vec![uri(id.as_str())?];
    for (index, name) in dns.iter().enumerate() {
        let refused = || AuthorityError::DnsName { name: name.clone() };
        if index >= DNS_NAMES_MAX || DnsName::try_from(name.as_str()).is_err() {
            return Err(refused());
        }
        let name = Ia5String::try_from(name.as_str()).map_err(|_| refused())?;
        names.push(SanType::DnsName(name));
    }
    Ok(names)
}

fn uri(text: &str) -> Result<SanType, AuthorityError> {
    Ok(SanType::URI(Ia5String::try_from(text)?))
}

fn subject(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, "Weir");
    // X.509 bounds a common name to 64 characters; the id proper is in the alternative names.
    name.push(
        DnType::CommonName,
        common_name.chars().take(64).collect::<String>(),
    );
    name
}

/// 128 random bits. The first byte is kept within 1..=127, so that the number is positive and
/// always 16 bytes long.
fn random_serial() -> Result<SerialNumber, AuthorityError> {
    let mut bytes = [0; 16];
    rand::fill(&mut bytes).map_err(|_| AuthorityError::NoRandomness)?;
    bytes[0] = (bytes[0] & 0x7f).max(1);
    Ok(SerialNumber::from_slice(&bytes))
}

fn whole_seconds(time: SystemTime) -> OffsetDateTime {
    let seconds = i64::try_from(unix_seconds(time)).unwrap_or(i64::MAX);
    // Only times past the year 9999 have no representation; such a clock is as good as the epoch.
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

const ROOT_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const DNS_NAMES_MAX: usize = 16;
