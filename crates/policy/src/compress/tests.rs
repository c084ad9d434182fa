//! Which coding is chosen, and which responses it is used on.

use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, ETAG, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weir_config::compress::{Compress, Effort, Encoding};

use super::{Coding, CompressPlan};

fn plan() -> CompressPlan {
    CompressPlan::compile(&Compress::default()).expect("it is on unless told")
}

fn negotiated(accept: &str) -> Option<&'static str> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT_ENCODING, accept.parse().expect("a value"));
    plan()
        .negotiate(&headers)
        .map(|coding| coding.encoding.as_str())
}

const GZIP: Coding = Coding {
    encoding: Encoding::Gzip,
    effort: Effort::Balanced,
};

/// A head of a response, and whether it is compressed.
fn decided(status: u16, head: &[(&str, &str)], bytes: Option<u64>) -> (bool, HeaderMap) {
    let mut headers = HeaderMap::new();
    for (name, value) in head {
        let name: HeaderName = name.parse().expect("a name");
        headers.append(name, HeaderValue::from_str(value).expect("a value"));
    }
    let status = StatusCode::from_u16(status).expect("a status");
    let coding = plan().decide(Some(GZIP), status, &mut headers, bytes);
    (coding.is_some(), headers)
}

#[test]
fn the_client_chooses_and_among_equals_the_document() {
    for (accept, expected) in [
        ("gzip", Some("gzip")),
        ("gzip, br, zstd", Some("zstd")),
        ("gzip;q=1.0, br;q=0.5", Some("gzip")),
        ("br;q=0.9, zstd;q=0.900", Some("zstd")),
        ("*", Some("zstd")),
        ("*;q=0.1, gzip", Some("gzip")),
        ("zstd;q=0, *", Some("br")),
        ("x-gzip", Some("gzip")),
        ("GZIP ; Q=0.3", Some("gzip")),
        ("identity", None),
        ("", None),
        ("gzip;q=0", None),
        ("*;q=0", None),
        ("deflate", None),
        // Not weights of RFC 9110: what is not understood is not used.
        ("gzip;q=2", None),
        ("gzip;q=0.1234", None),
        ("gzip;q=abc", None),
        ("gzip;q=1.001", None),
    ] {
        assert_eq!(negotiated(accept), expected, "{accept}");
    }
    assert!(plan().negotiate(&HeaderMap::new()).is_none());
}

#[test]
fn only_what_shrinks_and_may_be_changed_is_compressed() {
    let json = ("content-type", "application/json");
    for (compressed, status, head, bytes) in [
        (true, 200, vec![json], Some(1024)),
        (true, 200, vec![json], None),
        (true, 404, vec![json], Some(4096)),
        (
            true,
            200,
            vec![("content-type", "Text/HTML; charset=utf-8")],
            None,
        ),
        (
            true,
            200,
            vec![("content-type", "application/problem+json")],
            None,
        ),
        (false, 200, vec![json], Some(1023)),
        (false, 204, vec![json], None),
        (
            false,
            206,
            vec![json, ("content-range", "bytes 0-9/20")],
            None,
        ),
        (false, 304, vec![json], None),
        (false, 301, vec![json], None),
        (false, 200, vec![json, ("content-encoding", "br")], None),
        (
            false,
            200,
            vec![json, ("cache-control", "max-age=3, no-transform")],
            None,
        ),
        (false, 200, vec![("content-type", "image/png")], Some(9000)),
        (
            false,
            200,
            vec![("content-type", "text/event-stream")],
            None,
        ),
        (false, 200, vec![("content-type", "application/grpc")], None),
        (false, 200, vec![], Some(9000)),
    ] {
        assert_eq!(decided(status, &head, bytes).0, compressed, "{head:?}");
    }
}

#[test]
fn the_head_says_what_was_done() {
    let head = [
        ("content-type", "text/plain"),
        ("content-length", "5000"),
        ("accept-ranges", "bytes"),
        ("etag", "\"a\""),
        ("vary", "origin"),
    ];
    let (_, headers) = decided(200, &head, Some(5000));
    assert_eq!(headers[CONTENT_ENCODING], "gzip");
    assert_eq!(headers[ETAG], "W/\"a\"");
    assert!(!headers.contains_key(CONTENT_LENGTH) && !headers.contains_key("accept-ranges"));
    let vary: Vec<_> = headers.get_all(VARY).iter().collect();
    assert_eq!(vary, ["origin", "accept-encoding"]);

    // Weak already, and told already.
    let head = [
        ("content-type", "text/plain"),
        ("etag", "W/\"a\""),
        ("vary", "Accept-Encoding"),
    ];
    let (_, headers) = decided(200, &head, None);
    assert_eq!(headers[ETAG], "W/\"a\"");
    assert_eq!(headers.get_all(VARY).iter().count(), 1);
}

#[test]
fn a_client_that_accepts_nothing_still_gets_vary() {
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("text/css"));
    let coding = plan().decide(None, StatusCode::OK, &mut headers, None);
    assert_eq!(coding, None);
    assert_eq!(headers[VARY], "accept-encoding");
    assert!(!headers.contains_key(CONTENT_ENCODING));
}
