//! The keys that sign tokens: one for each algorithm, made once and kept in files.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, RsaKeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::{Jwk, JwkSet, PublicKeyUse, ThumbprintHash};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde::Deserialize;
use thiserror::Error;

/// How a token can be signed.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub(super) enum TokenAlgorithm {
    /// ECDSA on P-256.
    #[default]
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// RSA with 2048 bits, PKCS #1 v1.5.
    #[serde(rename = "RS256")]
    Rs256,
}

/// Why there are no keys.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file does not hold a key of its algorithm.
    #[error("{path} holds no {algorithm} key: {source}; move it away to have a new one made")]
    Content {
        /// The file.
        path: PathBuf,
        /// What it should hold a key of.
        algorithm: &'static str,
        /// What is wrong.
        source: jsonwebtoken::errors::Error,
    },
    /// The file or its directory cannot be used.
    #[error("cannot use {path}: {source}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// No randomness.
    #[error("cannot make a key")]
    Generate,
    /// Others can read the file.
    #[error("others can read the key {path} (mode {mode:o}); run chmod 600 on it")]
    Readable {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// A key with its public half.
pub(super) struct SigningKey {
    pub(super) algorithm: Algorithm,
    pub(super) id: String,
    pub(super) private: EncodingKey,
    public: Jwk,
}

/// One key for each [`TokenAlgorithm`].
pub(super) struct Keyring {
    es256: SigningKey,
    eddsa: SigningKey,
    rs256: SigningKey,
}

impl Keyring {
    /// Reads the keys of a directory, and makes what is missing.
    pub(super) fn open(directory: &Path) -> Result<Self, KeyError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| KeyError::File {
                path: directory.to_owned(),
                source,
            })?;
        Ok(Self {
            es256: open(directory, TokenAlgorithm::Es256)?,
            eddsa: open(directory, TokenAlgorithm::EdDsa)?,
            rs256: open(directory, TokenAlgorithm::Rs256)?,
        })
    }

    pub(super) fn key(&self, algorithm: TokenAlgorithm) -> &SigningKey {
        match algorithm {
            TokenAlgorithm::Es256 => &self.es256,
            TokenAlgorithm::EdDsa => &self.eddsa,
            TokenAlgorithm::Rs256 => &self.rs256,
        }
    }

    /// What verifies the tokens.
    pub(super) fn public_keys(&self) -> JwkSet {
        let keys = [&self.rs256, &self.es256, &self.eddsa];
        JwkSet {
            keys: keys.into_iter().map(|key| key.public.clone()).collect(),
        }
    }
}

impl TokenAlgorithm {
    fn name(self) -> &'static str {
        match self {
            Self::Es256 => "es256",
            Self::EdDsa => "ed25519",
            Self::Rs256 => "rs256",
        }
    }

    fn algorithm(self) -> Algorithm {
        match self {
            Self::Es256 => Algorithm::ES256,
            Self::EdDsa => Algorithm::EdDSA,
            Self::Rs256 => Algorithm::RS256,
        }
    }

    fn read(self, pem: &[u8]) -> jsonwebtoken::errors::Result<EncodingKey> {
        match self {
            Self::Es256 => EncodingKey::from_ec_pem(pem),
            Self::EdDsa => EncodingKey::from_ed_pem(pem),
            Self::Rs256 => EncodingKey::from_rsa_pem(pem),
        }
    }

    /// A new key as PKCS #8.
    fn generate(self) -> Result<Vec<u8>, Unspecified> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        match self {
            Self::Es256 => {
                let key = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
                Ok(key.as_ref().to_vec())
            }
            // Version 1, without the public key: the form that everybody reads.
            Self::EdDsa => Ok(Ed25519KeyPair::generate_pkcs8v1(&random)?.as_ref().to_vec()),
            Self::Rs256 => {
                let key = RsaKeyPair::generate(KeySize::Rsa2048)?;
                let der: Pkcs8V1Der<'_> = key.as_der()?;
                Ok(der.as_ref().to_vec())
            }
        }
    }
}

fn open(directory: &Path, algorithm: TokenAlgorithm) -> Result<SigningKey, KeyError> {
    let path = directory.join(format!("{}.pem", algorithm.name()));
    let of_file = |source| KeyError::File {
        path: path.clone(),
        source,
    };
    if !path.try_exists().map_err(of_file)? {
        let key = algorithm.generate().map_err(|_| KeyError::Generate)?;
        create(&path, &pem(&key)).map_err(of_file)?;
    }
    let file = File::open(&path).map_err(of_file)?;
    let mode = file.metadata().map_err(of_file)?.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(KeyError::Readable { path, mode });
    }
    let mut text = Vec::new();
    file.take(KEY_BYTES_MAX)
        .read_to_end(&mut text)
        .map_err(of_file)?;
    signing_key(algorithm, &text).map_err(|source| KeyError::Content {
        path: path.clone(),
        algorithm: algorithm.name(),
        source,
    })
}

fn signing_key(algorithm: TokenAlgorithm, pem: &[u8]) -> jsonwebtoken::errors::Result<SigningKey> {
    let private = algorithm.read(pem)?;
    let mut public = Jwk::from_encoding_key(&private, algorithm.algorithm())?;
    // The same key has the same id after every start (RFC 7638).
    let id = public.thumbprint(ThumbprintHash::SHA256)?;
    public.common.key_id = Some(id.clone());
    public.common.public_key_use = Some(PublicKeyUse::Signature);
    Ok(SigningKey {
        algorithm: algorithm.algorithm(),
        id,
        private,
        public,
    })
}

/// Makes the file in one step, so that nobody ever reads half a key. Whoever comes second leaves
/// the key of the first.
fn create(path: &Path, text: &str) -> io::Result<()> {
    let draft = path.with_extension(format!("new-{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all());
    let linked = written.and_then(|()| fs::hard_link(&draft, path));
    fs::remove_file(&draft)?;
    match linked {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    }
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = String::from("-----BEGIN PRIVATE KEY-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem.push_str("-----END PRIVATE KEY-----\n");
    pem
}

/// More than any of the keys needs.
const KEY_BYTES_MAX: u64 = 16 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{KeyError, Keyring};
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt};

    #[test]
    fn keys_are_made_once_and_kept_private() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("keys");
        let first = Keyring::open(&place).unwrap().public_keys();
        assert_eq!(Keyring::open(&place).unwrap().public_keys(), first);
        let ids: Vec<_> = first
            .keys
            .iter()
            .map(|key| key.common.key_id.clone())
            .collect();
        assert_eq!(ids.len(), 3);
        assert!(
            ids.iter()
                .all(|id| id.as_ref().is_some_and(|id| id.len() == 43)),
            "{ids:?}"
        );
        let files: Vec<_> = fs::read_dir(&place)
            .unwrap()
            .map(|file| file.unwrap())
            .collect();
        assert_eq!(files.len(), 3);
        assert!(
            files
                .iter()
                .all(|file| file.metadata().unwrap().mode() & 0o777 == 0o600)
        );
    }

    #[test]
    fn keys_that_others_can_read_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        Keyring::open(directory.path()).unwrap();
        let path = directory.path().join("es256.pem");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let refused = Keyring::open(directory.path()).err();
        assert!(matches!(
            refused,
            Some(KeyError::Readable { mode: 0o644, .. })
        ));
    }

    #[test]
    fn a_file_of_another_kind_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        Keyring::open(directory.path()).unwrap();
        fs::write(directory.path().join("ed25519.pem"), "nonsense").unwrap();
        let refused = Keyring::open(directory.path()).err();
        assert!(matches!(
            refused,
            Some(KeyError::Content {
                algorithm: "ed25519",
                ..
            })
        ));
    }
}
