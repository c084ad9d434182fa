//! What a document may not say, and how that is told.

use std::sync::Arc;

use weir_config::auth::Jwks;
use weir_config::route::Action;
use weir_config::{Located, Position};
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::Role;

use crate::bench::{ask, compiled, document, gateway, sidecar};

/// Every error as `line path: problem`; none may be missing, none more may be there.
fn check(yaml: &str, expected: &[&str]) {
    let application = "127.0.0.1:5000".parse().unwrap();
    for role in [
        Role::Gateway,
        Role::Sidecar {
            service: "s".into(),
            application,
        },
    ] {
        let errors = compiled(yaml, &role).map(|_| ()).unwrap_err();
        let told: Vec<_> = errors
            .0
            .iter()
            .map(|error| format!("{} {}: {}", error.at.line, error.path, error.problem))
            .collect();
        assert_eq!(told, expected, "{role:?}");
    }
}

#[test]
fn unknown_names_are_told_with_a_proposal() {
    let yaml = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { orders: { endpoints: ["127.0.0.1:1"] } }
issuers:
  shop: { issuer: "https://id.example", audience: a, jwks: { service: user } }
routes:
  - { path: /a, to: order }
  - { path: /b, to: orders, auth: { jwt: shopp } }
  - { path: /c, to: orders, listeners: [wob, mesh] }
"#;
    check(
        yaml,
        &[
            "5 issuers.shop.jwks.service: there is no service `user`",
            "7 routes[0].to[0].service: there is no service `order`",
            "8 routes[1].auth.jwt: there is no issuer `shopp`",
            "9 routes[2].listeners[0]: there is no listener `wob`",
        ],
    );
    let errors = compiled(yaml, &Role::Gateway).unwrap_err();
    let hints: Vec<_> = errors
        .0
        .iter()
        .map(|error| error.hint.clone().unwrap())
        .collect();
    assert_eq!(hints[1], "did you mean `orders`?");
    assert_eq!(hints[2], "did you mean `shop`?");
    assert_eq!(hints[3], "did you mean `web`?");
}

#[test]
fn routes_that_can_never_be_reached() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" }, admin: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: "/a/{x}", to: s }
  - { path: "/a/{y}", to: s, listeners: [web] }
  - { path: "/a/{y}", to: s, hosts: [a.example] }
  - { path: "/a/{y}", to: s, methods: [GET] }
  - { path: "/a/{y}", to: s, listeners: [mesh] }
  - { path: "/h", to: s, headers: { x-a: "1", x-b: true }, methods: [GET, POST] }
  - { path: "/h", to: s, headers: { x-b: true, x-a: "1" }, methods: [POST, GET, HEAD] }
"#,
        &[
            "6 routes[1]: never reached on the same listener: same as routes[0] at line 5",
            "11 routes[6]: never reached on the same listener: same as routes[5] at line 10",
        ],
    );
}

#[test]
fn weights_and_limits_that_cannot_be() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] }, inbound: { endpoints: ["127.0.0.1:2"] } }
routes:
  - { path: /a, to: s }
  - { path: /b, to: s, limit: { rate: 10/s, shared: all } }
  - { path: /c, to: s, limit: { rate: 20/s, shared: all } }
  - { path: /e, to: s, limit: { rate: 10/s, shared: all } }
"#,
        &[
            "3 services.inbound: `inbound` is the name of a sidecar's own application",
            "7 routes[2].limit[0]: the shared limit `all` has another rate or burst elsewhere",
        ],
    );
}

#[test]
fn header_variables_must_be_there() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - path: "/a/{id}"
    to: s
    request_headers: { set: { x-a: "{path.nr}", x-b: "{claim.sub}", x-c: "{path.id}" } }
    response_headers: { add: { x-d: "{nr}" } }
    rewrite: { path: "/{nr}/{path.id}", host: "{claim.tenant}.example" }
  - { path: "/b/*", redirect: { prefix: "/{nr}", host: "{x}" } }
  - path: { regex: "/c/(?P<id>.*)" }
    to: s
    rewrite: { path: { regex: "/c/(?P<id>.*)", with: "/d/$2" } }
  - path: /json
    respond: { status: 200, content_type: application/json, body: '{"n": {query.n}}' }
  - path: /script
    respond: { status: 200, content_type: text/javascript, body: 'let x = "{query.n}"' }
  - path: /own
    to: s
    response_headers: { set: { weir-reason: x }, remove: [weir-decision] }
"#,
        &[
            "7 routes[0].request_headers.set.x-a: the route's path has no parameter `nr`",
            "7 routes[0].request_headers.set.x-b: `{claim.sub}` needs a token, and this route asks \
             for none",
            "8 routes[0].response_headers.add.x-d: the route's path has no parameter `nr`",
            "9 routes[0].rewrite.path: the route's path has no parameter `nr`",
            "9 routes[0].rewrite.host: `{claim.tenant}` needs a token, and this route asks for none",
            "10 routes[1].redirect.prefix: the route's path has no parameter `nr`",
            "10 routes[1].redirect.host: the route's path has no parameter `x`",
            "13 routes[2].rewrite.path: the expression has no group `$2`",
            "15 routes[3].respond: `{query.n}` stands outside of quotes: in JSON a variable is part of \
             a text",
            "17 routes[4].respond: a body of type `text/javascript` can have no variables",
            "18 routes[5].response_headers.remove.weir-decision: `weir-decision` is written by Weir \
             itself and cannot be changed",
            "20 routes[5].response_headers.set.weir-reason: `weir-reason` is written by Weir itself and \
             cannot be changed",
        ],
    );
}

#[test]
fn keys_travel_encrypted_and_addresses_are_taken_once() {
    check(
        r#"
listeners:
  web: { bind: "127.0.0.1:8080" }
  other: { bind: "127.0.0.1:8080" }
issuers:
  near: { issuer: a, audience: a, jwks: "http://127.0.0.1:9/keys" }
  local: { issuer: a, audience: a, jwks: "http://[::1]:9/keys" }
"#,
        &["4 listeners.other.bind: listener `web` has the address 127.0.0.1:8080 already"],
    );
}

#[test]
fn a_document_that_was_not_decoded_is_checked_as_well() {
    let mut document = document(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
issuers: { far: { issuer: a, audience: a, jwks: "https://id.example/keys" } }
routes: [{ path: /a, to: s }]
"#,
    );
    document.issuers[0].1.jwks = Jwks::Url(Located {
        value: "http://id.example/keys".into(),
        at: Position { line: 1, column: 1 },
    });
    if let Action::To(destinations) = &mut document.routes[0].action {
        destinations[0].weight = 0;
    }
    let compiled = compile(Arc::new(document), &Role::Gateway, "r", &Live::default());
    let errors = compiled.map(|_| ()).unwrap_err();
    let told: Vec<_> = errors
        .0
        .iter()
        .map(|error| error.problem.as_str())
        .collect();
    assert_eq!(
        told,
        [
            "keys must not travel in clear text from `id.example`",
            "no destination has a weight above 0, so nothing could be sent"
        ]
    );
}

#[test]
fn a_proxy_header_is_about_one_client() {
    let service = |protocol: &str| {
        format!(
            "services:\n  app: {{ endpoints: [\"127.0.0.1:1\"], proxy_protocol: v1{protocol} }}\n"
        )
    };
    let problem = "an HTTP/2 connection is shared, and a PROXY header is about one client";
    let expected = format!("2 services.app.proxy_protocol: {problem}");
    check(&service(", protocol: http2"), &[&expected]);
    // Connections that begin otherwise are not shared over a reload.
    let class = |yaml: &str| gateway(yaml).services[0].connection_class;
    assert_eq!(class(&service("")), class(&service(", protocol: http1")));
    assert_ne!(class(&service("")), class(&service("").replace("v1", "v2")));
}

#[test]
fn names_are_made_and_unique() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: "/user/*", to: s }
  - { path: "/order/{id}", methods: [GET], to: s }
  - { path: /x, methods: [GET, POST], hosts: [a.example], to: s }
  - { path: /x, methods: [GET, POST], hosts: [b.example], to: s }
  - { path: /y, to: s }
  - { path: /y, to: s, headers: { x-a: "1" } }
  - { path: /y, to: s, headers: { x-a: "2" } }
  - { path: { regex: "/z+" }, to: s, name: "own" }
"#,
    );
    let names: Vec<_> = snapshot.routes.iter().map(|route| &*route.name).collect();
    assert_eq!(
        names,
        [
            "/user/*",
            "GET /order/{id}",
            "GET,POST a.example/x",
            "GET,POST b.example/x",
            "/y",
            "/y #2",
            "/y #3",
            "own"
        ]
    );
}

#[test]
fn what_looks_wrong_is_a_warning() {
    let snapshot = gateway(
        r#"
listeners:
  web: { bind: "127.0.0.1:0", tls: { self_signed: [shop.example] } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: /a, to: [{ service: s, weight: 5 }] }
"#,
    );
    let paths: Vec<_> = snapshot
        .warnings
        .iter()
        .map(|warning| warning.path.as_str())
        .collect();
    assert_eq!(
        paths,
        ["listeners.web.tls.self_signed", "routes[0].to[0].weight"]
    );
}

#[test]
fn live_state_outlives_snapshots() {
    let yaml = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes: [{ path: /x, to: s, limit: { rate: 1/m } }]
"#;
    let live = Live::default();
    let compile = |yaml: &str| {
        let document = Arc::new(document(yaml));
        compile(document, &Role::Gateway, "r", &live).unwrap()
    };
    let first = compile(yaml);
    assert_eq!(ask("GET /x").outcome(&first), "/x");
    let second = compile(&format!("{yaml}\n# changed\n"));
    live.retain(&second);
    drop(first);
    assert_eq!(
        ask("GET /x").outcome(&second),
        "rate-limited",
        "a reload refills no bucket"
    );
    assert_eq!(
        second.services[0].connection_class,
        compile(yaml).services[0].connection_class
    );
}

#[test]
fn every_example_compiles_for_every_role() {
    let examples = concat!(env!("CARGO_MANIFEST_DIR"), "/../../config/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path
            .extension()
            .is_some_and(|extension| extension == "yaml")
        {
            let yaml = std::fs::read_to_string(&path).unwrap();
            gateway(&yaml);
            sidecar(&yaml);
            seen += 1;
        }
    }
    assert!(seen > 0);
}

#[test]
fn hedging_that_would_never_happen_is_told() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services:
  a: { endpoints: ["127.0.0.1:1"], retry: { hedge: 15s } }
  b: { endpoints: ["127.0.0.1:1"], retry: { hedge: 100ms }, timeouts: { per_try: 1s } }
  c: { endpoints: ["127.0.0.1:1"], retry: { hedge: 14999ms } }
  s: { endpoints: ["127.0.0.1:1"] }
routes:
  - { path: /a, to: a }
  - { path: /b, to: b }
  - { path: /c, to: b, retry: { hedge: 1s } }
  - { path: /d, to: b, timeouts: { response: 100ms } }
  - { path: /e, to: b, timeouts: { response: 100ms }, retry: false }
  - { path: /f, to: b, timeouts: { response: 100ms }, retry: { hedge: false } }
  - { path: /g, to: s, retry: { hedge: { after: 20s, attempts: 3 } } }
  - { path: /h, to: s, retry: { hedge: { after: 14s, attempts: 3 } } }
"#,
        &[
            "4 services.a.retry.hedge: nothing is ever hedged: it waits 15s, and \
             `timeouts.response` ends the wait after 15s",
            "11 routes[2].retry.hedge: nothing is ever hedged: it waits 1s, and \
             `timeouts.per_try` ends the wait after 1s",
            "12 routes[3].retry.hedge: nothing is ever hedged: it waits 100ms, and \
             `timeouts.response` ends the wait after 100ms",
            "15 routes[6].retry.hedge: nothing is ever hedged: it waits 20s, and \
             `timeouts.response` ends the wait after 15s",
        ],
    );
}

#[test]
fn openapi_documents_with_faults() {
    let yaml = r##"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: /a, to: s, openapi: { inline: "openapi: 2.0" } }
  - { path: /b, to: s, openapi: { inline: "openapi: 3.1.0\npaths: { /a: { get: 1, put: 2 } }" } }
  - { path: /c, to: s, openapi: { inline: "openapi: 3.1.0\npaths: { /a: { get: 1, put: 2 } }" } }
"##;
    let errors = compiled(yaml, &Role::Gateway).map(|_| ()).unwrap_err();
    let told: Vec<_> = errors
        .0
        .iter()
        .map(|it| (it.at.line, it.path.as_str(), it.problem.as_str()))
        .collect();
    let inline = "routes[1].openapi.inline";
    let expected = [
        (
            5,
            "routes[0].openapi.inline",
            "the document at /openapi: the version is no text",
        ),
        (
            6,
            inline,
            "the document at /paths/~1a/get: expected an object",
        ),
        (
            6,
            inline,
            "the document at /paths/~1a/put: expected an object",
        ),
    ];
    assert_eq!(told, expected);
}

#[test]
fn values_that_nothing_could_fill() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: /a, to: s, transform: { request: { set: { /a: { b: ["{id}"] } } } } }
  - { path: /b, to: s, transform: { response: { set: { /a: 1, /b: "{claim.sub}" } } } }
"#,
        &[
            "5 routes[0].transform.request.set: the route's path has no parameter `id`",
            "6 routes[1].transform.response.set: `{claim.sub}` needs a token, and this route asks \
             for none",
        ],
    );
}
