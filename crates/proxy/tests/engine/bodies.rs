//! Bodies: streamed, capped, timed, counted.

use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_testkit::client::{Client, raw, request};
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{SOON, World, document};

#[tokio::test]
async fn responses_stream() {
    let slow = Reply::ok("a".repeat(30)).trickle(10, Duration::from_millis(400));
    let upstream = Upstream::start(slow);
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    let began = Instant::now();
    let get = request(http::Method::GET, "/", &[], bytes::Bytes::new()).unwrap();
    let response = connection.start(get).await.unwrap();
    let mut body = response.into_body();
    let first = body.frame().await.unwrap().unwrap();
    assert!(
        began.elapsed() < Duration::from_millis(380),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(first.data_ref().unwrap().len(), 10);
    assert_eq!(body.collect().await.unwrap().to_bytes().len(), 20);
}

#[tokio::test]
async fn requests_stream() {
    let upstream = Upstream::start(Reply::echo());
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\nconnection: close\r\n\r\n12345";
    stream.write_all(head.as_bytes()).await.unwrap();
    // The endpoint sees the head, and the first half, before the client sends the second.
    upstream.wait_for_requests(1, SOON).await;
    stream.write_all(b"67890").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(upstream.last_request().text(), "1234567890");
}

#[tokio::test]
async fn bodies_above_the_bound_are_refused_declared_or_not() {
    let upstream = Upstream::start(Reply::echo());
    let bound = "body_bytes_max: 1KiB";
    let world = World::running(&document(&[upstream.addr()], "", bound)).await;
    let response = Client::http1()
        .post(&world.url("/"), &[], "x".repeat(2000))
        .await
        .unwrap();
    assert_eq!(response.status.as_u16(), 413, "{response}");
    assert_eq!(upstream.request_count(), 0);

    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let chunked = format!(
        "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n"
    );
    let answer = raw(world.address, chunked, SOON).await;
    assert_eq!(answer.status(), Some(413), "{}", answer.text());
    assert!(answer.text().contains("weir-reason: body-too-large"));
}

#[tokio::test]
async fn a_client_that_stops_sending_is_told_so() {
    let upstream = Upstream::start(Reply::echo());
    let idle = "timeouts: { idle: 300ms }";
    let world = World::running(&document(&[upstream.addr()], "", idle)).await;
    let half = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n12345";
    let answer = raw(world.address, half, SOON).await;
    assert_eq!(answer.status(), Some(408), "{}", answer.text());
}

#[tokio::test]
async fn an_endpoint_that_stops_sending_is_cut_off() {
    let upstream = Upstream::start(Reply::ok("x".repeat(100)).stall_after(50));
    let idle = "timeouts: { idle: 300ms }";
    let world = World::running(&document(&[upstream.addr()], "", idle)).await;
    let began = Instant::now();
    assert!(Client::http1().get(&world.url("/")).await.is_err());
    assert!(began.elapsed() < Duration::from_secs(3));
    assert_eq!(
        world.metric(
            "weir_http_request_ends_total",
            "reason=\"upstream-stalled\""
        ),
        1.0
    );
}

#[tokio::test]
async fn a_response_that_breaks_off_breaks_off_for_the_client() {
    let upstream = Upstream::start(Reply::ok("x".repeat(100)).close_after(50));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    assert!(Client::http1().get(&world.url("/")).await.is_err());
    let ended = "reason=\"upstream-reset-after-bytes\"";
    assert_eq!(world.metric("weir_http_request_ends_total", ended), 1.0);
}

#[tokio::test]
async fn heads_without_bodies_and_interim_answers() {
    let upstream = Upstream::start(Reply::ok("hello").interim(103, &[("link", "</x>")]));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    let head = request(http::Method::HEAD, "/", &[], bytes::Bytes::new()).unwrap();
    let response = connection.send(head).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), response.header("content-length")),
        (200, Some("5"))
    );
    upstream.set_script(Reply::status(204));
    assert_eq!(connection.get("/").await.unwrap().status.as_u16(), 204);
    upstream.set_script(Reply::status(304).header("etag", "\"x\""));
    let response = connection.get("/").await.unwrap();
    assert_eq!(
        (response.status.as_u16(), response.header("etag")),
        (304, Some("\"x\""))
    );
    upstream.set_script(Reply::ok("after"));
    assert_eq!(connection.get("/").await.unwrap().text(), "after");
    assert_eq!(upstream.connection_count(), 1);
}

#[tokio::test]
async fn expectations_are_met() {
    let upstream = Upstream::start(Reply::echo());
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\nexpect: 100-continue\r\n\
                connection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    tokio::time::timeout(SOON, stream.read_exact(&mut interim))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(upstream.last_request().text(), "hello");
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_request() {
    let upstream = Upstream::start(Reply::status(403).early().last());
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\nfirst";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = vec![0; 12];
    tokio::time::timeout(SOON, stream.read_exact(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer, b"HTTP/1.1 403");
}

#[tokio::test]
async fn large_bodies_pass_both_ways_whole() {
    let upstream = Upstream::start(Reply::ok("y".repeat(3_000_000)));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    for client in [Client::http1(), Client::http2()] {
        let response = client
            .post(&world.url("/"), &[], "x".repeat(2_000_000))
            .await
            .unwrap();
        assert_eq!(response.body.len(), 3_000_000);
        assert_eq!(upstream.last_request().body_bytes, 2_000_000);
    }
    assert_eq!(
        world.metric("weir_http_response_body_bytes_total", ""),
        6_000_000.0
    );
    assert_eq!(
        world.metric("weir_http_request_body_bytes_total", ""),
        4_000_000.0
    );
}
