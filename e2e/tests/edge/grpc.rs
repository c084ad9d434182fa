//! gRPC: a real client and a real server (grpcio) with the gateway between.

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use weir_e2e::lone::{Lone, peer_file, peer_program};
use weir_e2e::{DEADLINE, command};
use weir_testkit::client::{Client, Response};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};

mod failures;

/// The server, and where it listens.
async fn server() -> (SocketAddr, Process) {
    let address = free_addr();
    let mut server = Launch::program(peer_program("venv/bin/python"))
        .arg(peer_file("grpc_server.py"))
        .arg(address.port().to_string())
        .start();
    server.wait_ready(&Ready::Tcp(address), DEADLINE).await;
    (address, server)
}

/// A gateway to it; `more` is added to the service.
async fn gateway_to(endpoint: SocketAddr, more: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ echo: {{ endpoints: [\"{endpoint}\"], protocol: http2{more} }} }}
        routes:
          - {{ path: \"/test.Echo/*\", to: echo }}
        "
    ))
    .await
}

/// What the client prints of a call.
async fn call(gateway: &Lone, method: &str, words: &[&str]) -> String {
    let client = Launch::program(peer_program("venv/bin/python"))
        .arg(peer_file("grpc_client.py"))
        .arg(gateway.web().to_string())
        .arg(method)
        .args(words);
    command::run(client).await.fine()
}

#[tokio::test]
async fn all_four_kinds_of_calls_pass_with_their_metadata() {
    let (address, _server) = server().await;
    // Far shorter than the streams: deadlines for answers do not cut them.
    let more = ", timeouts: { response: 150ms, total: 150ms, idle: 5s }";
    let gateway = gateway_to(address, more).await;
    let said = call(&gateway, "Unary", &["hello"]).await;
    let served_by = format!("x-served-by: {}", address.port());
    assert_eq!(said, format!("hello\n{served_by}\nOK -\n"));
    let said = call(&gateway, "Down", &["3 200"]).await;
    assert_eq!(said, "0\n1\n2\nOK -\n");
    let said = call(&gateway, "Up", &["one", "two", "three"]).await;
    assert_eq!(said, "3 messages, 11 bytes\nOK -\n");
    let said = call(&gateway, "Both", &["one", "two", "three"]).await;
    assert_eq!(said, "ONE\nTWO\nTHREE\nOK -\n");
    let said = call(&gateway, "Slow", &["400"]).await;
    assert_eq!(said, "none\nOK -\n");
    let line = gateway.logged("/test.Echo/Down").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"], &line["termination"]),
        (&200.into(), &0.into(), &"ok".into()),
        "{line}"
    );
    let labels = [("service", "echo"), ("grpc_status", "0")];
    let calls = gateway
        .metrics()
        .await
        .sum("weir_upstream_grpc_calls_total", &labels);
    assert_eq!(calls, 5.0);
}

#[tokio::test]
async fn statuses_of_the_service_reach_the_client() {
    let (address, _server) = server().await;
    let gateway = gateway_to(address, "").await;
    for (key, status, name) in [("a", "7", "PERMISSION_DENIED"), ("late", "10", "ABORTED")] {
        let said = call(&gateway, "Fail", &[&format!("{key} 1 {status}")]).await;
        assert_eq!(said, format!("{name} failed as told, 100 % of it\n"));
        let labels = [("service", "echo"), ("grpc_status", status)];
        let calls = gateway
            .metrics()
            .await
            .sum("weir_upstream_grpc_calls_total", &labels);
        assert_eq!(calls, 1.0, "{name}");
    }
    let said = call(&gateway, "Nothing", &["x"]).await;
    assert_eq!(said, "UNIMPLEMENTED Method not found!\n");
}

#[tokio::test]
async fn refusals_are_statuses() {
    let nobody = free_addr();
    let gateway = Lone::start(&format!(
        "
        services:
          gone: {{ endpoints: [\"{nobody}\"], protocol: http2, retry: false }}
        issuers: {{ id: {{ issuer: i, audience: a, jwks: {{ file: keys.json }} }} }}
        routes:
          - {{ path: /test.Echo/Unary, to: gone }}
          - {{ path: /test.Echo/Up, to: gone, limit: 1/h }}
          - {{ path: /test.Echo/Down, to: gone, auth: {{ jwt: id }} }}
        "
    ))
    .await;
    let table = [
        ("Both", "UNIMPLEMENTED", "no-route"),
        ("Unary", "UNAVAILABLE", "connect-failed"),
        ("Down", "UNAUTHENTICATED", "token-missing"),
        ("Up", "UNAVAILABLE", "connect-failed"),
        ("Up", "RESOURCE_EXHAUSTED", "rate-limited"),
    ];
    for (method, status, reason) in table {
        let said = call(&gateway, method, &["1 1"]).await;
        assert!(
            said.contains(&format!("weir-reason: {reason}\n{status} ")),
            "{method}: {said}"
        );
    }
    let line = gateway.logged("/test.Echo/Down").await;
    assert_eq!(
        (&line["status"], &line["grpc_status"], &line["reason"]),
        (&200.into(), &16.into(), &"token-missing".into()),
        "{line}"
    );
    // As curl would see it, with the time after which to come back.
    let headers = [("content-type", "application/grpc"), ("te", "trailers")];
    let url = gateway.url("/test.Echo/Up");
    let answer = Client::http2().post(&url, &headers, "").await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("content-type"), Some("application/grpc"));
    assert_eq!(answer.header("grpc-status"), Some("8"));
    let pushback: u64 = answer
        .header("grpc-retry-pushback-ms")
        .unwrap()
        .parse()
        .unwrap();
    assert!(pushback > 3_000_000 && pushback <= 3_600_000, "{answer}");
    assert!(answer.body.is_empty());
    let id = answer.header("weir-decision").unwrap();
    assert_eq!(gateway.admin(&format!("/decisions/{id}")).await.status, 200);
}

#[tokio::test]
async fn deadlines_of_clients_are_held_shortened_and_sent_on() {
    let (address, _server) = server().await;
    let gateway = gateway_to(address, ", timeouts: { grpc: 800ms }").await;
    // The service is told what is left: of a long time, what the route grants.
    let said = call(&gateway, "Slow", &["timeout=0.5", "0"]).await;
    let left: u64 = said.lines().next().unwrap().parse().unwrap();
    assert!((100..=500).contains(&left), "{said}");
    let said = call(&gateway, "Slow", &["timeout=60", "0"]).await;
    let left: u64 = said.lines().next().unwrap().parse().unwrap();
    assert!((400..=800).contains(&left), "{said}");
    // The gateway ends the call itself, before its head and in the middle of a stream.
    let said = call(&gateway, "Slow", &["timeout=60", "3000"]).await;
    assert!(
        said.starts_with("weir-reason: grpc-timeout\nDEADLINE_EXCEEDED The gRPC call took"),
        "{said}"
    );
    let line = gateway.logged("/test.Echo/Slow").await;
    assert_eq!(line["grpc_status"], 0, "{line}");
    let said = call(&gateway, "Down", &["timeout=60", "100 100"]).await;
    // How many messages there is time for is the machine's affair. The service has been told the
    // deadline as well, and may be the first to say that it has passed.
    assert!(said.starts_with("0\n"), "{said}");
    assert!(said.contains("\nDEADLINE_EXCEEDED"), "{said}");
    let line = gateway.logged("/test.Echo/Down").await;
    assert_eq!(line["grpc_status"], 4, "{line}");
    let ended_here = said.contains("\nweir-reason: grpc-timeout\n");
    let termination = if ended_here { "total-timeout" } else { "ok" };
    assert_eq!(line["termination"], termination, "{line}");
    // Nobody asked for a deadline: there is none.
    let said = call(&gateway, "Slow", &["1200"]).await;
    assert_eq!(said, "none\nOK -\n");

    let headers = [
        ("content-type", "application/grpc"),
        ("grpc-timeout", "123456789m"),
    ];
    let url = gateway.url("/test.Echo/Slow");
    let answer = Client::http2().post(&url, &headers, "").await.unwrap();
    assert_eq!(answer.header("grpc-status"), Some("13"), "{answer}");
    assert_eq!(answer.header("weir-reason"), Some("grpc-timeout-invalid"));
}

#[tokio::test]
async fn calls_are_tried_again_on_the_statuses_that_are_named() {
    let (address, _server) = server().await;
    let retry = ", outlier: false, retry: { attempts: 2, grpc_statuses: [unavailable, aborted] }";
    let gateway = gateway_to(address, retry).await;
    // In the head, and in a frame behind it.
    for key in ["once", "late-once"] {
        let said = call(&gateway, "Fail", &[&format!("{key} 1 14")]).await;
        assert!(
            said.starts_with("after 2\n") || key == "late-once",
            "{key}: {said}"
        );
    }
    let said = call(&gateway, "Fail", &["twice 2 10"]).await;
    assert_eq!(said, "after 3\nOK -\n");
    // No attempt is left, and a status that is not named.
    let said = call(&gateway, "Fail", &["thrice 3 14"]).await;
    assert!(said.starts_with("UNAVAILABLE failed"), "{said}");
    let said = call(&gateway, "Fail", &["other 1 13"]).await;
    assert!(said.starts_with("INTERNAL failed"), "{said}");
    let retries = [("service", "echo"), ("reason", "status")];
    let retries = gateway
        .metrics()
        .await
        .sum("weir_upstream_retries_total", &retries);
    assert!((5.0..=6.0).contains(&retries), "{retries}");
}

#[tokio::test]
async fn an_endpoint_that_is_unavailable_is_ejected() {
    let ((bad, _one), (good, _other)) = (server().await, server().await);
    let gateway = Lone::start(&format!(
        "
        services:
          echo:
            endpoints: [\"{bad}\", \"{good}\"]
            protocol: http2
            outlier: {{ consecutive: 2 }}
            retry: false
        routes: [{{ path: \"/test.Echo/*\", to: echo }}]
        "
    ))
    .await;
    // The same key fails at both; only one may be ejected.
    for _ in 0..4 {
        call(&gateway, "Fail", &["key 9 14"]).await;
    }
    let ejected = [("service", "echo"), ("state", "ejected")];
    eventually(Duration::from_secs(5), async || {
        gateway
            .metrics()
            .await
            .sum("weir_upstream_endpoints", &ejected)
            == 1.0
    })
    .await;
}

/// A message, a frame of a gRPC body.
fn message(text: &str) -> Vec<u8> {
    let length = u32::try_from(text.len()).unwrap().to_be_bytes();
    [&[0][..], &length, text.as_bytes()].concat()
}

/// Messages and trailers of a gRPC-Web body.
fn frames(mut body: &[u8]) -> (Vec<String>, String) {
    let mut messages = Vec::new();
    while let [flags, a, b, c, d, rest @ ..] = body {
        let (content, rest) = rest.split_at(u32::from_be_bytes([*a, *b, *c, *d]) as usize);
        let content = String::from_utf8(content.to_vec()).unwrap();
        if *flags == 0x80 {
            assert!(rest.is_empty(), "trailers are the end");
            return (messages, content);
        }
        messages.push(content);
        body = rest;
    }
    panic!("no trailers in {body:?}")
}

#[tokio::test]
async fn grpc_web_clients_call_grpc_services() {
    let (address, _server) = server().await;
    let gateway = gateway_to(address, ", timeouts: { grpc: 1s }").await;
    for (client, name) in [(Client::http1(), "HTTP/1.1"), (Client::http2(), "HTTP/2")] {
        for kind in [
            "application/grpc-web+proto",
            "application/grpc-web-text+proto",
        ] {
            let is_text = kind.contains("text");
            let call = async |method: &str, text: &str, more: (&str, &str)| {
                let mut body = message(text);
                if is_text {
                    body = BASE64_STANDARD.encode(body).into_bytes();
                }
                let headers = [("content-type", kind), ("x-grpc-web", "1"), more];
                let url = gateway.url(&format!("/test.Echo/{method}"));
                client.post(&url, &headers, body).await.unwrap()
            };
            let read = |answer: &Response| {
                let mut body = answer.body.to_vec();
                if is_text {
                    // Each piece is padded by itself.
                    let text = String::from_utf8(body).unwrap();
                    let groups: Vec<_> = text.as_bytes().chunks(4).collect();
                    body = groups
                        .iter()
                        .flat_map(|it| BASE64_STANDARD.decode(it).unwrap())
                        .collect();
                }
                frames(&body)
            };
            let plain = ("x-more", "1");
            let answer = call("Unary", "hello", plain).await;
            assert_eq!(answer.status, 200, "{name} {kind}");
            assert_eq!(answer.header("content-type"), Some(kind));
            let (messages, trailers) = read(&answer);
            assert_eq!(messages, ["hello"], "{name} {kind}");
            assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");
            assert!(trailers.contains(&format!("x-served-by: {}\r\n", address.port())));

            let (messages, trailers) = read(&call("Down", "3 10", plain).await);
            assert_eq!(messages, ["0", "1", "2"]);
            assert!(trailers.contains("grpc-status: 0\r\n"), "{trailers}");

            // The service fails without a message, and the gateway by itself.
            let answer = call("Fail", "web 99 5", plain).await;
            assert_eq!(answer.header("grpc-status"), Some("5"), "{answer}");
            let answer = call("Slow", "3000", ("grpc-timeout", "200m")).await;
            assert_eq!(answer.header("grpc-status"), Some("4"), "{answer}");
            assert_eq!(answer.header("content-type"), Some(kind));
            let (messages, trailers) =
                read(&call("Down", "100 50", ("grpc-timeout", "400m")).await);
            assert!((2..9).contains(&messages.len()), "{messages:?}");
            assert!(trailers.contains("grpc-status: 4\r\n"), "{trailers}");
        }
    }
    let headers = [("content-type", "application/grpc-web-text")];
    let url = gateway.url("/test.Echo/Up");
    let answer = Client::http1()
        .post(&url, &headers, "no Base64")
        .await
        .unwrap();
    assert_eq!(
        answer.header("weir-reason"),
        Some("grpc-web-invalid"),
        "{answer}"
    );
    assert_eq!(answer.header("grpc-status"), Some("13"), "{answer}");
}
