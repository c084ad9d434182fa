//! Whether the length of a response is certain (RFC 9112, section 6.3).
//!
//! A parser that settles contradictions by itself settles them for us only: a cache or proxy in
//! front may settle otherwise, and what one takes for a body is the next response for the other.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

/// What is contradictory about the length of a response with these fields.
#[must_use]
pub fn ambiguity(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Some("the response has more than one `Content-Length`");
    }
    if length.is_some_and(|length| length.as_bytes().contains(&b',')) {
        return Some("the response has a list for a `Content-Length`");
    }
    let coding = coding?;
    if length.is_some() {
        return Some("the response has both `Content-Length` and `Transfer-Encoding`");
    }
    let chunked = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    (!chunked || codings.next().is_some())
        .then_some("the response has a transfer coding other than `chunked`")
}
