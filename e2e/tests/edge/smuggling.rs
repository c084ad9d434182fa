//! Requests that two parties could read differently: paths, hosts and lengths. What is decided on
//! is what is forwarded, and what cannot be read in one way alone is refused.

use std::time::Duration;

use weir_e2e::lone::Lone;
use weir_testkit::client::{Raw, raw};
use weir_testkit::upstream::{Reply, Upstream};

const SHORT: Duration = Duration::from_millis(700);

/// `/open` goes to `open`, `/secret` is answered by Weir itself, everything else by `rest`.
async fn gateway_to(upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ name: open, path: \"/open/*\", to: app, response_headers: {{ set: {{ x-route: open }} }} }}
          - {{ name: secret, path: \"/secret/*\", respond: {{ status: 418, body: secret }} }}
          - {{ name: rest, path: \"/*\", to: app, response_headers: {{ set: {{ x-route: rest }} }} }}
        ",
        upstream.addr()
    ))
    .await
}

async fn get(gateway: &Lone, target: &str) -> Raw {
    let sent = format!("GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    raw(gateway.web(), sent, SHORT).await
}

#[tokio::test]
async fn a_path_is_forwarded_as_it_was_decided_on() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let table = [
        ("/open/a", "open", "/open/a"),
        ("/open/./a", "open", "/open/a"),
        ("/x/../open/a", "open", "/open/a"),
        ("/x/%2e%2e/open/a", "open", "/open/a"),
        ("/x/%2E./open/a", "open", "/open/a"),
        ("//open//a", "open", "/open/a"),
        ("/%6fpen/%61", "open", "/open/a"),
        ("/open/..", "rest", "/"),
        ("/open/../", "rest", "/"),
        ("/opens", "rest", "/opens"),
        ("/open/a%20b?x=/../%2e", "open", "/open/a%20b?x=/../%2e"),
        ("/open/%C3%A9", "open", "/open/%C3%A9"),
        ("/open/%c3%a9", "open", "/open/%C3%A9"),
        ("http://a/open/a", "open", "/open/a"),
    ];
    for (target, route, forwarded) in table {
        let answer = get(&gateway, target).await;
        assert_eq!(answer.status(), Some(200), "{target}: {}", answer.text());
        assert!(
            answer.text().contains(&format!("x-route: {route}")),
            "{target}"
        );
        assert_eq!(upstream.last_request().path, forwarded, "{target}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_the_route_that_guards_it() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    for target in [
        "/secret",
        "/secret/x",
        "/open/../secret/x",
        "/open/%2e%2e/secret/x",
        "/open/.%2E/secret",
        "//secret/x",
        "/./secret/x",
        "/%73ecret/x",
        "http://a/secret/x",
        "http://a//open/../secret",
    ] {
        let answer = get(&gateway, target).await;
        assert_eq!(answer.status(), Some(418), "{target}: {}", answer.text());
    }
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_path_without_one_safe_reading_is_refused() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    for target in [
        "/open/..%2fsecret",
        "/open/..%2Fsecret",
        "/open/..%5csecret",
        "/open%00",
        "/open/%0a",
        "/open/%7f",
        "/open/%zz",
        "/open/%2",
        "/../secret",
        "/open/../../secret",
        "/open/..;/secret",
        "/open/.;x/secret",
    ] {
        let answer = get(&gateway, target).await;
        let text = answer.text();
        assert_eq!(answer.status(), Some(400), "{target}: {text}");
        assert!(text.contains("weir-reason: bad-path"), "{target}: {text}");
    }
    // These do not even get as far as being a request target.
    for target in [
        "/open\\..\\secret",
        "/open/\u{e9}",
        "open",
        "",
        "/open/a#/../secret",
    ] {
        let answer = get(&gateway, target).await;
        assert_eq!(answer.status(), Some(400), "{target}: {}", answer.text());
    }
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_host_that_is_not_one_is_refused() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    for (target, fields, code) in [
        ("/open", "", "bad-host"),
        ("/open", "Host: a\r\nHost: b\r\n", "bad-host"),
        ("/open", "Host: a\r\nHost: a\r\n", "bad-host"),
        ("/open", "Host: a b\r\n", "bad-host"),
        ("/open", "Host: a/../b\r\n", "bad-host"),
        ("/open", "Host: user@a\r\n", "bad-host"),
        ("/open", "Host: a:99999\r\n", "bad-host"),
        ("http://a/open", "", "bad-host"),
        ("http://b/open", "Host: a\r\n", "host-disagrees"),
        ("http://a:81/open", "Host: a\r\n", "host-disagrees"),
    ] {
        let sent = format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n");
        let answer = raw(gateway.web(), sent, SHORT).await;
        let text = answer.text();
        assert_eq!(answer.status(), Some(400), "{target} {fields:?}: {text}");
        assert!(
            text.contains(&format!("weir-reason: {code}\r\n")),
            "{target} {fields:?}: {text}"
        );
    }
    assert_eq!(upstream.request_count(), 0);
}

/// The second request hides in what one reading takes for the body of the first.
const HIDDEN: &str = "GET /open/hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn lengths_that_contradict_each_other_never_make_two_requests_of_one() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    // What it looks like when there are two.
    let honest =
        format!("POST /open/first HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n{HIDDEN}");
    raw(gateway.web(), honest, SHORT).await;
    assert_eq!(upstream.last_request().path, "/open/hidden");
    let length = HIDDEN.len();
    let heads = [
        // Chunks end at once, the length covers the hidden request.
        (
            format!(
                "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
                length + 5
            ),
            "0\r\n\r\n",
        ),
        (
            format!(
                "Transfer-Encoding: chunked\r\nContent-Length: {}\r\n",
                length + 5
            ),
            "0\r\n\r\n",
        ),
        // Two lengths.
        (
            format!("Content-Length: 0\r\nContent-Length: {length}\r\n"),
            "",
        ),
        (format!("Content-Length: 0, {length}\r\n"), ""),
        // Not quite a length.
        (format!("Content-Length: +{length}\r\n"), ""),
        (format!("Content-Length: 0x{length:x}\r\n"), ""),
        ("Content-Length: -1\r\n".to_owned(), ""),
        ("Content-Length: \r\n".to_owned(), ""),
        ("Content-Length: 99999999999999999999\r\n".to_owned(), ""),
        // Not quite chunked.
        (
            "Transfer-Encoding: chunked, identity\r\n".to_owned(),
            "0\r\n\r\n",
        ),
        ("Transfer-Encoding: xchunked\r\n".to_owned(), "0\r\n\r\n"),
        (
            "Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n".to_owned(),
            "0\r\n\r\n",
        ),
        (
            format!("Content-Length: {length}\r\nTransfer-Encoding : chunked\r\n"),
            "0\r\n\r\n",
        ),
        (format!("Content-Length : {length}\r\n"), ""),
        // A folded line.
        ("X-A: b\r\n Transfer-Encoding: chunked\r\n".to_owned(), ""),
        ("Transfer-Encoding:\r\n chunked\r\n".to_owned(), "0\r\n\r\n"),
        // A line that ends in a bare CR.
        (
            "X-A: b\rTransfer-Encoding: chunked\r\n".to_owned(),
            "0\r\n\r\n",
        ),
    ];
    for (head, first) in heads {
        upstream.forget_requests();
        let sent = format!("POST /open/first HTTP/1.1\r\nHost: a\r\n{head}\r\n{first}{HIDDEN}");
        let answer = raw(gateway.web(), sent, SHORT).await;
        let seen: Vec<String> = upstream
            .requests()
            .into_iter()
            .map(|seen| seen.path)
            .collect();
        assert!(
            !seen.contains(&"/open/hidden".to_owned()) && seen.len() <= 1,
            "{head:?}: {seen:?}\n{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn lines_that_end_in_a_bare_line_feed_never_make_two_requests_of_one() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    for sent in [
        "POST /open/first HTTP/1.1\nHost: a\nContent-Length: 0\n\n".to_owned(),
        format!("GET /open/first HTTP/1.1\r\nHost: a\r\nX-A: b\n\n{HIDDEN}"),
        format!(
            "POST /open/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             5\nabcde\r\n0\r\n\r\n{HIDDEN}"
        ),
        format!(
            "POST /open/first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
             2;\nxx\r\n{:x}\r\n0\r\n\r\n{HIDDEN}",
            HIDDEN.len() + 5
        ),
    ] {
        upstream.forget_requests();
        let answer = raw(gateway.web(), &sent, SHORT).await;
        let seen = upstream.requests();
        // Each request that the gateway has answered is one the service saw, head and body alike.
        let heads = seen
            .iter()
            .filter(|seen| seen.path == "/open/hidden")
            .count();
        let whole = answer.text().matches("HTTP/1.1 200").count();
        assert!(
            heads == 0 || whole == 2,
            "{sent:?}: {seen:?}\n{}",
            answer.text()
        );
        assert!(
            seen.len() <= whole.max(1),
            "{sent:?}: {seen:?}\n{}",
            answer.text()
        );
    }
}
