//! Endpoints by name: a name server whose records change, and the one of a real Consul.

use std::net::SocketAddr;

use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::consul::consul_agent;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::Authority;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::names::NameServer;
use weir_testkit::ports::free_port;
use weir_testkit::upstream::{Reply, Upstream};

/// Says its name, at an address of its own on a port that several share.
fn named(name: &'static str, last: u8, port: u16) -> Upstream {
    let address = SocketAddr::from(([127, 0, 0, last], port));
    Upstream::builder(Reply::ok(name)).bind(address).start()
}

async fn gateway_to(source: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ dns: {source}, retry: false }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    ))
    .await
}

/// What `count` requests are answered, each word with how often.
async fn answers(gateway: &Lone, count: usize) -> Vec<(String, usize)> {
    let mut words: Vec<(String, usize)> = Vec::new();
    for _ in 0..count {
        let word = gateway.get("/x").await.text().to_owned();
        match words.iter_mut().find(|(known, _)| *known == word) {
            Some((_, times)) => *times += 1,
            None => words.push((word, 1)),
        }
    }
    words.sort();
    words
}

async fn who_answers(gateway: &Lone) -> Vec<String> {
    let answers = answers(gateway, 8).await;
    answers.into_iter().map(|(word, _)| word).collect()
}

/// What the admin server says of the service.
async fn shown(gateway: &Lone) -> Value {
    let services: Value = gateway.admin("/services").await.json();
    services["services"][0].clone()
}

async fn addresses(gateway: &Lone) -> Vec<String> {
    let shown = shown(gateway).await;
    let endpoints = shown["endpoints"].as_array().unwrap();
    let address = |endpoint: &Value| endpoint["address"].as_str().unwrap().to_owned();
    endpoints.iter().map(address).collect()
}

async fn lookups(gateway: &Lone, outcome: &str) -> f64 {
    let labels = [("service", "app"), ("outcome", outcome)];
    let metrics = gateway.metrics().await;
    metrics.one("weir_discovery_lookups_total", &labels)
}

#[tokio::test]
async fn records_that_change_are_followed_without_losing_a_request() {
    let names = NameServer::start().await;
    let port = free_port();
    let (_one, two) = (named("one", 1, port), named("two", 2, port));
    names.addresses("app.test", 1, &["127.0.0.1"]);
    let source = format!(
        "{{ address: \"app.test:{port}\", name_servers: [\"{}\"] }}",
        names.address()
    );
    let gateway = gateway_to(&source).await;
    assert_eq!(who_answers(&gateway).await, ["one"]);

    let load = Load::of(gateway.url("/x")).connections(2).start();
    names.addresses("app.test", 1, &["127.0.0.1", "127.0.0.2"]);
    eventually(DEADLINE, async || addresses(&gateway).await.len() == 2).await;
    load.wait_for_more(50, DEADLINE).await;
    assert!(two.request_count() > 0);
    names.addresses("app.test", 1, &["127.0.0.2"]);
    eventually(DEADLINE, async || addresses(&gateway).await.len() == 1).await;
    load.wait_for_more(50, DEADLINE).await;
    load.stop().await.assert_undisturbed();
    assert_eq!(who_answers(&gateway).await, ["two"]);
    assert!(lookups(&gateway, "answered").await >= 3.0);

    let shown = shown(&gateway).await;
    let source = format!("dns app.test:{port} at {}", names.address());
    assert_eq!(shown["source"], source.as_str(), "{shown}");
    assert_eq!(
        shown["endpoints"][0]["address"],
        format!("127.0.0.2:{port}")
    );
    assert!(
        shown["failing"].is_null() && shown["answered_unix"].is_u64(),
        "{shown}"
    );
    let question = json!({ "url": gateway.url("/x") });
    let url = gateway.admin_url("/explain");
    let explained = Client::http1().post(&url, &[], question.to_string()).await;
    let explained: Value = explained.unwrap().json();
    let said = format!("its endpoints come from {source}");
    let steps = explained["steps"].as_array().unwrap();
    assert!(
        steps.iter().any(|step| step["said"] == said.as_str()),
        "{explained}"
    );
}

#[tokio::test]
async fn while_names_are_not_answered_the_last_endpoints_serve() {
    let mut names = NameServer::start().await;
    let port = free_port();
    let (_one, _two) = (named("one", 1, port), named("two", 2, port));
    names.addresses("app.test", 0, &["127.0.0.1"]);
    let source = format!(
        "{{ address: \"app.test:{port}\", name_servers: [\"{}\"] }}",
        names.address()
    );
    let gateway = gateway_to(&source).await;
    assert_eq!(who_answers(&gateway).await, ["one"]);

    names.forget("app.test");
    eventually(DEADLINE, async || lookups(&gateway, "negative").await > 0.0).await;
    assert_eq!(who_answers(&gateway).await, ["one"]);
    let said = "looking up \"app.test\": there is no such name";
    assert_eq!(shown(&gateway).await["failing"], said);

    names.go_away().await;
    eventually(DEADLINE, async || lookups(&gateway, "failed").await > 0.0).await;
    assert_eq!(who_answers(&gateway).await, ["one"]);
    let labels = [("service", "app")];
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.one("weir_discovery_failing", &labels), 1.0);
    assert!(metrics.one("weir_discovery_age_seconds", &labels) > 0.0);

    names.addresses("app.test", 0, &["127.0.0.2"]);
    names.come_back().await;
    eventually(DEADLINE, async || who_answers(&gateway).await == ["two"]).await;
    let metrics = gateway.metrics().await;
    assert_eq!(metrics.one("weir_discovery_failing", &labels), 0.0);
}

#[tokio::test]
async fn a_name_that_never_was_refuses_and_serves_once_it_is() {
    let names = NameServer::start().await;
    let app = Upstream::start(Reply::ok("here"));
    let source = format!(
        "{{ address: \"app.test:{}\", name_servers: [\"{}\"] }}",
        app.port(),
        names.address()
    );
    let gateway = gateway_to(&source).await;
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 503, "no-endpoint").await;
    names.addresses("app.test", 60, &["127.0.0.1"]);
    eventually(DEADLINE, async || who_answers(&gateway).await == ["here"]).await;
}

#[tokio::test]
async fn services_bring_port_weight_and_level() {
    let names = NameServer::start().await;
    let one = Upstream::start(Reply::ok("one"));
    let two = Upstream::start(Reply::ok("two"));
    let spare = Upstream::start(Reply::ok("spare"));
    names.addresses("host.test", 60, &["127.0.0.1"]);
    let records = [
        (10, 3, one.port(), "host.test"),
        (10, 1, two.port(), "host.test"),
        (20, 1, spare.port(), "host.test"),
    ];
    names.services("_http._tcp.app.test", 1, &records);
    let source = format!(
        "{{ srv: _http._tcp.app.test, name_servers: [\"{}\"] }}",
        names.address()
    );
    let gateway = gateway_to(&source).await;
    let endpoints = shown(&gateway).await["endpoints"].clone();
    let placed = |at: usize| {
        let it = &endpoints[at];
        let (weight, level) = (it["weight"].as_u64(), it["priority"].as_u64());
        (
            it["address"].as_str().unwrap().to_owned(),
            weight,
            level.unwrap_or(0),
        )
    };
    let mut first = [placed(0), placed(1)];
    first.sort_by_key(|it| it.1);
    let of = |app: &Upstream, weight, level| (app.addr().to_string(), Some(weight), level);
    assert_eq!(first, [of(&two, 1, 0), of(&one, 3, 0)], "{endpoints}");
    assert_eq!(placed(2), of(&spare, 1, 1), "{endpoints}");

    // Weights alone, within a level.
    names.services("_http._tcp.app.test", 1, &records[..2]);
    eventually(DEADLINE, async || {
        shown(&gateway).await["endpoints"].as_array().unwrap().len() == 2
    })
    .await;
    let counted = answers(&gateway, 80).await;
    let words: Vec<&str> = counted.iter().map(|(word, _)| word.as_str()).collect();
    assert_eq!(words, ["one", "two"]);
    // Each worker shares out for itself.
    assert!((50..=70).contains(&counted[0].1), "{counted:?}");
}

#[tokio::test]
async fn endpoints_found_by_name_prove_to_own_it() {
    let names = NameServer::start().await;
    let authority = Authority::new("services");
    let config = authority.issue(&["app.test"]).server_config();
    let app = Upstream::builder(Reply::ok("proved")).tls(config).start();
    names.addresses("app.test", 60, &["127.0.0.1"]);
    names.addresses("other.test", 60, &["127.0.0.1"]);
    names.services(
        "_https._tcp.app.test",
        60,
        &[(0, 0, app.port(), "other.test")],
    );
    let place = Place::new();
    let ca = place.directory().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let (port, server, ca) = (app.port(), names.address(), ca.display());
    let gateway = place
        .start(&format!(
            "
            services:
              app:
                dns: {{ address: \"app.test:{port}\", name_servers: [\"{server}\"] }}
                tls: {{ ca: {ca} }}
              other:
                dns: {{ address: \"other.test:{port}\", name_servers: [\"{server}\"] }}
                tls: {{ ca: {ca} }}
              services:
                dns: {{ srv: _https._tcp.app.test, name_servers: [\"{server}\"] }}
                tls: {{ ca: {ca} }}
            routes:
              - {{ path: /app, to: app }}
              - {{ path: /other, to: other }}
              - {{ path: /services, to: services }}
            "
        ))
        .await;
    assert_eq!(gateway.get("/app").await.text(), "proved");
    assert_eq!(gateway.get("/services").await.text(), "proved");
    let answer = gateway.get("/other").await;
    gateway.assert_refused(&answer, 502, "tls-failed").await;
}

#[tokio::test]
async fn consul_is_asked_by_dns() {
    let agent = consul_agent().await;
    // Its answer over DNS is what any other program sees.
    let one = Upstream::start(Reply::ok("one"));
    let two = Upstream::start(Reply::ok("two"));
    for (id, app) in [("orders-1", &one), ("orders-2", &two)] {
        let health = app.url("/health");
        agent.register("orders", id, app.addr(), &health).await;
    }
    let source = format!(
        "{{ srv: orders.service.consul, name_servers: [\"{}\"] }}",
        agent.dns()
    );
    let gateway = gateway_to(&source).await;
    eventually(DEADLINE, async || {
        who_answers(&gateway).await == ["one", "two"]
    })
    .await;
    // Consul leaves out who fails its check.
    one.set_script(Reply::status(503));
    eventually(DEADLINE, async || who_answers(&gateway).await == ["two"]).await;
    // And says that the name does not exist when nobody is left.
    two.set_script(Reply::status(503));
    eventually(DEADLINE, async || lookups(&gateway, "negative").await > 0.0).await;
    two.set_script(Reply::ok("two"));
    assert_eq!(who_answers(&gateway).await, ["two"]);

    // A records: the addresses, the port from the document.
    let plain = format!(
        "{{ address: \"orders.service.consul:{}\", name_servers: [\"{}\"] }}",
        two.port(),
        agent.dns()
    );
    let gateway = gateway_to(&plain).await;
    eventually(DEADLINE, async || who_answers(&gateway).await == ["two"]).await;
}
