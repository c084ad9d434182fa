//! A stored answer becomes a response: whole, a part of it, or 304. What the route changes in its
//! head is changed afterwards, by the exchange, as in any other response.

use bytes::Bytes;
use http::header::{
    ACCEPT_RANGES, AGE, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use weir_policy::cache::{self, Ranged};
use weir_policy::moment::Moment;

use super::shelf::Stored;

/// What is asked of a stored answer.
pub(super) struct Question<'a> {
    pub(super) method: &'a Method,
    /// The request as the endpoint would have got it.
    pub(super) headers: &'a HeaderMap,
    pub(super) now: Moment,
}

impl Question<'_> {
    /// The response made of a stored answer; `how` is what `Cache-Status` says.
    pub(super) fn answered(&self, stored: &Stored, how: &str) -> Response<Bytes> {
        let mut response = Response::new(stored.body.clone());
        *response.status_mut() = stored.status;
        *response.headers_mut() = stored.headers.clone();
        let age = stored.freshness.age(self.now).as_secs();
        response.headers_mut().insert(AGE, HeaderValue::from(age));
        if stored.status.is_success() && cache::not_modified(self.headers, &stored.headers) {
            not_modified(&mut response);
        } else if stored.status == StatusCode::OK {
            self.cut(stored, &mut response);
        }
        if *self.method == Method::HEAD {
            let length = response.body().len();
            if response.status() != StatusCode::NOT_MODIFIED {
                let headers = response.headers_mut();
                headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
            }
            *response.body_mut() = Bytes::new();
        }
        tell(response.headers_mut(), how);
        response
    }

    /// Leaves of the body what was asked for.
    fn cut(&self, stored: &Stored, response: &mut Response<Bytes>) {
        let length = stored.body.len();
        let (status, body, range) =
            match cache::ranged(self.method, self.headers, &stored.headers, length) {
                Ranged::Whole => return,
                Ranged::Part(first, last) => (
                    StatusCode::PARTIAL_CONTENT,
                    stored.body.slice(first..=last),
                    format!("bytes {first}-{last}/{length}"),
                ),
                Ranged::Unsatisfiable => (
                    StatusCode::RANGE_NOT_SATISFIABLE,
                    Bytes::new(),
                    format!("bytes */{length}"),
                ),
            };
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        if let Ok(range) = HeaderValue::from_str(&range) {
            headers.insert(CONTENT_RANGE, range);
        }
        *response.body_mut() = body;
    }
}

/// Makes a response one that says: you have it already.
fn not_modified(response: &mut Response<Bytes>) {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = Bytes::new();
    for name in [
        CONTENT_LENGTH,
        CONTENT_ENCODING,
        CONTENT_RANGE,
        CONTENT_TYPE,
    ] {
        response.headers_mut().remove(name);
    }
}

/// A 304 for a client that has what was just fetched.
pub(super) fn unchanged(headers: HeaderMap, how: &str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    *response.headers_mut() = headers;
    not_modified(&mut response);
    tell(response.headers_mut(), how);
    response
}

/// Adds this cache's line to `Cache-Status` (RFC 9211), behind those of caches nearer to the
/// origin.
pub(crate) fn tell(headers: &mut HeaderMap, how: &str) {
    // Made of words and numbers.
    if let Ok(value) = HeaderValue::try_from(format!("weir; {how}")) {
        headers.append(CACHE_STATUS, value);
    }
}

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
