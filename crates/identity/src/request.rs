//! Asking for a certificate: a fresh key, and the signing request that proves its possession.
//!
//! The request names nobody: whoever signs it decides on the name from the caller's authorization.
//! The key never leaves the process.

use std::fmt;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls_pki_types::PrivateKeyDer;
use thiserror::Error;

use crate::bundle::TrustBundle;
use crate::current::{Current, IdentityError};
use crate::key::PrivateKey;

/// A key or signing request could not be made; only a broken system gets here.
#[derive(Debug, Error)]
#[error("cannot make a key and its signing request: {0}")]
pub struct RequestError(#[from] rcgen::Error);

/// A fresh ECDSA P-256 key with its certificate signing request.
pub struct KeyRequest {
    key: PrivateKey,
    key_pem: String,
    csr_pem: String,
}

impl KeyRequest {
    /// Makes a new key and request.
    pub fn new() -> Result<Self, RequestError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let csr_pem = params.serialize_request(&pair)?.pem()?;
        Ok(Self {
            key_pem: pair.serialize_pem(),
            key: PrivateKey::from(PrivateKeyDer::from(pair)),
            csr_pem,
        })
    }

    /// The request, as PEM text, to be sent to the authority.
    pub fn csr_pem(&self) -> &str {
        &self.csr_pem
    }

    /// The private key as PEM text: for a file that only its owner reads, never for a log.
    pub fn expose_key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Puts the answer of the authority and the key together, once the chain is checked to belong
    /// to this key and to verify against the bundle.
    pub fn into_current(
        self,
        chain_pem: &str,
        bundle: TrustBundle,
    ) -> Result<Current, IdentityError> {
        Current::new(&self.key, chain_pem, bundle)
    }
}

impl fmt::Debug for KeyRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("KeyRequest(<hidden>)")
    }
}
