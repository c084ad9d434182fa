//! Changing the configuration of a running engine.

use std::sync::Arc;

use weir_config::endpoint::Endpoint;
use weir_proxy::InstallError;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{SOON, World, document};

#[tokio::test]
async fn installs_under_load_disturb_nobody() {
    let (one, two) = (
        Upstream::start(Reply::ok("1")),
        Upstream::start(Reply::ok("2")),
    );
    let world = World::running(&document(&[one.addr()], "", "")).await;
    let http1 = Load::of(world.url("/")).connections(4).start();
    let http2 = Load::of(world.url("/"))
        .client(Client::http2())
        .connections(2)
        .start();
    for round in 0..20 {
        let endpoints = if round % 2 == 0 {
            [two.addr()]
        } else {
            [one.addr()]
        };
        let route = format!("name: r{round}");
        world
            .install(&document(&endpoints, "", &route))
            .await
            .unwrap();
        http1.wait_for_more(20, SOON).await;
    }
    http1.stop().await.assert_undisturbed();
    http2.stop().await.assert_undisturbed();
    assert!(one.request_count() > 0 && two.request_count() > 0);
    assert_eq!(
        world.metric("weir_connections_closed_by_config_total", ""),
        0.0
    );
}

#[tokio::test]
async fn a_bind_failure_changes_nothing() {
    let (one, two) = (
        Upstream::start(Reply::ok("1")),
        Upstream::start(Reply::ok("2")),
    );
    let world = World::running(&document(&[one.addr()], "", "")).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let free = free_addr();
    let more = format!(
        "{{ web: {{ bind: \"LISTEN\" }}, free: {{ bind: \"{free}\" }}, \
         taken: {{ bind: \"{}\" }} }}",
        taken.local_addr().unwrap()
    );
    let text = document(&[two.addr()], "", "").replace("{ web: { bind: \"LISTEN\" } }", &more);
    let error = world.install(&text).await.unwrap_err();
    assert!(matches!(error, InstallError::Bind { address, .. }
        if address == taken.local_addr().unwrap()));
    assert_eq!(
        Client::http1().get(&world.url("/")).await.unwrap().text(),
        "1"
    );
    assert!(
        Client::http1()
            .get(&format!("http://{free}/"))
            .await
            .is_err()
    );
    // The free one can still be bound by anybody.
    drop(std::net::TcpListener::bind(free).unwrap());

    drop(taken);
    world.install(&text).await.unwrap();
    assert_eq!(
        Client::http1().get(&world.url("/")).await.unwrap().text(),
        "2"
    );
    assert_eq!(
        Client::http1()
            .get(&format!("http://{free}/"))
            .await
            .unwrap()
            .text(),
        "2"
    );
}

#[tokio::test]
async fn connections_of_a_listener_that_vanished_live_on_and_leave() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let mut world = World::running(&document(&[upstream.addr()], "", "")).await;
    let mut kept = Client::http1().connect(&world.url("/")).await.unwrap();
    kept.get("/").await.unwrap();
    let old = world.url("/");
    world.address = free_addr();
    world
        .install(&document(&[upstream.addr()], "", ""))
        .await
        .unwrap();
    assert!(Client::http1().get(&old).await.is_err());
    let last = kept.get("/").await.unwrap();
    assert_eq!(
        (last.status.as_u16(), last.header("connection")),
        (200, Some("close"))
    );
    eventually(SOON, async || kept.is_closed()).await;
    assert_eq!(
        Client::http1().get(&world.url("/")).await.unwrap().text(),
        "hello"
    );
}

#[tokio::test]
async fn members_are_told_and_kept_over_installs() {
    let (one, two) = (
        Upstream::start(Reply::ok("1")),
        Upstream::start(Reply::ok("2")),
    );
    let text = document(&[], "", "").replace("endpoints: []", "dns: \"app.test:80\"");
    let world = World::running(&text).await;
    let response = Client::http1().get(&world.url("/")).await.unwrap();
    assert_eq!(
        response.header("weir-reason"),
        Some("no-endpoint"),
        "{response}"
    );
    let tell = |address: std::net::SocketAddr| {
        let endpoints: Arc<[Endpoint]> = [Endpoint::plain(address.to_string())].into();
        world.engine.set_members("app", endpoints);
    };
    let answered = async || Client::http1().get(&world.url("/")).await.unwrap().text();
    tell(one.addr());
    eventually(SOON, async || answered().await == "1").await;
    world
        .install(&text.replace("to: app", "to: app, name: again"))
        .await
        .unwrap();
    assert_eq!(answered().await, "1");
    tell(two.addr());
    eventually(SOON, async || answered().await == "2").await;
    // Connections to who is gone are closed.
    eventually(SOON, async || one.open_connections() == 0).await;
}

#[tokio::test]
async fn port_zero_takes_a_free_port_for_all_workers() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let mut world = World::new();
    world.address = "127.0.0.1:0".parse().unwrap();
    world
        .install(&document(&[upstream.addr()], "", ""))
        .await
        .unwrap();
    let local = world.engine.local_address(world.address).await.unwrap();
    for _ in 0..10 {
        let response = Client::http1()
            .get(&format!("http://{local}/"))
            .await
            .unwrap();
        assert_eq!(response.text(), "hello");
    }
}
