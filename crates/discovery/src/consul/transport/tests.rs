//! Deadlines, bounds and errors of single calls against an agent by script.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Instant;

use super::*;
use crate::consul::scripted::{Says, Scripted};
use crate::consul::{Consul, Health, Registrar, Registration, Settings, Token, VALUE_BYTES_MAX};

#[test]
fn targets_are_encoded() {
    let call = Call::get("kv")
        .key("a b/ü?&")
        .query("dc", "x&y")
        .with_flag("recurse");
    assert_eq!(call.target, "/v1/kv/a%20b/%C3%BC%3F%26?dc=x%26y&recurse");
    assert_eq!(
        Call::get("health/service").segment("a/b").target,
        "/v1/health/service/a%2Fb"
    );
}

#[tokio::test]
async fn the_deadline_covers_headers_and_body() {
    let agent = Scripted::start().await;
    let settings = Settings {
        call_timeout: Duration::from_millis(100),
        ..agent.settings()
    };
    let consul = Consul::new(settings).unwrap();
    let started = Instant::now();
    let error = consul.leader().await.unwrap_err();
    assert!(
        matches!(
            &error,
            Error::Timeout {
                what: "status/leader",
                ..
            }
        ),
        "{error}"
    );
    assert!(started.elapsed() < Duration::from_secs(2));
    assert!(error.to_string().contains(&agent.address), "{error}");
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = Consul::new(Settings::new(address.clone()))
        .unwrap()
        .leader()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }));
    assert!(
        error
            .to_string()
            .starts_with(&format!("consul at {address} is unreachable: "))
    );
}

#[tokio::test]
async fn an_endless_body_is_cut() {
    let agent = Scripted::start().await;
    let mut bytes = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
    bytes.resize(bytes.len() + BODY_BYTES_MAX + 1, b' ');
    agent.say(Says::Raw(bytes));
    assert!(matches!(
        agent.consul().leader().await.unwrap_err(),
        Error::TooLarge { .. }
    ));
}

#[tokio::test]
async fn a_refusal_is_trimmed_and_shows_no_token() {
    let mut agent = Scripted::start().await;
    let settings = Settings {
        token: Some(Token::text("s3cret")),
        ..agent.settings()
    };
    let consul = Consul::new(settings).unwrap();
    agent.answer(
        403,
        None,
        &format!("Permission denied {}", "x".repeat(5000)),
    );
    let error = consul.kv_get("a").await.unwrap_err();
    assert!(
        agent
            .asked()
            .await
            .text
            .contains("x-consul-token: s3cret\r\n")
    );
    let Error::Status {
        code: 403, body, ..
    } = &error
    else {
        panic!("{error}")
    };
    assert_eq!(body.chars().count(), REFUSAL_CHARS_MAX);
    assert!(!format!("{error:?}{consul:?}").contains("s3cret"));
}

#[tokio::test]
async fn large_values_are_not_sent() {
    let agent = Scripted::start().await;
    let value = vec![0; VALUE_BYTES_MAX + 1];
    let error = agent.consul().kv_put("a", &value).await.unwrap_err();
    assert!(matches!(
        error,
        Error::TooLarge {
            bytes_max: VALUE_BYTES_MAX,
            ..
        }
    ));
}

#[tokio::test]
async fn a_forgotten_check_is_registered_again() {
    let mut agent = Scripted::start().await;
    let registrar = Registrar::new(agent.consul());
    agent.answer(200, None, "");
    let registration = Registration {
        id: "u1".into(),
        name: "users".into(),
        address: "10.0.0.1".into(),
        port: 80,
        tags: Vec::new(),
        meta: [(
            "weir-identity".to_owned(),
            "spiffe://x/service/users".to_owned(),
        )]
        .into(),
        ttl: Duration::from_secs(10),
        deregister_after: None,
    };
    registrar.register(registration).await.unwrap();
    let first = agent.asked().await;
    let path = "PUT /v1/agent/service/register?replace-existing-checks=true";
    assert_eq!(first.line, path);
    assert!(
        first.text.contains(r#""TTL":"10000ms","Status":"passing""#),
        "{}",
        first.text
    );
    for (status, body) in [
        (404, "Unknown check ID \"service:u1\""),
        (500, "CheckID \"service:u1\" does not have associated TTL"),
    ] {
        agent.answer(status, None, body);
        agent.answer(200, None, "");
        assert!(registrar.fail("u1", body).await.unwrap());
        let update = agent.asked().await;
        assert_eq!(update.line, "PUT /v1/agent/check/update/service%3Au1");
        let again = agent.asked().await;
        assert_eq!(again.line, path);
        assert!(
            again.text.contains(r#""Status":"critical""#),
            "keeps its state: {}",
            again.text
        );
    }
    agent.answer(500, None, "No cluster leader");
    assert!(registrar.fail("u1", "other").await.is_err());
    assert!(!registrar.pass("u2").await.unwrap());
    agent.answer(500, None, "CheckID is odd");
    assert!(
        agent
            .consul()
            .update_check("c", Health::Passing, "")
            .await
            .is_err()
    );
}
