//! What answers when a service gave up.

use std::time::{Duration, Instant};

use http::Method;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, Response, request};
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

async fn gateway_with(app: &str, other: &Upstream, fallback: &str) -> Lone {
    Lone::start(&format!(
        "
        services:
          app: {{ {app}, outlier: false }}
          other: {{ endpoints: [\"{}\"] }}
        routes: [{{ name: app, path: \"/*\", to: app, fallback: {{ {fallback} }} }}]
        ",
        other.addr()
    ))
    .await
}

async fn put(gateway: &Lone, path: &str, body: String) -> Response {
    let put = request(Method::PUT, &gateway.url(path), &[], body.into()).unwrap();
    Client::http1().send(put).await.unwrap()
}

#[tokio::test]
async fn another_service_answers_for_one_that_is_gone() {
    let other = Upstream::start(Reply::echo());
    let app = format!("endpoints: [\"{}\"]", free_addr());
    let gateway = gateway_with(&app, &other, "to: other").await;
    // Nothing was sent, so even what is not idempotent goes on, whole.
    let answer = gateway.post("/buy", &[], "a body").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("weir-fallback"), Some("connect-failed"));
    assert_eq!(answer.header("weir-reason"), None);
    assert_eq!(other.last_request().text(), "a body");
    let line = gateway.logged("/buy").await;
    assert_eq!(line["fallback"], "connect-failed", "{line}");
    assert_eq!(
        (&line["service"], &line["route"]),
        (&"other".into(), &"app".into()),
        "{line}"
    );
    // Two attempts at the first service, one at the other.
    assert_eq!(line["attempts"], 3, "{line}");
    let labels = [("route", "app"), ("reason", "connect-failed")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weir_http_fallbacks_total", &labels), 1.0);
}

#[tokio::test]
async fn only_what_may_be_sent_again_goes_to_another_service() {
    let (app, other) = (
        Upstream::start(Reply::status(503)),
        Upstream::start(Reply::echo()),
    );
    let service = format!(
        "endpoints: [\"{}\"], retry: {{ body_bytes_max: 1KiB }}",
        app.addr()
    );
    let gateway = gateway_with(&service, &other, "to: other").await;
    let answer = gateway.get("/read").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("weir-fallback")),
        (200, Some("status"))
    );
    // A POST may have taken effect.
    let answer = gateway.post("/pay", &[], "1").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("weir-fallback")),
        (503, None)
    );
    // A body that was kept, at the bound and one past it.
    let answer = put(&gateway, "/at", "x".repeat(1024)).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(other.last_request().body_bytes, 1024);
    let answer = put(&gateway, "/past", "x".repeat(1025)).await;
    assert_eq!(answer.status, 503, "{answer}");
    assert_eq!(other.request_count(), 2);
    assert_eq!(
        gateway.logged("/past").await["fallback"],
        serde_json::Value::Null
    );
}

#[tokio::test]
async fn a_kept_body_is_retried_at_its_bound_and_not_past_it() {
    let script = || Script::sequence([Reply::status(503).into(), Reply::echo().into()]);
    for (bytes, status) in [(1024, 200), (1025, 503)] {
        let app = Upstream::start(script());
        let gateway = Lone::start(&format!(
            "
            services:
              app:
                endpoints: [\"{}\"]
                retry: {{ statuses: [503], body_bytes_max: 1KiB }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            app.addr()
        ))
        .await;
        let answer = put(&gateway, "/x", "x".repeat(bytes)).await;
        assert_eq!(answer.status, status, "{bytes}");
    }
}

#[tokio::test]
async fn a_fixed_answer_stands_in_for_everything_that_fails() {
    let other = Upstream::start(Reply::ok(""));
    let fixed = "respond: { status: 200, body: sorry }";
    for (app, why) in [
        (
            format!("endpoints: [\"{}\"]", free_addr()),
            "connect-failed",
        ),
        ("file: none.yaml".to_owned(), "no-endpoint"),
    ] {
        let place = weir_e2e::lone::Place::new();
        std::fs::write(place.directory().join("none.yaml"), "[]\n").unwrap();
        let app = app.replace(
            "none.yaml",
            place.directory().join("none.yaml").to_str().unwrap(),
        );
        let gateway = place
            .start(&format!(
                "
                services: {{ app: {{ {app} }}, other: {{ endpoints: [\"{}\"] }} }}
                routes: [{{ path: \"/*\", to: app, fallback: {{ {fixed} }} }}]
                ",
                other.addr()
            ))
            .await;
        let answer = gateway.post("/x", &[], "1").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text()),
            (200, "sorry".to_owned()),
            "{why}"
        );
        assert_eq!(answer.header("weir-fallback"), Some(why));
        let line = gateway.logged("/x").await;
        assert_eq!(
            (&line["termination"], &line["fallback"]),
            (&"ok".into(), &why.into())
        );
    }
}

#[tokio::test]
async fn an_open_breaker_falls_back_at_once_and_both_permits_come_back() {
    let (app, other) = (
        Upstream::start(Reply::status(500)),
        Upstream::start(Reply::ok("other")),
    );
    let service = format!(
        "endpoints: [\"{}\"], breaker: {{ consecutive: 1, open: 1m }}, limits: {{ requests: 1 }}",
        app.addr()
    );
    let gateway = gateway_with(&service, &other, "to: other").await;
    assert_eq!(gateway.get("/x").await.status, 500);
    for _ in 0..5 {
        let answer = gateway.get("/x").await;
        assert_eq!(answer.text(), "other");
        assert_eq!(answer.header("weir-fallback"), Some("breaker-open"));
    }
    assert_eq!(app.request_count(), 1);
}

#[tokio::test]
async fn the_total_deadline_covers_both_services() {
    let (app, other) = (Upstream::start(Answer::Hang), Upstream::start(Answer::Hang));
    let service = format!(
        "endpoints: [\"{}\"], retry: false, timeouts: {{ response: 300ms, total: 700ms }}",
        app.addr()
    );
    let gateway = gateway_with(&service, &other, "to: other").await;
    let began = Instant::now();
    let answer = gateway.get("/x").await;
    let took = began.elapsed();
    gateway.assert_refused(&answer, 504, "total-timeout").await;
    assert_eq!(other.request_count(), 1);
    assert!(
        took >= Duration::from_millis(700) && took < Duration::from_secs(5),
        "{took:?}"
    );
}

#[tokio::test]
async fn what_is_stored_goes_before_a_fallback_and_its_answer_is_not_stored() {
    let kept = "max-age=0, stale-if-error=60";
    let (app, other) = (
        Upstream::start(Reply::ok("first").header("cache-control", kept)),
        Upstream::start(Reply::ok("other").header("cache-control", "max-age=60")),
    );
    let gateway = Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\"], retry: false, outlier: false }}
          other: {{ endpoints: [\"{}\"] }}
        routes: [{{ path: \"/*\", to: app, cache: {{}}, fallback: {{ to: other }} }}]
        ",
        app.addr(),
        other.addr()
    ))
    .await;
    assert_eq!(gateway.get("/held").await.text(), "first");
    app.set_script(Reply::status(503));
    let stale = gateway.get("/held").await;
    assert_eq!(stale.text(), "first");
    assert_eq!(stale.header("weir-fallback"), None);
    for _ in 0..2 {
        let answer = gateway.get("/new").await;
        assert_eq!(answer.text(), "other", "{answer}");
        assert_eq!(answer.header("weir-fallback"), Some("status"));
    }
    assert_eq!(other.requests().len(), 2);
}
