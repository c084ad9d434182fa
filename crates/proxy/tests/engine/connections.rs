//! Connections of clients and to endpoints: reuse, bounds, idling, leaving.

use std::time::{Duration, Instant};

use weir_testkit::client::{Client, Ending, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

use crate::world::{SOON, World, document};

#[tokio::test]
async fn keep_alive_connections_are_reused_on_both_sides() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    for _ in 0..50 {
        let response = connection.get("/x").await.unwrap();
        assert_eq!(
            (response.status.as_u16(), response.text().as_str()),
            (200, "hello")
        );
    }
    assert!(!connection.is_closed());
    assert_eq!(upstream.request_count(), 50);
    assert_eq!(upstream.connection_count(), 1);
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closed_while_idle_is_no_failure() {
    let upstream = Upstream::builder(Reply::ok("hello"))
        .requests_per_connection_max(3)
        .start();
    let world = World::running(&document(&[upstream.addr()], "retry: { attempts: 0 }", "")).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    for _ in 0..12 {
        let before = upstream.request_count();
        assert_eq!(connection.get("/").await.unwrap().status.as_u16(), 200);
        if (before + 1).is_multiple_of(3) {
            // The close is seen before the next request; what races with it is another test.
            eventually(SOON, async || upstream.open_connections() == 0).await;
        }
    }
    assert_eq!(upstream.connection_count(), 4);
}

#[tokio::test]
async fn headers_are_bounded_in_size_number_and_time() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let mut text = document(&[upstream.addr()], "", "");
    text = text.replace(
        "bind: \"LISTEN\"",
        "bind: \"LISTEN\", header_bytes_max: 4KiB, header_count_max: 20, header_timeout: 300ms, \
         idle_timeout: 1s",
    );
    let world = World::running(&text).await;
    let long = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx: {}\r\n\r\n",
        "y".repeat(8000)
    );
    assert_eq!(raw(world.address, long, SOON).await.status(), Some(431));
    let many = format!(
        "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{}\r\n",
        "x: y\r\n".repeat(30)
    );
    assert_eq!(raw(world.address, many, SOON).await.status(), Some(431));

    let began = Instant::now();
    let slow = raw(world.address, "GET / HTTP/1.1\r\nhost:", SOON).await;
    assert_eq!(slow.ending, Ending::Closed);
    assert!(
        began.elapsed() < Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );

    // Between requests the idle timeout counts, not the header timeout.
    let began = Instant::now();
    let idle = raw(world.address, "GET / HTTP/1.1\r\nhost: a\r\n\r\n", SOON).await;
    assert_eq!((idle.status(), idle.ending), (Some(200), Ending::Closed));
    assert!(
        began.elapsed() >= Duration::from_millis(900),
        "{:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let closed = |reason| {
        world.metric(
            "weir_listener_connections_closed_total",
            &format!("reason=\"{reason}\""),
        )
    };
    eventually(SOON, async || {
        (closed("header-timeout"), closed("idle")) == (1.0, 1.0)
    })
    .await;
}

#[tokio::test]
async fn connections_above_the_bound_are_closed() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let text = document(&[upstream.addr()], "", "")
        .replace("bind: \"LISTEN\"", "bind: \"LISTEN\", connections_max: 2");
    let world = World::running(&text).await;
    let mut first = Client::http1().connect(&world.url("/")).await.unwrap();
    let mut second = Client::http1().connect(&world.url("/")).await.unwrap();
    assert_eq!(first.get("/").await.unwrap().status.as_u16(), 200);
    assert_eq!(second.get("/").await.unwrap().status.as_u16(), 200);
    assert!(Client::http1().get(&world.url("/")).await.is_err());
    drop(first);
    eventually(SOON, async || {
        Client::http1().get(&world.url("/")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_client_that_goes_away_cancels_the_attempt() {
    let upstream = Upstream::start(Script::by(|_| Answer::Hang));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let client = Client::http1().deadline(Duration::from_millis(200));
    assert!(client.get(&world.url("/")).await.is_err());
    assert_eq!(upstream.request_count(), 1);
    eventually(SOON, async || upstream.open_connections() == 0).await;
    eventually(SOON, async || world.engine.stats().in_flight == 0).await;
    let gone = "reason=\"client-gone-before-response\"";
    eventually(SOON, async || {
        world.metric("weir_http_request_ends_total", gone) == 1.0
    })
    .await;
}

#[tokio::test]
async fn draining_lets_exchanges_end_and_asks_clients_to_leave() {
    let upstream = Upstream::start(Reply::ok("hello").delay(Duration::from_millis(300)));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut idle = Client::http1().connect(&world.url("/")).await.unwrap();
    idle.get("/").await.unwrap();
    let url = world.url("/");
    let busy = tokio::spawn(async move { Client::http1().get(&url).await });
    let h2 = world.url("/");
    let busy_h2 = tokio::spawn(async move { Client::http2().get(&h2).await });
    upstream.wait_for_requests(3, SOON).await;
    assert_eq!(world.engine.drain(SOON).await, 0);
    let busy = busy.await.unwrap().unwrap();
    assert_eq!(
        (busy.status.as_u16(), busy.header("connection")),
        (200, Some("close"))
    );
    assert_eq!(busy_h2.await.unwrap().unwrap().status.as_u16(), 200);
    eventually(SOON, async || idle.is_closed()).await;
    assert!(Client::http1().get(&world.url("/")).await.is_err());
}

#[tokio::test]
async fn http_1_0_clients_get_what_they_understand() {
    let upstream = Upstream::start(Reply::ok("hello").chunked());
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let answer = raw(world.address, "GET / HTTP/1.0\r\nhost: a\r\n\r\n", SOON).await;
    assert_eq!(
        (answer.status(), answer.ending),
        (Some(200), Ending::Closed)
    );
    assert!(
        !answer.text().contains("transfer-encoding"),
        "{}",
        answer.text()
    );
    assert!(
        answer.text().ends_with("\r\n\r\nhello"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn connect_is_refused() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let connect = "CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\nconnection: close\r\n\r\n";
    let answer = raw(world.address, connect, SOON).await;
    assert!(answer.status().unwrap() >= 400, "{}", answer.text());
    assert_eq!(upstream.request_count(), 0);
}
