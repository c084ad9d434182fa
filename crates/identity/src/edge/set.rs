//! A loaded set of edge certificates: which one answers for which name.

use std::collections::HashMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::SignatureScheme;
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::files::{CertificateFiles, EdgeCertificateError, Loaded, load};
use super::names;
use crate::validity::unix_seconds;

/// What works but should be looked at.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EdgeCertificateWarning {
    /// The certificate has expired; clients will refuse it.
    #[error("{}: expired at {} (Unix time)", file.display(), unix_seconds(*not_after))]
    Expired {
        /// The certificate's file.
        file: PathBuf,
        /// When it expired.
        not_after: SystemTime,
    },
    /// A host is configured for a certificate that does not carry it.
    #[error("{}: the certificate does not carry the name {host}", file.display())]
    HostNotCovered {
        /// The certificate's file.
        file: PathBuf,
        /// The host.
        host: String,
    },
    /// The certificate has no DNS name and no host is configured for it, and it is not the first:
    /// no client ever gets it.
    #[error("{}: never used: it carries no DNS name and no host is given", file.display())]
    NeverUsed {
        /// The certificate's file.
        file: PathBuf,
    },
    /// The certificate is not valid yet.
    #[error("{}: not valid before {} (Unix time)", file.display(), unix_seconds(*not_before))]
    NotYetValid {
        /// The certificate's file.
        file: PathBuf,
        /// From when on it is valid.
        not_before: SystemTime,
    },
    /// An earlier certificate with the same kind of key already answers for this host.
    #[error("{}: {host} is already answered by an earlier certificate", file.display())]
    Shadowed {
        /// The certificate's file.
        file: PathBuf,
        /// The host.
        host: String,
    },
}

/// A set of edge certificates; never empty. The first one also answers clients that ask for no
/// name, or for a name that no certificate is for.
pub struct EdgeCertificateSet {
    default: Arc<CertifiedKey>,
    /// By exact name or `*.` wildcard; several where their keys are of different kinds.
    by_name: HashMap<String, Vec<Arc<CertifiedKey>>>,
    expiries: Vec<(PathBuf, SystemTime)>,
    warnings: Vec<EdgeCertificateWarning>,
}

impl EdgeCertificateSet {
    /// Reads all files; either every certificate is usable, or every error is returned at once.
    pub fn load(
        all: &[CertificateFiles],
        now: SystemTime,
    ) -> Result<Self, Vec<EdgeCertificateError>> {
        if all.len() > CERTIFICATES_MAX {
            let (count, max) = (all.len(), CERTIFICATES_MAX);
            return Err(vec![EdgeCertificateError::TooMany { count, max }]);
        }
        let mut errors = Vec::new();
        let mut set: Option<Self> = None;
        for files in all {
            match load(files) {
                Ok(loaded) => {
                    let first = set.is_none();
                    let set = set.get_or_insert_with(|| Self::starting_with(&loaded));
                    set.add(files, loaded, first, now, &mut errors);
                }
                Err(error) => errors.push(error),
            }
        }
        match set {
            _ if !errors.is_empty() => Err(errors),
            Some(set) => Ok(set),
            None => Err(vec![EdgeCertificateError::NoneGiven]),
        }
    }

    /// What works but should be looked at; log each once after loading.
    pub fn warnings(&self) -> &[EdgeCertificateWarning] {
        &self.warnings
    }

    /// Every certificate's file and expiry, in the order given: for a gauge.
    pub fn expiries(&self) -> &[(PathBuf, SystemTime)] {
        &self.expiries
    }

    /// The names that certificates of this set are for, sorted.
    pub fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.by_name.keys().map(String::as_str).collect();
        names.sort_unstable();
        names
    }

    /// The certificate for a requested name that the client can verify, or the default.
    pub(super) fn choose(
        &self,
        name: Option<&str>,
        schemes: &[SignatureScheme],
    ) -> Arc<CertifiedKey> {
        let candidates = name.and_then(|name| names::find(&self.by_name, name));
        let candidates = candidates.map(Vec::as_slice).unwrap_or_default();
        let fits = |certified: &&Arc<CertifiedKey>| certified.key.choose_scheme(schemes).is_some();
        let chosen = candidates.iter().find(fits).or(candidates.first());
        Arc::clone(chosen.unwrap_or(&self.default))
    }

    fn starting_with(first: &Loaded) -> Self {
        Self {
            default: Arc::clone(&first.certified),
            by_name: HashMap::new(),
            expiries: Vec::new(),
            warnings: Vec::new(),
        }
    }

    fn add(
        &mut self,
        files: &CertificateFiles,
        loaded: Loaded,
        first: bool,
        now: SystemTime,
        errors: &mut Vec<EdgeCertificateError>,
    ) {
        let file = || files.certificate.clone();
        let (not_before, not_after) = (loaded.validity.not_before, loaded.validity.not_after);
        if not_after < now {
            self.warnings.push(EdgeCertificateWarning::Expired {
                file: file(),
                not_after,
            });
        }
        if now < not_before {
            self.warnings.push(EdgeCertificateWarning::NotYetValid {
                file: file(),
                not_before,
            });
        }
        self.expiries.push((file(), not_after));

        let given = &files.hosts;
        let hosts = if given.is_empty() {
            &loaded.dns_names
        } else {
            given
        };
        if hosts.is_empty() && !first {
            self.warnings
                .push(EdgeCertificateWarning::NeverUsed { file: file() });
        }
        for host in hosts {
            let Some(name) = names::normalized(host) else {
                // A name that the certificate carries is nobody's mistake here: it cannot be asked
                // for, so it is left out. A configured one is.
                if !given.is_empty() {
                    let host = host.clone();
                    errors.push(EdgeCertificateError::Host { file: file(), host });
                }
                continue;
            };
            if !names::covers(&loaded.dns_names, &name) {
                let host = name.clone();
                self.warnings
                    .push(EdgeCertificateWarning::HostNotCovered { file: file(), host });
            }
            self.claim(name, &loaded.certified, files);
        }
    }

    fn claim(&mut self, name: String, certified: &Arc<CertifiedKey>, files: &CertificateFiles) {
        let claims = self.by_name.entry(name.clone()).or_default();
        if claims.iter().any(|other| Arc::ptr_eq(other, certified)) {
            return;
        }
        let kind = certified.key.algorithm();
        if claims.iter().any(|other| other.key.algorithm() == kind) {
            let file = files.certificate.clone();
            self.warnings
                .push(EdgeCertificateWarning::Shadowed { file, host: name });
        } else {
            claims.push(Arc::clone(certified));
        }
    }
}

impl fmt::Debug for EdgeCertificateSet {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("EdgeCertificateSet")
            .field("names", &self.names())
            .field("expiries", &self.expiries)
            .finish_non_exhaustive()
    }
}

/// How many certificates one listener holds; 4096 of them load in about a second.
const CERTIFICATES_MAX: usize = 4096;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::fs;
    use std::path::Path;
    use std::sync::Arc;
    use std::time::SystemTime;

    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ED25519};
    use rustls::SignatureScheme;

    use super::{CertificateFiles, EdgeCertificateSet};

    fn made(
        dir: &Path,
        name: &str,
        algorithm: &'static rcgen::SignatureAlgorithm,
    ) -> CertificateFiles {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
        let both = dir.join(name);
        let text = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
        fs::write(&both, text).unwrap();
        CertificateFiles {
            certificate: both.clone(),
            key: both,
            hosts: vec![],
        }
    }

    #[test]
    fn a_client_gets_the_kind_of_key_that_it_can_verify() {
        let dir = tempfile::tempdir().unwrap();
        let modern = made(dir.path(), "ed25519.pem", &PKCS_ED25519);
        let common = made(dir.path(), "ecdsa.pem", &PKCS_ECDSA_P256_SHA256);
        let set = EdgeCertificateSet::load(&[modern, common], SystemTime::now()).unwrap();
        assert_eq!(set.warnings(), []);
        let [ed25519, ecdsa] = &set.by_name["a.test"][..] else {
            panic!("{set:?}")
        };
        let choose = |schemes: &[SignatureScheme]| set.choose(Some("a.test"), schemes);
        let (e, p) = (
            SignatureScheme::ED25519,
            SignatureScheme::ECDSA_NISTP256_SHA256,
        );
        assert!(Arc::ptr_eq(&choose(&[e, p]), ed25519));
        assert!(Arc::ptr_eq(&choose(&[p]), ecdsa));
        // Nothing fits: the first is presented, and the client says what it misses.
        assert!(Arc::ptr_eq(
            &choose(&[SignatureScheme::RSA_PSS_SHA256]),
            ed25519
        ));
    }
}
