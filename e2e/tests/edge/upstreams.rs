//! What the gateway speaks to services: HTTP/2, TLS with an own root, and connections kept alive.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::Authority;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_with(place: Place, service: &str) -> Lone {
    let yaml = format!(
        "
        services: {{ app: {{ {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    );
    place.start(&yaml).await
}

#[tokio::test]
async fn http2_in_clear_text_to_the_service() {
    let upstream = Upstream::builder(Reply::echo()).http2().start();
    let service = format!("endpoints: [\"{}\"], protocol: http2", upstream.addr());
    let gateway = gateway_with(Place::new().arg("--workers=1"), &service).await;
    let answer = gateway
        .post("/x?y=1", &[("host", "shop.example")], "body")
        .await;
    assert_eq!(answer.status, 200, "{answer}");
    let seen = upstream.last_request();
    assert_eq!(
        (seen.version, seen.path.as_str(), seen.text().as_str()),
        ("HTTP/2", "/x?y=1", "body")
    );
    assert_eq!(seen.header(":authority"), Some("shop.example"));
    assert_eq!(seen.header("host"), None);
    let report = Load::of(gateway.url("/x"))
        .requests(100)
        .start()
        .finish()
        .await;
    report.assert_undisturbed();
    // One worker, one connection, many streams.
    assert_eq!(upstream.connection_count(), 1);
}

#[tokio::test]
async fn tls_to_the_service_with_an_own_root() {
    let authority = Authority::new("inner");
    let tls = authority.issue(&["app.inner"]).server_config();
    let place = Place::new();
    let ca = place.directory().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    for (protocol, upstream) in [
        (
            "http1",
            Upstream::builder(Reply::ok("trusted"))
                .tls(tls.clone())
                .start(),
        ),
        (
            "http2",
            Upstream::builder(Reply::ok("trusted"))
                .tls(tls.clone())
                .http2()
                .start(),
        ),
    ] {
        let service = format!(
            "endpoints: [\"{}\"], protocol: {protocol}, \
             tls: {{ server_name: app.inner, ca: \"{}\" }}",
            upstream.addr(),
            ca.display()
        );
        let gateway = gateway_with(Place::new(), &service).await;
        let answer = gateway.get("/x").await;
        assert_eq!(
            (answer.status.as_u16(), answer.text().as_str()),
            (200, "trusted"),
            "{protocol}"
        );
    }
}

#[tokio::test]
async fn a_service_of_another_root_or_another_name_is_not_trusted() {
    let (authority, other) = (Authority::new("inner"), Authority::new("other"));
    let tls = authority.issue(&["app.inner"]).server_config();
    let upstream = Upstream::builder(Reply::ok("")).tls(tls).start();
    let place = Place::new();
    let write = |name: &str, pem: String| {
        let path = place.directory().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (own, wrong) = (
        write("own.pem", authority.pem()),
        write("wrong.pem", other.pem()),
    );
    for (ca, name) in [(&wrong, "app.inner"), (&own, "other.inner")] {
        let service = format!(
            "endpoints: [\"{}\"], retry: false, tls: {{ server_name: {name}, ca: \"{ca}\" }}",
            upstream.addr()
        );
        let gateway = gateway_with(Place::new(), &service).await;
        let answer = gateway.get("/x").await;
        gateway.assert_refused(&answer, 502, "tls-failed").await;
        let line = gateway.logged("/x").await;
        assert_eq!(line["termination"], "upstream-tls", "{line}");
    }
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn the_gateway_shows_its_client_certificate() {
    let (servers, clients) = (Authority::new("servers"), Authority::new("clients"));
    let tls = servers.issue(&["app.inner"]).server_config_mutual(&clients);
    let upstream = Upstream::builder(Reply::ok("known")).tls(tls).start();
    let place = Place::new();
    let ca = place.directory().join("ca.pem");
    std::fs::write(&ca, servers.pem()).unwrap();
    let (cert, key) = clients
        .issue(&["gateway"])
        .write(place.directory(), "client");
    let client = format!(
        "client: {{ cert: \"{}\", key: \"{}\" }}",
        cert.display(),
        key.display()
    );
    for (client, status) in [(client.as_str(), 200), ("", 502)] {
        let service = format!(
            "endpoints: [\"{}\"], tls: {{ server_name: app.inner, ca: \"{}\", {client} }}",
            upstream.addr(),
            ca.display()
        );
        let gateway = gateway_with(Place::new(), &service).await;
        let answer = gateway.get("/x").await;
        assert_eq!(answer.status, status, "{answer}");
    }
}

#[tokio::test]
async fn connections_to_the_service_are_kept_and_used_again() {
    let upstream = Upstream::start(Reply::ok("x"));
    let service = format!("endpoints: [\"{}\"]", upstream.addr());
    let gateway = gateway_with(Place::new().arg("--workers=1"), &service).await;
    for _ in 0..30 {
        // Each on a connection of its own in front.
        assert_eq!(gateway.get("/x").await.status, 200);
    }
    assert_eq!(upstream.connection_count(), 1);
    let report = Load::of(gateway.url("/x"))
        .connections(4)
        .requests(400)
        .start()
        .finish()
        .await;
    report.assert_undisturbed();
    assert!(
        upstream.connection_count() <= 4,
        "{}",
        upstream.connection_count()
    );
    let metrics = gateway.metrics().await;
    let created = metrics.sum(
        "weir_upstream_connections_created_total",
        &[("service", "app")],
    );
    assert_eq!(created, upstream.connection_count() as f64);
}

#[tokio::test]
async fn a_service_that_closes_kept_connections_costs_no_request() {
    let upstream = Upstream::builder(Reply::ok("x"))
        .requests_per_connection_max(3)
        .start();
    let service = format!("endpoints: [\"{}\"]", upstream.addr());
    let gateway = gateway_with(Place::new(), &service).await;
    let report = Load::of(gateway.url("/x"))
        .requests(200)
        .start()
        .finish()
        .await;
    report.assert_undisturbed();
    assert!(upstream.connection_count() > 50);
}

#[tokio::test]
async fn a_restarted_service_is_found_again() {
    let upstream = Upstream::start(Reply::ok("one"));
    let address = upstream.addr();
    let service = format!("endpoints: [\"{address}\"], outlier: false");
    let gateway = gateway_with(Place::new(), &service).await;
    assert_eq!(gateway.get("/x").await.text(), "one");
    upstream.stop();
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 502, "connect-failed").await;
    let _again = Upstream::builder(Reply::ok("two")).bind(address).start();
    eventually(DEADLINE, async || gateway.get("/x").await.text() == "two").await;
}

#[tokio::test]
async fn endpoints_by_weight_and_by_name() {
    let (one, two) = (
        Upstream::start(Reply::ok("one")),
        Upstream::start(Reply::ok("two")),
    );
    let service = format!(
        "endpoints: [\"localhost:{}\", {{ address: \"{}\", weight: 3 }}]",
        one.port(),
        two.addr()
    );
    let gateway = gateway_with(Place::new().arg("--workers=1"), &service).await;
    for number in 0..40 {
        assert_eq!(gateway.get(&format!("/{number}")).await.status, 200);
    }
    assert_eq!((one.request_count(), two.request_count()), (10, 30));
    // The access log has them as they were written.
    let mut by_name = 0;
    for number in 0..40 {
        let line = gateway.logged(&format!("/{number}")).await;
        by_name += u32::from(line["endpoint"] == format!("localhost:{}", one.port()));
    }
    assert_eq!(by_name, 10);
}

#[tokio::test]
async fn destinations_share_requests_by_weight() {
    let (old, new) = (
        Upstream::start(Reply::ok("old")),
        Upstream::start(Reply::ok("new")),
    );
    let gateway = Lone::start(&format!(
        "
        services: {{ old: {{ endpoints: [\"{}\"] }}, new: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: [{{ service: old, weight: 80 }}, {{ service: new, weight: 20 }}] }}]
        ",
        old.addr(),
        new.addr()
    ))
    .await;
    let report = Load::of(gateway.url("/x"))
        .requests(1000)
        .start()
        .finish()
        .await;
    report.assert_undisturbed();
    // Drawn at random: 200 of 1000, give or take six standard deviations.
    let to_new = new.request_count();
    assert!((124..=276).contains(&to_new), "{to_new}");
    assert_eq!(old.request_count() + to_new, 1000);
}

#[tokio::test]
async fn a_list_of_endpoints_in_a_file_is_followed() {
    let (one, two) = (
        Upstream::start(Reply::ok("one")),
        Upstream::start(Reply::ok("two")),
    );
    let place = Place::new();
    let list = place.directory().join("endpoints.yaml");
    std::fs::write(&list, format!("[\"{}\"]\n", one.addr())).unwrap();
    let service = format!("file: \"{}\"", list.display());
    let gateway = gateway_with(place, &service).await;
    eventually(DEADLINE, async || gateway.get("/x").await.text() == "one").await;
    let mut held = Client::http1().connect(&gateway.url("/")).await.unwrap();
    assert_eq!(held.get("/x").await.unwrap().text(), "one");
    std::fs::write(&list, format!("[\"{}\"]\n", two.addr())).unwrap();
    eventually(DEADLINE, async || gateway.get("/x").await.text() == "two").await;
    assert_eq!(held.get("/x").await.unwrap().text(), "two");
}

#[tokio::test]
async fn a_busy_connection_to_a_removed_endpoint_closes_with_its_last_exchange() {
    for (protocol, version) in [("http1", "HTTP/1.1"), ("http2", "HTTP/2")] {
        let start = |name: &'static str| {
            let builder = Upstream::builder(Reply::ok(name));
            let builder = if protocol == "http2" {
                builder.http2()
            } else {
                builder
            };
            builder.start()
        };
        let (old, new) = (start("old"), start("new"));
        let place = Place::new().arg("--workers=1");
        let list = place.directory().join("endpoints.yaml");
        std::fs::write(&list, format!("[\"{}\"]\n", old.addr())).unwrap();
        let yaml = format!(
            "
            listeners: {{ web: {{ bind: \"{}\", client_rate_min: 0B }} }}
            services: {{ app: {{ file: \"{}\", protocol: {protocol} }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            place.web,
            list.display()
        );
        let gateway = place.start(&yaml).await;
        eventually(DEADLINE, async || gateway.get("/x").await.text() == "old").await;
        assert_eq!(old.last_request().version, version);

        // The endpoint waits for the rest of the body when it is removed.
        let mut client = TcpStream::connect(gateway.web()).await.unwrap();
        let head = b"POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbo";
        let before = old.request_count();
        client.write_all(head).await.unwrap();
        old.wait_for_requests(before + 1, DEADLINE).await;
        std::fs::write(&list, format!("[\"{}\"]\n", new.addr())).unwrap();
        eventually(DEADLINE, async || gateway.get("/x").await.text() == "new").await;
        let one_left = async || match old.open_connections() {
            1 => Ok(()),
            open => Err(format!("{open} connections")),
        };
        eventually(DEADLINE, one_left).await;
        let asked = old.request_count();

        client.write_all(b"dy").await.unwrap();
        let mut answer = String::new();
        let until_its_body = async {
            while !answer.contains("\r\nold") {
                let mut piece = [0; 1024];
                let count = client.read(&mut piece).await.unwrap();
                assert!(count > 0, "{answer}");
                answer.push_str(&String::from_utf8_lossy(&piece[..count]));
            }
        };
        let in_time = tokio::time::timeout(DEADLINE, until_its_body).await;
        assert!(in_time.is_ok(), "{protocol}: {answer}");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{protocol}: {answer}");
        // Well before a connection that stands idle would be closed (45 s).
        let closed = async || match old.open_connections() {
            0 => Ok(()),
            open => Err(format!("{protocol}: {open} connections")),
        };
        eventually(DEADLINE, closed).await;
        for _ in 0..5 {
            assert_eq!(gateway.get("/x").await.text(), "new");
        }
        assert_eq!(old.request_count(), asked);
    }
}
