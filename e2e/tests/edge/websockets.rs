//! WebSocket between versions of HTTP: an extended CONNECT (RFC 8441) on either side, `Upgrade` on
//! the other. Node's HTTP/2 and the Python library `websockets` are the peers.

use std::net::SocketAddr;

use weir_e2e::lone::{Lone, peer_file, peer_program};
use weir_e2e::{DEADLINE, command};
use weir_testkit::client::raw;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};
use weir_testkit::upstream::{Answer, Reply, Upstream};

async fn gateway_to(endpoint: SocketAddr, protocol: &str) -> Lone {
    // A deadline for the whole of a request does not cut an open socket.
    Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{endpoint}\"], protocol: {protocol}, timeouts: {{ total: 5s }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    ))
    .await
}

async fn started(server: Launch, address: SocketAddr) -> Process {
    let mut server = server.start();
    server.wait_ready(&Ready::Tcp(address), DEADLINE).await;
    server
}

/// An echo in HTTP/1.1.
async fn http1_server() -> (SocketAddr, Process) {
    let address = free_addr();
    let server = Launch::program(peer_program("venv/bin/python"))
        .arg(peer_file("websocket_server.py"))
        .arg(address.port().to_string());
    (address, started(server, address).await)
}

/// An echo in HTTP/2.
async fn http2_server(more: &[&str]) -> (SocketAddr, Process) {
    let address = free_addr();
    let server = Launch::program("node")
        .arg(peer_file("websocket_h2.js"))
        .arg("server")
        .arg(address.port().to_string())
        .args(more);
    (address, started(server, address).await)
}

/// What the HTTP/2 client says.
async fn http2_client(gateway: &Lone, mode: &str) -> String {
    let client = Launch::program("node")
        .arg(peer_file("websocket_h2.js"))
        .arg(mode)
        .arg(gateway.url("/chat"));
    command::run(client).await.fine()
}

/// What the HTTP/1.1 client says.
async fn http1_client(gateway: &Lone) -> command::Finished {
    let client = Launch::program(peer_program("venv/bin/python"))
        .arg(peer_file("websocket_client.py"))
        .arg(format!("ws://{}/chat", gateway.web()));
    command::run(client).await
}

const HTTP2_SAID: &str = "extended connect true\nstatus 200 echo.v1\nsame\nsame\nclosed 1000\n";
const HTTP1_SAID: &str = "subprotocol echo.v1\nsame\nsame\nsame\nclosed 1000\n";

#[tokio::test]
async fn http2_in_front_and_http1_behind() {
    let (address, _server) = http1_server().await;
    let gateway = gateway_to(address, "http1").await;
    assert_eq!(http2_client(&gateway, "client").await, HTTP2_SAID);
    let line = gateway.logged("/chat").await;
    assert_eq!(
        (&line["protocol"], &line["status"], &line["termination"]),
        (&"HTTP/2".into(), &200.into(), &"upgraded".into()),
        "{line}"
    );
}

#[tokio::test]
async fn http2_on_both_sides() {
    let (address, _server) = http2_server(&[]).await;
    let gateway = gateway_to(address, "http2").await;
    for _ in 0..3 {
        assert_eq!(http2_client(&gateway, "client").await, HTTP2_SAID);
    }
    // Streams of a connection; a second one may have been made while the first was not known to
    // take extended CONNECT.
    let created = "weir_upstream_connections_created_total";
    let created = gateway.metrics().await.sum(created, &[]);
    assert!(created <= 2.0, "{created}");
}

#[tokio::test]
async fn http1_in_front_and_http2_behind() {
    let (address, _server) = http2_server(&[]).await;
    let gateway = gateway_to(address, "http2").await;
    assert_eq!(http1_client(&gateway).await.fine(), HTTP1_SAID);
    let line = gateway.logged("/chat").await;
    assert_eq!(
        (&line["status"], &line["termination"]),
        (&101.into(), &"upgraded".into()),
        "{line}"
    );
}

#[tokio::test]
async fn a_service_whose_http2_knows_no_websockets_is_not_asked() {
    let (address, _server) = http2_server(&["off"]).await;
    let gateway = gateway_to(address, "http2").await;
    let said = http2_client(&gateway, "client").await;
    assert_eq!(said, "extended connect true\nstatus 400 upgrade-refused\n");
    assert!(http1_client(&gateway).await.stderr.contains("HTTP 400"));
}

#[tokio::test]
async fn no_other_tunnel_is_built() {
    let upstream = Upstream::start(Reply::ok("here"));
    let gateway = gateway_to(upstream.addr(), "http1").await;
    for mode in ["plain", "other"] {
        let said = http2_client(&gateway, mode).await;
        assert_eq!(
            said, "extended connect true\nstatus 405 connect-refused\n",
            "{mode}"
        );
    }
    let sent =
        "CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    assert_eq!(answer.status(), Some(405), "{answer:?}");
    assert!(
        answer.text().contains("weir-reason: connect-refused"),
        "{answer:?}"
    );
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn success_without_a_switch_is_not_taken_for_one() {
    let upstream = Upstream::start(Reply::ok("a page"));
    let gateway = gateway_to(upstream.addr(), "http1").await;
    let said = http2_client(&gateway, "client").await;
    assert_eq!(
        said,
        "extended connect true\nstatus 502 upstream-protocol\n"
    );
    // Nor is a switch by somebody who has not read the key.
    upstream.set_script(Answer::raw(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    ));
    let said = http2_client(&gateway, "client").await;
    assert_eq!(
        said,
        "extended connect true\nstatus 502 upstream-protocol\n"
    );
    // What the service says against it is passed on.
    upstream.set_script(Reply::status(403).header("weir-reason", "own"));
    let said = http2_client(&gateway, "client").await;
    assert_eq!(said, "extended connect true\nstatus 403 own\n");
}
