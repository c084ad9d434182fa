//! Explanations say what the phases do, and spend nothing.

use serde_json::json;
use weir_policy::explain::{Answer, ExplainRequest, Explanation, explain};
use weir_policy::snapshot::Snapshot;

use crate::bench::{AT, ask, gateway, sidecar};

const SHOP: &str = r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services:
  users: { endpoints: ["10.0.0.5:5000"], timeouts: { connect: 1s } }
  orders: { endpoints: ["10.0.0.6:5001"] }
  orders-v2: { dns: "orders.example:80" }
issuers:
  shop: { issuer: "https://id.example", audience: shop-api, jwks: "https://id.example/jwks" }
routes:
  - { path: "/user/*", to: users, timeouts: { response: 3s }, rewrite: { path: / } }
  - path: "/order/{id}"
    methods: [GET]
    auth: { jwt: shop, claims: { role: buyer } }
    limit: { rate: 1/m, by: claim.sub }
    to: [{ service: orders, weight: 95 }, { service: orders-v2, weight: 5 }]
  - { path: /other, hosts: [other.example], to: users }
"#;

fn explained(snapshot: &Snapshot, request: &ExplainRequest) -> Explanation {
    let explanation = explain(snapshot, request, |_| None, AT).unwrap();
    let text = serde_json::to_string(&explanation).unwrap();
    let back: Explanation = serde_json::from_str(&text).unwrap();
    assert_eq!(back, explanation, "it survives its journey");
    explanation
}

fn get(url: &str) -> ExplainRequest {
    ExplainRequest {
        url: url.into(),
        ..ExplainRequest::default()
    }
}

fn said<'e>(explanation: &'e Explanation, area: &str) -> Vec<(&'e str, u32)> {
    let steps = explanation.steps.iter().filter(|step| step.area == area);
    steps
        .map(|step| (step.said.as_str(), step.at.line))
        .collect()
}

#[test]
fn a_forwarded_request() {
    let explanation = explained(&gateway(SHOP), &get("http://shop.example:8080/user//7?x=1"));
    assert!(explanation.is_allowed());
    assert_eq!(explanation.route.as_deref(), Some("/user/*"));
    assert_eq!(
        said(&explanation, "path"),
        [("/user//7 becomes /user/7", 2)]
    );
    assert_eq!(
        said(&explanation, "route"),
        [("`/user/*` matches /user/*", 10)]
    );
    let timeouts = said(&explanation, "timeouts");
    assert_eq!(timeouts[0], ("connect 1s, the service says so", 4));
    assert_eq!(timeouts[1], ("response 3s, the route says so", 10));
    assert_eq!(timeouts[2], ("per try none, by default", 0));
    let upstream = explanation.upstream.as_ref().unwrap();
    assert_eq!(upstream.target, "/7?x=1");
    let endpoint = Some("10.0.0.5:5000".to_owned());
    assert_eq!(
        explanation.answer,
        Answer::Forwarded {
            service: "users".into(),
            endpoint
        }
    );
    let text = explanation.to_string();
    assert!(text.contains("line 10  route"), "{text}");
    assert!(
        text.ends_with("=> forwarded to `users` at 10.0.0.5:5000"),
        "{text}"
    );
}

#[test]
fn refusals_and_near_misses() {
    let snapshot = gateway(SHOP);
    let code = |request: &ExplainRequest| match explained(&snapshot, request).answer {
        Answer::Refused { code, .. } => code,
        answer => panic!("{answer}"),
    };
    assert_eq!(code(&get("/order/1")), "token-missing");
    assert_eq!(code(&get("/order/a%2Fb")), "bad-path");
    let delete = ExplainRequest {
        method: "DELETE".into(),
        ..get("/order/1")
    };
    assert_eq!(code(&delete), "method-not-allowed");
    let near = explained(&snapshot, &delete);
    let near = said(&near, "near-miss");
    assert_eq!(
        near,
        [(
            "route `GET /order/{id}`: method DELETE is not GET, HEAD",
            11
        )]
    );
    let elsewhere = explained(&snapshot, &get("/other"));
    let near = said(&elsewhere, "near-miss");
    assert_eq!(near.len(), 1);
    assert!(
        near[0]
            .0
            .starts_with("route `/other` has this path, but is for host other.example")
    );
}

#[test]
fn routes_that_stand_further_down_are_told() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: { s: { endpoints: ["10.0.0.5:5000"] } }
routes:
  - { name: a, path: "/x/{id}", cookies: { a: "1" }, to: s }
  - { name: b, path: "/x/{nr}", cookies: { b: "1" }, to: s }
  - { name: plain, path: "/x/*", to: s }
"#,
    );
    let mut request = get("/x/7");
    request.headers.push(("cookie".into(), "b=1; a=1".into()));
    let explanation = explained(&snapshot, &request);
    assert_eq!(
        said(&explanation, "route"),
        [
            ("`a` matches /x/{id}", 5),
            (
                "`b` would take it as well and is as specific; it stands further down",
                6
            ),
        ]
    );
    request.headers[0].1 = "b=1; a=2".into();
    let explanation = explained(&snapshot, &request);
    assert_eq!(said(&explanation, "route"), [("`b` matches /x/{nr}", 6)]);
    let near = said(&explanation, "near-miss");
    assert_eq!(near, [("route `a`: cookie `a` is not `1`", 5)]);
}

#[test]
fn claims_can_be_assumed_and_nothing_is_spent() {
    let snapshot = gateway(SHOP);
    let claims = |role: &str| match json!({ "sub": "ann", "role": role }) {
        serde_json::Value::Object(map) => Some(map),
        _ => None,
    };
    let mut request = get("/order/1");
    request.assume_claims = claims("buyer");
    for _ in 0..5 {
        let explanation = explained(&snapshot, &request);
        assert!(explanation.is_allowed(), "{explanation}");
        assert_eq!(
            said(&explanation, "limit")[0].0,
            "1/m by claim.sub, here ann: there is room"
        );
        assert!(said(&explanation, "auth")[0].0.contains("assumed"));
    }
    let shares = explained(&snapshot, &request);
    assert_eq!(
        said(&shares, "service")[1].0,
        "`orders` gets 95.0000 % of the requests"
    );
    request.draw = 95;
    let unknown = explained(&snapshot, &request);
    assert_eq!(
        unknown.answer,
        Answer::Forwarded {
            service: "orders-v2".into(),
            endpoint: None
        }
    );
    request.assume_claims = claims("guest");
    match explained(&snapshot, &request).answer {
        Answer::Refused { code, status, .. } => {
            assert_eq!((code.as_str(), status), ("claim-denied", 403))
        }
        answer => panic!("{answer}"),
    }
}

#[test]
fn questions_that_cannot_be_understood() {
    let snapshot = gateway(SHOP);
    let fault = |request: &ExplainRequest| explain(&snapshot, request, |_| None, AT).unwrap_err();
    for url in ["", "user/7", "ftp://x/", "http:///x"] {
        assert!(
            fault(&get(url))
                .to_string()
                .contains("is not `http://host/path`"),
            "{url}"
        );
    }
    let listener = ExplainRequest {
        listener: Some("wob".into()),
        ..get("/")
    };
    assert_eq!(
        fault(&listener).to_string(),
        "there is no listener `wob`; there is `web`"
    );
}

#[test]
fn a_sidecar_explains_what_leaves_it() {
    let explanation = explained(&sidecar(SHOP), &get("http://orders/x"));
    assert_eq!(explanation.listener, "mesh");
    assert_eq!(explanation.route.as_deref(), Some("mesh/orders"));
    assert!(explanation.is_allowed());
    let inbound = ExplainRequest {
        listener: Some("inbound".into()),
        ..get("/x")
    };
    assert!(!explained(&sidecar(SHOP), &inbound).is_allowed());
}

#[test]
fn an_explanation_agrees_with_the_proxy() {
    let snapshot = gateway(SHOP);
    for line in [
        "GET /user/1",
        "GET /order/1",
        "PUT /order/1",
        "GET /other",
        "GET /..",
        "GET /",
    ] {
        let (method, url) = line.split_once(' ').unwrap();
        let request = ExplainRequest {
            method: method.into(),
            ..get(url)
        };
        let explanation = explained(&snapshot, &request);
        let told = match (&explanation.answer, &explanation.route) {
            (Answer::Refused { code, .. }, _) => code.clone(),
            (_, route) => route.clone().unwrap(),
        };
        assert_eq!(told, ask(line).outcome(&snapshot), "{line}");
    }
}

#[test]
fn proxy_headers_on_both_sides() {
    let yaml = r#"
listeners: { web: { bind: "127.0.0.1:8080", proxy_protocol: { from: [10.0.0.0/8, "fd00::/8"] } } }
services: { users: { endpoints: ["10.0.0.5:5000"], proxy_protocol: v2 } }
routes: [{ path: "/*", to: users }]
"#;
    let explanation = explained(&gateway(yaml), &get("/x"));
    let listener = said(&explanation, "listener")[0].0;
    assert!(
        listener.contains("behind PROXY headers from 10.0.0.0/8, fd00::/8 alone"),
        "{listener}"
    );
    let service = said(&explanation, "service");
    let announced = "its connections begin with a PROXY v2 header and carry one request";
    assert!(service.contains(&(announced, 3)), "{service:?}");
}

#[test]
fn header_names_with_underscores_are_held_to_the_rule_of_the_listener() {
    let snapshot = |rule: &str| {
        gateway(&format!(
            "listeners: {{ web: {{ bind: \"[::]:80\"{rule} }} }}\n\
             routes: [{{ path: /a, respond: {{ status: 200 }} }}]"
        ))
    };
    let question = ExplainRequest {
        headers: vec![("x_a".into(), "1".into())],
        ..get("/a")
    };
    let dropped = explained(&snapshot(""), &question);
    assert!(dropped.is_allowed());
    assert_eq!(said(&dropped, "headers").len(), 1);
    let rejected = explained(&snapshot(", headers_with_underscores: reject"), &question);
    assert!(matches!(rejected.answer, Answer::Refused { code, .. } if code == "bad-header"));
    let allowed = explained(&snapshot(", headers_with_underscores: allow"), &question);
    assert!(allowed.is_allowed() && said(&allowed, "headers").is_empty());
}

#[test]
fn hedging_is_told_with_the_line_that_says_so() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services:
  a: { endpoints: ["10.0.0.5:5000"], retry: { hedge: 100ms } }
routes:
  - { path: /a, to: a }
  - { path: /b, to: a, retry: { attempts: 0, hedge: { after: 50ms, attempts: 3 } } }
  - { path: /c, to: a, retry: false }
"#,
    );
    let hedge = |method: &str, path: &str| {
        let request = ExplainRequest {
            method: method.into(),
            ..get(path)
        };
        let explanation = explained(&snapshot, &request);
        let hedge = said(&explanation, "hedge");
        hedge.first().map(|(said, line)| format!("{line} {said}"))
    };
    assert_eq!(
        hedge("GET", "/a").unwrap(),
        "4 up to 1 more attempts at other endpoints, each after 100ms without an answer, \
         the service says so"
    );
    assert_eq!(
        hedge("PUT", "/b").unwrap(),
        "7 up to 3 more attempts at other endpoints, each after 50ms without an answer, \
         the route says so"
    );
    assert!(hedge("POST", "/a").unwrap().starts_with("4 not hedged: "));
    assert_eq!(hedge("GET", "/c"), None);
    let explanation = explained(&snapshot, &get("/b"));
    let retry = said(&explanation, "retry");
    assert!(
        retry.iter().any(|(said, _)| said.starts_with("budget 20%")),
        "it holds for hedges too: {retry:?}"
    );
}

#[test]
fn an_api_that_is_known() {
    let yaml = r##"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - path: /pets
    to: s
    openapi:
      mode: report
      inline: |
        openapi: 3.1.0
        paths:
          /pets:
            get: { parameters: [{ name: limit, in: query, schema: { type: integer } }] }
            post: { requestBody: { content: { application/json: { schema: {} } } } }
  - { path: "/far/*", to: s, openapi: elsewhere.yaml }
  - { path: "/mock/*", mock: true, openapi: elsewhere.yaml }
"##;
    let snapshot = gateway(yaml);
    let fine = explained(&snapshot, &get("/pets?limit=1"));
    let expected = [("it is `GET /pets`, and its parameters are in order", 8)];
    assert_eq!(said(&fine, "openapi"), expected);
    let wrong = explained(&snapshot, &get("/pets?limit=x"));
    let told = said(&wrong, "openapi");
    let would = "it would be refused: openapi-parameter (400): query parameter `limit` must be an \
                 integer";
    assert_eq!(told[1].0, would, "{told:?}");
    assert!(wrong.is_allowed());
    let post = ExplainRequest {
        method: "POST".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        ..get("/pets")
    };
    let posted = explained(&snapshot, &post);
    let told = said(&posted, "openapi");
    assert!(told[1].0.contains("at most 1048576 bytes"), "{told:?}");
    for path in ["/far/x", "/mock/x"] {
        let far = explained(&snapshot, &get(path));
        let told = said(&far, "openapi");
        assert!(told[0].0.contains("at the proxies only"), "{told:?}");
        assert!(far.is_allowed(), "{far:?}");
    }
}

#[test]
fn changes_of_bodies() {
    let yaml = r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - path: "/a/{id}"
    to: s
    transform:
      request: { remove: [/x, /y/0], rename: { /b: /c }, set: { /id: "{id}" } }
      response: { set: { /v: 1 }, body_bytes_max: 2KiB }
"#;
    let snapshot = gateway(yaml);
    let plain = explained(&snapshot, &get("/a/7"));
    let response = ("a response leaves with another `/v`, at most 2048 bytes", 9);
    assert_eq!(said(&plain, "transform"), [response]);
    let upstream = plain.upstream.unwrap();
    assert!(
        upstream
            .headers
            .contains(&("accept-encoding".into(), "identity".into()))
    );
    let post = ExplainRequest {
        method: "POST".into(),
        headers: vec![("content-type".into(), "application/json".into())],
        ..get("/a/7")
    };
    let posted = explained(&snapshot, &post);
    let request = "its body leaves without `/x`, `/y/0`, `/b` as `/c`, with another `/id`, at most \
                   1048576 bytes";
    assert_eq!(said(&posted, "transform"), [(request, 8), response]);
}
