//! The admin server over real loopback sockets, and its service without them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use serde_json::Value;
use tower::ServiceExt;
use weir_telemetry::logging::{LogFormat, build};
use weir_telemetry::{Registry, names};

use super::*;
use crate::build_info;
use crate::drain::{Drain, Phase};
use crate::readiness::Readiness;

fn standard() -> Standard {
    let drain = Drain::new();
    let readiness = Readiness::new(drain.clone());
    let (log, dispatch) = build("info", LogFormat::Text).unwrap();
    // The level can be changed only as long as something receives the events.
    std::mem::forget(dispatch);
    Standard {
        drain,
        log,
        readiness,
        registry: Registry::new(1),
    }
}

fn start(routes: AdminRoutes) -> AdminServer {
    AdminServer::start("127.0.0.1:0".parse().unwrap(), routes).unwrap()
}

/// Sends raw bytes and returns status line, head and body of the answer.
fn raw(server: &AdminServer, request: &[u8]) -> (u16, String, String) {
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    // The server may answer and close before it has read all of a body.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, head.to_lowercase(), body.to_owned())
}

fn ask(server: &AdminServer, method: &str, target: &str) -> (u16, String) {
    let request =
        format!("{method} {target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
    let (status, _, body) = raw(server, request.as_bytes());
    (status, body)
}

#[test]
fn a_process_is_observed_and_steered() {
    let standard = standard();
    let (drain, registry) = (standard.drain.clone(), standard.registry.clone());
    build_info::expose(&registry, "gateway");
    let guard = standard.readiness.guard("configuration");
    let server = start(standard.routes());

    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
    let (status, body) = ask(&server, "GET", "/readyz");
    let value: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(status, 503);
    assert_eq!(value["waiting_for"][0]["name"], "configuration");
    guard.ready();
    assert_eq!(ask(&server, "GET", "/readyz").0, 200);
    assert_eq!(ask(&server, "HEAD", "/readyz"), (200, String::new()));

    let (status, body) = ask(&server, "GET", "/metrics");
    assert_eq!(status, 200);
    assert!(
        body.contains(&format!("{}{{role=\"gateway\"", names::BUILD_INFO.name)),
        "{body}"
    );

    assert_eq!(
        ask(&server, "PUT", "/log?level=warn%2Cweir_proxy%3Ddebug").0,
        200
    );
    let (_, body) = ask(&server, "GET", "/log");
    assert_eq!(body, "{\"level\":\"warn,weir_proxy=debug\"}\n");
    let (status, body) = ask(&server, "PUT", "/log?level=loud");
    assert_eq!(status, 400);
    assert!(
        body.contains("log level \\\"loud\\\" is not valid"),
        "{body}"
    );
    assert_eq!(ask(&server, "PUT", "/log").0, 400);

    let _connection = drain.track();
    assert_eq!(
        ask(&server, "POST", "/drain"),
        (202, "{\"active\":1,\"phase\":\"leaving\"}\n".into())
    );
    assert_eq!(drain.phase(), Phase::Leaving);
    assert_eq!(ask(&server, "GET", "/readyz").0, 503);
}

#[test]
fn unknown_paths_and_methods_are_told_apart() {
    let server = start(standard().routes());
    assert_eq!(ask(&server, "GET", "/nothing").0, 404);
    let (status, head, _) = raw(
        &server,
        b"DELETE /log HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n",
    );
    assert_eq!(status, 405);
    assert!(
        head.contains("\r\nallow: get, put\r\n") || head.ends_with("allow: get, put"),
        "{head}"
    );
    let (status, body) = ask(&server, "GET", "/");
    assert_eq!(status, 200);
    assert!(body.contains("POST  /drain"), "{body}");
}

#[test]
fn pages_in_a_browser_cannot_use_it() {
    let standard = standard();
    let drain = standard.drain.clone();
    let server = start(standard.routes());
    for head in [
        "host: localhost:9901\r\norigin: https://evil.example",
        "host: 127.0.0.1\r\norigin: null",
        "host: evil.example:9901",
        "host: 127.0.0.1.evil.example",
    ] {
        let request = format!("POST /drain HTTP/1.1\r\n{head}\r\nconnection: close\r\n\r\n");
        assert_eq!(raw(&server, request.as_bytes()).0, 403, "{head}");
    }
    assert_eq!(drain.phase(), Phase::Serving);
    for head in [
        "host: [::1]:9901",
        "host: LOCALHOST",
        "host: a:1\r\norigin: http://a:1",
    ] {
        // The last stands for a console that is served beside the admin server.
        let service = AdminService::new(AdminRoutes::new(), head.contains("LOCALHOST"));
        let mut request = Request::new(Full::new(Bytes::new()));
        for line in head.split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            let name =
                http::HeaderName::from_static(if name == "host" { "host" } else { "origin" });
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        assert_eq!(
            block_on(service.oneshot(request)).unwrap().status(),
            StatusCode::OK,
            "{head}"
        );
    }
}

#[test]
fn the_binary_adds_routes_and_bodies_are_bounded() {
    let echo = |request: Request<Bytes>| async move {
        let bytes = request.into_body().len();
        json(StatusCode::OK, &serde_json::json!({ "bytes": bytes }))
    };
    let server = start(
        standard()
            .routes()
            .route(Method::POST, "/explain", "echoes", echo),
    );
    let post = |bytes: usize| {
        let mut request = format!(
            "POST /explain HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: \
             {bytes}\r\n\r\n"
        )
        .into_bytes();
        request.resize(request.len() + bytes, b'x');
        raw(&server, &request)
    };
    let (status, _, body) = post(100_000);
    assert_eq!((status, body.as_str()), (200, "{\"bytes\":100000}\n"));

    // The same without sockets, where a reset cannot hide the answer.
    let routes = AdminRoutes::new().route(Method::POST, "/explain", "echoes", echo);
    let body = Full::new(Bytes::from(vec![b'x'; 1024 * 1024 + 1]));
    let request = Request::builder()
        .method(Method::POST)
        .uri("/explain")
        .body(body)
        .unwrap();
    let response: Response<Full<Bytes>> =
        block_on(AdminService::new(routes, true).oneshot(request)).unwrap();
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let problem = block_on(response.into_body().collect()).unwrap().to_bytes();
    assert_eq!(
        serde_json::from_slice::<Value>(&problem).unwrap()["status"],
        413
    );
}

#[test]
fn a_panic_in_a_handler_costs_one_connection() {
    let panics = |_: Request<Bytes>| async { panic!("a fault in a handler") };
    let server = start(
        standard()
            .routes()
            .route(Method::GET, "/fault", "panics", panics),
    );
    let mut stream = TcpStream::connect(server.local_addr()).unwrap();
    stream
        .write_all(b"GET /fault HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty());
    assert_eq!(ask(&server, "GET", "/healthz").0, 200);
}

#[test]
fn more_connections_than_allowed_are_closed() {
    let server = start(standard().routes());
    let held: Vec<_> = (0..CONNECTIONS_MAX)
        .map(|_| TcpStream::connect(server.local_addr()).unwrap())
        .collect();
    let mut surplus = TcpStream::connect(server.local_addr()).unwrap();
    surplus
        .set_read_timeout(Some(Duration::from_secs(5)))
        .unwrap();
    // Closed at once, well before the deadline for a head.
    assert_eq!(surplus.read(&mut [0]).unwrap(), 0);
    drop(held);
}

#[test]
fn a_taken_port_is_explained_and_the_server_ends_when_dropped() {
    let server = start(AdminRoutes::new());
    let addr = server.local_addr();
    let error = AdminServer::start(addr, AdminRoutes::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("is taken") && error.contains("--admin"),
        "{error}"
    );
    drop(server);
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).is_ok() {
        assert!(std::time::Instant::now() < deadline, "it still listens");
        std::thread::yield_now();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}
