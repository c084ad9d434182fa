//! HTTP/2 as attackers speak it: floods end with GOAWAY and are counted, and what must not be in a
//! request never reaches a service. Honest clients notice nothing.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::Client;
use weir_testkit::client::frames::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, Frame, GOAWAY, HEADERS, PING, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, block, exchange, frame, get,
};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_to(upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        upstream.addr()
    ))
    .await
}

/// One of these for each stream of a client.
fn on_streams(count: u32, each: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..count).flat_map(|index| each(2 * index + 1)).collect()
}

const ENHANCE_YOUR_CALM: u32 = 11;

#[tokio::test]
async fn every_flood_ends_with_a_goodbye() {
    let upstream = Upstream::start(Reply::ok("x").delay(Duration::from_secs(5)));
    let gateway = gateway_to(&upstream).await;
    let reset = |stream| frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes());
    // More than a window can hold makes the server reset the stream (CVE-2025-8671).
    let overflow = 0x7FFF_FFFF_u32.to_be_bytes();
    let open = frame(
        HEADERS,
        END_HEADERS,
        1,
        &block(&[
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
        ]),
    );
    // An entry of 4,000 bytes in the table, and then one byte for each time it is said again.
    let mut bomb = vec![0x40, 1, b'x', 0x7F, 0xA1, 0x1E];
    bomb.extend(vec![b'y'; 4000]);
    bomb.extend(vec![0xBE; 8000]);
    let bomb = [
        block(&[(":method", "GET"), (":scheme", "http"), (":path", "/")]),
        bomb,
    ]
    .concat();
    let table = [
        (
            "PING",
            frame(PING, 0, 0, &[0; 8]).repeat(200_000),
            &["http2-ping-flood"][..],
        ),
        (
            "SETTINGS",
            frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0]).repeat(50_000),
            &["http2-settings-flood"][..],
        ),
        (
            "PRIORITY",
            frame(PRIORITY, 0, 3, &[0, 0, 0, 0, 9]).repeat(200_000),
            &["http2-priority-flood"][..],
        ),
        (
            "WINDOW_UPDATE",
            frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(200_000),
            &["http2-window-flood"][..],
        ),
        (
            "unknown frames",
            frame(0xF0, 0, 0, b"hello").repeat(200_000),
            &["http2-unknown-flood"][..],
        ),
        (
            "empty DATA",
            [open.clone(), frame(DATA, 0, 1, b"").repeat(200_000)].concat(),
            &["http2-data-flood"][..],
        ),
        (
            "DATA of one byte",
            [open, frame(DATA, 0, 1, b"x").repeat(60_000)].concat(),
            &["http2-data-flood"][..],
        ),
        (
            "CONTINUATION",
            [
                frame(HEADERS, END_STREAM, 1, &block(&[(":method", "GET")])),
                frame(CONTINUATION, 0, 1, &block(&[("x", "y")])).repeat(100_000),
            ]
            .concat(),
            &["http2-continuation-flood"][..],
        ),
        (
            "HPACK bomb",
            frame(HEADERS, END_HEADERS | END_STREAM, 1, &bomb),
            &["http2-header-list"][..],
        ),
        (
            "rapid reset",
            on_streams(20_000, |stream| [get(stream, &[]), reset(stream)].concat()),
            &["http2-resets", "http2-provoked-resets"][..],
        ),
        (
            "made you reset",
            on_streams(2_000, |stream| {
                [get(stream, &[]), frame(WINDOW_UPDATE, 0, stream, &overflow)].concat()
            }),
            &["http2-provoked-resets"][..],
        ),
        (
            "too many streams",
            on_streams(2_000, |stream| get(stream, &[])),
            &["http2-provoked-resets"][..],
        ),
    ];
    for (name, bytes, reasons) in table {
        let before = closed_for(&gateway, reasons).await;
        let all_before = closed(&gateway, "http2-").await;
        let (frames, ended) = exchange(gateway.web(), &bytes, DEADLINE, |_| false).await;
        assert!(ended, "{name}: still open");
        let goodbye = frames.iter().find(|frame| frame.kind == GOAWAY);
        let code = goodbye.and_then(Frame::error);
        // The last words of a server are lost when its client's window is full of answers.
        let lost = code.is_none() && frames.len() > 1000;
        assert!(
            lost || code == Some(ENHANCE_YOUR_CALM),
            "{name}: {:?}",
            frames.last()
        );
        weir_testkit::eventually::eventually(DEADLINE, async || {
            closed(&gateway, "http2-").await > all_before
        })
        .await;
        let found = closed_for(&gateway, reasons).await;
        assert!(found > before, "{name}: {}", reasons_of(&gateway).await);
    }
    upstream.set_script(Reply::ok("fine"));
    assert_eq!(
        Client::http2()
            .get(&gateway.url("/x"))
            .await
            .unwrap()
            .status,
        200
    );
}

/// Connections closed for one of these reasons.
async fn closed_for(gateway: &Lone, reasons: &[&str]) -> f64 {
    let metrics = gateway.metrics().await;
    let of = |reason: &&str| {
        let labels = [("listener", "web"), ("reason", *reason)];
        metrics.sum("weir_listener_connections_closed_total", &labels)
    };
    reasons.iter().map(of).sum()
}

/// Why connections were closed, and how many.
async fn reasons_of(gateway: &Lone) -> String {
    let metrics = gateway.metrics().await;
    let all = metrics.samples("weir_listener_connections_closed_total", &[]);
    let told = all.iter().filter(|sample| sample.value > 0.0);
    told.map(|sample| format!("{:?}: {}\n", sample.labels, sample.value))
        .collect()
}

/// Connections closed for a reason that begins so.
async fn closed(gateway: &Lone, reason: &str) -> f64 {
    let metrics = gateway.metrics().await;
    let all = metrics.samples("weir_listener_connections_closed_total", &[]);
    let such = all.iter().filter(|sample| {
        let said = sample.labels.iter().find(|(name, _)| name == "reason");
        said.is_some_and(|(_, said)| said.starts_with(reason))
    });
    such.map(|sample| sample.value).sum()
}

#[tokio::test]
async fn who_breaks_the_rules_is_told_which_and_counted_as_such() {
    let upstream = Upstream::start(Reply::ok("x"));
    let gateway = gateway_to(&upstream).await;
    const PROTOCOL_ERROR: u32 = 1;
    for (number, (what, bytes)) in [
        ("DATA of no stream", frame(DATA, 0, 0, b"x")),
        ("PING of a stream", frame(PING, 0, 1, &[0; 8])),
    ]
    .into_iter()
    .enumerate()
    {
        let (frames, ended) = exchange(gateway.web(), &bytes, DEADLINE, |_| false).await;
        assert!(ended, "{what}: still open");
        let goodbye = frames.iter().find(|frame| frame.kind == GOAWAY);
        let code = goodbye.and_then(Frame::error);
        assert_eq!(code, Some(PROTOCOL_ERROR), "{what}");
        weir_testkit::eventually::eventually(DEADLINE, async || {
            closed(&gateway, "http2-protocol").await == (number + 1) as f64
        })
        .await;
    }
}

#[tokio::test]
async fn an_accepted_request_that_is_taken_back_counts_too() {
    let upstream = Upstream::start(Reply::ok("x").delay(Duration::from_secs(5)));
    let gateway = gateway_to(&upstream).await;
    // Each in a write of its own: the library accepts one before it sees that it is taken back. On
    // a machine that is busy with other things many come together, and then it is the library that
    // ends the connection, for those taken back before they were accepted.
    for _ in 0..TRIES_MAX {
        let before = closed(&gateway, "http2-resets").await;
        let (taken_back, by_library) = take_back_until_told_to_go(&gateway).await;
        assert!(taken_back < 6000, "{taken_back}");
        weir_testkit::eventually::eventually(DEADLINE, async || {
            closed(&gateway, "http2-resets").await > before
        })
        .await;
        if !by_library {
            assert_eq!(closed(&gateway, "http2-resets").await, before + 1.0);
            assert!(taken_back >= 200, "{taken_back}");
            return;
        }
    }
    panic!("it was the library each time");
}

/// Takes back one request after the other; returns how many before it was told to go, and whether
/// the library told it, which gives its reason.
async fn take_back_until_told_to_go(gateway: &Lone) -> (u32, bool) {
    let (mut sender, connection) = slow_client(gateway).await;
    let driver = tokio::spawn(connection);
    let mut taken_back = 0;
    let ended = tokio::time::timeout(DEADLINE, async {
        loop {
            let Ok(ready) = sender.clone().ready().await else {
                break;
            };
            sender = ready;
            let request = Request::get(gateway.url("/x")).body(()).unwrap();
            let Ok((response, mut stream)) = sender.send_request(request, true) else {
                break;
            };
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.send_reset(h2::Reason::CANCEL);
            drop(response);
            taken_back += 1;
        }
    });
    ended.await.expect("it is told to go");
    let error = driver.await.unwrap().unwrap_err();
    assert_eq!(
        error.reason(),
        Some(h2::Reason::ENHANCE_YOUR_CALM),
        "{error}"
    );
    (taken_back, error.to_string().contains("too_many"))
}

/// Connections until one of them is ended for what the gateway itself counts.
const TRIES_MAX: u32 = 10;

type Sender = h2::client::SendRequest<Bytes>;

async fn slow_client(
    gateway: &Lone,
) -> (Sender, h2::client::Connection<tokio::net::TcpStream, Bytes>) {
    let stream = tokio::net::TcpStream::connect(gateway.web()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    h2::client::handshake(stream).await.unwrap()
}

#[tokio::test]
async fn a_client_that_is_busy_and_honest_is_not_hit() {
    let upstream = Upstream::start(Reply::ok("x".repeat(20_000)));
    let gateway = gateway_to(&upstream).await;
    let (mut sender, mut connection) = slow_client(&gateway).await;
    let mut pings = connection.ping_pong().unwrap();
    let driver = tokio::spawn(connection);
    for number in 0..1_500 {
        sender = sender.ready().await.unwrap();
        let request = Request::get(gateway.url("/x")).body(()).unwrap();
        let (response, mut stream) = sender.send_request(request, true).unwrap();
        // Every third is taken back.
        if number % 3 == 0 {
            stream.send_reset(h2::Reason::CANCEL);
            continue;
        }
        let mut body = response.await.unwrap().into_body();
        let mut bytes = 0;
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            bytes += data.len();
            body.flow_control().release_capacity(data.len()).unwrap();
        }
        assert_eq!(bytes, 20_000);
        pings.ping(h2::Ping::opaque()).await.unwrap();
    }
    assert!(!driver.is_finished());
    assert_eq!(closed(&gateway, "http2").await, 0.0);
}

/// How a stream was answered.
#[derive(Debug, PartialEq)]
enum Answered {
    Status(u16),
    /// RST_STREAM or GOAWAY with PROTOCOL_ERROR.
    Broken,
}

async fn answered(gateway: &Lone, bytes: &[u8]) -> Option<Answered> {
    let told = |frame: &Frame| match (frame.kind, frame.status(), frame.error()) {
        (HEADERS, Some(status), _) => Some(Answered::Status(status)),
        (RST_STREAM | GOAWAY, _, Some(1)) => Some(Answered::Broken),
        _ => None,
    };
    let enough = |frames: &[Frame]| frames.iter().any(|frame| told(frame).is_some());
    let (frames, _) = exchange(gateway.web(), bytes, DEADLINE, enough).await;
    frames.iter().find_map(told)
}

#[tokio::test]
async fn what_no_request_may_hold_never_reaches_a_service() {
    let upstream = Upstream::start(Reply::ok("x"));
    let gateway = gateway_to(&upstream).await;
    let with =
        |fields: &[(&str, &str)]| frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(fields));
    let line = |method, path| {
        [
            (":method", method),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", path),
        ]
    };
    // What it looks like when all is well.
    assert_eq!(
        answered(&gateway, &get(1, &[("te", "trailers")])).await,
        Some(Answered::Status(200))
    );
    assert_eq!(upstream.request_count(), 1);
    let mut table = Vec::new();
    for (name, value) in [
        ("connection", "close"),
        ("keep-alive", "timeout=5"),
        ("proxy-connection", "keep-alive"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "websocket"),
        ("te", "gzip"),
        ("X-Upper", "1"),
        ("x y", "1"),
        ("x:y", "1"),
        ("x\r\ny", "1"),
        ("", "1"),
        ("x", "a\r\nb: c"),
        ("x", "a\nb"),
        ("x", "a\rb"),
        ("x", "a\0b"),
        ("content-length", "+1"),
        ("content-length", "1, 1"),
        ("content-length", "5"),
        (":unknown", "1"),
        (":status", "200"),
        (":path", "/again"),
    ] {
        table.push((
            format!("{name:?}: {value:?}"),
            get(1, &[(name, value)]),
            None,
        ));
    }
    for (method, path) in [
        ("GET", ""),
        ("GET", "/a b"),
        ("GET", "/a\r\nHost: b"),
        ("GET", "/ HTTP/1.1\r\nHost: b\r\n\r\nGET /hidden"),
        ("GET", "/\0"),
        ("G T", "/"),
        ("GET / HTTP/1.1\r\nx:", "/"),
        ("", "/"),
    ] {
        table.push((
            format!("{method:?} {path:?}"),
            with(&line(method, path)),
            None,
        ));
    }
    for (path, status) in [
        ("*", 400),
        ("http://b/", 400),
        ("a", 400),
        ("/..", 400),
        ("/a%2fb", 400),
        ("/a\\b", 400),
        ("/%00", 400),
    ] {
        table.push((format!("{path:?}"), with(&line("GET", path)), Some(status)));
    }
    table.push((
        "host disagrees".to_owned(),
        get(1, &[("host", "b")]),
        Some(400),
    ));
    table.push((
        "hosts disagree".to_owned(),
        with(&[
            (":method", "GET"),
            (":scheme", "http"),
            (":path", "/"),
            ("host", "a"),
            ("host", "b"),
        ]),
        Some(400),
    ));
    for authority in ["u@a", "a b", "a/b", "a:b", "a,b", ""] {
        let fields = [
            (":method", "GET"),
            (":scheme", "http"),
            (":authority", authority),
            (":path", "/"),
        ];
        table.push((format!("authority {authority:?}"), with(&fields), Some(400)));
    }
    upstream.forget_requests();
    for (what, bytes, status) in table {
        let answer = answered(&gateway, &bytes).await;
        let broken = answer == Some(Answered::Broken);
        let refused = answer == Some(Answered::Status(status.unwrap_or(400)));
        // The library may break off what Weir would refuse, not the other way round.
        assert!(broken || refused, "{what}: {answer:?}");
        assert_eq!(
            upstream.requests().len(),
            0,
            "{what}: {:?}",
            upstream.requests()
        );
    }
    let metrics = gateway.metrics().await;
    let labels = [("code", "host-disagrees")];
    assert_eq!(metrics.sum("weir_http_refusals_total", &labels), 1.0);
}

#[tokio::test]
async fn a_body_of_another_length_than_said_is_never_a_whole_request() {
    let upstream = Upstream::start(Reply::ok("x"));
    let gateway = gateway_to(&upstream).await;
    let post = |length: &str| {
        let fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":authority", "a"),
            (":path", "/"),
            ("content-length", length),
        ];
        frame(HEADERS, END_HEADERS, 1, &block(&fields))
    };
    for (length, body) in [("3", "abcd"), ("5", "abcd"), ("0", "abcd")] {
        let bytes = [post(length), frame(DATA, END_STREAM, 1, body.as_bytes())].concat();
        let answer = answered(&gateway, &bytes).await;
        assert_eq!(answer, Some(Answered::Broken), "{length}");
    }
    let fits = [post("4"), frame(DATA, END_STREAM, 1, b"abcd")].concat();
    assert_eq!(answered(&gateway, &fits).await, Some(Answered::Status(200)));
    let whole = upstream
        .requests()
        .into_iter()
        .filter(|seen| seen.is_complete);
    assert_eq!(whole.count(), 1);
}
