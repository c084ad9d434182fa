//! Tables of what is stored, and of what it is served for.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr};

use http::{Method, Version};
use weir_config::Document;

use super::*;
use crate::snapshot::ListenerId;

const NOW: u64 = 1_700_000_000;

fn moment(after: u64) -> Moment {
    Moment {
        nanos: (1_000 + after) * 1_000_000_000,
        unix_seconds: NOW + after,
    }
}

fn headers(fields: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in fields.split('\n').map(str::trim) {
        if let Some((name, value)) = line.split_once(':') {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value.trim()).unwrap());
        }
    }
    headers
}

fn written(text: &str) -> RouteCache {
    let text = format!("routes: [{{ path: /, to: a, cache: {text} }}]");
    let mut document = Document::from_yaml(&text).unwrap();
    document.routes.remove(0).cache.unwrap()
}

fn plan(text: &str) -> CachePlan {
    CachePlan::compile(&written(text), false)
}

fn date(seconds: u64) -> String {
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn asked(method: &Method, request: &str) -> Asked {
    Asked::of(method, &headers(request), true)
}

fn stored(request: &str, status: u16, response: &str) -> Result<Freshness, Unstorable> {
    let (request, response) = (headers(request), headers(response));
    let asked = Asked::of(&Method::GET, &request, true);
    let answer = (StatusCode::from_u16(status).unwrap(), &response);
    may_store(&plan("{}"), &request, &asked, answer, moment(0)).map(|(freshness, _)| freshness)
}

#[test]
fn what_is_stored_and_for_how_long() {
    use Unstorable::{Authorized, Cookie, Directives, Useless, Vary};
    let later = date(NOW + 100);
    let (ago, long_ago) = (date(NOW - 100), date(NOW - 3600 * 24 * 365));
    let dates = |text: &str| {
        text.replace("LATER", &later)
            .replace("LONG_AGO", &long_ago)
            .replace("AGO", &ago)
    };
    for (request, status, response, expected) in [
        ("", 200, "cache-control: max-age=60", Ok(60)),
        ("", 200, "cache-control: MAX-AGE=60", Ok(60)),
        ("", 200, "cache-control: s-maxage=5, max-age=60", Ok(5)),
        (
            "",
            200,
            "cache-control: max-age=60, proxy-revalidate",
            Ok(60),
        ),
        ("", 200, "cache-control: max-age=1, immutable", Ok(1)),
        (
            "",
            200,
            "cache-control: max-age=99999999999999999999",
            Ok(1 << 31),
        ),
        ("", 200, "cache-control: max-age=60\nage: 60", Err(Useless)),
        (
            "",
            200,
            "cache-control: max-age=60\nage: 18446744073709551615",
            Err(Useless),
        ),
        ("", 200, "cache-control: max-age=60\nage: abc", Err(Useless)),
        (
            "",
            200,
            "cache-control: max-age=60\ndate: AGO",
            Err(Useless),
        ),
        ("", 200, "cache-control: max-age=60\nexpires: 0", Ok(60)),
        ("", 200, "expires: LATER", Ok(100)),
        ("", 200, "expires: LATER\nexpires: LATER", Err(Useless)),
        ("", 200, "expires: 0", Err(Useless)),
        ("", 200, "expires: 0\netag: \"a\"", Ok(0)),
        ("", 200, "", Err(Useless)),
        ("", 200, "last-modified: AGO", Ok(10)),
        ("", 200, "last-modified: LONG_AGO", Ok(24 * 3600)),
        ("", 404, "last-modified: AGO", Ok(10)),
        ("", 500, "last-modified: AGO", Err(Directives)),
        ("", 500, "cache-control: max-age=60", Ok(60)),
        ("", 299, "cache-control: max-age=60", Ok(60)),
        (
            "",
            299,
            "cache-control: max-age=60, must-understand",
            Err(Directives),
        ),
        (
            "",
            200,
            "cache-control: max-age=60, must-understand, no-store",
            Ok(60),
        ),
        ("", 206, "cache-control: max-age=60", Err(Directives)),
        ("", 304, "cache-control: max-age=60", Err(Directives)),
        (
            "",
            200,
            "cache-control: max-age=60, private",
            Err(Directives),
        ),
        (
            "",
            200,
            "cache-control: max-age=60, private=\"x\"",
            Err(Directives),
        ),
        (
            "",
            200,
            "cache-control: max-age=60, no-store",
            Err(Directives),
        ),
        ("", 200, "cache-control: max-age=60, no-cache", Err(Useless)),
        (
            "",
            200,
            "cache-control: max-age=60, no-cache\netag: \"a\"",
            Ok(0),
        ),
        (
            "",
            200,
            "cache-control: max-age=60\nset-cookie: a=b",
            Err(Cookie),
        ),
        (
            "",
            200,
            "cache-control: max-age=60, public\nset-cookie: a=b",
            Ok(60),
        ),
        ("", 200, "cache-control: max-age=60\nvary: *", Err(Vary)),
        ("", 200, "cache-control: max-age=60\nvary: a, *", Err(Vary)),
        ("", 200, "cache-control: max-age=60\nvary: a b", Err(Vary)),
        (
            "cache-control: no-store",
            200,
            "cache-control: max-age=60",
            Err(Directives),
        ),
        (
            "authorization: x",
            200,
            "cache-control: max-age=60",
            Err(Authorized),
        ),
        (
            "authorization: x",
            200,
            "cache-control: max-age=60, public",
            Ok(60),
        ),
        (
            "authorization: x",
            200,
            "cache-control: s-maxage=60",
            Ok(60),
        ),
        (
            "authorization: x",
            200,
            "cache-control: max-age=60, must-revalidate",
            Ok(60),
        ),
        (
            "",
            200,
            "cdn-cache-control: max-age=9\ncache-control: no-store",
            Ok(9),
        ),
        (
            "",
            200,
            "cdn-cache-control: no-store\ncache-control: max-age=60",
            Err(Directives),
        ),
        (
            "",
            200,
            "cdn-cache-control: max-age=9\nexpires: LATER",
            Ok(9),
        ),
        (
            "",
            200,
            "surrogate-control: max-age=9\ncache-control: max-age=60",
            Ok(9),
        ),
        (
            "",
            200,
            "surrogate-control: max-age=9;x\ncache-control: max-age=60",
            Ok(60),
        ),
    ] {
        let response = dates(response);
        let lifetime = stored(request, status, &response).map(|freshness| freshness.lifetime);
        assert_eq!(lifetime, expected, "{request} → {status} {response}");
    }
}

#[test]
fn a_route_with_a_token_stores_only_what_is_for_everybody() {
    let plan = CachePlan::compile(&written("{}"), true);
    let asked = asked(&Method::GET, "");
    for (said, expected) in [
        ("max-age=60", Err(Unstorable::Authorized)),
        ("max-age=60, must-revalidate", Err(Unstorable::Authorized)),
        ("max-age=60, public", Ok(())),
        ("s-maxage=60", Ok(())),
    ] {
        let response = headers(&format!("cache-control: {said}"));
        let answer = (StatusCode::OK, &response);
        let judged = may_store(&plan, &HeaderMap::new(), &asked, answer, moment(0));
        assert_eq!(judged.map(|_| ()), expected, "{said}");
    }
}

#[test]
fn what_a_stored_answer_is_served_for() {
    use Serve::{Fresh, Meanwhile, Stale, Validate};
    let swr = "max-age=10, stale-while-revalidate=5";
    for (said, request, after, expected) in [
        ("max-age=10", "", 0, Fresh),
        ("max-age=10", "", 9, Fresh),
        ("max-age=10", "", 10, Validate),
        ("max-age=10", "cache-control: no-cache", 1, Validate),
        ("max-age=10", "pragma: no-cache", 1, Validate),
        ("max-age=10", "cache-control: max-age=3", 3, Fresh),
        ("max-age=10", "cache-control: max-age=3", 4, Validate),
        ("max-age=10", "cache-control: min-fresh=5", 5, Fresh),
        ("max-age=10", "cache-control: min-fresh=5", 6, Validate),
        ("max-age=10", "cache-control: max-stale", 5000, Stale),
        ("max-age=10", "cache-control: max-stale=5", 15, Stale),
        ("max-age=10", "cache-control: max-stale=5", 16, Validate),
        (
            "max-age=10, must-revalidate",
            "cache-control: max-stale",
            11,
            Validate,
        ),
        (
            "max-age=10, proxy-revalidate",
            "cache-control: max-stale",
            11,
            Validate,
        ),
        ("s-maxage=10", "cache-control: max-stale", 11, Validate),
        (swr, "", 9, Fresh),
        (swr, "", 10, Meanwhile),
        (swr, "", 15, Meanwhile),
        (swr, "", 16, Validate),
        ("s-maxage=10, stale-while-revalidate=5", "", 12, Meanwhile),
    ] {
        let response = format!("cache-control: {said}\netag: \"a\"");
        let freshness = stored("", 200, &response).unwrap();
        let asked = asked(&Method::GET, request);
        let serve = may_serve(&freshness, &asked, moment(after));
        assert_eq!(serve, expected, "{said}, {request}, {after} s");
    }
}

#[test]
fn what_stands_in_for_a_failure() {
    for (route, said, request, after, expected) in [
        ("{}", "max-age=10", "", 11, false),
        ("{}", "max-age=10, stale-if-error=5", "", 15, true),
        ("{}", "max-age=10, stale-if-error=5", "", 16, false),
        (
            "{}",
            "max-age=10",
            "cache-control: stale-if-error=5",
            15,
            true,
        ),
        ("{ stale_if_error: 1m }", "max-age=10", "", 70, true),
        ("{ stale_if_error: 1m }", "max-age=10", "", 71, false),
        (
            "{ stale_if_error: 1m }",
            "max-age=10, must-revalidate",
            "",
            11,
            false,
        ),
        (
            "{ stale_if_error: 1m }",
            "max-age=10, stale-if-error=0",
            "",
            11,
            false,
        ),
        (
            "{ stale_if_error: 1m }",
            "max-age=10",
            "cache-control: no-cache",
            11,
            false,
        ),
    ] {
        let response = headers(&format!("cache-control: {said}\netag: \"a\""));
        let whole = asked(&Method::GET, "");
        let answer = (StatusCode::OK, &response);
        let judged = may_store(&plan(route), &HeaderMap::new(), &whole, answer, moment(0));
        let (freshness, _) = judged.unwrap();
        let stands_in = may_serve_instead(&freshness, &asked(&Method::GET, request), moment(after));
        assert_eq!(stands_in, expected, "{route}, {said}, {request}, {after} s");
    }
}

#[test]
fn the_way_of_a_request() {
    for (method, request, bare, way, stores) in [
        (Method::GET, "", true, Way::Through, true),
        (Method::HEAD, "", true, Way::Through, false),
        (Method::GET, "range: bytes=0-1", true, Way::Through, false),
        (
            Method::GET,
            "if-none-match: \"a\"",
            true,
            Way::Through,
            true,
        ),
        (
            Method::GET,
            "cache-control: no-store",
            true,
            Way::Through,
            false,
        ),
        (Method::GET, "if-match: \"a\"", true, Way::Around, false),
        (
            Method::GET,
            "if-unmodified-since: x",
            true,
            Way::Around,
            false,
        ),
        (Method::GET, "", false, Way::Around, false),
        (Method::OPTIONS, "", true, Way::Around, false),
        (Method::POST, "", false, Way::Invalidate, false),
        (Method::DELETE, "", true, Way::Invalidate, false),
        (
            Method::from_bytes(b"M-SEARCH").unwrap(),
            "",
            true,
            Way::Invalidate,
            false,
        ),
    ] {
        let asked = Asked::of(&method, &headers(request), bare);
        assert_eq!(
            (asked.way, asked.stores),
            (way, stores),
            "{method} {request}"
        );
    }
}

fn key_of(route: &str, secure: bool, host: &str, target: &str) -> String {
    let fields = headers(&format!("host: {host}"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let view = RequestView {
        listener: ListenerId(0),
        method: &Method::GET,
        secure,
        authority: None,
        path,
        query,
        headers: &fields,
        version: Version::HTTP_11,
        remote: IpAddr::V4(Ipv4Addr::LOCALHOST),
        peer: None,
        body_bytes: None,
    };
    key(&plan(route).query, &view, path).unwrap()
}

#[test]
fn keys_are_urls() {
    let ignore = "{ query: { ignore: [utm, ref] } }";
    let only = "{ query: { only: [a] } }";
    for (route, secure, host, target, expected) in [
        ("{}", false, "A.b", "/x", "http://a.b/x"),
        ("{}", false, "a.b:80", "/x", "http://a.b/x"),
        ("{}", true, "a.b:443", "/x", "https://a.b/x"),
        (
            "{}",
            true,
            "a.b:8443",
            "/x?b=1&a=2",
            "https://a.b:8443/x?b=1&a=2",
        ),
        ("{}", false, "a.b", "/x?", "http://a.b/x?"),
        (ignore, false, "a.b", "/x?utm=1&b=2&ref", "http://a.b/x?b=2"),
        (ignore, false, "a.b", "/x?utm=1", "http://a.b/x"),
        (only, false, "a.b", "/x?b=2&a=1&a=3", "http://a.b/x?a=1&a=3"),
        (
            "{ query: { only: [] } }",
            false,
            "a.b",
            "/x?b=2",
            "http://a.b/x",
        ),
    ] {
        assert_eq!(
            key_of(route, secure, host, target),
            expected,
            "{route} {target}"
        );
    }
}

#[test]
fn what_an_unsafe_request_makes_invalid() {
    let base = "http://a.b/x/y?q=1";
    for (response, more) in [
        ("", vec![]),
        ("location: /z", vec!["http://a.b/z"]),
        ("location: z?k", vec!["http://a.b/x/z?k"]),
        ("location: http://A.b:80/z#f", vec!["http://a.b/z"]),
        ("location: http://a.b", vec!["http://a.b/"]),
        ("content-location: /z", vec!["http://a.b/z"]),
        ("location: http://other/z", vec![]),
        ("location: https://a.b/z", vec![]),
        ("location: //a.b/z", vec![]),
        ("location: /%2e%2e/../..", vec![]),
        ("location: http://[", vec![]),
    ] {
        let mut expected = vec![base, "http://a.b/x/y"];
        expected.extend(more);
        assert_eq!(
            invalidated(base, &headers(response)),
            expected,
            "{response}"
        );
    }
}

#[test]
fn variants_are_selected_by_their_headers() {
    let request = headers("accept-language: de,  en\nx-a: 1");
    let response = headers("vary: Accept-Language\nvary: X-B");
    let selecting = selecting(&plan("{ headers: [x-a] }"), &request, &response).unwrap();
    for (request, selected) in [
        ("accept-language: de, en\nx-a: 1", true),
        ("accept-language: de\naccept-language: en\nx-a: 1", true),
        ("accept-language: en, de\nx-a: 1", false),
        ("accept-language: de, en", false),
        ("accept-language: de, en\nx-a: 1\nx-b: 1", false),
        ("x-a: 1", false),
    ] {
        assert_eq!(
            selects(&selecting, &headers(request)),
            selected,
            "{request}"
        );
    }
}

#[test]
fn tags_of_a_response() {
    let response = headers("cache-tag: a, b\ncache-tag: ,c\nsurrogate-key: d  e");
    let tags: Vec<_> = tags(&response).into_iter().map(String::from).collect();
    assert_eq!(tags, ["a", "b", "c", "d", "e"]);
    let list = |count: usize| vec!["t"; count].join(",");
    for count in [CACHE_TAGS_MAX, CACHE_TAGS_MAX + 1] {
        let many = headers(&format!("cache-tag: {}", list(count)));
        assert_eq!(super::tags(&many).len(), CACHE_TAGS_MAX);
    }
}

#[test]
fn conditions_of_clients() {
    let modified = date(NOW);
    let stored = headers(&format!("etag: \"a\"\nlast-modified: {modified}"));
    for (request, expected) in [
        ("if-none-match: \"a\"".to_owned(), true),
        ("if-none-match: W/\"a\"".to_owned(), true),
        ("if-none-match: \"x,y\", \"a\"".to_owned(), true),
        ("if-none-match: *".to_owned(), true),
        ("if-none-match: \"b\"".to_owned(), false),
        (
            format!("if-none-match: \"b\"\nif-modified-since: {modified}"),
            false,
        ),
        (format!("if-modified-since: {modified}"), true),
        (format!("if-modified-since: {}", date(NOW - 1)), false),
        ("if-modified-since: yesterday".to_owned(), false),
        (String::new(), false),
    ] {
        assert_eq!(
            not_modified(&headers(&request), &stored),
            expected,
            "{request}"
        );
    }
}

#[test]
fn ranges_of_a_stored_body() {
    use Ranged::{Part, Unsatisfiable, Whole};
    let modified = date(NOW);
    let stored = headers(&format!("etag: \"a\"\nlast-modified: {modified}"));
    let with = |range: &str, condition: &str| format!("range: {range}\nif-range: {condition}");
    for (request, expected) in [
        ("range: bytes=0-0".to_owned(), Part(0, 0)),
        ("range: bytes=2-".to_owned(), Part(2, 9)),
        ("range: bytes=2-99".to_owned(), Part(2, 9)),
        ("range: bytes=9-9".to_owned(), Part(9, 9)),
        ("range: bytes=-3".to_owned(), Part(7, 9)),
        ("range: bytes=-99".to_owned(), Part(0, 9)),
        ("range: bytes=10-".to_owned(), Unsatisfiable),
        ("range: bytes=-0".to_owned(), Unsatisfiable),
        ("range: bytes=3-2".to_owned(), Whole),
        ("range: bytes=-".to_owned(), Whole),
        ("range: bytes=0-1,3-4".to_owned(), Whole),
        ("range: lines=0-1".to_owned(), Whole),
        (
            "range: bytes=99999999999999999999999-".to_owned(),
            Unsatisfiable,
        ),
        (with("bytes=0-1", "\"a\""), Part(0, 1)),
        (with("bytes=0-1", "W/\"a\""), Whole),
        (with("bytes=0-1", "\"b\""), Whole),
        (with("bytes=0-1", &modified), Part(0, 1)),
        (with("bytes=0-1", &date(NOW + 1)), Whole),
    ] {
        let part = ranged(&Method::GET, &headers(&request), &stored, 10);
        assert_eq!(part, expected, "{request}");
    }
    let part = headers("range: bytes=0-1");
    assert_eq!(ranged(&Method::HEAD, &part, &stored, 10), Whole);
    assert_eq!(ranged(&Method::GET, &part, &stored, 0), Unsatisfiable);
}

#[test]
fn a_304_renews_all_but_what_describes_the_bytes() {
    let mut stored = headers("etag: \"a\"\ncontent-length: 3\nx-a: 1\nx-b: 1\nage: 5");
    let renewed = headers("etag: W/\"a\"\ncontent-length: 9\nx-a: 2\nx-a: 3\nx-c: 1");
    assert!(same_response(&stored, &renewed));
    freshen(&mut stored, &renewed);
    let expected = headers("etag: \"a\"\ncontent-length: 3\nx-a: 2\nx-a: 3\nx-b: 1\nx-c: 1");
    assert_eq!(stored, expected);
    assert!(!same_response(&stored, &headers("etag: \"b\"")));
    assert!(same_response(&stored, &HeaderMap::new()));
}
