//! The DNS source against a scripted name server on loopback.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Mutex;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use tokio::net::UdpSocket;

use super::*;

const DEADLINE: Duration = Duration::from_secs(10);

/// What the server says at present.
#[derive(Clone)]
enum Says {
    Addresses(Vec<Ipv4Addr>, u32),
    NoSuchName,
    Failure,
}

/// A name server that answers every question by script.
#[derive(Clone)]
struct Server {
    says: Arc<Mutex<Says>>,
    address: SocketAddr,
}

impl Server {
    async fn start(says: Says) -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let server = Server {
            says: Arc::new(Mutex::new(says)),
            address: socket.local_addr().unwrap(),
        };
        let says = Arc::clone(&server.says);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                let reply = answer(&buffer[..length], &says.lock().unwrap().clone());
                socket.send_to(&reply, from).await.unwrap();
            }
        });
        server
    }

    fn say(&self, says: Says) {
        *self.says.lock().unwrap() = says;
    }

    fn watch(&self, target: &str) -> Watch {
        let address = self.address;
        watch_with(target, move || {
            let mut connection = ConnectionConfig::udp();
            connection.port = address.port();
            let server = NameServerConfig::new(address.ip(), true, vec![connection]);
            let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
            let mut builder = TokioResolver::builder_with_config(config, Default::default());
            let options = builder.options_mut();
            options.cache_size = 0;
            options.attempts = 1;
            options.timeout = Duration::from_millis(300);
            builder.build()
        })
    }
}

/// One answer in wire format: the question repeated, then the records by pointer to its name.
fn answer(question: &[u8], says: &Says) -> Vec<u8> {
    let name_end = 12 + question[12..].iter().position(|byte| *byte == 0).unwrap() + 1;
    let is_a = question[name_end..name_end + 2] == [0, 1];
    let (code, addresses, ttl) = match says {
        Says::Addresses(addresses, ttl) if is_a => (0, addresses.as_slice(), *ttl),
        Says::Addresses(..) => (0, [].as_slice(), 0),
        Says::NoSuchName => (3, [].as_slice(), 0),
        Says::Failure => (2, [].as_slice(), 0),
    };
    let mut reply = question[..2].to_vec();
    reply.extend([
        0x81,
        0x80 | code,
        0,
        1,
        0,
        addresses.len() as u8,
        0,
        0,
        0,
        0,
    ]);
    reply.extend(&question[12..name_end + 4]);
    for address in addresses {
        reply.extend([0xC0, 12, 0, 1, 0, 1]);
        reply.extend(ttl.to_be_bytes());
        reply.extend([0, 4]);
        reply.extend(address.octets());
    }
    reply
}

fn ip(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 0, 0, last)
}

async fn addresses(watch: &mut Watch) -> Vec<String> {
    let members = tokio::time::timeout(DEADLINE, watch.next())
        .await
        .unwrap()
        .unwrap();
    members
        .iter()
        .map(|endpoint| endpoint.address.clone())
        .collect()
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
    let server = Server::start(Says::Addresses(vec![ip(2), ip(1)], 1)).await;
    let mut watch = server.watch("users.test:8080");
    assert_eq!(
        addresses(&mut watch).await,
        ["10.0.0.1:8080", "10.0.0.2:8080"]
    );
    let started = Instant::now();
    server.say(Says::Addresses(vec![ip(3)], 1));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.3:8080"]);
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn a_failing_server_freezes_the_answer() {
    let server = Server::start(Says::Addresses(vec![ip(1)], 0)).await;
    let mut watch = server.watch("users.test:8080");
    assert_eq!(addresses(&mut watch).await, ["10.0.0.1:8080"]);
    for says in [Says::Failure, Says::NoSuchName] {
        server.say(says);
        let error = failing(&mut watch, true).await.unwrap();
        assert!(
            matches!(&*error, Error::Dns { host, .. } if host == "users.test"),
            "{error}"
        );
        assert_eq!(watch.current().unwrap().len(), 1);
        server.say(Says::Addresses(vec![ip(1)], 0));
        failing(&mut watch, false).await;
    }
    server.say(Says::Addresses(vec![ip(9)], 0));
    assert_eq!(addresses(&mut watch).await, ["10.0.0.9:8080"]);
}

#[tokio::test]
async fn addresses_need_no_server() {
    let unheard = Server {
        says: Arc::new(Mutex::new(Says::Failure)),
        address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1),
    };
    assert_eq!(
        addresses(&mut unheard.watch("10.1.2.3:80")).await,
        ["10.1.2.3:80"]
    );
    assert_eq!(
        addresses(&mut unheard.watch("[::1]:80")).await,
        ["[::1]:80"]
    );
}

#[tokio::test]
async fn a_target_without_a_port_is_refused() {
    let mut watch = watch("users.test");
    assert!(watch.next().await.is_none());
    assert!(matches!(
        &*watch.status().last_error.unwrap(),
        Error::Address { .. }
    ));
}
