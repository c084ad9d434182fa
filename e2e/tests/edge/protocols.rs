//! What clients may speak: HTTP/1.0, HTTP/1.1, HTTP/2 by prior knowledge and by ALPN, real curl.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Version};
use serde_json::Value;
use weir_e2e::command;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, Ending, raw, request};
use weir_testkit::upstream::{Recorded, Reply, Script, Upstream};

fn document(upstream: &Upstream) -> String {
    format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    )
}

/// A listener in clear text and one with a development certificate, both towards `upstream`.
async fn both_listeners(upstream: &Upstream) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners:
          web: {{ bind: \"{}\" }}
          secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
        place.secure,
        upstream.addr()
    );
    place.start(&yaml).await
}

#[tokio::test]
async fn http1_and_http2_in_clear_text_on_one_port() {
    let upstream = Upstream::start(Reply::echo());
    let gateway = Lone::start(&document(&upstream)).await;
    for (client, version) in [
        (Client::http1(), Version::HTTP_11),
        (Client::http2(), Version::HTTP_2),
    ] {
        let answer = client.get(&gateway.url("/hello?a=1&b=%20")).await.unwrap();
        assert_eq!(answer.version, version);
        assert_eq!(answer.status, 200, "{answer}");
        let seen: Value = answer.json();
        assert_eq!(seen["path"], "/hello?a=1&b=%20");
        assert_eq!(seen["version"], "HTTP/1.1");
    }
}

#[tokio::test]
async fn requests_in_a_row_share_one_connection() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = Lone::start(&document(&upstream)).await;
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        for _ in 0..20 {
            assert_eq!(connection.get("/x").await.unwrap().status, 200);
        }
        assert!(!connection.is_closed());
    }
    let accepted = gateway
        .metrics()
        .await
        .sum("weir_listener_connections_accepted_total", &[]);
    assert_eq!(accepted, 2.0);
}

#[tokio::test]
async fn http2_streams_are_answered_side_by_side() {
    let slow = |request: &Recorded| match request.path.as_str() {
        "/slow" => Reply::ok("slow").delay(Duration::from_secs(30)),
        _ => Reply::ok("fast"),
    };
    let upstream = Upstream::start(Script::by(slow));
    let gateway = Lone::start(&document(&upstream)).await;
    let mut connection = Client::http2().connect(&gateway.url("/")).await.unwrap();
    let mut second = connection.http2_sender().unwrap();
    let slow = http::Request::get(gateway.url("/slow"))
        .body(Bytes::new().into())
        .unwrap();
    let waiting = tokio::spawn(second.send_request(slow));
    upstream.wait_for_requests(1, weir_e2e::DEADLINE).await;
    assert_eq!(connection.get("/fast").await.unwrap().text(), "fast");
    assert!(!waiting.is_finished());
    waiting.abort();
}

#[tokio::test]
async fn alpn_decides_between_http1_and_http2_over_tls() {
    let upstream = Upstream::start(Reply::echo());
    let gateway = both_listeners(&upstream).await;
    for (client, version) in [
        (Client::http1(), Version::HTTP_11),
        (Client::http2(), Version::HTTP_2),
    ] {
        let answer = client.get(&gateway.secure_url("/x")).await.unwrap();
        assert_eq!((answer.version, answer.status.as_u16()), (version, 200));
        let seen: Value = answer.json();
        let headers = seen["headers"].to_string();
        assert!(
            headers.contains(r#"["x-forwarded-proto","https"]"#),
            "{headers}"
        );
    }
}

#[tokio::test]
async fn curl_speaks_http2_over_tls_and_with_prior_knowledge() {
    let upstream = Upstream::start(Reply::ok("to curl"));
    let gateway = both_listeners(&upstream).await;
    let (clear, secure) = (gateway.url("/c"), gateway.secure_url("/c"));
    let out = "%{http_version} %{http_code} %{num_connects}";
    for (flags, url, expected) in [
        (vec!["--http2"], &secure, "2 200"),
        (vec!["--http1.1"], &secure, "1.1 200"),
        (vec!["--http2-prior-knowledge"], &clear, "2 200"),
        (vec!["--http1.0"], &clear, "1 200"),
        // An offer to upgrade to h2c is not taken; the request is served all the same.
        (vec!["--http2"], &clear, "1.1 200"),
    ] {
        let mut arguments = vec!["-sk", "-o", "/dev/null", "-w", out];
        arguments.extend(&flags);
        arguments.push(url);
        let said = command::program("curl", &arguments).await.fine();
        assert!(said.starts_with(expected), "{flags:?} {url}: {said}");
    }
}

#[tokio::test]
async fn http_1_0_is_answered_and_closed() {
    let upstream = Upstream::start(Reply::ok("old but here").chunked());
    let gateway = Lone::start(&document(&upstream)).await;
    let sent = "GET /x HTTP/1.0\r\n\r\n";
    let answer = raw(gateway.web(), sent, Duration::from_secs(5)).await;
    assert_eq!(
        (answer.status(), answer.ending),
        (Some(200), Ending::Closed),
        "{answer:?}"
    );
    let text = answer.text();
    // A client of that age does not know chunks.
    assert!(
        !text.to_ascii_lowercase().contains("transfer-encoding"),
        "{text}"
    );
    assert!(text.ends_with("\r\n\r\nold but here"), "{text}");

    let sent = "GET /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n";
    upstream.set_script(Reply::ok("again"));
    let answer = raw(gateway.web(), sent.repeat(2), Duration::from_millis(800)).await;
    assert_eq!(answer.text().matches("again").count(), 2, "{answer:?}");
}

#[tokio::test]
async fn head_has_the_length_and_no_body() {
    let upstream = Upstream::start(Reply::ok("twelve bytes"));
    let gateway = Lone::start(&document(&upstream)).await;
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let head = request(Method::HEAD, "/x", &[], Bytes::new()).unwrap();
        let answer = connection.send(head).await.unwrap();
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-length"), Some("12"), "{answer}");
        assert!(answer.body.is_empty());
        assert_eq!(upstream.last_request().method, "HEAD");
        // The connection is where it should be.
        assert_eq!(connection.get("/x").await.unwrap().text(), "twelve bytes");
    }
}

#[tokio::test]
async fn answers_without_a_body_stay_without_one() {
    let script = |request: &Recorded| match request.path.as_str() {
        "/204" => Reply::status(204).header("x-kept", "1"),
        _ => Reply::status(304).header("etag", "\"v1\""),
    };
    let upstream = Upstream::start(Script::by(script));
    let gateway = Lone::start(&document(&upstream)).await;
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let empty = connection.get("/204").await.unwrap();
        assert_eq!(
            (empty.status.as_u16(), empty.header("x-kept")),
            (204, Some("1"))
        );
        assert!(empty.body.is_empty() && empty.header("transfer-encoding").is_none());
        let unchanged = connection.get("/304").await.unwrap();
        assert_eq!(
            (unchanged.status.as_u16(), unchanged.header("etag")),
            (304, Some("\"v1\""))
        );
        assert!(unchanged.body.is_empty());
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_told_to_go_on() {
    let upstream = Upstream::start(Reply::echo());
    let gateway = Lone::start(&document(&upstream)).await;
    let body = "x".repeat(4000);
    let url = gateway.url("/upload");
    let said = command::program(
        "curl",
        &[
            "-sv",
            "-H",
            "Expect: 100-continue",
            "--expect100-timeout",
            "20",
            "-d",
            &body,
            &url,
        ],
    )
    .await;
    assert!(
        said.stderr.contains("< HTTP/1.1 100 Continue"),
        "{}",
        said.stderr
    );
    assert!(said.stderr.contains("< HTTP/1.1 200"), "{}", said.stderr);
    assert_eq!(upstream.last_request().body_bytes, 4000);
}

#[tokio::test]
async fn a_refused_client_that_expects_100_continue_sends_no_body() {
    let upstream = Upstream::start(Reply::ok(""));
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: /small, body_bytes_max: 1KiB, to: app }}]
        ",
        upstream.addr()
    );
    let gateway = Lone::start(&yaml).await;
    let sent = "POST /small HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\
                Content-Length: 5000\r\n\r\n";
    let answer = raw(gateway.web(), sent, Duration::from_secs(5)).await;
    assert_eq!(answer.status(), Some(413), "{}", answer.text());
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_listener_for_one_protocol_does_not_understand_the_other() {
    let upstream = Upstream::start(Reply::ok("x"));
    for (only, speaks, other) in [
        ("http1", Client::http1(), Client::http2()),
        ("http2", Client::http2(), Client::http1()),
    ] {
        let place = Place::new();
        let yaml = format!(
            "
            listeners:
              web: {{ bind: \"{}\", protocols: [{only}] }}
              secure:
                bind: \"{}\"
                protocols: [{only}]
                tls: {{ self_signed: [localhost] }}
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            place.web,
            place.secure,
            upstream.addr()
        );
        let gateway = place.start(&yaml).await;
        for url in [gateway.url("/x"), gateway.secure_url("/x")] {
            assert_eq!(speaks.get(&url).await.unwrap().status, 200, "{only} {url}");
            let answer = other.get(&url).await;
            assert!(
                !answer.is_ok_and(|answer| answer.status == 200),
                "{only} {url}"
            );
        }
    }
}
