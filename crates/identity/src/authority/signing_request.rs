//! Certificate signing requests: foreign bytes, of which only a proven public key is kept.
//!
//! rcgen could read the whole request, names and all, but derives the kind of key from the
//! signature algorithm, which does not have to agree with it. Here the key's own description
//! counts, and everything else in the request is never looked at.

use rcgen::{
    PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PublicKeyData as _,
    SubjectPublicKeyInfo,
};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer as _;

use super::AuthorityError;

/// The public key of a request that is signed with the private key belonging to it.
pub(super) fn verified_key(csr_pem: &str) -> Result<SubjectPublicKeyInfo, AuthorityError> {
    if csr_pem.len() > REQUEST_BYTES_MAX {
        return Err(AuthorityError::Request("it is larger than 16 KiB"));
    }
    let der = CertificateSigningRequestDer::from_pem_slice(csr_pem.as_bytes())
        .map_err(|_| AuthorityError::Request("it is not a PEM CERTIFICATE REQUEST"))?;
    let (rest, request) = X509CertificationRequest::from_der(&der)
        .map_err(|_| AuthorityError::Request("it cannot be parsed"))?;
    if !rest.is_empty() {
        return Err(AuthorityError::Request("there are bytes after its end"));
    }
    let key = SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw)
        .map_err(|_| AuthorityError::Request(KEY_KINDS))?;
    check_kind(&key)?;
    request
        .verify_signature()
        .map_err(|_| AuthorityError::Request("it is not signed with its own key"))?;
    Ok(key)
}

fn check_kind(key: &SubjectPublicKeyInfo) -> Result<(), AuthorityError> {
    let bytes = key.der_bytes();
    let uncompressed = bytes.first() == Some(&4);
    let algorithm = key.algorithm();
    let accepted = (algorithm == &PKCS_ECDSA_P256_SHA256 && uncompressed && bytes.len() == 65)
        || (algorithm == &PKCS_ECDSA_P384_SHA384 && uncompressed && bytes.len() == 97)
        || (algorithm == &PKCS_ED25519 && bytes.len() == 32);
    if accepted {
        Ok(())
    } else {
        Err(AuthorityError::Request(KEY_KINDS))
    }
}

const REQUEST_BYTES_MAX: usize = 16 * 1024;
const KEY_KINDS: &str = "its key must be ECDSA P-256 or P-384 (uncompressed), or Ed25519";
