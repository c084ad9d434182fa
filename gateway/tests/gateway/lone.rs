//! A lone gateway with a file.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;

use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::process::{Ready, Signal};
use weir_testkit::upstream::{Reply, Upstream};

use crate::site::{DEADLINE, Site};

fn document(web: SocketAddr, users: &Upstream, orders: &Upstream, order_path: &str) -> String {
    format!(
        "listeners:\n  web: {{ bind: \"{web}\" }}\n\
         services:\n  users: {{ endpoints: [\"{}\"] }}\n  orders: {{ endpoints: [\"{}\"] }}\n\
         routes:\n  - {{ path: \"/user/*\", to: users }}\n\
         \x20 - {{ path: \"{order_path}\", to: orders }}\n",
        users.addr(),
        orders.addr(),
    )
}

#[tokio::test]
async fn a_changed_file_is_in_force_without_a_failed_request() {
    let (users, orders) = (
        Upstream::start(Reply::ok("users")),
        Upstream::start(Reply::ok("orders")),
    );
    let site = Site::new();
    site.write(&document(site.web, &users, &orders, "/order/{id}"));
    let mut gateway = site.start().await;
    assert_eq!(site.get("/user/1").await, (200, "users".to_owned()));
    assert_eq!(site.get("/order/1").await, (200, "orders".to_owned()));
    assert_eq!(site.get("/purchase/1").await.0, 404);

    // The change, under load.
    let load = Load::of(site.url("/user/1")).connections(2).start();
    load.wait_for_more(50, DEADLINE).await;
    let text = document(site.web, &users, &orders, "/purchase/{id}");
    site.write(&text);
    eventually(DEADLINE, async || site.get("/purchase/1").await.0 == 200).await;
    assert_eq!(site.get("/order/1").await.0, 404);
    let config = Client::http1()
        .get(&site.admin_url("/config"))
        .await
        .unwrap();
    assert_eq!(config.text(), text);
    assert!(
        config
            .header("weir-revision")
            .unwrap()
            .starts_with("sha256:")
    );

    // A broken file: told with place and hint, counted, and nothing changes.
    site.write(&text.replace("to: orders", "to: odrers"));
    eventually(DEADLINE, async || {
        site.metric("weir_config_refused_total").await == 1.0
    })
    .await;
    assert_eq!(site.get("/purchase/1").await.0, 200);
    let told = gateway.stderr();
    assert!(
        told.contains("weir.yaml:8:") && told.contains("odrers"),
        "{told}"
    );

    // The good file again, by SIGHUP as well.
    site.write(&text);
    gateway.signal(Signal::SIGHUP);
    load.wait_for_more(50, DEADLINE).await;
    let report = load.stop().await;
    report.assert_undisturbed();
    report.assert_statuses(&[200]);
    assert_eq!(
        site.metric("weir_connections_closed_by_config_total").await,
        0.0
    );
    assert_eq!(site.metric("weir_config_applied_total").await, 2.0);

    // The end.
    assert_eq!(gateway.terminate(DEADLINE).await.code(), Some(0));
}

#[tokio::test]
async fn a_broken_file_at_the_start_ends_it_with_every_error() {
    let site = Site::new();
    site.write("listeners:\n  web: { bind: nowhere }\nroutes:\n  - { path: \"/\", to: nobody }\n");
    let mut gateway = site.launch().start();
    assert_eq!(gateway.wait_exit(DEADLINE).await.code(), Some(1));
    let told = gateway.stderr();
    assert!(told.contains("weir.yaml:2:"), "{told}");

    let mut gateway = site
        .launch()
        .args(["--control-plane", "https://127.0.0.1:1"])
        .start();
    assert_eq!(gateway.wait_exit(DEADLINE).await.code(), Some(2));
}

#[tokio::test]
async fn a_taken_port_is_named_with_its_place() {
    let upstream = Upstream::start(Reply::ok(""));
    let site = Site::new();
    site.write(&document(upstream.addr(), &upstream, &upstream, "/"));
    let mut gateway = site.launch().start();
    assert_eq!(gateway.wait_exit(DEADLINE).await.code(), Some(1));
    let told = gateway.stderr();
    let port = format!("port {} is taken", upstream.port());
    assert!(
        told.contains(&port) && told.contains("listeners.web.bind"),
        "{told}"
    );
}

#[tokio::test]
async fn a_development_certificate_is_made_and_shown() {
    let upstream = Upstream::start(Reply::ok("users"));
    let site = Site::new();
    site.write(&format!(
        "listeners:\n  web: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}\n\
         services: {{ users: {{ endpoints: [\"{}\"] }} }}\n\
         routes: [{{ path: \"/*\", to: users }}]\n",
        site.web,
        upstream.addr()
    ));
    let _gateway = site.start().await;
    let url = format!("https://{}/x", site.web);
    for client in [Client::http1(), Client::http2()] {
        assert_eq!(client.get(&url).await.unwrap().text(), "users");
    }
    let shown = Client::http1()
        .get(&site.admin_url("/certificates"))
        .await
        .unwrap()
        .text();
    assert!(
        shown.contains("development.crt") && !shown.contains("PRIVATE"),
        "{shown}"
    );
    let status = Client::http1()
        .get(&site.admin_url("/status"))
        .await
        .unwrap()
        .text();
    assert!(status.contains("\"role\":\"gateway\""), "{status}");
}

#[tokio::test]
async fn refusals_and_explanations_can_be_asked_for() {
    let upstream = Upstream::start(Reply::ok("users"));
    let site = Site::new();
    site.write(&document(site.web, &upstream, &upstream, "/order/{id}"));
    let _gateway = site.start().await;
    let refused = Client::http1().get(&site.url("/nothing")).await.unwrap();
    let id = refused.header("weir-decision").unwrap().to_owned();
    let url = site.admin_url(&format!("/decisions/{id}"));
    let decision: serde_json::Value = Client::http1().get(&url).await.unwrap().json();
    assert_eq!(decision["code"], "no-route");
    assert_eq!(decision["path"], "/nothing");

    let question = format!("{{\"url\":\"{}\"}}", site.url("/user/7"));
    let client = Client::http1();
    let request = weir_testkit::client::request(
        http::Method::POST,
        &site.admin_url("/explain"),
        &[],
        question.into(),
    );
    let explained = client.send(request.unwrap()).await.unwrap();
    let explained: serde_json::Value = explained.json();
    assert_eq!(explained["answer"]["service"], "users", "{explained}");
}

#[tokio::test]
async fn a_second_interrupt_ends_it_at_once() {
    let upstream = Upstream::start(weir_testkit::upstream::Answer::Hang);
    let site = Site::new();
    site.write(&document(site.web, &upstream, &upstream, "/order/{id}"));
    let mut gateway = site.start().await;
    let url = site.url("/user/1");
    let stuck = tokio::spawn(async move { Client::http1().get(&url).await });
    upstream.wait_for_requests(1, DEADLINE).await;
    gateway.signal(Signal::SIGINT);
    let ready = Ready::Url(site.admin_url("/readyz"));
    let Ready::Url(url) = &ready else {
        unreachable!()
    };
    eventually(DEADLINE, async || {
        Client::http1()
            .get(url)
            .await
            .is_ok_and(|answer| answer.status.as_u16() == 503)
    })
    .await;
    gateway.signal(Signal::SIGINT);
    let status = gateway.wait_exit(DEADLINE).await;
    assert_eq!((status.code(), status.signal()), (Some(1), None));
    assert!(stuck.await.unwrap().is_err());
}
