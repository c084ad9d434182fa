//! `Via` (RFC 9110, 7.6.3): that a message was passed on, and in which version it had come.

use http::header::VIA;
use http::{HeaderMap, HeaderValue, Version};

/// Adds this hop behind those before.
pub(crate) fn add_via(headers: &mut HeaderMap, received: Version) {
    let value = HeaderValue::from_static(match received {
        Version::HTTP_2 => "2 weir",
        Version::HTTP_10 => "1.0 weir",
        _ => "1.1 weir",
    });
    headers.append(VIA, value);
}
