//! A compact JWS (RFC 7515) with JWT claims (RFC 7519): its signature, then its claims.
//!
//! Of jsonwebtoken only the verification of a signature with a given key and algorithm is used
//! (`crypto::verify`). Its `decode` would read the machine's clock (`validate` calls
//! `get_current_timestamp` as soon as `exp` or `nbf` is to be validated), checks `iss` and `aud`
//! only where they are present, and ignores `crit`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};
use weir_config::auth::{Algorithm, Issuer as IssuerConfig};

use crate::auth::Claims;
use crate::auth::keys::{self, KeySet};
use crate::moment::Moment;
use crate::refusal::{Code, Refusal};
use crate::snapshot::Issuer;

/// Verifies the signature of a token: claims and algorithm, nothing of which is believed yet but
/// that a key of this set has signed it.
///
/// # Errors `token-invalid`. When the token names a key that is not there, the keys are asked for
/// again.
pub(super) fn verify(
    token: &str,
    keys: &KeySet,
    issuer: &Issuer,
) -> Result<(Claims, Algorithm), Refusal> {
    // Three parts; five would be an encrypted token.
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(invalid("the token does not have three parts"));
    };
    let message = &token[..header.len() + 1 + payload.len()];
    let header: Header = part(header).ok_or_else(|| invalid("the token's header is malformed"))?;
    let algorithm = header.algorithm(&issuer.config)?;

    let id = header.kid.as_deref();
    let mut candidates = keys.candidates(id, algorithm).peekable();
    if candidates.peek().is_none() {
        if id.is_none_or(|id| !keys.has(id)) {
            // Perhaps a key that the issuer has begun to use since the last fetch.
            issuer.live.want();
        }
        return Err(invalid("no key of the issuer fits the token"));
    }
    let name = jose(algorithm);
    let signed = candidates.any(|key| {
        let verified =
            jsonwebtoken::crypto::verify(signature, message.as_bytes(), &key.verifier, name);
        matches!(verified, Ok(true))
    });
    if !signed {
        return Err(invalid("the token's signature is not valid"));
    }
    let payload = part::<Map<String, Value>>(payload);
    let payload = payload.ok_or_else(|| invalid("the token's claims are malformed"))?;
    Ok((Claims { payload }, algorithm))
}

/// Checks what a signed token says about itself against the issuer's settings and the time.
///
/// # Errors
/// `token-expired` or `token-invalid`.
pub(super) fn validate(
    claims: &Claims,
    algorithm: Algorithm,
    config: &IssuerConfig,
    at: Moment,
) -> Result<(), Refusal> {
    // A remembered token may have been verified before its algorithm was taken off the list.
    if !allows(config, algorithm) {
        return Err(invalid("the token's algorithm is not allowed"));
    }
    if claims.payload.get("iss").and_then(Value::as_str) != Some(&config.issuer) {
        return Err(invalid("the token is of another issuer"));
    }
    let for_us = |audience: &Value| {
        audience
            .as_str()
            .is_some_and(|name| config.audience.iter().any(|ours| ours == name))
    };
    let audience = match claims.payload.get("aud") {
        Some(Value::Array(list)) => list.iter().any(for_us),
        Some(one) => for_us(one),
        None => false,
    };
    if !audience {
        return Err(invalid("the token is for another audience"));
    }
    let (now, leeway) = (at.unix_seconds, config.leeway.as_secs());
    let expires = seconds(claims, "exp")?.ok_or_else(|| invalid("the token does not expire"))?;
    if now >= expires.saturating_add(leeway) {
        return Err(Refusal::new(Code::TokenExpired));
    }
    if seconds(claims, "nbf")?.is_some_and(|from| from > now.saturating_add(leeway)) {
        return Err(invalid("the token is not valid yet"));
    }
    if seconds(claims, "iat")?.is_some_and(|issued| issued > now.saturating_add(leeway)) {
        return Err(invalid("the token was issued in the future"));
    }
    Ok(())
}

/// What of a JOSE header decides. Unknown members are ignored, as the RFC says; keys that a header
/// brings along (`jwk`, `jku`, `x5c`) are unknown members here.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    typ: Option<String>,
    #[serde(default)]
    crit: Present,
    #[serde(default)]
    b64: Present,
}

impl Header {
    /// The algorithm, where the header is one that we may go by.
    fn algorithm(&self, config: &IssuerConfig) -> Result<Algorithm, Refusal> {
        // We understand no extension, and `b64` would change what is signed.
        if self.crit.0 || self.b64.0 {
            return Err(invalid("the token wants extensions that are not supported"));
        }
        // A logout token or a proof of possession is signed by the same keys and is not this.
        if self.typ.as_deref().is_some_and(|typ| !is_access_type(typ)) {
            return Err(invalid("the token is of another type"));
        }
        keys::algorithm_named(&self.alg)
            .filter(|algorithm| allows(config, *algorithm))
            .ok_or_else(|| invalid("the token's algorithm is not allowed"))
    }
}

/// Whether a member is there, whatever it says.
#[derive(Default)]
struct Present(bool);

impl<'de> Deserialize<'de> for Present {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Present, D::Error> {
        IgnoredAny::deserialize(deserializer).map(|_| Present(true))
    }
}

/// Media types of JWTs and access tokens (RFC 7519 §5.1, RFC 9068 §2.1).
fn is_access_type(typ: &str) -> bool {
    let prefix = "application/";
    let short = match typ.get(..prefix.len()) {
        Some(start) if start.eq_ignore_ascii_case(prefix) => &typ[prefix.len()..],
        _ => typ,
    };
    short.eq_ignore_ascii_case("jwt") || short.eq_ignore_ascii_case("at+jwt")
}

fn allows(config: &IssuerConfig, algorithm: Algorithm) -> bool {
    config
        .algorithms
        .iter()
        .any(|allowed| allowed.value == algorithm)
}

/// A NumericDate: seconds since 1970, possibly with a fraction; whole seconds count.
fn seconds(claims: &Claims, name: &'static str) -> Result<Option<u64>, Refusal> {
    let Some(value) = claims.payload.get(name) else {
        return Ok(None);
    };
    // The cast keeps what fits and ends at the largest number.
    let fraction = || {
        value
            .as_f64()
            .filter(|date| *date >= 0.0)
            .map(|date| date as u64)
    };
    match value.as_u64().or_else(fraction) {
        Some(date) => Ok(Some(date)),
        None => Err(invalid("a time in the token is malformed")),
    }
}

fn part<T: for<'de> Deserialize<'de>>(encoded: &str) -> Option<T> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()
}

fn jose(algorithm: Algorithm) -> jsonwebtoken::Algorithm {
    match algorithm {
        Algorithm::Es256 => jsonwebtoken::Algorithm::ES256,
        Algorithm::Es384 => jsonwebtoken::Algorithm::ES384,
        Algorithm::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        Algorithm::Ps256 => jsonwebtoken::Algorithm::PS256,
        Algorithm::Ps384 => jsonwebtoken::Algorithm::PS384,
        Algorithm::Ps512 => jsonwebtoken::Algorithm::PS512,
        Algorithm::Rs256 => jsonwebtoken::Algorithm::RS256,
        Algorithm::Rs384 => jsonwebtoken::Algorithm::RS384,
        Algorithm::Rs512 => jsonwebtoken::Algorithm::RS512,
    }
}

fn invalid(detail: &str) -> Refusal {
    Refusal::new(Code::TokenInvalid).with_detail(detail)
}
