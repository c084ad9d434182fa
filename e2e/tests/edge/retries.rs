//! Attempts after the first that are wanted and not made: what stood in the way, by its name.

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::upstream::{Reply, Upstream};

/// A gateway with one worker, so that the budget holds exactly.
async fn gateway_with(retry: &str, upstream: &Upstream) -> Lone {
    let yaml = format!(
        "
        services:
          app:
            endpoints: [\"{}\"]
            outlier: false
            retry: {{ statuses: [503], backoff: 1ms, {retry} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    );
    Place::new().arg("--workers=1").start(&yaml).await
}

/// Waits until so many attempts were denied for this reason.
async fn denied(gateway: &Lone, reason: &str, times: f64) {
    let labels = [("service", "app"), ("reason", reason)];
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_upstream_retries_denied_total", &labels) == times
    })
    .await;
}

#[tokio::test]
async fn what_stands_in_the_way_of_a_retry_is_counted() {
    let upstream = Upstream::start(Reply::status(503));
    let gateway = gateway_with("attempts: 2, body_bytes_max: 1KiB", &upstream).await;
    let put = async |bytes: usize| {
        let before = upstream.request_count();
        let url = gateway.url("/x");
        let body = vec![b'x'; bytes].into();
        let request = weir_testkit::client::request(http::Method::PUT, &url, &[], body).unwrap();
        let answer = weir_testkit::client::Client::http1().send(request).await;
        assert_eq!(answer.unwrap().status, 503);
        upstream.request_count() - before
    };
    // As many attempts as there may be, with as large a body as is kept.
    assert_eq!(put(1024).await, 3);
    denied(&gateway, "attempts", 1.0).await;
    denied(&gateway, "body", 0.0).await;
    assert_eq!(put(1025).await, 1);
    denied(&gateway, "body", 1.0).await;
    // What may have been done is not done twice.
    assert_eq!(gateway.post("/x", &[], "once").await.status, 503);
    denied(&gateway, "method", 1.0).await;
}

#[tokio::test]
async fn retries_are_no_more_than_their_share() {
    let upstream = Upstream::start(Reply::status(503));
    let gateway = gateway_with("attempts: 1, budget: 0%", &upstream).await;
    // Thirty are always allowed in ten seconds.
    let load = Load::of(gateway.url("/x")).connections(4).requests(40);
    load.start().finish().await.assert_statuses(&[503]);
    assert_eq!(upstream.request_count(), 70);
    denied(&gateway, "attempts", 30.0).await;
    denied(&gateway, "budget", 10.0).await;
}
