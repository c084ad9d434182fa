//! The load generator against the origin, in every protocol, and against servers that misbehave.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests")]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use weir_benches::load::{Arguments, Errors, Report, StartError, grpc_message, pattern, run};
use weir_benches::origin::{Bodies, Listeners, grpc_reply};
use weir_testkit::authority::Authority;

const ANY_PORT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Runs what `start` begins on a thread of its own, for as long as the test.
fn on_thread<T, F>(start: impl FnOnce() -> F + Send + 'static) -> T
where
    T: Send + 'static,
    F: Future<Output = (T, std::pin::Pin<Box<dyn Future<Output = ()>>>)>,
{
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (known, serving) = start().await;
            sender.send(known).unwrap();
            serving.await;
        });
    });
    receiver.recv().unwrap()
}

/// An origin of its own: HTTP/1.1, HTTP/2, WebSocket.
fn origin() -> [SocketAddr; 3] {
    on_thread(|| async {
        let any = Some(ANY_PORT);
        let listeners = Listeners::bind(any, any, any).await.unwrap();
        let addresses = listeners.addresses().unwrap().map(Option::unwrap);
        let bodies = Bodies::new(&["1k".into(), "100k".into()]).unwrap();
        let serving: std::pin::Pin<Box<dyn Future<Output = ()>>> =
            Box::pin(listeners.serve(bodies));
        (addresses, serving)
    })
}

/// Takes TLS off and passes the bytes on.
fn tls_before(behind: SocketAddr, authority: &Authority, protocol: &str) -> SocketAddr {
    let mut config = authority.issue(&["localhost"]).server_config();
    config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let acceptor = TlsAcceptor::from(Arc::new(config));
    server(move |stream| {
        let acceptor = acceptor.clone();
        async move {
            let Ok(mut front) = acceptor.accept(stream).await else {
                return;
            };
            let mut back = TcpStream::connect(behind).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut front, &mut back).await;
            let _ = front.shutdown().await;
        }
    })
}

/// A server of that behaviour.
fn server<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    on_thread(|| async {
        let listener = TcpListener::bind(ANY_PORT).await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving: std::pin::Pin<Box<dyn Future<Output = ()>>> = Box::pin(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream));
            }
        });
        (address, serving)
    })
}

/// Reads one request without a body; false at the end of the connection.
async fn request(stream: &mut TcpStream) -> bool {
    let (mut seen, mut byte) = (Vec::new(), [0]);
    while !seen.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte).await {
            Ok(1) => seen.push(byte[0]),
            _ => return false,
        }
    }
    true
}

fn load_until(
    target: SocketAddr,
    arguments: &str,
    stop: impl Future<Output = ()>,
    ready: impl FnOnce(u64),
) -> Result<Report, StartError> {
    let target = target.to_string();
    let line = ["weir-load", "--target", &target]
        .into_iter()
        .chain(arguments.split_whitespace());
    let plan = Arguments::try_parse_from(line).unwrap().plan().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run(plan, stop, ready))
}

fn load(target: SocketAddr, arguments: &str) -> Report {
    load_until(target, arguments, std::future::pending(), |_| ()).unwrap()
}

#[track_caller]
fn assert_verified(report: &Report) {
    assert_eq!(report.errors, Errors::default(), "{report:?}");
    assert!(report.requests > 0, "{report:?}");
    assert!(report.latency_us.p50 > 0.0, "{report:?}");
    assert!(report.latency_us.max >= report.latency_us.p50, "{report:?}");
}

fn file(directory: &Path, name: &str, content: &[u8]) -> String {
    let path = directory.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn every_protocol_is_verified_against_the_origin() {
    let [http1, http2, websocket] = origin();
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("bench");
    let ca = file(directory.path(), "ca.pem", authority.pem().as_bytes());
    let small = file(directory.path(), "1k", &pattern(1024));
    let large = file(directory.path(), "100k", &pattern(102_400));
    let grpc = file(directory.path(), "grpc", &grpc_reply());
    let paths = file(directory.path(), "paths", b"/1k\n/a?b=c\n");
    let tls = format!("--tls --ca {ca} --server-name localhost");
    let http1_tls = tls_before(http1, &authority, "http/1.1");
    let http2_tls = tls_before(http2, &authority, "h2");

    let short = "--duration 0.5 --connections 3";
    for (target, arguments, bytes) in [
        (
            http1,
            format!("--protocol h1 --path /1k --expect-file {small}"),
            1024,
        ),
        (
            http1,
            format!("--protocol h1 --paths-file {paths} --expect-file {small}"),
            1024,
        ),
        (
            http1,
            format!("--protocol h1 --path /100k --expect-file {large}"),
            102_400,
        ),
        (
            http1,
            format!("--protocol h1 --body-bytes 70000 --expect-file {small}"),
            1024,
        ),
        (
            http1,
            "--protocol h1 --rate 200 --expect-bytes 1024".to_owned(),
            1024,
        ),
        (
            http1,
            "--protocol h1 --method HEAD --path /100k --expect-bytes 0".to_owned(),
            0,
        ),
        (
            http1,
            "--protocol h1 --new-connection --expect-bytes 1024".to_owned(),
            1024,
        ),
        (
            http1_tls,
            format!("--protocol h1 {tls} --expect-file {small}"),
            1024,
        ),
        (
            http1_tls,
            format!("--protocol h1 {tls} --new-connection --expect-bytes 1024"),
            1024,
        ),
        (
            http2,
            format!("--protocol h2 --streams 4 --path /100k --expect-file {large}"),
            102_400,
        ),
        (
            http2,
            format!("--protocol h2 --body-bytes 5000 --expect-file {small}"),
            1024,
        ),
        (
            http2,
            "--protocol h2 --new-connection --expect-bytes 1024".to_owned(),
            1024,
        ),
        (
            http2_tls,
            format!("--protocol h2 {tls} --streams 4 --expect-file {small}"),
            1024,
        ),
        (
            http2,
            format!("--protocol h2 --grpc --streams 4 --body-bytes 100 --expect-file {grpc}"),
            133,
        ),
        (
            http2_tls,
            format!("--protocol h2 {tls} --grpc --rate 200 --body-bytes 9 --expect-file {grpc}"),
            133,
        ),
        (websocket, "--protocol ws --message-bytes 64".to_owned(), 64),
        (
            websocket,
            "--protocol ws --message-bytes 100000 --rate 50".to_owned(),
            100_000,
        ),
    ] {
        let report = load(target, &format!("{short} {arguments}"));
        assert_verified(&report);
        assert_eq!(
            report.bytes,
            report.requests * bytes,
            "{arguments}: {report:?}"
        );
        if arguments.contains("--new-connection") {
            assert_eq!(report.connections_opened, report.requests, "{arguments}");
        } else {
            assert_eq!(report.connections_opened, 3, "{arguments}: {report:?}");
        }
    }
}

#[test]
fn idle_connections_are_served_once_and_held() {
    let [http1, http2, websocket] = origin();
    for (target, protocol) in [(http1, "h1"), (http2, "h2"), (websocket, "ws")] {
        let (ready, is_ready) = tokio::sync::oneshot::channel();
        let stop = async {
            assert_eq!(is_ready.await.unwrap(), 100);
        };
        let arguments = format!("--protocol {protocol} --connections 100 --idle --duration 600");
        let report = load_until(target, &arguments, stop, |open| {
            ready.send(open).unwrap();
        })
        .unwrap();
        assert_verified(&report);
        assert_eq!((report.requests, report.open), (100, 100), "{report:?}");
    }
}

#[test]
fn idle_connections_that_the_server_closes_are_counted() {
    let closing = server(|mut stream| async move {
        if request(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(answer).await.unwrap();
        }
    });
    let report = load(closing, "--protocol h1 --connections 5 --idle --duration 2");
    assert_eq!((report.requests, report.open), (5, 0), "{report:?}");
    assert_eq!(report.errors.io, 5, "{report:?}");
}

#[test]
fn a_stall_shows_in_every_request_that_was_to_be_made_meanwhile() {
    const STALL: Duration = Duration::from_millis(600);
    // Of one connection, the 20th request is answered late; all others at once.
    let stalling = server(|mut stream| async move {
        for number in 1_u64.. {
            if !request(&mut stream).await {
                return;
            }
            if number == 20 {
                tokio::time::sleep(STALL).await;
            }
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(answer).await.unwrap();
        }
    });
    let common = "--protocol h1 --connections 1 --duration 2 --expect-bytes 2";
    let report = load(stalling, &format!("{common} --rate 100"));
    assert_eq!(report.errors, Errors::default(), "{report:?}");
    // 200 requests, 60 of them due during the stall: their latencies fall from 600 ms to 10 ms.
    // A slow machine only adds to them.
    assert_eq!(report.requests + report.unsent, 200, "{report:?}");
    assert!(report.late >= 55, "{report:?}");
    assert!(report.latency_us.p99 > 500_000.0, "{report:?}");
    assert!(report.latency_us.p90 > 300_000.0, "{report:?}");

    // A closed loop makes no request meanwhile, and has but one slow one.
    let closed = load(stalling, common);
    assert_verified(&closed);
    assert_eq!(closed.late, 0, "{closed:?}");
    assert!(closed.latency_us.max > 500_000.0, "{closed:?}");
}

#[test]
fn a_stall_to_the_end_counts_what_was_never_begun() {
    let silent = server(|mut stream| async move {
        let mut left = 10;
        while left > 0 && request(&mut stream).await {
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
            stream.write_all(answer).await.unwrap();
            left -= 1;
        }
        std::future::pending::<()>().await;
    });
    let arguments = "--protocol h1 --connections 1 --rate 100 --duration 1 --timeout 1.5";
    let report = load(silent, arguments);
    assert!(report.requests <= 10, "{report:?}");
    let known = report.requests + report.errors.timeout + report.unsent;
    assert_eq!((known, report.errors.total()), (100, 1), "{report:?}");
    assert!(report.latency_us.p50 > 300_000.0, "{report:?}");
}

#[test]
fn wrong_answers_are_counted_and_are_no_requests() {
    let answers: [(&'static [u8], Errors); 6] = [
        (
            b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nhi",
            Errors {
                status: 1,
                ..Errors::default()
            },
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nho",
            Errors {
                body: 1,
                ..Errors::default()
            },
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nh",
            Errors {
                body: 1,
                ..Errors::default()
            },
        ),
        (
            b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhi",
            Errors {
                io: 1,
                ..Errors::default()
            },
        ),
        (
            b"nonsense\r\n\r\n",
            Errors {
                io: 1,
                ..Errors::default()
            },
        ),
        (
            b"",
            Errors {
                io: 1,
                ..Errors::default()
            },
        ),
    ];
    let directory = tempfile::tempdir().unwrap();
    let expected = file(directory.path(), "hi", b"hi");
    for (answer, errors) in answers {
        let wrong = server(move |mut stream| async move {
            if request(&mut stream).await {
                let _ = stream.write_all(answer).await;
                let _ = stream.shutdown().await;
            }
        });
        // One request, for the next is a minute later.
        let arguments = "--protocol h1 --duration 0.5 --rate 0.015 --expect-file";
        let report = load(wrong, &format!("{arguments} {expected}"));
        assert_eq!(report.requests, 0, "{report:?}");
        assert_eq!(report.errors, errors, "{report:?}");
        assert_eq!(report.closed_before_answer, u64::from(answer.is_empty()));
    }
}

#[test]
fn grpc_status_must_be_zero() {
    // A plain answer of the origin has no such trailer.
    let [_, http2, _] = origin();
    let plain = "--protocol h2 --grpc --header content-type:text/plain --duration 0.5";
    let report = load(http2, &format!("{plain} --rate 5"));
    assert_eq!(report.requests, 0, "{report:?}");
    assert!(report.errors.status > 0, "{report:?}");
}

#[test]
fn wrong_certificates_and_dead_targets_are_no_start() {
    let [http1, ..] = origin();
    let authority = Authority::new("bench");
    let other = Authority::new("other");
    let directory = tempfile::tempdir().unwrap();
    let ca = file(directory.path(), "ca.pem", other.pem().as_bytes());
    let target = tls_before(http1, &authority, "http/1.1");
    let arguments = format!("--protocol h1 --tls --ca {ca} --server-name localhost --duration 1");
    let refused = load_until(target, &arguments, std::future::pending(), |_| ());
    assert!(matches!(refused, Err(StartError::Connection(_))));

    let taken = std::net::TcpListener::bind(ANY_PORT).unwrap();
    let dead = taken.local_addr().unwrap();
    drop(taken);
    let refused = load_until(
        dead,
        "--protocol h1 --duration 1",
        std::future::pending(),
        |_| (),
    );
    assert!(matches!(refused, Err(StartError::Connection(_))));
}

#[test]
fn a_message_has_the_prefix_of_grpc() {
    assert_eq!(grpc_message(b"abc"), b"\0\0\0\0\x03abc".as_slice());
}
