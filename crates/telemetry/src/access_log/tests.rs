//! Lines as a reader of the log gets them, and what happens when nobody reads.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc::Receiver;

use proptest::prelude::{any, prop, proptest};
use serde_json::Value;

use super::*;
use crate::termination::Termination;

fn record<'a>() -> AccessRecord<'a> {
    AccessRecord {
        time_unix_ms: 1_735_689_599_001,
        listener: "web",
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        client_port: 4711,
        method: "GET",
        scheme: "https",
        host: b"shop.example",
        path: b"/api/users/1",
        protocol: http::Version::HTTP_2,
        status: 200,
        grpc_status: None,
        termination: Termination::Ok,
        reason: None,
        decision_id: None,
        route: Some("users"),
        api_version: Some("v2"),
        service: Some("users"),
        endpoint: Some("[::1]:5000"),
        attempts: 1,
        request_bytes: 0,
        response_bytes: 42,
        duration_us: 1234,
        upstream_us: Some(1000),
        fault_delay_us: Some(250),
        cache: Some("stale"),
        hedge: Some("won"),
        fallback: Some("no-endpoint"),
        mock: true,
        openapi_report: Some("openapi-body"),
        trace_id: None,
        user_agent: Some(b"curl/8"),
        peer: None,
        revision: 7,
    }
}

/// A log whose writer is this test.
fn log(queue: usize) -> (AccessLog, Receiver<Message>, Registry) {
    let registry = Registry::new(1);
    let (queue, messages) = sync_channel(queue);
    let log = AccessLog {
        queue: Some(queue),
        reopen: Arc::default(),
        dropped_queue_full: registry.family(&ACCESS_LOG_DROPPED).with(&["queue_full"]),
    };
    (log, messages, registry)
}

fn line(record: &AccessRecord<'_>) -> Vec<u8> {
    let (log, messages, _registry) = log(1);
    let mut buffer = log.buffer(0);
    buffer.write(record);
    buffer.flush();
    match messages.try_recv().unwrap() {
        Message::Lines(lines) => lines.bytes,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_line_says_what_happened() {
    let bytes = line(&record());
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        "{\"time\":\"2024-12-31T23:59:59.001Z\",\"listener\":\"web\",\"client\":\"127.0.0.1\",\
         \"client_port\":4711,\"method\":\"GET\",\"scheme\":\"https\",\"host\":\"shop.example\",\
         \"path\":\"/api/users/1\",\"protocol\":\"HTTP/2\",\"status\":200,\"termination\":\"ok\",\
         \"route\":\"users\",\"api_version\":\"v2\",\"service\":\"users\",\"endpoint\":\"[::1]:5000\",\"attempts\":1,\
         \"request_bytes\":0,\"response_bytes\":42,\"duration_us\":1234,\"upstream_us\":1000,\
         \"fault_delay_us\":250,\"fallback\":\"no-endpoint\",\"cache\":\"stale\",\"hedge\":\"won\",\
         \"mock\":1,\"openapi_report\":\"openapi-body\",\
         \"user_agent\":\"curl/8\",\"revision\":7}\n"
    );
}

#[test]
fn queries_are_never_logged_and_fields_are_bounded() {
    let long = "é".repeat(2000);
    let bytes = line(&AccessRecord {
        path: b"/login?token=secret",
        user_agent: Some(long.as_bytes()),
        ..record()
    });
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["path"], "/login");
    assert_eq!(value["user_agent"], format!("{}…", "é".repeat(512)));
    let odd = format!("x{long}");
    let bytes = line(&AccessRecord {
        host: odd.as_bytes(),
        ..record()
    });
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["host"], format!("x{}…", "é".repeat(511)));
}

proptest! {
    #[test]
    fn any_bytes_become_one_line_of_json(
        host in prop::collection::vec(any::<u8>(), 0..1500),
        path in prop::collection::vec(any::<u8>(), 0..100),
        user_agent in prop::collection::vec(any::<u8>(), 0..100),
        reason in ".*",
        time_unix_ms in any::<u64>(),
    ) {
        let bytes = line(&AccessRecord {
            time_unix_ms,
            host: &host,
            path: &path,
            user_agent: Some(&user_agent),
            reason: Some(&reason),
            ..record()
        });
        assert!(bytes.ends_with(b"}\n"));
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(!text.trim_end_matches('\n').contains(char::is_control), "{text:?}");
        let value: Value = serde_json::from_str(text).unwrap();
        if user_agent.len() <= json::FIELD_BYTES_MAX {
            assert_eq!(value["user_agent"], String::from_utf8_lossy(&user_agent).as_ref());
        }
        if reason.len() <= json::FIELD_BYTES_MAX {
            assert_eq!(value["reason"], reason);
        }
        assert_eq!(value["revision"], 7);
    }
}

#[test]
fn a_target_that_does_not_read_costs_lines_and_nothing_else() {
    let (log, messages, registry) = log(1);
    let mut buffer = log.buffer(0);
    for _ in 0..3 {
        buffer.write(&record());
        buffer.write(&record());
        buffer.flush();
    }
    assert!(!log.flush(Duration::ZERO));
    let dropped = registry.family(&ACCESS_LOG_DROPPED).with(&["queue_full"]);
    assert_eq!(dropped.value(), 4);
    assert_eq!(messages.try_iter().count(), 1);
    drop(messages);
    drop(buffer);
}

#[test]
fn a_full_buffer_is_handed_over_and_comes_back() {
    let (log, messages, _registry) = log(4);
    let mut buffer = log.buffer(0);
    let mut lines = loop {
        buffer.write(&record());
        if let Ok(Message::Lines(lines)) = messages.try_recv() {
            break lines;
        }
    };
    assert!(lines.bytes.len() >= 64 * 1024);
    assert_eq!(
        lines.count,
        lines.bytes.split(|byte| *byte == b'\n').count() as u64 - 1
    );
    let address = lines.bytes.as_ptr();
    lines.bytes.clear();
    lines.home.try_send(lines.bytes).unwrap();
    buffer.write(&record());
    buffer.flush();
    let Message::Lines(again) = messages.try_recv().unwrap() else {
        panic!()
    };
    assert_eq!(again.bytes.as_ptr(), address);
}

#[test]
fn a_file_is_written_and_opened_again_after_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let (path, rotated) = (
        directory.path().join("access.log"),
        directory.path().join("old.log"),
    );
    let registry = Registry::new(1);
    let log = AccessLog::start(LogTarget::File(path.clone()), &registry).unwrap();
    let wait = Duration::from_secs(10);

    let mut buffer = log.buffer(0);
    buffer.write(&record());
    buffer.flush();
    assert!(log.flush(wait));
    std::fs::rename(&path, &rotated).unwrap();
    log.reopen();
    buffer.write(&record());
    buffer.write(&record());
    drop(buffer);
    assert!(log.flush(wait));

    let lines = |path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((lines(&rotated), lines(&path)), (1, 2));
}

#[test]
fn targets() {
    assert_eq!("stdout".parse(), Ok(LogTarget::Stdout));
    assert_eq!("-".parse(), Ok(LogTarget::Stdout));
    assert_eq!("off".parse(), Ok(LogTarget::Off));
    assert_eq!(
        "/var/log/a".parse(),
        Ok(LogTarget::File("/var/log/a".into()))
    );

    let registry = Registry::new(1);
    let log = AccessLog::start(LogTarget::Off, &registry).unwrap();
    assert!(!log.buffer(0).enabled());
    assert!(log.flush(Duration::ZERO));
    let missing = LogTarget::File("/nonexistent/access.log".into());
    let error = AccessLog::start(missing, &registry).unwrap_err();
    assert!(
        error.to_string().contains("/nonexistent/access.log"),
        "{error}"
    );
}
