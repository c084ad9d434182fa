//! Cross-origin requests: preflights, and who may read answers.

use http::Method;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, request};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway(upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - path: \"/items/*\"
            methods: [GET, DELETE]
            limit: {{ rate: 1/h, burst: 2 }}
            cors: {{ origins: [https://shop.example], credentials: true, expose: [x-total] }}
            to: app
          - {{ path: \"/own/*\", to: app }}
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn preflights_are_answered_and_answers_shared() {
    let upstream = Upstream::start(Reply::ok("item").header("access-control-allow-origin", "*"));
    let gateway = gateway(&upstream).await;
    let shop = ("origin", "https://shop.example");
    let ask = async |origin, method, path: &str| {
        let headers = [
            ("origin", origin),
            ("access-control-request-method", method),
        ];
        let asked = request(
            Method::OPTIONS,
            &gateway.url(path),
            &headers,
            bytes::Bytes::new(),
        )
        .unwrap();
        Client::http1().send(asked).await.unwrap()
    };

    // More often than the limit would allow: a preflight is not asked for what the request brings.
    for _ in 0..5 {
        let answer = ask("https://shop.example", "DELETE", "/items/1").await;
        assert_eq!(answer.status, 204, "{answer}");
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://shop.example")
        );
        assert_eq!(
            answer.header("access-control-allow-credentials"),
            Some("true")
        );
        assert_eq!(answer.header("access-control-max-age"), Some("600"));
    }
    let denied = ask("https://evil.example", "DELETE", "/items/1").await;
    gateway.assert_refused(&denied, 403, "origin-denied").await;
    assert_eq!(denied.header("access-control-allow-origin"), None);
    assert_eq!(upstream.request_count(), 0);

    // The service's own word is replaced; where the route says nothing, it stands.
    let answer = gateway.get_with("/items/1", &[shop]).await;
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
    assert_eq!(
        answer.header("access-control-expose-headers"),
        Some("x-total")
    );
    let stranger = gateway
        .get_with("/items/1", &[("origin", "https://evil.example")])
        .await;
    assert_eq!(stranger.status, 200);
    assert_eq!(stranger.header("access-control-allow-origin"), None);
    let answer = gateway.get_with("/own/1", &[shop]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    let passed = ask("https://shop.example", "GET", "/own/1").await;
    assert_eq!(passed.status, 200, "the service answers it: {passed}");

    // A page can read why it was refused.
    let limited = gateway.get_with("/items/1", &[shop]).await;
    gateway.assert_refused(&limited, 429, "rate-limited").await;
    assert_eq!(
        limited.header("access-control-allow-origin"),
        Some("https://shop.example")
    );
}
