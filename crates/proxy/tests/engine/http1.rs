//! HTTP/1 of clients, byte by byte: pipelines, bodies in every size of pieces, ends in every place.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_testkit::client::{Ending, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

use crate::world::{SOON, World, document};

const SHORT: Duration = Duration::from_millis(300);

/// `/own` is answered without anybody reading the body of a request, everything else by `upstream`.
async fn world(upstream: &Upstream) -> World {
    let yaml = format!(
        "listeners: {{ web: {{ bind: \"LISTEN\" }} }}\n\
         services: {{ app: {{ endpoints: [\"{}\"] }} }}\n\
         routes:\n\
         - {{ path: /own, respond: {{ status: 203, body: own }} }}\n\
         - {{ path: \"/*\", to: app }}\n",
        upstream.addr()
    );
    World::running(&yaml).await
}

/// Reads to this end.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    while !read.ends_with(end.as_bytes()) {
        let count = timeout(SOON, stream.read_buf(&mut read)).await;
        let count = count.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&read)));
        assert_ne!(count.unwrap(), 0, "{}", String::from_utf8_lossy(&read));
    }
    String::from_utf8(read).unwrap()
}

/// Sends bytes one by one, as far as the socket lets them stay apart.
async fn drip(stream: &mut TcpStream, bytes: &str) {
    stream.set_nodelay(true).unwrap();
    for byte in bytes.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn many_requests_in_one_packet_are_answered_in_their_order() {
    let upstream = Upstream::start(Script::by(|request| {
        // Those that come first take longest.
        let number: u64 = request.path[1..].parse().unwrap_or(0);
        Reply::ok(format!("[{number}]")).delay(Duration::from_millis(4 * (5 - number % 5)))
    }));
    let world = world(&upstream).await;
    let requests: String = (0..100)
        .map(|number| format!("GET /{number} HTTP/1.1\r\nhost: a\r\n\r\n"))
        .collect();
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(requests.as_bytes()).await.unwrap();
    let answers = read_to(&mut stream, "[99]").await;
    let numbers = answers.split('[').skip(1).map(|rest| {
        let number = rest.split_once(']').unwrap().0;
        number.parse::<u32>().unwrap()
    });
    assert!(numbers.eq(0..100), "{answers}");
}

#[tokio::test]
async fn what_comes_behind_a_body_that_nobody_reads_is_answered_if_all_of_it_is_there() {
    let upstream = Upstream::start(Reply::ok("next"));
    let world = world(&upstream).await;
    let next = "GET /next HTTP/1.1\r\nhost: a\r\n\r\n";
    for body in [
        "content-length: 5\r\n\r\n12345",
        "transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n0\r\nx-sum: 1\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        let both = format!("POST /own HTTP/1.1\r\nhost: a\r\n{body}{next}");
        stream.write_all(both.as_bytes()).await.unwrap();
        let answers = read_to(&mut stream, "\r\n\r\nnext").await;
        assert!(answers.starts_with("HTTP/1.1 203 "), "{answers}");
        assert!(answers.contains("ownHTTP/1.1 200 OK\r\n"), "{answers}");
        assert!(!answers.contains("connection: close"), "{answers}");
    }
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let part = "POST /own HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\n123";
    stream.write_all(part.as_bytes()).await.unwrap();
    let mut answer = String::new();
    // The answer arrives, and then the end, although the client goes on.
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 203 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn drops_of_a_request_are_one_request() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let world = world(&upstream).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for round in 0..2 {
        let head = format!("POST /{round} HTTP/1.1\r\nhost: a\r\nTE: trailers\r\n");
        drip(&mut stream, &head).await;
        drip(&mut stream, "transfer-encoding: chunked\r\n\r\n").await;
        drip(
            &mut stream,
            "5;x=y\r\nhello\r\n6\r\n, you!\r\n0\r\nx-sum: 7\r\n\r\n",
        )
        .await;
        read_to(&mut stream, "\r\n\r\nok").await;
        let request = upstream.last_request();
        assert_eq!(
            (request.path, request.body_bytes),
            (format!("/{round}"), 11)
        );
        assert_eq!(request.body, "hello, you!");
        assert_eq!(request.trailers, [("x-sum".to_owned(), "7".to_owned())]);
        assert!(request.is_complete);
    }
}

#[tokio::test]
async fn a_body_larger_than_all_buffers_arrives_whole_and_the_connection_goes_on() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let world = world(&upstream).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let body: Vec<u8> = (0..3_000_000_u32)
        .map(|number| (number >> 3) as u8)
        .collect();
    for _ in 0..2 {
        let head = format!(
            "PUT /x HTTP/1.1\r\nhost: a\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        read_to(&mut stream, "\r\n\r\nok").await;
        let request = upstream.last_request();
        assert_eq!(request.body_bytes, body.len() as u64);
        assert!(request.body == body[..request.body.len()]);
    }
    assert_eq!(upstream.connection_count(), 1);
}

#[tokio::test]
async fn who_expects_to_continue_is_told_when_somebody_asks_for_the_body() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let world = world(&upstream).await;
    let head = |path| {
        format!(
            "POST {path} HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..2 {
        stream.write_all(head("/x").as_bytes()).await.unwrap();
        let told = read_to(&mut stream, "\r\n\r\n").await;
        assert_eq!(told, "HTTP/1.1 100 Continue\r\n\r\n");
        stream.write_all(b"12345").await.unwrap();
        let answer = read_to(&mut stream, "\r\n\r\nok").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    // Nobody wants the body of this one.
    stream.write_all(head("/own").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 203 "), "{answer}");
    assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
}

#[tokio::test]
async fn http_1_0_keeps_its_connection_if_it_asks_to() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let world = world(&upstream).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    for _ in 0..3 {
        let request = "GET /x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let answer = read_to(&mut stream, "\r\n\r\nhello").await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(
            answer.contains("\r\nconnection: keep-alive\r\n"),
            "{answer}"
        );
    }
    // A length that is not known ends with the connection, whatever was asked for.
    upstream.set_script(Reply::ok("hello").chunked());
    let request = "GET /x HTTP/1.0\r\nhost: a\r\nconnection: keep-alive\r\n\r\n";
    let answer = raw(world.address, request, SOON).await;
    assert_eq!(answer.ending, Ending::Closed);
    assert!(
        answer.text().ends_with("\r\n\r\nhello"),
        "{}",
        answer.text()
    );
    for unwanted in ["keep-alive", "transfer-encoding"] {
        assert!(!answer.text().contains(unwanted), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_client_that_ends_amid_something_is_let_go() {
    let upstream = Upstream::start(Script::by(|request| match request.path.as_str() {
        "/hang" => Answer::Hang,
        _ => Reply::ok("ok").into(),
    }));
    let world = world(&upstream).await;
    let ends = |reason: &str| {
        let label = format!("reason=\"{reason}\"");
        world.metric("weir_http_request_ends_total", &label)
    };
    // In a head: nothing was asked.
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nho").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "");
    // While it waits, also with a request behind the first.
    for request in ["GET /hang HTTP/1.1\r\nhost: a\r\n\r\n"] {
        let before = ends("client-gone-before-response");
        let count = upstream.request_count();
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        upstream.wait_for_requests(count + 1, SOON).await;
        drop(stream);
        eventually(SOON, async || {
            ends("client-gone-before-response") == before + 1.0
        })
        .await;
    }
    // In a body: it is told, and so is the endpoint.
    let part = "POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123";
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(part.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    eventually(SOON, async || upstream.open_connections() == 0).await;
    eventually(SOON, async || world.engine.stats().in_flight == 0).await;
    eventually(SOON, async || world.engine.stats().connections == 0).await;
}

#[tokio::test]
async fn a_malformed_request_in_a_pipeline_is_refused_in_its_turn_and_ends_it() {
    let upstream = Upstream::start(Reply::ok("ok").delay(Duration::from_millis(50)));
    let world = world(&upstream).await;
    let good = "GET /good HTTP/1.1\r\nhost: a\r\n\r\n";
    let bad = "GET /bad HTTP/1.1\r\nhost : a\r\n\r\n";
    for body in ["", "content-length: 2\r\n"] {
        let sent = format!(
            "{good}{}{good}",
            bad.replace("host :", &format!("{body}host :"))
        );
        let answer = raw(world.address, sent, SOON).await;
        assert_eq!(answer.answers(), 2, "{}", answer.text());
        let (first, second) = answer.text().split_once("\r\n\r\nok").map_or_else(
            || panic!("{}", answer.text()),
            |(first, second)| (first.to_owned(), second.to_owned()),
        );
        assert!(first.starts_with("HTTP/1.1 200 OK\r\n"), "{first}");
        assert!(second.starts_with("HTTP/1.1 400 "), "{second}");
        assert!(second.contains("\r\nconnection: close\r\n"), "{second}");
    }
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn what_comes_before_the_switch_is_for_the_other_side() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    let world = world(&upstream).await;
    let handshake = "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                     sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let early = "too early".repeat(1000);
    stream.write_all(handshake.as_bytes()).await.unwrap();
    stream.write_all(early.as_bytes()).await.unwrap();
    let answer = read_to(&mut stream, &early).await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    stream.write_all(b"and then").await.unwrap();
    assert_eq!(read_to(&mut stream, "and then").await, "and then");
    // Where nothing is switched, it is the next request.
    upstream.set_script(Reply::status(400));
    let both = format!("{handshake}GET /next HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    let answer = raw(world.address, both, SOON).await;
    assert_eq!(answer.answers(), 2, "{}", answer.text());
    assert_eq!(upstream.last_request().path, "/next");
}

#[tokio::test]
async fn a_response_of_any_size_arrives_whole_in_every_framing() {
    let upstream = Upstream::start(Reply::ok(""));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    for size in [1, 4096, 4097, 100_000, 1_000_000] {
        let body: String = (0..size)
            .map(|at| char::from(b'a' + (at % 23) as u8))
            .collect();
        for chunked in [false, true] {
            let reply = Reply::ok(body.clone());
            upstream.set_script(if chunked { reply.chunked() } else { reply });
            let mut client = weir_testkit::client::Client::http1()
                .connect(&world.url("/"))
                .await
                .unwrap();
            for _ in 0..2 {
                let response = client.get("/").await.unwrap();
                assert!(response.text() == body, "{size} {chunked}");
            }
            let old = raw(world.address, "GET / HTTP/1.0\r\nhost: a\r\n\r\n", SOON).await;
            assert!(
                old.text().split_once("\r\n\r\n").unwrap().1 == body,
                "{size} {chunked}"
            );
        }
    }
}

#[tokio::test]
async fn a_client_that_reads_nothing_stops_the_endpoint() {
    let upstream = Upstream::start(Reply::ok(vec![b'x'; 64 * 1024 * 1024]));
    let world = world(&upstream).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let request = "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    upstream.wait_for_requests(1, SOON).await;
    tokio::time::sleep(SHORT).await;
    assert_eq!(upstream.open_connections(), 1, "it is held back");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert!(answer.len() > 64 * 1024 * 1024);
    eventually(SOON, async || world.engine.stats().in_flight == 0).await;
}
