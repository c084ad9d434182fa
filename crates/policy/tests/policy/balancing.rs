//! Which endpoint an admitted request gets: subsets, zones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use weir_config::Document;
use weir_config::bounds::{
    ENDPOINT_LABELS_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, PRIORITY_MAX, SUBSETS_MAX,
};
use weir_config::endpoint::Endpoint;
use weir_policy::balance::{Chosen, Members, Tried};
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::pipeline::{self, Then};
use weir_policy::refusal::Refusal;
use weir_policy::snapshot::{Role, Snapshot};

use crate::bench::{Ask, ask, compiled, gateway};

/// The endpoint that a request gets from a service with these.
fn choose(snapshot: &Snapshot, ask: &Ask, endpoints: &[Endpoint]) -> Result<Chosen, Refusal> {
    let admitted = ask.admit(snapshot)?;
    let Then::Forward(forward) = &admitted.then else {
        panic!("it is answered")
    };
    let members = Members::compile(snapshot.service(forward.service), endpoints, ask.at);
    let tried = Tried::default();
    pipeline::choose(
        snapshot,
        forward,
        &members,
        &tried,
        ask.draw,
        ask.at,
        &mut (),
    )
}

/// The addresses that requests with many draws get, or the code.
fn chosen(snapshot: &Snapshot, line: &str, endpoints: &[Endpoint]) -> Vec<String> {
    let one = |draw: u64| {
        let ask = Ask { draw, ..ask(line) };
        match choose(snapshot, &ask, endpoints) {
            Ok(chosen) => chosen.member.endpoint.address.clone(),
            Err(refusal) => refusal.code.as_str().to_owned(),
        }
    };
    let mut chosen: Vec<_> = (0..40).map(one).collect();
    chosen.sort_unstable();
    chosen.dedup();
    chosen
}

fn labelled(address: &str, labels: &[(&str, &str)]) -> Endpoint {
    let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Endpoint {
        labels: labels.iter().map(pair).collect::<BTreeMap<_, _>>(),
        ..Endpoint::plain(address)
    }
}

#[test]
fn a_destination_with_labels_goes_to_the_endpoints_that_have_them() {
    let snapshot = gateway(
        r#"
        listeners: { web: { bind: "127.0.0.1:8080" } }
        services: { orders: { dns: "orders:80" } }
        routes:
          - { path: /all, to: orders }
          - { path: /v2, to: { service: orders, labels: { version: v2 } } }
          - { path: /both, to: { service: orders, labels: { track: canary, version: v2 } } }
          - { path: /same, to: { service: orders, labels: { version: v2, track: canary } } }
          - { path: /none, to: { service: orders, labels: { version: v9 } } }
        "#,
    );
    let service = &snapshot.services[0];
    assert_eq!(
        service.subsets.len(),
        3,
        "the order of labels does not count"
    );
    let endpoints = [
        labelled("a:1", &[("version", "v1")]),
        labelled("b:1", &[("version", "v2")]),
        labelled("c:1", &[("version", "v2"), ("track", "canary")]),
    ];
    for (line, expected) in [
        ("GET /all", &["a:1", "b:1", "c:1"][..]),
        ("GET /v2", &["b:1", "c:1"]),
        ("GET /both", &["c:1"]),
        ("GET /same", &["c:1"]),
        ("GET /none", &["subset-empty"]),
    ] {
        assert_eq!(chosen(&snapshot, line, &endpoints), expected, "{line}");
    }
    assert_eq!(chosen(&snapshot, "GET /v2", &[]), ["no-endpoint"]);
    let refusal = choose(&snapshot, &ask("GET /none"), &endpoints).unwrap_err();
    assert_eq!(
        refusal.detail.as_deref(),
        Some("service \"orders\" has 3 endpoints, but none with version=v9")
    );
}

#[test]
fn subsets_of_one_service_share_by_weight() {
    let snapshot = gateway(
        r#"
        listeners: { web: { bind: "127.0.0.1:8080" } }
        services: { orders: { dns: "orders:80" } }
        routes:
          - path: /
            to:
              - { service: orders, labels: { version: v1 }, weight: 95 }
              - { service: orders, labels: { version: v2 }, weight: 5 }
        "#,
    );
    let endpoints = [
        labelled("a:1", &[("version", "v1")]),
        labelled("b:1", &[("version", "v2")]),
    ];
    let to_v2 = (0..1000).filter(|draw| {
        let ask = Ask {
            draw: *draw,
            ..ask("GET /")
        };
        let chosen = choose(&snapshot, &ask, &endpoints).unwrap();
        chosen.member.endpoint.address == "b:1"
    });
    assert_eq!(to_v2.count(), 50);
}

/// A document whose routes ask for so many subsets.
fn with_subsets(count: usize) -> String {
    let route =
        |n: usize| format!("  - {{ path: /{n}, to: {{ service: it, labels: {{ n: {n} }} }} }}\n");
    let routes: String = (0..count).map(route).collect();
    format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         services: {{ it: {{ dns: \"it:80\" }} }}\nroutes:\n{routes}"
    )
}

#[test]
fn subsets_are_bounded() {
    assert!(compiled(&with_subsets(SUBSETS_MAX), &Role::Gateway).is_ok());
    let errors = compiled(&with_subsets(SUBSETS_MAX + 1), &Role::Gateway).unwrap_err();
    let problems: Vec<_> = errors.0.iter().map(|it| it.problem.as_str()).collect();
    assert_eq!(problems, ["routes ask for more than 64 subsets of `it`"]);
}

#[test]
fn labels_and_levels_are_bounded() {
    let endpoint = |fields: &str| {
        let text =
            format!("services: {{ it: {{ endpoints: [{{ address: \"a:1\", {fields} }}] }} }}");
        Document::from_yaml(&text).map_err(|errors| errors.0[0].problem.clone())
    };
    let many = |count: usize| {
        let labels: Vec<_> = (0..count).map(|label| format!("l{label}: x")).collect();
        endpoint(&format!("labels: {{ {} }}", labels.join(", ")))
    };
    let name = |bytes: usize| endpoint(&format!("labels: {{ {}: x }}", "n".repeat(bytes)));
    let value = |bytes: usize| endpoint(&format!("labels: {{ x: \"{}\" }}", "v".repeat(bytes)));
    let priority = |level: u8| endpoint(&format!("priority: {level}"));
    assert!(many(ENDPOINT_LABELS_MAX).is_ok());
    assert!(
        many(ENDPOINT_LABELS_MAX + 1)
            .unwrap_err()
            .contains("at most 64")
    );
    assert!(name(LABEL_NAME_BYTES_MAX).is_ok());
    assert!(
        name(LABEL_NAME_BYTES_MAX + 1)
            .unwrap_err()
            .contains("is not a label")
    );
    assert!(value(LABEL_VALUE_BYTES_MAX).is_ok());
    assert!(
        value(LABEL_VALUE_BYTES_MAX + 1)
            .unwrap_err()
            .contains("at most 512")
    );
    assert!(priority(PRIORITY_MAX).is_ok());
    assert!(
        priority(PRIORITY_MAX + 1)
            .unwrap_err()
            .contains("out of range")
    );
}

#[test]
fn a_proxy_prefers_its_zone_unless_a_key_decides() {
    let yaml = "
        services:
          plain: { mesh: a }
          anywhere: { mesh: a, prefer_zone: false }
          ring: { mesh: a, balance: { ring-hash: path } }
          maglev: { mesh: a, balance: { maglev: path } }
        ";
    let zones = |live: &Live| {
        let document = Arc::new(Document::from_yaml(yaml).unwrap());
        let snapshot = compile(document, &Role::Gateway, "1", live).unwrap();
        let zones = snapshot.services.iter().map(|it| it.zone.clone());
        zones.collect::<Vec<_>>()
    };
    for unknown in [None, Some("")] {
        assert_eq!(zones(&Live::in_zone(unknown)), [None, None, None, None]);
    }
    let own = Some(Arc::from("eu-a"));
    assert_eq!(zones(&Live::in_zone(Some("eu-a"))), [own, None, None, None]);
}

#[test]
fn slow_start_is_not_for_methods_that_hash() {
    let compile = |service: &str| {
        let yaml = format!("services: {{ a: {{ mesh: a, slow_start: 30s{service} }} }}");
        let document = Arc::new(Document::from_yaml(&yaml).unwrap());
        compile(document, &Role::Gateway, "1", &Live::default())
    };
    let snapshot = compile(", balance: random").unwrap();
    let service = &snapshot.services[0];
    assert_eq!(service.slow_start, Some(Duration::from_secs(30)));
    for method in ["ring-hash", "maglev"] {
        let errors = compile(&format!(", balance: {{ {method}: path }}")).unwrap_err();
        let told = errors.to_string();
        assert!(told.contains("services.a.slow_start: with `"), "{told}");
        assert!(
            told.contains(&format!("`{method}` the key decides")),
            "{told}"
        );
    }
}
