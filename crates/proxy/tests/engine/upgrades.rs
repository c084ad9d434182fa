//! WebSocket: joined, counted, closed.

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_testkit::client::{Client, request};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Upstream};

use crate::world::{SOON, World, document};

const WEB_SOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
];

#[tokio::test]
async fn web_sockets_are_joined_and_outlive_installs() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    let text = document(&[upstream.addr()], "", "");
    let world = World::running(&text).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    let get = request(http::Method::GET, "/ws", &WEB_SOCKET, bytes::Bytes::new()).unwrap();
    let mut response = connection.start(get).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(
        response.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    let upgraded = hyper::upgrade::on(&mut response).await.unwrap();
    let mut stream = TokioIo::new(upgraded);
    for round in 0..3 {
        stream.write_all(b"some bytes").await.unwrap();
        let mut echoed = [0; 10];
        tokio::time::timeout(SOON, stream.read_exact(&mut echoed))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(&echoed, b"some bytes");
        assert_eq!(world.engine.stats().in_flight, 1);
        if round == 0 {
            world.install(&text.replace("app", "other")).await.unwrap();
        }
    }
    drop(stream);
    eventually(SOON, async || world.engine.stats().in_flight == 0).await;
    eventually(SOON, async || upstream.open_connections() == 0).await;
    assert_eq!(
        world.metric("weir_http_request_ends_total", "reason=\"upgraded\""),
        1.0
    );
}

#[tokio::test]
async fn an_endpoint_may_decline() {
    let upstream = Upstream::start(Reply::status(400));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let response = Client::http1()
        .get_with(&world.url("/"), &WEB_SOCKET)
        .await
        .unwrap();
    assert_eq!(response.status.as_u16(), 400);
    assert_eq!(upstream.last_request().header("upgrade"), Some("websocket"));
}

#[tokio::test]
async fn nobody_is_switched_who_did_not_ask() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    let world = World::running(&document(&[upstream.addr()], "retry: { attempts: 0 }", "")).await;
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(response.status.as_u16(), 502, "{response}");
}
