//! The load notices what it is there to notice.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::BTreeMap;
use std::time::Duration;

use weir_testkit::client::Client;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

const DEADLINE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn an_undisturbed_load_reports_nothing() {
    let http1 = Upstream::start(Reply::ok("x"));
    let http2 = Upstream::builder(Reply::ok("x")).http2().start();
    for (upstream, client) in [(http1, Client::http1()), (http2, Client::http2())] {
        let load = Load::of(upstream.url("/")).client(client).connections(3);
        let report = load.requests(200).start().finish().await;
        report.assert_undisturbed();
        assert_eq!((report.requests, report.connections_opened), (200, 3));
        assert_eq!(report.latencies.len(), 200);
        assert!(report.latency(0.0) <= report.latency(1.0));
        assert_eq!(
            (upstream.request_count(), upstream.connection_count()),
            (200, 3)
        );
    }
}

#[tokio::test]
async fn statuses_and_failures_are_told_apart() {
    let script = Script::by(|request| match request.index % 4 {
        1 => Reply::status(503).into(),
        2 => Answer::Reset,
        _ => Answer::from(Reply::ok("x")),
    });
    let upstream = Upstream::start(script);
    let report = Load::of(upstream.url("/"))
        .connections(1)
        .requests(40)
        .start()
        .finish()
        .await;
    assert_eq!(report.statuses, BTreeMap::from([(200, 20), (503, 10)]));
    assert_eq!(
        (report.failures, report.connections_lost),
        (10, 10),
        "{report}"
    );
    assert!(!report.failure_texts.is_empty());
}

#[tokio::test]
async fn announced_closes_count_as_lost_connections() {
    let upstream = Upstream::start(Reply::ok("x").last());
    let report = Load::of(upstream.url("/"))
        .connections(2)
        .requests(10)
        .start()
        .finish()
        .await;
    report.assert_statuses(&[200]);
    assert_eq!(
        (report.connections_opened, report.connections_lost),
        (10, 10)
    );
}

#[tokio::test]
async fn nobody_listening_is_a_failure_not_a_panic() {
    let running = Load::of(format!("http://{}/", free_addr()))
        .requests(5)
        .start();
    let report = running.finish().await;
    assert_eq!((report.requests, report.failures), (5, 5));
}

#[tokio::test]
async fn a_running_load_can_be_watched_and_stopped() {
    let upstream = Upstream::start(Reply::ok("x"));
    let running = Load::of(upstream.url("/"))
        .pause(Duration::from_millis(1))
        .start();
    running.wait_for_more(20, DEADLINE).await;
    upstream.set_script(Reply::status(500));
    running.wait_for_more(20, DEADLINE).await;
    let report = running.stop().await;
    assert!(
        report.statuses[&200] >= 20 && report.statuses[&500] >= 1,
        "{report}"
    );
}
