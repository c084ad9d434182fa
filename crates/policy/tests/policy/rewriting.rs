//! What leaves towards endpoint and client.

use weir_policy::pipeline::interim;

use crate::bench::{ask, gateway, settled, sidecar};

const BASE: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
trusted_proxies: ["10.0.0.0/8"]
via: false
routes:
  - { path: "/plain/*", to: s }
  - { path: "/user/*", to: s, rewrite: { path: /, host: users.internal } }
  - { path: "/order/{id}/line/{nr}", to: s, rewrite: { path: "/v2/{nr}/of/{id}" } }
  - path: "/headers/{id}"
    to: s
    name: headers
    request_headers:
      set:
        x-route: "{route.name}"
        x-id: "id={path.id}"
        x-client: "{client.address}"
        x-host: "{request.host}"
      add: { x-tag: two }
      remove: [x-internal]
    response_headers:
      set: { x-served-by: "{route.name}" }
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
    weir_policy::pipeline::prepare(&snapshot, &admitted, false, &ask.remote.into(), &mut head);
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
            "x-forwarded-port",
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

const FILLED: &str = r#"
listeners: { web: { bind: "127.0.0.1:0" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
issuers:
  shop: { issuer: "https://id.example", audience: shop-api, jwks: "https://id.example/jwks" }
routes:
  - path: "/all/{id}"
    name: all
    to: s
    request_headers:
      set:
        x-all: "{id} {path.id} {client.address} {request.method} {request.scheme} {request.path}"
        x-more: "{route.name} {request.host} {request.id} {header.x-in} {cookie.c} {query.q}"
        x-peer: "peer {peer.id}"
        x-text: "{{id} {} {{ }"
      add: { x-more: "{query.none}" }
    response_headers:
      set: { x-echo: "{query.q}", x-gone: "{query.none}" }
  - { path: "/to/{id}", to: s, rewrite: { path: "/by/{query.q}/.{id}", host: "{path.id}.inner:81" } }
  - { path: "/from/*", to: s, rewrite: { path: "/{header.x-in}" } }
  - path: "/a/*"
    to: s
    rewrite: { path: { regex: "^/a/(?P<kind>[a-z]+)(/.*)?$", with: "/$1-{kind}/b$2/$$x" } }
  - { path: "/rd/{id}", redirect: { host: "{id}.example", path: "/x/{query.q}", query: drop } }
  - { path: "/rp/*", redirect: { prefix: /new, status: 301 } }
  - { path: "/rr/*", redirect: { path: { regex: "/rr/([0-9]+)", with: "/nr/$1" } } }
  - { path: "/tls/*", redirect: https }
  - path: /plain
    respond: { status: 200, body: "hello {query.q}{query.none}" }
  - path: /json
    respond:
      status: 200
      content_type: application/json
      body: '{"id":"{query.q}","of":{"host":"{request.host}"}}'
  - path: /html
    respond: { status: 200, content_type: text/html, body: "<p title='{query.q}'>" }
"#;

#[test]
fn variables_are_filled_from_the_request() {
    let snapshot = gateway(FILLED);
    let mut ask = ask("PUT /all/7%20x?q=a%2Fb+c&q=second")
        .header("x-in", "in 1")
        .header("x-in", "in 2")
        .header("cookie", "b=0; c=\"crumb\"")
        .header("x-request-id", "id-1")
        .header("x-peer", "spoofed");
    ask.secure = true;
    let head = ask.prepared(&snapshot);
    assert_eq!(
        head.headers["x-all"],
        "7%20x 7%20x 192.0.2.7 PUT https /all/7%20x"
    );
    let more: Vec<_> = head.headers.get_all("x-more").iter().collect();
    assert_eq!(more, ["all shop.example id-1 in 1 crumb a/b c"]);
    assert!(
        !head.headers.contains_key("x-peer"),
        "what nobody vouches for is taken out"
    );
    assert_eq!(head.headers["x-text"], "{id} {} { }");
    let left = settled(&snapshot, &ask, &[("x-gone", "of the service")], 200);
    assert_eq!(left["x-echo"], "a/b c");
    assert!(!left.contains_key("x-gone"));
    ask.peer = Some("spiffe://weir.internal/service/a");
    let head = ask.prepared(&snapshot);
    assert_eq!(
        head.headers["x-peer"],
        "peer spiffe://weir.internal/service/a"
    );
}

#[test]
fn a_value_can_fill_its_place_and_nothing_else() {
    let snapshot = gateway(FILLED);
    // A line break ends in no header; the field is left out.
    for value in ["a%0d%0ax-evil:1", "a%0a", "%00", "%7f"] {
        let ask = ask(&format!("GET /all/1?q={value}")).header("x-more", "spoofed");
        let headers = ask.prepared(&snapshot).headers;
        assert!(!headers.contains_key("x-more"), "{value}");
        assert!(!headers.contains_key("x-evil"), "{value}");
        let answer = settled(&snapshot, &ask, &[], 200);
        assert!(!answer.contains_key("x-echo"), "{value}");
    }
    // A value that is too long counts as missing; one that is just not is taken.
    for (length, there) in [(8 * 1024, true), (8 * 1024 + 1, false)] {
        let ask = ask(&format!("GET /all/1?q={}", "a".repeat(length)));
        let there_is = settled(&snapshot, &ask, &[], 200).contains_key("x-echo");
        assert_eq!(there_is, there, "{length}");
    }
    let table = [
        ("GET /to/7?q=x", Ok("/by/x/.7?q=x")),
        ("GET /to/7?q=x%20y", Ok("/by/x%20y/.7?q=x%20y")),
        ("GET /to/7?q=a:b%3f", Ok("/by/a%3Ab%3F/.7?q=a:b%3f")),
        // Neither another segment, nor a climb, nor nothing, nor what some servers read as dots.
        ("GET /to/7?q=a%2fb", Err("rewrite-failed")),
        ("GET /to/7?q=a%5cb", Err("rewrite-failed")),
        ("GET /to/7?q=..", Err("rewrite-failed")),
        ("GET /to/7?q=.", Err("rewrite-failed")),
        ("GET /to/7?q=%00", Err("rewrite-failed")),
        ("GET /to/7?q=", Err("rewrite-failed")),
        ("GET /to/7", Err("rewrite-failed")),
        ("GET /to/;x?q=1", Err("rewrite-failed")),
        // No host.
        ("GET /to/a%20b?q=1", Err("rewrite-failed")),
        ("GET /to/a:b?q=1", Err("rewrite-failed")),
        ("GET /to/-?q=1", Ok("/by/1/.-?q=1")),
    ];
    for (line, expected) in table {
        let ask = ask(line);
        match expected {
            Err(code) => assert_eq!(ask.outcome(&snapshot), code, "{line}"),
            Ok(target) => assert_eq!(ask.prepared(&snapshot).uri.to_string(), target, "{line}"),
        }
    }
    assert_eq!(
        ask("GET /to/Ab.c?q=1").prepared(&snapshot).headers["host"],
        "ab.c.inner:81"
    );
    let below = ask("GET /from/x/y")
        .header("x-in", "z w")
        .prepared(&snapshot);
    assert_eq!(below.uri, "/z%20w/x/y");
    assert_eq!(ask("GET /from/x").outcome(&snapshot), "rewrite-failed");
}

#[test]
fn expressions_change_paths_that_they_match() {
    let snapshot = gateway(FILLED);
    let table = [
        ("GET /a/b/c?q", "/b-b/b/c/$x?q"),
        ("GET /a/b", "/b-b/b/$x"),
        ("GET /a/7", "/a/7"),
        ("GET /a", "/a"),
        ("GET /a/b/", "/b-b/b/$x"),
    ];
    for (line, target) in table {
        let head = ask(line).prepared(&snapshot);
        assert_eq!(head.uri.to_string(), target, "{line}");
    }
}

#[test]
fn redirects_with_variables_prefixes_and_without_query() {
    let snapshot = gateway(FILLED);
    let location = |line: &str| match ask(line).admit(&snapshot) {
        Err(refusal) => refusal.code.to_string(),
        Ok(admitted) => match admitted.then {
            weir_policy::pipeline::Then::Answer(response) => {
                let status = response.status().as_u16();
                let location = response.headers()["location"].to_str().unwrap();
                format!("{status} {location}")
            }
            then => panic!("{line}: {then:?}"),
        },
    };
    let table = [
        ("GET /rd/Shop?q=a&x=1", "308 http://shop.example/x/a"),
        ("GET /rd/shop?q=%2f%2fevil", "rewrite-failed"),
        ("GET /rd/shop:1?q=1", "rewrite-failed"),
        ("GET /rd/a%20b?q=1", "rewrite-failed"),
        ("GET /rp/x/y?q", "301 /new/x/y?q"),
        ("GET /rp", "301 /new"),
        ("GET /rr/17?q", "308 /nr/17?q"),
        ("GET /tls/x?q=1", "308 https://shop.example/tls/x?q=1"),
    ];
    for (line, expected) in table {
        assert_eq!(location(line), expected, "{line}");
    }
}

#[test]
fn bodies_escape_what_they_repeat() {
    let snapshot = gateway(FILLED);
    let evil = "q=%22%3E%3Cb%3E%27%26%5c%0a";
    let table = [
        ("/plain", "hello \"><b>'&\\\n"),
        (
            "/json",
            r#"{"id":"\"><b>'&\\\n","of":{"host":"shop.example"}}"#,
        ),
        ("/html", "<p title='&quot;&gt;&lt;b&gt;&#39;&amp;\\\n'>"),
    ];
    for (path, expected) in table {
        let admitted = ask(&format!("GET {path}?{evil}")).admit(&snapshot).unwrap();
        let weir_policy::pipeline::Then::Answer(response) = admitted.then else {
            panic!("{path} was forwarded")
        };
        assert_eq!(response.body(), expected, "{path}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    }
}

#[test]
fn what_is_passed_on_says_so_unless_it_is_told_not_to() {
    let yaml = BASE.replace("via: false\n", "");
    for (yaml, expected) in [(yaml.as_str(), Some("1.1 weir")), (BASE, None)] {
        let snapshot = gateway(yaml);
        let ask = ask("GET /plain/a");
        let value = |headers: &http::HeaderMap| {
            let value = headers.get("via")?;
            Some(value.to_str().unwrap().to_owned())
        };
        assert_eq!(value(&ask.prepared(&snapshot).headers).as_deref(), expected);
        let answer = settled(&snapshot, &ask, &[], 200);
        assert_eq!(value(&answer).as_deref(), expected);
    }
}

#[test]
fn interim_responses_tell_nothing_that_the_response_would_not() {
    let via = BASE.replace("via: false", "via: true");
    let (snapshot, with_via) = (gateway(BASE), gateway(&via));
    let ask = ask("GET /headers/7");
    let route = ask.admit(&snapshot).unwrap().route;
    let fields = [
        ("link", "</a.css>"),
        ("x-powered-by", "old"),
        ("x-served-by", "inner-7"),
        ("connection", "x-hop, link"),
        ("x-hop", "1"),
        ("keep-alive", "timeout=5"),
        ("transfer-encoding", "chunked"),
        ("content-length", "3"),
        ("trailer", "x"),
        ("x-other", "1"),
    ];
    let left = |snapshot| {
        let fields = fields.map(|(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, http::HeaderValue::from_static(value))
        });
        let mut headers = http::HeaderMap::from_iter(fields);
        interim::settle(snapshot, route, http::Version::HTTP_11, &mut headers);
        let mut left: Vec<_> = headers.keys().map(|name| name.to_string()).collect();
        left.sort();
        left
    };
    // `connection` names `link`, and so it goes.
    assert_eq!(left(&snapshot), ["x-other"]);
    assert_eq!(left(&with_via), ["via", "x-other"]);
}

#[test]
fn interim_responses_reach_who_can_take_them() {
    use http::Version;
    for (rule, reached) in [
        ("", [false, true, true]),
        (", interim_responses: forward", [false, true, true]),
        (", interim_responses: http2", [false, false, true]),
        (", interim_responses: drop", [false, false, false]),
    ] {
        let snapshot = gateway(&format!(
            "listeners: {{ web: {{ bind: \"127.0.0.1:0\"{rule} }} }}\n\
             routes: [{{ path: /a, respond: {{ status: 200 }} }}]"
        ));
        let listener = ask("GET /a").admit(&snapshot).unwrap().listener;
        let versions = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2];
        let found = versions.map(|version| interim::reach(&snapshot, listener, version));
        assert_eq!(found, reached, "{rule}");
    }
}

#[test]
fn interim_responses_are_bounded_in_size_and_number_of_fields() {
    use weir_config::bounds::{INTERIM_HEADER_BYTES_MAX, RESPONSE_HEADER_COUNT_MAX};
    let headers = |fields: usize, bytes: usize| {
        let value = http::HeaderValue::from_str(&"x".repeat(bytes)).unwrap();
        let field = (http::HeaderName::from_static("link"), value);
        http::HeaderMap::from_iter(vec![field; fields])
    };
    let room = INTERIM_HEADER_BYTES_MAX - "link: \r\n".len();
    assert!(interim::fits(&headers(1, room)));
    assert!(!interim::fits(&headers(1, room + 1)));
    assert!(interim::fits(&headers(RESPONSE_HEADER_COUNT_MAX, 1)));
    assert!(!interim::fits(&headers(RESPONSE_HEADER_COUNT_MAX + 1, 1)));
    for (status, passed_on) in [
        (100, false),
        (101, false),
        (102, true),
        (103, true),
        (200, false),
    ] {
        let status = http::StatusCode::from_u16(status).unwrap();
        assert_eq!(interim::is_passed_on(status), passed_on, "{status}");
    }
}

#[test]
fn a_value_that_is_too_long_for_its_place_counts_as_missing() {
    let snapshot = gateway(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
         services: { s: { endpoints: [\"127.0.0.1:1\"] } }\n\
         routes: [{ path: /a, to: s, request_headers: { set: { x-b: \"{header.x-a}\" } } }]",
    );
    let bytes_max = weir_config::bounds::TEMPLATE_VALUE_BYTES_MAX;
    for (bytes, filled) in [(bytes_max, true), (bytes_max + 1, false)] {
        let value = "x".repeat(bytes);
        let head = ask("GET /a").header("x-a", &value).prepared(&snapshot);
        assert_eq!(head.headers.contains_key("x-b"), filled, "{bytes}");
    }
}
