//! Parts of a stored response (RFC 9110 section 14). One range is served as 206; more than one, and
//! anything that is no byte range, gets the whole, as the RFC allows.

use http::header::RANGE;
use http::{HeaderMap, Method};

use super::conditional::range_holds;

/// What of a stored body is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ranged {
    /// These bytes, the last one included: 206.
    Part(usize, usize),
    /// None of its bytes: 416.
    Unsatisfiable,
    /// All of it.
    Whole,
}

/// What a request asks for of a stored response with a body of `length` bytes.
#[must_use]
pub fn ranged(method: &Method, request: &HeaderMap, stored: &HeaderMap, length: usize) -> Ranged {
    let mut fields = request.get_all(RANGE).iter();
    let (Some(range), None) = (fields.next(), fields.next()) else {
        return Ranged::Whole;
    };
    let range = range.to_str().ok();
    let Some(range) = range.and_then(|range| range.trim().strip_prefix("bytes=")) else {
        return Ranged::Whole;
    };
    if method != Method::GET || range.contains(',') || !range_holds(request, stored) {
        return Ranged::Whole;
    }
    let Some((first, last)) = range.trim().split_once('-') else {
        return Ranged::Whole;
    };
    match (position(first), position(last)) {
        (Some(Some(first)), Some(last)) if last.is_none_or(|last| first <= last) => {
            let end = length.saturating_sub(1);
            let last = last.map_or(end, |last| last.min(end));
            match first < length {
                true => Ranged::Part(first, last),
                false => Ranged::Unsatisfiable,
            }
        }
        (Some(None), Some(Some(suffix))) => match suffix.min(length) {
            0 => Ranged::Unsatisfiable,
            suffix => Ranged::Part(length - suffix, length - 1),
        },
        _ => Ranged::Whole,
    }
}

/// Outer `None` for what is no number, inner for nothing at all.
fn position(text: &str) -> Option<Option<usize>> {
    if text.is_empty() {
        return Some(None);
    }
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(Some(text.parse().unwrap_or(usize::MAX)))
}
