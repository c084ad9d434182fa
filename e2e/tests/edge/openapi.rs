//! Requests held against an OpenAPI document at a running gateway, and answers from its examples.

use std::fs;

use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place, repository};
use weir_testkit::client::{Client, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

const JSON: (&str, &str) = ("content-type", "application/json");
const TENANT: (&str, &str) = ("x-tenant", "7d9a4f6e-0000-4000-8000-000000000001");

fn document(name: &str) -> String {
    let path = repository().join("config/examples/openapi").join(name);
    fs::read_to_string(path).unwrap()
}

/// A gateway whose only route holds everything against the pet store, with `rest` beside it.
async fn store(upstream: &Upstream, rest: &str) -> Lone {
    let place = Place::new();
    let file = place.directory().join("petstore.yaml");
    fs::write(&file, document("petstore.yaml")).unwrap();
    let yaml = written(upstream, &file.display().to_string(), rest);
    place.start(&yaml).await
}

fn written(upstream: &Upstream, file: &str, rest: &str) -> String {
    format!(
        "
        services: {{ pets: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ name: pets, path: \"/*\", to: pets, openapi: {{ file: \"{file}\", {rest} }} }}
        ",
        upstream.addr()
    )
}

#[tokio::test]
async fn only_what_the_document_describes_reaches_the_service() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = store(&upstream, "").await;
    for client in [Client::http1(), Client::http2()] {
        let answer = client.get(&gateway.url("/v1/pets/7")).await.unwrap();
        assert_eq!(answer.status, 200, "{answer}");
        let body = r#"{"name":"Rex","tags":["good"]}"#;
        let url = gateway.url("/v1/pets");
        let sent = client.post(&url, &[JSON], body.to_owned());
        assert_eq!(sent.await.unwrap().status, 200);
        let seen = upstream.last_request();
        assert_eq!(
            (seen.path.as_str(), &*seen.body),
            ("/v1/pets", body.as_bytes())
        );
    }
    let before = upstream.request_count();
    let answer = gateway.get("/v1/cats").await;
    gateway.assert_refused(&answer, 404, "openapi-path").await;
    let answer = gateway.post("/v1/pets/7", &[], "").await;
    gateway.assert_refused(&answer, 405, "openapi-method").await;
    assert_eq!(answer.header("allow"), Some("GET, PUT, DELETE, HEAD"));
    let answer = gateway
        .get_with("/v1/pets?limit=no&status=gone", &[TENANT])
        .await;
    gateway
        .assert_refused(&answer, 400, "openapi-parameter")
        .await;
    let problem: Value = answer.json();
    assert_eq!(problem["errors"][0]["in"], "query", "{problem}");
    assert_eq!(problem["errors"][0]["name"], "limit", "{problem}");
    assert_eq!(problem["errors"][1]["pointer"], "/0", "{problem}");
    let secret = r#"{"name":7,"owner":{"email":"a@b.example","password":"hunter2"}}"#;
    let answer = gateway.post("/v1/pets", &[JSON], secret).await;
    let said = gateway.assert_refused(&answer, 400, "openapi-body").await;
    let problem: Value = answer.json();
    assert_eq!(problem["errors"].as_array().unwrap().len(), 2, "{problem}");
    assert_eq!(problem["errors"][0]["in"], "body", "{problem}");
    assert!(!format!("{problem} {said}").contains("hunter2"));
    let answer = gateway
        .post("/v1/pets", &[("content-type", "text/plain")], "x")
        .await;
    gateway
        .assert_refused(&answer, 415, "openapi-media-type")
        .await;
    let answer = gateway.post("/v1/pets", &[JSON], "").await;
    gateway.assert_refused(&answer, 400, "openapi-body").await;
    assert_eq!(upstream.request_count(), before);
    let refused = [
        ("route", "pets"),
        ("code", "openapi-body"),
        ("outcome", "refused"),
    ];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.sum("weir_http_openapi_faults_total", &refused), 2.0);
    assert_eq!(
        metrics.sum(
            "weir_http_openapi_faults_total",
            &[("code", "openapi-path")]
        ),
        1.0
    );
}

#[tokio::test]
async fn held_bodies_have_a_bound_and_others_stream() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = store(&upstream, "body_bytes_max: 2KiB").await;
    let body = |bytes: usize| format!(r#"{{"name":"Rex"{}}}"#, " ".repeat(bytes - 14));
    assert_eq!(
        gateway.post("/v1/pets", &[JSON], &body(2048)).await.status,
        200
    );
    let before = upstream.request_count();
    let answer = gateway.post("/v1/pets", &[JSON], &body(2049)).await;
    gateway
        .assert_refused(&answer, 413, "openapi-body-too-large")
        .await;
    // The same without a length that says so before.
    for (bytes, status) in [(2048, 200), (2049, 413)] {
        let text = body(bytes);
        let sent = format!(
            "POST /v1/pets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
             Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{bytes:x}\r\n{text}\r\n0\r\n\r\n"
        );
        let answer = raw(gateway.web(), &sent, DEADLINE).await;
        assert_eq!(answer.status(), Some(status), "{bytes}: {}", answer.text());
    }
    assert_eq!(upstream.request_count(), before + 1);
    // What has no schema is neither held nor bounded by this.
    let image = "x".repeat(100_000);
    let answer = gateway
        .post("/v1/pets", &[("content-type", "image/png")], &image)
        .await;
    assert_eq!(answer.status, 200);
    assert_eq!(upstream.last_request().body.len(), image.len());
}

#[tokio::test]
async fn a_report_refuses_nothing_and_tells_everything() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = store(&upstream, "mode: report, body_bytes_max: 1KiB").await;
    let answer = gateway.get("/v1/nothing").await;
    assert_eq!(answer.status, 200, "{answer}");
    let line = gateway.logged("/v1/nothing").await;
    assert_eq!(line["openapi_report"], "openapi-path (404)", "{line}");
    let answer = gateway.post("/v1/pets", &[JSON], r#"{"name":7}"#).await;
    assert_eq!(answer.status, 200, "{answer}");
    let line = gateway.logged("/v1/pets").await;
    let said = line["openapi_report"].as_str().unwrap();
    assert!(
        said.starts_with("openapi-body (400): `/name` of the body must be"),
        "{said}"
    );
    // Over the bound it goes on as well, whole.
    let long = format!(r#"{{"name":"{}"}}"#, "x".repeat(200_000));
    let answer = gateway.post("/v1/pets", &[JSON], &long).await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(upstream.last_request().body, long.as_bytes());
    let metrics = gateway.metrics().await;
    let reported = |code| {
        let labels = [("route", "pets"), ("code", code), ("outcome", "reported")];
        metrics.sum("weir_http_openapi_faults_total", &labels)
    };
    assert_eq!(reported("openapi-path"), 1.0);
    assert_eq!(reported("openapi-body"), 1.0);
    assert_eq!(reported("openapi-body-too-large"), 1.0);
}

#[tokio::test]
async fn a_client_that_never_ends_its_body_is_let_go() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = Lone::start(&format!(
        "
        services: {{ pets: {{ endpoints: [\"{}\"], timeouts: {{ idle: 300ms }} }} }}
        routes:
          - {{ path: \"/*\", to: pets, openapi: {{ inline: {:?} }} }}
        ",
        upstream.addr(),
        document("petstore.yaml"),
    ))
    .await;
    let sent = "POST /v1/pets HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n\
                Content-Length: 100\r\n\r\n{\"name\":";
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    assert_eq!(answer.status(), Some(408), "{}", answer.text());
    assert_eq!(upstream.request_count(), 0);
    let line = gateway.logged("/v1/pets").await;
    assert_eq!(
        (&line["reason"], &line["request_bytes"]),
        (&"request-timeout".into(), &8.into())
    );
}

#[tokio::test]
async fn examples_answer_and_say_so() {
    let place = Place::new();
    let file = place.directory().join("petstore.yaml");
    fs::write(&file, document("petstore.yaml")).unwrap();
    let gateway = place
        .start(&format!(
            "
            routes:
              - path: \"/*\"
                mock: true
                openapi: \"{}\"
                response_headers: {{ set: {{ x-from: \"{{request.host}}\" }} }}
            ",
            file.display()
        ))
        .await;
    let answer = gateway.get("/v1/pets/7").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("weir-mock")),
        (200, Some("getPet"))
    );
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("x-from"), Some("127.0.0.1"));
    let body: Value = answer.json();
    assert_eq!(body, serde_json::json!({ "id": 7, "name": "Rex" }));
    assert_eq!(gateway.logged("/v1/pets/7").await["mock"], 1);
    // Requests are judged all the same, bodies too.
    let answer = gateway.get("/v1/pets/x").await;
    gateway
        .assert_refused(&answer, 400, "openapi-parameter")
        .await;
    let answer = gateway.post("/v1/pets", &[JSON], "{}").await;
    gateway.assert_refused(&answer, 400, "openapi-body").await;
    let good = r#"{"name":"Rex"}"#;
    for client in [Client::http1(), Client::http2()] {
        let url = gateway.url("/v1/pets");
        let fields = [JSON, ("prefer", "example=rex")];
        let answer = client.post(&url, &fields, good.to_owned()).await.unwrap();
        assert_eq!(answer.status, 201, "{answer}");
        assert_eq!(answer.json::<Value>()["id"], 1);
    }
    let answer = gateway
        .get_with("/v1/pets/7", &[("prefer", "code=404")])
        .await;
    assert_eq!(answer.status, 404);
    assert_eq!(
        answer.header("weir-reason"),
        None,
        "it is an example, not a refusal"
    );
    let answer = gateway
        .get_with("/v1/pets/7", &[("prefer", "code=500")])
        .await;
    gateway
        .assert_refused(&answer, 501, "mock-no-example")
        .await;
    let answer = gateway
        .get_with("/v1/pets/7", &[("accept", "text/html")])
        .await;
    gateway
        .assert_refused(&answer, 406, "mock-unacceptable")
        .await;
    let told = || {
        gateway
            .process
            .stderr()
            .contains("1 of 6 operations have no example")
    };
    eventually(DEADLINE, async || told().then_some(())).await;
}

#[tokio::test]
async fn a_changed_document_comes_into_force_and_a_broken_one_does_not() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = store(&upstream, "").await;
    let file = gateway.place().directory().join("petstore.yaml");
    assert_eq!(gateway.get("/v1/cats").await.status, 404);
    let changed = document("petstore.yaml").replace("/pets/mine:", "/cats:");
    let replace = |text: &str| {
        let beside = file.with_extension("new");
        fs::write(&beside, text).unwrap();
        fs::rename(&beside, &file).unwrap();
    };
    replace(&changed);
    eventually(DEADLINE, async || {
        (gateway.get("/v1/cats").await.status == 200).then_some(())
    })
    .await;
    replace(&changed.replace("type: object", "type: objekt"));
    let said = "petstore.yaml at /components/schemas/Owner/type: no schema";
    eventually(DEADLINE, async || {
        gateway.process.stderr().contains(said).then_some(())
    })
    .await;
    assert_eq!(gateway.get("/v1/cats").await.status, 200);
    assert_eq!(gateway.get("/v1/pets/mine").await.status, 400);
    // So is a configuration that names it, and one that names no file.
    let refused = gateway
        .metrics()
        .await
        .sum("weir_config_refused_total", &[]);
    let missing = written(&upstream, "no-such-file.yaml", "");
    gateway.rewrite(&missing);
    eventually(DEADLINE, async || {
        let now = gateway
            .metrics()
            .await
            .sum("weir_config_refused_total", &[]);
        (now > refused).then_some(())
    })
    .await;
    assert!(gateway.process.stderr().contains("no-such-file.yaml: "));
    assert_eq!(gateway.get("/v1/cats").await.status, 200);
}
