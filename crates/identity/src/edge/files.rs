//! One certificate with its key, read from PEM files. Every error names the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use thiserror::Error;
use x509_parser::extensions::GeneralName;
use x509_parser::parse_x509_certificate;

use crate::key::{KeyError, PrivateKey};
use crate::pem;
use crate::validity::Validity;

/// Where a certificate of the edge is, and for which hosts it is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The PEM file of the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// The PEM file of the private key; may be the same file.
    pub key: PathBuf,
    /// The hosts it is used for (`api.example.com`, `*.example.com`); empty: the DNS names that
    /// the certificate itself carries.
    pub hosts: Vec<String>,
}

/// Why a set of edge certificates cannot be used: the operator's files or configuration.
#[derive(Debug, Error)]
pub enum EdgeCertificateError {
    /// A host is neither a DNS name nor `*.` and a DNS name.
    #[error("{}: {host:?} is not a host name; write a DNS name or \"*.\" and a DNS name",
        file.display())]
    Host {
        /// The certificate's file.
        file: PathBuf,
        /// The host.
        host: String,
    },
    /// The private key is unusable.
    #[error("{}: {source}", file.display())]
    Key {
        /// The key's file.
        file: PathBuf,
        /// What is wrong with it.
        source: KeyError,
    },
    /// The private key belongs to another certificate.
    #[error("{}: the private key does not match the certificate in {}",
        key.display(), certificate.display())]
    KeyMismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// The PEM text or the certificate in it cannot be read.
    #[error("{}: the certificate is malformed: {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What the parser says.
        reason: String,
    },
    /// There is no certificate in the file.
    #[error("{}: there is no certificate in this file", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// No certificate is configured at all.
    #[error("a TLS listener needs at least one certificate")]
    NoneGiven,
    /// The file is too large to be a certificate or key.
    #[error("{}: larger than 1 MiB, which is no certificate or key", file.display())]
    TooLarge {
        /// The file.
        file: PathBuf,
    },
    /// There are more certificates than a listener holds.
    #[error("a listener holds at most {max} certificates, not {count}")]
    TooMany {
        /// How many there are.
        count: usize,
        /// How many are allowed.
        max: usize,
    },
    /// The file cannot be read.
    #[error("{}: cannot be read: {source}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// A certificate with its key, read and checked.
pub(crate) struct Loaded {
    pub(crate) certified: Arc<CertifiedKey>,
    pub(crate) validity: Validity,
    /// The DNS names that the certificate carries, in lower case.
    pub(crate) dns_names: Vec<String>,
}

/// Reads one certificate and its key.
pub(crate) fn load(files: &CertificateFiles) -> Result<Loaded, EdgeCertificateError> {
    let file = &files.certificate;
    let malformed = |reason| EdgeCertificateError::Malformed {
        file: file.clone(),
        reason,
    };
    let chain = pem::certificates(&read(file)?).map_err(malformed)?;
    let leaf = chain
        .first()
        .ok_or_else(|| EdgeCertificateError::Missing { file: file.clone() })?;
    let (_, parsed) = parse_x509_certificate(leaf).map_err(|e| malformed(e.to_string()))?;
    let names = parsed
        .subject_alternative_name()
        .map_err(|e| malformed(e.to_string()))?;
    let names = names.map(|extension| extension.value.general_names.as_slice());
    let dns_names = names
        .unwrap_or_default()
        .iter()
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        });
    let dns_names = dns_names.collect();
    let validity = Validity::of(&parsed);

    let key_error = |source| EdgeCertificateError::Key {
        file: files.key.clone(),
        source,
    };
    let key = PrivateKey::from_pem(&read(&files.key)?).map_err(key_error)?;
    let key = key.signing_key().map_err(key_error)?;
    let certified = CertifiedKey::new(chain, key);
    certified.keys_match().map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => EdgeCertificateError::KeyMismatch {
            certificate: file.clone(),
            key: files.key.clone(),
        },
        other => malformed(other.to_string()),
    })?;
    Ok(Loaded {
        certified: Arc::new(certified),
        validity,
        dns_names,
    })
}

/// Reads a file of at most a mebibyte.
pub(crate) fn read(file: &Path) -> Result<Vec<u8>, EdgeCertificateError> {
    let unreadable = |source| EdgeCertificateError::Unreadable {
        file: file.to_owned(),
        source,
    };
    let mut bytes = Vec::new();
    let opened = File::open(file).map_err(unreadable)?;
    opened
        .take(FILE_BYTES_MAX + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(EdgeCertificateError::TooLarge {
            file: file.to_owned(),
        });
    }
    Ok(bytes)
}

const FILE_BYTES_MAX: u64 = 1024 * 1024;
