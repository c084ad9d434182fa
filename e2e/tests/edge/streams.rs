//! Bodies on the way: streamed as they come, with trailers, until one side has enough.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, raw, request};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

async fn gateway_to(upstream: &Upstream, protocol: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], protocol: {protocol} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn the_first_event_arrives_before_the_last_is_sent() {
    // The endpoint stops after the first event for good: what arrives was not waited for.
    let events = "data: first\n\ndata: second\n\n";
    let reply = Reply::ok(events)
        .header("content-type", "text/event-stream")
        .chunked();
    let upstream = Upstream::start(reply.stall_after(13));
    let gateway = gateway_to(&upstream, "http1").await;
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let get = request(Method::GET, "/events", &[], Bytes::new()).unwrap();
        let streaming = async {
            let mut answer = connection.start(get).await.unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            answer
                .body_mut()
                .frame()
                .await
                .unwrap()
                .unwrap()
                .into_data()
                .unwrap()
        };
        let first = tokio::time::timeout(DEADLINE, streaming).await.unwrap();
        assert_eq!(first, "data: first\n\n");
    }
}

#[tokio::test]
async fn a_large_body_passes_both_ways_unchanged() {
    let content: Vec<u8> = (0..8 * 1024 * 1024_u32)
        .map(|at| (at % 251) as u8)
        .collect();
    let content = Bytes::from(content);
    let upstream = Upstream::start(Reply::ok(content.clone()));
    let gateway = gateway_to(&upstream, "http1").await;
    for client in [Client::http1(), Client::http2()] {
        let answer = client
            .post(&gateway.url("/x"), &[], content.clone())
            .await
            .unwrap();
        assert_eq!(answer.status, 200, "{}", answer.status);
        assert!(answer.body == content);
        assert_eq!(upstream.last_request().body_bytes, content.len() as u64);
    }
}

#[tokio::test]
async fn trailers_of_the_service_reach_the_client() {
    let reply = || {
        Reply::ok("body")
            .header("trailer", "x-sum")
            .trailers(&[("x-sum", "42")])
    };
    for (upstream, protocol) in [
        (Upstream::start(reply()), "http1"),
        (Upstream::builder(reply()).http2().start(), "http2"),
    ] {
        let gateway = gateway_to(&upstream, protocol).await;
        for client in [Client::http1(), Client::http2()] {
            // In HTTP/1.1 a client has to say that it wants them.
            let headers = [("te", "trailers")];
            let answer = client.get_with(&gateway.url("/x"), &headers).await.unwrap();
            let trailers = answer.trailers.clone().unwrap_or_default();
            let version = answer.version;
            assert_eq!(
                trailers.get("x-sum").unwrap(),
                "42",
                "{version:?} to {protocol}"
            );
        }
    }
}

#[tokio::test]
async fn trailers_of_the_client_reach_the_service() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream, "http1").await;
    let sent = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\
                Connection: close\r\n\r\n3\r\nabc\r\n0\r\nx-sum: 42\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    let seen = upstream.last_request();
    assert_eq!(seen.text(), "abc");
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "42".to_owned())]);
}

#[tokio::test]
async fn an_early_answer_is_delivered_while_the_upload_goes_on() {
    let upstream = Upstream::start(Reply::status(403).body("no need").early().last());
    let gateway = gateway_to(&upstream, "http1").await;
    let body = vec![b'x'; 4 * 1024 * 1024];
    let answer = Client::http2()
        .post(&gateway.url("/x"), &[], body)
        .await
        .unwrap();
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (403, "no need")
    );
}

#[tokio::test]
async fn a_client_that_reads_nothing_before_it_has_sent_everything_is_served() {
    let bytes = 16 * 1024 * 1024;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    // Answers from the start, whatever has come, and reads all the while.
    let service = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let answer = tokio::spawn(async move {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {bytes}\r\n\r\n");
            to.write_all(head.as_bytes()).await.unwrap();
            to.write_all(&vec![b'a'; bytes]).await.unwrap();
            to
        });
        let mut read = vec![0; 64 * 1024];
        let mut received = 0;
        while received < bytes {
            received += from.read(&mut read).await.unwrap();
        }
        answer.await.unwrap();
        received
    });
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{address}\"] }} }}
        routes: [{{ path: \"/*\", to: app, body_bytes_max: 32MiB }}]
        "
    ))
    .await;
    let talk = async {
        let mut client = TcpStream::connect(gateway.web()).await.unwrap();
        let head = format!(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {bytes}\r\n\r\n"
        );
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&vec![b'b'; bytes]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(DEADLINE, talk).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    assert!(
        answer.len() > bytes && answer.ends_with(b"aaaa"),
        "{}",
        answer.len()
    );
    assert!(service.await.unwrap() >= bytes);
}

#[tokio::test]
async fn when_the_client_goes_the_attempt_is_cancelled() {
    let upstream = Upstream::start(Answer::Hang);
    let gateway = gateway_to(&upstream, "http1").await;
    for (count, client) in [(1, Client::http1()), (2, Client::http2())] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let get = request(Method::GET, "/gone", &[], Bytes::new()).unwrap();
        tokio::select! {
            answer = connection.start(get) => panic!("{answer:?}"),
            () = upstream.wait_for_requests(count, DEADLINE) => {}
        }
        assert_eq!(upstream.open_connections(), 1);
        drop(connection);
        eventually(DEADLINE, async || upstream.open_connections() == 0).await;
    }
}

#[tokio::test]
async fn when_the_client_goes_in_the_middle_of_a_body_the_endpoint_is_let_go() {
    let reply = Reply::ok(vec![b'x'; 1024]).trickle(1, Duration::from_millis(50));
    let upstream = Upstream::start(Script::from(reply));
    let gateway = gateway_to(&upstream, "http1").await;
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let get = request(Method::GET, "/gone", &[], Bytes::new()).unwrap();
    let mut answer = connection.start(get).await.unwrap();
    answer.body_mut().frame().await.unwrap().unwrap();
    drop((answer, connection));
    eventually(DEADLINE, async || upstream.open_connections() == 0).await;
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_passed_off_as_whole() {
    for chunked in [false, true] {
        let reply = Reply::ok(vec![b'x'; 1000]).reset_after(500);
        let upstream = Upstream::start(if chunked { reply.chunked() } else { reply });
        let gateway = gateway_to(&upstream, "http1").await;
        for client in [Client::http1(), Client::http2()] {
            let answer = client.get(&gateway.url("/x")).await;
            assert!(answer.is_err(), "{}", answer.unwrap());
        }
    }
}

#[tokio::test]
async fn the_total_deadline_ends_everything_but_streams() {
    // A second in pieces, with a deadline of less.
    let pieces = || Reply::ok("0123456789").trickle(1, Duration::from_millis(100));
    let script = move |request: &Recorded| match request.path.as_str() {
        "/length" => pieces(),
        "/events" => pieces()
            .header("content-type", "text/event-stream; charset=utf-8")
            .chunked(),
        "/lines" => pieces()
            .header("content-type", "application/x-ndjson")
            .chunked(),
        "/chunked" => pieces()
            .header("content-type", "application/json")
            .chunked(),
        _ => pieces().until_close(),
    };
    let upstream = Upstream::start(Script::by(script));
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], timeouts: {{ total: 500ms, response: 300ms }} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await;
    for client in [Client::http1(), Client::http2()] {
        for path in ["/events", "/lines"] {
            let answer = client.get(&gateway.url(path)).await.unwrap();
            assert_eq!(answer.text(), "0123456789", "{path}");
        }
        for path in ["/length", "/chunked", "/until-close"] {
            assert!(client.get(&gateway.url(path)).await.is_err(), "{path}");
            let line = gateway.logged(path).await;
            assert_eq!(line["termination"], "total-timeout", "{line}");
        }
    }
}
