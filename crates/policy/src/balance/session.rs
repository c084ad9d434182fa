//! Sessions: a cookie names the endpoint that a client stays at.
//!
//! The name is the first eight bytes of a SHA-256 over the service's key and the endpoint's
//! address: the same at every gateway that has the same key, and no way back to the address.

use http::{HeaderMap, HeaderValue};
use sha2::{Digest as _, Sha256};
use weir_config::balance::Sticky;

use crate::route::cookie_values;

/// The name of an endpoint in cookies of a service.
pub(super) fn name_of(service: &str, sticky: &Sticky, address: &str) -> u64 {
    let key = sticky.key.as_ref().map_or(service, |key| key.0.as_str());
    let mut hasher = Sha256::new();
    hasher.update((key.len() as u64).to_be_bytes());
    hasher.update(key);
    hasher.update(address);
    let digest = hasher.finalize();
    digest
        .iter()
        .take(size_of::<u64>())
        .fold(0, |name, byte| name << 8 | u64::from(*byte))
}

/// The endpoint that a request names. What is no name of ours counts as none.
pub(crate) fn named(sticky: &Sticky, headers: &HeaderMap) -> Option<u64> {
    cookie_values(headers, &sticky.cookie).find_map(|value| {
        let digits = std::str::from_utf8(value).ok()?;
        let hex = digits.len() == NAME_DIGITS && digits.bytes().all(|it| it.is_ascii_hexdigit());
        u64::from_str_radix(digits, 16).ok().filter(|_| hex)
    })
}

/// The value of `Set-Cookie` that names an endpoint (RFC 6265).
pub(crate) fn cookie(sticky: &Sticky, name: u64, secure: bool) -> Option<HeaderValue> {
    let mut text = format!("{}={name:016x}; Path=/", sticky.cookie);
    if let Some(ttl) = sticky.ttl {
        text.push_str(&format!("; Max-Age={}", ttl.as_secs().max(1)));
    }
    text.push_str("; HttpOnly; SameSite=Lax");
    if secure {
        text.push_str("; Secure");
    }
    // The cookie's name is a token, so this always is a value.
    HeaderValue::try_from(text).ok()
}

const NAME_DIGITS: usize = 16;
