//! TLS towards clients: certificates by SNI, made for development, replaced while running.

use std::path::Path;

use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::{Authority, Identity};
use weir_testkit::client::{Client, ClientError, Trust};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

/// A TLS listener with these certificates, written as in a document.
async fn gateway_with(place: Place, tls: &str, upstream: &Upstream) -> Lone {
    let yaml = format!(
        "
        listeners: {{ secure: {{ bind: \"{}\", tls: {{ {tls} }} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.secure,
        upstream.addr()
    );
    place.start(&yaml).await
}

fn files(directory: &Path, name: &str, identity: &Identity) -> String {
    let (cert, key) = identity.write(directory, name);
    format!(
        "{{ cert: \"{}\", key: \"{}\" }}",
        cert.display(),
        key.display()
    )
}

#[tokio::test]
async fn a_development_certificate_is_made_for_the_names() {
    let upstream = Upstream::start(Reply::ok("here"));
    let place = Place::new();
    let gateway = gateway_with(place, "self_signed: [localhost, dev.example]", &upstream).await;
    let address = gateway.place().secure;
    for name in ["localhost", "dev.example"] {
        let client = Client::http1().connect_to(address);
        let url = format!("https://{name}/x");
        let connection = client.connect(&url).await.unwrap();
        let certificate = connection.peer_certificates()[0].clone();
        drop(connection);
        // It is a root of its own: who trusts it is content with the name as well.
        let mut roots = Authority::new("other").roots();
        std::sync::Arc::make_mut(&mut roots)
            .add(certificate)
            .unwrap();
        let trusting = client.clone().trust(Trust::Roots(roots));
        assert_eq!(trusting.get(&url).await.unwrap().text(), "here", "{name}");
    }
}

#[tokio::test]
async fn the_certificate_is_chosen_by_the_name_that_the_client_asks_for() {
    let upstream = Upstream::start(Reply::ok("here"));
    let place = Place::new();
    let authority = Authority::new("edge");
    let (shop, wild) = (
        authority.issue(&["shop.example"]),
        authority.issue(&["*.wild.example"]),
    );
    let tls = format!(
        "certificates: [{}, {}]",
        files(place.directory(), "shop", &shop),
        files(place.directory(), "wild", &wild)
    );
    let gateway = gateway_with(place, &tls, &upstream).await;
    let client = Client::http1().connect_to(gateway.place().secure);
    for (name, expected) in [
        ("shop.example", &shop),
        ("SHOP.example", &shop),
        ("a.wild.example", &wild),
        // Nobody's name, or a level too deep: the first is the default.
        ("a.b.wild.example", &shop),
        ("other.example", &shop),
    ] {
        let connection = client.connect(&format!("https://{name}/x")).await.unwrap();
        assert_eq!(
            connection.peer_certificates()[0],
            expected.certificate(),
            "{name}"
        );
    }
    let trusting = client.trust(Trust::only(&authority));
    assert_eq!(
        trusting
            .get("https://a.wild.example/x")
            .await
            .unwrap()
            .status,
        200
    );
    let other = trusting.get("https://other.example/x").await;
    assert!(matches!(other, Err(ClientError::Tls(_))), "{other:?}");
}

#[tokio::test]
async fn a_replaced_certificate_is_for_new_connections_and_old_ones_go_on() {
    let upstream = Upstream::start(Reply::ok("here"));
    let place = Place::new();
    let authority = Authority::new("edge");
    let (before, after) = (
        authority.issue(&["shop.example"]),
        authority.issue(&["shop.example"]),
    );
    let directory = place.directory().to_owned();
    let tls = format!("certificates: [{}]", files(&directory, "shop", &before));
    let gateway = gateway_with(place, &tls, &upstream).await;
    let url = "https://shop.example/x";
    let client = |client: Client| {
        client
            .connect_to(gateway.place().secure)
            .trust(Trust::only(&authority))
    };
    let mut held = Vec::new();
    for of in [client(Client::http1()), client(Client::http2())] {
        let mut connection = of.connect(url).await.unwrap();
        assert_eq!(connection.peer_certificates()[0], before.certificate());
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
        held.push(connection);
    }

    // Both files one after the other: between the two they do not belong together.
    let _ = after.write(&directory, "shop");
    eventually(DEADLINE, async || {
        let connection = client(Client::http1()).connect(url).await.unwrap();
        connection.peer_certificates()[0] == after.certificate()
    })
    .await;
    for connection in &mut held {
        assert!(!connection.is_closed());
        assert_eq!(connection.get("/x").await.unwrap().status, 200);
    }
    let closed = gateway
        .metrics()
        .await
        .sum("weir_connections_closed_by_config_total", &[]);
    assert_eq!(closed, 0.0);
}

#[tokio::test]
async fn a_broken_certificate_on_disk_leaves_the_one_in_use() {
    let upstream = Upstream::start(Reply::ok("here"));
    let place = Place::new();
    let identity = Authority::new("edge").issue(&["shop.example"]);
    let directory = place.directory().to_owned();
    let tls = format!("certificates: [{}]", files(&directory, "shop", &identity));
    let gateway = gateway_with(place, &tls, &upstream).await;
    std::fs::write(directory.join("shop.crt"), "not a certificate").unwrap();
    eventually(DEADLINE, async || {
        gateway.process.stderr().contains("shop.crt")
    })
    .await;
    let client = Client::http1().connect_to(gateway.place().secure);
    let connection = client.connect("https://shop.example/x").await.unwrap();
    assert_eq!(connection.peer_certificates()[0], identity.certificate());
}

#[tokio::test]
async fn a_handshake_is_waited_for_only_so_long() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with(Place::new(), "self_signed: [localhost]", &upstream).await;
    let start = std::time::Instant::now();
    let wait = 3 * DEADLINE;
    let answer = weir_testkit::client::raw(gateway.place().secure, b"", wait).await;
    assert_ne!(answer.ending, weir_testkit::client::Ending::Open);
    let took = start.elapsed().as_secs_f64();
    assert!(took > 9.0, "{took}");
    eventually(DEADLINE, async || failed(&gateway, "timeout").await == 1.0).await;
}

async fn failed(gateway: &Lone, reason: &str) -> f64 {
    let metrics = gateway.metrics().await;
    metrics.sum(
        "weir_listener_tls_handshakes_failed_total",
        &[("reason", reason)],
    )
}

#[tokio::test]
async fn clear_text_on_the_tls_port_harms_nobody() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_with(Place::new(), "self_signed: [localhost]", &upstream).await;
    let sent = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let answer = weir_testkit::client::raw(gateway.place().secure, sent, DEADLINE).await;
    assert_ne!(answer.ending, weir_testkit::client::Ending::Open);
    assert_eq!(upstream.request_count(), 0);
    eventually(DEADLINE, async || failed(&gateway, "protocol").await == 1.0).await;
    assert_eq!(
        Client::http1()
            .get(&gateway.secure_url("/x"))
            .await
            .unwrap()
            .status,
        200
    );
}
