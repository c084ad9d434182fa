//! CONNECT: tunnels to services that a route leads to, and to nobody else.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use weir_e2e::DEADLINE;
use weir_e2e::command::program;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::Authority;
use weir_testkit::client::{Client, Ending, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Reply, Upstream};

use crate::signing::{Signer, claims, key_set};

/// A server of no particular protocol: says what it is sent, and `bye` when the client has ended.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                writer.write_all(b"bye").await
            });
        }
    });
    address
}

/// A gateway with a route for CONNECT to `db.internal`, and one for everything else.
async fn gateway_with(place: Place, address: SocketAddr, service: &str, route: &str) -> Lone {
    place
        .start(&format!(
            "
            services:
              db: {{ endpoints: [\"{address}\"]{service} }}
              app: {{ endpoints: [\"{address}\"] }}
            routes:
              - {{ name: tunnel, hosts: [db.internal], path: \"/*\", methods: [CONNECT], to: db{route} }}
              - {{ name: rest, path: \"/*\", to: app }}
            "
        ))
        .await
}

async fn gateway_to(address: SocketAddr) -> Lone {
    gateway_with(Place::new(), address, "", "").await
}

/// Asks for a tunnel; the head of the answer.
async fn asked(gateway: &Lone, authority: &str, more: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
    let head = format!("CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n{more}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let read = timeout(DEADLINE, stream.read_u8()).await.unwrap();
        answer.push(read.unwrap_or_else(|error| panic!("{error} after {answer:?}")));
    }
    (stream, String::from_utf8(answer).unwrap())
}

async fn tunnel(gateway: &Lone) -> TcpStream {
    let (stream, answer) = asked(gateway, "db.internal:5432", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream
}

async fn said(stream: &mut TcpStream, text: &str) -> String {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = vec![0; text.len()];
    let read = timeout(DEADLINE, stream.read_exact(&mut answer));
    read.await.unwrap().unwrap();
    String::from_utf8(answer).unwrap()
}

async fn line(gateway: &Lone) -> Value {
    eventually(DEADLINE, async || {
        let lines = gateway.access_log();
        lines.into_iter().find(|line| line["method"] == "CONNECT")
    })
    .await
}

#[tokio::test]
async fn bytes_pass_both_ways_and_each_side_may_end_first() {
    let gateway = gateway_to(echo().await).await;
    let (mut stream, answer) = asked(&gateway, "db.internal:5432", "").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let fields = answer.to_ascii_lowercase();
    for field in ["content-length", "transfer-encoding", "connection: close"] {
        assert!(!fields.contains(field), "{answer}");
    }
    assert_eq!(said(&mut stream, "hello").await, "hello");
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut rest));
    read.await.unwrap().unwrap();
    assert_eq!(rest, "bye");

    let line = line(&gateway).await;
    assert_eq!(line["status"], 200, "{line}");
    assert_eq!(line["host"], "db.internal:5432", "{line}");
    assert_eq!(
        (&line["route"], &line["service"]),
        (&"tunnel".into(), &"db".into())
    );
    assert_eq!(
        (&line["request_bytes"], &line["response_bytes"]),
        (&5.into(), &8.into())
    );
    assert_eq!(line["termination"], "upgraded", "{line}");
    let open = [("service", "db")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weir_upstream_connections_open", &open), 0.0);
    assert_eq!(metrics.sum("weir_upstream_requests_active", &open), 0.0);
}

#[tokio::test]
async fn what_the_client_sends_before_the_answer_arrives() {
    let gateway = gateway_to(echo().await).await;
    let more = "\r\nGET / early";
    let (mut stream, answer) = asked(&gateway, "db.internal:5432", more).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream.shutdown().await.unwrap();
    let mut rest = String::new();
    let read = timeout(DEADLINE, stream.read_to_string(&mut rest));
    read.await.unwrap().unwrap();
    assert_eq!(rest, "GET / early\r\nbye");
}

#[tokio::test]
async fn curl_reaches_services_in_clear_text_and_by_tls_through_the_gateway() {
    let authority = Authority::new("inside");
    let identity = authority.issue(&["secure.internal"]);
    let plain = Upstream::start(Reply::ok("plain"));
    let secure = Upstream::builder(Reply::ok("secure")).tls(identity.server_config());
    let secure = secure.start();
    let place = Place::new();
    let ca = place.directory().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let yaml = format!(
        "
        listeners:
          web: {{ bind: \"{}\" }}
          secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}
        services:
          plain: {{ endpoints: [\"{}\"] }}
          secure: {{ endpoints: [\"{}\"] }}
        routes:
          - {{ hosts: [plain.internal], path: \"/*\", methods: [CONNECT], to: plain }}
          - {{ hosts: [\"*.internal\"], path: \"/*\", methods: [CONNECT], to: secure }}
        ",
        place.web,
        place.secure,
        plain.addr(),
        secure.addr()
    );
    let gateway = place.start(&yaml).await;
    let (web, ca) = (gateway.url(""), ca.display().to_string());
    let through = async |url: &str, proxy: &str| {
        let arguments = [
            "-sS",
            "-p",
            "-x",
            proxy,
            "--proxy-insecure",
            "--cacert",
            &ca,
            url,
        ];
        program("curl", &arguments).await
    };
    assert_eq!(
        through("http://plain.internal:81/x", &web).await.fine(),
        "plain"
    );
    assert_eq!(
        plain.last_request().header("host"),
        Some("plain.internal:81")
    );
    assert_eq!(plain.last_request().header("via"), None);
    // The service's own certificate is what curl verifies.
    assert_eq!(
        through("https://secure.internal/x", &web).await.fine(),
        "secure"
    );
    let proxy = gateway.secure_url("");
    assert_eq!(
        through("https://secure.internal/x", &proxy).await.fine(),
        "secure"
    );
    let refused = through("http://elsewhere.example/x", &web).await;
    assert_eq!(refused.code, Some(56), "{refused:?}");
    assert!(refused.stderr.contains("405"), "{refused:?}");
}

#[tokio::test]
async fn a_stream_of_http2_is_a_tunnel_as_well() {
    let gateway = gateway_to(echo().await).await;
    let stream = TcpStream::connect(gateway.web()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let connect = |authority: &str| {
        let request = Request::builder().method(Method::CONNECT);
        request.uri(authority).body(()).unwrap()
    };
    let (answer, mut sink) = sender
        .send_request(connect("db.internal:5432"), false)
        .unwrap();
    let answer = timeout(DEADLINE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(
        answer.headers().get("content-length").is_none(),
        "{answer:?}"
    );
    let mut source = answer.into_body();
    sink.send_data(Bytes::from_static(b"hello"), true).unwrap();
    let mut text = Vec::new();
    while let Some(piece) = timeout(DEADLINE, source.data()).await.unwrap() {
        text.extend_from_slice(&piece.unwrap());
    }
    assert_eq!(text, b"hellobye");
    assert_eq!(line(&gateway).await["protocol"], "HTTP/2");

    // The connection goes on, and a refusal is one stream's.
    let (answer, _sink) = sender
        .send_request(connect("other.internal:1"), false)
        .unwrap();
    let answer = timeout(DEADLINE, answer).await.unwrap().unwrap();
    assert_eq!(answer.status(), 405);
    assert_eq!(answer.headers()["weir-reason"], "connect-refused");
}

#[tokio::test]
async fn whatever_no_route_takes_is_refused_and_the_connection_closed() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_to(upstream.addr()).await;
    let request = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    for (target, more, status, code) in [
        ("other.internal:443", "", 405, "connect-refused"),
        // A route without `methods` takes every method but this one.
        ("127.0.0.1:80", "", 405, "connect-refused"),
        (
            "db.internal:5432",
            "Content-Length: 1\r\n",
            405,
            "connect-refused",
        ),
        (
            "db.internal:5432",
            "Transfer-Encoding: chunked\r\n",
            405,
            "connect-refused",
        ),
        ("/x", "", 400, "bad-request-line"),
        ("http://db.internal/", "", 400, "bad-request-line"),
    ] {
        let sent = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n{request}");
        let answer = raw(gateway.web(), sent, DEADLINE).await;
        assert_eq!(answer.status(), Some(status), "{target} {more}: {answer:?}");
        let text = answer.text();
        assert!(
            text.contains(&format!("weir-reason: {code}\r\n")),
            "{target} {more}: {text}"
        );
        assert!(
            text.contains("connection: close\r\n"),
            "{target} {more}: {text}"
        );
        assert_eq!(answer.answers(), 1, "{target} {more}: {text}");
        assert_ne!(answer.ending, Ending::Open, "{target} {more}");
    }
    assert_eq!(upstream.request_count(), 0);
    // And the route for CONNECT takes nothing else.
    let answer = Client::http1()
        .get_with(&gateway.url("/x"), &[("host", "db.internal")])
        .await;
    assert_eq!(answer.unwrap().text(), "here");
}

#[tokio::test]
async fn tokens_are_asked_for_before_anything_is_connected() {
    let upstream = Upstream::start(Reply::ok("here"));
    let signer = Signer::p256("e");
    let place = Place::new();
    let file = place.directory().join("keys.json");
    std::fs::write(&file, key_set(&[&signer])).unwrap();
    let yaml = format!(
        "
        services: {{ db: {{ endpoints: [\"{}\"] }} }}
        issuers:
          shop:
            issuer: \"https://id.example\"
            audience: shop-api
            jwks: {{ file: \"{}\" }}
        routes:
          - path: \"/*\"
            methods: [CONNECT]
            hosts: [db.internal]
            auth: {{ jwt: shop }}
            limit: {{ rate: 1/h, by: client }}
            to: db
        ",
        upstream.addr(),
        file.display()
    );
    let gateway = place.start(&yaml).await;
    let refused = |code: &'static str| {
        move |answer: &str| answer.contains(&format!("weir-reason: {code}\r\n"))
    };
    let (_, answer) = asked(&gateway, "db.internal:1", "").await;
    assert!(refused("token-missing")(&answer), "{answer}");
    assert_eq!(upstream.connection_count(), 0);
    let token = format!("Authorization: Bearer {}\r\n", signer.token(&claims("ada")));
    let (mut stream, answer) = asked(&gateway, "db.internal:1", &token).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    stream
        .write_all(b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    eventually(DEADLINE, async || upstream.request_count() == 1).await;
    // What was for the gateway is not told to the service.
    assert_eq!(upstream.last_request().header("authorization"), None);
    let (_, answer) = asked(&gateway, "db.internal:1", &token).await;
    assert!(refused("rate-limited")(&answer), "{answer}");
}

#[tokio::test]
async fn services_that_cannot_be_reached_or_are_full_are_refusals() {
    let gateway = gateway_to(free_addr()).await;
    let (_, answer) = asked(&gateway, "db.internal:1", "").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(
        answer.contains("weir-reason: connect-failed\r\n"),
        "{answer}"
    );
    let line = line(&gateway).await;
    assert_eq!(line["attempts"], 2, "{line}");

    let place = Place::new();
    let gateway = gateway_with(place, echo().await, ", limits: { requests: 1 }", "").await;
    let mut first = tunnel(&gateway).await;
    let (_, answer) = asked(&gateway, "db.internal:1", "").await;
    assert!(
        answer.contains("weir-reason: service-overloaded\r\n"),
        "{answer}"
    );
    assert_eq!(said(&mut first, "x").await, "x");
    drop(first);
    eventually(DEADLINE, async || {
        let (_, answer) = asked(&gateway, "db.internal:1", "").await;
        answer.starts_with("HTTP/1.1 200 ")
    })
    .await;
}

#[tokio::test]
async fn a_tunnel_in_which_nothing_moves_is_closed() {
    let place = Place::new();
    let gateway = gateway_with(place, echo().await, "", ", timeouts: { idle: 500ms }").await;
    let mut stream = tunnel(&gateway).await;
    assert_eq!(said(&mut stream, "x").await, "x");
    let end = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    assert_eq!(line(&gateway).await["termination"], "idle-timeout");
}

#[tokio::test]
async fn tunnels_live_on_over_changes_and_a_drain_waits_for_them() {
    let place = Place::new().arg("--drain=30s");
    let mut gateway = gateway_with(place, echo().await, "", "").await;
    let mut stream = tunnel(&gateway).await;
    gateway.rewrite("services: {}");
    eventually(DEADLINE, async || gateway.applied().await >= 2.0).await;
    assert_eq!(said(&mut stream, "still there").await, "still there");
    gateway.process.signal(Signal::SIGTERM);
    eventually(DEADLINE, async || {
        gateway.admin("/readyz").await.status == 503
    })
    .await;
    assert_eq!(said(&mut stream, "draining").await, "draining");
    drop(stream);
    gateway
        .proxy
        .process
        .wait_exit(Duration::from_secs(20))
        .await;
    assert_eq!(line(&gateway).await["termination"], "upgraded");
}

#[tokio::test]
async fn an_explanation_says_where_a_tunnel_leads() {
    let address = echo().await;
    let gateway = gateway_to(address).await;
    let explained = async |host: &str| -> Value {
        let url = format!("http://{host}/");
        let question = json!({ "method": "CONNECT", "url": url, "listener": "web" });
        let url = gateway.admin_url("/explain");
        let answer = Client::http1().post(&url, &[], question.to_string()).await;
        answer.unwrap().json()
    };
    let leads = explained("db.internal:5432").await;
    assert_eq!(leads["answer"]["endpoint"], address.to_string(), "{leads}");
    assert_eq!(leads["route"], "tunnel", "{leads}");
    let steps = leads["steps"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["area"] == "connect"),
        "{leads}"
    );
    assert!(leads["upstream"].is_null(), "{leads}");
    let refused = explained("other.internal").await;
    assert_eq!(refused["answer"]["code"], "connect-refused", "{refused}");
}

#[tokio::test]
async fn the_end_of_a_drain_ends_them() {
    let place = Place::new().arg("--drain=1s");
    let mut gateway = gateway_with(place, echo().await, "", "").await;
    let mut stream = tunnel(&gateway).await;
    assert_eq!(said(&mut stream, "hello").await, "hello");
    gateway.process.signal(Signal::SIGTERM);
    let end = timeout(DEADLINE, stream.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)), "{end:?}");
    gateway.proxy.process.wait_exit(DEADLINE).await;
    let line = line(&gateway).await;
    assert_eq!(line["termination"], "drained", "{line}");
}
