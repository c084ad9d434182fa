//! Services that fail: retries that are safe, breakers, ejection.

use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

mod answers;

async fn gateway_with(service: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    ))
    .await
}

#[tokio::test]
async fn an_endpoint_that_refuses_connections_costs_no_request() {
    let upstream = Upstream::start(Reply::ok("alive"));
    let dead = free_addr();
    let service = format!(
        "endpoints: [\"{dead}\", \"{}\"], outlier: false",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/x").await.text(), "alive");
        // Nothing was sent, so even what is not idempotent is tried again.
        assert_eq!(gateway.post("/x", &[], "order").await.text(), "alive");
    }
    let metrics = gateway.metrics().await;
    assert!(metrics.sum("weir_upstream_retries_total", &[("service", "app")]) > 0.0);
    assert_eq!(upstream.request_count(), 20);
}

#[tokio::test]
async fn only_idempotent_requests_are_sent_again_after_a_reset() {
    let (one, two) = (
        Upstream::start(Answer::Reset),
        Upstream::start(Answer::Reset),
    );
    let service = format!(
        "endpoints: [\"{}\", \"{}\"], outlier: false",
        one.addr(),
        two.addr()
    );
    let gateway = gateway_with(&service).await;
    let sent = || one.request_count() + two.request_count();

    let answer = gateway.post("/pay", &[], "amount=1").await;
    gateway.assert_refused(&answer, 502, "upstream-reset").await;
    assert_eq!(sent(), 1);
    assert_eq!(
        gateway.logged("/pay").await["termination"],
        "upstream-reset-before-bytes"
    );

    let answer = gateway.get("/read").await;
    gateway.assert_refused(&answer, 502, "upstream-reset").await;
    assert_eq!(sent(), 3);
    assert_eq!(
        (one.request_count(), two.request_count())
            .0
            .min(two.request_count()),
        1
    );
    assert_eq!(
        gateway.logged("/read").await["termination"],
        "retries-exhausted"
    );
}

#[tokio::test]
async fn a_body_that_was_kept_is_sent_again() {
    let script = [Answer::Reset, Reply::echo().into()];
    let upstream = Upstream::start(Script::sequence(script));
    let service = format!("endpoints: [\"{}\"]", upstream.addr());
    let gateway = gateway_with(&service).await;
    let put = weir_testkit::client::request(
        http::Method::PUT,
        &gateway.url("/x"),
        &[],
        "a small body".into(),
    );
    let answer = weir_testkit::client::Client::http1()
        .send(put.unwrap())
        .await
        .unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(upstream.request_count(), 2);
    assert_eq!(upstream.last_request().text(), "a small body");
}

#[tokio::test]
async fn statuses_are_retried_where_the_document_says_so() {
    let script = || Script::sequence([Reply::status(503).into(), Reply::ok("second").into()]);
    for (retry, status) in [
        ("{ statuses: [503] }", 200),
        ("{ attempts: 1 }", 503),
        ("false", 503),
    ] {
        let upstream = Upstream::start(script());
        let service = format!("endpoints: [\"{}\"], retry: {retry}", upstream.addr());
        let gateway = gateway_with(&service).await;
        assert_eq!(gateway.get("/x").await.status, status, "{retry}");
    }
}

#[tokio::test]
async fn another_endpoint_is_tried_when_one_is_slow() {
    let (slow, fast) = (
        Upstream::start(Answer::Hang),
        Upstream::start(Reply::ok("fast")),
    );
    let service = format!(
        "endpoints: [\"{}\", \"{}\"], outlier: false, \
         timeouts: {{ per_try: 200ms, response: 10s }}",
        slow.addr(),
        fast.addr()
    );
    let gateway = gateway_with(&service).await;
    for _ in 0..4 {
        assert_eq!(gateway.get("/x").await.text(), "fast");
    }
    assert!(slow.request_count() > 0);
}

#[tokio::test]
async fn an_answer_that_is_not_http_is_a_502() {
    for garbage in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "HTTP/1.1 999999 what\r\n\r\n",
        "\0\0\0\0\0\0\r\n\r\n",
    ] {
        let upstream = Upstream::start(Answer::raw(garbage));
        let service = format!("endpoints: [\"{}\"], retry: false", upstream.addr());
        let gateway = gateway_with(&service).await;
        let answer = gateway.get("/x").await;
        gateway
            .assert_refused(&answer, 502, "upstream-protocol")
            .await;
    }
}

#[tokio::test]
async fn a_service_without_endpoints_is_a_503() {
    let place = weir_e2e::lone::Place::new();
    let list = place.directory().join("none.yaml");
    std::fs::write(&list, "[]\n").unwrap();
    let gateway = place
        .start(&format!(
            "
            services: {{ app: {{ file: \"{}\" }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            list.display()
        ))
        .await;
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 503, "no-endpoint").await;
}

#[tokio::test]
async fn a_breaker_opens_answers_by_itself_and_recovers() {
    let upstream = Upstream::start(Reply::status(500));
    let service = format!(
        "endpoints: [\"{}\"], retry: false, outlier: false, \
         breaker: {{ consecutive: 3, open: 2s }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    for _ in 0..3 {
        let answer = gateway.get("/x").await;
        assert_eq!(
            (answer.status.as_u16(), answer.header("weir-reason")),
            (500, None)
        );
    }
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 503, "breaker-open").await;
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    // Two seconds, rounded up.
    assert!((2..=3).contains(&after), "{after}");
    assert_eq!(upstream.request_count(), 3);
    let state = [("service", "app")];
    assert_eq!(
        gateway
            .metrics()
            .await
            .one("weir_upstream_breaker_state", &state),
        2.0
    );

    upstream.set_script(Reply::ok("well again"));
    eventually(DEADLINE, async || gateway.get("/x").await.status == 200).await;
    for _ in 0..5 {
        assert_eq!(gateway.get("/x").await.status, 200);
    }
    assert_eq!(
        gateway
            .metrics()
            .await
            .one("weir_upstream_breaker_state", &state),
        0.0
    );
}

#[tokio::test]
async fn a_breaker_probes_once_and_opens_again_while_the_service_fails() {
    let upstream = Upstream::start(Reply::status(500));
    let service = format!(
        "endpoints: [\"{}\"], retry: false, outlier: false, \
         breaker: {{ consecutive: 2, open: 300ms }}",
        upstream.addr()
    );
    let gateway = gateway_with(&service).await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/x").await.status, 500);
    }
    assert_eq!(gateway.get("/x").await.status, 503);
    // The probe reaches the service, and its failure closes the door at once.
    eventually(DEADLINE, async || gateway.get("/x").await.status == 500).await;
    assert_eq!(upstream.request_count(), 3);
    assert_eq!(gateway.get("/x").await.status, 503);
    assert_eq!(upstream.request_count(), 3);
}

#[tokio::test]
async fn an_endpoint_that_keeps_failing_is_left_out() {
    let (bad, good) = (
        Upstream::start(Reply::status(503)),
        Upstream::start(Reply::ok("good")),
    );
    let service = format!(
        "endpoints: [\"{}\", \"{}\"], retry: false, \
         outlier: {{ consecutive: 3, ejection: 2s }}",
        bad.addr(),
        good.addr()
    );
    let gateway = gateway_with(&service).await;
    for _ in 0..20 {
        gateway.get("/x").await;
    }
    assert_eq!(bad.request_count(), 3);
    let why = [("service", "app"), ("reason", "consecutive")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weir_upstream_ejections_total", &why), 1.0);
    let ejected = [("service", "app"), ("state", "ejected")];
    assert_eq!(
        gateway
            .metrics()
            .await
            .sum("weir_upstream_endpoints", &ejected),
        1.0
    );

    // When its time is over it is asked again, and a good answer brings it back.
    bad.set_script(Reply::ok("better"));
    eventually(DEADLINE, async || {
        gateway.get("/x").await.text() == "better"
    })
    .await;
    assert_eq!(
        gateway
            .metrics()
            .await
            .sum("weir_upstream_endpoints", &ejected),
        0.0
    );
}
