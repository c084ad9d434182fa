//! Which endpoint of a service a request gets.

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
