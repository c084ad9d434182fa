//! Hedging: an answer that is late is overtaken by a second attempt at another endpoint, within the
//! retry budget and the service's limits, and only where sending twice does no harm.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::mpsc;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_e2e::metrics::Metrics;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

/// A gateway with one worker, so that budget and limits hold exactly.
async fn gateway_with(endpoints: &[&Upstream], service: &str) -> Lone {
    let endpoints: Vec<_> = endpoints.iter().map(|it| it.addr().to_string()).collect();
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: {endpoints:?}, balance: round-robin, {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    );
    Place::new().arg("--workers=1").start(&yaml).await
}

fn hedges(metrics: &Metrics, outcome: &str) -> f64 {
    let labels = [("service", "app"), ("outcome", outcome)];
    metrics.sum("weir_upstream_hedges_total", &labels)
}

fn withheld(metrics: &Metrics, reason: &str) -> f64 {
    let labels = [("service", "app"), ("reason", reason)];
    metrics.sum("weir_upstream_hedges_withheld_total", &labels)
}

/// Nothing is in flight: no permit has been lost.
async fn assert_nothing_in_flight(gateway: &Lone) {
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_upstream_requests_active", &[("service", "app")]) == 0.0
    })
    .await;
}

#[tokio::test]
async fn a_hanging_endpoint_is_overtaken_and_its_attempt_cancelled() {
    let (slow, fast) = (
        Upstream::start(Answer::Hang),
        Upstream::start(Reply::ok("fast")),
    );
    let gateway = gateway_with(
        &[&slow, &fast],
        "retry: { hedge: 300ms }, timeouts: { response: 5m }, \
         outlier: { consecutive: 1 }, breaker: { consecutive: 1 }",
    )
    .await;
    for number in 0..10 {
        let answer = gateway.get(&format!("/{number}")).await;
        assert_eq!(answer.text(), "fast", "{answer}");
    }
    assert_eq!(fast.request_count(), 10, "one answer each");
    assert!((1..=10).contains(&slow.request_count()));
    let metrics = gateway.metrics().await;
    let (won, lost) = (hedges(&metrics, "won"), hedges(&metrics, "lost"));
    // Beside load the fast one may be late as well.
    assert!(won >= 1.0 && won + lost <= 10.0, "{won} {lost}");
    assert_eq!(
        metrics.sum("weir_upstream_attempts_total", &[("service", "app")]),
        10.0 + won + lost
    );
    // What lost has not failed.
    assert_eq!(metrics.sum("weir_upstream_ejections_total", &[]), 0.0);
    assert_eq!(metrics.sum("weir_upstream_breakers_opened_total", &[]), 0.0);
    eventually(DEADLINE, async || slow.open_connections() == 0).await;
    assert_nothing_in_flight(&gateway).await;
    let mut told = 0.0;
    for number in 0..10 {
        let line = gateway.logged(&format!("/{number}")).await;
        assert_eq!(line["attempts"] == 2, line["hedge"].is_string(), "{line}");
        told += f64::from(u8::from(line["hedge"] == "won"));
        assert_eq!(line["endpoint"], fast.addr().to_string(), "{line}");
        assert_eq!(line["termination"], "ok", "{line}");
    }
    assert_eq!(told, won);
}

#[tokio::test]
async fn the_longest_waits_become_short() {
    // Every twentieth answer of either endpoint is late.
    let script = || {
        let count = AtomicU64::new(0);
        Script::by(move |_| {
            let late = count.fetch_add(1, Ordering::Relaxed) % 20 == 10;
            Reply::ok("x").delay(Duration::from_secs(if late { 3 } else { 0 }))
        })
    };
    let (one, two) = (Upstream::start(script()), Upstream::start(script()));
    let mut latencies = Vec::new();
    for hedge in ["false", "150ms"] {
        let service = format!("retry: {{ hedge: {hedge} }}");
        let gateway = gateway_with(&[&one, &two], &service).await;
        let before = one.request_count() + two.request_count();
        let load = Load::of(gateway.url("/x")).connections(4).requests(200);
        let report = load.start().finish().await;
        report.assert_statuses(&[200]);
        latencies.push(report.latency(0.99));
        let metrics = gateway.metrics().await;
        let extra = metrics.sum("weir_upstream_hedges_total", &[]);
        let attempts = metrics.sum("weir_upstream_attempts_total", &[]);
        assert_eq!(attempts, 200.0 + extra);
        assert_eq!(extra > 0.0, hedge != "false");
        // What was cancelled before it was sent never arrives.
        let sent = (one.request_count() + two.request_count() - before) as f64;
        assert!((200.0..=attempts).contains(&sent), "{sent} of {attempts}");
    }
    assert!(latencies[0] >= Duration::from_secs(3), "{latencies:?}");
    assert!(latencies[1] < Duration::from_secs(2), "{latencies:?}");
}

#[tokio::test]
async fn only_requests_that_may_be_sent_twice_and_are_kept_whole_are_hedged() {
    let late = || Upstream::start(Reply::ok("late").delay(Duration::from_millis(1500)));
    let (one, two) = (late(), late());
    let gateway = gateway_with(
        &[&one, &two],
        "retry: { hedge: 50ms, body_bytes_max: 1KiB }",
    )
    .await;
    for (method, bytes, sent, why) in [
        ("GET", 0, 2, ""),
        ("DELETE", 0, 2, ""),
        ("PUT", 1024, 2, ""),
        ("PUT", 1025, 1, "body"),
        ("POST", 0, 1, ""),
        ("POST", 10, 1, ""),
        ("PATCH", 10, 1, ""),
    ] {
        one.forget_requests();
        two.forget_requests();
        let before = withheld(&gateway.metrics().await, "body");
        let path = format!("/{method}/{bytes}");
        let method = method.parse().unwrap();
        let body = "x".repeat(bytes);
        let key = [("idempotency-key", "1")];
        let request =
            weir_testkit::client::request(method, &gateway.url(&path), &key, body.clone().into());
        let answer = Client::http1().send(request.unwrap()).await.unwrap();
        assert_eq!(answer.text(), "late", "{path}");
        let line = gateway.logged(&path).await;
        assert_eq!(line["attempts"], sent, "{line}");
        let after = withheld(&gateway.metrics().await, "body");
        assert_eq!(after - before, f64::from(u8::from(why == "body")), "{path}");
        let seen: Vec<_> = one.requests().into_iter().chain(two.requests()).collect();
        assert_eq!(seen.len(), sent, "{path}");
        assert!(seen.iter().any(|seen| seen.text() == body), "{path}");
    }
}

#[tokio::test]
async fn without_budget_nothing_is_hedged() {
    let late = || Upstream::start(Reply::ok("late").delay(Duration::from_secs(2)));
    let (one, two) = (late(), late());
    let gateway = gateway_with(&[&one, &two], "retry: { hedge: 100ms, budget: 0% }").await;
    // Thirty are always allowed in ten seconds.
    let load = Load::of(gateway.url("/x")).connections(40).requests(40);
    load.start().finish().await.assert_statuses(&[200]);
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weir_upstream_hedges_total", &[]), 30.0);
    assert_eq!(withheld(&metrics, "budget"), 10.0);
    assert_nothing_in_flight(&gateway).await;
}

#[tokio::test]
async fn a_hedge_takes_a_place_within_the_limits_of_the_service() {
    let late = || Upstream::start(Reply::ok("late").delay(Duration::from_millis(1500)));
    for (requests, sent) in [(2, 2), (1, 1)] {
        let (one, two) = (late(), late());
        let service = format!("retry: {{ hedge: 100ms }}, limits: {{ requests: {requests} }}");
        let gateway = gateway_with(&[&one, &two], &service).await;
        assert_eq!(gateway.get("/x").await.text(), "late");
        assert_eq!(one.request_count() + two.request_count(), sent);
        let withheld = withheld(&gateway.metrics().await, "limits");
        assert_eq!(withheld, (2 - sent) as f64);
        assert_nothing_in_flight(&gateway).await;
    }
}

#[tokio::test]
async fn nothing_is_hedged_where_there_is_no_other_endpoint() {
    let only = Upstream::start(Reply::ok("late").delay(Duration::from_millis(500)));
    let gateway = gateway_with(&[&only], "retry: { hedge: 50ms }").await;
    assert_eq!(gateway.get("/x").await.text(), "late");
    assert_eq!(only.request_count(), 1);
    assert_eq!(withheld(&gateway.metrics().await, "endpoint"), 1.0);
}

#[tokio::test]
async fn a_failure_waits_for_the_attempts_beside_it() {
    let (bad, good) = (
        Upstream::start(Reply::status(503).delay(Duration::from_millis(1500))),
        Upstream::start(Reply::ok("good").delay(Duration::from_millis(3000))),
    );
    let gateway = gateway_with(
        &[&bad, &good],
        "retry: { attempts: 0, hedge: 100ms, statuses: [503] }, outlier: false",
    )
    .await;
    for number in 0..3 {
        let path = format!("/{number}");
        assert_eq!(gateway.get(&path).await.text(), "good");
        let line = gateway.logged(&path).await;
        assert_eq!(line["attempts"], 2, "{line}");
        assert_eq!(line["endpoint"], good.addr().to_string(), "{line}");
    }
    assert_eq!((bad.request_count(), good.request_count()), (3, 3));
    let metrics = gateway.metrics().await;
    // The good one was the second of two, or the bad one was.
    let (won, failed) = (hedges(&metrics, "won"), hedges(&metrics, "failed"));
    assert_eq!(won + failed, 3.0, "{won} {failed}");
    assert_nothing_in_flight(&gateway).await;
}

#[tokio::test]
async fn a_client_that_goes_away_ends_all_attempts() {
    let (one, two) = (Upstream::start(Answer::Hang), Upstream::start(Answer::Hang));
    let gateway = gateway_with(
        &[&one, &two],
        "retry: { hedge: 100ms }, timeouts: { response: 5m }",
    )
    .await;
    let url = gateway.url("/x");
    let gone = tokio::spawn(async move { Client::http1().get(&url).await });
    one.wait_for_requests(1, DEADLINE).await;
    two.wait_for_requests(1, DEADLINE).await;
    gone.abort();
    eventually(DEADLINE, async || {
        one.open_connections() + two.open_connections() == 0
    })
    .await;
    assert_nothing_in_flight(&gateway).await;
    assert_eq!(hedges(&gateway.metrics().await, "abandoned"), 1.0);
    assert_eq!(gateway.logged("/x").await["hedge"], "lost");
}

/// An HTTP/2 server that answers nothing, and says which streams were reset, and by which code.
async fn silent(resets: mpsc::UnboundedSender<Option<h2::Reason>>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let resets = resets.clone();
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_request, mut respond))) = connection.accept().await {
                    let resets = resets.clone();
                    tokio::spawn(async move {
                        let reset = std::future::poll_fn(|cx| respond.poll_reset(cx)).await;
                        let _ = resets.send(reset.ok());
                    });
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn the_stream_of_an_overtaken_attempt_is_reset() {
    let (resets, mut seen) = mpsc::unbounded_channel();
    let slow = silent(resets).await;
    let fast = Upstream::builder(Reply::ok("fast")).http2().start();
    let yaml = format!(
        "
        services:
          app:
            endpoints: [\"{slow}\", \"{}\"]
            protocol: http2
            balance: round-robin
            retry: {{ hedge: {{ after: 100ms, attempts: 3 }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        fast.addr()
    );
    let gateway = Place::new().arg("--workers=1").start(&yaml).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/x").await.text(), "fast");
    }
    let won = hedges(&gateway.metrics().await, "won");
    assert!((1.0..=10.0).contains(&won), "{won}");
    for _ in 0..won as u32 {
        let reset = tokio::time::timeout(DEADLINE, seen.recv()).await.unwrap();
        assert_eq!(reset, Some(Some(h2::Reason::CANCEL)));
    }
    assert_nothing_in_flight(&gateway).await;
}
