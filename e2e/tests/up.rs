//! `weir up`: one command to the whole shop, and nothing of it left afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use http::{Method, Version};
use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::command::program;
use weir_e2e::consul::consul_agent;
use weir_e2e::metrics::Metrics;
use weir_testkit::client::{Client, Response, request};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::{free_addr, free_port};
use weir_testkit::process::{Launch, Process, Signal, binary};

/// A running `weir up` on ports of its own.
struct Up {
    process: Process,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
    api: SocketAddr,
    internal: u16,
    // After the process: it writes there until it is gone.
    directory: tempfile::TempDir,
}

impl Up {
    /// Starts it without waiting for anything.
    fn launch(more: &[String]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let [http, https, admin, api, mesh] = std::array::from_fn(|_| free_addr());
        let internal = free_row(8);
        let process = Launch::of("weir")
            .arg("up")
            .arg(format!("--http={http}"))
            .arg(format!("--https={https}"))
            .arg(format!("--gateway-admin={admin}"))
            .arg(format!("--api={api}"))
            .arg(format!("--mesh={mesh}"))
            .arg(format!("--internal-base-port={internal}"))
            .arg(format!("--state-dir={}", directory.path().display()))
            .args(more.iter().cloned())
            .start();
        Self {
            process,
            http,
            https,
            admin,
            api,
            internal,
            directory,
        }
    }

    /// Starts it and waits until it says that all runs.
    async fn start(more: &[String]) -> Self {
        let mut up = Self::launch(more);
        eventually(UP_DEADLINE, || {
            let stdout = up.process.stdout();
            let is_up = stdout.contains("Ctrl-C ends it all.") || stdout.contains("\"try\"");
            let ended = !is_up && !up.process.is_running();
            assert!(!ended, "{}", up.process.tail());
            let stderr = up.process.stderr();
            async move { if is_up { Ok(()) } else { Err(stderr) } }
        })
        .await;
        up
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.http)
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        Client::http1()
            .get_with(&self.url(path), headers)
            .await
            .unwrap()
    }

    async fn login(&self, algorithm: &str) -> Response {
        let body = format!(
            r#"{{"email":"demo@weir.example","password":"demo","algorithm":"{algorithm}"}}"#
        );
        let url = self.url("/api/users/login");
        // The password's hash takes its time in a debug build.
        let client = Client::http1().deadline(Duration::from_secs(30));
        client
            .post(&url, &[("content-type", "application/json")], body)
            .await
            .unwrap()
    }

    /// What runs beside it, besides itself.
    fn children(&self) -> Vec<u32> {
        self.process.descendants()
    }
}

/// The first of so many ports in a row.
fn free_row(count: u16) -> u16 {
    let mut first = free_port();
    let mut last = first;
    while last < first + count - 1 {
        let next = free_port();
        if next != last + 1 {
            first = next;
        }
        last = next;
    }
    first
}

/// The commands that it proposes.
fn proposed(stdout: &str) -> Vec<&str> {
    let indented = stdout.lines().filter_map(|line| line.strip_prefix("     "));
    indented.filter(|line| !line.starts_with(' ')).collect()
}

#[tokio::test]
async fn it_proposes_three_commands_and_they_work() {
    let up = Up::start(&[]).await;
    let stdout = up.process.stdout();
    for address in [up.http, up.https, up.admin, up.api] {
        assert!(
            stdout.contains(&address.to_string()),
            "{address} in {stdout}"
        );
    }
    let commands = proposed(&stdout);
    assert_eq!(commands.len(), 3, "{stdout}");

    let orders = program("bash", &["-c", commands[0]]).await.fine();
    let orders: Value = serde_json::from_str(&orders).unwrap();
    assert!(!orders["orders"].as_array().unwrap().is_empty(), "{orders}");
    // The name comes from users: orders asked it through both sidecars.
    assert_eq!(orders["orders"][0]["customer"]["name"], "Demo Customer");

    let explained = program("bash", &["-c", commands[1]]).await;
    assert_eq!(
        explained.code,
        Some(1),
        "it would be denied: {explained:#?}"
    );
    let needles = ["token-missing", "orders", "auth"];
    let is_said = needles
        .iter()
        .all(|needle| explained.stdout.contains(needle));
    assert!(is_said, "{explained:#?}");

    let changed = program("bash", &["-c", commands[2]]).await.fine();
    assert!(changed.contains("every proxy runs it"), "{changed}");
    assert!(changed.contains("You changed the shop"), "{changed}");
}

#[tokio::test]
async fn every_process_tells_its_metrics() {
    let up = Up::start(&[]).await;
    assert_eq!(up.get("/api/users/1", &[]).await.status, 200);
    let sidecar = |offset: u16| format!("http://127.0.0.1:{}/metrics", up.internal + offset);
    for url in [
        format!("http://{}/metrics", up.admin),
        format!("http://{}/metrics", up.api),
        sidecar(4),
        sidecar(7),
    ] {
        let metrics = Metrics::scrape(&url).await;
        assert!(metrics.has("weir_build_info"), "{url}");
        assert!(
            metrics.sum("process_resident_memory_bytes", &[]) > 0.0,
            "{url}"
        );
    }
    let gateway = Metrics::scrape(&format!("http://{}/metrics", up.admin)).await;
    let requests = gateway.sum("weir_http_requests_total", &[("route", "users")]);
    assert_eq!(requests, 1.0);
}

#[tokio::test]
async fn the_shop_is_open_closed_and_limited_where_it_says() {
    let up = Up::start(&[]).await;
    let user = up.get("/api/users/1", &[]).await;
    assert_eq!(user.status, 200, "{user}");
    assert_eq!(user.json::<Value>()["name"], "Demo Customer");

    let secure = format!("https://localhost:{}/api/users/1", up.https.port());
    let client = Client::http2().connect_to(up.https);
    let over_tls = client.get(&secure).await.unwrap();
    assert_eq!(
        (over_tls.status.as_u16(), over_tls.version),
        (200, Version::HTTP_2)
    );

    let refused = up.get("/api/orders", &[]).await;
    assert_eq!(refused.status, 401, "{refused}");
    assert_eq!(refused.header("weir-reason"), Some("token-missing"));
    let forged = up
        .get("/api/orders", &[("authorization", "Bearer e30.e30.e30")])
        .await;
    assert_eq!(forged.status, 401, "{forged}");
    assert_eq!(forged.header("weir-reason"), Some("token-invalid"));

    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let answer = up.login(algorithm).await;
        assert_eq!(answer.status, 200, "{algorithm}: {answer}");
        let token = answer.json::<Value>()["token"].as_str().unwrap().to_owned();
        let bearer = format!("Bearer {token}");
        let orders = up.get("/api/orders", &[("authorization", &bearer)]).await;
        assert_eq!(orders.status, 200, "{algorithm}: {orders}");
    }

    // Five at once; one more every two seconds.
    let limited = eventually(DEADLINE, async || {
        let answer = up.login("ES256").await;
        (answer.status == 429).then_some(answer)
    })
    .await;
    assert_eq!(limited.header("weir-reason"), Some("rate-limited"));
    let seconds: u64 = limited.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=2).contains(&seconds), "{limited}");
    assert_eq!(limited.json::<Value>()["code"], "rate-limited");
}

#[tokio::test]
async fn the_breaker_opens_after_faults_and_closes_again() {
    let up = Up::start(&[]).await;
    let faults = format!("http://127.0.0.1:{}/faults", up.internal + 1);
    assert_eq!(up.get("/api/flaky", &[]).await.status, 200);
    let body = r#"{"status":503}"#;
    let headers = [("content-type", "application/json")];
    let set = Client::http1().post(&faults, &headers, body).await.unwrap();
    assert!(set.status.is_success(), "{set}");

    for _ in 0..3 {
        let failed = up.get("/api/flaky", &[]).await;
        assert_eq!(failed.status, 503, "{failed}");
        assert_eq!(
            failed.header("weir-reason"),
            None,
            "the service's own answer: {failed}"
        );
    }
    let open = up.get("/api/flaky", &[]).await;
    assert_eq!(open.status, 503, "{open}");
    assert_eq!(open.header("weir-reason"), Some("breaker-open"));
    let decision = open.header("weir-decision").unwrap();
    assert_eq!(open.json::<Value>()["decision_id"], decision);
    // Other services are not touched, though these are the same instances.
    assert_eq!(up.get("/api/users/1", &[]).await.status, 200);

    let clear = request(Method::DELETE, &faults, &[], Vec::new().into()).unwrap();
    assert!(
        Client::http1()
            .send(clear)
            .await
            .unwrap()
            .status
            .is_success()
    );
    eventually(DEADLINE, async || {
        up.get("/api/flaky", &[]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn an_interrupt_drains_all_of_it() {
    let mut up = Up::start(&[]).await;
    assert!(up.children().len() >= 6, "{:?}", up.children());
    up.process.signal(Signal::SIGINT);
    let status = up.process.wait_exit(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(0), "{}", up.process.tail());
    assert_eq!(up.children(), Vec::<u32>::new());
    TcpListener::bind(up.http).unwrap();
}

#[tokio::test]
async fn what_it_started_ends_when_it_is_killed() {
    let up = Up::start(&[]).await;
    assert!(up.children().len() >= 6, "{:?}", up.children());
    up.process.signal(Signal::SIGKILL);
    eventually(Duration::from_secs(20), async || {
        let left = up.children();
        if left.is_empty() { Ok(()) } else { Err(left) }
    })
    .await;
}

#[tokio::test]
async fn a_part_that_dies_ends_all_of_it() {
    let mut up = Up::start(&["--json".to_owned()]).await;
    let running: Value = serde_json::from_str(&up.process.stdout()).unwrap();
    let processes = running["processes"].as_array().unwrap();
    let victim = processes
        .iter()
        .find(|process| process["name"] == "users-sidecar");
    let pid = victim.unwrap()["pid"].to_string();
    program("kill", &["-KILL", &pid]).await.fine();

    let status = up.process.wait_exit(Duration::from_secs(20)).await;
    assert_eq!(status.code(), Some(1), "{}", up.process.tail());
    let told = up.process.stderr();
    assert!(told.contains("users-sidecar ended unexpectedly"), "{told}");
    assert_eq!(up.children(), Vec::<u32>::new());
}

#[tokio::test]
async fn a_second_start_keeps_the_configuration() {
    let mut up = Up::start(&[]).await;
    let stdout = up.process.stdout();
    program("bash", &["-c", proposed(&stdout)[2]]).await.fine();
    up.process.signal(Signal::SIGTERM);
    assert_eq!(
        up.process.wait_exit(Duration::from_secs(20)).await.code(),
        Some(0)
    );

    let again = format!("--state-dir={}", up.directory.path().display());
    let arguments = [
        "up".to_owned(),
        again,
        format!("--gateway-admin={}", up.admin),
        format!("--api={}", up.api),
        format!("--mesh={}", free_addr()),
        format!("--internal-base-port={}", up.internal),
    ];
    let process = Launch::of("weir").args(arguments).start();
    eventually(UP_DEADLINE, async || {
        let answer = Client::http1().get(&up.url("/")).await;
        let text = answer.map(|answer| answer.text()).unwrap_or_default();
        if text.contains("You changed the shop") {
            Ok(())
        } else {
            Err(process.tail())
        }
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_is_named_with_the_flag_that_moves_it() {
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    for flag in ["--http", "--https", "--gateway-admin", "--api", "--mesh"] {
        let directory = tempfile::tempdir().unwrap();
        let mut ports: Vec<String> = ["--http", "--https", "--gateway-admin", "--api", "--mesh"]
            .iter()
            .filter(|other| **other != flag)
            .map(|other| format!("{other}={}", free_addr()))
            .collect();
        ports.push(format!("{flag}={taken}"));
        ports.push(format!("--internal-base-port={}", free_row(8)));
        ports.push(format!("--state-dir={}", directory.path().display()));
        let mut process = Launch::program(binary("weir"))
            .arg("up")
            .args(ports)
            .start();
        let status = process.wait_exit(DEADLINE).await;
        assert_eq!(status.code(), Some(2), "{flag}: {}", process.tail());
        let told = process.stderr();
        assert!(
            told.contains(&format!("port {} is taken", taken.port())),
            "{told}"
        );
        assert!(told.contains(flag), "{flag}: {told}");
        assert_eq!(process.descendants(), Vec::<u32>::new());
    }
}

#[tokio::test]
async fn it_runs_on_a_real_consul() {
    let agent = consul_agent().await;
    let up = Up::start(&[format!("--consul={}", agent.url())]).await;
    assert_eq!(up.get("/api/users/1", &[]).await.status, 200);
    let orders = agent
        .get("/v1/health/service/orders?passing")
        .await
        .unwrap();
    assert_eq!(orders.json::<Value>().as_array().unwrap().len(), 1);
    assert!(agent.get("/v1/kv/weir/config/head").await.is_ok());
}

/// Debug builds on two cores that others use as well.
const UP_DEADLINE: Duration = Duration::from_secs(60);
