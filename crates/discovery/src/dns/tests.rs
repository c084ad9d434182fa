//! The DNS source against a name server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::time::Instant;

use weir_config::bounds::SRV_TARGETS_MAX;
use weir_config::position::Located;
use weir_testkit::names::NameServer;

use super::*;

const DEADLINE: Duration = Duration::from_secs(20);

fn addresses_of(target: &str, server: &NameServer) -> Dns {
    Dns {
        name_servers: vec![server.address()],
        ..Dns::address(target)
    }
}

fn services_of(name: &str, server: &NameServer) -> Dns {
    Dns {
        target: DnsTarget::Srv(Located::unwritten(name.to_owned())),
        name_servers: vec![server.address()],
    }
}

async fn next(watch: &mut Watch) -> Vec<Endpoint> {
    let members = tokio::time::timeout(DEADLINE, watch.next()).await;
    members.expect("an answer in time").unwrap().to_vec()
}

async fn addresses(watch: &mut Watch) -> Vec<String> {
    let members = next(watch).await;
    members
        .into_iter()
        .map(|endpoint| endpoint.address)
        .collect()
}

/// Address, weight and level.
async fn placed(watch: &mut Watch) -> Vec<(String, u32, u8)> {
    let members = next(watch).await;
    let placed = |it: Endpoint| (it.address, it.weight, it.priority);
    members.into_iter().map(placed).collect()
}

async fn failing(watch: &mut Watch, expected: bool) -> Option<Arc<Error>> {
    let status = async {
        while watch.status().last_error.is_some() != expected {
            watch.status_changed().await.unwrap();
        }
        watch.status().last_error
    };
    tokio::time::timeout(DEADLINE, status).await.unwrap()
}

#[tokio::test]
async fn follows_the_records_as_their_ttl_says() {
    let server = NameServer::start().await;
    server.addresses("users.test", 2, &["10.0.0.2", "10.0.0.1", "2001:db8::1"]);
    let mut watch = watch(&addresses_of("users.test:8080", &server));
    assert_eq!(
        addresses(&mut watch).await,
        ["10.0.0.1:8080", "10.0.0.2:8080", "[2001:db8::1]:8080"]
    );
    let started = Instant::now();
    server.addresses("users.test", 2, &["10.0.0.3"]);
    assert_eq!(addresses(&mut watch).await, ["10.0.0.3:8080"]);
    // Not before nine tenths of it have passed. How much later is the machine's affair.
    assert!(started.elapsed() > Duration::from_millis(1500));
    assert!(server.asked("users.test", "A") <= 3);
}

#[tokio::test]
async fn the_shortest_ttl_of_a_chain_of_aliases_counts() {
    let server = NameServer::start().await;
    server.alias("users.test", 1, "real.test");
    server.addresses("real.test", 3600, &["10.0.0.1"]);
    let mut watch = watch(&addresses_of("users.test:80", &server));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80"]);
    server.alias("users.test", 1, "other.test");
    server.addresses("other.test", 3600, &["10.0.0.2"]);
    assert_eq!(addresses(&mut watch).await, ["10.0.0.2:80"]);
}

#[tokio::test]
async fn whatever_is_not_an_answer_freezes_the_last() {
    let mut server = NameServer::start().await;
    server.addresses("users.test", 0, &["10.0.0.1"]);
    let mut watch = watch(&addresses_of("users.test:80", &server));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80"]);

    server.fail("users.test", None);
    let error = failing(&mut watch, true).await.unwrap();
    assert!(
        matches!(&*error, Error::Dns { host, .. } if host == "users.test"),
        "{error}"
    );
    server.repair();
    failing(&mut watch, false).await;

    server.forget("users.test");
    let error = failing(&mut watch, true).await.unwrap();
    assert_eq!(
        error.to_string(),
        "looking up \"users.test\": there is no such name"
    );
    server.addresses("users.test", 0, &["10.0.0.1"]);
    failing(&mut watch, false).await;

    server.addresses("users.test", 0, &[]);
    let error = failing(&mut watch, true).await.unwrap();
    let said = "looking up \"users.test\": it has neither A nor AAAA records";
    assert_eq!(error.to_string(), said);
    server.addresses("users.test", 0, &["10.0.0.1"]);
    failing(&mut watch, false).await;

    server.go_away().await;
    failing(&mut watch, true).await;
    assert_eq!(watch.current().unwrap().len(), 1);
    server.addresses("users.test", 0, &["10.0.0.9"]);
    server.come_back().await;
    assert_eq!(addresses(&mut watch).await, ["10.0.0.9:80"]);
    let asked = watch.status().asked;
    assert!(
        asked.answered >= 4 && asked.failed >= 2 && asked.negative >= 2,
        "{asked:?}"
    );
}

#[tokio::test]
async fn a_family_that_fails_stays_as_it_was() {
    let server = NameServer::start().await;
    server.addresses("users.test", 0, &["10.0.0.1", "2001:db8::1"]);
    let mut watch = watch(&addresses_of("users.test:80", &server));
    assert_eq!(addresses(&mut watch).await.len(), 2);
    server.fail("users.test", Some("AAAA"));
    server.addresses("users.test", 0, &["10.0.0.2"]);
    assert_eq!(
        addresses(&mut watch).await,
        ["10.0.0.2:80", "[2001:db8::1]:80"]
    );
    assert!(failing(&mut watch, true).await.is_some());
    // Answered with nothing, it is gone.
    server.repair();
    assert_eq!(addresses(&mut watch).await, ["10.0.0.2:80"]);
    assert!(failing(&mut watch, false).await.is_none());
}

#[tokio::test]
async fn an_answer_too_long_for_udp_comes_by_tcp() {
    let server = NameServer::start().await;
    let many: Vec<String> = (0..=255).map(|last| format!("10.0.0.{last}")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.addresses("users.test", 60, &many);
    let mut watch = watch(&addresses_of("users.test:80", &server));
    assert_eq!(addresses(&mut watch).await.len(), 256);
    assert!(server.asked_by_tcp() > 0);
}

#[tokio::test]
async fn services_have_ports_weights_and_levels() {
    let server = NameServer::start().await;
    server.addresses("a.test", 60, &["10.0.0.1"]);
    server.addresses("b.test", 60, &["10.0.0.2", "2001:db8::2"]);
    let name = "_http._tcp.users.test";
    let records = [
        (10, 4, 81, "a.test"),
        (10, 2, 82, "b.test"),
        (20, 0, 83, "a.test"),
    ];
    server.services(name, 1, &records);
    let mut watch = watch(&services_of(name, &server));
    let expected = |address: &str, weight, level| (address.to_owned(), weight, level);
    assert_eq!(
        placed(&mut watch).await,
        [
            expected("10.0.0.1:81", 4, 0),
            expected("10.0.0.2:82", 1, 0),
            expected("[2001:db8::2]:82", 1, 0),
            expected("10.0.0.1:83", 1, 1),
        ]
    );
    // Its own time to live counts, not only that of the addresses. Without the first level the
    // second is the first, and what is told beside the answer is not asked for.
    server.tell_more(true);
    let asked = server.asked("a.test", "A");
    server.services(name, 1, &[(20, 0, 83, "a.test")]);
    assert_eq!(placed(&mut watch).await, [expected("10.0.0.1:83", 1, 0)]);
    // One look-up may have been under way.
    assert!(server.asked("a.test", "A") <= asked + 1);
}

#[tokio::test]
async fn a_target_that_fails_stays_and_one_that_is_gone_goes() {
    let server = NameServer::start().await;
    server.addresses("a.test", 0, &["10.0.0.1"]);
    server.addresses("b.test", 0, &["10.0.0.2"]);
    let name = "_http._tcp.users.test";
    server.services(name, 0, &[(0, 0, 80, "a.test"), (0, 0, 80, "b.test")]);
    let mut watch = watch(&services_of(name, &server));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80", "10.0.0.2:80"]);
    server.fail("a.test", None);
    server.addresses("b.test", 0, &["10.0.0.3"]);
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80", "10.0.0.3:80"]);
    let error = failing(&mut watch, true).await.unwrap();
    assert!(
        matches!(&*error, Error::Dns { host, .. } if host == "a.test."),
        "{error}"
    );
    server.repair();
    server.forget("a.test");
    assert_eq!(addresses(&mut watch).await, ["10.0.0.3:80"]);
    failing(&mut watch, false).await;
}

#[tokio::test]
async fn services_that_lead_nowhere_are_negative_answers() {
    let server = NameServer::start().await;
    server.addresses("a.test", 0, &["10.0.0.1"]);
    let name = "_http._tcp.users.test";
    server.services(name, 0, &[(0, 0, 80, "a.test")]);
    let mut watch = watch(&services_of(name, &server));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80"]);
    for (target, port) in [(".", 80), ("gone.test", 80), ("a.test", 0)] {
        server.services(name, 0, &[(0, 0, port, target)]);
        let error = failing(&mut watch, true).await.unwrap();
        assert!(error.is_negative(), "{target}: {error}");
        server.services(name, 0, &[(0, 0, 80, "a.test")]);
        failing(&mut watch, false).await;
    }
    assert_eq!(watch.current().unwrap().len(), 1);
}

#[tokio::test]
async fn aliases_of_services_are_followed() {
    let server = NameServer::start().await;
    server.addresses("a.test", 60, &["10.0.0.1"]);
    server.alias("_http._tcp.users.test", 60, "_http._tcp.real.test");
    server.services("_http._tcp.real.test", 60, &[(0, 0, 80, "a.test")]);
    let mut watch = watch(&services_of("_http._tcp.users.test", &server));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80"]);
}

#[tokio::test]
async fn targets_are_bounded() {
    let server = NameServer::start().await;
    server.tell_more(true);
    let names: Vec<String> = (0..=SRV_TARGETS_MAX)
        .map(|it| format!("t{it}.test"))
        .collect();
    let mut records = Vec::new();
    for (name, last) in names.iter().zip(0..) {
        let address = format!("10.0.{}.{}", last / 256, last % 256);
        server.addresses(name, 0, &[&address]);
        records.push((0, 0, 80, name.as_str()));
    }
    let name = "_http._tcp.users.test";
    server.services(name, 0, &records[1..]);
    let mut watch = watch(&services_of(name, &server));
    assert_eq!(addresses(&mut watch).await.len(), SRV_TARGETS_MAX);
    server.services(name, 0, &records);
    let error = failing(&mut watch, true).await.unwrap();
    assert!(matches!(&*error, Error::DnsTargets { count, .. } if *count == SRV_TARGETS_MAX + 1));
    assert_eq!(watch.current().unwrap().len(), SRV_TARGETS_MAX);
}

#[tokio::test]
async fn the_hosts_file_comes_first_and_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let hosts = directory.path().join("hosts");
    std::fs::write(&hosts, "10.0.0.1 users other # a comment\n::5 users\n").unwrap();
    // Nobody is asked, so it does not matter that there is nobody.
    let place = Place::system(&hosts, directory.path().join("resolv.conf"));
    let mut watch = watch_at(&Dns::address("users:80"), place);
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:80", "[::5]:80"]);
    std::fs::write(&hosts, "10.0.0.2 users\n").unwrap();
    assert_eq!(addresses(&mut watch).await, ["10.0.0.2:80"]);
}

#[tokio::test]
async fn a_system_without_name_servers_fails_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let place = Place::system(
        directory.path().join("hosts"),
        directory.path().join("resolv"),
    );
    let mut watch = watch_at(&Dns::address("users:80"), place);
    let error = failing(&mut watch, true).await.unwrap();
    assert!(matches!(&*error, Error::Dns { .. }), "{error}");
}

#[tokio::test]
async fn addresses_need_no_server() {
    for target in ["10.1.2.3:80", "[::1]:80"] {
        assert_eq!(addresses(&mut watch(&Dns::address(target))).await, [target]);
    }
}

#[tokio::test]
async fn a_target_without_a_port_is_refused() {
    let mut watch = watch(&Dns::address("users.test"));
    assert!(watch.next().await.is_none());
    assert!(matches!(
        &*watch.status().last_error.unwrap(),
        Error::Address { .. }
    ));
}

#[test]
fn waits_stay_within_their_bounds() {
    let seconds = Duration::from_secs;
    assert_eq!(spread(seconds(0), 0.9), TTL_MIN);
    assert_eq!(spread(seconds(1), 0.9), TTL_MIN);
    assert_eq!(spread(seconds(100), 0.0), seconds(100));
    assert_eq!(spread(seconds(100), 1.0), seconds(90));
    assert_eq!(spread(seconds(300), 0.0), TTL_MAX);
    assert_eq!(spread(seconds(301), 0.0), TTL_MAX);
    assert_eq!(spread(seconds(86_400), 1.0), seconds(270));
}
