//! Hop-by-hop fields (RFC 9110 section 7.6.1): they speak about one connection and end there.
//!
//! `Connection` may name further fields to drop. A client could use that to drop what a proxy in
//! front of Weir has set, so fields that carry identity, framing or routing stay whatever it says.

use http::header::{CONNECTION, TE};
use http::{HeaderMap, HeaderName, HeaderValue};
use smallvec::SmallVec;

/// Takes hop-by-hop fields out of a request, and those for which `also` holds. `TE: trailers`
/// stays: it asks the service, not this connection.
pub(crate) fn strip_request(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let trailers = headers.contains_key(TE) && has_token(headers, &TE, "trailers");
    strip(headers, also);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
}

/// Takes hop-by-hop fields out of a response.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    strip(headers, |_| false);
}

/// Takes out of trailers what speaks about the connection, the framing, the routing or the meaning
/// of the message (RFC 9110, 6.5.1), and those for which `also` holds: a receiver may merge
/// trailers into the header section.
pub(crate) fn strip_trailers(trailers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let no_place = |name: &str| {
        is_hop_by_hop(name) || NEVER_IN_TRAILERS.binary_search(&name).is_ok() || also(name)
    };
    let gone: SmallVec<[HeaderName; 4]> = trailers
        .keys()
        .filter(|name| no_place(name.as_str()))
        .cloned()
        .collect();
    for name in gone {
        trailers.remove(name);
    }
}

fn strip(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    let mut gone: SmallVec<[HeaderName; 8]> = SmallVec::new();
    for name in headers.keys() {
        if is_hop_by_hop(name.as_str()) || also(name.as_str()) {
            gone.push(name.clone());
        }
    }
    if gone.is_empty() {
        return;
    }
    for value in headers.get_all(CONNECTION) {
        for token in value.as_bytes().split(|&byte| byte == b',') {
            let token = token.trim_ascii();
            if token.eq_ignore_ascii_case(b"keep-alive") || token.eq_ignore_ascii_case(b"close") {
                continue;
            }
            // What is no field name names no field.
            if let Ok(name) = HeaderName::from_bytes(token)
                && !is_protected(name.as_str())
            {
                gone.push(name);
            }
        }
    }
    for name in gone {
        headers.remove(name);
    }
}

/// Whether a comma-separated field holds this token, parameters and case aside.
pub(crate) fn has_token(headers: &HeaderMap, name: &HeaderName, wanted: &str) -> bool {
    headers.get_all(name).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|token| {
            let token = token.split(|&byte| byte == b';').next().unwrap_or_default();
            token.trim_ascii().eq_ignore_ascii_case(wanted.as_bytes())
        })
    })
}

/// Whether a field ends at this proxy. `expect` is among them because the engine answers
/// `100 (Continue)` by itself.
pub(super) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "expect"
            | "http2-settings"
            | "keep-alive"
            | "proxy-authorization"
            | "proxy-connection"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

fn is_protected(name: &str) -> bool {
    matches!(
        name,
        "authorization"
            | "cache-control"
            | "content-encoding"
            | "content-length"
            | "content-type"
            | "cookie"
            | "forwarded"
            | "host"
            | "set-cookie"
            | "traceparent"
            | "tracestate"
            | "x-real-ip"
    ) || name.starts_with("x-forwarded-")
        || name.starts_with("weir-")
}

/// In alphabetical order.
const NEVER_IN_TRAILERS: [&str; 16] = [
    "authorization",
    "cache-control",
    "content-encoding",
    "content-length",
    "content-range",
    "content-type",
    "cookie",
    "host",
    "max-forwards",
    "proxy-authenticate",
    "range",
    "set-cookie",
    "trailer",
    "vary",
    "via",
    "www-authenticate",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn stripped(fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        strip_request(&mut headers, |_| false);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
            .collect();
        left.sort();
        left
    }

    #[test]
    fn fields_of_the_connection_end_here() {
        let left = stripped(&[
            ("connection", "keep-alive, X-Secret , te"),
            ("keep-alive", "timeout=5"),
            ("x-secret", "1"),
            ("te", "gzip, trailers;q=1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABkAARAAAAAAAIAAAAA"),
            ("proxy-connection", "keep-alive"),
            ("accept", "*/*"),
        ]);
        assert_eq!(left, ["accept: */*", "te: trailers"]);
    }

    #[test]
    fn trailers_change_nothing_of_the_message() {
        assert!(NEVER_IN_TRAILERS.is_sorted());
        let fields = [
            "x-sum",
            "grpc-status",
            "content-length",
            "te",
            "host",
            "weir-peer",
        ];
        let trailers = || {
            let fields = fields.map(|name| (HeaderName::from_static(name), HeaderValue::from(1)));
            HeaderMap::from_iter(fields)
        };
        let left = |trailers: &HeaderMap| {
            let mut left: Vec<_> = trailers.keys().map(|name| name.to_string()).collect();
            left.sort();
            left
        };
        let mut response = trailers();
        strip_trailers(&mut response, |_| false);
        assert_eq!(left(&response), ["grpc-status", "weir-peer", "x-sum"]);
        let mut request = trailers();
        strip_trailers(&mut request, |name| name.starts_with("weir-"));
        assert_eq!(left(&request), ["grpc-status", "x-sum"]);
    }

    #[test]
    fn connection_cannot_drop_what_others_rely_on() {
        let left = stripped(&[
            (
                "connection",
                "authorization, x-forwarded-for, host, cookie, x-y",
            ),
            ("authorization", "Bearer x"),
            ("x-forwarded-for", "1.2.3.4"),
            ("host", "a"),
            ("cookie", "c"),
            ("x-y", "gone"),
        ]);
        assert_eq!(
            left,
            [
                "authorization: Bearer x",
                "cookie: c",
                "host: a",
                "x-forwarded-for: 1.2.3.4"
            ]
        );
    }
}
