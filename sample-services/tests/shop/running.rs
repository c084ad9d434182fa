//! A service under test, on a free port of loopback.

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use clap::Parser;
use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use weir_sample_services::arguments::{Arguments, Service};
use weir_sample_services::serve::{Drained, Server};
use weir_sample_services::shell::Readiness;
use weir_sample_services::{orders, users};
use weir_testkit::client::{Client, Response};

pub struct Running {
    pub address: SocketAddr,
    pub client: Client,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Drained>,
    _keys: TempDir,
}

impl Running {
    pub async fn users(flags: &[&str]) -> Self {
        let keys = tempfile::tempdir().unwrap();
        let directory = keys.path().to_str().unwrap();
        let Service::Users(arguments) = parse("users", flags, &["--key-dir", directory]) else {
            panic!("users is asked for");
        };
        let readiness = Readiness::default();
        let router = users::router(&arguments, &readiness).unwrap();
        Self::start(router, arguments.common.faults, readiness, keys).await
    }

    pub async fn orders(users_url: &str, flags: &[&str]) -> Self {
        let Service::Orders(arguments) = parse("orders", flags, &["--users-url", users_url]) else {
            panic!("orders is asked for");
        };
        let readiness = Readiness::default();
        let router = orders::router(&arguments, &readiness).unwrap();
        let keys = tempfile::tempdir().unwrap();
        Self::start(router, arguments.common.faults, readiness, keys).await
    }

    async fn start(router: Router, faults: bool, readiness: Readiness, keys: TempDir) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let drain_timeout = Duration::from_secs(5);
        let server = Server {
            drain_timeout,
            is_resettable: faults,
            readiness,
        };
        let task = tokio::spawn(server.run(listener, router, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            client: Client::http1(),
            stop: Some(stop),
            task,
            _keys: keys,
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub async fn get(&self, path: &str) -> Response {
        self.client.get(&self.url(path)).await.unwrap()
    }

    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        self.client
            .get_with(&self.url(path), headers)
            .await
            .unwrap()
    }

    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Response {
        let mut headers = headers.to_vec();
        headers.push(("content-type", "application/json"));
        self.client
            .post(&self.url(path), &headers, body.to_string())
            .await
            .unwrap()
    }

    pub fn begin_stop(&mut self) {
        self.stop.take();
    }

    pub async fn stopped(self) -> Drained {
        self.task.await.unwrap()
    }
}

fn parse(service: &str, flags: &[&str], more: &[&str]) -> Service {
    let program = ["weir-sample-services", service];
    let all = program.iter().chain(flags).chain(more).copied();
    Arguments::try_parse_from(all).unwrap().service
}

/// Asserts an `application/problem+json` of that status and code, and returns it.
#[track_caller]
pub fn problem(response: &Response, status: u16, code: &str) -> Value {
    assert_eq!(response.status.as_u16(), status, "{response}");
    assert_eq!(
        response.header("content-type"),
        Some("application/problem+json")
    );
    let document: Value = response.json();
    assert_eq!(document["status"], status);
    assert_eq!(document["code"], code, "{response}");
    document
}

/// Asserts that every operation of the service's OpenAPI document is there.
pub async fn assert_documented_operations_exist(service: &Running) {
    let document: Value = service.get("/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        let path = path.replace("{id}", "1");
        for method in operations.as_object().unwrap().keys() {
            let response = match method.as_str() {
                "get" => service.get(&path).await,
                "post" => service.post(&path, &[], &Value::Null).await,
                other => panic!("no test for {other}"),
            };
            let status = response.status.as_u16();
            assert!(
                status != 404 && status != 405,
                "{method} {path}: {response}"
            );
        }
    }
}
