//! Versions of an API: which one a request takes, and what its response says about it.

use weir_policy::pipeline::Admitted;
use weir_policy::snapshot::Snapshot;

use crate::bench::{Ask, ask, compiled, gateway, service_of, settled};

const API: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  one: { endpoints: ["127.0.0.1:1"] }
  two: { endpoints: ["127.0.0.1:2"] }
  three: { endpoints: ["127.0.0.1:3"] }
routes:
  - path: "/{version}/orders/*"
    rewrite: { path: /orders }
    versions:
      by: path.version
      of:
        v1:
          to: one
          deprecated: 2023-06-30T23:59:59Z
          sunset: 2023-11-14T22:13:20Z
          link: /changes
        v2: [{ service: two, weight: 1 }, { service: three, weight: 1 }]
        2024-06-01: three
  - path: /header
    versions:
      by: header.api-version
      default: v2
      of:
        v1: { to: one, sunset: 2023-11-14T22:13:20Z, after_sunset: refuse }
        v2: { to: two, sunset: 2023-11-14T22:13:21Z, after_sunset: refuse }
        v3: { to: three, deprecated: 2099-01-01 }
  - { path: /query, versions: { by: query.v, of: { v1: one, v2: two } } }
  - { path: /media, versions: { by: media_type, of: { v1: one, v2: two, 2024-06-01: three } } }
  - { path: /media-or, versions: { by: media_type, default: v1, of: { v1: one, v2: two } } }
"#;

/// The service, or the reason why not.
fn outcome(snapshot: &Snapshot, ask: &Ask) -> String {
    match ask.admit(snapshot) {
        Ok(admitted) => service_of(snapshot, &admitted),
        Err(refusal) => refusal.code.to_string(),
    }
}

fn version(snapshot: &Snapshot, admitted: &Admitted) -> String {
    let plan = snapshot.route(admitted.route).versions.as_ref().unwrap();
    plan.name(admitted.version.unwrap()).to_owned()
}

#[test]
fn a_version_is_told_by_path_header_query_or_media_type() {
    let snapshot = gateway(API);
    let table = [
        (ask("GET /v1/orders/7"), "one"),
        (ask("GET /1/orders/7"), "one"),
        (ask("GET /V1/orders"), "one"),
        (ask("GET /2024-06-01/orders"), "three"),
        (ask("GET /v9/orders"), "api-version-unknown"),
        (ask("GET /vv1/orders"), "api-version-unknown"),
        (ask("GET /v01/orders"), "api-version-unknown"),
        (ask("GET /health/orders"), "api-version-unknown"),
        (ask("GET /orders"), "no-route"),
        (ask("GET /header"), "two"),
        (ask("GET /header").header("api-version", ""), "two"),
        (ask("GET /header").header("api-version", " 3 "), "three"),
        (ask("GET /header").header("api-version", "v3"), "three"),
        (
            ask("GET /header").header("api-version", "v4"),
            "api-version-unknown",
        ),
        (
            ask("GET /header").header("api-version", "v1"),
            "api-version-gone",
        ),
        (ask("GET /query?v=2"), "two"),
        (ask("GET /query?v=v1&v=2"), "one"),
        (ask("GET /query?v"), "api-version-missing"),
        (ask("GET /query"), "api-version-missing"),
        (ask("GET /query?v=%ff"), "api-version-unknown"),
    ];
    for (ask, expected) in table {
        assert_eq!(outcome(&snapshot, &ask), expected, "{ask:?}");
    }
    let media = |line: &str, accept: &str| outcome(&snapshot, &ask(line).header("accept", accept));
    let table = [
        ("application/vnd.shop.v1+json", "one"),
        ("application/vnd.shop.V2.raw+json; charset=utf-8", "two"),
        ("application/vnd.shop.2024-06-01+json", "three"),
        ("application/json; version=2", "two"),
        ("application/json;Version=\"v1\"", "one"),
        ("text/html, application/vnd.shop.v2+json;q=0.5", "two"),
        (
            "application/vnd.a.v1+json;q=0.5, application/vnd.a.v2+json;q=0.75",
            "two",
        ),
        (
            "application/vnd.a.v2+json;q=0, application/vnd.a.v1+json;q=0.001",
            "one",
        ),
        (
            "application/vnd.a.v9+json, application/vnd.a.v1+json;q=0.1",
            "one",
        ),
        ("application/vnd.a.v9+json, */*", "api-version-unacceptable"),
        ("application/json; version=9", "api-version-unacceptable"),
        ("application/vnd.a.v1+json;q=2", "api-version-missing"),
        ("application/vnd.visual+json", "api-version-missing"),
        ("application/v1+json", "api-version-missing"),
        ("*/*", "api-version-missing"),
        (";;=,,", "api-version-missing"),
    ];
    for (accept, expected) in table {
        assert_eq!(media("GET /media", accept), expected, "{accept}");
    }
    assert_eq!(media("GET /media-or", "*/*"), "one");
    let sent = ask("POST /media").header("content-type", "application/vnd.shop.v2+json");
    assert_eq!(outcome(&snapshot, &sent), "two");
    let both = sent.header("accept", "application/vnd.shop.v1+json");
    assert_eq!(outcome(&snapshot, &both), "one");
}

#[test]
fn weights_divide_within_a_version() {
    let snapshot = gateway(API);
    for (draw, service) in [(0, "two"), (1, "three"), (2, "two")] {
        let mut ask = ask("GET /v2/orders/7");
        ask.draw = draw;
        let admitted = ask.admit(&snapshot).unwrap();
        assert_eq!(service_of(&snapshot, &admitted), service);
        assert_eq!(version(&snapshot, &admitted), "v2");
        assert_eq!(ask.prepared(&snapshot).uri, "/orders/7");
    }
}

#[test]
fn responses_announce_what_becomes_of_their_version() {
    let snapshot = gateway(API);
    let service = [
        ("deprecation", "@1"),
        ("link", "</>; rel=\"next\""),
        ("vary", "origin"),
    ];
    let fields = |ask: &Ask| {
        let headers = settled(&snapshot, ask, &service, 200);
        let of = |name: &str| {
            let values = headers.get_all(name).iter();
            let values: Vec<_> = values.map(|value| value.to_str().unwrap()).collect();
            values.join(" | ")
        };
        ["deprecation", "sunset", "link", "vary"].map(of)
    };
    assert_eq!(
        fields(&ask("GET /v1/orders/7")),
        [
            "@1688169599",
            "Tue, 14 Nov 2023 22:13:20 GMT",
            "</>; rel=\"next\" | </changes>; rel=\"deprecation sunset\"",
            "origin",
        ]
    );
    assert_eq!(
        fields(&ask("GET /v2/orders/7")),
        ["@1", "", "</>; rel=\"next\"", "origin"]
    );
    assert_eq!(
        fields(&ask("GET /header").header("api-version", "3")),
        [
            "@4070908800",
            "",
            "</>; rel=\"next\"",
            "origin | api-version"
        ]
    );
    let accept = ask("GET /media").header("accept", "application/vnd.a.v1+json");
    assert_eq!(fields(&accept)[3], "origin | accept");
}

#[test]
fn a_version_is_gone_from_its_sunset_on() {
    let snapshot = gateway(API);
    let mut ask = ask("GET /header");
    assert_eq!(
        ask.at.unix_seconds, 1_700_000_000,
        "one second before the sunset of v2"
    );
    assert_eq!(outcome(&snapshot, &ask), "two");
    ask.at.unix_seconds += 1;
    let refusal = ask.admit(&snapshot).unwrap_err();
    assert_eq!(refusal.code.to_string(), "api-version-gone");
    assert_eq!(refusal.code.row().status, 410);
    let detail = refusal.detail.unwrap();
    assert_eq!(&*detail, "`v2` is gone since 2023-11-14T22:13:21Z");
    let told = ask.noted(&snapshot).1.steps;
    let told: Vec<_> = told.iter().filter(|step| step.area == "version").collect();
    assert_eq!(told[0].said, "`v2`, the default");
    assert_eq!(told[1].said, "`v2` is gone since 2023-11-14T22:13:21Z");
}

#[test]
fn what_makes_no_sense_is_refused() {
    let routes = |text: &str| {
        let yaml = format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
             services: {{ s: {{ endpoints: [\"127.0.0.1:1\"] }} }}\n\
             routes: [{{ path: /x, versions: {{ by: query.v, of: {{ {text} }} }} }}]\n"
        );
        let errors = compiled(&yaml, &weir_policy::snapshot::Role::Gateway).unwrap_err();
        let told = errors
            .0
            .iter()
            .map(|it| format!("{}: {}", it.path, it.problem));
        told.collect::<Vec<_>>()
    };
    assert_eq!(
        routes("v1: t, v2: [s, { service: u }]"),
        [
            "routes[0].versions.of.v1.to[0].service: there is no service `t`",
            "routes[0].versions.of.v2.to[1].service: there is no service `u`",
        ]
    );
}

#[test]
fn many_versions_cost_what_few_do() {
    let of: Vec<_> = (1..=100).map(|nr| format!("v{nr}: s")).collect();
    let yaml = format!(
        "listeners: {{ web: {{ bind: \"127.0.0.1:0\" }} }}\n\
         services: {{ s: {{ endpoints: [\"127.0.0.1:1\"] }} }}\n\
         routes: [{{ path: \"/{{v}}/x\", versions: {{ by: path.v, of: {{ {} }} }} }}]\n",
        of.join(", ")
    );
    let snapshot = gateway(&yaml);
    for nr in [1, 57, 100] {
        let admitted = ask(&format!("GET /v{nr}/x")).admit(&snapshot).unwrap();
        assert_eq!(version(&snapshot, &admitted), format!("v{nr}"));
    }
    assert_eq!(
        outcome(&snapshot, &ask("GET /v101/x")),
        "api-version-unknown"
    );
}
