//! The scripted upstreams do on the wire what their scripts say.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Version};
use serde_json::Value;
use weir_testkit::client::{Client, ClientError, Ending, Protocol, raw, request};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

const DEADLINE: Duration = Duration::from_secs(10);

fn both() -> [(Protocol, Client); 2] {
    [
        (Protocol::Http1, Client::http1()),
        (Protocol::Http2, Client::http2()),
    ]
}

fn start(protocol: Protocol, script: impl Into<Script>) -> Upstream {
    match protocol {
        Protocol::Http1 => Upstream::start(script),
        Protocol::Http2 => Upstream::builder(script).http2().start(),
    }
}

#[tokio::test]
async fn echo_tells_what_it_saw() {
    for (protocol, client) in both() {
        let upstream = start(protocol, Reply::echo());
        let headers = [("x-b", "2"), ("x-a", "1"), ("x-b", "3")];
        let response = client
            .post(&upstream.url("/p?q=1"), &headers, "hello")
            .await
            .unwrap();
        let seen: Value = response.json();
        assert_eq!(seen["method"], "POST");
        assert_eq!(seen["path"], "/p?q=1");
        assert_eq!(seen["body"], "hello");
        let request = upstream.last_request();
        assert!(request.is_complete);
        assert_eq!(request.header_values("X-B"), ["2", "3"]);
        assert_eq!(upstream.connection_count(), 1);
    }
}

#[tokio::test]
async fn http1_headers_keep_order_and_spelling() {
    let upstream = Upstream::start(Reply::echo());
    let text = "GET / HTTP/1.1\r\nHOST: h\r\nX-Zed: 1\r\nx-abc: 2\r\nConnection: close\r\n\r\n";
    let answer = raw(upstream.addr(), text, DEADLINE).await;
    assert_eq!(
        (answer.status(), answer.ending),
        (Some(200), Ending::Closed)
    );
    let names: Vec<_> = upstream
        .last_request()
        .headers
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names, ["HOST", "X-Zed", "x-abc", "Connection"]);
}

#[tokio::test]
async fn chunked_requests_and_trailers_are_read() {
    let upstream = Upstream::start(Reply::ok("done").trailers(&[("x-sum", "42")]));
    let text = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n\
                3\r\nabc\r\n2;ext=1\r\nde\r\n0\r\nX-End: yes\r\n\r\n\
                GET /second HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n";
    let answer = raw(upstream.addr(), text, DEADLINE).await;
    assert_eq!(answer.answers(), 2);
    assert!(
        answer
            .text()
            .ends_with("4\r\ndone\r\n0\r\nx-sum: 42\r\n\r\n"),
        "{}",
        answer.text()
    );
    let requests = upstream.requests();
    assert_eq!(requests[0].text(), "abcde");
    assert_eq!(
        requests[0].trailers,
        [("X-End".to_owned(), "yes".to_owned())]
    );
    assert_eq!(requests[1].path, "/second");
}

#[tokio::test]
async fn trailers_reach_the_client() {
    for (protocol, client) in both() {
        let upstream = start(protocol, Reply::ok("body").trailers(&[("x-sum", "42")]));
        let response = client.get(&upstream.url("/")).await.unwrap();
        assert_eq!(response.text(), "body");
        assert_eq!(response.trailers.unwrap()["x-sum"], "42");
    }
}

#[tokio::test]
async fn a_sequence_ends_with_its_last_answer() {
    let answers = [
        Answer::Reset,
        Reply::status(503).into(),
        Reply::ok("fine").into(),
    ];
    let upstream = Upstream::start(Script::sequence(answers));
    let client = Client::http1();
    assert!(matches!(
        client.get(&upstream.url("/")).await,
        Err(ClientError::Send(_))
    ));
    assert_eq!(client.get(&upstream.url("/")).await.unwrap().status, 503);
    assert_eq!(client.get(&upstream.url("/")).await.unwrap().status, 200);
    assert_eq!(client.get(&upstream.url("/")).await.unwrap().status, 200);
    assert_eq!(upstream.request_count(), 4);
}

#[tokio::test]
async fn resets_are_resets_and_closes_are_closes() {
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let cases: [(Answer, Ending, &str); 5] = [
        (Answer::Reset, Ending::Reset, ""),
        (Answer::Close, Ending::Closed, ""),
        (
            Reply::ok("0123456789").reset_after(4).into(),
            Ending::Reset,
            "0123",
        ),
        (
            Reply::ok("0123456789").close_after(4).into(),
            Ending::Closed,
            "0123",
        ),
        (
            Answer::raw("HTTP/1.1 abc\r\n\r\n"),
            Ending::Closed,
            "HTTP/1.1 abc\r\n\r\n",
        ),
    ];
    for (answer, ending, tail) in cases {
        let upstream = Upstream::start(answer.clone());
        let seen = raw(upstream.addr(), get, DEADLINE).await;
        assert_eq!(seen.ending, ending, "{answer:?}");
        assert!(seen.text().ends_with(tail), "{answer:?}: {}", seen.text());
    }
}

#[tokio::test]
async fn a_broken_off_body_is_an_error_in_both_protocols() {
    for (protocol, client) in both() {
        for reply in [
            Reply::ok("0123456789").reset_after(4),
            Reply::ok("0123456789").close_after(4),
        ] {
            let upstream = start(protocol, reply);
            let mut connection = client.connect(&upstream.url("/")).await.unwrap();
            let failed = connection.get("/").await;
            assert!(
                matches!(failed, Err(ClientError::Body(_))),
                "{protocol:?}: {failed:?}"
            );
        }
    }
}

#[tokio::test]
async fn stalls_and_hangs_last_until_the_client_gives_up() {
    for (protocol, client) in both() {
        let client = client.deadline(Duration::from_millis(150));
        for answer in [Answer::Hang, Reply::ok("0123456789").stall_after(4).into()] {
            let upstream = start(protocol, answer);
            let outcome = client.get(&upstream.url("/")).await;
            assert!(
                matches!(outcome, Err(ClientError::Deadline(_))),
                "{outcome:?}"
            );
            eventually(DEADLINE, async || upstream.open_connections() == 0).await;
        }
    }
}

#[tokio::test]
async fn a_trickle_comes_in_pieces() {
    for (protocol, client) in both() {
        let reply = Reply::ok("0123456789").trickle(4, Duration::from_millis(30));
        let upstream = start(protocol, reply.delay(Duration::from_millis(30)));
        let start = std::time::Instant::now();
        assert_eq!(
            client.get(&upstream.url("/")).await.unwrap().text(),
            "0123456789"
        );
        assert!(start.elapsed() >= Duration::from_millis(90));
    }
}

#[tokio::test]
async fn a_kept_connection_is_used_again_until_its_limit() {
    let upstream = Upstream::builder(Reply::ok("x"))
        .requests_per_connection_max(2)
        .start();
    let mut connection = Client::http1().connect(&upstream.url("/")).await.unwrap();
    connection.get("/").await.unwrap();
    assert!(!connection.is_closed());
    connection.get("/").await.unwrap();
    eventually(DEADLINE, async || connection.is_closed()).await;
    assert_eq!(upstream.connection_count(), 1);
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_body() {
    let upstream = Upstream::start(Reply::status(413).early());
    let text = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n";
    let answer = raw(upstream.addr(), text, Duration::from_millis(500)).await;
    assert_eq!(answer.status(), Some(413));
    assert!(!upstream.last_request().is_complete);
}

#[tokio::test]
async fn interim_answers_and_continue_come_first() {
    let upstream = Upstream::start(Reply::ok("x").interim(103, &[("link", "</a>")]).last());
    let text = "POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\na";
    let answer = raw(upstream.addr(), text, DEADLINE).await.text();
    let places: Vec<_> = ["100 Continue", "103 Early", "200 OK"]
        .iter()
        .map(|part| answer.find(part))
        .collect();
    assert!(places.is_sorted() && places[0].is_some(), "{answer}");
}

#[tokio::test]
async fn web_socket_upgrades_and_echoes_bytes() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    let text = "GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n\
                \x01\x02frames";
    let answer = raw(upstream.addr(), text, Duration::from_millis(300)).await;
    assert_eq!(answer.status(), Some(101));
    // The example of RFC 6455, section 1.3.
    assert!(
        answer.text().contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "{}",
        answer.text()
    );
    assert!(answer.text().ends_with("\r\n\r\n\x01\x02frames"));
}

#[tokio::test]
async fn http2_streams_share_a_connection_and_can_be_refused() {
    let script = Script::by(|request| match request.path.as_str() {
        "/refused" => Answer::Refuse,
        _ => Reply::ok(vec![b'x'; 300_000]).into(),
    });
    let upstream = Upstream::builder(script).http2().start();
    let mut connection = Client::http2().connect(&upstream.url("/")).await.unwrap();
    let refused = connection.get("/refused").await;
    assert!(matches!(refused, Err(ClientError::Send(_))), "{refused:?}");
    let answer = connection.get("/").await.unwrap();
    assert_eq!(
        (answer.version, answer.body.len()),
        (Version::HTTP_2, 300_000)
    );
    assert_eq!(upstream.connection_count(), 1);
}

#[tokio::test]
async fn a_stopped_upstream_can_come_back_at_its_address() {
    let upstream = Upstream::start(Reply::ok("first"));
    let address = upstream.addr();
    let client = Client::http1();
    let url = upstream.url("/");
    let mut kept = client.connect(&url).await.unwrap();
    kept.get("/").await.unwrap();
    upstream.stop();
    assert!(matches!(
        client.get(&url).await,
        Err(ClientError::Connect(_))
    ));
    let _again = Upstream::builder(Reply::ok("second")).bind(address).start();
    assert_eq!(client.get(&url).await.unwrap().text(), "second");
}

#[tokio::test]
async fn large_bodies_are_counted_whole_and_kept_in_part() {
    for (protocol, client) in both() {
        let upstream = start(protocol, Reply::ok("x"));
        let body = Bytes::from(vec![b'x'; 3_000_000]);
        let request = request(Method::PUT, &upstream.url("/"), &[], body).unwrap();
        client.send(request).await.unwrap();
        let seen = upstream.last_request();
        assert_eq!((seen.body_bytes, seen.body.len()), (3_000_000, 1024 * 1024));
    }
}
