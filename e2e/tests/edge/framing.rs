//! HTTP/1 that is not strictly HTTP/1: each kind has its own answer, and the connection ends.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::frames::{
    DATA, END_HEADERS, END_STREAM, Frame, HEADERS, block, exchange, frame,
};
use weir_testkit::client::{Ending, Raw, raw};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_to(upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await
}

/// What would be a request if the one before it ended early.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

async fn assert_refused(gateway: &Lone, answer: &Raw, status: u16, code: &str, what: &str) {
    let text = answer.text();
    assert_eq!(answer.status(), Some(status), "{what:?}: {text}");
    assert!(
        text.contains(&format!("weir-reason: {code}\r\n")),
        "{what:?}: {text}"
    );
    let closes = text.contains("connection: close\r\n") || text.starts_with("HTTP/1.0");
    assert!(closes, "{what:?}: {text}");
    assert_eq!(answer.ending, Ending::Closed, "{what:?}: {text}");
    assert_eq!(
        text.matches("weir-decision: ").count(),
        1,
        "{what:?}: {text}"
    );
    let (_, rest) = text.split_once("weir-decision: ").expect("it has an id");
    let id = &rest[..32];
    let said = gateway.admin(&format!("/decisions/{id}")).await;
    assert_eq!(said.status, 200, "{what:?}: {said}");
}

#[tokio::test]
async fn every_kind_of_bad_head_has_its_answer() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let field = |line: &str| format!("POST /x HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\n{HIDDEN}");
    let table = [
        (
            field("Content-Length: 5\r\nTransfer-Encoding: chunked"),
            400,
            "bad-framing",
        ),
        (
            field("Transfer-Encoding: chunked\r\nContent-Length: 5"),
            400,
            "bad-framing",
        ),
        (
            field("Content-Length: 5\r\nContent-Length: 5"),
            400,
            "bad-framing",
        ),
        (
            field("Content-Length: 0\r\nContent-Length: 33"),
            400,
            "bad-framing",
        ),
        (field("Content-Length: 5, 5"), 400, "bad-framing"),
        (field("Content-Length: +5"), 400, "bad-framing"),
        (field("Content-Length: 0x5"), 400, "bad-framing"),
        (field("Content-Length:"), 400, "bad-framing"),
        (
            field("Content-Length: 99999999999999999999"),
            400,
            "bad-framing",
        ),
        (field("Transfer-Encoding: identity"), 400, "bad-framing"),
        (
            field("Transfer-Encoding: gzip, chunked"),
            400,
            "bad-framing",
        ),
        (
            field("Transfer-Encoding: chunked, identity"),
            400,
            "bad-framing",
        ),
        (field("Transfer-Encoding: xchunked"), 400, "bad-framing"),
        (
            field("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            400,
            "bad-framing",
        ),
        (
            "POST /x HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(),
            400,
            "bad-framing",
        ),
        (field("X-A: b\nX-C: d"), 400, "bad-header"),
        (field("X-A: b\n"), 400, "bad-header"),
        (field("X-A: b\rX-C: d"), 400, "bad-header"),
        (field("X-A: b\r\n folded"), 400, "bad-header"),
        (field("Content-Length : 5"), 400, "bad-header"),
        (field("Transfer-Encoding\t: chunked"), 400, "bad-header"),
        (field(": b"), 400, "bad-header"),
        (field("no colon"), 400, "bad-header"),
        (field("X-A: b\0"), 400, "bad-header"),
        (field("X-A: b\u{8}c"), 400, "bad-header"),
        (
            format!("GET /x HTTP/1.1\nHost: a\n\n{HIDDEN}"),
            400,
            "bad-header",
        ),
        ("GET /x\r\n".to_owned(), 400, "bad-request-line"),
        (" GET /x HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        ("GET  /x HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        ("GET /x y HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        ("GET /x HTTP/1.1 \r\n".to_owned(), 400, "bad-request-line"),
        (
            "GET /\u{e9} HTTP/1.1\r\n".to_owned(),
            400,
            "bad-request-line",
        ),
        ("GET /x#y HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        ("GET x HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        ("G@T /x HTTP/1.1\r\n".to_owned(), 400, "bad-request-line"),
        (
            format!("{} /x HTTP/1.1\r\n", "M".repeat(33)),
            501,
            "method-too-long",
        ),
        // TLS where none is spoken.
        (
            "\u{16}\u{3}\u{1}\u{2}\0\u{1}\0\u{1}\u{fc}\u{3}".to_owned(),
            400,
            "bad-request-line",
        ),
        ("GET /x HTTP/1.2\r\n".to_owned(), 505, "version-unsupported"),
        ("GET /x HTTP/2.0\r\n".to_owned(), 505, "version-unsupported"),
        ("GET /x HTTP/0.9\r\n".to_owned(), 505, "version-unsupported"),
        (
            field(&vec!["X-A: b"; 100].join("\r\n")),
            431,
            "headers-too-many",
        ),
        (
            field(&format!("X-A: {}", "b".repeat(33 * 1024))),
            431,
            "header-too-large",
        ),
        (
            format!("GET /{} HTTP/1.1\r\n", "x".repeat(8 * 1024)),
            414,
            "uri-too-long",
        ),
    ];
    for (sent, status, code) in &table {
        let what = &sent[..sent.len().min(120)];
        let answer = raw(gateway.web(), sent, DEADLINE).await;
        assert_refused(&gateway, &answer, *status, code, what).await;
    }
    assert_eq!(upstream.request_count(), 0);
    let metrics = gateway.metrics().await;
    let refused = metrics.sum("weir_http_refusals_total", &[]);
    assert_eq!(refused, table.len() as f64);
    // The client knows that it is closed before the gateway has counted it.
    weir_testkit::eventually::eventually(DEADLINE, async || {
        let closed = gateway.metrics().await.sum(
            "weir_listener_connections_closed_total",
            &[("reason", "refused")],
        );
        closed >= table.len() as f64 - 1.0
    })
    .await;
}

#[tokio::test]
async fn a_refused_head_is_logged_with_what_is_known_of_it() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let sent = "PUT /logged?secret HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n";
    assert_eq!(raw(gateway.web(), sent, DEADLINE).await.status(), Some(400));
    let line = gateway.logged("/logged").await;
    assert_eq!(line["reason"], "bad-header", "{line}");
    assert_eq!(line["method"], "PUT", "{line}");
    assert_eq!(line["status"], 400, "{line}");
}

#[tokio::test]
async fn requests_before_a_bad_one_are_answered_first() {
    let upstream = Upstream::start(Reply::ok("fine"));
    let gateway = gateway_to(&upstream).await;
    let first = "POST /first HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n\
                 3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n";
    let second = "POST /second HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody\r\n";
    let bad = "GET /third HTTP/1.1\r\nHost: a\r\nX-A : b\r\n\r\n";
    let sent = format!("{first}{second}{bad}{HIDDEN}");
    // As one piece, and in drops.
    for drop in [sent.len(), 7, 1] {
        upstream.forget_requests();
        let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        for piece in sent.as_bytes().chunks(drop) {
            if stream.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let mut text = String::new();
        let read = tokio::time::timeout(DEADLINE, stream.read_to_string(&mut text)).await;
        read.unwrap().unwrap();
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{drop}: {text}");
        assert_eq!(text.matches("HTTP/1.1 400 ").count(), 1, "{drop}: {text}");
        assert!(text.rfind("HTTP/1.1 400").unwrap() > text.rfind("HTTP/1.1 200").unwrap());
        let seen = upstream.requests();
        let seen: Vec<_> = seen
            .iter()
            .map(|seen| (seen.path.as_str(), seen.text()))
            .collect();
        let expected = [("/first", "abc".to_owned()), ("/second", "body".to_owned())];
        assert_eq!(seen, expected, "{drop}");
    }
}

#[tokio::test]
async fn malformed_chunks_are_refused_and_nothing_after_them_is_read() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = |bytes: usize| format!("1;{}\r\nx\r\n", "e".repeat(bytes));
    let long = extension(257);
    let many = extension(256).repeat(65);
    let table = [
        "zz\r\n",
        "-1\r\n",
        "+1\r\nx\r\n",
        " 1\r\nx\r\n",
        "1 \r\nx\r\n",
        "0x1\r\nx\r\n",
        "1\nx\r\n",
        "ffffffffffffffffff\r\n",
        "3\r\nabcdef\r\n",
        "1\r\nx\n",
        "1;a\nb\r\nx\r\n",
    ]
    .map(|body| (body, "bad-chunk"))
    .into_iter()
    .chain([
        (&*long, "chunk-extension-too-long"),
        (&*many, "chunk-extensions-too-large"),
        ("0\r\nX-A : b\r\n\r\n", "bad-trailer"),
        ("0\r\nX-A: b\n\r\n", "bad-trailer"),
        ("0\r\n\n", "bad-trailer"),
    ]);
    for (body, code) in table {
        upstream.forget_requests();
        let sent = format!("{head}4\r\nabcd\r\n{body}0\r\n\r\n{HIDDEN}");
        let answer = raw(gateway.web(), sent, DEADLINE).await;
        assert_refused(&gateway, &answer, 400, code, body).await;
        let seen = upstream.requests();
        assert!(
            seen.iter()
                .all(|seen| seen.path == "/x" && !seen.is_complete),
            "{body:?}"
        );
    }
    gateway.logged("/x").await;
    for line in gateway.access_log() {
        let code = line["reason"].as_str().unwrap();
        let ended = match code {
            "chunk-extension-too-long" | "chunk-extensions-too-large" => "refused",
            _ => "client-invalid",
        };
        assert_eq!(line["termination"], ended, "{line}");
    }
    upstream.forget_requests();
    let sent = format!("{head}{}0\r\n\r\n", extension(256).repeat(64));
    let fits = raw(gateway.web(), sent, Duration::from_millis(500)).await;
    assert_eq!(fits.status(), Some(200), "{}", fits.text());
    let labels = [("listener", "web"), ("reason", "refused")];
    weir_testkit::eventually::eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_closed_total", &labels) >= 16.0
    })
    .await;
}

#[tokio::test]
async fn trailers_at_their_bounds_are_taken_and_past_them_are_not() {
    let upstream = Upstream::start(Reply::ok(""));
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\", header_bytes_max: 2KiB, header_count_max: 20 }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/*\", to: app }}
          - path: /held
            to: app
            transform: {{ request: {{ set: {{ /a: 1 }} }} }}
        ",
        place.web,
        upstream.addr()
    );
    let gateway = place.start(&yaml).await;
    // Lines of `name: value`, 2,048 bytes and one more; 20 of them and one more.
    let long = |bytes: usize| vec![("x-sum", "y".repeat(bytes - 9))];
    let many = |count: usize| vec![("x-sum", "y".to_owned()); count];
    for (trailers, code) in [
        (long(2048), None),
        (long(2049), Some("trailers-too-large")),
        (many(20), None),
        (many(21), Some("trailers-too-many")),
    ] {
        let what = format!("{} trailers, {code:?}", trailers.len());
        let lines = trailers
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"));
        let lines = lines.collect::<String>();
        for path in ["/x", "/held"] {
            upstream.forget_requests();
            let sent = format!(
                "POST {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
                 Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n\
                 2\r\n{{}}\r\n0\r\n{lines}\r\n"
            );
            let answer = raw(gateway.web(), sent, DEADLINE).await;
            match code {
                Some(code) => assert_refused(&gateway, &answer, 431, code, &what).await,
                None => assert_eq!(answer.status(), Some(200), "{what}: {}", answer.text()),
            }
            // Over HTTP/2 it is the same, and the connection goes on.
            let fields: Vec<_> = trailers
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let post = block(&[
                (":method", "POST"),
                (":scheme", "http"),
                (":authority", "a"),
                (":path", path),
                ("content-type", "application/json"),
            ]);
            let bytes = [
                frame(HEADERS, END_HEADERS, 1, &post),
                frame(DATA, 0, 1, b"{}"),
                frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(&fields)),
            ]
            .concat();
            let answered = |frames: &[Frame]| frames.iter().any(|frame| frame.status().is_some());
            let (frames, ended) = exchange(gateway.web(), &bytes, DEADLINE, answered).await;
            let status = frames.iter().find_map(Frame::status);
            assert_eq!(
                status,
                Some(code.map_or(200, |_| 431)),
                "{what}: {frames:?}"
            );
            assert!(!ended, "{what}");
            let whole = upstream.requests();
            let whole = whole.iter().filter(|seen| seen.is_complete).count();
            assert_eq!(whole, if code.is_some() { 0 } else { 2 }, "{what}");
        }
        let Some(code) = code else { continue };
        let labels = [("code", code)];
        let metrics = gateway.metrics().await;
        assert_eq!(
            metrics.sum("weir_http_refusals_total", &labels),
            4.0,
            "{what}"
        );
    }
}

#[tokio::test]
async fn the_answer_arrives_although_the_client_goes_on_sending() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let body = "x".repeat(4 * 1024 * 1024);
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
    for _ in 0..5 {
        let answer = raw(gateway.web(), format!("{head}{body}"), DEADLINE).await;
        assert_eq!(answer.status(), Some(400), "{:?}", answer.ending);
    }
    // One that never closes is not waited for.
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let start = Instant::now();
    weir_testkit::eventually::eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_active", &[]) == 0.0
    })
    .await;
    assert!(
        start.elapsed() < Duration::from_secs(8),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_uri_at_its_bound_is_taken_and_one_past_it_is_not() {
    let upstream = Upstream::start(Reply::ok(""));
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\", uri_bytes_max: 100 }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
        upstream.addr()
    );
    let gateway = place.start(&yaml).await;
    let uri = |bytes: usize| format!("/x?{}", "y".repeat(bytes - 3));
    for client in [
        weir_testkit::client::Client::http1(),
        weir_testkit::client::Client::http2(),
    ] {
        let fits = client.get(&gateway.url(&uri(100))).await.unwrap();
        assert_eq!(fits.status, 200, "{fits}");
        let long = client.get(&gateway.url(&uri(101))).await.unwrap();
        gateway.assert_refused(&long, 414, "uri-too-long").await;
    }
    assert_eq!(upstream.request_count(), 2);
}
