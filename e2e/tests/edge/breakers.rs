//! Breakers and ejection by latency, share and endpoint; what is told of them; and that no client
//! can bring them about.

use std::time::Duration;

use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

async fn gateway_with(upstreams: &[&Upstream], service: &str) -> Lone {
    let endpoints: Vec<_> = upstreams
        .iter()
        .map(|upstream| format!("\"{}\"", upstream.addr()))
        .collect();
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [{}], retry: false, {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        endpoints.join(", ")
    ))
    .await
}

/// How often the log says that a breaker is in this state now.
fn told(gateway: &Lone, state: &str) -> usize {
    let log = gateway.process.stderr();
    let changed = log.lines().filter(|line| line.contains("breaker changed"));
    changed.filter(|line| line.contains(state)).count()
}

/// What the admin server says about the service now.
async fn live(gateway: &Lone) -> Value {
    let services: Value = gateway.admin("/services").await.json();
    services["services"][0]["live"].clone()
}

#[tokio::test]
async fn slow_answers_open_a_breaker_and_each_change_is_told_once() {
    let slow = Reply::ok("slow").delay(Duration::from_millis(150));
    let upstream = Upstream::start(Reply::ok("fast"));
    let breaker = "breaker: { consecutive: 0, slow_after: 100ms, slow_ratio: 50%, \
                   volume_min: 4, open: 1s }";
    let gateway = gateway_with(&[&upstream], breaker).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/x").await.text(), "fast");
    }
    upstream.set_script(slow);
    for _ in 0..4 {
        assert_eq!(gateway.get("/x").await.text(), "slow");
    }
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 503, "breaker-open").await;
    assert_eq!(live(&gateway).await["breaker"], "open");
    // A slow probe opens it again.
    eventually(DEADLINE, async || gateway.get("/x").await.status == 200).await;
    assert_eq!(gateway.get("/x").await.status, 503);
    upstream.set_script(Reply::ok("fast"));
    eventually(DEADLINE, async || gateway.get("/x").await.status == 200).await;
    assert_eq!(live(&gateway).await["breaker"], "closed");
    let opened = [("service", "app")];
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.one("weir_upstream_breakers_opened_total", &opened),
        2.0
    );
    eventually(DEADLINE, async || told(&gateway, "closed") == 1).await;
    assert_eq!(
        (told(&gateway, "\"open\""), told(&gateway, "half-open")),
        (2, 2)
    );
}

#[tokio::test]
async fn an_endpoint_whose_breaker_is_open_is_left_out_until_a_probe_succeeds() {
    let (bad, good) = (
        Upstream::start(Reply::status(500)),
        Upstream::start(Reply::ok("good")),
    );
    let breaker = "outlier: false, breaker: { scope: endpoint, consecutive: 3, open: 1s }";
    let gateway = gateway_with(&[&bad, &good], breaker).await;
    let mut failed = 0;
    for _ in 0..20 {
        failed += u32::from(gateway.get("/x").await.status == 500);
    }
    assert_eq!(failed, 3);
    let open = [("service", "app"), ("state", "breaker-open")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.one("weir_upstream_endpoints", &open), 1.0);
    let endpoints = live(&gateway).await["endpoints"].clone();
    let of = |upstream: &Upstream| {
        let address = upstream.addr().to_string();
        let mut all = endpoints.as_array().unwrap().iter();
        all.find(|it| it["address"] == address).unwrap()["breaker"].clone()
    };
    assert_eq!((of(&bad), of(&good)), ("open".into(), "closed".into()));

    bad.set_script(Reply::ok("better"));
    eventually(DEADLINE, async || {
        gateway.get("/x").await.text() == "better"
    })
    .await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.one("weir_upstream_endpoints", &open), 0.0);

    // With all of them open there is nobody to ask.
    bad.set_script(Reply::status(500));
    good.set_script(Reply::status(500));
    eventually(DEADLINE, async || {
        let answer = gateway.get("/x").await;
        answer.header("weir-reason") == Some("breaker-open")
    })
    .await;
}

#[tokio::test]
async fn a_share_of_failures_ejects_where_none_fail_in_a_row() {
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let flaky = Upstream::start(Script::by(move |_| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Reply::status(if turn.is_multiple_of(2) { 503 } else { 200 })
    }));
    let good = Upstream::start(Reply::ok("good"));
    let outlier = "outlier: { consecutive: 5, failure_share: 40%, volume_min: 10 }";
    let gateway = gateway_with(&[&flaky, &good], outlier).await;
    for _ in 0..40 {
        gateway.get("/x").await;
    }
    // The tenth success is followed by the failure that fills the volume.
    assert!((10..=11).contains(&flaky.request_count()));
    let metrics = gateway.metrics().await;
    let labels = [("service", "app"), ("reason", "failure-share")];
    assert_eq!(metrics.one("weir_upstream_ejections_total", &labels), 1.0);
    let address = flaky.addr().to_string();
    eventually(DEADLINE, async || {
        let log = gateway.process.stderr();
        log.lines()
            .any(|line| line.contains("is ejected") && line.contains(&address))
    })
    .await;
}

#[tokio::test]
async fn nothing_that_clients_do_wrong_opens_a_breaker_or_ejects() {
    let upstream = Upstream::start(Script::by(|request| match request.path.as_str() {
        "/hang" => Answer::Hang,
        "/none" => Reply::status(404).into(),
        "/large" => Answer::raw(format!(
            "HTTP/1.1 200 OK\r\nx-large: {}\r\n\r\n",
            "x".repeat(70 * 1024)
        )),
        _ => Reply::ok("well").into(),
    }));
    let strict = "breaker: { consecutive: 1, ratio: 1%, volume_min: 1 }, \
                  outlier: { consecutive: 1, share_max: 100% }";
    let gateway = gateway_with(&[&upstream], strict).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/none").await.status, 404);
        assert_eq!(gateway.get("/large").await.status, 502);
        // One that leaves before the answer.
        let url = gateway.url("/hang");
        let before = upstream.request_count();
        let gone = tokio::spawn(async move { Client::http1().get(&url).await });
        upstream.wait_for_requests(before + 1, DEADLINE).await;
        gone.abort();
        let _ = gone.await;
        // One that breaks its own body off.
        let half = "POST /half HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345";
        let stream = tokio::net::TcpStream::connect(gateway.web()).await.unwrap();
        stream.writable().await.unwrap();
        stream.try_write(half.as_bytes()).unwrap();
        drop(stream);
        assert_eq!(gateway.get("/x").await.text(), "well");
    }
    let metrics = gateway.metrics().await;
    let service = [("service", "app")];
    assert_eq!(metrics.one("weir_upstream_breaker_state", &service), 0.0);
    assert_eq!(
        metrics.sum("weir_upstream_breakers_opened_total", &service),
        0.0
    );
    assert_eq!(metrics.sum("weir_upstream_ejections_total", &service), 0.0);
}
