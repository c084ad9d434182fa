//! The end of a drain: what is still under way then is cut off, and recorded.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Place;
use weir_testkit::client::{Client, request};
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn what_is_cut_off_at_the_end_of_a_drain_is_in_the_log() {
    let upstream = Upstream::start(Script::by(|request: &Recorded| match &*request.path {
        "/socket" => Answer::WebSocketEcho,
        "/body/1" | "/body/2" => Reply::ok("twenty bytes of body").stall_after(5).into(),
        _ => Answer::Hang,
    }));
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    );
    let mut gateway = Place::new().arg("--drain=1s").start(&yaml).await;
    let mut waiting = Vec::new();
    for (client, path) in [(Client::http1(), "/head/1"), (Client::http2(), "/head/2")] {
        let url = gateway.url(path);
        waiting.push(tokio::spawn(async move { client.get(&url).await.is_err() }));
    }
    let mut bodies = Vec::new();
    for (client, path) in [(Client::http1(), "/body/1"), (Client::http2(), "/body/2")] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let get = request(Method::GET, path, &[], Bytes::new()).unwrap();
        let mut answer = connection.start(get).await.unwrap();
        let first = answer.body_mut().frame().await.unwrap().unwrap();
        assert_eq!(first.into_data().unwrap(), "twent");
        bodies.push((connection, answer));
    }
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let get = request(Method::GET, "/socket", &HANDSHAKE, Bytes::new()).unwrap();
    let answer = connection.start(get).await.unwrap();
    let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    socket.write_all(b"echo").await.unwrap();
    let mut back = [0; 4];
    socket.read_exact(&mut back).await.unwrap();
    upstream.wait_for_requests(5, DEADLINE).await;

    gateway.process.signal(Signal::SIGTERM);
    for (_connection, mut answer) in bodies {
        let next = tokio::time::timeout(DEADLINE, answer.body_mut().frame());
        assert!(next.await.unwrap().unwrap().is_err());
    }
    let end = tokio::time::timeout(DEADLINE, socket.read(&mut back));
    assert!(matches!(end.await.unwrap(), Ok(0) | Err(_)));
    for failed in waiting {
        assert!(failed.await.unwrap());
    }
    gateway.proxy.process.wait_exit(DEADLINE).await;
    let log = gateway.access_log();
    for (path, status) in [
        ("/head/1", 0),
        ("/head/2", 0),
        ("/body/1", 200),
        ("/body/2", 200),
        ("/socket", 101),
    ] {
        let lines: Vec<_> = log.iter().filter(|line| line["path"] == path).collect();
        assert_eq!(lines.len(), 1, "{path}: {log:?}");
        let line = lines[0];
        assert_eq!(line["termination"], "drained", "{line}");
        assert_eq!(line["status"], status, "{line}");
        assert!(line["duration_us"].as_u64() >= Some(900_000), "{line}");
    }
}

#[tokio::test]
async fn what_ends_within_the_drain_is_not_cut_off() {
    let upstream = Upstream::start(Reply::ok("whole").delay(Duration::from_millis(700)));
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    );
    let mut gateway = Place::new().arg("--drain=30s").start(&yaml).await;
    let mut waiting = Vec::new();
    for client in [Client::http1(), Client::http2()] {
        let url = gateway.url("/x");
        waiting.push(tokio::spawn(async move { client.get(&url).await }));
    }
    upstream.wait_for_requests(2, DEADLINE).await;
    gateway.process.signal(Signal::SIGTERM);
    for answer in waiting {
        assert_eq!(answer.await.unwrap().unwrap().text(), "whole");
    }
    gateway.proxy.process.wait_exit(DEADLINE).await;
    let log = gateway.access_log();
    assert_eq!(log.len(), 2, "{log:?}");
    assert!(
        log.iter().all(|line| line["termination"] == "ok"),
        "{log:?}"
    );
}
