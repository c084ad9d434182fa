//! Clients that are slow on purpose: a body that drips, a response that is hardly read, or not.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Script, Upstream};

async fn gateway_to(upstream: &Upstream, option: &str) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\"{option} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
        upstream.addr()
    );
    place.start(&yaml).await
}

/// Grace, and a little.
const GRACE: Duration = Duration::from_secs(10);
const AT_MOST: Duration = Duration::from_secs(16);

/// Sends a drop every 100 ms until there is an answer; what it was and how long that took.
async fn drip(gateway: &Lone, head: &str, drop: &[u8], until: Duration) -> (String, Duration) {
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    let start = Instant::now();
    let mut answer = vec![0; 4096];
    while start.elapsed() < until {
        let read = stream.read(&mut answer);
        match tokio::time::timeout(Duration::from_millis(100), read).await {
            Ok(count) => {
                answer.truncate(count.unwrap());
                return (String::from_utf8(answer).unwrap(), start.elapsed());
            }
            Err(_) => stream.write_all(drop).await.unwrap(),
        }
    }
    (String::new(), start.elapsed())
}

#[tokio::test]
async fn a_body_that_drips_is_refused_after_its_grace() {
    let upstream = Upstream::start(Reply::ok("x"));
    let gateway = gateway_to(&upstream, "").await;
    let length = "POST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
    let chunked = "POST /b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let grpc = "POST /c HTTP/1.1\r\nHost: a\r\nContent-Type: application/grpc\r\n\
                Transfer-Encoding: chunked\r\n\r\n";
    let fast = [b"400\r\n".as_slice(), &[b'x'; 1024], b"\r\n"].concat();
    // Side by side: each takes its grace.
    let (by_length, by_chunks, stream, honest) = tokio::join!(
        drip(&gateway, length, b"x", AT_MOST),
        drip(&gateway, chunked, b"1\r\nx\r\n", AT_MOST),
        drip(&gateway, grpc, b"1\r\nx\r\n", Duration::from_secs(13)),
        drip(&gateway, chunked, &fast, Duration::from_secs(13)),
    );
    for (answer, took) in [by_length, by_chunks] {
        assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
        assert!(answer.contains("weir-reason: body-too-slow"), "{answer}");
        assert!(
            took >= GRACE - Duration::from_secs(1) && took < AT_MOST,
            "{took:?}"
        );
    }
    for (answer, _) in [stream, honest] {
        assert_eq!(answer, "");
    }
    let line = gateway.logged("/a").await;
    assert_eq!(line["termination"], "client-timeout", "{line}");
}

/// Reads a few bytes every 100 ms until the connection ends.
async fn sip(gateway: &Lone, until: Duration) -> Option<Duration> {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway.web()).await.unwrap();
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    let start = Instant::now();
    let mut few = [0; 40];
    while start.elapsed() < until {
        match stream.read(&mut few).await {
            Ok(0) | Err(_) => return Some(start.elapsed()),
            Ok(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
        // The bytes that are under way already would take for ever: it is the counter that tells.
        let metrics = gateway.metrics().await;
        let closed = metrics.sum(
            "weir_listener_connections_closed_total",
            &[("reason", "slow")],
        );
        if closed > 0.0 {
            return Some(start.elapsed());
        }
    }
    None
}

#[tokio::test]
async fn a_response_that_is_hardly_read_is_cut_off() {
    let upstream = Upstream::start(Reply::ok("x".repeat(30 * 1024 * 1024)));
    let strict = gateway_to(&upstream, ", client_rate_min: 1MiB").await;
    let lenient = gateway_to(&upstream, ", client_rate_min: 0B").await;
    let (cut, left) = tokio::join!(
        sip(&strict, Duration::from_secs(30)),
        sip(&lenient, Duration::from_secs(14))
    );
    let took = cut.expect("it is cut off");
    assert!(took >= GRACE - Duration::from_secs(1), "{took:?}");
    assert_eq!(left, None);
    assert!(closed(&strict, "slow").await >= 1.0);
    assert_eq!(closed(&lenient, "slow").await, 0.0);
}

/// Connections closed for this reason.
async fn closed(gateway: &Lone, reason: &str) -> f64 {
    let labels = [("listener", "web"), ("reason", reason)];
    let metrics = gateway.metrics().await;
    metrics.sum("weir_listener_connections_closed_total", &labels)
}

#[tokio::test]
async fn a_response_that_is_not_read_at_all_is_cut_off_when_it_is_idle() {
    let upstream = Upstream::start(Reply::ok("x".repeat(30 * 1024 * 1024)));
    let gateway = gateway_to(&upstream, ", idle_timeout: 1s").await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut stream = socket.connect(gateway.web()).await.unwrap();
    let start = Instant::now();
    let request = b"GET /unread HTTP/1.1\r\nHost: a\r\n\r\n";
    stream.write_all(request).await.unwrap();
    eventually(DEADLINE, async || closed(&gateway, "stalled").await >= 1.0).await;
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(900), "{took:?}");
    let line = gateway.logged("/unread").await;
    assert_eq!(line["termination"], "client-timeout", "{line}");
}

#[tokio::test]
async fn a_client_that_goes_away_before_it_has_sent_everything_is_told_apart() {
    let upstream = Upstream::start(Reply::ok("x"));
    let gateway = gateway_to(&upstream, "").await;
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    let half = b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    stream.write_all(half).await.unwrap();
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_upstream_requests_active", &[]) == 1.0
    })
    .await;
    drop(stream);
    let line = gateway.logged("/half").await;
    assert_eq!(line["termination"], "client-gone-sending", "{line}");
}

/// Takes so many bytes of a response on one stream, `pause` apart, while the others of its
/// connection are busy. How many came, and how the stream ended.
async fn take(gateway: &Lone, path: &str, bytes: usize, pause: Duration) -> (usize, Taken) {
    let stream = TcpStream::connect(gateway.web()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let driver = tokio::spawn(connection);
    let get = |path: &str| http::Request::get(gateway.url(path)).body(()).unwrap();
    sender = sender.ready().await.unwrap();
    let (response, _) = sender.send_request(get(path), true).unwrap();
    let mut body = response.await.unwrap().into_body();
    let start = Instant::now();
    let (mut came, mut released) = (0, Instant::now());
    let taken = loop {
        match tokio::time::timeout(Duration::from_millis(50), body.data()).await {
            Ok(Some(Ok(data))) => came += data.len(),
            Ok(None) => break Taken::Whole,
            Ok(Some(Err(error))) => break Taken::Reset(error.reason(), start.elapsed()),
            Err(_) => {
                sender = sender.ready().await.unwrap();
                let (response, _) = sender.send_request(get("/small"), true).unwrap();
                assert_eq!(response.await.unwrap().status(), 200);
            }
        }
        if released.elapsed() >= pause {
            released = Instant::now();
            // As much as has come, so that the library tells the other side.
            let free = body.flow_control().used_capacity().min(bytes);
            body.flow_control().release_capacity(free).unwrap();
        }
    };
    // The connection is as good as before.
    let (response, _) = sender.send_request(get("/small"), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    driver.abort();
    (came, taken)
}

#[derive(Debug, PartialEq)]
enum Taken {
    Reset(Option<h2::Reason>, Duration),
    Whole,
}

#[tokio::test]
async fn a_stream_whose_client_takes_nothing_is_reset_beside_busy_ones() {
    let upstream = Upstream::start(Script::by(|request| match request.path.as_str() {
        "/small" => Reply::ok(""),
        "/steady" => Reply::ok("x".repeat(200_000)),
        _ => Reply::ok("x".repeat(4 * 1024 * 1024)),
    }));
    let gateway = gateway_to(&upstream, ", idle_timeout: 1s").await;
    let never = Duration::from_secs(3600);
    let (came, taken) = take(&gateway, "/stuck", 0, never).await;
    assert_eq!(came, 65_535, "the window that a client opens unasked");
    let Taken::Reset(reason, after) = taken else {
        panic!("{taken:?}");
    };
    assert_eq!(reason, Some(h2::Reason::CANCEL));
    assert!(after >= Duration::from_millis(900), "{after:?}");
    let line = gateway.logged("/stuck").await;
    assert_eq!(line["termination"], "client-timeout", "{line}");
    assert_eq!(line["status"], 200, "{line}");
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_upstream_requests_active", &[]) == 0.0
    })
    .await;

    // Three pauses, each shorter than the deadline, and together longer.
    let pause = Duration::from_millis(500);
    let (came, taken) = take(&gateway, "/steady", 65_535, pause).await;
    assert_eq!((came, taken), (200_000, Taken::Whole));
}
