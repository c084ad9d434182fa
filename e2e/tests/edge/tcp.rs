//! Connections that are passed on byte by byte, to servers of no particular protocol.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use weir_e2e::DEADLINE;
use weir_e2e::balancers::nginx;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::Authority;
use weir_testkit::client::{Client, Ending, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Reply, Upstream};

mod connect;

/// What a server of a test does with each connection.
#[derive(Clone, Copy)]
enum Server {
    /// Says how much it was sent once the client has ended.
    Counts,
    /// Speaks first, then sends back what it is sent.
    Greets,
    /// Answers the first bytes and breaks off.
    Resets,
}

async fn server(kind: Server) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(kind, stream));
        }
    });
    address
}

async fn serve(kind: Server, mut stream: TcpStream) -> std::io::Result<()> {
    match kind {
        Server::Counts => {
            let mut piece = vec![0; 64 * 1024];
            let mut count = 0;
            loop {
                match stream.read(&mut piece).await? {
                    0 => break,
                    read => count += read,
                }
            }
            stream.write_all(format!("{count} bytes").as_bytes()).await
        }
        Server::Greets => {
            stream.write_all(b"hello\n").await?;
            let (mut reader, mut writer) = stream.split();
            tokio::io::copy(&mut reader, &mut writer).await.map(drop)
        }
        Server::Resets => {
            let _ = stream.read(&mut [0; 10]).await?;
            stream.write_all(b"part").await?;
            stream.set_zero_linger()
        }
    }
}

/// A gateway whose listener `web` passes on to `app`.
async fn gateway_with(place: Place, tcp: &str, listener: &str, service: &str) -> Lone {
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\", tcp: {{ to: app{tcp} }}{listener} }} }}
        services: {{ app: {{ {service} }} }}
        ",
        place.web
    );
    place.start(&yaml).await
}

async fn passing_to(address: SocketAddr) -> Lone {
    gateway_with(Place::new(), "", "", &format!("endpoints: [\"{address}\"]")).await
}

/// The next line of the access log after `seen` of them.
async fn line(gateway: &Lone, seen: usize) -> Value {
    eventually(DEADLINE, async || {
        gateway.access_log().into_iter().nth(seen)
    })
    .await
}

async fn greeted(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut greeting = [0; 6];
    let read = timeout(DEADLINE, stream.read_exact(&mut greeting));
    read.await.unwrap().unwrap();
    assert_eq!(&greeting, b"hello\n");
    stream
}

async fn said(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut answer));
    read.await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn one_side_ends_before_the_other_and_everything_is_counted() {
    let gateway = passing_to(server(Server::Counts).await).await;
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    stream.write_all(&vec![7; 3_000_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut answer));
    read.await.unwrap().unwrap();
    assert_eq!(answer, "3000000 bytes");

    let line = line(&gateway, 0).await;
    assert_eq!(line["termination"], "ok", "{line}");
    assert_eq!(
        (&line["listener"], &line["service"]),
        (&"web".into(), &"app".into())
    );
    assert_eq!(
        (&line["scheme"], &line["protocol"]),
        (&"tcp".into(), &"TCP".into())
    );
    assert_eq!(line["request_bytes"], 3_000_000);
    assert_eq!(line["response_bytes"], 13);
    assert_eq!(line["client_port"], stream.local_addr().unwrap().port());
    assert!(
        line["connect_us"].is_u64() && line["attempts"] == 1,
        "{line}"
    );
    let metrics = gateway.metrics().await;
    let of = |name: &str| metrics.sum(name, &[("listener", "web"), ("service", "app")]);
    assert_eq!(of("weir_tcp_received_bytes_total"), 3_000_000.0);
    assert_eq!(of("weir_tcp_sent_bytes_total"), 13.0);
    let ended = [("service", "app"), ("reason", "ok")];
    assert_eq!(metrics.sum("weir_tcp_connections_total", &ended), 1.0);
    assert_eq!(
        metrics.sum("weir_upstream_connections_open", &[("service", "app")]),
        0.0
    );
}

#[tokio::test]
async fn a_server_may_speak_first() {
    let gateway = passing_to(server(Server::Greets).await).await;
    let mut stream = greeted(gateway.web()).await;
    assert_eq!(said(&mut stream, "ping").await, "ping");
    drop(stream);
    assert_eq!(line(&gateway, 0).await["termination"], "ok");
}

#[tokio::test]
async fn who_is_left_is_told_that_the_other_broke_off() {
    let gateway = passing_to(server(Server::Resets).await).await;
    let answer = raw(gateway.web(), "x", DEADLINE).await;
    assert_eq!(
        (answer.text(), answer.ending),
        ("part".to_owned(), Ending::Reset)
    );
    assert_eq!(
        line(&gateway, 0).await["termination"],
        "upstream-reset-after-bytes"
    );

    let gateway = passing_to(server(Server::Greets).await).await;
    let stream = greeted(gateway.web()).await;
    stream.set_zero_linger().unwrap();
    drop(stream);
    assert_eq!(
        line(&gateway, 0).await["termination"],
        "client-gone-during-body"
    );
}

#[tokio::test]
async fn another_endpoint_is_tried_and_one_that_fails_is_left_out() {
    let (dead, alive) = (free_addr(), server(Server::Greets).await);
    let service = format!(
        "endpoints: [\"{dead}\", \"{alive}\"], outlier: {{ consecutive: 2, ejection: 60s }}"
    );
    let gateway = gateway_with(Place::new(), "", "", &service).await;
    for _ in 0..12 {
        let mut stream = greeted(gateway.web()).await;
        assert_eq!(said(&mut stream, "x").await, "x");
    }
    eventually(DEADLINE, async || gateway.access_log().len() == 12).await;
    let attempts = gateway
        .access_log()
        .iter()
        .map(|line| line["attempts"].as_u64().unwrap())
        .sum::<u64>();
    // Both workers share what is known: two failures, and nobody asks again.
    assert!((12 + 1..=12 + 3).contains(&attempts), "{attempts}");
    let ejected = [("service", "app"), ("state", "ejected")];
    assert_eq!(
        gateway
            .metrics()
            .await
            .sum("weir_upstream_endpoints", &ejected),
        1.0
    );
}

#[tokio::test]
async fn nobody_to_connect_to() {
    let service = format!("endpoints: [\"{}\"]", free_addr());
    let gateway = gateway_with(Place::new(), "", "", &service).await;
    let answer = raw(gateway.web(), "x", DEADLINE).await;
    assert!(answer.bytes.is_empty() && answer.ending != Ending::Open);
    let line = line(&gateway, 0).await;
    assert_eq!(
        (&line["termination"], &line["reason"]),
        (&"retries-exhausted".into(), &"connect-failed".into()),
        "{line}"
    );
    assert_eq!(line["attempts"], 2, "{line}");
}

#[tokio::test]
async fn as_many_at_once_as_the_service_takes() {
    let address = server(Server::Greets).await;
    let service = format!("endpoints: [\"{address}\"], limits: {{ requests: 2 }}");
    let gateway = gateway_with(Place::new(), "", "", &service).await;
    let (first, _second) = (greeted(gateway.web()).await, greeted(gateway.web()).await);
    let answer = raw(gateway.web(), "", DEADLINE).await;
    assert!(answer.bytes.is_empty() && answer.ending != Ending::Open);
    assert_eq!(line(&gateway, 0).await["reason"], "service-overloaded");
    drop(first);
    assert_eq!(line(&gateway, 1).await["termination"], "ok");
    greeted(gateway.web()).await;
}

#[tokio::test]
async fn a_connection_in_which_nothing_moves_is_closed() {
    let address = server(Server::Greets).await;
    let service = format!("endpoints: [\"{address}\"]");
    let gateway = gateway_with(Place::new(), ", idle_timeout: 700ms", "", &service).await;
    let mut stream = greeted(gateway.web()).await;
    let start = Instant::now();
    // Whatever moves, in either direction, counts.
    while start.elapsed() < Duration::from_millis(1400) {
        assert_eq!(said(&mut stream, "x").await, "x");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let quiet = Instant::now();
    let end = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(
        quiet.elapsed() > Duration::from_millis(400) && quiet.elapsed() < Duration::from_secs(5)
    );
    assert_eq!(line(&gateway, 0).await["termination"], "idle-timeout");
}

#[tokio::test]
async fn connections_live_on_over_changes_and_end_with_the_process() {
    let address = server(Server::Greets).await;
    let place = Place::new().arg("--drain=1s");
    let mut gateway = gateway_with(place, "", "", &format!("endpoints: [\"{address}\"]")).await;
    let mut stream = greeted(gateway.web()).await;
    // Its listener and its service are gone.
    gateway.rewrite(&format!(
        "listeners: {{ other: {{ bind: \"{}\" }} }}",
        gateway.place().secure
    ));
    eventually(DEADLINE, async || gateway.applied().await >= 2.0).await;
    assert_eq!(said(&mut stream, "still there").await, "still there");
    assert!(TcpStream::connect(gateway.web()).await.is_err());
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.sum("weir_connections_closed_by_config_total", &[]),
        0.0
    );

    let start = Instant::now();
    gateway.process.signal(Signal::SIGTERM);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(said(&mut stream, "draining").await, "draining");
    let end = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert!(
        start.elapsed() > Duration::from_millis(700),
        "{:?}",
        start.elapsed()
    );
    gateway.proxy.process.wait_exit(DEADLINE).await;
    assert_eq!(gateway.access_log()[0]["termination"], "drained");
}

#[tokio::test]
async fn tls_is_opened_in_front_and_made_behind() {
    let authority = Authority::new("inside");
    let identity = authority.issue(&["127.0.0.1"]);
    let plain = Upstream::start(Reply::ok("plain"));
    let closed = Upstream::builder(Reply::ok("closed"))
        .tls(identity.server_config())
        .start();
    let place = Place::new();
    let ca = place.directory().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let yaml = format!(
        "
        listeners:
          web: {{ bind: \"{}\", tcp: {{ to: closed }} }}
          secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }}, tcp: {{ to: plain }} }}
        services:
          plain: {{ endpoints: [\"{}\"] }}
          closed: {{ endpoints: [\"{}\"], tls: {{ ca: \"{}\" }} }}
        ",
        place.web,
        place.secure,
        plain.addr(),
        closed.addr(),
        ca.display()
    );
    let gateway = place.start(&yaml).await;
    let answer = Client::http1()
        .get(&gateway.secure_url("/x"))
        .await
        .unwrap();
    assert_eq!(answer.text(), "plain");
    assert_eq!(gateway.get("/x").await.text(), "closed");
    eventually(DEADLINE, async || gateway.access_log().len() == 2).await;
    // Each worker writes its own lines: their order says nothing.
    let lines = gateway.access_log();
    for scheme in ["tls", "tcp"] {
        assert!(
            lines.iter().any(|line| line["scheme"] == scheme),
            "{lines:?}"
        );
    }
    // No HTTP was read: nothing was added to it.
    assert_eq!(plain.last_request().header("x-forwarded-for"), None);
}

#[tokio::test]
async fn proxy_headers_come_in_and_go_out() {
    let ng = free_addr();
    let server = format!(
        "  server {{\n    listen {ng} proxy_protocol;\n    location / {{\n      \
         return 200 \"$proxy_protocol_addr $proxy_protocol_port\";\n    }}\n  }}"
    );
    let _nginx = nginx(ng, &server).await;
    let service = format!("endpoints: [\"{ng}\"], proxy_protocol: v2");
    let listener = ", proxy_protocol: { from: 127.0.0.1 }";
    let gateway = gateway_with(Place::new(), "", listener, &service).await;
    let bytes = "PROXY TCP4 192.0.2.9 198.51.100.7 56324 443\r\n\
                 GET / HTTP/1.0\r\n\r\n";
    let answer = raw(gateway.web(), bytes, DEADLINE).await;
    assert!(
        answer.text().ends_with("192.0.2.9 56324"),
        "{}",
        answer.text()
    );
    let line = line(&gateway, 0).await;
    assert_eq!(
        (&line["client"], &line["client_port"]),
        (&"192.0.2.9".into(), &56324.into())
    );
}

#[tokio::test]
async fn a_connection_in_which_nothing_moves_holds_little() {
    let gateway = passing_to(server(Server::Greets).await).await;
    let mut held = Vec::new();
    for _ in 0..100 {
        held.push(greeted(gateway.web()).await);
    }
    let before = gateway.process.resident_bytes();
    for _ in 0..400 {
        held.push(greeted(gateway.web()).await);
    }
    let each = gateway.process.resident_bytes().saturating_sub(before) / 400;
    println!("{each} bytes for each connection");
    // Two buffers of 16 KiB each would be 32 KiB.
    assert!(each < 12 * 1024, "{each} bytes for each connection");
    for stream in held.iter_mut().step_by(100) {
        assert_eq!(said(stream, "x").await, "x");
    }
}
