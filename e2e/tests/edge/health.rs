//! Active health checks: who fails them gets no requests, until it passes again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Recorded, Reply, Script, Upstream};

const CHECKS: &str = "interval: 200ms, timeout: 200ms, fall: 2, rise: 2";

/// Says its name, and whether it is fit when `/healthz` is asked.
fn named(name: &'static str) -> (Upstream, Arc<AtomicBool>) {
    let fit = Arc::new(AtomicBool::new(true));
    let told = Arc::clone(&fit);
    let script = move |request: &Recorded| match request.path.as_str() {
        "/healthz" if told.load(Ordering::Relaxed) => Reply::status(204),
        "/healthz" => Reply::status(503),
        _ => Reply::ok(name),
    };
    (Upstream::start(Script::by(script)), fit)
}

async fn state(gateway: &Lone, state: &str) -> f64 {
    let labels = [("service", "app"), ("state", state)];
    gateway
        .metrics()
        .await
        .one("weir_upstream_endpoints", &labels)
}

async fn who_answers(gateway: &Lone) -> Vec<String> {
    let mut names = Vec::new();
    for _ in 0..8 {
        names.push(gateway.get("/x").await.text().to_owned());
    }
    names.sort();
    names.dedup();
    names
}

#[tokio::test]
async fn an_endpoint_that_fails_gets_nothing_until_it_passes_again() {
    let ((one, one_fit), (two, _)) = (named("one"), named("two"));
    let gateway = Lone::start(&format!(
        "
        services:
          app:
            endpoints: [\"{}\", \"{}\"]
            outlier: {{ panic: 0% }}
            health: {{ http: /healthz, host: app.example, {CHECKS} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        one.addr(),
        two.addr()
    ))
    .await;
    eventually(DEADLINE, async || one.request_count() > 2).await;
    assert_eq!(one.requests()[0].header("host"), Some("app.example"));
    assert_eq!(who_answers(&gateway).await, ["one", "two"]);

    one_fit.store(false, Ordering::Relaxed);
    eventually(DEADLINE, async || state(&gateway, "failing").await == 1.0).await;
    assert_eq!(who_answers(&gateway).await, ["two"]);
    assert!(gateway.process.stderr().contains("fails its health checks"));

    one_fit.store(true, Ordering::Relaxed);
    eventually(DEADLINE, async || state(&gateway, "failing").await == 0.0).await;
    assert_eq!(who_answers(&gateway).await, ["one", "two"]);
    let metrics = gateway.metrics().await;
    for outcome in ["passed", "failed"] {
        let labels = [("service", "app"), ("outcome", outcome)];
        assert!(metrics.one("weir_upstream_health_checks_total", &labels) >= 2.0);
    }

    // Without checks nobody fails them.
    one_fit.store(false, Ordering::Relaxed);
    eventually(DEADLINE, async || state(&gateway, "failing").await == 1.0).await;
    gateway.rewrite(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], outlier: {{ panic: 0% }} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        one.addr()
    ));
    eventually(DEADLINE, async || gateway.get("/x").await.text() == "one").await;
}

#[tokio::test]
async fn a_service_with_no_fit_endpoint_says_so_or_panics() {
    let dead = weir_testkit::ports::free_addr();
    let (alive, fit) = named("alive");
    fit.store(false, Ordering::Relaxed);
    let gateway = Lone::start(&format!(
        "
        services:
          strict:
            endpoints: [\"{dead}\"]
            outlier: {{ panic: 0% }}
            health: {{ tcp: true, {CHECKS} }}
          app:
            endpoints: [\"{}\"]
            health: {{ http: /healthz, {CHECKS} }}
        routes: [{{ path: /strict, to: strict }}, {{ path: /app, to: app }}]
        ",
        alive.addr()
    ))
    .await;
    eventually(DEADLINE, async || state(&gateway, "failing").await == 1.0).await;
    assert_eq!(
        gateway.get("/app").await.status,
        200,
        "all are used when too few are fit"
    );
    let refused = eventually(DEADLINE, async || {
        let answer = gateway.get("/strict").await;
        (answer.header("weir-reason") == Some("no-endpoint")).then_some(answer)
    })
    .await;
    gateway.assert_refused(&refused, 503, "no-endpoint").await;
}

#[tokio::test]
async fn grpc_services_are_asked_by_their_own_protocol() {
    let serving = Arc::new(AtomicBool::new(false));
    let told = Arc::clone(&serving);
    let script = move |request: &Recorded| {
        if request.path != "/grpc.health.v1.Health/Check" {
            return Reply::ok("fine");
        }
        let status = if told.load(Ordering::Relaxed) { 1 } else { 2 };
        Reply::ok(vec![0, 0, 0, 0, 2, 0x08, status])
            .header("content-type", "application/grpc")
            .trailers(&[("grpc-status", "0")])
    };
    let upstream = Upstream::builder(Script::by(script)).http2().start();
    let gateway = Lone::start(&format!(
        "
        services:
          app:
            endpoints: [\"{}\"]
            protocol: http2
            health: {{ grpc: shop, {CHECKS} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await;
    eventually(DEADLINE, async || state(&gateway, "failing").await == 1.0).await;
    serving.store(true, Ordering::Relaxed);
    eventually(DEADLINE, async || state(&gateway, "fit").await == 1.0).await;
    let asked = upstream.requests();
    assert_eq!(asked[0].body[..], *b"\0\0\0\0\x06\x0a\x04shop");
}
