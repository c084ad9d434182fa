//! Connections that are passed on: which entry takes one, which service, and what a document may
//! not say about them.

use std::net::{IpAddr, Ipv4Addr};

use serde_json::json;
use weir_policy::balance::{Members, Tried};
use weir_policy::explain::{Answer, ExplainRequest, Explanation, explain};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, FailureKind, Next};
use weir_policy::refusal::Code;
use weir_policy::snapshot::{Role, Snapshot};
use weir_policy::tunnel::{self, Connecting};

use crate::bench::{AT, ask, compiled, gateway};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));

const DOCUMENT: &str = r#"
listeners:
  db: { bind: "127.0.0.1:5432", tcp: { to: [{ service: one, weight: 3 }, two] } }
  edge:
    bind: "127.0.0.1:8443"
    sni:
      - { hosts: a.example, to: one }
      - { hosts: ["*.b.example", "x.c.example"], to: two }
      - { hosts: "*.deep.b.example", to: one, idle_timeout: 5m }
  all: { bind: "127.0.0.1:8444", sni: [{ hosts: "*", to: two }, { hosts: "a.example", to: one }] }
  mixed:
    bind: "127.0.0.1:8445"
    tls: { self_signed: [localhost] }
    sni: { hosts: a.example, to: one }
  web: { bind: "127.0.0.1:8080" }
services:
  one: { endpoints: ["10.0.0.1:1"], limits: { requests: 2 } }
  two: { endpoints: ["10.0.0.2:2", "10.0.0.3:2"], outlier: { consecutive: 1 } }
routes: [{ path: "/*", to: one }]
"#;

/// The service that takes a connection whose client asks for a name.
fn taker(snapshot: &Snapshot, listener: &str, name: Option<&str>) -> Option<String> {
    let id = snapshot.listener_named(listener).unwrap();
    let tunnels = &snapshot.listener(id).tunnels;
    let plan = tunnels.plan(tunnels.passed(name)?);
    let forward = tunnel::admit(snapshot, plan, CLIENT, AT, 0, &mut ()).unwrap();
    Some(snapshot.service(forward.service).name.to_string())
}

#[test]
fn the_most_specific_name_takes_a_connection() {
    let snapshot = gateway(DOCUMENT);
    let table = [
        ("edge", Some("a.example"), Some("one")),
        ("edge", Some("A.EXAMPLE"), Some("one")),
        ("edge", Some("a.example."), Some("one")),
        ("edge", Some("x.c.example"), Some("two")),
        ("edge", Some("y.b.example"), Some("two")),
        ("edge", Some("z.y.b.example"), Some("two")),
        ("edge", Some("y.deep.b.example"), Some("one")),
        ("edge", Some("deep.b.example"), Some("two")),
        ("edge", Some("b.example"), None),
        ("edge", Some("xb.example"), None),
        ("edge", Some("x.a.example"), None),
        ("edge", Some(""), None),
        ("edge", Some("."), None),
        ("edge", None, None),
        ("all", Some("a.example"), Some("one")),
        ("all", Some("anything"), Some("two")),
        ("all", None, Some("two")),
        ("web", Some("a.example"), None),
    ];
    for (listener, name, expected) in table {
        let found = taker(&snapshot, listener, name);
        assert_eq!(found.as_deref(), expected, "{listener} {name:?}");
    }
}

#[test]
fn shares_and_places() {
    let snapshot = gateway(DOCUMENT);
    let tunnels = &snapshot.listeners[0].tunnels;
    assert!(!tunnels.need_name());
    let plan = tunnels.plan(tunnels.rest().unwrap());
    assert_eq!(plan.idle_timeout.as_secs(), 3600);
    let admit = |draw| tunnel::admit(&snapshot, plan, CLIENT, AT, draw, &mut ());
    let services: Vec<_> = (0..4)
        .map(|draw| {
            snapshot
                .service(admit(draw).unwrap().service)
                .name
                .to_string()
        })
        .collect();
    assert_eq!(services, ["one", "one", "one", "two"]);
    // Two at once, and not a third.
    let held = (admit(0).unwrap(), admit(1).unwrap());
    assert_eq!(admit(2).unwrap_err().code, Code::ServiceOverloaded);
    drop(held);
    assert!(admit(2).is_ok());
}

#[test]
fn connecting_is_tried_again_elsewhere_and_tells_about_the_endpoint() {
    let snapshot = gateway(DOCUMENT);
    let tunnels = &snapshot.listeners[0].tunnels;
    let plan = tunnels.plan(tunnels.rest().unwrap());
    let forward = tunnel::admit(&snapshot, plan, CLIENT, AT, 3, &mut ()).unwrap();
    let service = snapshot.service(forward.service);
    let endpoints = ["10.0.0.2:2", "10.0.0.3:2"].map(weir_config::endpoint::Endpoint::plain);
    let members = Members::compile(service, &endpoints, AT);
    let mut tried = Tried::default();
    let choose = |tried: &Tried| {
        pipeline::choose(&snapshot, &forward, &members, tried, 0, AT, &mut ()).unwrap()
    };
    let first = choose(&tried);
    let judged = |chosen, number, failure| {
        let connecting = Connecting {
            chosen,
            number,
            began: AT,
            failure,
        };
        tunnel::judge(
            &snapshot,
            &forward,
            &connecting,
            Moment {
                nanos: AT.nanos + 1,
                ..AT
            },
            0,
        )
    };
    let Next::Retry { after } = judged(&first, 1, Some(FailureKind::Connect)) else {
        panic!()
    };
    assert!(after.is_zero());
    assert!(first.member.live.is_ejected(AT));
    tried.add(&first.member);
    let second = choose(&tried);
    assert_ne!(
        first.member.endpoint.address,
        second.member.endpoint.address
    );
    assert!(matches!(
        judged(&second, 2, Some(FailureKind::ConnectTimeout)),
        Next::GiveUp(refusal) if refusal.code == Code::ConnectTimeout
    ));
    assert_eq!(judged(&second, 2, None), Next::Deliver);
    assert!(!second.member.live.is_ejected(AT));
}

#[test]
fn a_connection_is_hashed_by_its_client_and_by_nothing_else() {
    let key = |balance: &str, client: &str| {
        let yaml = format!(
            r#"
listeners: {{ db: {{ bind: "127.0.0.1:5432", tcp: {{ to: one }} }} }}
services: {{ one: {{ endpoints: ["10.0.0.1:1", "10.0.0.2:1"], balance: {balance} }} }}
routes: []
"#
        );
        let snapshot = gateway(&yaml);
        let tunnels = &snapshot.listeners[0].tunnels;
        let plan = tunnels.plan(tunnels.rest().unwrap());
        let client = client.parse().unwrap();
        let forward = tunnel::admit(&snapshot, plan, client, AT, 0, &mut ()).unwrap();
        forward.asks.key
    };
    let by_client = |client| key("{ maglev: { by: client } }", client);
    assert!(by_client("192.0.2.7").is_some());
    assert_eq!(by_client("192.0.2.7"), by_client("192.0.2.7"));
    assert_ne!(by_client("192.0.2.7"), by_client("192.0.2.8"));
    assert_eq!(key("{ maglev: { by: header.x-user } }", "192.0.2.7"), None);
    assert_eq!(key("{ maglev: { by: path } }", "192.0.2.7"), None);
    assert_eq!(key("least-request", "192.0.2.7"), None);
}

#[test]
fn routes_are_where_http_is() {
    let snapshot = gateway(DOCUMENT);
    let on = |listener: u16| {
        let mut request = ask("GET /x");
        request.listener = listener;
        request
            .admit(&snapshot)
            .map(|_| ())
            .map_err(|refusal| refusal.code)
    };
    let found: Vec<_> = (0..5).map(on).collect();
    let none = Err(Code::NoRoute);
    assert_eq!(found, [none, none, none, Ok(()), Ok(())]);
}

#[test]
fn what_a_document_may_not_say() {
    let yaml = r#"
listeners:
  db: { bind: "127.0.0.1:1", tcp: { to: ones } }
  edge: { bind: "127.0.0.1:2", sni: [{ hosts: [a.example, "*.b"], to: one }, { hosts: A.example, to: far }] }
services:
  one: { endpoints: ["10.0.0.1:1"] }
  far: { mesh: far }
routes:
  - { path: /x, to: one, listeners: [edge] }
  - { path: "/*", methods: [CONNECT], to: [one, far, nobody] }
"#;
    let errors = compiled(yaml, &Role::Gateway).unwrap_err();
    let told: Vec<_> = errors
        .0
        .iter()
        .map(|error| format!("{} {}: {}", error.at.line, error.path, error.problem))
        .collect();
    assert_eq!(
        told,
        [
            "3 listeners.db.tcp.to[0].service: there is no service `ones`",
            "4 listeners.edge.sni[1].hosts: `a.example` is taken in line 4",
            "4 listeners.edge.sni[1].to[0].service: `far` is in the mesh, where sidecars take HTTP only",
            "9 routes[0].listeners[0]: listener `edge` carries no HTTP",
            "10 routes[1].to[1].service: `far` is in the mesh, where sidecars take HTTP only",
            "10 routes[1].to[2].service: there is no service `nobody`",
        ]
    );
    assert_eq!(errors.0[0].hint.as_deref(), Some("did you mean `one`?"));
}

fn explained(url: &str) -> Explanation {
    let request = ExplainRequest {
        url: url.to_owned(),
        ..ExplainRequest::default()
    };
    explain(&gateway(DOCUMENT), &request, |_| None, AT).unwrap()
}

#[test]
fn connections_are_explained() {
    let explanation = explained("tcp://127.0.0.1:5432");
    assert_eq!(explanation.listener, "db");
    let forwarded = |service: &str, endpoint: &str| Answer::Forwarded {
        service: service.into(),
        endpoint: Some(endpoint.into()),
    };
    assert_eq!(explanation.answer, forwarded("one", "10.0.0.1:1"));
    let explanation = explained("tls://y.deep.b.example:8443");
    assert_eq!(explanation.answer, forwarded("one", "10.0.0.1:1"));
    let step = serde_json::to_value(&explanation.steps[1]).unwrap();
    let said = "`y.deep.b.example` is passed on closed";
    assert_eq!(
        step,
        json!({"area": "sni", "said": said, "line": 9, "column": 9})
    );
    let Answer::Refused { code, .. } = explained("tls://other.example:8443").answer else {
        panic!()
    };
    assert_eq!(code, "sni-unknown");

    let request = ExplainRequest {
        url: "tls://shop.example:8445".into(),
        ..ExplainRequest::default()
    };
    let fault = explain(&gateway(DOCUMENT), &request, |_| None, AT).unwrap_err();
    assert_eq!(
        fault.to_string(),
        "such a connection to listener `mixed` carries HTTP: ask about a request, `GET https://…`"
    );
}
