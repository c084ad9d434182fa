//! A new process takes the listening sockets of the old one, under load.

use std::time::Duration;

use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::process::{Ready, Signal};
use weir_testkit::upstream::{Reply, Upstream};

use crate::site::{DEADLINE, Site};

fn document(site: &Site, upstream: &Upstream) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"{}\" }} }}\n\
         services: {{ users: {{ endpoints: [\"{}\"] }} }}\n\
         routes: [{{ path: \"/*\", to: users }}]\n",
        site.web,
        upstream.addr()
    )
}

async fn process_id(site: &Site) -> Option<String> {
    std::fs::read_to_string(site.path().join("pid")).ok()
}

#[tokio::test]
async fn a_hand_over_loses_no_request() {
    let upstream = Upstream::start(Reply::ok("users").delay(Duration::from_millis(2)));
    let site = Site::new();
    site.write(&document(&site, &upstream));
    let mut old = site.launch().args(["--pid-file", "pid"]).start();
    old.wait_ready(&Ready::Url(site.admin_url("/readyz")), DEADLINE)
        .await;
    assert_eq!(process_id(&site).await, Some(format!("{}\n", old.id())));

    // Kept connections, and a new connection for each request.
    let kept = Load::of(site.url("/kept")).connections(4).start();
    let fresh = Load::of(site.url("/fresh"))
        .header("connection", "close")
        .connections(2)
        .start();
    kept.wait_for_more(100, DEADLINE).await;

    // The new process waits for the sockets, then the old one is told to give them.
    let mut new = site
        .launch()
        .args(["--upgrade", "--pid-file", "pid"])
        .start();
    eventually(DEADLINE, async || {
        new.stderr().contains("waiting for the sockets")
    })
    .await;
    old.signal(Signal::SIGQUIT);
    assert_eq!(old.wait_exit(DEADLINE * 2).await.code(), Some(0));
    kept.wait_for_more(100, DEADLINE).await;
    fresh.wait_for_more(100, DEADLINE).await;

    let (kept, fresh) = (kept.stop().await, fresh.stop().await);
    kept.assert_statuses(&[200]);
    fresh.assert_statuses(&[200]);
    assert!(kept.failures == 0 && fresh.failures == 0, "{kept}\n{fresh}");
    // The admin address has moved along.
    new.wait_ready(&Ready::Url(site.admin_url("/readyz")), DEADLINE)
        .await;
    assert_eq!(process_id(&site).await, Some(format!("{}\n", new.id())));
    assert_eq!(site.get("/after").await.0, 200);
    assert_eq!(new.terminate(DEADLINE).await.code(), Some(0));
    assert_eq!(process_id(&site).await, None);
}

#[tokio::test]
async fn without_a_successor_a_gateway_does_not_go() {
    let upstream = Upstream::start(Reply::ok("users"));
    let site = Site::new();
    site.write(&document(&site, &upstream));
    let mut gateway = site.start().await;
    gateway.signal(Signal::SIGQUIT);
    eventually(DEADLINE, async || {
        gateway.stderr().contains("SIGQUIT ignored")
    })
    .await;
    assert_eq!(site.get("/x").await.0, 200);
    assert!(
        Client::http1()
            .get(&site.admin_url("/readyz"))
            .await
            .unwrap()
            .status
            .is_success()
    );
    assert_eq!(gateway.terminate(DEADLINE).await.code(), Some(0));
}

#[tokio::test]
async fn nothing_is_handed_over_to_a_gateway_that_cannot_serve() {
    let upstream = Upstream::start(Reply::ok("users"));
    let site = Site::new();
    site.write(&document(&site, &upstream));
    let mut old = site.start().await;
    let broken = site.path().join("broken.yaml");
    std::fs::write(&broken, "routes: nothing\n").unwrap();
    let mut new = site.launch_with(&broken).arg("--upgrade").start();
    assert_eq!(new.wait_exit(DEADLINE).await.code(), Some(1));
    assert!(new.stderr().contains("broken.yaml:1:"), "{}", new.stderr());
    assert!(old.is_running());
    assert_eq!(site.get("/x").await.0, 200);
}
