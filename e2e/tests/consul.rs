//! The system on a real Consul: revisions in its KV, services in its catalog.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;

use http::Method;
use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::consul::{Agent, consul_agent};
use weir_e2e::stand::Options;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Ready};
use weir_testkit::upstream::{Recorded, Reply, Script, Upstream};

fn document(web: SocketAddr) -> String {
    format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services:
  users: {{ mesh: users }}
  orders: {{ consul: orders, retry: false }}
routes:
  - {{ path: "/users/*", to: users }}
  - {{ path: "/orders/*", to: orders }}
"#
    )
}

/// An application that answers `word`, and `/health` with this status.
fn application(word: &'static str, health: u16) -> Script {
    Script::by(move |request: &Recorded| {
        if request.path == "/health" {
            Reply::status(health)
        } else {
            Reply::ok(word)
        }
    })
}

/// Registers an application as a user does, with a health check over HTTP.
async fn register(agent: &Agent, id: &str, application: &Upstream) {
    let health = application.url("/health");
    agent
        .register("orders", id, application.addr(), &health)
        .await;
}

/// Waits until answers hold exactly these words, again and again.
async fn answers_come_from(url: &str, words: &[&str]) {
    eventually(DEADLINE, async || {
        let mut seen = Vec::new();
        for _ in 0..12 {
            let answer = Client::http1()
                .get(url)
                .await
                .map_err(|error| error.to_string())?;
            if answer.status != 200 {
                return Err(answer.to_string());
            }
            seen.push(answer.text());
        }
        seen.sort();
        seen.dedup();
        if seen == words {
            Ok(())
        } else {
            Err(format!("{seen:?}"))
        }
    })
    .await;
}

#[tokio::test]
async fn revisions_are_kept_in_consul_and_shared_by_control_planes() {
    let agent = consul_agent().await;
    let one = Options::new().consul(&agent).start().await;
    let other = Options::new().consul(&agent).start().await;
    let ready: Value = one.get("/readyz").await.json();
    assert_eq!(ready["store"], "consul");

    let text = document(free_addr());
    let written = one.apply(&text).await;
    assert_eq!(written["revision"]["number"], 1);
    let keys: Value = agent.get("/v1/kv/weir/config/?keys").await.unwrap().json();
    let keys: Vec<&str> = keys
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    assert!(keys.contains(&"weir/config/head"), "{keys:?}");
    assert!(
        keys.iter().any(|key| key.starts_with("weir/config/log/")),
        "{keys:?}"
    );

    eventually(DEADLINE, async || {
        other.get("/v1/config").await.text() == text
    })
    .await;
    // A gateway of the other one runs it.
    let gateway = other.gateway().start().await;
    let revision = gateway
        .metrics()
        .await
        .one("weir_config_revision_number", &[]);
    assert_eq!(revision, 1.0);

    // Two authors decide against the same head: one of them wins.
    let change = |comment: &str| format!("# {comment}\n{text}");
    let expect = [("if-match", "\"1\"")];
    let (first, second) = tokio::join!(
        one.send(Method::PUT, "/v1/config", &expect, change("first")),
        other.send(Method::PUT, "/v1/config", &expect, change("second")),
    );
    let mut statuses = [first.status.as_u16(), second.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 412], "{first}\n{second}");
    eventually(DEADLINE, async || {
        let revision = gateway
            .metrics()
            .await
            .one("weir_config_revision_number", &[]);
        if revision == 2.0 {
            Ok(())
        } else {
            Err(revision)
        }
    })
    .await;
}

#[tokio::test]
async fn a_sidecar_is_in_the_catalog_as_long_as_it_runs() {
    let agent = consul_agent().await;
    let stand = Options::new().consul(&agent).start().await;
    let web = free_addr();
    stand.apply(&document(web)).await;
    let users = Upstream::start(Reply::ok("a user"));
    let address = users.addr();
    let mut sidecar = stand
        .sidecar_named("users-a", "users", address)
        .start()
        .await;

    let instances = async || -> Vec<Value> {
        let answer = agent.get("/v1/health/service/users").await.unwrap();
        answer.json()
    };
    let check = async || -> Option<String> {
        let instances = instances().await;
        let checks = instances.first()?["Checks"].as_array()?.clone();
        let ours = checks
            .iter()
            .find(|check| check["ServiceID"] == "users-a")?;
        Some(ours["Status"].as_str()?.to_owned())
    };
    let is = async |wanted: &str| {
        let status = check().await;
        if status.as_deref() == Some(wanted) {
            Ok(())
        } else {
            Err(status)
        }
    };
    eventually(DEADLINE, async || is("passing").await).await;
    let service = instances().await[0]["Service"].clone();
    assert_eq!(service["Port"], sidecar.inbound().port());
    assert_eq!(
        service["Meta"]["weir-identity"],
        "spiffe://weir.internal/service/users"
    );

    // Found through the catalog by the gateway, over mTLS.
    stand.wait_for_healthy("users", 1).await;
    let _gateway = stand.gateway().start().await;
    answers_come_from(&format!("http://{web}/users/1"), &["a user"]).await;

    users.stop();
    eventually(DEADLINE, async || is("critical").await).await;
    let _users = Upstream::builder(Reply::ok("a user")).bind(address).start();
    eventually(DEADLINE, async || is("passing").await).await;

    sidecar.process.terminate(DEADLINE).await;
    eventually(DEADLINE, async || instances().await.is_empty()).await;
}

#[tokio::test]
async fn a_service_that_somebody_registered_is_balanced_by_its_health_checks() {
    let agent = consul_agent().await;
    let stand = Options::new().consul(&agent).start().await;
    let web = free_addr();
    stand.apply(&document(web)).await;
    let one = Upstream::start(application("one", 200));
    let two = Upstream::start(application("two", 200));
    register(&agent, "orders-1", &one).await;
    register(&agent, "orders-2", &two).await;
    let _gateway = stand.gateway().start().await;
    let url = format!("http://{web}/orders/1");
    answers_come_from(&url, &["one", "two"]).await;

    // Its check fails, though it would answer.
    let load = Load::of(&url).start();
    one.set_script(application("one", 503));
    answers_come_from(&url, &["two"]).await;
    one.set_script(application("one", 200));
    answers_come_from(&url, &["one", "two"]).await;
    load.stop().await.assert_undisturbed();

    agent
        .put("/v1/agent/service/deregister/orders-2", &Value::Null)
        .await;
    answers_come_from(&url, &["one"]).await;
}

#[tokio::test]
async fn traffic_goes_on_while_consul_is_away() {
    let mut agent = consul_agent().await;
    let stand = Options::new().consul(&agent).start().await;
    let web = free_addr();
    stand.apply(&document(web)).await;
    let users = Upstream::start(Reply::ok("a user"));
    let orders = Upstream::start(application("order", 200));
    register(&agent, "orders-1", &orders).await;
    let _sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    stand.wait_for_healthy("orders", 1).await;
    let _gateway = stand.gateway().start().await;
    let to_users = Load::of(format!("http://{web}/users/1"))
        .connections(2)
        .start();
    let to_orders = Load::of(format!("http://{web}/orders/1"))
        .connections(2)
        .start();
    to_users.wait_for_more(50, DEADLINE).await;
    to_orders.wait_for_more(50, DEADLINE).await;

    agent.kill();
    let refused = stand
        .send(
            Method::PUT,
            "/v1/config",
            &[],
            format!("# later\n{}", document(web)),
        )
        .await;
    assert_eq!(refused.status, 503, "{refused}");
    to_users.wait_for_more(100, DEADLINE).await;
    to_orders.wait_for_more(100, DEADLINE).await;

    agent.start().await;
    eventually(DEADLINE, async || {
        let text = format!("# later\n{}", document(web));
        let answer = stand
            .send(Method::PUT, "/v1/config?wait=5s", &[], text)
            .await;
        if answer.status == 200 {
            Ok(())
        } else {
            Err(answer.to_string())
        }
    })
    .await;
    stand.converged(2).await;
    // What the catalog says afterwards is believed again.
    let second = Upstream::start(application("second", 200));
    register(&agent, "orders-2", &second).await;
    second.wait_for_requests(5, DEADLINE).await;
    to_users.stop().await.assert_undisturbed();
    to_orders.stop().await.assert_undisturbed();
}

#[tokio::test]
async fn a_gateway_alone_asks_consul_itself() {
    let agent = consul_agent().await;
    let one = Upstream::start(application("one", 200));
    register(&agent, "orders-1", &one).await;
    let web = free_addr();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    let yaml = format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ orders: {{ consul: orders }} }}
routes: [{{ path: "/orders/*", to: orders }}]
"#
    );
    std::fs::write(&file, yaml).unwrap();
    let admin = free_addr();
    let mut gateway = Launch::of("weir")
        .arg("gateway")
        .arg("--zone=eu-b")
        .arg(format!("--config={}", file.display()))
        .arg(format!("--admin={admin}"))
        .arg(format!(
            "--state-dir={}",
            directory.path().join("state").display()
        ))
        .env("CONSUL_HTTP_ADDR", agent.url())
        .start();
    let ready = Ready::Url(format!("http://{admin}/readyz"));
    gateway.wait_ready(&ready, DEADLINE).await;
    let url = format!("http://{web}/orders/1");
    answers_come_from(&url, &["one"]).await;
    let two = Upstream::start(application("two", 200));
    register(&agent, "orders-2", &two).await;
    answers_come_from(&url, &["one", "two"]).await;

    // What it says of the instances counts: zones, then levels.
    let describe = async |id: &str, application: &Upstream, meta: Value| {
        let (address, health) = (application.addr(), application.url("/health"));
        agent
            .register_with("orders", id, address, &health, &meta)
            .await;
    };
    describe("orders-1", &one, json!({ "zone": "eu-a" })).await;
    describe("orders-2", &two, json!({ "zone": "eu-b" })).await;
    answers_come_from(&url, &["two"]).await;
    let behind = json!({ "zone": "eu-b", "priority": "1" });
    describe("orders-2", &two, behind).await;
    answers_come_from(&url, &["one"]).await;
}
