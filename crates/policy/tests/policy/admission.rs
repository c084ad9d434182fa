//! Whether a request may go on, and in which order that is asked.

use std::collections::HashMap;
use std::time::Duration;

use crate::bench::{AT, ask, gateway, service_of};

#[test]
fn weights_divide_the_draws() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  a: { endpoints: ["127.0.0.1:1"] }
  b: { endpoints: ["127.0.0.1:2"] }
  c: { endpoints: ["127.0.0.1:3"] }
routes:
  - path: /x
    to: [{ service: a, weight: 95 }, { service: b, weight: 5 }, { service: c, weight: 0 }]
"#,
    );
    let mut counts: HashMap<String, u32> = HashMap::new();
    for draw in 0..1_000 {
        let mut ask = ask("GET /x");
        ask.draw = draw;
        *counts
            .entry(service_of(&snapshot, &ask.admit(&snapshot).unwrap()))
            .or_default() += 1;
    }
    assert_eq!(counts["a"], 950);
    assert_eq!(counts["b"], 50);
    assert!(!counts.contains_key("c"));
}

#[test]
fn bodies_are_bounded_before_anything_is_spent() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: /default, to: s }
  - { path: /small, to: s, body_bytes_max: 1KiB, limit: { rate: 1/m } }
"#,
    );
    let sized = |line: &str, bytes: u64| {
        let mut ask = ask(line);
        ask.body_bytes = Some(bytes);
        ask.outcome(&snapshot)
    };
    assert_eq!(sized("POST /default", 10 * 1024 * 1024), "/default");
    assert_eq!(
        sized("POST /default", 10 * 1024 * 1024 + 1),
        "body-too-large"
    );
    assert_eq!(sized("POST /small", 1025), "body-too-large");
    assert_eq!(
        sized("POST /small", 1024),
        "/small",
        "the limit was not touched"
    );
    assert_eq!(sized("POST /small", 1024), "rate-limited");
}

#[test]
fn the_own_limit_is_asked_before_the_shared_one() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - path: /a
    to: s
    limit: [{ rate: 3/m, shared: all }, { rate: 1/m, by: client }]
  - { path: /b, to: s, limit: { rate: 3/m, shared: all } }
"#,
    );
    let refusal = |line: &str, client: &str| ask(line).from(client).admit(&snapshot).err();
    assert!(refusal("GET /a", "192.0.2.1").is_none());
    for _ in 0..5 {
        let refusal = refusal("GET /a", "192.0.2.1").unwrap();
        assert_eq!(refusal.code.as_str(), "rate-limited");
        assert!(
            refusal
                .retry_after
                .is_some_and(|after| after > Duration::from_secs(50))
        );
    }
    assert!(
        refusal("GET /b", "192.0.2.1").is_none(),
        "what /a refused was not counted"
    );
    assert!(refusal("GET /a", "192.0.2.2").is_none());
    assert!(
        refusal("GET /b", "192.0.2.2").is_some(),
        "the shared limit is used up"
    );
    let mut later = ask("GET /b");
    later.at = AT.plus(Duration::from_secs(61));
    assert!(later.admit(&snapshot).is_ok());
}

#[test]
fn tokens_are_asked_before_limits() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
issuers:
  shop: { issuer: "https://id.example", audience: a, jwks: "https://id.example/keys" }
  unused: { issuer: "https://no.example", audience: a, jwks: "https://no.example/keys" }
routes:
  - { path: /x, to: s, auth: { jwt: shop }, limit: { rate: 1/m } }
"#,
    );
    for _ in 0..3 {
        assert_eq!(ask("GET /x").outcome(&snapshot), "token-missing");
    }
    let with_token = ask("GET /x").header("authorization", "Bearer a.b.c");
    assert_eq!(with_token.outcome(&snapshot), "keys-unavailable");
    let issuers: Vec<_> = snapshot
        .issuers
        .iter()
        .map(|issuer| &*issuer.name)
        .collect();
    assert_eq!(
        issuers,
        ["shop"],
        "keys that nobody asks for are not fetched"
    );
}

#[test]
fn in_flight_requests_are_bounded_and_given_back() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"], limits: { requests: 2 } } }
routes: [{ path: /x, to: s }]
"#,
    );
    let first = ask("GET /x").admit(&snapshot).unwrap();
    let _second = ask("GET /x").admit(&snapshot).unwrap();
    assert_eq!(ask("GET /x").outcome(&snapshot), "service-overloaded");
    drop(first);
    assert_eq!(ask("GET /x").outcome(&snapshot), "/x");
}
