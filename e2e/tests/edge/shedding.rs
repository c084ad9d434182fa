//! Adaptive limits: who is shed first, and that a class cannot be claimed by clients.

use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, request};
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

async fn gateway_with(upstream: &Upstream, before: &str) -> Lone {
    Lone::start(&format!(
        "
        {before}
        services:
          app:
            endpoints: [\"{}\"]
            retry: false
            limits: {{ adaptive: {{ min: 10, max: 10 }} }}
        routes:
          - {{ path: \"/*\", to: app }}
          - {{ path: \"/report/*\", to: app, criticality: sheddable }}
          - {{ path: \"/pay/*\", to: app, criticality: critical }}
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn the_least_critical_is_shed_first_at_its_share_of_the_limit() {
    let upstream = Upstream::start(Script::by(|request| match request.path.as_str() {
        "/pay/held" => Answer::Hang,
        _ => Reply::ok("served").into(),
    }));
    let gateway = gateway_with(&upstream, "").await;
    // Of ten: eight for what is sheddable, nine unless told, ten for what is critical.
    let expected = [
        (7, [200, 200, 200]),
        (8, [503, 200, 200]),
        (9, [503, 503, 200]),
        (10, [503, 503, 503]),
    ];
    let mut held = Vec::new();
    for (in_flight, statuses) in expected {
        while held.len() < in_flight {
            // The held ones are critical, so that all of them get in.
            let held_url = gateway.url("/pay/held");
            held.push(tokio::spawn(
                async move { Client::http1().get(&held_url).await },
            ));
            let count = held.len() as f64;
            weir_testkit::eventually::eventually(DEADLINE, async || {
                let metrics = gateway.metrics().await;
                metrics.sum("weir_upstream_requests_active", &[]) == count
            })
            .await;
        }
        let mut got = Vec::new();
        for path in ["/report/x", "/x", "/pay/x"] {
            let answer = gateway.get(path).await;
            if answer.status == 503 {
                gateway.assert_refused(&answer, 503, "shed").await;
                assert_eq!(answer.header("retry-after"), Some("1"));
            }
            got.push(answer.status.as_u16());
        }
        assert_eq!(got, statuses, "{in_flight} in flight");
    }
    let metrics = gateway.metrics().await;
    let shed = |class| {
        let labels = [("service", "app"), ("class", class)];
        metrics.one("weir_upstream_shed_total", &labels)
    };
    let counts = ["sheddable", "default", "critical"].map(shed);
    assert_eq!(counts, [3.0, 2.0, 1.0]);
    let limit = metrics.one("weir_upstream_adaptive_limit", &[("service", "app")]);
    assert_eq!(limit, 10.0);
    held.iter().for_each(|request| request.abort());
}

/// The class that the service is told for a request with this path that claims this class.
async fn told(gateway: &Lone, upstream: &Upstream, path: &str, claimed: &str) -> Option<String> {
    let headers = [("weir-criticality", claimed)];
    let claim = request(http::Method::GET, &gateway.url(path), &headers, "".into());
    let answer = Client::http1().send(claim.unwrap()).await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    let seen = upstream.last_request();
    seen.header("weir-criticality").map(str::to_owned)
}

#[tokio::test]
async fn a_client_cannot_say_how_critical_it_is_but_a_trusted_proxy_can() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with(&upstream, "").await;
    let told_to = async |path, claimed| told(&gateway, &upstream, path, claimed).await;
    assert_eq!(told_to("/x", "critical").await, None);
    assert_eq!(
        told_to("/report/x", "critical").await.as_deref(),
        Some("sheddable")
    );
    assert_eq!(
        told_to("/pay/x", "sheddable").await.as_deref(),
        Some("critical")
    );

    let gateway = gateway_with(&upstream, "trusted_proxies: [127.0.0.1]").await;
    let told_to = async |path, claimed| told(&gateway, &upstream, path, claimed).await;
    assert_eq!(told_to("/x", "critical").await.as_deref(), Some("critical"));
    assert_eq!(
        told_to("/pay/x", "sheddable").await.as_deref(),
        Some("sheddable")
    );
    assert_eq!(
        told_to("/pay/x", "vital").await.as_deref(),
        Some("critical")
    );
}
