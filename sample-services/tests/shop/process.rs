//! The binary: its log, its signals and its exit codes.

use std::time::Duration;

use serde_json::Value;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready, Signal};

const DEADLINE: Duration = Duration::from_secs(20);

fn launch() -> Launch {
    Launch::program(env!("CARGO_BIN_EXE_weir-sample-services"))
}

fn log(process: &Process) -> Vec<Value> {
    process
        .stderr()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[tokio::test]
async fn it_serves_logs_and_drains() {
    let address = free_addr();
    let url = format!("http://{address}");
    let mut users = launch()
        .args(["users", "--key-dir", "keys"])
        .env("WEIR_SHOP_LISTEN", address.to_string())
        .start();
    users
        .wait_ready(&Ready::Url(format!("{url}/readyz")), DEADLINE)
        .await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [("traceparent", parent), ("x-request-id", "request-7")];
    let login = r#"{"email":"demo@weir.example","password":"demo"}"#;
    let json_type = [("content-type", "application/json")];
    let client = Client::http1();
    client
        .post(&format!("{url}/users/login"), &json_type, login)
        .await
        .unwrap();
    client
        .get_with(&format!("{url}/users/1"), &headers)
        .await
        .unwrap();
    let status = users.terminate(DEADLINE).await;
    assert_eq!(status.code(), Some(0), "{}", users.tail());

    let log = log(&users);
    let request = log.iter().find(|line| line["path"] == "/users/1").unwrap();
    assert_eq!(request["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(request["request_id"], "request-7");
    assert_eq!(
        (request["status"].as_u64(), &request["level"]),
        (Some(200), &"INFO".into())
    );
    assert_eq!(log.last().unwrap()["message"], "stopped");
    assert!(
        !users.stderr().contains("password"),
        "secrets are not logged"
    );
}

#[tokio::test]
async fn a_request_that_outlives_the_drain_is_cut_off_and_told() {
    let address = free_addr();
    let mut users = launch()
        .args([
            "users",
            "--faults",
            "--key-dir",
            "keys",
            "--drain-timeout",
            "100ms",
            "--listen",
        ])
        .arg(address.to_string())
        .start();
    users.wait_ready(&Ready::Tcp(address), DEADLINE).await;
    let (client, url) = (Client::http1(), format!("http://{address}"));
    let json_type = [("content-type", "application/json")];
    let fault = r#"{"status":200,"delay_ms":30000,"remaining":1}"#;
    client
        .post(&format!("{url}/faults"), &json_type, fault)
        .await
        .unwrap();
    let slow = tokio::spawn({
        let (client, url) = (client.clone(), format!("{url}/flaky"));
        async move { client.deadline(DEADLINE).get(&url).await }
    });
    // The request under way must have arrived before the signal.
    eventually(DEADLINE, async || {
        let current = client.get(&format!("{url}/faults")).await.unwrap();
        current.json::<Value>()["remaining"] == 0
    })
    .await;
    users.signal(Signal::SIGINT);
    assert_eq!(
        users.wait_exit(DEADLINE).await.code(),
        Some(1),
        "{}",
        users.tail()
    );
    assert!(slow.await.unwrap().is_err());
}

#[tokio::test]
async fn what_keeps_it_from_starting_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let cases: [(&[&str], &str); 4] = [
        (
            &["users", "--key-dir", "keys", "--listen", &address],
            "choose another with --listen",
        ),
        (
            &["users", "--key-dir", "/dev/null/keys"],
            "cannot use /dev/null/keys",
        ),
        (
            &["orders", "--users-url", "https://users"],
            "http://HOST:PORT",
        ),
        (&["users"], "--key-dir"),
    ];
    for (arguments, message) in cases {
        let mut process = launch().args(arguments.iter().copied()).start();
        assert_eq!(
            process.wait_exit(DEADLINE).await.code(),
            Some(2),
            "{arguments:?}"
        );
        assert!(process.stderr().contains(message), "{}", process.stderr());
    }
}
