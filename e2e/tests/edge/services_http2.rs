//! Services that speak HTTP/2: what they may do with streams and connections, and what a client
//! gets of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::frames::{GOAWAY, SETTINGS, frame};
use weir_testkit::client::{Client, raw};
use weir_testkit::upstream::{Reply, Upstream};

type Stream = (Request<RecvStream>, SendResponse<Bytes>);

/// A service that does this with each stream.
async fn service<F>(
    builder: Builder,
    answer: impl Fn(Stream) -> F + Clone + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (builder, answer) = (builder.clone(), answer.clone());
            tokio::spawn(async move {
                let mut connection = builder.handshake(stream).await.unwrap();
                while let Some(Ok(stream)) = connection.accept().await {
                    tokio::spawn(answer(stream));
                }
            });
        }
    });
    address
}

/// One worker: connections are per worker.
async fn gateway_to(address: SocketAddr, more: &str) -> Lone {
    Place::new()
        .arg("--workers=1")
        .start(&format!(
            "
            services:
              app: {{ endpoints: [\"{address}\"], protocol: http2, outlier: false{more} }}
            routes: [{{ path: \"/*\", to: app }}]
            "
        ))
        .await
}

fn head() -> Response<()> {
    Response::new(())
}

/// Reads a body to its end; what it has, or how it broke off.
async fn read(mut body: RecvStream) -> Result<Vec<u8>, h2::Error> {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        bytes.extend_from_slice(&data);
    }
    body.trailers().await?;
    Ok(bytes)
}

async fn client(gateway: &Lone) -> h2::client::SendRequest<Bytes> {
    let stream = TcpStream::connect(gateway.web()).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

fn post(path: &str) -> Request<()> {
    let request = Request::post(format!("http://a{path}"));
    request.body(()).unwrap()
}

#[tokio::test]
async fn what_a_goodbye_leaves_out_is_asked_again_whatever_it_is() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&connections);
    tokio::spawn(async move {
        // The first connection takes leave before any stream; the second one answers.
        let (mut stream, _) = listener.accept().await.unwrap();
        counted.fetch_add(1, Relaxed);
        let settings = frame(SETTINGS, 0, 0, &[]);
        stream.write_all(&settings).await.unwrap();
        let mut asked = Vec::new();
        while !asked.windows(4).any(|it| it == b"body") {
            stream.read_buf(&mut asked).await.unwrap();
        }
        let reason = u32::from(Reason::ENHANCE_YOUR_CALM).to_be_bytes();
        let goodbye = frame(GOAWAY, 0, 0, &[[0; 4], reason].concat());
        stream.write_all(&goodbye).await.unwrap();
        let (other, _) = listener.accept().await.unwrap();
        counted.fetch_add(1, Relaxed);
        let mut connection = h2::server::handshake(other).await.unwrap();
        while let Some(Ok((request, mut respond))) = connection.accept().await {
            tokio::spawn(async move {
                let body = read(request.into_body()).await.unwrap();
                let mut send = respond.send_response(head(), false).unwrap();
                send.send_data(body.into(), true).unwrap();
            });
        }
    });
    let gateway = gateway_to(address, "").await;
    // A method that is not repeated unless it was provably not processed.
    let answer = gateway.post("/once", &[], "body").await;
    assert_eq!(answer.status, 200, "{answer}");
    assert_eq!(answer.text(), "body");
    assert_eq!(connections.load(Relaxed), 2);
    let line = gateway.logged("/once").await;
    assert_eq!(line["attempts"], 2, "{line}");
}

#[tokio::test]
async fn no_more_streams_are_opened_than_the_service_allows() {
    let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (running, seen) = (Arc::clone(&now), Arc::clone(&most));
    let mut builder = Builder::new();
    builder.max_concurrent_streams(2);
    let address = service(builder, move |(_, mut respond): Stream| {
        let (running, seen) = (Arc::clone(&running), Arc::clone(&seen));
        async move {
            seen.fetch_max(running.fetch_add(1, Relaxed) + 1, Relaxed);
            tokio::time::sleep(Duration::from_millis(20)).await;
            running.fetch_sub(1, Relaxed);
            respond.send_response(head(), true).unwrap();
        }
    })
    .await;
    let more = ", limits: { connections: 1 }, timeouts: { connect: 20s }";
    let gateway = gateway_to(address, more).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..30 {
        let url = gateway.url("/");
        asked.spawn(async move { Client::http2().get(&url).await.unwrap().status });
    }
    while let Some(status) = asked.join_next().await {
        assert_eq!(status.unwrap(), 200);
    }
    assert!(most.load(Relaxed) <= 2, "{most:?}");
}

#[tokio::test]
async fn a_service_that_has_answered_need_not_take_the_rest() {
    let address = service(
        Builder::new(),
        |(request, mut respond): Stream| async move {
            let ended = request.uri().path() == "/reset";
            let mut send = respond.send_response(head(), false).unwrap();
            send.send_data(Bytes::from_static(b"enough"), true).unwrap();
            // The end is written, then comes RST_STREAM(NO_ERROR); or nothing is taken, for long.
            if !ended {
                tokio::time::sleep(DEADLINE).await;
            }
            drop(request);
        },
    )
    .await;
    let gateway = gateway_to(address, "").await;
    for path in ["/reset", "/deaf"] {
        // More than all windows on the way.
        let body = "x".repeat(4 * 1024 * 1024);
        let mut client = client(&gateway).await;
        let (answer, mut send) = client.send_request(post(path), false).unwrap();
        send.send_data(body.into(), true).unwrap();
        let answer = tokio::time::timeout(DEADLINE, answer)
            .await
            .unwrap()
            .unwrap();
        assert_eq!(answer.status(), 200, "{path}");
        let body = tokio::time::timeout(DEADLINE, read(answer.into_body())).await;
        assert_eq!(body.unwrap().unwrap(), b"enough", "{path}");
        let line = gateway.logged(path).await;
        assert_eq!(line["termination"], "ok", "{line}");
    }
}

#[tokio::test]
async fn a_response_that_breaks_off_is_not_passed_off_as_whole_whatever_the_reason() {
    let address = service(
        Builder::new(),
        |(request, mut respond): Stream| async move {
            let path = request.uri().path();
            let mut answer = head();
            if path == "/short" {
                answer.headers_mut().insert("content-length", 10.into());
            }
            let mut send = respond.send_response(answer, false).unwrap();
            send.send_data(Bytes::from_static(b"some"), path == "/short")
                .unwrap();
            let reason = match path {
                "/short" => return,
                "/no-error" => Reason::NO_ERROR,
                "/cancel" => Reason::CANCEL,
                _ => Reason::INTERNAL_ERROR,
            };
            // A reset overtakes data that has been queued and not written yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
            send.send_reset(reason);
        },
    )
    .await;
    let gateway = gateway_to(address, "").await;
    for (path, termination) in [
        ("/no-error", "upstream-reset-after-bytes"),
        ("/cancel", "upstream-reset-after-bytes"),
        ("/internal", "upstream-reset-after-bytes"),
        ("/short", "upstream-invalid"),
    ] {
        let mut client = client(&gateway).await;
        let request = Request::get(format!("http://a{path}")).body(()).unwrap();
        let (answer, _) = client.send_request(request, true).unwrap();
        let answer = match answer.await {
            Ok(answer) => read(answer.into_body()).await,
            Err(error) => Err(error),
        };
        let reason = answer.as_ref().map_err(h2::Error::reason);
        let never = [Some(Reason::NO_ERROR), Some(Reason::CANCEL)];
        let told = reason.expect_err(path);
        assert!(!never.contains(&told), "{path}: {told:?}");
        let line = gateway.logged(path).await;
        assert_eq!(line["termination"], termination, "{line}");
        // In chunks, whose end does not come.
        let sent = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let text = raw(gateway.web(), sent, DEADLINE).await.text();
        assert!(!text.ends_with("0\r\n\r\n"), "{path}: {text}");
    }
}

#[tokio::test]
async fn trailers_of_a_response_are_bounded() {
    let address = service(
        Builder::new(),
        |(request, mut respond): Stream| async move {
            let path = request.uri().path();
            let mut trailers = HeaderMap::new();
            let mut add = |count: usize, bytes: usize| {
                let value = HeaderValue::from_str(&"y".repeat(bytes - 5)).unwrap();
                for _ in 0..count {
                    trailers.append("x", value.clone());
                }
            };
            match path {
                "/large" => add(1, 64 * 1024),
                "/too-large" => add(1, 64 * 1024 + 1),
                "/many" => add(100, 6),
                _ => add(101, 6),
            }
            let mut send = respond.send_response(head(), false).unwrap();
            send.send_data(Bytes::from_static(b"some"), false).unwrap();
            send.send_trailers(trailers).unwrap();
        },
    )
    .await;
    let gateway = gateway_to(address, "").await;
    for (path, termination) in [
        ("/large", "ok"),
        ("/too-large", "upstream-too-large"),
        ("/many", "ok"),
        ("/too-many", "upstream-too-large"),
    ] {
        let sent = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let text = raw(gateway.web(), sent, DEADLINE).await.text();
        let whole = text.ends_with("0\r\n\r\n");
        assert_eq!(whole, termination == "ok", "{path}: {text}");
        let line = gateway.logged(path).await;
        assert_eq!(line["termination"], termination, "{line}");
    }
}

#[tokio::test]
async fn an_upload_that_its_client_resets_is_not_passed_off_as_whole() {
    let (told, mut heard) = mpsc::unbounded_channel();
    let address = service(Builder::new(), move |(request, _respond): Stream| {
        let told = told.clone();
        async move {
            let body = read(request.into_body()).await;
            told.send(body.map_err(|error| error.reason())).unwrap();
        }
    })
    .await;
    let gateway = gateway_to(address, "").await;
    for (reason, expected) in [
        (Reason::NO_ERROR, Reason::INTERNAL_ERROR),
        (Reason::CANCEL, Reason::CANCEL),
    ] {
        let mut client = client(&gateway).await;
        let (_answer, mut send) = client.send_request(post("/up"), false).unwrap();
        send.send_data(Bytes::from_static(b"some"), false).unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        send.send_reset(reason);
        let end = tokio::time::timeout(DEADLINE, heard.recv()).await.unwrap();
        assert_eq!(end, Some(Err(Some(expected))), "{reason}");
    }
}

#[tokio::test]
async fn trailers_and_data_pass_in_both_directions_as_they_come() {
    let address = service(
        Builder::new(),
        |(request, mut respond): Stream| async move {
            let mut body = request.into_body();
            let mut send = respond.send_response(head(), false).unwrap();
            while let Some(Ok(data)) = body.data().await {
                body.flow_control().release_capacity(data.len()).unwrap();
                send.send_data(data, false).unwrap();
            }
            let trailers = body.trailers().await.unwrap().unwrap();
            send.send_trailers(trailers).unwrap();
        },
    )
    .await;
    let gateway = gateway_to(address, "").await;
    let mut client = client(&gateway).await;
    let (answer, mut send) = client.send_request(post("/"), false).unwrap();
    let mut answer = answer.await.unwrap().into_body();
    for word in ["one", "two", "three"] {
        send.send_data(word.into(), false).unwrap();
        // The next one is not sent before this one is back.
        let data = answer.data().await.unwrap().unwrap();
        assert_eq!(data, word);
        answer.flow_control().release_capacity(data.len()).unwrap();
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", "3".parse().unwrap());
    send.send_trailers(trailers.clone()).unwrap();
    assert!(answer.data().await.is_none());
    assert_eq!(answer.trailers().await.unwrap(), Some(trailers));
}

#[tokio::test]
async fn a_connect_with_a_length_is_refused_and_its_stream_ends() {
    let upstream = Upstream::start(Reply::ok("ok"));
    // There is a way for it, were it none with a body.
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ hosts: [db.internal], path: \"/*\", methods: [CONNECT], to: app }}
          - {{ path: \"/*\", to: app }}
        ",
        upstream.addr()
    ))
    .await;
    let mut client = client(&gateway).await;
    for (length, ends) in [("0", true), ("0", false), ("4", false)] {
        let request = Request::connect("db.internal:443").header("content-length", length);
        let request = request.body(()).unwrap();
        let (answer, mut send) = client.send_request(request, ends).unwrap();
        if length == "4" {
            send.send_data(Bytes::from_static(b"some"), false).unwrap();
        }
        let answer = answer.await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{length}");
        assert_eq!(answer.headers()["weir-reason"], "connect-refused");
        read(answer.into_body()).await.unwrap();
        if !ends {
            // Whatever else is sent meets nobody: the stream is over.
            let reset = std::future::poll_fn(|cx| send.poll_reset(cx));
            let reset = tokio::time::timeout(DEADLINE, reset).await.unwrap();
            assert_eq!(reset.unwrap(), Reason::NO_ERROR, "{length}");
        }
    }
    // The connection goes on.
    let request = Request::get("http://a/").body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 200);
    assert_eq!(upstream.connection_count(), 1);
}

/// A gRPC service, and one of events: each message after a silence, the head after one where the
/// path says so.
async fn hesitant() -> SocketAddr {
    service(
        Builder::new(),
        |(request, mut respond): Stream| async move {
            let pause = || tokio::time::sleep(SILENCE);
            let path = request.uri().path();
            let kind = match path {
                "/events" => "text/event-stream",
                _ => "application/grpc",
            };
            if path == "/late" {
                pause().await;
            }
            let answer = Response::builder().header("content-type", kind);
            let answer = answer.body(()).unwrap();
            let mut send = respond.send_response(answer, false).unwrap();
            for _ in 0..2 {
                pause().await;
                send.send_data(Bytes::from_static(MESSAGE), false).unwrap();
            }
            let asked = read(request.into_body()).await.unwrap_or_default();
            let mut trailers = HeaderMap::new();
            trailers.insert("grpc-status", "0".parse().unwrap());
            trailers.insert("x-asked", asked.len().into());
            let _ = send.send_trailers(trailers);
        },
    )
    .await
}

/// Asks, with two messages of its own and a silence between them where the path says so; what the
/// body has, and the trailers.
async fn stream(
    gateway: &Lone,
    path: &str,
    more: &[(&str, &str)],
) -> Result<(usize, Option<HeaderMap>), h2::Error> {
    let mut client = client(gateway).await;
    let mut request = post(path);
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    let fields = fields.iter().filter(|_| path != "/events").chain(more);
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().insert(name, value.parse().unwrap());
    }
    let (answer, mut send) = client.send_request(request, false).unwrap();
    send.send_data(Bytes::from_static(MESSAGE), false)?;
    if path == "/both" {
        tokio::time::sleep(SILENCE).await;
    }
    send.send_data(Bytes::from_static(MESSAGE), true)?;
    let mut body = answer.await?.into_body();
    let mut bytes = 0;
    while let Some(data) = body.data().await {
        let data = data?;
        bytes += data.len();
        body.flow_control().release_capacity(data.len())?;
    }
    Ok((bytes, body.trailers().await?))
}

async fn gateway_to_hesitant(service: &str) -> Lone {
    let address = hesitant().await;
    let place = Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\", idle_timeout: {SHORT}ms }} }}
        services: {{ app: {{ endpoints: [\"{address}\"], protocol: http2, {service} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        place.web,
    );
    place.start(&yaml).await
}

#[tokio::test]
async fn silent_streams_last_longer_than_any_limit_for_clients() {
    // All of them are shorter than any silence.
    let limits = format!("timeouts: {{ response: {SHORT}ms, total: {SHORT}ms }}");
    let gateway = gateway_to_hesitant(&limits).await;
    let (late, soon, both, events) = tokio::join!(
        stream(&gateway, "/late", &[]),
        stream(&gateway, "/soon", &[]),
        stream(&gateway, "/both", &[]),
        stream(&gateway, "/events", &[]),
    );
    for (path, ended) in [("/late", late), ("/soon", soon), ("/both", both)] {
        let (bytes, trailers) = ended.unwrap();
        let trailers = trailers.unwrap();
        assert_eq!(bytes, 2 * MESSAGE.len(), "{path}");
        assert_eq!(trailers["grpc-status"], "0", "{path}");
        assert_eq!(trailers["x-asked"], (2 * MESSAGE.len()).to_string());
        let line = gateway.logged(path).await;
        assert_eq!(line["termination"], "ok", "{line}");
    }
    // As events do.
    assert_eq!(events.unwrap().0, 2 * MESSAGE.len());
}

#[tokio::test]
async fn silent_calls_end_at_their_deadline_and_silent_streams_at_idle() {
    let gateway = gateway_to_hesitant("outlier: false").await;
    for path in ["/late", "/soon"] {
        let left = [("grpc-timeout", "400m")];
        let (_, trailers) = stream(&gateway, path, &left).await.unwrap();
        let line = gateway.logged(path).await;
        assert_eq!(line["grpc_status"], 4, "{path}: {line} {trailers:?}");
    }
    let idle = format!("outlier: false, timeouts: {{ idle: {SHORT}ms }}");
    let gateway = gateway_to_hesitant(&idle).await;
    let (_, trailers) = stream(&gateway, "/soon", &[]).await.unwrap();
    assert_ne!(trailers.unwrap()["grpc-status"], "0");
    let line = gateway.logged("/soon").await;
    assert_eq!(line["termination"], "upstream-stalled", "{line}");
    stream(&gateway, "/events", &[]).await.unwrap_err();
    let line = gateway.logged("/events").await;
    assert_eq!(line["termination"], "upstream-stalled", "{line}");
}

/// A message of five bytes, as gRPC frames it.
const MESSAGE: &[u8] = b"\0\0\0\0\x05hello";
/// Longer than a limit that is short, in milliseconds.
const SILENCE: Duration = Duration::from_millis(1500);
const SHORT: u32 = 300;
