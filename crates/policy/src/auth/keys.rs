//! Keys of an issuer: what of a JWK set (RFC 7517) may verify which algorithms.
//!
//! For: building the set once, when it is fetched, so that a request only looks a key up. A key
//! comes in only when every statement about it agrees: type, curve, sizes, `alg`, `use`, `key_ops`,
//! and the algorithms that the issuer allows. Symmetric keys never do: a public key set that could
//! verify HMAC would let anybody who can read it sign.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest, Sha256};
use weir_config::auth::Algorithm;

use crate::moment::Moment;

/// Keys of one issuer, swapped when they are fetched anew.
#[derive(Debug, Default)]
pub struct IssuerLive {
    keys: ArcSwapOption<KeySet>,
    wanted: AtomicBool,
    /// How often a different set was installed.
    generation: AtomicU64,
    /// Seconds since 1970 of the last installation that told its time; zero for never.
    installed: AtomicU64,
}

/// Why a JWK set was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It was not a JWK set.
    #[error("not a JWK set: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It holds no key for an allowed algorithm.
    #[error("no usable key for the allowed algorithms among {seen} keys")]
    NoUsableKey {
        /// How many keys it had.
        seen: usize,
    },
    /// It was longer than a key set can reasonably be.
    #[error("{bytes} bytes are more than a JWK set may have ({JWKS_BYTES_MAX})")]
    TooLong {
        /// Its length.
        bytes: usize,
    },
}

/// State of an issuer's keys, for admin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysStatus {
    /// How often a different set was installed.
    pub generation: u64,
    /// Seconds since 1970 of the last installation, also of an unchanged set, where it was told.
    pub installed_unix_seconds: Option<u64>,
    /// The keys in use.
    pub keys: Vec<KeyStatus>,
}

/// One key in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyStatus {
    /// Its id, where it has one.
    pub id: Option<String>,
    /// Algorithms it may verify.
    pub algorithms: Vec<Algorithm>,
}

impl IssuerLive {
    /// Installs a fetched JWK set. The same set again changes nothing, so that verified tokens stay
    /// remembered.
    ///
    /// # Errors
    /// Why no key of it can be used; the keys before stay.
    pub fn install(&self, jwks_json: &[u8], algorithms: &[Algorithm]) -> Result<usize, KeysError> {
        let set = KeySet::compile(jwks_json, algorithms)?;
        let usable = set.keys.len();
        let before = self.keys.load();
        if before
            .as_ref()
            .is_none_or(|before| before.digest != set.digest)
        {
            self.keys.store(Some(Arc::new(set)));
            self.generation.fetch_add(1, Ordering::Relaxed);
        }
        Ok(usable)
    }

    /// [`install`](Self::install), remembering when.
    ///
    /// # Errors
    /// As `install`.
    pub fn install_at(
        &self,
        jwks_json: &[u8],
        algorithms: &[Algorithm],
        at: Moment,
    ) -> Result<usize, KeysError> {
        let usable = self.install(jwks_json, algorithms)?;
        self.installed.store(at.unix_seconds, Ordering::Relaxed);
        Ok(usable)
    }

    /// Whether a token named a key that is not there, since the last call: fetch again (the fetcher
    /// bounds how often).
    pub fn take_wanted(&self) -> bool {
        self.wanted.swap(false, Ordering::Relaxed)
    }

    /// Whether there are any keys.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.keys.load().is_some()
    }

    /// What there is.
    #[must_use]
    pub fn status(&self) -> KeysStatus {
        let installed = self.installed.load(Ordering::Relaxed);
        let status = |key: &Key| KeyStatus {
            id: key.id.as_deref().map(str::to_owned),
            algorithms: key.algorithms.clone(),
        };
        KeysStatus {
            generation: self.generation.load(Ordering::Relaxed),
            installed_unix_seconds: (installed > 0).then_some(installed),
            keys: self
                .keys
                .load()
                .iter()
                .flat_map(|set| set.keys.iter().map(status))
                .collect(),
        }
    }

    pub(super) fn keys(&self) -> &ArcSwapOption<KeySet> {
        &self.keys
    }

    /// Asks for the keys to be fetched again.
    pub(super) fn want(&self) {
        // Read first: tokens with made-up key ids must not make workers fight for this word.
        if !self.wanted.load(Ordering::Relaxed) {
            self.wanted.store(true, Ordering::Relaxed);
        }
    }
}

/// The usable keys of a JWK set.
#[derive(Debug, Default)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    digest: [u8; 32],
}

/// A key and what it may verify.
#[derive(Debug)]
pub(super) struct Key {
    id: Option<Box<str>>,
    algorithms: Vec<Algorithm>,
    pub(super) verifier: DecodingKey,
}

impl KeySet {
    fn compile(jwks_json: &[u8], algorithms: &[Algorithm]) -> Result<KeySet, KeysError> {
        if jwks_json.len() > JWKS_BYTES_MAX {
            return Err(KeysError::TooLong {
                bytes: jwks_json.len(),
            });
        }
        let document: Document = serde_json::from_slice(jwks_json)?;
        let seen = document.keys.len();
        // One odd key must not cost the others: what cannot be read is left out.
        let keys: Vec<Key> = document
            .keys
            .into_iter()
            .filter_map(|value| serde_json::from_value::<Jwk>(value).ok())
            .filter_map(|jwk| jwk.usable(algorithms))
            .take(KEYS_MAX)
            .collect();
        if keys.is_empty() {
            return Err(KeysError::NoUsableKey { seen });
        }
        let digest = Sha256::new()
            .chain_update(format!("{algorithms:?}"))
            .chain_update(jwks_json)
            .finalize();
        Ok(KeySet {
            keys,
            digest: digest.into(),
        })
    }

    /// Keys that may have signed a token with this header, at most [`CANDIDATES_MAX`].
    pub(super) fn candidates<'a>(
        &'a self,
        id: Option<&'a str>,
        algorithm: Algorithm,
    ) -> impl Iterator<Item = &'a Key> {
        self.keys
            .iter()
            .filter(move |key| id.is_none() || key.id.as_deref() == id)
            .filter(move |key| key.algorithms.contains(&algorithm))
            .take(CANDIDATES_MAX)
    }

    /// Whether a key has this id, whatever it may verify.
    pub(super) fn has(&self, id: &str) -> bool {
        self.keys.iter().any(|key| key.id.as_deref() == Some(id))
    }
}

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

/// A JWK as written. Private members are not read.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// The key, where everything about it agrees.
    fn usable(self, allowed: &[Algorithm]) -> Option<Key> {
        let signs = self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = |operations: &Vec<String>| operations.iter().any(|name| name == "verify");
        if !signs || !self.key_ops.as_ref().is_none_or(verifies) {
            return None;
        }
        let (able, verifier): (&[Algorithm], DecodingKey) =
            match (self.kty.as_str(), self.crv.as_deref()) {
                ("RSA", _) => (RSA, self.rsa()?),
                ("EC", Some("P-256")) => (&[Algorithm::Es256], self.curve_point(32)?),
                ("EC", Some("P-384")) => (&[Algorithm::Es384], self.curve_point(48)?),
                ("OKP", Some("Ed25519")) => (&[Algorithm::EdDsa], self.ed25519()?),
                _ => return None,
            };
        let stated = match self.alg.as_deref() {
            // A key that is for an algorithm we do not know is for nothing else.
            Some(name) => Some(algorithm_named(name)?),
            None => None,
        };
        let algorithms: Vec<Algorithm> = able
            .iter()
            .copied()
            .filter(|algorithm| allowed.contains(algorithm))
            .filter(|algorithm| stated.is_none_or(|stated| stated == *algorithm))
            .collect();
        let id = self.kid.map(String::into_boxed_str);
        (!algorithms.is_empty()).then_some(Key {
            id,
            algorithms,
            verifier,
        })
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (modulus, exponent) = (decode(self.n.as_deref()?)?, decode(self.e.as_deref()?)?);
        let leading = modulus.iter().take_while(|byte| **byte == 0).count();
        let modulus = &modulus[leading..];
        let bits = modulus.len() * 8 - modulus.first()?.leading_zeros() as usize;
        (RSA_BITS_MIN..=RSA_BITS_MAX)
            .contains(&bits)
            .then(|| DecodingKey::from_rsa_raw_components(modulus, &exponent))
    }

    fn curve_point(&self, bytes: usize) -> Option<DecodingKey> {
        let (x, y) = (self.x.as_deref()?, self.y.as_deref()?);
        let right = |part: &str| decode(part).is_some_and(|decoded| decoded.len() == bytes);
        if !right(x) || !right(y) {
            return None;
        }
        DecodingKey::from_ec_components(x, y).ok()
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        let x = self.x.as_deref()?;
        decode(x).filter(|decoded| decoded.len() == 32)?;
        DecodingKey::from_ed_components(x).ok()
    }
}

/// The algorithm of this JOSE name, among those that can be allowed at all. RFC 9864 calls EdDSA
/// with this curve `Ed25519`.
pub(super) fn algorithm_named(name: &str) -> Option<Algorithm> {
    Some(match name {
        "ES256" => Algorithm::Es256,
        "ES384" => Algorithm::Es384,
        "EdDSA" | "Ed25519" => Algorithm::EdDsa,
        "PS256" => Algorithm::Ps256,
        "PS384" => Algorithm::Ps384,
        "PS512" => Algorithm::Ps512,
        "RS256" => Algorithm::Rs256,
        "RS384" => Algorithm::Rs384,
        "RS512" => Algorithm::Rs512,
        _ => return None,
    })
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

const RSA: &[Algorithm] = &[
    Algorithm::Ps256,
    Algorithm::Ps384,
    Algorithm::Ps512,
    Algorithm::Rs256,
    Algorithm::Rs384,
    Algorithm::Rs512,
];
/// Shorter keys can be factored (NIST SP 800-131A).
const RSA_BITS_MIN: usize = 2048;
/// Longer keys cost more per token than they protect; aws-lc refuses them as well.
const RSA_BITS_MAX: usize = 8192;
/// Most keys of an issuer; the rest is left out.
const KEYS_MAX: usize = 64;
/// Most keys tried for one token: what a token without `kid` may cost.
const CANDIDATES_MAX: usize = 4;
/// Longest JWK set read: 64 RSA keys with their certificate chains fit.
pub const JWKS_BYTES_MAX: usize = 1024 * 1024;
/// What a client is told to wait while there are no keys.
pub(super) const FETCH_PAUSE: Duration = Duration::from_secs(2);
