//! The control plane is on the path of no request: it may be away.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;

use weir_e2e::DEADLINE;
use weir_e2e::proxy::Proxy;
use weir_e2e::stand::Stand;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Reply, Upstream};

fn document(web: SocketAddr, word: &str) -> String {
    format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ users: {{ mesh: users }} }}
routes:
  - {{ path: "/users/*", to: users }}
  - {{ path: /word, respond: {{ status: 200, body: "{word}" }} }}
"#
    )
}

async fn text(url: &str) -> String {
    match Client::http1().get(url).await {
        Ok(answer) => answer.text(),
        Err(error) => error.to_string(),
    }
}

/// Waits until the last good copy on the disk has this text and knows who serves users.
async fn kept(proxy: &Proxy, word: &str) {
    let file = proxy.state_dir().join("last-good.json");
    eventually(DEADLINE, async || {
        let copy = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let copy: serde_json::Value = serde_json::from_str(&copy).unwrap();
        let is_kept = copy["revision"]["text"].as_str().unwrap().contains(word);
        let endpoints = &copy["memberships"][0]["endpoints"];
        let knows = endpoints.as_array().is_some_and(|all| !all.is_empty());
        if is_kept && knows {
            Ok(())
        } else {
            Err(copy.to_string())
        }
    })
    .await;
}

#[tokio::test]
async fn traffic_goes_on_without_the_control_plane_and_changes_come_when_it_is_back() {
    let mut stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&document(web, "one")).await;
    let users = Upstream::start(Reply::ok("a user"));
    let _sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let _gateway = stand.gateway().start().await;
    let load = Load::of(format!("http://{web}/users/1")).start();
    load.wait_for_more(50, DEADLINE).await;

    stand.kill_control_plane();
    load.wait_for_more(300, DEADLINE).await;
    // New connections as well.
    assert_eq!(text(&format!("http://{web}/users/2")).await, "a user");

    stand.start_control_plane().await;
    // What was accepted before is still in force, and the numbers go on.
    assert_eq!(stand.get("/v1/config").await.text(), document(web, "one"));
    stand.converged(2).await;
    let written = stand.apply(&document(web, "two")).await;
    assert_eq!(written["revision"]["number"], 2);
    assert_eq!(text(&format!("http://{web}/word")).await, "two");
    load.wait_for_more(50, DEADLINE).await;
    load.stop().await.assert_undisturbed();
}

#[tokio::test]
async fn a_gateway_starts_from_its_last_good_copy() {
    let mut stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&document(web, "one")).await;
    let users = Upstream::start(Reply::ok("a user"));
    let _sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let mut gateway = stand.gateway_named("edge").start().await;
    kept(&gateway, "one").await;

    stand.kill_control_plane();
    gateway.process.terminate(DEADLINE).await;
    drop(gateway);
    let gateway = stand.gateway_named("edge").start().await;
    assert_eq!(text(&format!("http://{web}/word")).await, "one");
    // With the certificate and the membership that it had: no control plane told it either.
    assert_eq!(text(&format!("http://{web}/users/1")).await, "a user");

    // A change that was made while the gateway was not connected reaches it.
    stand.start_control_plane().await;
    stand.apply(&document(web, "two")).await;
    let word = format!("http://{web}/word");
    eventually(DEADLINE, async || text(&word).await == "two").await;
    stand.converged(2).await;
    kept(&gateway, "two").await;
}

#[tokio::test]
async fn a_sidecar_starts_from_its_last_good_copy() {
    let mut stand = Stand::start().await;
    stand.apply(&document(free_addr(), "one")).await;
    let users = Upstream::start(Reply::ok("a user"));
    let orders = Upstream::start(Reply::ok("an order"));
    let _of_users = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let orders_sidecar = || stand_sidecar(&stand, orders.addr());
    let mut of_orders = orders_sidecar().start().await;
    kept(&of_orders, "one").await;

    of_orders.process.terminate(DEADLINE).await;
    drop(of_orders);
    let launch = orders_sidecar();
    stand.kill_control_plane();
    let of_orders = launch.start().await;
    assert_eq!(of_orders.call("users", "/1").await.text(), "a user");
}

fn stand_sidecar(stand: &Stand, application: SocketAddr) -> weir_e2e::proxy::ProxyLaunch {
    stand.sidecar_named("orders-a", "orders", application)
}

#[tokio::test]
async fn a_damaged_copy_is_said_and_never_served() {
    let mut stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&document(web, "one")).await;
    let users = Upstream::start(Reply::ok("a user"));
    let _sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let mut gateway = stand.gateway_named("edge").start().await;
    kept(&gateway, "one").await;
    stand.kill_control_plane();
    gateway.process.terminate(DEADLINE).await;
    let copy = gateway.state_dir().join("last-good.json");
    drop(gateway);

    // Still JSON, but not the text that was in force.
    let damaged = std::fs::read_to_string(&copy)
        .unwrap()
        .replace("one", "bad");
    std::fs::write(&copy, damaged).unwrap();
    let mut gateway = stand.gateway_named("edge").launch();
    let is_said = |text: &str| text.contains("the last good copy is damaged");
    eventually(DEADLINE, async || is_said(&gateway.process.stderr())).await;
    eventually(DEADLINE, async || {
        let answer = Client::http1().get(&gateway.admin_url("/readyz")).await;
        answer.map(|answer| assert_eq!(answer.status, 503, "{answer}"))
    })
    .await;
    assert!(
        gateway.process.is_running(),
        "it waits for the control plane"
    );
    assert!(
        Client::http1()
            .get(&format!("http://{web}/word"))
            .await
            .is_err()
    );

    stand.start_control_plane().await;
    gateway.wait_ready().await;
    assert_eq!(text(&format!("http://{web}/word")).await, "one");
}
