//! The PROXY protocol: from HAProxy in front and from nobody else, and towards HAProxy and nginx.

use std::time::{Duration, Instant};

use weir_e2e::DEADLINE;
use weir_e2e::balancers::{haproxy, nginx};
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, Ending, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Reply, Upstream};

const LINE: &[u8] = b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n";
const BINARY: &[u8] =
    b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01\xc6\x33\x64\x07\xdc\x04\x01\xbb";
const HEALTH_CHECK: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";

async fn gateway_with(listener: &str, upstream: &Upstream) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners:
          web: {{ bind: \"{}\", {listener} }}
          secure:
            bind: \"{}\"
            tls: {{ self_signed: [localhost] }}
            {listener}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/*\", to: app }}
          - {{ path: /by-client, clients: [192.0.2.0/24], respond: {{ status: 204 }} }}
          - {{ path: /by-client, respond: {{ status: 403 }} }}
        ",
        place.web,
        place.secure,
        upstream.addr()
    );
    place.start(&yaml).await
}

/// Waits until so many connections were closed for this reason.
async fn closed(gateway: &Lone, reason: &str, times: usize) {
    let labels = [("listener", "web"), ("reason", reason)];
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_closed_total", &labels) == times as f64
    })
    .await;
}

fn get(header: &[u8], path: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    [header, request.as_bytes()].concat()
}

#[tokio::test]
async fn the_client_is_who_the_header_names() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with("proxy_protocol: { from: 127.0.0.0/8 }", &upstream).await;
    for (number, header) in [LINE, BINARY].into_iter().enumerate() {
        let path = format!("/x{number}");
        let answer = raw(gateway.web(), get(header, &path), DEADLINE).await;
        assert_eq!(answer.status(), Some(200), "{}", answer.text());
        assert_eq!(
            upstream.last_request().header("x-forwarded-for"),
            Some("192.0.2.1")
        );
        let line = gateway.logged(&path).await;
        assert_eq!(
            (&line["client"], &line["client_port"]),
            (&"192.0.2.1".into(), &56324.into())
        );
        let answer = raw(gateway.web(), get(header, "/by-client"), DEADLINE).await;
        assert_eq!(answer.status(), Some(204), "{}", answer.text());
    }
    // A balancer that speaks for itself is the client.
    let answer = raw(gateway.web(), get(HEALTH_CHECK, "/check"), DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    assert_eq!(
        upstream.last_request().header("x-forwarded-for"),
        Some("127.0.0.1")
    );
    let answer = raw(
        gateway.web(),
        get(b"PROXY UNKNOWN\r\n", "/by-client"),
        DEADLINE,
    )
    .await;
    assert_eq!(answer.status(), Some(403), "{}", answer.text());
}

#[tokio::test]
async fn a_connection_that_does_not_begin_with_a_header_is_closed_and_counted() {
    let upstream = Upstream::start(Reply::ok("here"));
    let listener = "proxy_protocol: { from: 127.0.0.1 }, header_timeout: 300ms";
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\", {listener} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
        upstream.addr()
    );
    let gateway = place.start(&yaml).await;
    let malformed = [get(b"", "/x"), get(b"PROXY TCP4 1 2 3 4\r\n", "/x")];
    for (number, bytes) in malformed.iter().enumerate() {
        let answer = raw(gateway.web(), bytes, DEADLINE).await;
        assert!(
            answer.bytes.is_empty() && answer.ending != Ending::Open,
            "{}",
            answer.text()
        );
        closed(&gateway, "proxy-protocol", number + 1).await;
    }
    for slow in [&b""[..], &LINE[..20], &BINARY[..20]] {
        let start = Instant::now();
        let answer = raw(gateway.web(), slow, DEADLINE).await;
        assert!(
            answer.bytes.is_empty() && answer.ending != Ending::Open,
            "{}",
            answer.text()
        );
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
    closed(&gateway, "proxy-protocol-timeout", 3).await;
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_header_may_be_so_long_and_no_byte_longer() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with("proxy_protocol: { from: 127.0.0.1 }", &upstream).await;
    // Text of so many bytes, and a binary header; all of it comes, and only its length is wrong.
    let line = |bytes: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(bytes - 16)).into_bytes();
    let binary = |bytes: usize| {
        let more = u16::try_from(bytes - 16).unwrap().to_be_bytes();
        let mut header = [&BINARY[..14], &more, &BINARY[16..]].concat();
        header.resize(bytes, 0);
        header
    };
    for (number, (fits, long)) in [(line(107), line(108)), (binary(4096), binary(4097))]
        .into_iter()
        .enumerate()
    {
        let answer = raw(gateway.web(), get(&fits, "/x"), DEADLINE).await;
        assert_eq!(answer.status(), Some(200), "{}", answer.text());
        let answer = raw(gateway.web(), get(&long, "/x"), DEADLINE).await;
        assert!(
            answer.bytes.is_empty() && answer.ending != Ending::Open,
            "{}",
            answer.text()
        );
        closed(&gateway, "proxy-protocol-too-large", number + 1).await;
    }
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn nobody_passes_the_balancers_by() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with("proxy_protocol: { from: 192.0.2.0/24 }", &upstream).await;
    for bytes in [get(LINE, "/x"), get(b"", "/x")] {
        let answer = raw(gateway.web(), bytes, DEADLINE).await;
        assert!(
            answer.bytes.is_empty() && answer.ending != Ending::Open,
            "{}",
            answer.text()
        );
    }
    closed(&gateway, "proxy-protocol-source", 2).await;
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn haproxy_in_front_in_both_versions_and_before_tls() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with("proxy_protocol: { from: 127.0.0.1 }", &upstream).await;
    let (web, secure) = (gateway.web(), gateway.place().secure);
    for server in [
        format!("{web} send-proxy"),
        format!("{web} send-proxy-v2"),
        format!("{web} send-proxy-v2 proxy-v2-options unique-id,crc32c"),
        format!("{secure} send-proxy ssl verify none"),
        format!("{secure} send-proxy-v2 ssl verify none alpn h2"),
        // Health checks say that they are nobody's.
        format!("{web} send-proxy-v2 check inter 50ms"),
    ] {
        let front = free_addr();
        let sections = format!("listen it\n  bind {front}\n  server s1 {server}");
        let balancer = haproxy(front, &sections).await;
        let url = format!("http://{front}/x");
        // From another address than HAProxy's own, so that it shows whose is taken.
        let other = "127.0.0.77:0".parse().unwrap();
        let answer = eventually(DEADLINE, async || {
            let bytes = from(other, front).await;
            // HAProxy leaves the reason phrase out when the server spoke HTTP/2.
            bytes.starts_with("HTTP/1.1 200 ").then_some(bytes)
        })
        .await;
        assert!(answer.ends_with("here"), "{server}: {answer}");
        let seen = upstream.last_request();
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some("127.0.0.77"),
            "{server}"
        );
        // A kept connection of HAProxy's is for the same client again.
        let answer = Client::http1().get(&url).await.unwrap();
        assert_eq!(answer.status, 200, "{server}");
        let seen = upstream.last_request();
        assert_eq!(
            seen.header("x-forwarded-for"),
            Some("127.0.0.1"),
            "{server}"
        );
        drop(balancer);
    }
}

/// A GET from this address.
async fn from(local: std::net::SocketAddr, to: std::net::SocketAddr) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(local).unwrap();
    let mut stream = socket.connect(to).await.unwrap();
    stream.write_all(&get(b"", "/x")).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn haproxy_and_nginx_behind_are_told_whose_connection_it_is() {
    let (ha, ng) = (free_addr(), free_addr());
    let line = "%[src] %[src_port] %[dst] %[dst_port]";
    let sections = format!(
        "frontend it\n  bind {ha} accept-proxy\n  \
         http-request return status 200 content-type text/plain lf-string \"{line}\""
    );
    // Ready: HAProxy takes a connection before it wants the header.
    let _haproxy = haproxy(ha, &sections).await;
    let server = format!(
        "  server {{\n    listen {ng} proxy_protocol;\n    location / {{\n      return 200 \
         \"$proxy_protocol_addr $proxy_protocol_port $proxy_protocol_server_addr \
         $proxy_protocol_server_port $connection\";\n    }}\n  }}"
    );
    let _nginx = nginx(ng, &server).await;
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\" }} }}
        services:
          ha-v1: {{ endpoints: [\"{ha}\"], proxy_protocol: v1 }}
          ha-v2: {{ endpoints: [\"{ha}\"], proxy_protocol: v2 }}
          ng-v1: {{ endpoints: [\"{ng}\"], proxy_protocol: v1 }}
          ng-v2: {{ endpoints: [\"{ng}\"], proxy_protocol: v2 }}
        routes:
          - {{ path: /ha-v1, to: ha-v1 }}
          - {{ path: /ha-v2, to: ha-v2 }}
          - {{ path: /ng-v1, to: ng-v1 }}
          - {{ path: /ng-v2, to: ng-v2 }}
        ",
        place.web
    );
    let gateway = place.start(&yaml).await;
    let mut serials = Vec::new();
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let port = connection.local_addr().port();
    for path in ["/ha-v1", "/ha-v2", "/ng-v1", "/ng-v1", "/ng-v2", "/ng-v2"] {
        let text = connection.get(path).await.unwrap().text();
        let words: Vec<&str> = text.split(' ').collect();
        let (port, gate) = (port.to_string(), gateway.web().port().to_string());
        assert_eq!(
            words[..4],
            ["127.0.0.1", &port, "127.0.0.1", &gate],
            "{path}: {text}"
        );
        serials.extend(words.get(4).map(ToString::to_string));
    }
    // Each request had a connection of its own.
    let before = serials.len();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!((before, serials.len()), (4, 4));
}
