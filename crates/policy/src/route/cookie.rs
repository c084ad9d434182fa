//! Cookies of a request, read where they stand (RFC 6265 section 4.2).
//!
//! HTTP/2 may send every cookie in a field of its own, so all `cookie` fields are one list. A name
//! that is there more than once has more than one value, and any of them may meet a condition, as
//! with header fields. Names are compared byte by byte: cookies know no other case.

use http::HeaderMap;
use http::header::COOKIE;

/// Every value of a cookie, without the quotes that may stand around it. What has no `=` is no
/// cookie.
pub(crate) fn cookie_values<'h>(
    headers: &'h HeaderMap,
    name: &'h str,
) -> impl Iterator<Item = &'h [u8]> {
    headers
        .get_all(COOKIE)
        .iter()
        .flat_map(|field| field.as_bytes().split(|&byte| byte == b';'))
        .filter_map(move |pair| {
            let equals = pair.iter().position(|&byte| byte == b'=')?;
            let (key, value) = (&pair[..equals], &pair[equals + 1..]);
            (key.trim_ascii() == name.as_bytes()).then(|| unquoted(value.trim_ascii()))
        })
}

fn unquoted(value: &[u8]) -> &[u8] {
    match value {
        [b'"', inside @ .., b'"'] => inside,
        _ => value,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn values(fields: &[&str], name: &str) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(COOKIE, field.parse().unwrap());
        }
        cookie_values(&headers, name)
            .map(|value| String::from_utf8_lossy(value).into_owned())
            .collect()
    }

    #[test]
    fn cookies_are_found_wherever_they_stand() {
        let table: [(&[&str], &[&str]); 12] = [
            (&["v=1"], &["1"]),
            (&["a=0; v=1; b=2"], &["1"]),
            (&["a=0;v=1"], &["1"]),
            (&["a=0", "v=1"], &["1"]),
            (&["v=1; v=2", "v=3"], &["1", "2", "3"]),
            (&["v=\"1 2\""], &["1 2"]),
            (&["v=\""], &["\""]),
            (&["v="], &[""]),
            (&["v=a=b"], &["a=b"]),
            (&["xv=1; vx=2; V=3; v"], &[]),
            (&["a=v=1; b=; v ; =v"], &[]),
            (&[], &[]),
        ];
        for (fields, expected) in table {
            assert_eq!(values(fields, "v"), expected, "{fields:?}");
        }
    }
}
