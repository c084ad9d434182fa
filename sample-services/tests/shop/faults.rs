//! Faults on demand, and the drain.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_sample_services::serve::Drained;
use weir_testkit::client::{Client, ClientError, Ending, raw};
use weir_testkit::eventually::eventually;

use crate::running::{Running, problem};

const DEADLINE: Duration = Duration::from_secs(10);

#[tokio::test]
async fn without_the_flag_nothing_of_it_is_there() {
    let users = Running::users(&[]).await;
    let headers = [("x-fault-status", "503"), ("x-fault-reset", "true")];
    assert_eq!(users.get_with("/users/1", &headers).await.status, 200);
    problem(&users.get("/flaky").await, 404, "not-found");
    problem(
        &users.post("/faults", &[], &json!({})).await,
        404,
        "not-found",
    );
}

#[tokio::test]
async fn headers_make_one_request_fail() {
    let users = Running::users(&["--faults"]).await;
    problem(
        &users
            .get_with("/users/1", &[("x-fault-status", "503")])
            .await,
        503,
        "fault",
    );
    problem(
        &users.get_with("/users/1", &[("x-fault-delay", "1h")]).await,
        400,
        "invalid-fault",
    );
    assert_eq!(users.get("/users/1").await.status, 200);

    let start = Instant::now();
    let delayed = users
        .get_with("/users/1", &[("x-fault-delay", "120ms")])
        .await;
    assert!(delayed.status == 200 && start.elapsed() >= Duration::from_millis(120));

    let large = users
        .get_with("/users/1", &[("x-fault-size", "100KiB")])
        .await;
    assert_eq!((large.status.as_u16(), large.body.len()), (200, 102_400));

    let start = Instant::now();
    let slow = users
        .get_with("/users/1", &[("x-fault-trickle", "10ms")])
        .await;
    assert_eq!(slow.json::<Value>()["name"], "Demo Customer");
    assert_eq!(slow.header("content-length"), Some("31"));
    assert!(start.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_reset_is_a_reset() {
    let users = Running::users(&["--faults"]).await;
    let request = "GET /users/1 HTTP/1.1\r\nHost: h\r\nX-Fault-Reset: true\r\n\r\n";
    let answer = raw(users.address, request, DEADLINE).await;
    assert_eq!((answer.ending, answer.bytes.len()), (Ending::Reset, 0));
}

#[tokio::test]
async fn flaky_fails_as_told() {
    let users = Running::users(&["--faults"]).await;
    assert_eq!(users.get("/flaky").await.status, 200);
    problem(
        &users.get_with("/flaky", &[("x-fault-status", "500")]).await,
        500,
        "fault",
    );

    let set = users.post("/faults", &[], &json!({ "remaining": 2 })).await;
    assert_eq!(
        set.json::<Value>(),
        json!({ "status": 503, "delay_ms": 0, "remaining": 2 })
    );
    problem(&users.get("/flaky").await, 503, "flaky");
    assert_eq!(users.get("/users/1").await.status, 200);
    assert_eq!(users.get("/faults").await.json::<Value>()["remaining"], 1);
    problem(&users.get("/flaky").await, 503, "flaky");
    assert_eq!(users.get("/flaky").await.status, 200);
    assert_eq!(users.get("/faults").await.json::<Value>(), Value::Null);

    users.post("/faults", &[], &json!({ "status": 500 })).await;
    for _ in 0..3 {
        problem(&users.get("/flaky").await, 500, "flaky");
    }
    let delete = weir_testkit::client::request(
        "DELETE".parse().unwrap(),
        &users.url("/faults"),
        &[],
        Default::default(),
    );
    assert_eq!(
        users.client.send(delete.unwrap()).await.unwrap().status,
        204
    );
    assert_eq!(users.get("/flaky").await.status, 200);
    let wrong = json!({ "status": 99, "delay_ms": 60_001 });
    problem(
        &users.post("/faults", &[], &wrong).await,
        422,
        "invalid-body",
    );
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way() {
    for client in [Client::http1(), Client::http2()] {
        let mut users = Running::users(&["--faults"]).await;
        let mut idle = client.connect(&users.url("/")).await.unwrap();
        assert_eq!(idle.get("/readyz").await.unwrap().text(), "ready\n");
        let fault = json!({ "status": 200, "delay_ms": 400, "remaining": 1 });
        users.post("/faults", &[], &fault).await;
        let url = users.url("/flaky");
        let slow = tokio::spawn({
            let (client, url) = (client.clone(), url.clone());
            async move { client.get(&url).await }
        });
        // The request under way must have arrived before the stop.
        eventually(DEADLINE, async || {
            users.get("/faults").await.json::<Value>()["remaining"] == 0
        })
        .await;
        users.begin_stop();
        eventually(DEADLINE, async || idle.is_closed()).await;
        let refused = client.get(&url).await;
        assert!(
            matches!(refused, Err(ClientError::Connect(_))),
            "{refused:?}"
        );
        assert!(!slow.is_finished());
        assert_eq!(slow.await.unwrap().unwrap().status, 200);
        assert_eq!(users.stopped().await, Drained::Whole);
    }
}
