//! Bounds of requests: bodies, header sections, and the time they may take.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, Ending, raw};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_with(listener: &str, route: &str, upstream: &Upstream) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\"{listener} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app{route} }}]
        ",
        place.web,
        upstream.addr()
    );
    place.start(&yaml).await
}

#[tokio::test]
async fn a_body_that_is_announced_too_large_never_reaches_the_service() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with("", ", body_bytes_max: 1KiB", &upstream).await;
    for client in [Client::http1(), Client::http2()] {
        let at_most = client
            .post(&gateway.url("/x"), &[], vec![b'x'; 1024])
            .await
            .unwrap();
        assert_eq!(at_most.status, 200);
        let more = client
            .post(&gateway.url("/x"), &[], vec![b'x'; 1025])
            .await
            .unwrap();
        gateway.assert_refused(&more, 413, "body-too-large").await;
    }
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn a_body_that_grows_too_large_is_cut_off() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with("", ", body_bytes_max: 1KiB", &upstream).await;
    let head = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
                Connection: close\r\n\r\n";
    let chunk = format!("200\r\n{}\r\n", "x".repeat(512));
    let fits = format!("{head}{}0\r\n\r\n", chunk.repeat(2));
    assert_eq!(raw(gateway.web(), fits, DEADLINE).await.status(), Some(200));

    let grows = format!("{head}{}0\r\n\r\n", chunk.repeat(3));
    let answer = raw(gateway.web(), grows, DEADLINE).await;
    let text = answer.text();
    assert_eq!(answer.status(), Some(413), "{text}");
    assert!(text.contains("weir-reason: body-too-large"), "{text}");
    assert_ne!(answer.ending, Ending::Open);
    // What the service saw of it was never a whole request.
    assert!(
        upstream
            .requests()
            .iter()
            .skip(1)
            .all(|seen| !seen.is_complete)
    );
}

#[tokio::test]
async fn ten_mebibytes_are_the_bound_unless_told() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with("", "", &upstream).await;
    let sent =
        |bytes: u64| format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {bytes}\r\n\r\n");
    let answer = raw(gateway.web(), sent(10 * 1024 * 1024 + 1), DEADLINE).await;
    assert_eq!(answer.status(), Some(413), "{}", answer.text());
    let answer = raw(
        gateway.web(),
        sent(10 * 1024 * 1024),
        Duration::from_millis(500),
    )
    .await;
    assert_eq!(answer.status(), None, "{}", answer.text());
}

#[tokio::test]
async fn a_header_section_that_is_too_large_is_answered_431() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", header_bytes_max: 4KiB", "", &upstream).await;
    let (fits, long) = ("x".repeat(3 * 1024), "x".repeat(5 * 1024));
    for client in [Client::http1(), Client::http2()] {
        let answer = client
            .get_with(&gateway.url("/x"), &[("x-long", &fits)])
            .await;
        assert_eq!(answer.unwrap().status, 200);
    }
    let answer = gateway.get_with("/x", &[("x-long", &long)]).await;
    gateway
        .assert_refused(&answer, 431, "header-too-large")
        .await;
    let answer = gateway.get(&format!("/{long}")).await;
    gateway
        .assert_refused(&answer, 431, "header-too-large")
        .await;
    let answer = gateway
        .get_with("/x", &[("x-long", &long.repeat(10))])
        .await;
    gateway
        .assert_refused(&answer, 431, "header-too-large")
        .await;
    // HTTP/2 has the bound in its settings: a client that keeps to them does not even send it.
    if let Ok(answer) = Client::http2()
        .get_with(&gateway.url("/x"), &[("x-long", &long)])
        .await
    {
        assert_eq!(answer.status, 431, "{answer}");
    }
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn too_many_header_fields_are_answered_431() {
    let upstream = Upstream::start(Reply::ok(""));
    for (listener, most) in [
        ("", 100),
        (", header_count_max: 20", 20),
        (", header_count_max: 200", 200),
    ] {
        let gateway = gateway_with(listener, "", &upstream).await;
        for client in [Client::http1(), Client::http2()] {
            let with = |count: usize| {
                let mut request = Request::builder()
                    .method(Method::GET)
                    .uri(gateway.url("/x"));
                for number in 0..count {
                    request = request.header(format!("x-{number}"), "1");
                }
                request.body(Bytes::new()).unwrap()
            };
            // HTTP/1.1 has `host` as well.
            assert_eq!(
                client.send(with(most - 1)).await.unwrap().status,
                200,
                "{most}"
            );
            let answer = client.send(with(most + 1)).await.unwrap();
            gateway
                .assert_refused(&answer, 431, "headers-too-many")
                .await;
        }
    }
}

#[tokio::test]
async fn a_header_section_that_does_not_come_is_waited_for_only_so_long() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", header_timeout: 300ms", "", &upstream).await;
    let slow = [
        "",
        "GET /x HT",
        "GET /x HTTP/1.1\r\nHost: a\r\nX-Slow: ",
        "PRI * HTTP/2.0\r\n",
    ];
    for sent in slow {
        let start = Instant::now();
        let answer = raw(gateway.web(), sent, DEADLINE).await;
        assert_eq!(answer.ending, Ending::Closed, "{sent:?}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{sent:?}: {:?}",
            start.elapsed()
        );
        assert!(
            answer.status().is_none_or(|status| status == 408),
            "{}",
            answer.text()
        );
    }
    closed(&gateway, "header-timeout", slow.len()).await;
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_connection_that_never_asks_is_late_and_not_idle() {
    let upstream = Upstream::start(Reply::ok(""));
    let times = ", header_timeout: 300ms, idle_timeout: 1h";
    let gateway = gateway_with(times, "", &upstream).await;
    // Without TLS an HTTP/1 connection is none before its first byte.
    let connection = Client::http2().connect(&gateway.url("/")).await.unwrap();
    weir_testkit::eventually::eventually(DEADLINE, async || connection.is_closed()).await;
    closed(&gateway, "header-timeout", 1).await;
}

#[tokio::test]
async fn drops_of_a_header_do_not_prolong_its_time() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", header_timeout: 500ms", "", &upstream).await;
    let mut stream = tokio::net::TcpStream::connect(gateway.web()).await.unwrap();
    stream
        .write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nX-Drops: ")
        .await
        .unwrap();
    let start = Instant::now();
    let mut byte = [0; 1];
    loop {
        assert!(start.elapsed() < DEADLINE, "still open");
        // A drop every 50 ms, far below any idle timeout.
        match tokio::time::timeout(Duration::from_millis(50), stream.read(&mut byte)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) => {}
            Err(_) => {
                if stream.write_all(b"x").await.is_err() {
                    break;
                }
            }
        }
    }
    assert!(
        start.elapsed() < Duration::from_secs(4),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time_and_not_before() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", idle_timeout: 600ms", "", &upstream).await;
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        connection.get("/x").await.unwrap();
        let start = Instant::now();
        weir_testkit::eventually::eventually(DEADLINE, async || connection.is_closed()).await;
        let stood = start.elapsed();
        assert!(
            stood > Duration::from_millis(400) && stood < Duration::from_secs(5),
            "{stood:?}"
        );
    }
}

#[tokio::test]
async fn more_connections_than_allowed_are_closed_at_once() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", connections_max: 3", "", &upstream).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        held.push(connection);
    }
    assert!(Client::http1().get(&gateway.url("/x")).await.is_err());
    closed(&gateway, "full", 1).await;
    held.pop();
    weir_testkit::eventually::eventually(DEADLINE, async || {
        Client::http1().get(&gateway.url("/x")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn one_client_has_only_so_many_connections_of_a_listener() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(", client_connections_max: 3", "", &upstream).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        held.push(connection);
    }
    assert!(Client::http1().get(&gateway.url("/x")).await.is_err());
    let labels = [("listener", "web"), ("reason", "client-full")];
    let metrics = gateway.metrics().await;
    let closed = metrics.sum("weir_listener_connections_closed_total", &labels);
    assert!(closed >= 1.0, "{closed}");
    // Somebody else is not concerned.
    assert!(from("127.0.0.9", gateway.web()).await.contains(" 200 "));
    held.pop();
    weir_testkit::eventually::eventually(DEADLINE, async || {
        Client::http1().get(&gateway.url("/x")).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn clients_behind_balancers_are_counted_by_who_they_are() {
    let upstream = Upstream::start(Reply::ok(""));
    let listener = ", client_connections_max: 1, proxy_protocol: { from: 127.0.0.1 }";
    let gateway = gateway_with(listener, "", &upstream).await;
    let get = |client: &str| {
        format!("PROXY TCP4 {client} 198.51.100.7 1000 80\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n")
    };
    // Kept open until its deadline.
    let pause = Duration::from_millis(700);
    let web = gateway.web();
    let first = get("192.0.2.1");
    let first = tokio::spawn(async move { raw(web, first, pause).await });
    weir_testkit::eventually::eventually(DEADLINE, async || upstream.request_count() == 1).await;
    let more = raw(web, get("192.0.2.1"), DEADLINE).await;
    assert!(
        more.bytes.is_empty() && more.ending != Ending::Open,
        "{}",
        more.text()
    );
    let other = raw(web, get("192.0.2.2"), Duration::from_millis(300)).await;
    assert_eq!(other.status(), Some(200), "{}", other.text());
    assert_eq!(first.await.unwrap().status(), Some(200));
}

#[tokio::test]
async fn a_trusted_proxy_is_not_one_client() {
    let upstream = Upstream::start(Reply::ok(""));
    let place = Place::new();
    let yaml = format!(
        "
        trusted_proxies: [127.0.0.1]
        listeners: {{ web: {{ bind: \"{}\", client_connections_max: 1 }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
        upstream.addr()
    );
    let gateway = place.start(&yaml).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        held.push(connection);
    }
}

#[tokio::test]
async fn who_ended_a_connection_is_counted() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with("", "", &upstream).await;
    let client = || async {
        let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        connection
    };
    drop(client().await);
    closed(&gateway, "client", 1).await;
    // Closed with a reset, in the middle of a request.
    let mut stream = tokio::net::TcpStream::connect(gateway.web()).await.unwrap();
    let half = b"POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
    tokio::io::AsyncWriteExt::write_all(&mut stream, half)
        .await
        .unwrap();
    weir_testkit::eventually::eventually(DEADLINE, async || upstream.request_count() == 2).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    closed(&gateway, "error", 1).await;
}

/// Waits until so many connections were closed for this reason.
async fn closed(gateway: &Lone, reason: &str, times: usize) {
    let labels = [("listener", "web"), ("reason", reason)];
    weir_testkit::eventually::eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_closed_total", &labels) == times as f64
    })
    .await;
}

/// A GET from this address of loopback.
async fn from(local: &str, to: std::net::SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(format!("{local}:0").parse().unwrap()).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    let request = b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
