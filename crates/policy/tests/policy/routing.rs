//! Which route takes a request.

use weir_policy::snapshot::Action;

use crate::bench::{ask, gateway, service_of, sidecar};

fn check(yaml: &str, table: &[(&str, &str)]) {
    let snapshot = gateway(yaml);
    for (line, expected) in table {
        assert_eq!(ask(line).outcome(&snapshot), *expected, "{line}");
    }
}

#[test]
fn paths_by_precedence() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: regex, path: { regex: "/a/[0-9]+" }, to: s }
  - { name: root, path: "/*", to: s }
  - { name: below-a, path: "/a/*", to: s }
  - { name: below-param, path: "/a/{x}/*", to: s }
  - { name: below-ab, path: "/a/b/*", to: s }
  - { name: param, path: "/a/{x}", to: s }
  - { name: param-c, path: "/a/{x}/c", to: s }
  - { name: b-param, path: "/a/b/{y}", to: s }
  - { name: exact, path: "/a/b", to: s }
"#,
        &[
            ("GET /", "root"),
            ("GET /x", "root"),
            ("GET /ab", "root"),
            ("GET /a", "below-a"),
            ("GET /a/", "below-a"),
            ("GET /a/b", "exact"),
            ("GET /a/7", "param"),
            ("GET /a/b/c", "b-param"),
            ("GET /a/x/c", "param-c"),
            ("GET /a/x/d", "below-param"),
            ("GET /a/b/", "below-ab"),
            ("GET /a/b/c/d", "below-ab"),
            ("GET /a/x/", "below-param"),
            ("GET /%61/%62", "exact"),
            ("GET //a//b", "exact"),
            ("GET /x/../a/b", "exact"),
        ],
    );
}

#[test]
fn a_walk_that_leads_nowhere_is_taken_back() {
    check(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: literal, path: "/a/b/c", to: s }
  - { name: params, path: "/{x}/{y}/d", to: s }
  - { name: mixed, path: "/a/{y}/e", to: s }
  - { name: deep, path: "/{x}/b/e/*", to: s }
  - { name: regex, path: { regex: "/[a-z/]+" }, to: s }
"#,
        &[
            ("GET /a/b/c", "literal"),
            ("GET /a/b/d", "params"),
            ("GET /a/b/e", "mixed"),
            ("GET /z/b/e", "deep"),
            ("GET /a/b/e/f", "deep"),
            ("GET /a/b/f", "regex"),
            ("GET /a/b/9", "no-route"),
        ],
    );
}

#[test]
fn hosts_by_precedence_with_fallback() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: any, path: "/*", to: s }
  - { name: suffix, hosts: ["*.example"], path: "/s/*", to: s }
  - { name: longer, hosts: ["*.shop.example"], path: "/l/*", to: s }
  - { name: exact, hosts: [a.shop.example], path: "/e/*", to: s }
  - { name: both, hosts: [a.shop.example, b.shop.example], path: "/both", to: s }
"#,
    );
    let table = [
        ("a.shop.example", "/e/1", "exact"),
        ("A.Shop.Example.:8080", "/e/1", "exact"),
        ("a.shop.example", "/l/1", "longer"),
        ("a.shop.example", "/s/1", "suffix"),
        ("a.shop.example", "/x", "any"),
        ("b.shop.example", "/e/1", "any"),
        ("b.shop.example", "/both", "both"),
        ("shop.example", "/l/1", "any"),
        ("shop.example", "/s/1", "suffix"),
        ("example", "/s/1", "any"),
        ("10.0.0.1", "/s/1", "any"),
        ("a b", "/", "bad-host"),
        ("", "/", "bad-host"),
    ];
    for (host, path, expected) in table {
        let ask = ask(&format!("GET {path}")).header("host", host);
        assert_eq!(ask.outcome(&snapshot), expected, "{host} {path}");
    }
}

#[test]
fn conditions_decide_between_equal_paths() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: plain, path: "/x", to: s }
  - { name: office, path: "/x", clients: ["10.0.0.0/8"], to: s }
  - { name: query, path: "/x", query: { v: "2" }, to: s }
  - { name: header, path: "/x", headers: { x-beta: true }, to: s }
  - { name: two-headers, path: "/x", headers: { x-beta: true, x-gamma: "1" }, to: s }
  - { name: get, path: "/x", methods: [GET], headers: { x-old: { prefix: "y" } }, to: s }
"#,
    );
    let table = [
        (ask("GET /x"), "plain"),
        (ask("GET /x").from("10.1.2.3"), "office"),
        (ask("GET /x?v=2").from("10.1.2.3"), "query"),
        (ask("GET /x?v=1"), "plain"),
        (ask("GET /x?v=2").header("x-beta", ""), "header"),
        (
            ask("POST /x").header("x-beta", "").header("x-gamma", "1"),
            "two-headers",
        ),
        (
            ask("GET /x").header("x-old", "yes").header("x-beta", ""),
            "get",
        ),
        (ask("HEAD /x").header("x-old", "yes"), "get"),
        (ask("POST /x").header("x-old", "yes"), "plain"),
    ];
    for (ask, expected) in table {
        assert_eq!(ask.outcome(&snapshot), expected, "{ask:?}");
    }
}

#[test]
fn more_conditions_and_narrower_ones_go_first() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: any, path: "/x", to: s }
  - { name: net8, path: "/x", clients: ["10.0.0.0/8"], to: s }
  - { name: net16, path: "/x", clients: ["10.1.0.0/16"], to: s }
  - { name: net6, path: "/x", clients: ["2001:db8::/32"], to: s }
  - { name: some-beta, path: "/x", cookies: { beta: true }, to: s }
  - { name: beta-2, path: "/x", cookies: { beta: "2" }, to: s }
  - { name: beta-at-home, path: "/x", cookies: { beta: true }, clients: ["10.0.0.0/8"], to: s }
  - { name: two, path: "/x", cookies: { beta: true, b: { prefix: x } }, to: s }
  - { name: query, path: "/x", query: { beta: true }, to: s }
  - { name: writing, path: "/x", methods: [PUT, POST], to: s }
  - { name: posting, path: "/x", methods: [POST], to: s }
"#,
    );
    let table = [
        (ask("GET /x"), "any"),
        (ask("GET /x").from("10.2.0.1"), "net8"),
        (ask("GET /x").from("10.1.0.1"), "net16"),
        (ask("GET /x").from("2001:db8::1"), "net6"),
        (ask("GET /x").header("cookie", "beta=1"), "some-beta"),
        (ask("GET /x").header("cookie", "a=1; beta=2"), "beta-2"),
        (
            ask("GET /x")
                .header("cookie", "a=1")
                .header("cookie", "beta=\"2\""),
            "beta-2",
        ),
        (ask("GET /x").header("cookie", "Beta=2"), "any"),
        (
            ask("GET /x").from("10.2.0.1").header("cookie", "beta=2"),
            "beta-2",
        ),
        (
            ask("GET /x").from("10.2.0.1").header("cookie", "beta=3"),
            "beta-at-home",
        ),
        (ask("GET /x").header("cookie", "beta=2; b=xy"), "two"),
        (ask("GET /x?beta").header("cookie", "beta=2; b=xy"), "query"),
        (ask("PUT /x"), "writing"),
        (ask("POST /x").header("cookie", "beta=2"), "posting"),
    ];
    for (ask, expected) in table {
        assert_eq!(ask.outcome(&snapshot), expected, "{ask:?}");
    }
}

#[test]
fn routes_between_which_file_order_decides_are_warned_about() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" }, other: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: a, path: "/x/{id}", headers: { x-a: "1" }, to: s }
  - { name: b, path: "/x/{nr}", headers: { x-b: "1" }, to: s }
  - { name: a2, path: "/x/{id}", headers: { x-a: "2" }, hosts: [h.example], to: s }
  - { name: a3, path: "/x/{id}", headers: { x-a: "3" }, listeners: [other], to: s }
  - { name: post, path: "/y", methods: [POST], to: s }
  - { name: put, path: "/y", methods: [PUT], to: s }
  - { name: north, path: "/y", clients: ["10.0.0.0/16"], to: s }
  - { name: south, path: "/y", clients: ["10.1.0.0/16"], to: s }
  - { name: one, path: "/z", query: { v: { prefix: a } }, to: s }
  - { name: two, path: "/z", query: { v: { prefix: ab } }, to: s }
"#,
    );
    let warned: Vec<_> = snapshot
        .warnings
        .iter()
        .map(|warning| (warning.path.as_str(), warning.problem.as_str()))
        .collect();
    let said = |nr: u32, line: u32| {
        format!(
            "a request can meet both this and routes[{nr}] at line {line}; neither is more \
             specific, so the one that stands first takes it"
        )
    };
    assert_eq!(
        warned,
        [
            ("routes[1]", said(0, 5).as_str()),
            ("routes[3]", said(1, 6).as_str()),
            ("routes[9]", said(8, 13).as_str()),
        ]
    );
}

#[test]
fn only_the_method_is_wrong() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: "/x", methods: [GET], to: s }
  - { path: "/x", methods: [PUT, PURGE], to: s }
  - { path: "/x", methods: [PATCH], headers: { x-beta: true }, to: s }
"#,
    );
    let refusal = ask("DELETE /x").admit(&snapshot).unwrap_err();
    assert_eq!(refusal.code.as_str(), "method-not-allowed");
    assert_eq!(refusal.allow.as_deref(), Some("GET, HEAD, PUT, PURGE"));
    assert_eq!(ask("DELETE /y").outcome(&snapshot), "no-route");
    assert_eq!(ask("PURGE /x").outcome(&snapshot), "PUT,PURGE /x");
}

#[test]
fn near_misses_are_told() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: beta, path: "/x", headers: { x-beta: "on" }, to: s }
  - { name: plain, path: "/x", to: s }
"#,
    );
    let (admitted, recorder) = ask("GET /x").noted(&snapshot);
    assert_eq!(&*snapshot.route(admitted.unwrap().route).name, "plain");
    let near: Vec<_> = recorder
        .steps
        .iter()
        .filter(|step| step.area == "near-miss")
        .collect();
    assert_eq!(near.len(), 1);
    assert_eq!(near[0].said, "route `beta`: header `x-beta` is not `on`");
    assert_eq!(near[0].at.line, 5);
}

#[test]
fn listeners_have_their_own_routes() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" }, admin: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: everywhere, path: "/*", to: s }
  - { name: admin, path: "/admin", listeners: [admin], to: s }
  - { name: mesh, path: "/mesh", listeners: [mesh], to: s }
"#,
    );
    let on = |listener, line: &str| {
        let mut ask = ask(line);
        ask.listener = listener;
        ask.outcome(&snapshot)
    };
    assert_eq!(on(0, "GET /admin"), "everywhere");
    assert_eq!(on(1, "GET /admin"), "admin");
    assert_eq!(on(1, "GET /mesh"), "everywhere");
    assert_eq!(snapshot.routes.len(), 2);
}

#[test]
fn a_sidecar_reaches_services_by_name_and_takes_peers_only() {
    let snapshot = sidecar(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { users: { mesh: users }, orders: { mesh: orders } }
routes:
  - { name: edge, path: "/*", to: users }
  - { name: special, path: "/special/*", listeners: [mesh], to: users }
"#,
    );
    let out = |host: &str, path: &str| {
        let ask = ask(&format!("GET {path}")).header("host", host);
        match ask.admit(&snapshot) {
            Ok(admitted) => service_of(&snapshot, &admitted),
            Err(refusal) => refusal.code.to_string(),
        }
    };
    assert_eq!(out("orders", "/x"), "orders");
    assert_eq!(out("orders.mesh:80", "/x//y"), "orders");
    assert_eq!(
        out("orders", "/special/x"),
        "users",
        "the document's routes are asked first"
    );
    assert_eq!(out("elsewhere", "/x"), "no-route");

    let mut inbound = ask("POST /anything");
    inbound.listener = 1;
    inbound.body_bytes = Some(u64::MAX - 1);
    assert_eq!(inbound.outcome(&snapshot), "peer-required");
    inbound.peer = Some("spiffe://weir.internal/service/orders");
    assert_eq!(inbound.outcome(&snapshot), "inbound");
    assert_eq!(
        service_of(&snapshot, &inbound.admit(&snapshot).unwrap()),
        "inbound"
    );

    let unsent_only = snapshot.routes.iter().map(|route| match &route.action {
        Action::Forward(destinations) => destinations[0].retry.unsent_only,
        Action::Mock | Action::Redirect(_) | Action::Respond(_) => {
            unreachable!("every route here forwards")
        }
    });
    assert_eq!(
        unsent_only.collect::<Vec<_>>(),
        [false, false, false, true],
        "nothing is sent to the application twice: special, users, orders, inbound"
    );
}

#[test]
fn attacks_on_the_path_never_reach_a_route() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: admin, path: "/admin/*", clients: ["10.0.0.0/8"], to: s }
  - { name: public, path: "/public/*", to: s }
"#,
    );
    let table = [
        ("GET /public/../admin/x", "no-route"),
        ("GET /public/%2e%2e/admin/x", "no-route"),
        ("GET /public/..%2fadmin/x", "bad-path"),
        ("GET /public/..;/admin/x", "bad-path"),
        ("GET /public/%2e%2e%5cadmin", "bad-path"),
        ("GET //admin/x", "no-route"),
        ("GET /./admin/x", "no-route"),
        ("GET /%61dmin/x", "no-route"),
        ("GET /public/a%00b", "bad-path"),
        ("GET *", "bad-path"),
        ("GET /../public/x", "bad-path"),
        ("GET /public/x", "public"),
    ];
    for (line, expected) in table {
        assert_eq!(ask(line).outcome(&snapshot), expected, "{line}");
    }
}

#[test]
fn tunnels_have_routes_of_their_own() {
    let snapshot = gateway(
        r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { name: db, hosts: [db.internal], path: "/*", methods: [CONNECT], to: s }
  - { name: rest, path: "/*", to: s }
  - { name: purge, hosts: [db.internal], path: "/*", methods: [PURGE], to: s }
"#,
    );
    for (method, host, expected) in [
        ("CONNECT", "db.internal:5432", "db"),
        ("CONNECT", "other.internal:5432", "connect-refused"),
        ("GET", "db.internal", "rest"),
        ("PURGE", "db.internal", "purge"),
    ] {
        let asked = ask(&format!("{method} /")).header("host", host);
        assert_eq!(asked.outcome(&snapshot), expected, "{method} {host}");
    }
}
