//! Loading edge certificates: what is wrong with a file is said, with the file's name.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use weir_identity::{
    CertificateFiles, EdgeCertificateError, EdgeCertificateSet, EdgeCertificateWarning, self_signed,
};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn made(dir: &Path, own: &str, names: &[&str], now: SystemTime) -> CertificateFiles {
    let names: Vec<_> = names.iter().map(|&name| name.to_owned()).collect();
    self_signed(&names, &dir.join(own), now).unwrap()
}

fn errors(all: &[CertificateFiles]) -> Vec<EdgeCertificateError> {
    EdgeCertificateSet::load(all, SystemTime::now()).unwrap_err()
}

#[test]
fn every_fault_is_reported_at_once_with_its_file() {
    let dir = TempDir::new().unwrap();
    let now = SystemTime::now();
    let good = made(dir.path(), "good", &["a.test"], now);
    let other = made(dir.path(), "other", &["b.test"], now);
    let text = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        path
    };
    let certificate = |path: &Path| CertificateFiles {
        certificate: path.into(),
        ..good.clone()
    };
    let key = |path: &Path| CertificateFiles {
        key: path.into(),
        ..good.clone()
    };
    let garbage = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let encrypted =
        "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    let host = CertificateFiles {
        hosts: vec!["https://a.test".into()],
        ..good.clone()
    };

    let cases = [
        (
            certificate(&dir.path().join("nowhere.crt")),
            "nowhere.crt: cannot be read",
        ),
        (
            certificate(&text("empty.crt", "")),
            "empty.crt: there is no certificate",
        ),
        (
            certificate(&text("cut.crt", "-----BEGIN CERTIFICATE-----\nA")),
            "cut.crt: the certificate",
        ),
        (
            certificate(&text("bad.crt", garbage)),
            "bad.crt: the certificate is malformed",
        ),
        (
            certificate(&text("big.crt", &"x".repeat(1 << 21))),
            "big.crt: larger than 1 MiB",
        ),
        (
            key(&text("empty.key", "")),
            "empty.key: there is no private key",
        ),
        (
            key(&text("locked.key", encrypted)),
            "locked.key: the private key is encrypted",
        ),
        (key(&other.key), "does not match the certificate"),
        (host, "\"https://a.test\" is not a host name"),
    ];
    let (files, messages): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
    let errors = errors(&files);
    assert_eq!(errors.len(), messages.len());
    for (error, message) in errors.iter().zip(messages) {
        assert!(error.to_string().contains(message), "{error} / {message}");
    }
}

#[test]
fn a_set_is_never_empty() {
    assert!(matches!(errors(&[])[..], [EdgeCertificateError::NoneGiven]));
}

#[test]
fn what_works_badly_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let now = SystemTime::now();
    let expired = made(dir.path(), "expired", &["a.test"], now - 400 * DAY);
    let early = made(dir.path(), "early", &["b.test"], now + DAY);
    let again = made(dir.path(), "again", &["a.test"], now);
    let nameless = made(dir.path(), "nameless", &[], now);
    let hosts = vec!["c.test".to_owned()];
    let other = CertificateFiles {
        hosts,
        ..made(dir.path(), "other", &["d.test"], now)
    };
    let set = EdgeCertificateSet::load(&[expired, early, again, nameless, other], now).unwrap();
    let [expired, early, shadowed, unused, uncovered] = set.warnings() else {
        panic!("{:?}", set.warnings());
    };
    assert!(matches!(expired, EdgeCertificateWarning::Expired { .. }));
    assert!(matches!(early, EdgeCertificateWarning::NotYetValid { .. }));
    assert!(matches!(shadowed, EdgeCertificateWarning::Shadowed { host, .. } if host == "a.test"));
    assert!(matches!(unused, EdgeCertificateWarning::NeverUsed { .. }));
    assert!(
        matches!(uncovered, EdgeCertificateWarning::HostNotCovered { host, .. } if host == "c.test")
    );
    assert!(
        expired.to_string().contains("development.crt: expired at"),
        "{expired}"
    );
    assert_eq!(set.expiries().len(), 5);
}

#[test]
fn a_development_certificate_is_made_once_and_kept() {
    let dir = TempDir::new().unwrap();
    let now = SystemTime::now();
    let make = |names: &[&str], now| made(dir.path(), "tls", names, now);
    let read = |files: &CertificateFiles| fs::read_to_string(&files.certificate).unwrap();

    let first = make(&["localhost", "127.0.0.1", "*.weir.localhost"], now);
    let text = read(&first);
    let mode = fs::metadata(&first.key).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        read(&make(&["localhost", "127.0.0.1", "*.weir.localhost"], now)),
        text
    );
    assert_eq!(read(&make(&["localhost"], now + 300 * DAY)), text);

    let wider = read(&make(&["localhost", "shop.test"], now));
    assert_ne!(wider, text);
    let renewed = read(&make(&["localhost"], now + 360 * DAY));
    assert_ne!(renewed, wider);
    fs::write(&first.key, "broken").unwrap();
    let repaired = read(&make(&["localhost"], now));
    assert_ne!(repaired, renewed);
    assert_eq!(fs::read_dir(dir.path().join("tls")).unwrap().count(), 2);

    let error = self_signed(&["a b".into()], dir.path(), now)
        .unwrap_err()
        .to_string();
    assert!(error.contains("\"a b\""), "{error}");
}
