//! WebSocket: through to the service, both ways, until one side ends it.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_e2e::DEADLINE;
use weir_e2e::command;
use weir_e2e::lone::{Lone, peer_file, peer_program};
use weir_testkit::client::{Client, request};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Ready};
use weir_testkit::upstream::{Answer, Reply, Upstream};

async fn gateway_to(endpoint: std::net::SocketAddr, more: &str) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{endpoint}\"]{more} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        "
    ))
    .await
}

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

#[tokio::test]
async fn bytes_go_both_ways_after_the_switch_until_the_client_ends_it() {
    let upstream = Upstream::start(Answer::WebSocketEcho);
    // Deadlines for answers do not cut an open connection.
    let gateway = gateway_to(upstream.addr(), ", timeouts: { response: 300ms }").await;
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let get = request(Method::GET, "/socket", &HANDSHAKE, Bytes::new()).unwrap();
    let answer = connection.start(get).await.unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(
        answer.headers()["sec-websocket-accept"],
        "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    );
    assert_eq!(answer.headers()["upgrade"], "websocket");
    let mut socket = TokioIo::new(hyper::upgrade::on(answer).await.unwrap());
    for (round, wait) in [(0_u8, 0), (1, 600), (2, 0)] {
        // Time passes, more than any deadline for an answer.
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let sent = [round; 4096];
        socket.write_all(&sent).await.unwrap();
        let mut back = [0; 4096];
        let read = tokio::time::timeout(DEADLINE, socket.read_exact(&mut back));
        read.await.unwrap().unwrap();
        assert_eq!(back, sent);
    }
    drop((socket, connection));
    eventually(DEADLINE, async || upstream.open_connections() == 0).await;
    let line = gateway.logged("/socket").await;
    assert_eq!(
        (&line["status"], &line["termination"]),
        (&101.into(), &"upgraded".into()),
        "{line}"
    );
}

#[tokio::test]
async fn a_real_client_and_a_real_server_talk_through_it() {
    let address = free_addr();
    let python = peer_program("venv/bin/python");
    let mut server = Launch::program(&python)
        .arg(peer_file("websocket_server.py"))
        .arg(address.port().to_string())
        .start();
    server.wait_ready(&Ready::Tcp(address), DEADLINE).await;
    let gateway = gateway_to(address, "").await;
    let url = format!("ws://{}/chat", gateway.web());
    let talk = Launch::program(&python)
        .arg(peer_file("websocket_client.py"))
        .arg(url);
    let said = command::run(talk).await.fine();
    assert_eq!(said, "subprotocol echo.v1\nsame\nsame\nsame\nclosed 1000\n");
}

#[tokio::test]
async fn a_service_that_does_not_want_to_switch_answers_as_usual() {
    let upstream = Upstream::start(Reply::status(426).body("not here"));
    let gateway = gateway_to(upstream.addr(), "").await;
    let answer = gateway.get_with("/socket", &HANDSHAKE).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (426, "not here")
    );
    // The service was asked as the client asked.
    let seen = upstream.last_request();
    assert_eq!(seen.header("upgrade"), Some("websocket"));
    assert_eq!(
        seen.header("sec-websocket-key"),
        Some("dGhlIHNhbXBsZSBub25jZQ==")
    );
}

#[tokio::test]
async fn nothing_else_is_switched_to() {
    let upstream = Upstream::start(Reply::ok("plain"));
    let gateway = gateway_to(upstream.addr(), "").await;
    let h2c = [
        ("connection", "upgrade, http2-settings"),
        ("upgrade", "h2c"),
        ("http2-settings", "AAMAAABk"),
    ];
    let answer = gateway.get_with("/x", &h2c).await;
    assert_eq!(answer.text(), "plain");
    assert_eq!(upstream.last_request().header("upgrade"), None);

    let answer = gateway.post("/x", &HANDSHAKE, "").await;
    gateway
        .assert_refused(&answer, 400, "upgrade-refused")
        .await;
}

#[tokio::test]
async fn a_switch_that_nobody_asked_for_is_not_passed_on() {
    let upstream = Upstream::start(Answer::raw(
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    ));
    let gateway = gateway_to(upstream.addr(), ", retry: false").await;
    let answer = gateway.get("/x").await;
    gateway
        .assert_refused(&answer, 502, "upstream-protocol")
        .await;
}

/// Switches, reads a little, says something and hangs up while more is being sent to it.
async fn speaks_and_hangs_up(mut stream: TcpStream) -> std::io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    let head = stream.read(&mut piece).await?;
    assert!(
        piece[..head].ends_with(b"\r\n\r\n"),
        "the head in one piece"
    );
    let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    stream.write_all(switch).await?;
    let mut read = 0;
    while read < 100_000 {
        read += stream.read(&mut piece).await?;
    }
    stream.write_all(LAST_WORDS).await
}

const LAST_WORDS: &[u8] = b"1002 and goodbye";

#[tokio::test]
async fn the_last_words_of_a_service_arrive_though_the_client_still_sends() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gateway = gateway_to(listener.local_addr().unwrap(), "").await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(speaks_and_hangs_up(stream));
        }
    });
    let fields = HANDSHAKE.map(|(name, value)| format!("{name}: {value}\r\n"));
    let head = format!("GET /x HTTP/1.1\r\nhost: a\r\n{}\r\n", fields.concat());
    for round in 0..20 {
        let mut stream = TcpStream::connect(gateway.web()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let read = tokio::time::timeout(DEADLINE, stream.read(&mut answer));
        let read = read.await.unwrap().unwrap();
        answer.truncate(read);
        assert!(answer.starts_with(b"HTTP/1.1 101 "), "{round}");
        let (mut reader, mut writer) = stream.into_split();
        // Sends until nobody takes it.
        let sending =
            tokio::spawn(async move { while writer.write_all(&[b'x'; 4096]).await.is_ok() {} });
        // How it ends, with or without a reset, says nothing about what came before.
        let rest = tokio::time::timeout(DEADLINE, reader.read_to_end(&mut answer));
        let _ = rest.await.unwrap();
        assert!(
            answer.ends_with(LAST_WORDS),
            "{round}: {} bytes",
            answer.len()
        );
        sending.await.unwrap();
    }
}
