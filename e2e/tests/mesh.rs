//! Requests through the mesh: edge to service, service to service, who is let in, who comes and
//! goes.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::command::program;
use weir_e2e::proxy::Proxy;
use weir_e2e::stand::Stand;
use weir_testkit::authority::Authority;
use weir_testkit::client::{Client, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

/// A listener and the service users of the mesh behind it.
fn users_at(web: SocketAddr) -> String {
    format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ users: {{ mesh: users }} }}
routes: [{{ name: users, path: "/users/*", to: users }}]
"#
    )
}

/// Waits until a request with this path is in the access log, and gives its line.
async fn logged(proxy: &Proxy, path: &str) -> Value {
    let found = async || {
        let log = proxy.access_log();
        log.into_iter().find(|line| line["path"] == path)
    };
    eventually(DEADLINE, found).await
}

async fn get(url: &str) -> weir_testkit::client::Response {
    Client::http1().get(url).await.unwrap()
}

#[tokio::test]
async fn a_request_goes_through_gateway_and_sidecar_to_the_application() {
    let stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&users_at(web)).await;
    let users = Upstream::start(Reply::echo());
    let sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let gateway = stand.gateway_named("edge").start().await;

    let answer = get(&format!("http://{web}/users/1?full=yes")).await;
    assert_eq!(answer.status, 200, "{answer}");
    let seen = users.last_request();
    assert_eq!(seen.path, "/users/1?full=yes");
    assert!(seen.header("traceparent").is_some(), "{seen:?}");

    let at_edge = logged(&gateway, "/users/1").await;
    assert_eq!(at_edge["listener"], "web");
    assert_eq!(at_edge["route"], "users");
    assert_eq!(at_edge["endpoint"], sidecar.inbound().to_string());
    let at_sidecar = logged(&sidecar, "/users/1").await;
    assert_eq!(at_sidecar["peer"], "spiffe://weir.internal/gateway/edge");
    assert_eq!(at_sidecar["endpoint"], users.addr().to_string());
    assert_eq!(at_sidecar["trace_id"], at_edge["trace_id"]);
}

#[tokio::test]
async fn a_service_calls_another_by_name_through_both_sidecars() {
    let stand = Stand::start().await;
    stand
        .apply("services: { users: { mesh: users }, orders: { mesh: orders } }\n")
        .await;
    let users = Upstream::start(Reply::ok("a user"));
    let orders = Upstream::start(Reply::ok("an order"));
    let of_users = stand.sidecar("users", users.addr()).start().await;
    let of_orders = stand.sidecar("orders", orders.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    stand.converged(2).await;

    for (host, path) in [("users", "/a"), ("users.mesh", "/b"), ("users:80", "/c")] {
        let call = async || {
            let answer = of_orders.call(host, path).await;
            if answer.status == 200 {
                Ok(answer)
            } else {
                Err(answer.to_string())
            }
        };
        let answer = eventually(DEADLINE, call).await;
        assert_eq!(answer.text(), "a user");
        let line = logged(&of_users, path).await;
        assert_eq!(line["peer"], "spiffe://weir.internal/service/orders");
    }

    let answer = of_orders.call("nobody", "/").await;
    assert_eq!(answer.status, 404, "{answer}");
    assert_eq!(answer.header("weir-reason"), Some("no-route"));
}

#[tokio::test]
async fn interim_responses_come_through_gateway_and_sidecar() {
    let stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&users_at(web)).await;
    let users = Upstream::start(Reply::ok("ok").interim(103, &[("link", "</a>")]));
    let _sidecar = stand.sidecar("users", users.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let _gateway = stand.gateway_named("edge").start().await;

    let sent = "GET /users/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(web, sent, DEADLINE).await.text();
    let (hint, response) = answer.split_once("\r\n\r\n").unwrap();
    assert!(hint.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{answer}");
    assert!(hint.contains("link: </a>"), "{answer}");
    assert_eq!(hint.matches("via: 1.1 weir").count(), 2, "{answer}");
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn the_inbound_listener_takes_certificates_of_the_mesh_alone() {
    let stand = Stand::start().await;
    stand.apply("services: { users: { mesh: users } }\n").await;
    let users = Upstream::start(Reply::ok("a user"));
    let sidecar = stand.sidecar("users", users.addr()).start().await;
    let inbound = sidecar.inbound();
    let url = format!("https://{inbound}/users/1");

    let plain = raw(inbound, "GET / HTTP/1.1\r\nhost: users\r\n\r\n", DEADLINE).await;
    assert_eq!(plain.status(), None, "{}", plain.text());

    let anonymous = Client::http1().get(&url).await;
    assert!(anonymous.is_err(), "{anonymous:?}");

    for id in [
        "spiffe://elsewhere.example/service/orders",
        "spiffe://weir.internal/service/orders",
    ] {
        let stranger = Authority::new("Weir").issue(&[id]);
        let answer = Client::http1().identity(stranger).get(&url).await;
        assert!(answer.is_err(), "{id}: {answer:?}");
    }
    assert_eq!(users.request_count(), 0);

    // And with a certificate of this mesh it does answer: what failed above was the certificate.
    let (certificate, key) = stand.certificate("orders").await;
    let arguments = [
        "--silent",
        "--show-error",
        "--insecure",
        "--cert",
        &certificate,
    ];
    let arguments = [&arguments[..], &["--key", &key, &url]].concat();
    assert_eq!(program("curl", &arguments).await.fine(), "a user");
    let line = logged(&sidecar, "/users/1").await;
    assert_eq!(line["peer"], "spiffe://weir.internal/service/orders");
}

#[tokio::test]
async fn an_instance_whose_application_is_closed_gets_no_traffic() {
    let stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&users_at(web)).await;
    let one = Upstream::start(Reply::ok("one"));
    let two = Upstream::start(Reply::ok("two"));
    let address = one.addr();
    let _of_one = stand.sidecar("users", address).start().await;
    let _of_two = stand.sidecar("users", two.addr()).start().await;
    stand.wait_for_healthy("users", 2).await;
    let _gateway = stand.gateway().start().await;
    let url = format!("http://{web}/users/1");

    one.stop();
    stand.wait_for_healthy("users", 1).await;
    let only_two = async || {
        for _ in 0..8 {
            let answer = get(&url).await;
            if answer.text() != "two" {
                return Err(answer.to_string());
            }
        }
        Ok(())
    };
    eventually(DEADLINE, only_two).await;

    let one = Upstream::builder(Reply::ok("one")).bind(address).start();
    stand.wait_for_healthy("users", 2).await;
    eventually(DEADLINE, async || get(&url).await.text() == "one").await;
    assert!(one.request_count() > 0);
}

#[tokio::test]
async fn a_second_instance_joins_and_gets_its_share() {
    let stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&users_at(web)).await;
    let one = Upstream::start(Reply::ok("one"));
    let _of_one = stand.sidecar("users", one.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let _gateway = stand.gateway().start().await;
    let load = Load::of(format!("http://{web}/users/1")).start();
    load.wait_for_more(50, DEADLINE).await;

    let two = Upstream::start(Reply::ok("two"));
    let _of_two = stand.sidecar("users", two.addr()).start().await;
    two.wait_for_requests(1, DEADLINE).await;
    let (before_one, before_two) = (one.request_count(), two.request_count());
    load.wait_for_more(200, DEADLINE).await;
    let of_one = one.request_count() - before_one;
    let of_two = two.request_count() - before_two;
    load.stop().await.assert_undisturbed();
    // In turn: half of them each, give or take what was under way.
    assert!(
        of_one.abs_diff(of_two) <= (of_one + of_two) / 4,
        "{of_one} and {of_two}"
    );
}

#[tokio::test]
async fn an_instance_leaves_under_load_without_a_failed_request() {
    let stand = Stand::start().await;
    let web = free_addr();
    // Without retries a request that met a closing instance would show.
    let yaml = users_at(web).replace("mesh: users", "mesh: users, retry: false");
    stand.apply(&yaml).await;
    let one = Upstream::start(Reply::ok("one"));
    let two = Upstream::start(Reply::ok("two"));
    let mut of_one = stand.sidecar("users", one.addr()).start().await;
    let _of_two = stand.sidecar("users", two.addr()).start().await;
    stand.wait_for_healthy("users", 2).await;
    let _gateway = stand.gateway().start().await;
    let load = Load::of(format!("http://{web}/users/1"))
        .connections(8)
        .start();
    load.wait_for_more(100, DEADLINE).await;
    one.wait_for_requests(1, DEADLINE).await;

    let status = of_one.process.terminate(DEADLINE).await;
    assert_eq!(status.code(), Some(0), "{}", of_one.process.tail());
    load.wait_for_more(100, DEADLINE).await;
    load.stop().await.assert_undisturbed();
    assert_eq!(stand.endpoints("users").await.len(), 1);
}

#[tokio::test]
async fn an_instance_killed_under_load_costs_no_request_that_was_not_yet_answered() {
    let stand = Stand::start().await;
    let web = free_addr();
    stand.apply(&users_at(web)).await;
    let one = Upstream::start(Reply::ok("one"));
    let two = Upstream::start(Reply::ok("two"));
    let of_one = stand.sidecar("users", one.addr()).start().await;
    let _of_two = stand.sidecar("users", two.addr()).start().await;
    stand.wait_for_healthy("users", 2).await;
    let gateway = stand.gateway().start().await;
    let load = Load::of(format!("http://{web}/users/1"))
        .connections(8)
        .start();
    load.wait_for_more(100, DEADLINE).await;
    one.wait_for_requests(1, DEADLINE).await;

    of_one.process.signal(Signal::SIGKILL);
    load.wait_for_more(300, DEADLINE).await;
    // What had not begun to be answered went to the other one. A response of which the client has
    // the head cannot be repeated: it may break off, once for each connection at the most.
    let report = load.stop().await;
    assert!(
        report.statuses.keys().all(|status| *status == 200),
        "{report}"
    );
    let broke_off = |text: &String| text.contains("the body broke off");
    assert!(report.failure_texts.iter().all(broke_off), "{report}");
    assert!(report.failures <= 8, "{report}");
    // Others answered in its place, and it was soon left out.
    let metrics = gateway.metrics().await;
    let count = |name| metrics.sum(name, &[("service", "users")]);
    assert!(count("weir_upstream_retries_total") > 0.0);
    assert!(count("weir_upstream_retries_total") < 50.0, "{metrics:?}");
    let ejected = [("service", "users"), ("state", "ejected")];
    assert_eq!(metrics.one("weir_upstream_endpoints", &ejected), 1.0);
}

#[tokio::test]
async fn a_canary_route_of_the_mesh_splits_by_weight() {
    let stand = Stand::start().await;
    let yaml = r#"
services: { users: { mesh: users }, users-v2: { mesh: users-v2 }, orders: { mesh: orders } }
routes:
  - name: canary
    listeners: [mesh]
    hosts: [users]
    path: "/*"
    to: [{ service: users, weight: 80 }, { service: users-v2, weight: 20 }]
  - name: testers
    listeners: [mesh]
    hosts: [users]
    path: "/*"
    headers: { x-version: v2 }
    to: users-v2
"#;
    stand.apply(yaml).await;
    let old = Upstream::start(Reply::ok("old"));
    let new = Upstream::start(Reply::ok("new"));
    let orders = Upstream::start(Reply::ok("order"));
    let _of_old = stand.sidecar("users", old.addr()).start().await;
    let _of_new = stand.sidecar("users-v2", new.addr()).start().await;
    let of_orders = stand.sidecar("orders", orders.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    stand.wait_for_healthy("users-v2", 1).await;
    let url = of_orders.outbound_url("/1");
    let call = async |headers: &[(&str, &str)]| {
        let answer = Client::http1().get_with(&url, headers).await.unwrap();
        answer.text()
    };
    let tester = [("host", "users"), ("x-version", "v2")];
    eventually(DEADLINE, async || call(&tester).await == "new").await;
    eventually(DEADLINE, async || call(&[("host", "users")]).await == "old").await;

    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        *counts.entry(call(&[("host", "users")]).await).or_default() += 1;
    }
    let share = counts["new"];
    assert_eq!(counts["old"] + share, 300, "{counts:?}");
    // 60 expected; six standard deviations of a fair draw are 42.
    assert!((18..=102).contains(&share), "{counts:?}");
}

#[tokio::test]
async fn sidecars_prefer_their_own_zone_and_the_first_level() {
    let stand = Stand::start().await;
    // Without ejections, who is told fit is fit.
    let users = "{ mesh: users, outlier: false }";
    let yaml = format!("services: {{ users: {users}, orders: {{ mesh: orders }} }}\n");
    stand.apply(&yaml).await;
    let [near, far, spare, orders] = ["near", "far", "spare", "order"].map(|name| {
        let upstream = Upstream::start(Reply::ok(name));
        let address = upstream.addr();
        (upstream, address)
    });
    // As in a pod, whose labels say in which zone its node is.
    let labels = stand.file("labels", "topology.kubernetes.io/zone=\"eu-a\"\n");
    let labels = format!("--labels-file={labels}");
    let _of_near = stand.sidecar("users", near.1).arg(labels);
    let _of_near = _of_near.start().await;
    let of_far = stand.sidecar("users", far.1).arg("--zone=eu-b");
    let _of_far = of_far.start().await;
    // In the zone, and yet behind what is elsewhere.
    let of_spare = stand.sidecar("users", spare.1).arg("--zone=eu-a");
    let _of_spare = of_spare.arg("--label=priority=1").start().await;
    let of_orders = stand.sidecar("orders", orders.1).arg("--zone=eu-a");
    let of_orders = of_orders.workers(1).start().await;
    stand.wait_for_healthy("users", 3).await;
    stand.converged(4).await;
    let away = async |reason: &str| {
        let metrics = of_orders.metrics().await;
        let labels = [("service", "users"), ("reason", reason)];
        metrics.sum("weir_upstream_attempts_away_total", &labels)
    };
    let only = async |names: &[&str]| {
        let mut seen = BTreeSet::new();
        for _ in 0..30 {
            seen.insert(of_orders.call("users", "/x").await.text());
        }
        match seen.iter().eq(names) {
            true => Ok(()),
            false => Err(format!("{seen:?}")),
        }
    };
    eventually(DEADLINE, async || only(&["near"]).await).await;
    let before = (away("zone").await, away("level").await);
    only(&["near"]).await.unwrap();
    assert_eq!((away("zone").await, away("level").await), before);

    // Half of the first level is left, in another zone: it keeps 70 %.
    near.0.stop();
    eventually(DEADLINE, async || only(&["far", "spare"]).await).await;
    assert!(away("zone").await > before.0);
    far.0.stop();
    eventually(DEADLINE, async || only(&["spare"]).await).await;
    assert!(away("level").await >= before.1 + 30.0);
    // They come back, and all is as before.
    let _near = Upstream::builder(Reply::ok("near")).bind(near.1).start();
    eventually(DEADLINE, async || only(&["near", "spare"]).await).await;
    let _far = Upstream::builder(Reply::ok("far")).bind(far.1).start();
    eventually(DEADLINE, async || only(&["near"]).await).await;
}

#[tokio::test]
async fn a_route_of_the_mesh_chooses_by_labels() {
    let stand = Stand::start().await;
    let yaml = r#"
services: { users: { mesh: users }, orders: { mesh: orders } }
routes:
  - name: testers
    listeners: [mesh]
    hosts: [users]
    path: "/*"
    headers: { x-version: v2 }
    to: { service: users, labels: { version: v2 } }
  - name: nobody
    listeners: [mesh]
    hosts: [users]
    path: /nobody
    to: { service: users, labels: { version: v3 } }
"#;
    stand.apply(yaml).await;
    let old = Upstream::start(Reply::ok("old"));
    let new = Upstream::start(Reply::ok("new"));
    let orders = Upstream::start(Reply::ok("order"));
    let of_old = stand.sidecar("users", old.addr());
    let _of_old = of_old.arg("--label=version=v1").start().await;
    let of_new = stand.sidecar("users", new.addr());
    let _of_new = of_new.arg("--label=version=v2,track=canary").start().await;
    let of_orders = stand.sidecar("orders", orders.addr());
    let of_orders = of_orders.workers(1).start().await;
    stand.wait_for_healthy("users", 2).await;
    stand.converged(3).await;
    let url = of_orders.outbound_url("/1");
    let call = async |headers: &[(&str, &str)]| {
        let answer = Client::http1().get_with(&url, headers).await.unwrap();
        answer.text()
    };
    // Without the header: both, by the service's own name.
    let plain = [("host", "users")];
    eventually(DEADLINE, async || call(&plain).await == "old").await;
    eventually(DEADLINE, async || call(&plain).await == "new").await;
    for _ in 0..20 {
        assert_eq!(call(&[("host", "users"), ("x-version", "v2")]).await, "new");
    }
    let answer = of_orders.call("users", "/nobody").await;
    assert_eq!(answer.status, 503, "{answer}");
    assert_eq!(answer.header("weir-reason"), Some("subset-empty"));
}

#[tokio::test]
async fn the_class_of_a_request_travels_and_sidecars_shed_by_it() {
    let stand = Stand::start().await;
    let web = free_addr();
    let limit = "limits: { adaptive: { min: 10, max: 10 } }";
    let yaml = format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ users: {{ mesh: users, retry: false, {limit} }}, orders: {{ mesh: orders }} }}
routes:
  - {{ path: "/*", to: users }}
  - {{ path: "/report/*", to: users, criticality: sheddable }}
  - {{ path: "/pay/*", to: users, criticality: critical }}
"#
    );
    stand.apply(&yaml).await;
    let users = Upstream::start(Script::by(|request: &Recorded| {
        match request.path.as_str() {
            "/pay/held" => Answer::Hang,
            _ => Reply::ok("served").into(),
        }
    }));
    let orders = Upstream::start(Reply::ok("an order"));
    let of_users = stand.sidecar("users", users.addr()).start().await;
    let of_orders = stand.sidecar("orders", orders.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let _gateway = stand.gateway().start().await;
    stand.converged(3).await;

    // The route at the edge says how much it matters; a client cannot.
    let claim = [("weir-criticality", "critical")];
    for (path, expected) in [
        ("/report/1", Some("sheddable")),
        ("/pay/1", Some("critical")),
        ("/x", None),
    ] {
        let url = format!("http://{web}{path}");
        let ask = async || Client::http1().get_with(&url, &claim).await.unwrap().status == 200;
        eventually(DEADLINE, ask).await;
        let seen = users.last_request();
        assert_eq!(seen.header("weir-criticality"), expected, "{path}");
    }

    // Eight of ten are under way at the sidecar of users; that of orders knows of none.
    let held_url = format!("http://{web}/pay/held");
    let hold = || {
        let url = held_url.clone();
        tokio::spawn(async move { Client::http1().get(&url).await })
    };
    let held: Vec<_> = (0..8).map(|_| hold()).collect();
    eventually(DEADLINE, async || {
        let metrics = of_users.metrics().await;
        metrics.sum("weir_upstream_requests_active", &[]) == 8.0
    })
    .await;
    let call = async |class: &str| {
        let headers = [("host", "users"), ("weir-criticality", class)];
        let url = of_orders.outbound_url("/y");
        Client::http1().get_with(&url, &headers).await.unwrap()
    };
    eventually(DEADLINE, async || call("critical").await.status == 200).await;
    let answer = call("sheddable").await;
    assert_eq!(answer.status, 503, "{answer}");
    let metrics = of_users.metrics().await;
    let shed = [("class", "sheddable")];
    assert_eq!(metrics.sum("weir_upstream_shed_total", &shed), 1.0);
    for class in ["default", "critical"] {
        let answer = call(class).await;
        assert_eq!(answer.status, 200, "{class}: {answer}");
    }
    held.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn an_idle_mesh_stays_connected_and_reports_itself() {
    let stand = Stand::start().await;
    stand.apply("services: { users: { mesh: users } }\n").await;
    let users = Upstream::start(Reply::ok("a user"));
    let sidecar = stand
        .sidecar_named("users-a", "users", users.addr())
        .start()
        .await;
    stand.wait_for_healthy("users", 1).await;
    let nodes = stand.nodes().await;
    assert_eq!(nodes.len(), 1);
    assert_eq!(nodes[0]["node"], "users-a");
    assert_eq!(nodes[0]["role"], "sidecar");
    assert_eq!(nodes[0]["service"], "users");
    assert_eq!(nodes[0]["identity"], "spiffe://weir.internal/service/users");
    let endpoint = &stand.endpoints("users").await[0];
    assert_eq!(endpoint["address"], sidecar.inbound().to_string());
    assert_eq!(endpoint["identity"], "spiffe://weir.internal/service/users");
    // An idle sidecar is small; the bound is for a debug build.
    let resident = sidecar.process.resident_bytes();
    println!("resident bytes of an idle sidecar (this build): {resident}");
    assert!(resident < 64 * 1024 * 1024, "{resident}");
}
