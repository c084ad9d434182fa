//! A self-signed certificate for development, made once and kept in a directory.
//!
//! Kept, so that a browser or a `curl --cacert` that was told to trust it stays told. Made anew
//! only when the kept one is unusable, near its end, or lacks a name.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SanType,
};
use rustls::server::ParsedCertificate;
use rustls_pki_types::ServerName;
use thiserror::Error;

use super::files::{CertificateFiles, load};

/// Why no development certificate could be made.
#[derive(Debug, Error)]
pub enum SelfSignedError {
    /// A directory or file cannot be written.
    #[error("{}: cannot be written: {source}", path.display())]
    Write {
        /// What could not be written.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// One of the names cannot be put into a certificate.
    #[error("{name:?} is neither a DNS name nor an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The certificate could not be generated; only a broken system gets here.
    #[error("the development certificate cannot be made: {0}")]
    Generation(#[from] rcgen::Error),
}

/// The development certificate kept in `dir`, for these DNS names and IP addresses; made if there
/// is none that fits. `hosts` of the answer is empty: the certificate's own names count.
pub fn self_signed(
    names: &[String],
    dir: &Path,
    now: SystemTime,
) -> Result<CertificateFiles, SelfSignedError> {
    let files = CertificateFiles {
        certificate: dir.join("development.crt"),
        key: dir.join("development.key"),
        hosts: Vec::new(),
    };
    if still_good(&files, names, now) {
        return Ok(files);
    }
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let certificate = parameters(names, now)?.self_signed(&key)?;
    fs::create_dir_all(dir).map_err(|source| SelfSignedError::Write {
        path: dir.to_owned(),
        source,
    })?;
    // Key first: a stop in between leaves a pair that does not match, which is made anew.
    write(&files.key, &key.serialize_pem(), 0o600)?;
    write(&files.certificate, &certificate.pem(), 0o644)?;
    Ok(files)
}

fn still_good(files: &CertificateFiles, names: &[String], now: SystemTime) -> bool {
    let Ok(kept) = load(files) else { return false };
    let Some(parsed) = kept.certified.cert.first().map(ParsedCertificate::try_from) else {
        return false;
    };
    let Ok(parsed) = parsed else { return false };
    let carries = |name: &String| match ServerName::try_from(sample(name)) {
        Ok(name) => rustls::client::verify_server_name(&parsed, &name).is_ok(),
        Err(_) => false,
    };
    kept.validity.not_before <= now
        && now + RENEWED_BEFORE < kept.validity.not_after
        && names.iter().all(carries)
}

/// A wildcard is carried if some name under it is.
fn sample(name: &str) -> String {
    name.strip_prefix("*.")
        .map_or_else(|| name.to_owned(), |parent| format!("x.{parent}"))
}

fn parameters(names: &[String], now: SystemTime) -> Result<CertificateParams, SelfSignedError> {
    let mut params = CertificateParams::default();
    params.not_before = (now - Duration::from_secs(60)).into();
    params.not_after = (now + LIFE).into();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, "Weir development certificate");
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    for name in names {
        let refused = || SelfSignedError::Name { name: name.clone() };
        let alternative = match name.parse::<IpAddr>() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => {
                let name = super::names::normalized(name).ok_or_else(refused)?;
                SanType::DnsName(name.try_into().map_err(|_| refused())?)
            }
        };
        params.subject_alt_names.push(alternative);
    }
    Ok(params)
}

/// Writes beside the file and renames, so that a reader sees the old text or the new one.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), SelfSignedError> {
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let result = (|| {
        let _ = fs::remove_file(&beside);
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    })();
    result.map_err(|source| SelfSignedError::Write {
        path: path.to_owned(),
        source,
    })
}

/// Browsers refuse certificates of more than 825 days even when told to trust them.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const RENEWED_BEFORE: Duration = Duration::from_secs(7 * 24 * 3600);
