//! What a route decides on is what the service gets: every row of `docs/concepts/paths.md`, through
//! a running gateway; and what happens to header names that look like others.

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, raw};
use weir_testkit::upstream::{Reply, Upstream};

const PAGE: &str = include_str!("../../../docs/concepts/paths.md");

/// The cells of every row that begins with code.
fn rows() -> Vec<Vec<String>> {
    let rows = PAGE.lines().filter(|line| line.starts_with("| `"));
    let cells = |row: &str| {
        let row = row.replace("\\|", "\u{1}");
        let cells = row.trim_matches('|').split('|');
        let cells = cells.map(|cell| cell.trim().trim_matches('`').replace('\u{1}', "|"));
        cells.collect()
    };
    rows.map(cells).collect()
}

async fn gateway_with(option: &str, upstream: &Upstream) -> Lone {
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\"{option} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/*\", to: app }}
        ",
        place.web,
        upstream.addr()
    );
    place.start(&yaml).await
}

async fn check(gateway: &Lone, upstream: &Upstream, path: &str, is: &str) {
    upstream.forget_requests();
    let sent = format!("GET {path}?q=/../%2e HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    let (status, text) = (answer.status(), answer.text());
    if is == "400" {
        assert_eq!(status, Some(400), "{path}: {text}");
        assert!(text.contains("weir-reason: bad-path"), "{path}: {text}");
        assert!(upstream.requests().is_empty(), "{path}");
    } else {
        assert_eq!(status, Some(200), "{path}: {text}");
        assert_eq!(
            upstream.last_request().path,
            format!("{is}?q=/../%2e"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn the_service_gets_the_path_that_the_page_says() {
    let upstream = Upstream::start(Reply::ok(""));
    let gateway = gateway_with("", &upstream).await;
    let rows = rows();
    let (plain, optional): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|row| row[0].starts_with('/'));
    for row in plain {
        check(&gateway, &upstream, &row[0], &row[1]).await;
    }
    let mut options: Vec<_> = optional.iter().map(|row| row[0].clone()).collect();
    options.dedup();
    assert!(options.len() >= 3);
    for option in options {
        let gateway = gateway_with(&format!(", paths: {{ {option} }}"), &upstream).await;
        for row in optional.iter().filter(|row| row[0] == option) {
            check(&gateway, &upstream, &row[1], &row[2]).await;
        }
    }
}

#[tokio::test]
async fn a_header_name_that_looks_like_another_is_dropped_unless_told() {
    let upstream = Upstream::start(Reply::ok(""));
    for (option, status, arrives) in [
        ("", 200, false),
        (", headers_with_underscores: drop", 200, false),
        (", headers_with_underscores: allow", 200, true),
        (", headers_with_underscores: reject", 400, false),
    ] {
        let gateway = gateway_with(option, &upstream).await;
        for client in [Client::http1(), Client::http2()] {
            upstream.forget_requests();
            let url = gateway.url("/x");
            let fields = [("x_user", "6"), ("x-a", "1")];
            let answer = client.get_with(&url, &fields).await.unwrap();
            assert_eq!(answer.status, status, "{option}: {answer}");
            if status == 400 {
                gateway.assert_refused(&answer, 400, "bad-header").await;
                assert!(upstream.requests().is_empty());
                continue;
            }
            let seen = upstream.last_request();
            assert_eq!(seen.header("x_user").is_some(), arrives, "{option}");
            assert_eq!(seen.header("x-a"), Some("1"), "{option}");
        }
    }
}
