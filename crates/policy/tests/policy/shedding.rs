//! Who is shed, and what is told of a request's class to the next proxy.

use weir_policy::refusal::Code;

use crate::bench::{ask, compiled, gateway, sidecar};
use weir_policy::snapshot::Role;

const DOCUMENT: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
trusted_proxies: ["10.0.0.0/8"]
services:
  s: { endpoints: ["127.0.0.1:1"], limits: { adaptive: { min: 4, max: 4 } } }
  fixed: { endpoints: ["127.0.0.1:1"], limits: { requests: 4 } }
routes:
  - { path: "/*", to: s, listeners: [web, mesh] }
  - { path: "/report", to: s, criticality: sheddable, listeners: [web, mesh] }
  - { path: "/pay", to: s, criticality: critical, listeners: [web, mesh] }
  - { path: "/fixed", to: fixed }
"#;

#[test]
fn each_class_has_its_share_of_the_adaptive_limit() {
    let snapshot = gateway(DOCUMENT);
    let held = |path: &str, count: usize| -> Vec<_> {
        let line = format!("GET {path}");
        let ask = || ask(&line).admit(&snapshot).unwrap();
        (0..count).map(|_| ask()).collect()
    };
    let refused = |path: &str| {
        let line = format!("GET {path}");
        ask(&line)
            .admit(&snapshot)
            .err()
            .map(|refusal| refusal.code)
    };
    // Of four: three for what is sheddable, four for the others (nine tenths, rounded up).
    let three = held("/pay", 3);
    assert_eq!(refused("/report"), Some(Code::Shed));
    assert_eq!((refused("/"), refused("/pay")), (None, None));
    let four = held("/", 1);
    assert_eq!(refused("/"), Some(Code::Shed));
    assert_eq!(refused("/pay"), Some(Code::Shed));
    let service = &snapshot.services[0];
    let shed = weir_config::criticality::Criticality::ALL.map(|it| service.live.shed_total(it));
    assert_eq!(shed, [1, 1, 1]);
    drop((three, four));
    assert_eq!((refused("/report"), service.live.in_flight()), (None, 0));

    // Without an adaptive limit all are equal.
    let _held = held("/fixed", 4);
    assert_eq!(refused("/fixed"), Some(Code::ServiceOverloaded));
}

#[test]
fn the_class_is_told_onwards_and_only_the_trusted_are_believed() {
    let told = |snapshot: &_, path: &str, remote: &str, claimed: &str| {
        let mut ask = ask(&format!("GET {path}")).from(remote);
        if !claimed.is_empty() {
            ask = ask.header("weir-criticality", claimed);
        }
        let head = ask.prepared(snapshot);
        let value = head.headers.get("weir-criticality");
        value.map(|value| value.to_str().unwrap().to_owned())
    };
    let edge = gateway(DOCUMENT);
    let mesh = sidecar(DOCUMENT);
    let (client, proxy) = ("192.0.2.1", "10.1.1.1");
    for (snapshot, path, remote, claimed, expected) in [
        (&edge, "/", client, "", None),
        (&edge, "/", client, "critical", None),
        (&edge, "/report", client, "critical", Some("sheddable")),
        (&edge, "/", proxy, "critical", Some("critical")),
        (&edge, "/pay", proxy, "sheddable", Some("sheddable")),
        (&edge, "/pay", proxy, "default", None),
        (&edge, "/pay", proxy, "vital", Some("critical")),
        (&mesh, "/", client, "", None),
        (&mesh, "/", client, "sheddable", Some("sheddable")),
        (&mesh, "/pay", client, "", Some("critical")),
        (&mesh, "/pay", client, "sheddable", Some("sheddable")),
    ] {
        let told = told(snapshot, path, remote, claimed);
        assert_eq!(told.as_deref(), expected, "{path} {remote} {claimed:?}");
    }
}

#[test]
fn a_class_that_changes_nothing_is_warned_of() {
    let document = DOCUMENT.replace("limits: { adaptive: { min: 4, max: 4 } }", "");
    let snapshot = compiled(&document, &Role::Gateway).unwrap();
    let warned: Vec<_> = snapshot
        .warnings
        .iter()
        .map(|it| it.path.as_str())
        .collect();
    assert_eq!(warned, ["routes[1].criticality", "routes[2].criticality"]);
    assert!(gateway(DOCUMENT).warnings.is_empty());
}
