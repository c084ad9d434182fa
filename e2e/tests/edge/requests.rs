//! What a service sees of a request, and what it must never see.

use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, raw};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_to(upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn forwarding_headers_say_who_asked_and_cannot_be_forged() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let forged = [
        ("host", "shop.example:8080"),
        ("x-forwarded-for", "1.2.3.4"),
        ("x-forwarded-proto", "https"),
        ("x-forwarded-host", "evil.example"),
        ("x-forwarded-prefix", "/evil"),
        ("x-real-ip", "1.2.3.4"),
        ("forwarded", "for=1.2.3.4"),
        ("x_forwarded_for", "1.2.3.4"),
    ];
    gateway.get_with("/x", &forged).await;
    let seen = upstream.last_request();
    assert_eq!(seen.header_values("x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(seen.header_values("x-forwarded-proto"), ["http"]);
    assert_eq!(
        seen.header_values("x-forwarded-host"),
        ["shop.example:8080"]
    );
    assert_eq!(seen.header_values("host"), ["shop.example:8080"]);
    for name in [
        "x-forwarded-prefix",
        "x-real-ip",
        "forwarded",
        "x_forwarded_for",
    ] {
        assert_eq!(seen.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn a_trusted_proxy_in_front_is_believed_and_appended_to() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = Lone::start(&format!(
        "
        trusted_proxies: [127.0.0.0/8]
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/*\", to: app }}
          - {{ path: /inside, clients: [192.0.2.0/24], respond: {{ status: 204 }} }}
        ",
        upstream.addr()
    ))
    .await;
    let said = [
        ("x-forwarded-for", "9.9.9.9, 192.0.2.7"),
        ("x-forwarded-proto", "https"),
    ];
    gateway.get_with("/x", &said).await;
    let seen = upstream.last_request();
    assert_eq!(
        seen.header_values("x-forwarded-for"),
        ["9.9.9.9, 192.0.2.7, 127.0.0.1"]
    );
    assert_eq!(seen.header_values("x-forwarded-proto"), ["https"]);
    // And the address that it vouches for is the client that routes see.
    assert_eq!(gateway.get_with("/inside", &said).await.status, 204);
    assert_eq!(gateway.logged("/inside").await["client"], "192.0.2.7");
}

#[tokio::test]
async fn headers_of_weir_itself_are_taken_from_clients_and_services_alike() {
    let upstream = Upstream::start(Reply::ok("").header("x-own", "1"));
    let gateway = gateway_to(&upstream).await;
    let sent = [
        ("weir-peer", "spiffe://x/y"),
        ("weir-decision", "1"),
        ("weir_peer", "x"),
    ];
    for client in [Client::http1(), Client::http2()] {
        client.get_with(&gateway.url("/x"), &sent).await.unwrap();
        let seen = upstream.last_request();
        let of_weir = seen.headers.iter().any(|(name, _)| {
            name.to_ascii_lowercase()
                .replace('_', "-")
                .starts_with("weir-")
        });
        assert!(!of_weir, "{:?}", seen.headers);
    }
}

#[tokio::test]
async fn headers_of_one_connection_stay_on_it() {
    let reply = Reply::ok("x")
        .header("keep-alive", "timeout=5")
        .header("proxy-connection", "keep-alive")
        .header("connection", "keep-alive, x-of-hop")
        .header("x-of-hop", "1")
        .header("x-end", "1");
    let upstream = Upstream::start(reply);
    let gateway = gateway_to(&upstream).await;
    let sent = "GET /x HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop, Authorization\r\n\
                Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\n\
                Proxy-Authorization: Basic eDp5\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\
                X-Hop: 1\r\nX-End: 1\r\nAuthorization: Bearer x\r\n\r\n";
    let answer = raw(gateway.web(), sent, weir_e2e::DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    let seen = upstream.last_request();
    for name in [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "te",
        "upgrade",
        "http2-settings",
        "x-hop",
    ] {
        assert_eq!(seen.header(name), None, "{name} in {:?}", seen.headers);
    }
    assert_eq!(seen.header("x-end"), Some("1"));
    // `Connection` cannot be used to take away what the service decides on.
    assert_eq!(seen.header("authorization"), Some("Bearer x"));
    let text = answer.text().to_ascii_lowercase();
    assert!(text.contains("x-end: 1"), "{text}");
    for name in ["keep-alive:", "proxy-connection:", "x-of-hop:"] {
        assert!(!text.contains(name), "{name} in {text}");
    }
}

#[tokio::test]
async fn cookies_that_http2_splits_are_one_header_for_the_service() {
    let upstream = Upstream::start(
        Reply::ok("")
            .header("set-cookie", "a=1")
            .header("set-cookie", "b=2"),
    );
    let gateway = gateway_to(&upstream).await;
    let sent = [("cookie", "a=1"), ("cookie", "b=2")];
    let answer = Client::http2()
        .get_with(&gateway.url("/x"), &sent)
        .await
        .unwrap();
    assert_eq!(
        upstream.last_request().header_values("cookie"),
        ["a=1; b=2"]
    );
    let set: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
    assert_eq!(set, ["a=1", "b=2"]);
}

#[tokio::test]
async fn routes_rewrite_redirect_and_answer() {
    let upstream = Upstream::start(Reply::ok("").header("server", "secret/1.0"));
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/api/users/*\", to: app, rewrite: {{ path: /users }} }}
          - {{ path: \"/v1/order/{{id}}\", to: app, rewrite: {{ path: \"/orders/{{id}}\", host: inner }} }}
          - path: \"/h/{{id}}\"
            to: app
            request_headers: {{ set: {{ x-id: \"{{path.id}}\", x-client: \"{{client.address}}\" }}, remove: [x-gone] }}
            response_headers: {{ remove: [server], add: {{ x-by: weir }} }}
          - {{ path: /old, redirect: {{ status: 301, scheme: https, host: new.example, path: /new }} }}
          - {{ path: /teapot, respond: {{ status: 418, body: short and stout }} }}
          - {{ path: /query, query: {{ v: \"2\" }}, respond: {{ status: 202 }} }}
          - {{ path: /query, headers: {{ x-v: {{ prefix: \"3.\" }} }}, respond: {{ status: 203 }} }}
          - {{ path: /query, methods: [POST], respond: {{ status: 201 }} }}
          - {{ hosts: [\"*.shop.example\"], path: /host, respond: {{ status: 204 }} }}
        ",
        upstream.addr()
    ))
    .await;
    gateway.get("/api/users/7?x=1").await;
    assert_eq!(upstream.last_request().path, "/users/7?x=1");
    gateway.get("/v1/order/a%20b").await;
    let seen = upstream.last_request();
    assert_eq!(
        (seen.path.as_str(), seen.header("host")),
        ("/orders/a%20b", Some("inner"))
    );
    let answer = gateway.get_with("/h/9", &[("x-gone", "1")]).await;
    let seen = upstream.last_request();
    assert_eq!(
        (seen.header("x-id"), seen.header("x-gone")),
        (Some("9"), None)
    );
    assert_eq!(seen.header("x-client"), Some("127.0.0.1"));
    assert_eq!(
        (answer.header("x-by"), answer.header("server")),
        (Some("weir"), None)
    );
    let answer = gateway.get("/old?q=1").await;
    assert_eq!(answer.status, 301);
    assert_eq!(
        answer.header("location"),
        Some("https://new.example/new?q=1")
    );
    let answer = gateway.get("/teapot").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (418, "short and stout")
    );
    assert_eq!(gateway.get("/query?v=2").await.status, 202);
    assert_eq!(
        gateway.get_with("/query", &[("x-v", "3.1")]).await.status,
        203
    );
    assert_eq!(gateway.post("/query", &[], "").await.status, 201);
    let wrong = gateway.get("/query?v=9").await;
    gateway
        .assert_refused(&wrong, 405, "method-not-allowed")
        .await;
    assert!(wrong.header("allow").unwrap().contains("POST"), "{wrong}");
    assert_eq!(
        gateway
            .get_with("/host", &[("host", "a.shop.example")])
            .await
            .status,
        204
    );
    let nowhere = gateway.get("/host").await;
    gateway.assert_refused(&nowhere, 404, "no-route").await;
}

#[tokio::test]
async fn a_request_keeps_or_gets_an_id() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_to(&upstream).await;
    let answer = gateway.get_with("/x", &[("x-request-id", "mine-1")]).await;
    assert_eq!(
        upstream.last_request().header("x-request-id"),
        Some("mine-1")
    );
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let answer = gateway.get("/x").await;
    let given = upstream
        .last_request()
        .header("x-request-id")
        .unwrap()
        .to_owned();
    assert_eq!(answer.header("x-request-id"), Some(given.as_str()));
    assert!(given.len() >= 16, "{given}");
}

#[tokio::test]
async fn connect_and_unknown_listeners_lead_nowhere() {
    let upstream = Upstream::start(Reply::ok(""));
    let place = Place::new();
    let gateway = place
        .start(&format!(
            "
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            upstream.addr()
        ))
        .await;
    let sent = "CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: 127.0.0.1:22\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, std::time::Duration::from_secs(2)).await;
    assert!(
        answer.status().is_some_and(|status| status >= 400),
        "{}",
        answer.text()
    );
    assert_eq!(upstream.connection_count(), 0);
}
