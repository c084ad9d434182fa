//! Rate limits: exactly at the limit, one past it, and by whom requests are counted.

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

use crate::signing::{Signer, claims, key_set};

async fn gateway_with(route: &str, upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: /x, to: app, {route} }}
          - {{ path: /y, to: app, limit: {{ rate: 1/h, burst: 2, shared: both }} }}
          - {{ path: /z, to: app, limit: {{ rate: 1/h, burst: 2, shared: both }} }}
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn the_last_request_within_the_limit_passes_and_the_next_does_not() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 5/h, by: client }", &upstream).await;
    for number in 1..=5 {
        assert_eq!(gateway.get("/x").await.status, 200, "{number}");
    }
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 429, "rate-limited").await;
    // One of five an hour comes back after twelve minutes.
    let after: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((700..=720).contains(&after), "{after}");
    assert_eq!(upstream.request_count(), 5);
    let line = eventually(DEADLINE, async || {
        gateway
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 429)
    })
    .await;
    assert_eq!(
        (&line["reason"], &line["termination"]),
        (&"rate-limited".into(), &"refused".into())
    );
}

#[tokio::test]
async fn after_the_time_it_names_a_request_passes() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 1/s }", &upstream).await;
    assert_eq!(gateway.get("/x").await.status, 200);
    let answer = gateway.get("/x").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("retry-after")),
        (429, Some("1"))
    );
    eventually(DEADLINE, async || gateway.get("/x").await.status == 200).await;
}

#[tokio::test]
async fn a_burst_is_above_the_rate() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 1/h, burst: 10 }", &upstream).await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/x").await.status, 200);
    }
    assert_eq!(gateway.get("/x").await.status, 429);
}

#[tokio::test]
async fn each_value_of_a_header_is_counted_by_itself() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 2/h, by: header.x-api-key }", &upstream).await;
    for key in ["a", "b"] {
        for _ in 0..2 {
            assert_eq!(
                gateway.get_with("/x", &[("x-api-key", key)]).await.status,
                200,
                "{key}"
            );
        }
        assert_eq!(
            gateway.get_with("/x", &[("x-api-key", key)]).await.status,
            429,
            "{key}"
        );
    }
    // Leaving it out or sending it twice does not get around it: those share one count.
    let twice = [("x-api-key", "c"), ("x-api-key", "d")];
    assert_eq!(gateway.get("/x").await.status, 200);
    assert_eq!(gateway.get_with("/x", &twice).await.status, 200);
    assert_eq!(gateway.get("/x").await.status, 429);
    assert_eq!(gateway.get_with("/x", &twice).await.status, 429);
}

#[tokio::test]
async fn each_client_address_is_counted_by_itself() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = Lone::start(&format!(
        "
        trusted_proxies: [127.0.0.1]
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: /x, to: app, limit: {{ rate: 2/h, by: client }} }}]
        ",
        upstream.addr()
    ))
    .await;
    let from = async |address: &str| {
        gateway
            .get_with("/x", &[("x-forwarded-for", address)])
            .await
            .status
            .as_u16()
    };
    assert_eq!(
        [
            from("192.0.2.1").await,
            from("192.0.2.1").await,
            from("192.0.2.1").await
        ],
        [200, 200, 429]
    );
    // The log knows who it was, whatever stands in front.
    let line = eventually(DEADLINE, async || {
        gateway
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 429)
    });
    assert_eq!(line.await["client"], "192.0.2.1");
    assert_eq!(from("192.0.2.2").await, 200);
    // An IPv6 client is its whole /64.
    assert_eq!(from("2001:db8::1").await, 200);
    assert_eq!(from("2001:db8::2").await, 200);
    assert_eq!(from("2001:db8::3").await, 429);
    assert_eq!(from("2001:db8:0:1::1").await, 200);
}

#[tokio::test]
async fn each_subject_of_a_token_is_counted_by_itself() {
    let signer = Signer::ed25519("d");
    let upstream = Upstream::start(Reply::ok("in"));
    let place = Place::new();
    let file = place.directory().join("keys.json");
    std::fs::write(&file, key_set(&[&signer])).unwrap();
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        issuers:
          shop: {{ issuer: \"https://id.example\", audience: shop-api, jwks: {{ file: \"{}\" }} }}
        routes:
          - path: \"/order/{{id}}\"
            methods: [GET]
            auth: {{ jwt: shop }}
            limit: {{ rate: 2/h, by: claim.sub }}
            to: app
        ",
        upstream.addr(),
        file.display()
    );
    let gateway = place.start(&yaml).await;
    let ask = async |subject: &str| {
        let bearer = format!("Bearer {}", signer.token(&claims(subject)));
        gateway
            .get_with("/order/1", &[("authorization", &bearer)])
            .await
            .status
            .as_u16()
    };
    eventually(DEADLINE, async || ask("warm-up").await == 200).await;
    for subject in ["ada", "grace"] {
        assert_eq!(
            [ask(subject).await, ask(subject).await, ask(subject).await],
            [200, 200, 429]
        );
    }
    // Who is not let in uses nothing up.
    for _ in 0..5 {
        assert_eq!(gateway.get("/order/1").await.status, 401);
    }
}

#[tokio::test]
async fn routes_can_share_a_limit() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 1/h }", &upstream).await;
    assert_eq!(gateway.get("/y").await.status, 200);
    assert_eq!(gateway.get("/z").await.status, 200);
    assert_eq!(gateway.get("/y").await.status, 429);
    assert_eq!(gateway.get("/z").await.status, 429);
    assert_eq!(gateway.get("/x").await.status, 200);
}

#[tokio::test]
async fn a_limit_holds_across_workers_and_survives_a_reload() {
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with("limit: { rate: 10/h }", &upstream).await;
    let load = weir_testkit::load::Load::of(gateway.url("/x"))
        .connections(8)
        .requests(40);
    let report = load.start().finish().await;
    assert_eq!(
        (report.statuses.get(&200), report.statuses.get(&429)),
        (Some(&10), Some(&30)),
        "{report}"
    );

    let before = gateway.applied().await;
    gateway.rewrite(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: /x, to: app, limit: {{ rate: 10/h }} }}
          - {{ path: /new, to: app }}
        ",
        upstream.addr()
    ));
    eventually(DEADLINE, async || gateway.applied().await > before).await;
    assert_eq!(gateway.get("/new").await.status, 200);
    assert_eq!(
        Client::http1()
            .get(&gateway.url("/x"))
            .await
            .unwrap()
            .status,
        429
    );
}
