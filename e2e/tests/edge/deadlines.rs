//! Every deadline and every bound of a response: what stays within it passes, what goes past it is
//! answered or cut off under a code of its own. And pauses that services ask for.

use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, Response, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

async fn gateway_with(service: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ {service} }} }}
        routes: [{{ path: \"/*\", to: app, body_bytes_max: 100MiB }}]
        "
    ))
    .await
}

/// What was promised about a request that took too long.
async fn assert_late(gateway: &Lone, path: &str, answer: &Response, code: &str, end: &str) {
    gateway.assert_refused(answer, 504, code).await;
    let line = gateway.logged(path).await;
    assert_eq!(line["termination"], end, "{line}");
    assert_eq!(line["reason"], code, "{line}");
}

#[tokio::test]
async fn deadlines_of_the_answer_have_their_codes() {
    for (timeouts, code, termination) in [
        ("response: 400ms", "upstream-timeout", "upstream-timeout"),
        (
            "per_try: 400ms, response: 60s",
            "per-try-timeout",
            "upstream-timeout",
        ),
        (
            "total: 400ms, response: 60s",
            "total-timeout",
            "total-timeout",
        ),
    ] {
        let upstream = Upstream::start(
            Reply::ok("in time")
                .delay(Duration::from_millis(100))
                .last(),
        );
        let service = format!(
            "endpoints: [\"{}\"], retry: false, timeouts: {{ {timeouts} }}",
            upstream.addr()
        );
        let gateway = gateway_with(&service).await;
        assert_eq!(gateway.get("/x").await.text(), "in time", "{timeouts}");
        upstream.set_script(Answer::Hang);
        let start = Instant::now();
        let answer = gateway.get("/slow").await;
        let took = start.elapsed();
        assert_late(&gateway, "/slow", &answer, code, termination).await;
        assert!(
            took > Duration::from_millis(390) && took < Duration::from_secs(5),
            "{timeouts}: {took:?}"
        );
        // The attempt is not left behind.
        eventually(DEADLINE, async || upstream.open_connections() == 0).await;
    }
}

/// An address that answers nobody: its queue of connections is full.
async fn deaf() -> (TcpListener, TcpStream) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(0).unwrap();
    let only = TcpStream::connect(listener.local_addr().unwrap())
        .await
        .unwrap();
    (listener, only)
}

#[tokio::test]
async fn the_deadline_of_a_connection_is_told_by_what_was_over() {
    let (listener, _only) = deaf().await;
    let address = listener.local_addr().unwrap();
    for (timeouts, code, termination) in [
        ("connect: 300ms", "connect-timeout", "upstream-connect"),
        (
            "connect: 60s, per_try: 300ms",
            "per-try-timeout",
            "upstream-timeout",
        ),
        (
            "connect: 60s, total: 300ms",
            "total-timeout",
            "total-timeout",
        ),
    ] {
        let service =
            format!("endpoints: [\"{address}\"], retry: false, timeouts: {{ {timeouts} }}");
        let gateway = gateway_with(&service).await;
        let answer = gateway.get("/x").await;
        assert_late(&gateway, "/x", &answer, code, termination).await;
    }
}

#[tokio::test]
async fn the_total_deadline_cuts_a_body_off() {
    let body = Reply::ok("0123456789").trickle(1, Duration::from_millis(100));
    let upstream = Upstream::start(body);
    let service = format!(
        "endpoints: [\"{}\"], timeouts: {{ total: 500ms }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    assert!(Client::http1().get(&gateway.url("/x")).await.is_err());
    assert_eq!(gateway.logged("/x").await["termination"], "total-timeout");
}

#[tokio::test]
async fn idle_is_the_longest_silence_of_either_body() {
    let slow = Reply::ok("0123456789").trickle(1, Duration::from_millis(100));
    let upstream = Upstream::start(slow);
    let service = format!(
        "endpoints: [\"{}\"], retry: false, timeouts: {{ idle: 500ms, response: 60s }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    // A second in all, and never silent for long.
    assert_eq!(gateway.get("/slow").await.text(), "0123456789");

    // The endpoint falls silent in its body.
    upstream.set_script(Reply::ok("twenty bytes of body").stall_after(5));
    assert!(Client::http1().get(&gateway.url("/stall")).await.is_err());
    let line = gateway.logged("/stall").await;
    assert_eq!(line["termination"], "upstream-stalled");

    // The client falls silent in its body.
    upstream.set_script(Reply::ok(""));
    let half = "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    let answer = raw(gateway.web(), half, DEADLINE).await;
    assert_eq!(answer.status(), Some(408), "{}", answer.text());
    let line = gateway.logged("/half").await;
    assert_eq!(line["termination"], "client-timeout", "{line}");
    assert_eq!(line["reason"], "request-timeout", "{line}");
}

#[tokio::test]
async fn an_endpoint_that_takes_no_more_of_a_body_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let holding = tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            held.push(stream);
        }
    });
    let service = format!("endpoints: [\"{address}\"], timeouts: {{ idle: 400ms, response: 60s }}");
    let gateway = gateway_with(&service).await;
    let body = "x".repeat(32 * 1024 * 1024);
    let request = format!(
        "POST /upload HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let answer = raw(gateway.web(), request, DEADLINE).await;
    assert_eq!(answer.status(), Some(504));
    assert!(answer.text().contains("weir-reason: upstream-stalled"));
    let line = gateway.logged("/upload").await;
    assert_eq!(line["termination"], "upstream-stalled", "{line}");
    holding.abort();
}

#[tokio::test]
async fn a_response_of_known_length_is_refused_one_byte_past_the_limit() {
    let upstream = Upstream::start(Script::by(|request| {
        Reply::ok(match request.path.as_str() {
            "/fits" => "x".repeat(1024),
            _ => "x".repeat(1025),
        })
    }));
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], response_bytes_max: 1KiB }} }}
        routes:
          - {{ path: \"/*\", to: app }}
          - {{ path: /large, to: app, response_bytes_max: 2KiB }}
        ",
        upstream.addr()
    ))
    .await;
    assert_eq!(gateway.get("/fits").await.body.len(), 1024);
    let answer = gateway.get("/past").await;
    gateway
        .assert_refused(&answer, 502, "response-too-large")
        .await;
    let line = gateway.logged("/past").await;
    assert_eq!(line["termination"], "upstream-too-large", "{line}");
    assert_eq!(gateway.get("/large").await.body.len(), 1025, "of the route");
    // A response without its body is not too large.
    let url = gateway.url("/past");
    let head = weir_testkit::client::request(http::Method::HEAD, &url, &[], "".into()).unwrap();
    let answer = Client::http1().send(head).await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
}

#[tokio::test]
async fn a_response_of_unknown_length_is_cut_off_at_the_limit() {
    let upstream = Upstream::start(Script::by(|request| {
        let bytes = if request.path == "/fits" { 1024 } else { 1025 };
        Reply::ok("x".repeat(bytes)).chunked()
    }));
    let service = format!(
        "endpoints: [\"{}\"], response_bytes_max: 1KiB",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    for (client, path) in [(Client::http1(), "/past/1"), (Client::http2(), "/past/2")] {
        let fits = client.get(&gateway.url("/fits")).await.unwrap();
        assert_eq!(fits.body.len(), 1024, "{path}");
        assert!(client.get(&gateway.url(path)).await.is_err(), "{path}");
        let line = gateway.logged(path).await;
        assert_eq!(line["termination"], "upstream-too-large", "{line}");
        assert!(line["response_bytes"].as_u64().unwrap() <= 1024, "{line}");
    }
}

/// An answer with so many header fields, and so many bytes of them as `name: value` lines.
fn headed(fields: usize, bytes: usize) -> Answer {
    let mut head = String::from("content-length: 0\r\n");
    for number in 2..fields {
        head.push_str(&format!("x-{number:03}: a\r\n"));
    }
    let filler = bytes - head.len() - "x-fill: \r\n".len();
    head.push_str(&format!("x-fill: {}\r\n", "y".repeat(filler)));
    assert_eq!(head.len(), bytes);
    Answer::raw(format!("HTTP/1.1 200 OK\r\n{head}\r\n"))
}

#[tokio::test]
async fn header_sections_of_responses_are_bounded() {
    let upstream = Upstream::start(Answer::Hang);
    let service = format!(
        "endpoints: [\"{}\"], outlier: {{ consecutive: 1 }}, breaker: {{ consecutive: 1 }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    const KIB: usize = 1024;
    for (fields, bytes, refused) in [
        (100, 4 * KIB, None),
        (101, 4 * KIB, Some("response-headers-too-many")),
        (3, 64 * KIB, None),
        (3, 64 * KIB + 1, Some("response-header-too-large")),
        (3, 300 * KIB, Some("response-header-too-large")),
    ] {
        upstream.set_script(headed(fields, bytes));
        let path = format!("/{fields}/{bytes}");
        let Some(code) = refused else {
            // No client library takes as much.
            let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = raw(gateway.web(), request, DEADLINE).await;
            assert_eq!(answer.status(), Some(200), "{path}");
            continue;
        };
        let answer = gateway.get(&path).await;
        gateway.assert_refused(&answer, 502, code).await;
        let line = gateway.logged(&path).await;
        assert_eq!(line["termination"], "upstream-too-large", "{line}");
        assert_eq!(line["attempts"], 1, "the same would come again: {line}");
    }
}

#[tokio::test]
async fn header_sections_over_http2_are_bounded_too() {
    let large = |bytes: usize| Reply::ok("").header("x-fill", &"y".repeat(bytes));
    let upstream = Upstream::builder(large(60 * 1024)).http2().start();
    let service = format!("endpoints: [\"{}\"], protocol: http2", upstream.addr());
    let gateway = gateway_with(&service).await;
    assert_eq!(gateway.get("/fits").await.status, 200);
    upstream.set_script(large(65 * 1024));
    let answer = gateway.get("/past").await;
    gateway
        .assert_refused(&answer, 502, "response-header-too-large")
        .await;
    upstream.set_script(Reply::ok("well"));
    assert_eq!(gateway.get("/x").await.text(), "well");
}

#[tokio::test]
async fn a_pause_that_the_service_asks_for_is_waited_out() {
    let upstream = Upstream::start(Script::sequence([
        Reply::status(503).header("retry-after", "1").into(),
        Reply::ok("after the pause").into(),
    ]));
    let service = format!(
        "endpoints: [\"{}\"], retry: {{ statuses: [503] }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    let start = Instant::now();
    assert_eq!(gateway.get("/x").await.text(), "after the pause");
    assert!(start.elapsed() >= Duration::from_secs(1));
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn a_pause_that_is_too_long_is_the_clients_to_wait() {
    let answer = Reply::status(503).header("retry-after", "3").body("busy");
    let upstream = Upstream::start(answer);
    for (timeouts, reason) in [
        ("", "retry-after"),
        ("timeouts: { total: 2s }, ", "deadline"),
        ("timeouts: { response: 2s }, ", "deadline"),
    ] {
        let longest = if timeouts.is_empty() { "2s" } else { "60s" };
        let service = format!(
            "endpoints: [\"{}\"], {timeouts}\
             retry: {{ statuses: [503], retry_after_max: {longest} }}",
            upstream.addr()
        );
        let gateway = gateway_with(&service).await;
        let start = Instant::now();
        let answer = gateway.get("/x").await;
        assert!(start.elapsed() < Duration::from_secs(1), "{reason}");
        assert_eq!(answer.status, 503);
        assert_eq!(answer.header("retry-after"), Some("3"));
        assert_eq!(answer.text(), "busy", "it is the service's own answer");
        let denied = [("service", "app"), ("reason", reason)];
        let metrics = gateway.metrics().await;
        let count = metrics.sum("weir_upstream_retries_denied_total", &denied);
        assert_eq!(count, 1.0, "{reason}");
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_first() {
    let (bad, good) = (
        Upstream::start(Reply::status(503)),
        Upstream::start(Reply::ok("good")),
    );
    let service = format!(
        "endpoints: [\"{}\", \"{}\"], outlier: false, retry: {{ statuses: [503] }}",
        bad.addr(),
        good.addr()
    );
    let gateway = gateway_with(&service).await;
    for number in 0..10 {
        assert_eq!(gateway.get("/x").await.text(), "good", "{number}");
    }
    assert_eq!(good.request_count(), 10);
    assert!((1..=10).contains(&bad.request_count()), "never twice");
}
