//! Copies of requests: what the other service gets, and what nobody else notices.

use std::time::{Duration, Instant};

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Upstream};

async fn gateway_with(app: &Upstream, shadow: &str, mirror: &str) -> Lone {
    Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\"] }}
          shadow: {{ endpoints: [\"{shadow}\"], limits: {{ requests: 2 }} }}
        routes: [{{ name: app, path: \"/*\", to: app, mirror: {mirror} }}]
        ",
        app.addr()
    ))
    .await
}

async fn count(gateway: &Lone, metric: &str, labels: &[(&str, &str)]) -> f64 {
    let of_shadow = [&[("service", "shadow")], labels].concat();
    let metrics = gateway.metrics().await;
    metrics.sum(&format!("weir_mirror_{metric}_total"), &of_shadow)
}

#[tokio::test]
async fn a_copy_is_the_request_with_a_mark() {
    let (app, shadow) = (
        Upstream::start(Reply::ok("real")),
        Upstream::start(Reply::status(500)),
    );
    let gateway = gateway_with(&app, &shadow.addr().to_string(), "shadow").await;
    let forged = [("weir-mirrored", "forged"), ("x-own", "1")];
    let answer = gateway.post("/buy?n=1", &forged, "a body").await;
    assert_eq!(answer.text(), "real");
    assert_eq!(answer.header("weir-mirrored"), None);
    eventually(DEADLINE, async || {
        count(&gateway, "answers", &[("status", "5xx")]).await == 1.0
    })
    .await;
    let (real, copy) = (app.last_request(), shadow.last_request());
    assert_eq!(
        (&*copy.method, &*copy.path, copy.text()),
        ("POST", "/buy?n=1", "a body".into())
    );
    assert_eq!(copy.header("weir-mirrored"), Some("app"));
    assert_eq!(
        real.header("weir-mirrored"),
        None,
        "what came from outside is taken off"
    );
    for name in [
        "host",
        "x-own",
        "content-length",
        "x-request-id",
        "traceparent",
    ] {
        assert_eq!(copy.header(name), real.header(name), "{name}");
    }
    assert_eq!(count(&gateway, "sent", &[]).await, 1.0);
    // Connections of copies are used again: each worker needs one, perhaps two.
    for more in 2..=9 {
        gateway.get("/more").await;
        // With two under way there is no place for a third.
        eventually(DEADLINE, async || {
            count(&gateway, "answers", &[("status", "5xx")]).await == f64::from(more)
        })
        .await;
    }
    let connections = shadow.connection_count();
    assert!(connections <= 5, "{connections} connections for 9 copies");
}

#[tokio::test]
async fn a_service_that_hangs_or_is_gone_delays_nobody() {
    let app = Upstream::start(Reply::ok("real"));
    let hanging = Upstream::start(Answer::Hang);
    let mirror = "{ to: shadow, timeout: 300ms }";
    let gateway = gateway_with(&app, &hanging.addr().to_string(), mirror).await;
    let began = Instant::now();
    for _ in 0..6 {
        assert_eq!(gateway.get("/x").await.text(), "real");
    }
    assert!(began.elapsed() < Duration::from_secs(5));
    // It takes two at a time; what is more is not sent.
    eventually(DEADLINE, async || {
        let timeout = [("reason", "timeout")];
        count(&gateway, "failed", &timeout).await == count(&gateway, "sent", &[]).await
    })
    .await;
    let dropped = count(&gateway, "dropped", &[("reason", "service-overloaded")]).await;
    assert_eq!(dropped + count(&gateway, "sent", &[]).await, 6.0);
    assert!(dropped > 0.0);

    let gateway = gateway_with(&app, &free_addr().to_string(), "shadow").await;
    assert_eq!(gateway.get("/x").await.text(), "real");
    eventually(DEADLINE, async || {
        count(&gateway, "failed", &[("reason", "connect")]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn a_copy_that_lags_is_dropped_and_the_request_is_not_slowed() {
    let (app, shadow) = (
        Upstream::start(Reply::echo()),
        Upstream::start(Answer::Hang),
    );
    let mirror = "{ to: shadow, lag_bytes_max: 4KiB }";
    let gateway = gateway_with(&app, &shadow.addr().to_string(), mirror).await;
    let body = "0123456789".repeat(400_000);
    let answer = gateway.post("/large", &[], &body).await;
    assert_eq!(answer.status, 200);
    assert_eq!(app.last_request().body_bytes, 4_000_000);
    eventually(DEADLINE, async || {
        count(&gateway, "dropped", &[("reason", "lag")]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn so_many_copies_of_a_worker_are_in_flight() {
    let (app, shadow) = (
        Upstream::start(Reply::ok("real")),
        Upstream::start(Answer::Hang),
    );
    // All copies but the first wait for a connection.
    let gateway = Place::new()
        .arg("--workers=1")
        .start(&format!(
            "
            services:
              app: {{ endpoints: [\"{}\"] }}
              shadow:
                endpoints: [\"{}\"]
                limits: {{ requests: 5000, connections: 1, pending: 5000 }}
                timeouts: {{ connect: 60s }}
            routes: [{{ path: \"/*\", to: app, mirror: {{ to: shadow, timeout: 60s }} }}]
            ",
            app.addr(),
            shadow.addr()
        ))
        .await;
    let busy = async || count(&gateway, "dropped", &[("reason", "busy")]).await;
    let mut client = Client::http1().connect(&gateway.url("/")).await.unwrap();
    for _ in 0..1024 {
        assert_eq!(client.get("/x").await.unwrap().status, 200);
    }
    assert_eq!(busy().await, 0.0);
    assert_eq!(client.get("/x").await.unwrap().status, 200);
    assert_eq!(busy().await, 1.0);
}

#[tokio::test]
async fn a_copy_of_what_was_never_sent_whole_is_dropped() {
    let shadow = Upstream::start(Reply::ok(""));
    let app = Upstream::start(Reply::status(413).early().last());
    let gateway = gateway_with(&app, &shadow.addr().to_string(), "shadow").await;
    let raw = "POST /half HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nonly a part";
    let sent =
        weir_testkit::client::raw(gateway.web(), raw.as_bytes(), Duration::from_secs(2)).await;
    drop(sent);
    eventually(DEADLINE, async || {
        count(&gateway, "dropped", &[("reason", "unfinished")]).await == 1.0
    })
    .await;
}

#[tokio::test]
async fn an_answer_to_a_copy_that_is_too_long_costs_its_connection() {
    const BYTES_MAX: usize = 1024 * 1024;
    let app = Upstream::start(Reply::ok("real"));
    for (bytes, connections) in [(BYTES_MAX, 1), (BYTES_MAX + 1, 3)] {
        let shadow = Upstream::start(Reply::ok("x".repeat(bytes)));
        let yaml = format!(
            "
            services:
              app: {{ endpoints: [\"{}\"] }}
              shadow: {{ endpoints: [\"{}\"] }}
            routes: [{{ path: \"/*\", to: app, mirror: shadow }}]
            ",
            app.addr(),
            shadow.addr()
        );
        let gateway = Place::new().arg("--workers=1").start(&yaml).await;
        for number in 1..=3 {
            assert_eq!(gateway.get("/x").await.text(), "real");
            shadow.wait_for_requests(number, DEADLINE).await;
            // The place of the copy is given back when its answer was read, or given up.
            eventually(DEADLINE, async || {
                let metrics = gateway.metrics().await;
                let shadow = [("service", "shadow")];
                metrics.sum("weir_upstream_requests_active", &shadow) == 0.0
            })
            .await;
        }
        assert_eq!(shadow.connection_count(), connections, "{bytes} bytes");
        assert_eq!(count(&gateway, "answers", &[("status", "2xx")]).await, 3.0);
    }
}
