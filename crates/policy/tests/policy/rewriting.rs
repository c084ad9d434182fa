//! What leaves towards endpoint and client.

use crate::bench::{ask, gateway, settled, sidecar};

const BASE: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
trusted_proxies: ["10.0.0.0/8"]
routes:
  - { path: "/plain/*", to: s }
  - { path: "/user/*", to: s, rewrite: { path: /, host: users.internal } }
  - { path: "/order/{id}/line/{nr}", to: s, rewrite: { path: "/v2/{nr}/of/{id}" } }
  - path: "/headers/{id}"
    to: s
    name: headers
    request_headers:
      set: { x-route: "{route}", x-id: "id={path.id}", x-client: "{client}", x-host: "{host}" }
      add: { x-tag: two }
      remove: [x-internal]
    response_headers:
      set: { x-served-by: "{route}" }
      remove: [x-powered-by]
  - { path: "/old", redirect: { path: /new } }
  - { path: "/tls", redirect: { scheme: https, status: 301 } }
  - { path: "/moved/{id}", redirect: { host: "new.example", path: "/item/{id}" } }
  - { path: "/teapot", respond: { status: 418, body: "short and stout\n" } }
"#;

#[test]
fn paths_and_hosts() {
    let snapshot = gateway(BASE);
    let table = [
        (
            "GET /plain/a?x=1&y=%2F",
            "/plain/a?x=1&y=%2F",
            "shop.example",
        ),
        ("GET /plain//a/./b?q", "/plain/a/b?q", "shop.example"),
        ("GET /user/7?x=1", "/7?x=1", "users.internal"),
        ("GET /user", "/", "users.internal"),
        ("GET /order/7/line/2", "/v2/2/of/7", "shop.example"),
        (
            "GET http://shop.example/plain/a?b",
            "/plain/a?b",
            "shop.example",
        ),
    ];
    for (line, target, host) in table {
        // In absolute form the engine splits the target; the bench does that for it.
        let (method, url) = line.split_once(' ').unwrap();
        let short = url.trim_start_matches("http://shop.example");
        let head = ask(&format!("{method} {short}")).prepared(&snapshot);
        assert_eq!(head.uri.to_string(), target, "{line}");
        assert!(head.uri.authority().is_none(), "{line}: origin form");
        assert_eq!(head.headers["host"], host, "{line}");
    }
}

#[test]
fn an_absolute_target_becomes_origin_form() {
    let snapshot = gateway(BASE);
    let ask = ask("GET /plain/a?b").header("host", "shop.example:80");
    let admitted = ask.admit(&snapshot).unwrap();
    let request = http::Request::get("http://SHOP.example:80/plain/a?b")
        .body(())
        .unwrap();
    let (mut head, ()) = request.into_parts();
    weir_policy::pipeline::prepare(&snapshot, &admitted, false, ask.remote, &mut head);
    assert_eq!(head.uri, "/plain/a?b");
    assert_eq!(head.headers["host"], "shop.example:80");
    assert_eq!(head.headers["x-forwarded-host"], "SHOP.example:80");
}

#[test]
fn header_changes_with_places() {
    let snapshot = gateway(BASE);
    let ask = ask("GET /headers/a%20b")
        .header("x-internal", "1")
        .header("x-tag", "one");
    let head = ask.prepared(&snapshot);
    assert_eq!(head.headers["x-route"], "headers");
    assert_eq!(head.headers["x-id"], "id=a%20b");
    assert_eq!(head.headers["x-client"], "192.0.2.7");
    assert_eq!(head.headers["x-host"], "shop.example");
    assert!(!head.headers.contains_key("x-internal"));
    let tags: Vec<_> = head.headers.get_all("x-tag").iter().collect();
    assert_eq!(tags, ["one", "two"]);

    let fields = [
        ("x-powered-by", "x"),
        ("connection", "x-own"),
        ("x-own", "1"),
        ("server", "app"),
    ];
    let left = settled(&snapshot, &ask, &fields, 200);
    assert_eq!(left["x-served-by"], "headers");
    assert_eq!(left["server"], "app");
    assert_eq!(left.len(), 2);
}

#[test]
fn nobody_outside_speaks_for_weir() {
    let snapshot = gateway(BASE);
    let forged = |remote: &str| {
        let ask = ask("GET /plain/x")
            .from(remote)
            .header("x-forwarded-for", "1.1.1.1, 203.0.113.9")
            .header("x-forwarded-proto", "https")
            .header("x_forwarded_for", "2.2.2.2")
            .header("x-real-ip", "3.3.3.3")
            .header("forwarded", "for=4.4.4.4")
            .header("weir-peer", "spiffe://x")
            .header("connection", "x-forwarded-for, x-drop")
            .header("x-drop", "1")
            .header("te", "trailers, deflate")
            .header("transfer-encoding", "chunked")
            .header("upgrade", "h2c")
            .header("http2-settings", "x");
        (
            ask.admit(&snapshot).unwrap().client.to_string(),
            ask.prepared(&snapshot).headers,
        )
    };
    let (client, headers) = forged("192.0.2.7");
    assert_eq!(client, "192.0.2.7");
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "shop.example");
    assert_eq!(headers["te"], "trailers");
    let mut names: Vec<_> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(
        names,
        [
            "host",
            "te",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto"
        ]
    );

    let (client, headers) = forged("10.1.1.1");
    assert_eq!(
        client, "203.0.113.9",
        "the first that is not a trusted proxy"
    );
    assert_eq!(headers["x-forwarded-for"], "1.1.1.1, 203.0.113.9, 10.1.1.1");
    assert_eq!(headers["x-forwarded-proto"], "https");
    assert!(!headers.contains_key("weir-peer"), "not even from there");
    let (client, _) = forged("::ffff:10.1.1.1");
    assert_eq!(client, "203.0.113.9");
}

#[test]
fn the_mesh_keeps_what_the_gateway_said() {
    let snapshot = sidecar("services: { users: { mesh: users } }");
    let ask = ask("GET //x")
        .header("host", "users")
        .from("127.0.0.1")
        .header("x-forwarded-for", "203.0.113.9")
        .header("weir-decision", "d-1");
    let headers = ask.prepared(&snapshot);
    assert_eq!(headers.uri.path(), "//x");
    assert_eq!(headers.headers["x-forwarded-for"], "203.0.113.9");
    assert_eq!(headers.headers["weir-decision"], "d-1");
}

#[test]
fn websockets_pass_and_other_upgrades_do_not() {
    let snapshot = gateway(BASE);
    let socket = |line: &str, protocol: &str| {
        ask(line)
            .header("connection", "keep-alive, Upgrade")
            .header("upgrade", protocol)
    };
    let ask = socket("GET /plain/ws", "WebSocket");
    let head = ask.prepared(&snapshot);
    assert_eq!(head.headers["upgrade"], "websocket");
    assert_eq!(head.headers["connection"], "upgrade");
    let left = settled(
        &snapshot,
        &ask,
        &[("upgrade", "websocket"), ("connection", "Upgrade")],
        101,
    );
    assert_eq!(left["upgrade"], "websocket");
    assert_eq!(left["connection"], "upgrade");
    let left = settled(
        &snapshot,
        &ask,
        &[("upgrade", "h2c"), ("connection", "Upgrade")],
        200,
    );
    assert!(left.is_empty());

    assert_eq!(
        socket("POST /plain/ws", "websocket").outcome(&snapshot),
        "upgrade-refused"
    );
    let mut body = socket("GET /plain/ws", "websocket");
    body.body_bytes = Some(1);
    assert_eq!(body.outcome(&snapshot), "upgrade-refused");
    let other = socket("GET /plain/ws", "h2c");
    assert!(other.admit(&snapshot).unwrap().upgrade.is_none());
    assert!(!other.prepared(&snapshot).headers.contains_key("upgrade"));
}

#[test]
fn redirects_and_fixed_answers() {
    let snapshot = gateway(BASE);
    let answer = |line: &str| {
        let admitted = ask(line)
            .header("host", "shop.example:8080")
            .admit(&snapshot)
            .unwrap();
        match admitted.then {
            weir_policy::pipeline::Then::Answer(response) => response,
            weir_policy::pipeline::Then::Delayed(_) | weir_policy::pipeline::Then::Forward(_) => {
                panic!("{line} was forwarded")
            }
        }
    };
    let table = [
        ("GET /old?x=1", 308, "/new?x=1"),
        ("GET /tls?x=1", 301, "https://shop.example/tls?x=1"),
        ("GET /moved/7", 308, "http://new.example/item/7"),
    ];
    for (line, status, location) in table {
        let response = answer(line);
        assert_eq!(response.status(), status, "{line}");
        assert_eq!(response.headers()["location"], location, "{line}");
    }
    let teapot = answer("GET /teapot");
    assert_eq!(teapot.status(), 418);
    assert_eq!(
        teapot.headers()["content-type"],
        "text/plain; charset=utf-8"
    );
    assert_eq!(teapot.body(), "short and stout\n");
}
