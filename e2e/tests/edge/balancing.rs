//! Which endpoint of a service a request gets.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

/// What the gateway says would happen to a GET.
async fn explained(gateway: &Lone, path: &str, headers: &[(&str, &str)]) -> String {
    let question = json!({ "url": gateway.url(path), "headers": headers }).to_string();
    let url = gateway.admin_url("/explain");
    let answer = Client::http1().post(&url, &[], question).await.unwrap();
    let explanation: Value = answer.json();
    explanation["steps"].to_string()
}

#[tokio::test]
async fn labels_choose_among_the_endpoints_of_a_service() {
    let (one, two) = (
        Upstream::start(Reply::ok("v1")),
        Upstream::start(Reply::ok("v2")),
    );
    let place = Place::new();
    let file = place.directory().join("orders.yaml");
    let v1 = format!(
        "- {{ address: \"{}\", labels: {{ version: v1 }} }}\n",
        one.addr()
    );
    let v2 = format!(
        "- {{ address: \"{}\", labels: {{ version: v2 }} }}\n",
        two.addr()
    );
    std::fs::write(&file, &v1).unwrap();
    let yaml = format!(
        "
        services: {{ orders: {{ file: \"{}\" }} }}
        routes:
          - {{ path: /all, to: orders }}
          - {{ path: /v2, to: {{ service: orders, labels: {{ version: v2 }} }} }}
          - path: /split
            to:
              - {{ service: orders, labels: {{ version: v1 }}, weight: 1 }}
              - {{ service: orders, labels: {{ version: v2 }}, weight: 1 }}
        ",
        file.display()
    );
    let gateway = place.start(&yaml).await;
    assert_eq!(gateway.get("/all").await.text(), "v1");
    // Nobody has the label: that is not the same as nobody at all.
    let answer = gateway.get("/v2").await;
    gateway.assert_refused(&answer, 503, "subset-empty").await;
    assert_eq!(gateway.logged("/v2").await["reason"], "subset-empty");

    // The membership changes and the subset with it, without a reload.
    std::fs::write(&file, format!("{v1}{v2}")).unwrap();
    eventually(DEADLINE, async || {
        (gateway.get("/v2").await.status == 200).then_some(())
    })
    .await;
    for _ in 0..10 {
        assert_eq!(gateway.get("/v2").await.text(), "v2");
    }
    let mut seen = [0, 0];
    for _ in 0..100 {
        seen[usize::from(gateway.get("/split").await.text() == "v2")] += 1;
    }
    assert!(seen.iter().all(|count| *count > 20), "{seen:?}");
    assert_eq!(gateway.applied().await, 1.0);
}

/// Three upstreams that answer with their number, and their addresses as a document lists them.
fn three() -> (Vec<Upstream>, String) {
    let upstreams: Vec<_> = (0..3)
        .map(|number| Upstream::start(Reply::ok(number.to_string())))
        .collect();
    let addresses: Vec<_> = upstreams
        .iter()
        .map(|it| format!("\"{}\"", it.addr()))
        .collect();
    let addresses = addresses.join(", ");
    (upstreams, addresses)
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_endpoint_on_every_worker() {
    for method in [
        "{ ring-hash: { by: header.x-user } }",
        "{ maglev: { by: header.x-user, load_max: 10 } }",
        "{ maglev: cookie.user }",
        "{ ring-hash: query.user }",
    ] {
        let (_upstreams, addresses) = three();
        let yaml = format!(
            "
            services: {{ app: {{ endpoints: [{addresses}], balance: {method} }} }}
            routes: [{{ path: \"/*\", to: app }}]
            "
        );
        let gateway = Place::new().arg("--workers=2").start(&yaml).await;
        let ask = async |user: u32| {
            let (user, cookie) = (user.to_string(), format!("user={user}"));
            let headers = [("x-user", user.as_str()), ("cookie", cookie.as_str())];
            let path = format!("/x?user={user}");
            gateway.get_with(&path, &headers).await.text()
        };
        let mut seen = BTreeSet::new();
        for user in 0..60 {
            let first = ask(user).await;
            for _ in 0..3 {
                assert_eq!(ask(user).await, first, "{method}");
            }
            seen.insert(first);
        }
        assert_eq!(seen.len(), 3, "{method}: nobody is left out: {addresses}");
        // Without the key: in turn.
        let mut seen = BTreeSet::new();
        for _ in 0..20 {
            seen.insert(gateway.get("/x").await.text());
        }
        assert_eq!(seen.len(), 3, "{method}");
        let said = explained(&gateway, "/x", &[]).await;
        assert!(said.contains("in turn instead"), "{said}");
    }
}

#[tokio::test]
async fn a_session_stays_until_its_endpoint_goes() {
    let (mut upstreams, addresses) = three();
    let service = format!("endpoints: [{addresses}], sticky: {{ cookie: weir-session, ttl: 1h }}");
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    ))
    .await;
    let first = gateway.get("/x").await;
    let issued = first.header("set-cookie").unwrap().to_owned();
    assert!(
        issued.ends_with("; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax"),
        "{issued}"
    );
    assert!(!issued.contains("127.0.0.1"), "{issued}");
    let cookie = issued.split(';').next().unwrap().to_owned();
    for _ in 0..10 {
        let answer = gateway.get_with("/x", &[("cookie", &cookie)]).await;
        assert_eq!(answer.text(), first.text());
        assert_eq!(answer.header("set-cookie"), None, "it is the one it has");
    }
    let said = explained(&gateway, "/x", &[("cookie", &cookie)]).await;
    assert!(
        said.contains("by the session that its cookie names"),
        "{said}"
    );
    let broken = async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_upstream_sessions_broken_total", &[("service", "app")])
    };
    assert_eq!(broken().await, 0.0);

    // The endpoint dies: the request is served by another, which takes the session over.
    let gone: usize = first.text().parse().unwrap();
    upstreams.remove(gone).stop();
    let answer = gateway.get_with("/x", &[("cookie", &cookie)]).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_ne!(answer.text(), first.text());
    let renewed = answer.header("set-cookie").unwrap();
    assert_ne!(renewed, issued);
    assert_eq!(broken().await, 1.0);
    let renewed = renewed.split(';').next().unwrap().to_owned();
    let again = gateway.get_with("/x", &[("cookie", &renewed)]).await;
    assert_eq!(
        (again.text(), again.header("set-cookie")),
        (answer.text(), None)
    );
}

#[tokio::test]
async fn an_explanation_names_the_labels() {
    let gateway = Lone::start(
        "
        services:
          orders: { endpoints: [{ address: \"127.0.0.1:9\", labels: { version: v2 } }] }
        routes: [{ path: /, to: { service: orders, labels: { version: v2 } } }]
        ",
    )
    .await;
    let said = explained(&gateway, "/", &[]).await;
    assert!(said.contains("one of 1 with version=v2"), "{said}");
}
