//! Faults on purpose, as clients, services and operators see them.

use std::time::{Duration, Instant};

use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_with(upstream: &Upstream, route: &str) -> Lone {
    Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\"], breaker: {{ consecutive: 1 }}, limits: {{ requests: 1 }} }}
        routes: [{{ name: app, path: \"/*\", to: app, {route} }}]
        ",
        upstream.addr()
    ))
    .await
}

async fn injected(gateway: &Lone, fault: &str) -> f64 {
    let labels = [("route", "app"), ("fault", fault)];
    let metrics = gateway.metrics().await;
    metrics.sum("weir_http_faults_injected_total", &labels)
}

#[tokio::test]
async fn an_abort_is_a_refusal_that_the_service_never_hears_of() {
    let upstream = Upstream::start(Reply::ok("real"));
    let fault = "fault: { headers: { x-tester: ann }, abort: 502 }";
    let gateway = gateway_with(&upstream, fault).await;
    for _ in 0..3 {
        let answer = gateway.get_with("/aimed", &[("x-tester", "ann")]).await;
        gateway.assert_refused(&answer, 502, "fault-injected").await;
    }
    assert_eq!(upstream.request_count(), 0);
    // A breaker that opens at the first failure is still closed.
    assert_eq!(gateway.get("/others").await.text(), "real");
    assert_eq!(injected(&gateway, "abort").await, 3.0);
    let line = gateway.logged("/aimed").await;
    assert_eq!(line["reason"], "fault-injected", "{line}");
    assert_eq!(line["termination"], "refused", "{line}");
    assert_eq!(line["attempts"], 0, "{line}");
}

#[tokio::test]
async fn a_delay_holds_the_request_back_and_nothing_else() {
    let upstream = Upstream::start(Reply::echo());
    let fault = "fault: { headers: { x-tester: true }, delay: 400ms }";
    let gateway = gateway_with(&upstream, fault).await;
    let began = Instant::now();
    let url = gateway.url("/slow");
    let slow = tokio::spawn(async move {
        let tester = [("x-tester", "ann")];
        Client::http1().post(&url, &tester, "a body").await.unwrap()
    });
    eventually(DEADLINE, async || injected(&gateway, "delay").await == 1.0).await;
    // The service takes one request at a time, and whoever waits is not with it.
    assert_eq!(gateway.get("/fast").await.status, 200);
    assert_eq!(upstream.request_count(), 1);
    let answer = slow.await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(400));
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(upstream.last_request().text(), "a body");
    let line = gateway.logged("/slow").await;
    assert_eq!(line["fault_delay_us"], 400_000, "{line}");
    assert!(line["duration_us"].as_u64().unwrap() >= 400_000, "{line}");
    assert!(line["upstream_us"].as_u64().unwrap() < 400_000, "{line}");
}

#[tokio::test]
async fn a_client_that_goes_away_ends_its_delay() {
    let upstream = Upstream::start(Reply::ok("real"));
    let gateway = gateway_with(&upstream, "fault: { delay: 30s }").await;
    let url = gateway.url("/left");
    let request = tokio::spawn(async move { Client::http1().get(&url).await });
    eventually(DEADLINE, async || injected(&gateway, "delay").await == 1.0).await;
    request.abort();
    let line = gateway.logged("/left").await;
    assert_eq!(line["termination"], "client-gone-before-response", "{line}");
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn the_total_deadline_counts_a_delay() {
    let upstream = Upstream::start(Reply::ok("real"));
    let route = "fault: { delay: 30s }, timeouts: { total: 200ms }";
    let gateway = gateway_with(&upstream, route).await;
    let answer = gateway.get("/late").await;
    gateway.assert_refused(&answer, 504, "total-timeout").await;
    assert_eq!(
        gateway.logged("/late").await["termination"],
        "total-timeout"
    );
}

#[tokio::test]
async fn a_delay_and_an_abort_together_come_in_this_order() {
    let upstream = Upstream::start(Reply::ok("real"));
    let gateway = gateway_with(&upstream, "fault: { delay: 200ms, abort: 500 }").await;
    let began = Instant::now();
    let answer = gateway.get("/both").await;
    gateway.assert_refused(&answer, 500, "fault-injected").await;
    assert!(began.elapsed() >= Duration::from_millis(200));
    assert_eq!(injected(&gateway, "delay").await, 1.0);
    assert_eq!(injected(&gateway, "abort").await, 1.0);
}
