//! What is made of a request on its way: the example of the documentation, and what an attacker
//! would make of it.

use weir_e2e::lone::{Lone, repository};
use weir_testkit::client::{Client, raw};
use weir_testkit::upstream::{Reply, Upstream};

/// The example, with one upstream for all of its services.
async fn example(upstream: &Upstream) -> Lone {
    let path = repository().join("config/examples/rewriting.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut text = format!("services:{}", text.split_once("services:").unwrap().1);
    for port in 5001..=5003 {
        text = text.replace(&format!("127.0.0.1:{port}"), &upstream.addr().to_string());
    }
    Lone::start(&text).await
}

#[tokio::test]
async fn services_see_what_the_example_says() {
    let upstream = Upstream::start(Reply::ok("").header("x-search", "of the service"));
    let gateway = example(&upstream).await;
    let table = [
        ("/api/users/7?x=1", "/7?x=1", None),
        ("/api/users", "/", None),
        ("/t/acme/x/y", "/x/y", Some("acme.tenants.internal")),
        ("/search/de/some/words?q", "/some/words/in/de?q", None),
        ("/search/deu/x", "/search/deu/x", None),
    ];
    for client in [Client::http1(), Client::http2()] {
        for (asked, seen, host) in table {
            let answer = client.get(&gateway.url(asked)).await.unwrap();
            assert_eq!(answer.status, 200, "{asked}: {answer}");
            let request = upstream.last_request();
            assert_eq!(request.path, seen, "{asked}");
            if host.is_some() {
                assert_eq!(request.header("host"), host, "{asked}");
            }
            let path = asked.split('?').next();
            let echoed = asked.starts_with("/search").then_some(path).flatten();
            let expected = echoed.or(Some("of the service"));
            assert_eq!(answer.header("x-search"), expected, "{asked}");
        }
    }
    let table = [
        ("/blog/a/b?q", 301, "/news/a/b?q"),
        ("/item/7?q", 308, "http://shop.example/items/7"),
    ];
    for (asked, status, location) in table {
        let answer = gateway.get(asked).await;
        let got = (answer.status.as_u16(), answer.header("location"));
        assert_eq!(got, (status, Some(location)), "{asked}");
    }
    let answer = gateway
        .get_with("/account/x?q", &[("host", "shop.example:8080")])
        .await;
    assert_eq!(
        answer.header("location"),
        Some("https://shop.example/account/x?q")
    );
}

#[tokio::test]
async fn answers_name_the_request_and_its_client() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = example(&upstream).await;
    let answer = gateway.get("/status").await;
    let body: serde_json::Value = answer.json();
    assert_eq!(body["you"], "127.0.0.1");
    assert_eq!(body["request"].as_str(), answer.header("x-request-id"));
    let evil = "\",\"admin\":\"1";
    let answer = gateway.get_with("/status", &[("x-request-id", evil)]).await;
    let body: serde_json::Value = answer.json();
    assert_eq!(
        (body["request"].as_str(), &body["admin"]),
        (Some(evil), &serde_json::Value::Null)
    );
}

#[tokio::test]
async fn values_of_clients_never_reach_beyond_their_place() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - path: \"/q/*\"
            to: app
            rewrite: {{ path: \"/safe/{{query.q}}\", host: \"{{query.h}}.inner\" }}
            request_headers: {{ set: {{ x-q: \"[{{query.v}}]\" }} }}
            response_headers: {{ set: {{ x-q: \"[{{query.v}}]\" }} }}
          - {{ path: /to, redirect: {{ path: \"/{{query.q}}\" }} }}
        ",
        upstream.addr()
    ))
    .await;
    let answer = gateway.get("/q/x?q=a%20b&h=T&v=%C3%A9").await;
    let seen = upstream.last_request();
    assert_eq!(seen.path, "/safe/a%20b/x?q=a%20b&h=T&v=%C3%A9");
    assert_eq!(seen.header("host"), Some("t.inner"));
    assert_eq!(answer.headers["x-q"].as_bytes(), "[\u{e9}]".as_bytes());
    // A line break stays out of both heads: the fields are left out, the rest goes on.
    let sent = "GET /q/x?q=1&h=t&v=a%0d%0ax-evil:%201%0d%0a%0d%0aGET%20/ HTTP/1.1\r\n\
                Host: a\r\nX-Q: spoofed\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, weir_e2e::DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    assert!(
        !answer.text().to_lowercase().contains("x-evil"),
        "{}",
        answer.text()
    );
    let seen = upstream.last_request();
    assert_eq!((seen.header("x-q"), seen.header("x-evil")), (None, None));
    // What is no path and no host is refused, and nothing is sent.
    let before = upstream.request_count();
    for bad in [
        "q=..&h=t",
        "q=a%2fb&h=t",
        "q=&h=t",
        "h=t",
        "q=1",
        "q=1&h=a%20b",
        "q=1&h=a/b:1",
    ] {
        let answer = gateway.get(&format!("/q/x?{bad}")).await;
        let said = gateway.assert_refused(&answer, 400, "rewrite-failed").await;
        assert!(said.to_string().contains("new "), "{said}");
    }
    assert_eq!(upstream.request_count(), before);
    let answer = gateway.get("/to?q=%2Fevil.example").await;
    gateway.assert_refused(&answer, 400, "rewrite-failed").await;
}
