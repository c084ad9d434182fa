//! Conditional requests: of clients, answered from what is stored (RFC 9110 section 13, RFC 9111
//! section 4.3.2), and of the cache itself (section 4.3.1).

use http::header::{DATE, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use super::directives::split_unquoted;
use super::semantics::{date, one_date};

/// Whether a request asks for an answer only if it has changed.
#[must_use]
pub fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE)
}

/// Takes the client's conditions out: the answer is wanted whole, to be stored.
pub fn strip_conditions(request: &mut HeaderMap) {
    for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_RANGE, RANGE] {
        request.remove(name);
    }
}

/// Whether the client has what is stored already: 304. `If-None-Match` counts alone where it is
/// there (RFC 9110 section 13.2.2).
#[must_use]
pub fn not_modified(request: &HeaderMap, stored: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let Some(etag) = stored.get(ETAG).map(text) else {
            return false;
        };
        let mut lists = request.get_all(IF_NONE_MATCH).iter().map(text);
        return lists.any(|list| {
            let mut members = split_unquoted(&list).map(str::trim);
            members.any(|member| member == "*" || opaque(member) == opaque(&etag))
        });
    }
    let Some(since) = one_date(request, IF_MODIFIED_SINCE) else {
        return false;
    };
    let modified = one_date(stored, LAST_MODIFIED).or_else(|| one_date(stored, DATE));
    modified.is_some_and(|modified| modified <= since)
}

/// Whether a stored response can be validated.
pub(super) fn has_validator(stored: &HeaderMap) -> bool {
    stored.contains_key(ETAG) || stored.contains_key(LAST_MODIFIED)
}

/// Makes a request ask whether what is stored still holds; `false` when nothing can be asked by.
pub fn validate_with(stored: &HeaderMap, request: &mut HeaderMap) -> bool {
    strip_conditions(request);
    for (validator, condition) in [(ETAG, IF_NONE_MATCH), (LAST_MODIFIED, IF_MODIFIED_SINCE)] {
        if let Some(value) = stored.get(validator) {
            request.insert(condition, value.clone());
        }
    }
    has_validator(stored)
}

/// Whether `If-Range` lets a part be served: the same strong tag, or exactly the date (RFC 9110
/// section 13.1.5).
pub(super) fn range_holds(request: &HeaderMap, stored: &HeaderMap) -> bool {
    let Some(condition) = request.get(IF_RANGE) else {
        return true;
    };
    let wanted = text(condition);
    if wanted.starts_with('"') || wanted.starts_with("W/") {
        let etag = stored.get(ETAG).map(text);
        return wanted.starts_with('"') && etag == Some(wanted);
    }
    let modified = one_date(stored, LAST_MODIFIED);
    modified.is_some() && modified == date(condition)
}

/// A tag without the mark of weakness.
pub(super) fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// A value as text: what is not ASCII in it is only compared.
pub(super) fn text(value: &HeaderValue) -> String {
    let characters = value.as_bytes().iter().map(|&byte| char::from(byte));
    characters.collect::<String>().trim().to_owned()
}
