//! HTTP/1.1 and HTTP/2 on either side.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use weir_testkit::client::{Client, request};
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{World, document};

#[tokio::test]
async fn http2_clients_reach_http1_endpoints() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut connection = Client::http2().connect(&world.url("/")).await.unwrap();
    let mut get = request(
        http::Method::GET,
        "/x?y=1",
        &[("cookie", "a=1")],
        Bytes::new(),
    )
    .unwrap();
    get.headers_mut().append("cookie", "b=2".parse().unwrap());
    let response = connection.send(get).await.unwrap();
    assert_eq!(
        (response.version, response.text().as_str()),
        (http::Version::HTTP_2, "hello")
    );
    let seen = upstream.last_request();
    assert_eq!((seen.version, seen.path.as_str()), ("HTTP/1.1", "/x?y=1"));
    assert_eq!(
        seen.header("host"),
        Some(world.address.to_string().as_str())
    );
    assert_eq!(seen.header_values("cookie"), ["a=1; b=2"]);
    assert!(seen.header("traceparent").is_some());
    assert_eq!(seen.header("x-request-id"), response.header("x-request-id"));
}

#[tokio::test]
async fn streams_of_one_connection_run_side_by_side() {
    let upstream = Upstream::start(Reply::ok("hello").delay(Duration::from_millis(200)));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let connection = Client::http2().connect(&world.url("/")).await.unwrap();
    let sender = connection.http2_sender().unwrap();
    let began = std::time::Instant::now();
    let streams = (0..20).map(|number| {
        let (mut sender, url) = (sender.clone(), world.url(&format!("/{number}")));
        tokio::spawn(async move {
            let request = http::Request::get(url)
                .body(Full::new(Bytes::new()))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap().to_bytes()
        })
    });
    for stream in streams.collect::<Vec<_>>() {
        assert_eq!(stream.await.unwrap(), "hello");
    }
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn http1_clients_reach_http2_endpoints_on_one_connection() {
    let upstream = Upstream::builder(Reply::ok("hello")).http2().start();
    let world = World::running(&document(&[upstream.addr()], "protocol: http2", "")).await;
    let mut connection = Client::http1().connect(&world.url("/")).await.unwrap();
    for _ in 0..10 {
        let get = request(
            http::Method::GET,
            "/x",
            &[
                ("connection", "keep-alive, x-hop"),
                ("x-hop", "1"),
                ("te", "trailers"),
            ],
            Bytes::new(),
        );
        let response = connection.send(get.unwrap()).await.unwrap();
        assert_eq!(
            (response.status.as_u16(), response.text().as_str()),
            (200, "hello")
        );
    }
    assert_eq!(upstream.connection_count(), 1);
    let seen = upstream.last_request();
    assert_eq!(
        seen.header(":authority"),
        Some(world.address.to_string().as_str())
    );
    assert_eq!(
        (seen.header("x-hop"), seen.header("te")),
        (None, Some("trailers"))
    );
    assert_eq!(seen.header("host"), None);

    let response = Client::http1()
        .post(&world.url("/"), &[], "payload")
        .await
        .unwrap();
    assert_eq!(response.status.as_u16(), 200);
    assert_eq!(upstream.last_request().text(), "payload");
}

#[tokio::test]
async fn trailers_pass_from_end_to_end() {
    let reply = Reply::ok("hello").trailers(&[("grpc-status", "0")]);
    let upstream = Upstream::builder(reply).http2().start();
    let world = World::running(&document(&[upstream.addr()], "protocol: http2", "")).await;
    let response = Client::http2()
        .post(
            &world.url("/"),
            &[("te", "trailers"), ("content-type", "application/grpc")],
            "x",
        )
        .await
        .unwrap();
    assert_eq!(response.trailers.unwrap()["grpc-status"], "0");
}

#[tokio::test]
async fn request_ids_and_traces_are_continued() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let headers = [("x-request-id", "mine"), ("traceparent", trace)];
    let response = Client::http1()
        .get_with(&world.url("/"), &headers)
        .await
        .unwrap();
    assert_eq!(response.header("x-request-id"), Some("mine"));
    let seen = upstream.last_request();
    assert_eq!(seen.header("x-request-id"), Some("mine"));
    let passed = seen.header("traceparent").unwrap().to_owned();
    assert!(
        passed.starts_with("00-0af7651916cd43dd8448eb211c80319c-"),
        "{passed}"
    );
    assert_ne!(passed, trace);
}

#[tokio::test]
async fn requests_of_weir_itself_use_the_same_pools() {
    let upstream = Upstream::start(Reply::ok("keys"));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    for _ in 0..3 {
        let get = http::Request::get("/.well-known/jwks.json")
            .body(Bytes::new())
            .unwrap();
        let response = world.engine.request("app", get).await.unwrap();
        assert_eq!(
            (response.status().as_u16(), &response.body()[..]),
            (200, &b"keys"[..])
        );
    }
    assert_eq!(upstream.last_request().header("host"), Some("app"));
    assert_eq!(upstream.connection_count(), 1);
    let nobody = world
        .engine
        .request("nobody", http::Request::new(Bytes::new()))
        .await;
    assert!(matches!(
        nobody,
        Err(weir_proxy::OwnError::NoService { .. })
    ));
    upstream.set_script(Reply::ok("x".repeat(2 * 1024 * 1024)));
    let large = world
        .engine
        .request("app", http::Request::new(Bytes::new()))
        .await;
    assert!(
        matches!(large, Err(weir_proxy::OwnError::AnswerTooLarge)),
        "{large:?}"
    );
}
