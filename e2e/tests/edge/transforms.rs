//! JSON bodies changed on their way by a running gateway.

use bytes::Bytes;
use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, raw, request};
use weir_testkit::upstream::{Reply, Script, Upstream};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn gateway(upstream: &Upstream, transform: &str, rest: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], timeouts: {{ idle: 500ms }} }} }}
        routes:
          - {{ path: \"/v/{{id}}\", to: app, transform: {transform} {rest} }}
        ",
        upstream.addr()
    ))
    .await
}

fn answering(body: &str) -> Reply {
    Reply::ok(body.to_owned()).header("content-type", "application/json; charset=utf-8")
}

#[tokio::test]
async fn requests_are_changed_on_their_way() {
    let upstream = Upstream::start(Reply::ok("here"));
    let changes = "{ request: { remove: [/debug], rename: { /name: /user/name }, \
                   set: { /id: \"{id}\", /from: { host: \"{request.host}\", n: 7 }, /who: \"{query.who}\" } } }";
    let gateway = gateway(&upstream, changes, "").await;
    let body = r#"{"name":"Ann","debug":true,"who":"forged","total":1.10}"#;
    for client in [Client::http1(), Client::http2()] {
        let url = gateway.url("/v/a%22b");
        let fields = [JSON, ("content-digest", "sha-256=:AA==:")];
        let answer = client.post(&url, &fields, body.to_owned()).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        let seen = upstream.last_request();
        let expected = r#"{"total":1.10,"user":{"name":"Ann"},"id":"a%22b","from":{"host":"127.0.0.1","n":7}}"#;
        assert_eq!(seen.text(), expected);
        let bytes = expected.len().to_string();
        assert_eq!(seen.header("content-length"), Some(bytes.as_str()));
        assert_eq!(seen.header("content-digest"), None);
    }
    // The same with a length that nobody knew before.
    let sent = "POST /v/7?who=bob HTTP/1.1\r\nHost: a\r\nContent-Type: application/x+json\r\n\
                Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1\r\n{\r\n1\r\n}\r\n0\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    let seen: Value = serde_json::from_str(&upstream.last_request().text()).unwrap();
    assert_eq!((&seen["id"], &seen["who"]), (&json!("7"), &json!("bob")));
    // What is no JSON, and what has no body, passes as it is.
    let answer = gateway
        .post("/v/7", &[("content-type", "text/plain")], body)
        .await;
    assert_eq!(
        (answer.status.as_u16(), upstream.last_request().text()),
        (200, body.to_owned())
    );
    assert_eq!(gateway.get("/v/7").await.status, 200);
    let before = upstream.request_count();
    let table = [
        ("identity", "{", 400, "transform-request"),
        ("identity", r#"{"a":1,"a":2}"#, 400, "transform-request"),
        ("identity", "[1]", 400, "transform-request"),
        ("gzip", "{}", 415, "transform-encoded"),
    ];
    for (coding, body, status, code) in table {
        let fields = [JSON, ("content-encoding", coding)];
        let answer = gateway.post("/v/7", &fields, body).await;
        gateway.assert_refused(&answer, status, code).await;
    }
    assert_eq!(upstream.request_count(), before);
}

#[tokio::test]
async fn bodies_of_requests_are_changed_up_to_their_bound() {
    let upstream = Upstream::start(Reply::ok("here"));
    let changes = "{ request: { remove: [/debug], body_bytes_max: 1KiB } }";
    let gateway = gateway(&upstream, changes, "").await;
    let long = |bytes: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(bytes - 8));
    assert_eq!(gateway.post("/v/7", &[JSON], &long(1024)).await.status, 200);
    let before = upstream.request_count();
    let answer = gateway.post("/v/7", &[JSON], &long(1025)).await;
    gateway
        .assert_refused(&answer, 413, "transform-too-large")
        .await;
    // One of a length that nobody knew before.
    let sent = format!(
        "POST /v/7 HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n401\r\n{}\r\n0\r\n\r\n",
        long(1025)
    );
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    let text = answer.text();
    assert_eq!(answer.status(), Some(413), "{text}");
    assert!(text.contains("weir-reason: transform-too-large"), "{text}");
    assert_eq!(upstream.request_count(), before);
}

#[tokio::test]
async fn responses_are_changed_on_their_way() {
    let body = r#"{"id":7,"secret":"s","list":[1,2]}"#;
    let reply = || {
        answering(body)
            .header("etag", "\"x\"")
            .header("digest", "x")
            .header("accept-ranges", "bytes")
    };
    let upstream = Upstream::start(reply());
    let changes = "{ response: { remove: [/secret], set: { /list/-: 3, /for: \"{id}\" } } }";
    let gateway = gateway(&upstream, changes, ", compress: { bytes_min: 0B }").await;
    let expected = r#"{"id":7,"list":[1,2,3],"for":"me"}"#;
    for client in [Client::http1(), Client::http2()] {
        let fields = [("range", "bytes=0-3"), ("accept-encoding", "br;q=0")];
        let answer = client
            .get_with(&gateway.url("/v/me"), &fields)
            .await
            .unwrap();
        assert_eq!(answer.text(), expected);
        let bytes = expected.len().to_string();
        assert_eq!(answer.header("content-length"), Some(bytes.as_str()));
        assert_eq!(answer.header("etag"), Some("W/\"x\""));
        assert_eq!(
            (answer.header("digest"), answer.header("accept-ranges")),
            (None, None)
        );
        let seen = upstream.last_request();
        assert_eq!(seen.header("range"), None);
        assert_eq!(seen.header("accept-encoding"), Some("identity"));
    }
    // Connections are used again after a changed response.
    assert!(
        upstream.connection_count() <= 2,
        "{}",
        upstream.connection_count()
    );
    let packed = gateway
        .get_with("/v/me", &[("accept-encoding", "gzip")])
        .await;
    assert_eq!(packed.header("content-encoding"), Some("gzip"));
    let request = request(http::Method::HEAD, &gateway.url("/v/me"), &[], Bytes::new()).unwrap();
    let head = Client::http1().send(request).await.unwrap();
    assert_eq!(
        (head.status.as_u16(), head.header("content-length")),
        (200, None),
        "{head}"
    );
    // Statuses without a body, other types and errors of the service.
    upstream.set_script(Reply::status(304).header("etag", "\"x\""));
    let answer = gateway.get("/v/me").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("etag")),
        (304, Some("W/\"x\""))
    );
    upstream.set_script(Reply::ok("data: {}\n\n").header("content-type", "text/event-stream"));
    assert_eq!(gateway.get("/v/me").await.text(), "data: {}\n\n");
    upstream.set_script(
        Reply::status(500)
            .body(r#"{"secret":1,"list":[]}"#)
            .header("content-type", "a/b+json"),
    );
    let answer = gateway.get("/v/me").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text()),
        (500, r#"{"list":[3],"for":"me"}"#.to_owned())
    );
    let line = gateway.logged("/v/me").await;
    assert_eq!(line["status"], 200, "{line}");
}

#[tokio::test]
async fn a_response_that_cannot_be_changed_goes_nowhere() {
    let upstream = Upstream::start(answering("{"));
    let changes = "{ response: { remove: [/secret], set: { /a/b: 1 }, body_bytes_max: 1KiB } }";
    let gateway = gateway(&upstream, changes, "").await;
    let long = |bytes: usize| format!("{{\"x\":\"{}\"}}", "y".repeat(bytes - 8));
    let table = [
        (answering("{"), "ends too early"),
        (answering("{}x"), "is no JSON"),
        (answering(r#"{"a":"secret"}"#), "goes through"),
        (
            answering("{}").header("content-encoding", "gzip"),
            "encoded",
        ),
        (answering(&long(1025)), "at most 1024"),
        (answering(&long(1025)).chunked(), "at most 1024"),
        // In order by itself, and too long with what is added.
        (answering(&long(1024)), "at most 1024"),
    ];
    for (reply, said) in table {
        upstream.set_script(reply);
        let answer = gateway.get("/v/me").await;
        let code = match said {
            "at most 1024" => "transform-response-too-large",
            _ => "transform-response",
        };
        gateway.assert_refused(&answer, 502, code).await;
        let problem: Value = answer.json();
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(said), "{said}: {detail}");
        assert!(!detail.contains("secret"), "{detail}");
    }
    // `,"a":{"b":1}` takes twelve bytes more.
    upstream.set_script(answering(&long(1012)));
    assert_eq!(gateway.get("/v/me").await.text().len(), 1024);
    // One that never ends, and one that breaks off.
    upstream.set_script(answering(&long(500)).stall_after(100));
    let answer = gateway.get("/v/me").await;
    gateway
        .assert_refused(&answer, 504, "upstream-timeout")
        .await;
    upstream.set_script(answering(&long(500)).reset_after(100));
    let answer = gateway.get("/v/me").await;
    gateway.assert_refused(&answer, 502, "upstream-reset").await;
    upstream.set_script(Script::by(|_: &weir_testkit::upstream::Recorded| {
        answering("{}")
    }));
    assert_eq!(gateway.get("/v/me").await.text(), r#"{"a":{"b":1}}"#);
}
