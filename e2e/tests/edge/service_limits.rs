//! Limits of a service: the last one within passes, the next one does not, and both are warned of.

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, Response};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Upstream};

type Held = Vec<tokio::task::JoinHandle<Result<Response, weir_testkit::client::ClientError>>>;

/// One worker, since `connections` counts for each.
async fn gateway_with(upstream: &Upstream, limits: &str) -> Lone {
    Place::new()
        .arg("--workers=1")
        .start(&format!(
            "
            services: {{ app: {{ endpoints: [\"{}\"], {limits} }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            upstream.addr()
        ))
        .await
}

fn hold(gateway: &Lone, count: usize) -> Held {
    let ask = |number| {
        let url = gateway.url(&format!("/held/{number}"));
        tokio::spawn(async move { Client::http1().get(&url).await })
    };
    (0..count).map(ask).collect()
}

/// A gauge or counter of the service, once it has this value.
async fn becomes(gateway: &Lone, name: &str, labels: &[(&str, &str)], value: f64) {
    let labels: Vec<_> = [("service", "app")].iter().chain(labels).copied().collect();
    eventually(DEADLINE, async || {
        gateway.metrics().await.sum(name, &labels) == value
    })
    .await;
}

async fn warned(gateway: &Lone, limit: &str) {
    eventually(DEADLINE, async || {
        let log = gateway.process.stderr();
        log.lines().any(|line| {
            line.contains("nearly full") && line.contains(limit) && line.contains("app")
        })
    })
    .await;
}

#[tokio::test]
async fn requests_in_flight_are_warned_of_and_refused_one_past_the_limit() {
    let upstream = Upstream::start(Answer::Hang);
    let gateway = gateway_with(&upstream, "limits: { requests: 5 }").await;
    let mut held = hold(&gateway, 3);
    upstream.wait_for_requests(3, DEADLINE).await;
    becomes(&gateway, "weir_upstream_requests_active", &[], 3.0).await;
    let near = "weir_upstream_limits_nearly_full_total";
    let requests = [("limit", "requests")];
    becomes(&gateway, near, &requests, 0.0).await;
    held.extend(hold(&gateway, 2));
    upstream.wait_for_requests(5, DEADLINE).await;
    becomes(&gateway, near, &requests, 2.0).await;
    warned(&gateway, "requests").await;

    let answer = gateway.get("/one-more").await;
    gateway
        .assert_refused(&answer, 503, "service-overloaded")
        .await;
    becomes(
        &gateway,
        "weir_upstream_limits_reached_total",
        &requests,
        1.0,
    )
    .await;
    held.iter().for_each(|request| request.abort());
    becomes(&gateway, "weir_upstream_requests_active", &[], 0.0).await;
}

#[tokio::test]
async fn requests_wait_for_a_connection_up_to_the_limit() {
    let upstream = Upstream::start(Answer::Hang);
    let limits = "retry: false, timeouts: { connect: 60s, response: 60s }, \
                  limits: { connections: 2, pending: 2 }";
    let gateway = gateway_with(&upstream, limits).await;
    let served = hold(&gateway, 2);
    upstream.wait_for_requests(2, DEADLINE).await;
    becomes(&gateway, "weir_upstream_connections_open", &[], 2.0).await;
    warned(&gateway, "connections").await;
    let waiting = hold(&gateway, 2);
    let pending = "weir_upstream_requests_pending";
    becomes(&gateway, pending, &[], 2.0).await;
    warned(&gateway, "pending").await;

    let answer = gateway.get("/one-more").await;
    gateway
        .assert_refused(&answer, 503, "pending-overflow")
        .await;
    let line = gateway.logged("/one-more").await;
    assert_eq!(
        (&line["termination"], &line["reason"]),
        (&"refused".into(), &"pending-overflow".into())
    );
    let reached = "weir_upstream_limits_reached_total";
    becomes(&gateway, reached, &[("limit", "pending")], 1.0).await;
    becomes(&gateway, reached, &[("limit", "connections")], 3.0).await;
    assert_eq!(upstream.connection_count(), 2, "never more than allowed");

    // Who waited is served as soon as a connection comes free.
    upstream.set_script(Reply::ok("served"));
    served.iter().for_each(|request| request.abort());
    for request in waiting {
        assert_eq!(request.await.unwrap().unwrap().text(), "served");
    }
    becomes(&gateway, pending, &[], 0.0).await;
}

#[tokio::test]
async fn waiting_ends_with_the_connect_timeout_and_blames_no_endpoint() {
    let upstream = Upstream::start(Answer::Hang);
    let limits = "retry: false, timeouts: { connect: 300ms, response: 60s }, \
                  outlier: { consecutive: 1 }, breaker: { consecutive: 1 }, \
                  limits: { connections: 1 }";
    let gateway = gateway_with(&upstream, limits).await;
    let held = hold(&gateway, 1);
    upstream.wait_for_requests(1, DEADLINE).await;
    for _ in 0..2 {
        let answer = gateway.get("/late").await;
        gateway
            .assert_refused(&answer, 504, "pending-timeout")
            .await;
    }
    let metrics = gateway.metrics().await;
    let labels = [("service", "app"), ("reason", "pending-timeout")];
    assert_eq!(metrics.sum("weir_upstream_failures_total", &labels), 2.0);
    let breaker = metrics.one("weir_upstream_breaker_state", &[("service", "app")]);
    assert_eq!(breaker, 0.0);
    held.iter().for_each(|request| request.abort());
}

/// Where one endpoint has no connection left, another may have one.
#[tokio::test]
async fn another_endpoint_serves_what_finds_no_connection() {
    let (full, free) = (
        Upstream::start(Answer::Hang),
        Upstream::start(Reply::ok("free")),
    );
    let gateway = Place::new()
        .arg("--workers=1")
        .start(&format!(
            "
            services:
              app:
                endpoints: [\"{}\", \"{}\"]
                timeouts: {{ response: 60s }}
                limits: {{ connections: 3, pending: 0 }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            full.addr(),
            free.addr()
        ))
        .await;
    let held = hold(&gateway, 6);
    full.wait_for_requests(3, DEADLINE).await;
    becomes(&gateway, "weir_upstream_requests_active", &[], 3.0).await;
    for number in 0..6 {
        let answer = gateway.post("/x", &[], "once").await;
        assert_eq!(answer.text(), "free", "{number}");
    }
    assert_eq!(full.request_count(), 3);
    held.iter().for_each(|request| request.abort());
}
