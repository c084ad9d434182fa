//! What a gateway tells about itself: access log, trace context, metrics, readiness, log level.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, request};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

/// `/ok`, `/reset` and `/hang` are what they say at the service; `/own` Weir answers.
async fn stand() -> (Upstream, Lone) {
    let script = |request: &Recorded| -> Answer {
        match request.path.split('?').next().unwrap() {
            "/reset" => Answer::Reset,
            "/hang" => Answer::Hang,
            "/half" => Reply::ok(vec![b'x'; 1000]).reset_after(500).into(),
            "/slow" => Reply::ok("slow").delay(Duration::from_secs(2)).into(),
            _ => Reply::ok("fine").into(),
        }
    };
    let upstream = Upstream::start(Script::by(script));
    let gateway = Lone::start(&document(&upstream)).await;
    (upstream, gateway)
}

fn document(upstream: &Upstream) -> String {
    format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], retry: false, outlier: false }} }}
        routes:
          - {{ name: everything, path: \"/*\", to: app }}
          - {{ name: own, path: /own, respond: {{ status: 200, body: own }} }}
          - {{ name: limited, path: /limited, to: app, limit: {{ rate: 1/h }} }}
        ",
        upstream.addr()
    )
}

#[tokio::test]
async fn a_line_of_the_access_log_says_what_happened() {
    let (upstream, gateway) = stand().await;
    let headers = [
        ("user-agent", "test \"quoted\"/1.0"),
        ("host", "shop.example"),
    ];
    gateway.post("/ok?token=s3cret", &headers, "12345").await;
    let line = gateway.logged("/ok").await;
    assert_eq!(line["listener"], "web");
    assert_eq!(line["client"], "127.0.0.1");
    assert_eq!(line["method"], "POST");
    assert_eq!(line["scheme"], "http");
    assert_eq!(line["host"], "shop.example");
    assert_eq!(line["protocol"], "HTTP/1.1");
    assert_eq!(line["status"], 200);
    assert_eq!(line["termination"], "ok");
    assert_eq!(line["route"], "everything");
    assert_eq!(line["service"], "app");
    assert_eq!(line["endpoint"], upstream.addr().to_string());
    assert_eq!(line["attempts"], 1);
    assert_eq!(
        (&line["request_bytes"], &line["response_bytes"]),
        (&5.into(), &4.into())
    );
    assert_eq!(line["user_agent"], "test \"quoted\"/1.0");
    assert_eq!(line["revision"], 0);
    for number in ["client_port", "duration_us", "upstream_us"] {
        assert!(
            line[number].as_u64().is_some_and(|number| number > 0),
            "{number} in {line}"
        );
    }
    let time = line["time"].as_str().unwrap();
    assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
    assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    assert_eq!(line.get("reason"), None);
    assert_eq!(line.get("decision_id"), None);
}

#[tokio::test]
async fn every_end_has_its_termination_code() {
    let (upstream, gateway) = stand().await;
    gateway.get("/own").await;
    assert_eq!(gateway.logged("/own").await["termination"], "ok");

    gateway.get("/limited").await;
    let refused = gateway.get("/limited").await;
    let line = eventually(DEADLINE, async || {
        gateway
            .access_log()
            .into_iter()
            .find(|line| line["status"] == 429)
    })
    .await;
    assert_eq!(line["termination"], "refused");
    assert_eq!(line["reason"], "rate-limited");
    assert_eq!(line["route"], "limited");
    assert_eq!(
        line["decision_id"].as_str(),
        refused.header("weir-decision")
    );

    assert_eq!(gateway.get("/reset").await.status, 502);
    let line = gateway.logged("/reset").await;
    assert_eq!(line["termination"], "upstream-reset-before-bytes");
    assert_eq!(
        (&line["status"], &line["reason"]),
        (&502.into(), &"upstream-reset".into())
    );

    Client::http1()
        .get(&gateway.url("/half"))
        .await
        .unwrap_err();
    let line = gateway.logged("/half").await;
    assert_eq!(line["termination"], "upstream-reset-after-bytes");
    assert_eq!(
        (&line["status"], &line["response_bytes"]),
        (&200.into(), &500.into())
    );

    let seen = upstream.request_count();
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let hanging = request(Method::GET, "/hang", &[], Bytes::new()).unwrap();
    tokio::select! {
        answer = connection.start(hanging) => panic!("{answer:?}"),
        () = upstream.wait_for_requests(seen + 1, DEADLINE) => {}
    }
    drop(connection);
    let line = gateway.logged("/hang").await;
    assert_eq!(line["termination"], "client-gone-before-response");
    assert_eq!(line["status"], 0);

    // Each end is counted under the same word.
    let metrics = gateway.metrics().await;
    for (code, count) in [
        ("ok", 2.0),
        ("refused", 1.0),
        ("upstream-reset-before-bytes", 1.0),
        ("upstream-reset-after-bytes", 1.0),
        ("client-gone-before-response", 1.0),
    ] {
        assert_eq!(
            metrics.sum("weir_http_request_ends_total", &[("reason", code)]),
            count,
            "{code}"
        );
    }
}

#[tokio::test]
async fn query_strings_and_tokens_are_written_nowhere() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = Place::new()
        .arg("--log-level=trace")
        .start(&document(&upstream))
        .await;
    let secret = "s3cr3t-in-the-query";
    let token = "Bearer s3cr3t-in-the-header";
    for path in ["/ok", "/own", "/..%2f", "/limited", "/limited"] {
        let sent = [
            ("authorization", token),
            ("cookie", "session=s3cr3t-in-the-cookie"),
        ];
        gateway
            .get_with(&format!("{path}?key={secret}"), &sent)
            .await;
    }
    let refused = gateway.get(&format!("/..%2f?key={secret}")).await;
    let decision = gateway.assert_refused(&refused, 400, "bad-path").await;
    assert!(!decision.to_string().contains("s3cr3t"), "{decision}");
    gateway.logged("/own").await;
    eventually(DEADLINE, async || gateway.access_log().len() == 6).await;
    assert!(!gateway.output().contains("s3cr3t"), "{}", gateway.output());
    assert!(!gateway.admin("/metrics").await.text().contains("s3cr3t"));
}

#[tokio::test]
async fn hostile_bytes_make_no_invalid_line() {
    let (_upstream, gateway) = stand().await;
    let sent = b"GET /odd\"\x27{}|^` HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\x1b[31m\xff\xfe\r\n\
                 Connection: close\r\n\r\n";
    weir_testkit::client::raw(gateway.web(), sent, DEADLINE).await;
    let sent = b"GET /agent HTTP/1.1\r\nHost: a\r\nUser-Agent: \"\\\xff\xfe\xc2\x9b\r\n\
                 Connection: close\r\n\r\n";
    weir_testkit::client::raw(gateway.web(), sent, DEADLINE).await;
    // Reading the log parses every line.
    gateway.logged("/agent").await;
    let output = gateway.process.stdout();
    assert!(
        output
            .lines()
            .all(|line| line.bytes().all(|byte| byte >= 0x20)),
        "{output}"
    );
}

#[tokio::test]
async fn a_trace_is_continued_and_otherwise_started() {
    let (upstream, gateway) = stand().await;
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let sent = format!("00-{trace}-{parent}-01");
    gateway
        .get_with(
            "/traced",
            &[("traceparent", &sent), ("tracestate", "a=1,b=2")],
        )
        .await;
    let seen = upstream.last_request();
    let passed: Vec<&str> = seen.header("traceparent").unwrap().split('-').collect();
    assert_eq!((passed[0], passed[1], passed[3]), ("00", trace, "01"));
    assert_ne!(passed[2], parent);
    assert_eq!(seen.header("tracestate"), Some("a=1,b=2"));
    assert_eq!(gateway.logged("/traced").await["trace_id"], trace);

    for wrong in [
        "",
        "00-0-0-01",
        "garbage",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
    ] {
        gateway.get_with("/new", &[("traceparent", wrong)]).await;
        let seen = upstream.last_request();
        let begun: Vec<&str> = seen.header("traceparent").unwrap().split('-').collect();
        assert_eq!(
            (begun.len(), begun[1].len(), begun[2].len()),
            (4, 32, 16),
            "{wrong:?}"
        );
        assert!(
            begun[1] != trace && begun[1].bytes().any(|byte| byte != b'0'),
            "{wrong:?}"
        );
    }
}

#[tokio::test]
async fn metrics_are_what_prometheus_expects() {
    let (_upstream, gateway) = stand().await;
    for path in ["/ok", "/own", "/reset", "/limited", "/limited", "/..%2f"] {
        gateway.get(path).await;
    }
    let answer = gateway.admin("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/plain; version=0.0.4"),
        "{answer}"
    );
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool
        .stdin
        .take()
        .unwrap()
        .write_all(&answer.body)
        .unwrap();
    let said = promtool.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr) + String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success() && text.trim().is_empty(), "{text}");
}

#[tokio::test]
async fn metrics_count_what_was_sent() {
    let (_upstream, gateway) = stand().await;
    for _ in 0..7 {
        gateway.post("/ok", &[], "12345").await;
    }
    for _ in 0..3 {
        gateway.get("/limited").await;
    }
    gateway.get("/reset").await;
    Client::http2().get(&gateway.url("/own")).await.unwrap();
    // The last record is written when its connection lets go of the exchange.
    let sum = async |name: &str, labels: &[(&str, &str)]| gateway.metrics().await.sum(name, labels);
    let requests = "weir_http_requests_total";
    eventually(DEADLINE, async || sum(requests, &[]).await == 12.0).await;
    let metrics = gateway.metrics().await;
    let everything = [
        ("listener", "web"),
        ("route", "everything"),
        ("service", "app"),
    ];
    let with = |status| [&everything[..], &[("status", status)]].concat();
    assert_eq!(metrics.sum(requests, &with("2xx")), 7.0);
    assert_eq!(metrics.sum(requests, &with("5xx")), 1.0);
    assert_eq!(
        metrics.sum(requests, &[("route", "limited"), ("status", "2xx")]),
        1.0
    );
    assert_eq!(
        metrics.sum(requests, &[("route", "limited"), ("status", "4xx")]),
        2.0
    );
    assert_eq!(metrics.sum(requests, &[("route", "own")]), 1.0);
    let of_route = [("route", "everything")];
    assert_eq!(
        metrics.sum("weir_http_request_body_bytes_total", &of_route),
        35.0
    );
    assert_eq!(
        metrics.sum("weir_http_request_duration_seconds_count", &of_route),
        8.0
    );
    assert_eq!(
        metrics.sum("weir_http_refusals_total", &[("code", "rate-limited")]),
        2.0
    );
    assert_eq!(
        metrics.sum("weir_http_refusals_total", &[("code", "upstream-reset")]),
        1.0
    );
    assert_eq!(
        metrics.sum("weir_upstream_attempts_total", &[("service", "app")]),
        9.0
    );
    assert_eq!(
        metrics.sum("weir_upstream_failures_total", &[("reason", "reset")]),
        1.0
    );
    assert_eq!(
        metrics.sum("weir_listener_connections_accepted_total", &[]),
        12.0
    );
    assert_eq!(metrics.sum("weir_http_requests_active", &[]), 0.0);
    assert_eq!(metrics.one("weir_build_info", &[("role", "gateway")]), 1.0);
    assert_eq!(metrics.one("weir_config_applied_total", &[]), 1.0);
    assert_eq!(metrics.sum("weir_config_refused_total", &[]), 0.0);
    assert!(metrics.one("process_resident_memory_bytes", &[]) > 0.0);
}

#[tokio::test]
async fn the_log_level_changes_while_it_runs() {
    let upstream = Upstream::start(Answer::Reset);
    let gateway = Lone::start(&document(&upstream)).await;
    let debug_lines = || gateway.process.stderr().matches("DEBUG").count();
    gateway.get("/x").await;
    assert_eq!(debug_lines(), 0, "{}", gateway.process.stderr());
    let set = async |level: &str| {
        let url = gateway.admin_url(&format!("/log?level={level}"));
        let put = request(Method::PUT, &url, &[], Bytes::new()).unwrap();
        Client::http1().send(put).await.unwrap()
    };
    assert_eq!(set("debug").await.status, 200);
    eventually(DEADLINE, async || {
        gateway.get("/x").await;
        debug_lines() > 0
    })
    .await;
    assert_eq!(set("shouting").await.status, 400);
    assert_eq!(set("warn").await.status, 200);
    let level: Value = gateway.admin("/log").await.json();
    assert_eq!(level["level"], "warn");
}

#[tokio::test]
async fn readiness_follows_the_life_of_the_process() {
    let script = Reply::ok("slow").delay(Duration::from_secs(1));
    let upstream = Upstream::start(script);
    let place = Place::new().arg("--drain-delay=1s").arg("--drain=15s");
    let mut gateway = place.launch(&document(&upstream));
    // While it starts it says so, or does not answer yet; once ready it takes requests.
    let client = Client::http1().deadline(Duration::from_secs(2));
    let ready = gateway.admin_url("/readyz");
    eventually(DEADLINE, async || match client.get(&ready).await {
        Err(error) => Err(error.to_string()),
        Ok(answer) if answer.status == 200 => Ok(()),
        Ok(answer) => {
            let state: Value = answer.json();
            assert_eq!(
                (answer.status.as_u16(), &state["state"]),
                (503, &"starting".into())
            );
            Err(state.to_string())
        }
    })
    .await;
    let url = gateway.url("/slow");
    let under_way = tokio::spawn(async move { Client::http1().get(&url).await });
    upstream.wait_for_requests(1, DEADLINE).await;

    let drain = request(
        Method::POST,
        &gateway.admin_url("/drain"),
        &[],
        Bytes::new(),
    )
    .unwrap();
    assert_eq!(Client::http1().send(drain).await.unwrap().status, 202);
    let answer = gateway.admin("/readyz").await;
    let state: Value = answer.json();
    assert_eq!(
        (answer.status.as_u16(), &state["state"]),
        (503, &"draining".into()),
        "{state}"
    );
    assert_eq!(gateway.admin("/healthz").await.status, 200);
    // Load balancers have not noticed yet: what they send is still served.
    assert_eq!(gateway.get("/own").await.text(), "own");
    assert_eq!(under_way.await.unwrap().unwrap().text(), "slow");
    assert_eq!(
        gateway.proxy.process.wait_exit(DEADLINE).await.code(),
        Some(0)
    );
}

#[tokio::test]
async fn what_runs_and_what_would_happen_can_be_asked() {
    let (_upstream, gateway) = stand().await;
    let config = gateway.admin("/config").await;
    assert_eq!(config.header("content-type"), Some("application/yaml"));
    assert!(
        config
            .header("weir-revision")
            .unwrap()
            .starts_with("sha256:"),
        "{config}"
    );
    let written = std::fs::read_to_string(gateway.place().config()).unwrap();
    assert_eq!(config.text(), written);
    let question = serde_json::json!({ "method": "GET", "url": "/limited" }).to_string();
    let url = gateway.admin_url("/explain");
    let said = Client::http1()
        .post(&url, &[("content-type", "application/json")], question)
        .await;
    let said = said.unwrap();
    assert_eq!(said.status, 200, "{said}");
    let explanation: Value = said.json();
    assert_eq!(explanation["route"], "limited", "{explanation}");
    assert_eq!(explanation["answer"]["kind"], "forwarded", "{explanation}");

    // A decision that nobody remembers is a 404.
    assert_eq!(
        gateway.admin("/decisions/0123456789abcdef").await.status,
        404
    );
}

#[tokio::test]
async fn the_access_log_goes_to_a_file_that_can_be_rotated_or_nowhere() {
    let upstream = Upstream::start(Reply::ok(""));
    let place = Place::new();
    let (file, moved) = (
        place.directory().join("access.log"),
        place.directory().join("access.log.1"),
    );
    let log = format!(
        "access_log: {{ file: \"{}\" }}\n{}",
        file.display(),
        document(&upstream).replace("\n        ", "\n")
    );
    let gateway = place.start(&log).await;
    let contains = |path: &std::path::Path, text: &str| {
        std::fs::read_to_string(path)
            .unwrap_or_default()
            .contains(text)
    };
    gateway.get("/before").await;
    eventually(DEADLINE, async || contains(&file, "/before")).await;
    std::fs::rename(&file, &moved).unwrap();
    gateway.hang_up();
    eventually(DEADLINE, async || {
        gateway.get("/after").await;
        contains(&file, "/after")
    })
    .await;
    assert!(!contains(&file, "/before"));
    assert_eq!(gateway.process.stdout(), "");

    let quiet = Place::new()
        .arg("--access-log=off")
        .start(&document(&upstream))
        .await;
    quiet.get("/quiet").await;
    eventually(DEADLINE, async || {
        quiet.metrics().await.sum("weir_http_requests_total", &[]) == 1.0
    })
    .await;
    assert_eq!(quiet.process.stdout(), "");
}
