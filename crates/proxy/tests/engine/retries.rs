//! When an attempt is made again, and when it must not be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir_testkit::client::Client;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

use crate::world::{World, document};

#[tokio::test]
async fn a_refused_connection_is_tried_at_another_endpoint_even_with_a_body() {
    let upstream = Upstream::start(Reply::echo());
    let endpoints: [SocketAddr; 2] = [free_addr(), upstream.addr()];
    let world = World::running(&document(&endpoints, "", "")).await;
    for _ in 0..4 {
        let response = Client::http1()
            .post(&world.url("/"), &[], "payload")
            .await
            .unwrap();
        assert_eq!(response.status.as_u16(), 200, "{response}");
        assert_eq!(upstream.last_request().text(), "payload");
    }
    assert_eq!(upstream.request_count(), 4);
    assert!(world.metric("weir_upstream_retries_total", "reason=\"connect\"") >= 1.0);
}

#[tokio::test]
async fn a_post_that_may_have_arrived_is_not_sent_again() {
    let upstream = Upstream::start(Answer::Close);
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let response = Client::http1()
        .post(&world.url("/"), &[], "payload")
        .await
        .unwrap();
    assert_eq!(response.status.as_u16(), 502, "{response}");
    assert_eq!(response.header("weir-reason"), Some("upstream-reset"));
    assert_eq!(upstream.request_count(), 1);

    // A decision can be looked up by the id that the client was told.
    let id = response.header("weir-decision").unwrap();
    let decision = world.engine.decisions().find(id).unwrap();
    assert_eq!(
        (decision.method.as_str(), decision.path.as_str()),
        ("POST", "/")
    );
    assert_eq!(decision.route.as_deref().map(str::is_empty), Some(false));
}

#[tokio::test]
async fn an_idempotent_request_is_sent_again() {
    let failing = Answer::Close;
    let upstream = Upstream::start(Script::sequence([failing, Reply::ok("second").into()]));
    let world = World::running(&document(&[upstream.addr()], "", "")).await;
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(
        (response.status.as_u16(), response.text().as_str()),
        (200, "second")
    );
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn a_kept_body_is_sent_again_whole() {
    let upstream = Upstream::start(Script::sequence([
        Reply::status(503).into(),
        Reply::echo().into(),
    ]));
    let retry = "retry: { attempts: 1, statuses: [503], body_bytes_max: 64KiB }";
    let world = World::running(&document(&[upstream.addr()], "", retry)).await;
    let body = "0123456789".repeat(5000);
    let request =
        weir_testkit::client::request(http::Method::PUT, &world.url("/"), &[], body.clone().into());
    let response = Client::http1().send(request.unwrap()).await.unwrap();
    assert_eq!(response.status.as_u16(), 200, "{response}");
    assert_eq!(upstream.request_count(), 2);
    assert_eq!(upstream.last_request().text(), body);

    // Larger than the bound: what the endpoint said is delivered.
    upstream.set_script(Reply::status(503));
    let body = "0123456789".repeat(10_000);
    let request =
        weir_testkit::client::request(http::Method::PUT, &world.url("/"), &[], body.into());
    let response = Client::http1().send(request.unwrap()).await.unwrap();
    assert_eq!(response.status.as_u16(), 503);
    assert_eq!(upstream.request_count(), 3);
}

#[tokio::test]
async fn per_try_and_response_deadlines_end_an_attempt() {
    let slow: Answer = Reply::ok("slow").delay(Duration::from_secs(5)).into();
    let upstream = Upstream::start(Script::sequence([slow.clone(), Reply::ok("fast").into()]));
    let timeouts = "timeouts: { per_try: 200ms, response: 2s }";
    let world = World::running(&document(&[upstream.addr()], "", timeouts)).await;
    let began = Instant::now();
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(response.text(), "fast", "{response}");
    assert!(began.elapsed() >= Duration::from_millis(200));

    upstream.set_script(slow);
    let response = Client::http1()
        .post(&world.url("/"), &[], "x")
        .await
        .unwrap();
    assert_eq!(response.status.as_u16(), 504, "{response}");
    assert_eq!(response.header("weir-reason"), Some("per-try-timeout"));
}

#[tokio::test]
async fn the_total_deadline_ends_everything() {
    let upstream = Upstream::start(Reply::ok("slow").delay(Duration::from_secs(5)));
    let timeouts = "timeouts: { total: 300ms }";
    let world = World::running(&document(&[upstream.addr()], "", timeouts)).await;
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(
        response.header("weir-reason"),
        Some("total-timeout"),
        "{response}"
    );
}

#[tokio::test]
async fn a_refused_stream_was_not_processed() {
    let refused = Script::sequence([Answer::Refuse, Reply::ok("second").into()]);
    let upstream = Upstream::builder(refused).http2().start();
    let world = World::running(&document(&[upstream.addr()], "protocol: http2", "")).await;
    let response = Client::http1()
        .post(&world.url("/"), &[], "payload")
        .await
        .unwrap();
    assert_eq!(response.text(), "second", "{response}");
    assert_eq!(upstream.last_request().text(), "payload");
}

#[tokio::test]
async fn garbage_from_an_endpoint_is_a_bad_gateway() {
    let upstream = Upstream::start(Answer::raw("SSH-2.0-OpenSSH_9\r\n\r\n"));
    let world = World::running(&document(&[upstream.addr()], "retry: { attempts: 0 }", "")).await;
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(response.status.as_u16(), 502, "{response}");
    assert_eq!(response.header("weir-reason"), Some("upstream-protocol"));
}
