//! A private key as a value: read from PEM, handed to rustls, never printed.

use std::fmt;
use std::sync::Arc;

use rustls::sign::SigningKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{PrivateKeyDer, pem};
use thiserror::Error;

use crate::provider::provider;

/// Why a text is not a usable private key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// The key is encrypted with a passphrase.
    #[error("the private key is encrypted; decrypt it, e.g. with `openssl pkey`")]
    Encrypted,
    /// The PEM text is malformed.
    #[error("the PEM text of the private key is malformed")]
    Malformed,
    /// There is no private key in the text.
    #[error("there is no private key (PKCS#8, PKCS#1 or SEC1 PEM)")]
    Missing,
    /// The key's algorithm or parameters cannot be used for TLS here.
    #[error("the private key is of an unsupported kind; use ECDSA P-256/P-384, Ed25519 or RSA")]
    Unsupported,
}

/// A private key. `Debug` hides it.
pub struct PrivateKey(PrivateKeyDer<'static>);

impl PrivateKey {
    /// Reads the first private key of a PEM text.
    pub fn from_pem(text: &[u8]) -> Result<Self, KeyError> {
        match PrivateKeyDer::from_pem_slice(text) {
            Ok(der) => Ok(Self(der)),
            Err(pem::Error::NoItemsFound) if contains(text, b"BEGIN ENCRYPTED PRIVATE KEY") => {
                Err(KeyError::Encrypted)
            }
            Err(pem::Error::NoItemsFound) => Err(KeyError::Missing),
            // The library's message may quote the line, and the line may be part of a key.
            Err(_) => Err(KeyError::Malformed),
        }
    }

    /// What rustls signs with.
    pub(crate) fn signing_key(&self) -> Result<Arc<dyn SigningKey>, KeyError> {
        let loader = provider().key_provider;
        loader
            .load_private_key(self.0.clone_key())
            .map_err(|_| KeyError::Unsupported)
    }
}

impl From<PrivateKeyDer<'static>> for PrivateKey {
    fn from(der: PrivateKeyDer<'static>) -> Self {
        Self(der)
    }
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("PrivateKey(<hidden>)")
    }
}

fn contains(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{KeyError, PrivateKey};

    #[test]
    fn errors_name_the_fault_and_never_the_key() {
        let error = |text: &str| PrivateKey::from_pem(text.as_bytes()).unwrap_err();
        assert_eq!(error(""), KeyError::Missing);
        assert_eq!(
            error("-----BEGIN PRIVATE KEY-----\nAAAA\n"),
            KeyError::Malformed
        );
        let encrypted =
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
        assert_eq!(error(encrypted), KeyError::Encrypted);
        let nonsense = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        let key = PrivateKey::from_pem(nonsense.as_bytes()).unwrap();
        assert_eq!(key.signing_key().unwrap_err(), KeyError::Unsupported);
        assert_eq!(format!("{key:?}"), "PrivateKey(<hidden>)");
    }
}
