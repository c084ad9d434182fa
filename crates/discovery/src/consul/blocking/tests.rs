//! The rules of blocking queries against an agent by script.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use weir_config::endpoint::Endpoint;

use super::*;
use crate::consul::KvView;
use crate::consul::scripted::{DEADLINE, Says, Scripted};

fn instances(ports: &[u16]) -> String {
    let instance = |port: &u16| {
        format!(
            r#"{{"Node": {{"Node": "n", "Address": "10.0.0.1"}}, "Checks": [],
                "Service": {{"ID": "u{port}", "Service": "users", "Port": {port}}}}}"#
        )
    };
    format!(
        "[{}]",
        ports.iter().map(instance).collect::<Vec<_>>().join(",")
    )
}

async fn ports(watch: &mut Watch) -> Vec<String> {
    let members = tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap()
        .unwrap();
    members
        .iter()
        .map(|endpoint: &Endpoint| endpoint.address.clone())
        .collect()
}

async fn failing<T: ?Sized>(watch: &mut Watch<T>, expected: bool) -> Option<Arc<crate::Error>> {
    let status = async {
        while watch.status().last_error.is_some() != expected {
            watch.status_changed().await.unwrap();
        }
        watch.status().last_error
    };
    tokio::time::timeout(DEADLINE, status).await.unwrap()
}

#[test]
fn the_cursor_follows_the_index_rules() {
    let mut cursor = Cursor::default();
    assert!(!cursor.advance(Some(7)));
    assert_eq!(cursor.index, 7);
    assert!(!cursor.advance(Some(7)));
    assert!(cursor.advance(Some(3)), "went backwards");
    assert_eq!((cursor.index, cursor.seen), (0, 3));
    assert!(!cursor.advance(Some(4)));
    assert_eq!(cursor.index, 4);
    assert!(cursor.advance(Some(0)), "zero");
    assert!(cursor.advance(None), "missing");
    assert_eq!(cursor.index, 0);
    cursor.advance(Some(9));
    cursor.fail();
    assert_eq!(
        (cursor.index, cursor.seen),
        (0, 9),
        "a failure asks anew but remembers"
    );
    assert!(cursor.advance(Some(8)));
}

#[tokio::test]
async fn asks_with_the_index_and_publishes_changes_only() {
    let mut agent = Scripted::start().await;
    let mut watch = agent
        .consul()
        .watch_service("users", Some("v 2"), Some("dc1"));
    let first = agent.asked().await;
    assert_eq!(first.line, "GET /v1/health/service/users?tag=v%202&dc=dc1");
    agent.answer(200, 5, &instances(&[80, 81]));
    assert_eq!(ports(&mut watch).await, ["10.0.0.1:80", "10.0.0.1:81"]);
    let second = agent.asked().await;
    assert!(
        second.has("index=5") && second.has("wait=300000ms"),
        "{second:?}"
    );
    // The same instances in another order are no change.
    agent.answer(200, 6, &instances(&[81, 80]));
    assert!(agent.asked().await.has("index=6"));
    agent.answer(200, 7, &instances(&[80]));
    assert_eq!(ports(&mut watch).await, ["10.0.0.1:80"]);
}

#[tokio::test]
async fn a_rewound_index_starts_again_at_once() {
    let mut agent = Scripted::start().await;
    let mut watch = agent.consul().watch_service("users", None, None);
    agent.asked().await;
    agent.answer(200, 50, &instances(&[80]));
    ports(&mut watch).await;
    assert!(agent.asked().await.has("index=50"));
    agent.answer(200, 4, &instances(&[81]));
    assert_eq!(ports(&mut watch).await, ["10.0.0.1:81"]);
    assert!(!agent.asked().await.line.contains("index="));
    agent.answer(200, 4, &instances(&[81]));
    assert!(agent.asked().await.has("index=4"));
}

#[tokio::test]
async fn failures_freeze_back_off_and_ask_anew() {
    let mut agent = Scripted::start().await;
    let mut watch = agent.consul().watch_service("users", None, None);
    agent.asked().await;
    agent.answer(200, 50, &instances(&[80]));
    ports(&mut watch).await;
    assert!(agent.asked().await.has("index=50"));
    let started = Instant::now();
    agent.answer(500, None, "No cluster leader");
    let error = failing(&mut watch, true).await.unwrap().to_string();
    assert!(error.contains(&agent.address), "{error}");
    assert!(
        error.ends_with("health/service answered 500: No cluster leader"),
        "{error}"
    );
    for says in [
        Says::Answer(200, Some(51), "<html>".to_owned()),
        Says::Raw(b"\x16\x03\x01 this is not HTTP\r\n\r\n".to_vec()),
        Says::Close,
        Says::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n[{".to_vec()),
    ] {
        assert!(
            !agent.asked().await.line.contains("index="),
            "asks anew after a failure"
        );
        agent.say(says);
    }
    assert_eq!(agent.asked().await.line, "GET /v1/health/service/users");
    // 100 + 200 + 400 + 800 + 1600 ms, of which chance takes at most half.
    assert!(
        started.elapsed() >= Duration::from_millis(1550),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(watch.status().failures, 5);
    assert_eq!(watch.current().unwrap().len(), 1);
    agent.answer(200, 51, &instances(&[80]));
    failing(&mut watch, false).await;
    assert!(agent.asked().await.has("index=51"));
}

#[tokio::test]
async fn emptiness_after_an_outage_must_stand_for_a_while() {
    let mut agent = Scripted::start().await;
    let mut watch = agent.consul().watch_service("users", None, None);
    agent.answer(200, 50, &instances(&[80]));
    ports(&mut watch).await;
    agent.say(Says::Close);
    failing(&mut watch, true).await;
    agent.answer(200, 3, "[]");
    for _ in 0..4 {
        agent.asked().await;
    }
    let error = watch.status().last_error.unwrap();
    assert!(
        matches!(&*error, crate::Error::Emptied { name } if name == "users"),
        "{error}"
    );
    assert_eq!(watch.current().unwrap().len(), 1);
    // Those who registered come back: nothing was ever lost.
    agent.answer(200, 4, &instances(&[80]));
    failing(&mut watch, false).await;
    // Without an outage an empty answer is believed at once.
    agent.answer(200, 5, "[]");
    assert!(ports(&mut watch).await.is_empty());
    agent.answer(200, 6, &instances(&[80]));
    ports(&mut watch).await;
    // And after an outage when it has stood for the grace.
    let started = Instant::now();
    agent.answer(200, 2, "[]");
    agent.answer(200, 2, "[]");
    agent.asked().await;
    while agent.asked().await.line.contains("index=6") {}
    agent.asked().await;
    tokio::time::sleep_until(started + Duration::from_millis(400)).await;
    agent.answer(200, 2, "[]");
    assert!(ports(&mut watch).await.is_empty());
}

#[tokio::test]
async fn a_missing_key_keeps_its_index() {
    let mut agent = Scripted::start().await;
    let mut watch: Watch<KvView> = agent.consul().watch_key("weir/config");
    assert_eq!(agent.asked().await.line, "GET /v1/kv/weir/config");
    agent.answer(404, 9, "");
    let view = tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap()
        .unwrap();
    assert!(view.entries.is_empty() && view.index == 9);
    assert!(agent.asked().await.has("index=9"));
    agent.answer(
        200,
        10,
        r#"[{"Key": "weir/config", "Value": "aGk=", "CreateIndex": 10, "ModifyIndex": 10}]"#,
    );
    let view = tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        (view.entries[0].value.as_slice(), view.index),
        (b"hi".as_slice(), 10)
    );
    assert!(agent.asked().await.has("index=10"));
    // The index moves although the entry does not: no change.
    agent.answer(
        200,
        11,
        r#"[{"Key": "weir/config", "Value": "aGk=", "CreateIndex": 10, "ModifyIndex": 10}]"#,
    );
    assert!(agent.asked().await.has("index=11"));
    assert_eq!(watch.current().unwrap().index, 10);
}

#[tokio::test]
async fn an_index_of_zero_does_not_spin() {
    let mut agent = Scripted::start().await;
    let _watch = agent.consul().watch_service("users", None, None);
    let started = Instant::now();
    agent.asked().await;
    agent.answer(200, 0, "[]");
    agent.asked().await;
    assert!(started.elapsed() >= PACE_WITHOUT_INDEX);
}

#[tokio::test]
async fn dropping_the_watch_closes_the_query() {
    let mut agent = Scripted::start().await;
    let watch = agent.consul().watch_service("users", None, None);
    agent.asked().await;
    drop(watch);
    agent.answer(200, 5, &instances(&[80]));
    // The next request, whoever makes it, is not the watch's.
    agent.answer(200, None, "\"127.0.0.1:8300\"");
    assert!(agent.consul().leader().await.is_ok());
    assert_eq!(agent.asked().await.line, "GET /v1/status/leader");
}
