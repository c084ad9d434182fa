//! Changes under load: live everywhere at once, nothing fails, nothing closes; or refused, and then
//! nothing has changed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;
use weir_e2e::DEADLINE;
use weir_e2e::proxy::Proxy;
use weir_e2e::stand::Stand;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::process::Signal;
use weir_testkit::upstream::{Reply, Upstream};

/// A route that every test leaves alone, and one whose service is changed.
fn document(web: SocketAddr, to: &str) -> String {
    format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services:
  users: {{ mesh: users, retry: false }}
  users-v2: {{ mesh: users-v2, retry: false }}
routes:
  - {{ name: steady, path: "/steady/*", to: users }}
  - {{ name: edited, path: "/edited/*", to: {to} }}
  - {{ name: by-name, listeners: [mesh], hosts: [app], path: "/*", to: {to} }}
"#
    )
}

/// Two versions of users, the sidecars beside them, and a gateway with two workers.
struct Shop {
    stand: Stand,
    web: SocketAddr,
    gateway: Proxy,
    sidecars: [Proxy; 2],
    _applications: [Upstream; 2],
}

impl Shop {
    async fn start() -> Self {
        let stand = Stand::start().await;
        let web = free_addr();
        stand.apply(&document(web, "users")).await;
        let old = Upstream::start(Reply::ok("old"));
        let new = Upstream::start(Reply::ok("new"));
        let sidecars = [
            stand.sidecar("users", old.addr()).start().await,
            stand.sidecar("users-v2", new.addr()).start().await,
        ];
        stand.wait_for_healthy("users", 1).await;
        stand.wait_for_healthy("users-v2", 1).await;
        let gateway = stand.gateway().workers(2).start().await;
        stand.converged(3).await;
        let shop = Self {
            stand,
            web,
            gateway,
            sidecars,
            _applications: [old, new],
        };
        eventually(DEADLINE, async || shop.edited().await == "old").await;
        shop
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web)
    }

    /// What the route under change answers now.
    async fn edited(&self) -> String {
        Client::http1()
            .get(&self.url("/edited/1"))
            .await
            .unwrap()
            .text()
    }

    fn document(&self, to: &str) -> String {
        document(self.web, to)
    }

    fn proxies(&self) -> impl Iterator<Item = &Proxy> {
        self.sidecars.iter().chain([&self.gateway])
    }

    /// Connections that were closed for a change, over all proxies.
    async fn closed_by_config(&self) -> f64 {
        let mut sum = 0.0;
        for proxy in self.proxies() {
            let metrics = proxy.metrics().await;
            sum += metrics.sum("weir_connections_closed_by_config_total", &[]);
        }
        sum
    }

    /// The number of the newest revision.
    async fn revision(&self) -> String {
        let answer = self.stand.get("/v1/config").await;
        answer.header("weir-revision").unwrap().to_owned()
    }
}

/// Loads on both routes in both protocols, over connections that live as long as the load.
fn loads(shop: &Shop) -> Vec<weir_testkit::load::Running> {
    let both = [Client::http1(), Client::http2()];
    let pause = Duration::from_millis(2);
    let urls = [shop.url("/steady/1"), shop.url("/edited/1")];
    let each = urls
        .iter()
        .flat_map(|url| both.iter().map(move |client| (url, client)));
    let start = |(url, client): (&String, &Client)| {
        Load::of(url)
            .client(client.clone())
            .connections(4)
            .pause(pause)
            .start()
    };
    each.map(start).collect()
}

async fn assert_undisturbed(loads: Vec<weir_testkit::load::Running>) {
    for load in &loads {
        load.wait_for_more(20, DEADLINE).await;
    }
    for load in loads {
        let report = load.stop().await;
        println!("{report}");
        report.assert_undisturbed();
    }
}

#[tokio::test]
async fn an_applied_change_is_live_on_every_proxy_when_the_command_returns() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    for load in &loads {
        load.wait_for_more(20, DEADLINE).await;
    }
    let file = shop.stand.file("new.yaml", &shop.document("users-v2"));

    let began = Instant::now();
    let told = shop.stand.weir(&["apply", "--wait", &file]).await.fine();
    let took = began.elapsed();
    // At once, on a new connection and in the mesh: no waiting here.
    assert_eq!(shop.edited().await, "new");
    assert_eq!(shop.sidecars[0].call("app", "/1").await.text(), "new");
    for proxy in shop.proxies() {
        let revision = proxy
            .metrics()
            .await
            .one("weir_config_revision_number", &[]);
        assert_eq!(revision, 2.0, "{}", proxy.node());
    }
    println!("applied and live on three proxies after {took:?} (command included)");
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(
        told.contains("revision 2") && told.contains("every proxy runs it"),
        "{told}"
    );
    assert_undisturbed(loads).await;
    assert_eq!(shop.closed_by_config().await, 0.0);
}

#[tokio::test]
async fn put_does_the_same_and_refuses_what_was_decided_against_an_older_revision() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    let path = "/v1/config?wait=10s&author=ann";
    let expect = [("if-match", "\"1\"")];
    let began = Instant::now();
    let answer = shop
        .stand
        .send(Method::PUT, path, &expect, shop.document("users-v2"))
        .await;
    println!("live on three proxies after {:?}", began.elapsed());
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.header("etag"), Some("\"2\""));
    let written: Value = answer.json();
    assert_eq!(written["convergence"]["converged"], true, "{written:#}");
    assert_eq!(
        written["convergence"]["running"].as_array().unwrap().len(),
        3
    );
    assert_eq!(shop.edited().await, "new");

    let late = shop
        .stand
        .send(Method::PUT, path, &expect, shop.document("users"))
        .await;
    assert_eq!(late.status, 412, "{late}");
    let problem: Value = late.json();
    assert_eq!(problem["code"], "conflict");
    assert_eq!(problem["head"], 2);
    assert_eq!(shop.edited().await, "new");
    assert_undisturbed(loads).await;
}

#[tokio::test]
async fn a_broken_file_is_refused_with_every_error_and_changes_nothing() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    let broken = shop
        .document("users-v3")
        .replace("retry: false }", "retri: false }")
        .replace("path: \"/steady/*\"", "path: \"steady\"");
    let file = shop.stand.file("broken.yaml", &broken);
    let line_of = |text: &str| {
        let found = broken.lines().position(|line| line.contains(text));
        found.unwrap() + 1
    };

    let finished = shop.stand.weir(&["apply", "--wait", &file]).await;
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    for (line, says) in [
        (line_of("users: {"), "retri"),
        (line_of("users-v2: {"), "retri"),
        (line_of("steady"), "path"),
        (line_of("edited"), "users-v3"),
    ] {
        let place = format!("{file}:{line}:");
        let is_said = finished.stderr.contains(&place) && finished.stderr.contains(says);
        assert!(is_said, "{place} {says}\n{}", finished.stderr);
    }
    assert!(
        finished.stderr.contains("nothing was changed"),
        "{}",
        finished.stderr
    );

    let answer = shop
        .stand
        .send(Method::PUT, "/v1/config", &[], broken.clone())
        .await;
    assert_eq!(answer.status, 422, "{answer}");
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let problem: Value = answer.json();
    let errors = problem["errors"].as_array().unwrap();
    assert!(errors.len() >= 4, "{problem:#}");
    for error in errors {
        let has_place = error["path"].is_string() && error["line"].as_u64() > Some(0);
        assert!(has_place && error["column"].as_u64() > Some(0), "{error}");
        assert!(error["problem"].is_string(), "{error}");
    }
    assert!(
        errors.iter().any(|error| error["hint"].is_string()),
        "{problem:#}"
    );

    assert_eq!(shop.revision().await, "1");
    assert_eq!(shop.edited().await, "old");
    for proxy in shop.proxies() {
        let revision = proxy
            .metrics()
            .await
            .one("weir_config_revision_number", &[]);
        assert_eq!(revision, 1.0);
    }
    assert_undisturbed(loads).await;
}

#[tokio::test]
async fn a_hundred_reloads_under_load_close_no_connection() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    for round in 0..100 {
        let to = if round % 2 == 0 { "users-v2" } else { "users" };
        let written = shop.stand.apply(&shop.document(to)).await;
        assert_eq!(written["revision"]["number"], round + 2);
        let expected = if round % 2 == 0 { "new" } else { "old" };
        assert_eq!(shop.edited().await, expected, "in round {round}");
    }
    assert_undisturbed(loads).await;
    assert_eq!(shop.closed_by_config().await, 0.0);
}

#[tokio::test]
async fn verbs_show_the_past_and_go_back_to_it() {
    let shop = Shop::start().await;
    let file = shop.stand.file("new.yaml", &shop.document("users-v2"));
    let weir = async |arguments: &[&str]| shop.stand.weir(arguments).await;

    let diff = weir(&["diff", &file]).await;
    assert_eq!(diff.code, Some(1), "{diff:#?}");
    let is_shown = |line: &str| diff.stdout.lines().any(|shown| shown.starts_with(line));
    assert!(
        is_shown("-  - { name: edited") && is_shown("+  - { name: edited"),
        "{diff:#?}"
    );

    weir(&["apply", "--wait", "--author=ann", &file])
        .await
        .fine();
    assert_eq!(weir(&["diff", &file]).await.code, Some(0));
    let history = weir(&["history", "--json"]).await.json();
    let numbers: Vec<&Value> = history["revisions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| &it["number"])
        .collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(history["revisions"][0]["author"], "ann");

    let told = weir(&["rollback", "--wait"]).await.fine();
    assert!(
        told.contains("revision 3") && told.contains("revision 1"),
        "{told}"
    );
    assert_eq!(shop.edited().await, "old");
    let history = weir(&["history", "--json"]).await.json();
    assert_eq!(history["revisions"][0]["rollback_to"], 1);

    let status = weir(&["status", "--json"]).await;
    assert_eq!(status.code, Some(0), "{status:#?}");
    let status = status.json();
    assert_eq!(status["revision"], 3);
    assert_eq!(status["converged"], true);
    assert_eq!(status["nodes"].as_array().unwrap().len(), 3);
    let text = weir(&["status"]).await.fine();
    for needle in ["every proxy runs it", "sidecar of users-v2", "gateway"] {
        assert!(text.contains(needle), "{needle} in {text}");
    }
    let nobody = weir_e2e::command::weir(&["status", "--control-plane=http://127.0.0.1:1"]).await;
    assert_eq!(nobody.code, Some(2), "{nobody:#?}");
}

#[tokio::test]
async fn a_proxy_that_cannot_listen_refuses_the_revision_and_keeps_the_old_one() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let second = format!("second: {{ bind: \"127.0.0.1:{port}\" }}");
    let yaml = shop.document("users-v2").replace(
        "listeners: { web: {",
        &format!("listeners: {{ {second}, web: {{"),
    );
    let file = shop.stand.file("taken.yaml", &yaml);

    let finished = shop.stand.weir(&["apply", "--wait", &file]).await;
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let told = finished.stdout.clone() + &finished.stderr;
    assert!(told.contains(shop.gateway.node()), "{told}");
    assert!(
        told.contains(&port.to_string()) && told.contains("taken"),
        "{told}"
    );
    // The gateway has changed nothing, not even the route that it could have.
    assert_eq!(shop.edited().await, "old");
    let metrics = shop.gateway.metrics().await;
    assert_eq!(metrics.one("weir_config_revision_number", &[]), 1.0);
    assert!(metrics.one("weir_config_refused_total", &[]) >= 1.0);
    assert_undisturbed(loads).await;

    // The next good one is accepted.
    let written = shop.stand.apply(&shop.document("users-v2")).await;
    assert_eq!(written["revision"]["number"], 3);
    assert_eq!(shop.edited().await, "new");
}

#[tokio::test]
async fn a_listener_comes_and_goes_without_touching_the_other() {
    let shop = Shop::start().await;
    let loads = loads(&shop);
    let second = free_addr();
    let with_second = shop.document("users").replace(
        "listeners: { web: {",
        &format!("listeners: {{ second: {{ bind: \"{second}\" }}, web: {{"),
    );
    shop.stand.apply(&with_second).await;
    let url = format!("http://{second}/steady/1");
    let mut idle = Client::http1().connect(&url).await.unwrap();
    assert_eq!(idle.get("/steady/1").await.unwrap().status, 200);

    shop.stand.apply(&shop.document("users")).await;
    eventually(DEADLINE, async || Client::http1().get(&url).await.is_err()).await;
    // A connection of the listener that is gone gets one more answer, which says that it is the
    // last: a request that was on its way does not fail.
    let last = idle.get("/steady/1").await.unwrap();
    assert_eq!(last.status, 200, "{last}");
    assert_eq!(last.header("connection"), Some("close"), "{last}");
    eventually(DEADLINE, async || idle.is_closed()).await;
    assert_undisturbed(loads).await;
}

#[tokio::test]
async fn a_proxy_that_does_not_answer_is_named_and_catches_up() {
    let shop = Shop::start().await;
    let file = shop.stand.file("new.yaml", &shop.document("users-v2"));
    shop.gateway.process.signal(Signal::SIGSTOP);
    let finished = shop.stand.weir(&["apply", "--wait=1s", &file]).await;
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    let is_pending = |line: &str| line.contains("pending") && line.contains(shop.gateway.node());
    assert!(finished.stdout.lines().any(is_pending), "{finished:#?}");
    let status = shop.stand.weir(&["status"]).await;
    assert_eq!(status.code, Some(1), "{status:#?}");

    shop.gateway.process.signal(Signal::SIGCONT);
    shop.stand.converged(3).await;
    assert_eq!(shop.edited().await, "new");
}
