//! gRPC services that break calls off, or take too long: the status that clients are told.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use http::Response as Head;
use tokio::net::TcpListener;
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, Response};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Upstream};

/// A message of five bytes, as gRPC frames it.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";

async fn gateway_to(address: SocketAddr, more: &str) -> Lone {
    Lone::start(&format!(
        "
        services:
          echo: {{ endpoints: [\"{address}\"], protocol: http2, outlier: false{more} }}
        routes: [{{ path: \"/*\", to: echo }}]
        "
    ))
    .await
}

async fn call(gateway: &Lone, more: &[(&str, &str)]) -> Response {
    let mut headers = vec![("content-type", "application/grpc"), ("te", "trailers")];
    headers.extend(more);
    let body = String::from_utf8(MESSAGE.to_vec()).unwrap();
    let (client, url) = (Client::http2(), gateway.url("/test.Echo/Call"));
    let sent = client.post(&url, &headers, body).await;
    sent.unwrap_or_else(|error| panic!("{error}\n{}", gateway.process.tail()))
}

/// What the call ended with: in the head where there is nothing else, or in trailers.
fn status(answer: &Response) -> (Option<&str>, Option<&str>) {
    let trailers = answer.trailers.as_ref().unwrap_or(&answer.headers);
    let of = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    (of("grpc-status"), of("weir-reason"))
}

fn reply() -> Reply {
    Reply::ok(MESSAGE.repeat(3)).header("content-type", "application/grpc")
}

#[tokio::test]
async fn calls_that_are_broken_off_end_with_a_status() {
    let reset = (Some("14"), Some("upstream-reset"));
    let table: [(&str, Answer, _, u64); 6] = [
        (
            "a refused stream was not processed",
            Answer::Refuse,
            reset,
            2,
        ),
        ("an error before the head", Answer::Reset, reset, 1),
        ("a cancelled stream", Answer::Close, reset, 1),
        (
            "an error between messages",
            reply().reset_after(MESSAGE.len()).into(),
            reset,
            1,
        ),
        (
            "an error within a message",
            reply().reset_after(MESSAGE.len() + 3).into(),
            reset,
            1,
        ),
        (
            "an error after the head",
            reply().reset_after(0).into(),
            reset,
            1,
        ),
    ];
    for (what, answer, expected, requests) in table {
        let upstream = Upstream::builder(answer).http2().start();
        let gateway = gateway_to(upstream.addr(), "").await;
        let answer = call(&gateway, &[]).await;
        assert_eq!(answer.status, 200, "{what}: {answer}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/grpc"),
            "{what}"
        );
        assert_eq!(status(&answer), expected, "{what}: {answer}");
        assert_eq!(upstream.request_count(), requests, "{what}");
        let line = gateway.logged("/test.Echo/Call").await;
        assert_eq!(line["grpc_status"], 14, "{what}: {line}");
    }
}

#[tokio::test]
async fn calls_that_take_too_long_end_at_the_deadline_of_the_client() {
    for (what, answer, code) in [
        ("no head", Answer::Hang, "grpc-deadline"),
        (
            "no end",
            reply().stall_after(MESSAGE.len()).into(),
            "grpc-deadline",
        ),
    ] {
        let upstream = Upstream::builder(answer).http2().start();
        let gateway = gateway_to(upstream.addr(), ", retry: { attempts: 3 }").await;
        let answer = call(&gateway, &[("grpc-timeout", "400m")]).await;
        assert_eq!(status(&answer), (Some("4"), Some(code)), "{what}: {answer}");
        assert_eq!(upstream.request_count(), 1, "{what}");
        // The service is told how long it has, and to stop.
        let told = upstream.last_request();
        let told = told
            .header("grpc-timeout")
            .expect("the call has a deadline");
        assert!(!told.is_empty(), "{told}");
        let active = [("service", "echo")];
        eventually(DEADLINE, async || {
            let metrics = gateway.metrics().await;
            metrics.sum("weir_upstream_requests_active", &active) == 0.0
        })
        .await;
    }
}

/// The longest that a call may take ends those of clients that asked for more; whoever asked for
/// less is told of the own deadline.
#[tokio::test]
async fn calls_end_at_what_is_granted_at_the_latest() {
    let upstream = Upstream::builder(Answer::Hang).http2().start();
    for (granted, asked, code) in [
        ("400ms", "60S", "grpc-timeout"),
        ("400ms", "400m", "grpc-timeout"),
        ("60s", "400m", "grpc-deadline"),
    ] {
        let more = format!(", timeouts: {{ grpc: {granted} }}");
        let gateway = gateway_to(upstream.addr(), &more).await;
        for answer in [Answer::Hang, reply().stall_after(MESSAGE.len()).into()] {
            upstream.set_script(answer);
            let answer = call(&gateway, &[("grpc-timeout", asked)]).await;
            let expected = (Some("4"), Some(code));
            assert_eq!(status(&answer), expected, "{granted}, {asked}: {answer}");
        }
        let line = gateway.logged("/test.Echo/Call").await;
        assert_eq!(line["termination"], "total-timeout", "{line}");
    }
}

/// A stream that falls silent is not one whose answer never began.
#[tokio::test]
async fn a_stream_that_falls_silent_ends_under_its_own_code() {
    let upstream = Upstream::builder(reply().stall_after(MESSAGE.len()))
        .http2()
        .start();
    let gateway = gateway_to(upstream.addr(), ", timeouts: { idle: 400ms }").await;
    let answer = call(&gateway, &[]).await;
    let expected = (Some("4"), Some("upstream-stalled"));
    assert_eq!(status(&answer), expected, "{answer}");
    let line = gateway.logged("/test.Echo/Call").await;
    assert_eq!(line["termination"], "upstream-stalled", "{line}");
}

#[tokio::test]
async fn trailers_carry_what_the_service_says_and_nothing_about_the_hop() {
    let trailers = [
        ("grpc-status", "5"),
        ("grpc-message", "no such thing"),
        ("x-app", "kept"),
        ("content-length", "5"),
        ("set-cookie", "a=b"),
        ("host", "elsewhere"),
        ("proxy-authenticate", "Basic"),
    ];
    let answer = Reply::ok(MESSAGE)
        .header("content-type", "application/grpc")
        .chunked()
        .trailers(&trailers);
    let upstream = Upstream::builder(answer).http2().start();
    let gateway = gateway_to(upstream.addr(), "").await;
    let answer = call(&gateway, &[]).await;
    assert_eq!(answer.body, MESSAGE);
    let got = answer.trailers.clone().unwrap();
    let mut names: Vec<&str> = got.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["grpc-message", "grpc-status", "x-app"], "{got:?}");
}

/// A server that says GOAWAY to every connection after its first call, with this reason; what the
/// call gets is `Ok` when it is answered first.
async fn leaving(reason: Reason, answers: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                let Some(Ok((_, mut respond))) = connection.accept().await else {
                    return;
                };
                if answers {
                    let head = Head::builder().header("content-type", "application/grpc");
                    let mut body = respond
                        .send_response(head.body(()).unwrap(), false)
                        .unwrap();
                    body.send_data(Bytes::from_static(MESSAGE), false).unwrap();
                    let mut trailers = http::HeaderMap::new();
                    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
                    body.send_trailers(trailers).unwrap();
                    connection.graceful_shutdown();
                } else {
                    connection.abrupt_shutdown(reason);
                }
                while connection.accept().await.is_some() {}
            });
        }
    });
    address
}

#[tokio::test]
async fn a_connection_that_the_service_takes_leave_of_costs_no_call() {
    let address = leaving(Reason::NO_ERROR, true).await;
    let gateway = gateway_to(address, "").await;
    for _ in 0..20 {
        let answer = call(&gateway, &[]).await;
        assert_eq!(status(&answer), (Some("0"), None), "{answer}");
        assert_eq!(answer.body, MESSAGE);
    }
}

#[tokio::test]
async fn calls_under_way_when_the_connection_is_thrown_away_end_with_a_status() {
    for reason in [
        Reason::ENHANCE_YOUR_CALM,
        Reason::INTERNAL_ERROR,
        Reason::NO_ERROR,
    ] {
        let address = leaving(reason, false).await;
        let gateway = gateway_to(address, "").await;
        let started = std::time::Instant::now();
        let answer = call(&gateway, &[]).await;
        assert_eq!(status(&answer).0, Some("14"), "{reason}: {answer}");
        assert!(started.elapsed() < Duration::from_secs(10), "{reason}");
    }
}
