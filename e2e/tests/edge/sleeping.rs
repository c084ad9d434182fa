//! Connections of clients that are silent give their buffers back, and nobody notices.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, request};
use weir_testkit::eventually::eventually;
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Answer, Reply, Upstream};

async fn gateway_to(upstream: SocketAddr, more: &str) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners:
          web: {{ bind: \"{}\"{more} }}
          secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}
        services: {{ app: {{ endpoints: [\"{upstream}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web, place.secure
    );
    place.start(&yaml).await
}

/// Waits until so many connections of the gateway sleep.
async fn asleep(gateway: &Lone, count: usize) {
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_asleep", &[]) == count as f64
    })
    .await;
}

async fn accepted(gateway: &Lone) -> f64 {
    let metrics = gateway.metrics().await;
    metrics.sum("weir_listener_connections_accepted_total", &[])
}

/// One request on a connection of one's own; the answer has the body `ok`.
async fn ask(stream: &mut TcpStream) {
    let head = b"GET /x HTTP/1.1\r\nhost: a\r\n\r\n";
    stream.write_all(head).await.unwrap();
    answered(stream).await;
}

async fn answered(stream: &mut TcpStream) {
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\nok") {
        let read = timeout(DEADLINE, stream.read_buf(&mut answer)).await;
        let read = read.unwrap().unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
    }
    assert!(answer.starts_with(b"HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn who_comes_back_is_served_on_the_same_connection() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let gateway = gateway_to(upstream.addr(), "").await;
    for url in [gateway.url("/x"), gateway.secure_url("/x")] {
        let before = accepted(&gateway).await;
        let mut connection = Client::http1().connect(&url).await.unwrap();
        for _ in 0..3 {
            assert_eq!(connection.get("/x").await.unwrap().text(), "ok");
            asleep(&gateway, 1).await;
        }
        assert_eq!(connection.get("/x").await.unwrap().text(), "ok", "{url}");
        assert_eq!(accepted(&gateway).await, before + 1.0, "{url}");
        drop(connection);
        asleep(&gateway, 0).await;
    }
}

#[tokio::test]
async fn a_request_that_has_begun_does_not_sleep_and_is_not_lost() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let gateway = gateway_to(upstream.addr(), "").await;
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    // The second begins in the same packet as the first.
    let both = b"GET /1 HTTP/1.1\r\nhost: a\r\n\r\nGET /2 HT";
    stream.write_all(both).await.unwrap();
    answered(&mut stream).await;
    let mut other = TcpStream::connect(gateway.web()).await.unwrap();
    ask(&mut other).await;
    // Once the one that came later sleeps, the first has had the time for it.
    asleep(&gateway, 1).await;
    stream
        .write_all(b"TP/1.1\r\nhost: a\r\n\r\n")
        .await
        .unwrap();
    answered(&mut stream).await;
    assert_eq!(upstream.last_request().path, "/2");
    asleep(&gateway, 2).await;
    // In pieces to one that sleeps.
    for piece in ["GET /3 HTTP/1.1\r\n", "host: a\r\n", "\r\n"] {
        stream.write_all(piece.as_bytes()).await.unwrap();
        tokio::task::yield_now().await;
    }
    answered(&mut stream).await;
    assert_eq!(upstream.last_request().path, "/3");
}

#[tokio::test]
async fn a_connection_that_slept_can_leave_http() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    let gateway = gateway_to(upstream.addr(), "").await;
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    connection.get("/x").await.unwrap();
    asleep(&gateway, 1).await;
    let handshake = [
        ("connection", "upgrade"),
        ("upgrade", "websocket"),
        ("sec-websocket-version", "13"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let get = request(Method::GET, "/socket", &handshake, Bytes::new()).unwrap();
    let answer = connection.start(get).await.unwrap();
    assert_eq!(answer.status(), 101);
    let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    socket.write_all(b"still here").await.unwrap();
    let mut back = [0; 10];
    let read = timeout(DEADLINE, socket.read_exact(&mut back));
    read.await.unwrap().unwrap();
    assert_eq!(&back, b"still here");
}

#[tokio::test]
async fn who_sleeps_is_still_closed_when_it_is_time() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let mut gateway = gateway_to(upstream.addr(), ", idle_timeout: 2500ms").await;
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    ask(&mut stream).await;
    asleep(&gateway, 1).await;
    let end = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert_eq!(end.unwrap(), 0);
    eventually(DEADLINE, async || {
        let idle = [("listener", "web"), ("reason", "idle")];
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_closed_total", &idle) == 1.0
    })
    .await;
    asleep(&gateway, 0).await;

    // The process leaves without waiting for them.
    let mut secure = Client::http1()
        .connect(&gateway.secure_url("/x"))
        .await
        .unwrap();
    secure.get("/x").await.unwrap();
    asleep(&gateway, 1).await;
    gateway.process.signal(Signal::SIGTERM);
    gateway
        .proxy
        .process
        .wait_exit(Duration::from_secs(10))
        .await;
    eventually(DEADLINE, async || secure.is_closed()).await;
}

#[tokio::test]
async fn a_thousand_that_sleep_hold_little_memory() {
    let upstream = Upstream::start(Reply::ok("ok"));
    let gateway = gateway_to(upstream.addr(), ", client_connections_max: 2000").await;
    let mut streams = Vec::new();
    for _ in 0..200 {
        ask(&mut TcpStream::connect(gateway.web()).await.unwrap()).await;
    }
    let before = gateway.process.resident_bytes();
    for _ in 0..CONNECTIONS {
        let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
        ask(&mut stream).await;
        streams.push(stream);
    }
    asleep(&gateway, CONNECTIONS).await;
    // What is free is given back a moment later.
    eventually(DEADLINE, async || {
        let more = gateway.process.resident_bytes().saturating_sub(before);
        more / (CONNECTIONS as u64) < BYTES_EACH_MAX
    })
    .await;
    for stream in &mut streams {
        ask(stream).await;
    }
}

const CONNECTIONS: usize = 1000;
/// In a debug build, where they hold 2 KiB.
const BYTES_EACH_MAX: u64 = 4 * 1024;
