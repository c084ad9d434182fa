//! A 304 renews what is stored (RFC 9111 sections 3.2 and 4.3.4).

use http::HeaderMap;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG, HeaderName, LAST_MODIFIED,
};

use super::conditional::{opaque, text};

/// Whether a 304 speaks of the response that it was asked about: no tag, or the same; without
/// tags, no date or the same.
#[must_use]
pub fn same_response(stored: &HeaderMap, renewed: &HeaderMap) -> bool {
    let same = |name: &HeaderName| match (stored.get(name), renewed.get(name)) {
        (Some(one), Some(other)) => opaque(&text(one)) == opaque(&text(other)),
        (None, Some(_)) => false,
        (_, None) => true,
    };
    match renewed.contains_key(ETAG) {
        true => same(&ETAG),
        false => same(&LAST_MODIFIED),
    }
}

/// Replaces the fields of a stored response by those of a 304, except what describes the stored
/// bytes.
pub fn freshen(stored: &mut HeaderMap, renewed: &HeaderMap) {
    let kept = [CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, ETAG];
    for name in renewed.keys() {
        if kept.contains(name) || name.as_str() == "content-md5" {
            continue;
        }
        stored.remove(name);
        for value in renewed.get_all(name) {
            stored.append(name.clone(), value.clone());
        }
    }
    // Both are said by the 304 or not at all: those of the stored response are of another time.
    for name in ["age", "warning"] {
        if !renewed.contains_key(name) {
            stored.remove(name);
        }
    }
}
