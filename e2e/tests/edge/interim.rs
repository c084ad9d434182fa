//! Interim responses (103 and other 1xx) of services: passed on as they come, in order, whole, and
//! to nobody who cannot take them.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::Poll;

use bytes::Bytes;
use h2::client::SendRequest;
use http::{HeaderMap, Request, Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::raw;
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

const HINT: &str = "HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload\r\n\r\n";
/// Most that one request gets, and the largest header section of one.
const RESPONSES_MAX: u32 = 16;
const HEADER_BYTES_MAX: usize = 8 * 1024;
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A service that answers each head with `first`, and with `then` when the test lets it.
struct Origin {
    address: SocketAddr,
    leave: Arc<Semaphore>,
}

impl Origin {
    async fn start(first: &'static str, then: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let leave = Arc::new(Semaphore::new(0));
        let given = Arc::clone(&leave);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, first, then, Arc::clone(&given)));
            }
        });
        Self { address, leave }
    }

    /// Lets it go on once.
    fn go_on(&self) {
        self.leave.add_permits(1);
    }
}

async fn answer(mut stream: TcpStream, first: &str, then: &str, leave: Arc<Semaphore>) {
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let told = stream.write_all(first.as_bytes()).await;
        leave.acquire().await.unwrap().forget();
        if told.is_err() || stream.write_all(then.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn document(address: SocketAddr, more: &str) -> String {
    format!(
        "
        services: {{ app: {{ endpoints: [\"{address}\"] }} }}
        routes: [{{ path: \"/*\", to: app{more} }}]
        "
    )
}

fn document_http2(address: SocketAddr) -> String {
    document(address, "").replace(" } }", ", protocol: http2 } }")
}

/// A service that answers each stream with a hint, and with the rest when the test lets it.
async fn origin_http2() -> Origin {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let leave = Arc::new(Semaphore::new(0));
    let given = Arc::clone(&leave);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let given = Arc::clone(&given);
            tokio::spawn(async move {
                let mut connection = h2::server::handshake(stream).await.unwrap();
                while let Some(Ok((_, mut respond))) = connection.accept().await {
                    let given = Arc::clone(&given);
                    tokio::spawn(async move {
                        let hint = Response::builder().status(103);
                        let hint = hint.header("link", "</a.css>; rel=preload");
                        respond.send_informational(hint.body(()).unwrap()).unwrap();
                        given.acquire().await.unwrap().forget();
                        let mut body = respond.send_response(Response::new(()), false).unwrap();
                        body.send_data(Bytes::from_static(b"ok"), true).unwrap();
                    });
                }
            });
        }
    });
    Origin { address, leave }
}

/// Reads until the text ends so.
async fn read_to(stream: &mut TcpStream, end: &str) -> String {
    let mut read = Vec::new();
    let whole = async {
        while !read.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => read.push(byte),
                Err(_) => break,
            }
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, whole).await;
    let read = String::from_utf8_lossy(&read).into_owned();
    assert!(in_time.is_ok(), "waited for {end:?} after {read:?}");
    read
}

async fn count(gateway: &Lone, outcome: &str) -> f64 {
    let labels = [("service", "app"), ("outcome", outcome)];
    let metrics = gateway.metrics().await;
    metrics.sum("weir_upstream_interim_responses_total", &labels)
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
}

#[tokio::test]
async fn a_hint_reaches_the_client_before_there_is_a_response() {
    let origin = Origin::start(HINT, OK).await;
    let gateway = Lone::start(&document(origin.address, "")).await;
    let mut client = TcpStream::connect(gateway.web()).await.unwrap();
    // Twice, for the connection goes on as ever.
    for number in 1..=2 {
        client.write_all(get("/").as_bytes()).await.unwrap();
        // The response is held back until this has come.
        let hint = read_to(&mut client, "\r\n\r\n").await;
        let expected = HINT.replace("\r\n\r\n", "\r\nvia: 1.1 weir\r\n\r\n");
        assert_eq!(hint, expected, "{number}");
        origin.go_on();
        let response = read_to(&mut client, "\r\n\r\nok").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    }
    assert_eq!(count(&gateway, "passed-on").await, 2.0);
    let logged = gateway.logged("/").await;
    assert_eq!(logged["status"], 200);
}

#[tokio::test]
async fn nothing_of_the_hop_or_of_the_route_is_told() {
    let head = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop, close\r\nX-Hop: 1\r\n\
                Keep-Alive: timeout=5\r\nContent-Length: 7\r\nTrailer: x\r\nServer: old\r\n\
                X-Inner: 1\r\nX-Other: 1\r\n\r\n";
    let upstream = Upstream::start(Answer::raw(format!("{head}{OK}")));
    let more = ", response_headers: { set: { server: web }, remove: [x-inner] }";
    let gateway = Lone::start(&document(upstream.addr(), more)).await;
    let sent = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await.text();
    let (hint, response) = answer.split_once("\r\n\r\n").unwrap();
    let mut lines: Vec<_> = hint.lines().collect();
    lines.sort_unstable();
    let expected = [
        "HTTP/1.1 103 Early Hints",
        "link: </a>",
        "via: 1.1 weir",
        "x-other: 1",
    ];
    assert_eq!(lines, expected);
    assert!(response.contains("server: web\r\n"), "{response}");
}

#[tokio::test]
async fn a_client_of_http_1_0_gets_none_and_a_listener_can_withhold_them() {
    let hints = || Reply::ok("ok").interim(103, &[("link", "</a>")]);
    let upstream = Upstream::start(hints());
    for (rule, version, told) in [
        ("", "1.0", false),
        ("", "1.1", true),
        (", interim_responses: forward", "1.1", true),
        (", interim_responses: http2", "1.1", false),
        (", interim_responses: drop", "1.1", false),
    ] {
        let web = free_addr();
        let document = document(upstream.addr(), "");
        let listener = format!("        listeners: {{ web: {{ bind: \"{web}\"{rule} }} }}");
        let _gateway = Lone::start(&format!("\n{listener}{document}")).await;
        let sent = format!("GET / HTTP/{version}\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = raw(web, sent, DEADLINE).await.text();
        let hints = answer.matches("103 Early Hints").count();
        assert_eq!(hints, usize::from(told), "{rule} {version}: {answer}");
        assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    }
}

#[tokio::test]
async fn as_many_and_as_large_as_the_bounds_say() {
    let room = HEADER_BYTES_MAX - "link".len() - 4;
    let (fits, large) = ("f".repeat(room), "l".repeat(room + 1));
    let script = Script::by(move |request: &Recorded| {
        let reply = Reply::ok("ok");
        match request.path.as_str() {
            "/size" => reply
                .interim(103, &[("link", fits.as_str())])
                .interim(103, &[("link", large.as_str())]),
            path => (0..path[1..].parse().unwrap())
                .fold(reply, |reply, _| reply.interim(102, &[("x-n", "1")])),
        }
    });
    for http2 in [false, true] {
        let (upstream, document) = match http2 {
            false => {
                let upstream = Upstream::start(script.clone());
                let document = document(upstream.addr(), "");
                (upstream, document)
            }
            true => {
                let upstream = Upstream::builder(script.clone()).http2().start();
                let document = document_http2(upstream.addr());
                (upstream, document)
            }
        };
        let gateway = Lone::start(&document).await;
        let max = RESPONSES_MAX;
        let one_past = max + 1;
        for (path, passed_on) in [
            ("/size".to_owned(), 1),
            (format!("/{max}"), max),
            (format!("/{one_past}"), max),
        ] {
            let sent = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
            let answer = raw(gateway.web(), sent, DEADLINE).await;
            assert_eq!(answer.answers(), passed_on as usize + 1, "{path} {http2}");
            let text = answer.text();
            assert!(
                text.ends_with("ok") || text.ends_with("ok\r\n0\r\n\r\n"),
                "{text}"
            );
        }
        assert_eq!(count(&gateway, "too-large").await, 1.0);
        assert_eq!(count(&gateway, "too-many").await, 1.0);
        assert_eq!(count(&gateway, "passed-on").await, f64::from(2 * max + 1));
        assert_eq!(upstream.request_count(), 3);
    }
}

#[tokio::test]
async fn pipelined_requests_get_theirs_in_their_place() {
    let body: &'static str = "0123456789abcdef".repeat(64 * 1024).leak();
    let upstream = Upstream::start(Script::by(move |request: &Recorded| {
        Reply::ok(body)
            .interim(103, &[("link", request.path.as_str())])
            .header("x-path", &request.path)
    }));
    let gateway = Lone::start(&document(upstream.addr(), "")).await;
    let requests: String = (0..20).map(|number| get(&format!("/{number}"))).collect();
    let mut client = TcpStream::connect(gateway.web()).await.unwrap();
    client.write_all(requests.as_bytes()).await.unwrap();
    for number in 0..20 {
        // A hint is left out where the response before it is not taken yet; it is never anywhere
        // else than here.
        let mut head = read_to(&mut client, "\r\n\r\n").await;
        if head.starts_with("HTTP/1.1 103 ") {
            assert!(head.contains(&format!("link: /{number}\r\n")), "{head}");
            head = read_to(&mut client, "\r\n\r\n").await;
        }
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{number}: {head}");
        assert!(head.contains(&format!("x-path: /{number}\r\n")), "{head}");
        let mut read = vec![0; body.len()];
        client.read_exact(&mut read).await.unwrap();
        assert!(read == body.as_bytes(), "{number}");
    }
}

#[tokio::test]
async fn a_response_larger_than_all_buffers_stays_whole_before_a_hint() {
    let body: &'static str = "0123456789abcdef".repeat(1024 * 1024).leak();
    let upstream = Upstream::start(Script::by(move |request: &Recorded| {
        match request.path.as_str() {
            "/large" => Reply::ok(body),
            _ => Reply::ok("ok").interim(103, &[("link", "</a>")]),
        }
    }));
    let gateway = Lone::start(&document(upstream.addr(), "")).await;
    let mut client = TcpStream::connect(gateway.web()).await.unwrap();
    let requests = [get("/large"), get("/small")].concat();
    client.write_all(requests.as_bytes()).await.unwrap();
    let head = read_to(&mut client, "\r\n\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    let mut read = vec![0; body.len()];
    client.read_exact(&mut read).await.unwrap();
    assert!(read == body.as_bytes());
    let rest = read_to(&mut client, "\r\n\r\nok").await;
    assert!(rest.starts_with("HTTP/1.1 "), "{rest}");
}

#[tokio::test]
async fn head_and_expectations_have_theirs_too() {
    let upstream = Upstream::start(Reply::ok("ok").interim(103, &[("link", "</a>")]));
    let gateway = Lone::start(&document(upstream.addr(), "")).await;
    let sent = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await.text();
    assert!(
        answer.starts_with("HTTP/1.1 103 Early Hints\r\n"),
        "{answer}"
    );
    assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\n"), "{answer}");

    let mut client = TcpStream::connect(gateway.web()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let go_on = read_to(&mut client, "\r\n\r\n").await;
    assert_eq!(go_on, "HTTP/1.1 100 Continue\r\n\r\n");
    client.write_all(b"body").await.unwrap();
    let rest = read_to(&mut client, "\r\n\r\nok").await;
    assert!(rest.starts_with("HTTP/1.1 103 Early Hints\r\n"), "{rest}");
    assert_eq!(rest.matches("HTTP/1.1 ").count(), 2, "{rest}");
}

#[tokio::test]
async fn what_weir_answers_itself_has_none_and_what_is_tried_again_keeps_its_own() {
    let upstream = Upstream::start(Script::by(|request: &Recorded| {
        let hint = |reply: Reply| reply.interim(103, &[("link", "</a>")]);
        match request.path.as_str() {
            "/cached" => hint(Reply::ok("ok").header("cache-control", "max-age=60")),
            _ => hint(Reply::status(503)),
        }
    }));
    let gateway = Lone::start(&format!(
        "
        cache: {{}}
        services: {{ app: {{ endpoints: [\"{}\"], retry: {{ attempts: 1, statuses: [503] }} }} }}
        routes:
          - {{ path: /cached, to: app, cache: {{}} }}
          - {{ path: /again, to: app, fallback: {{ respond: {{ status: 200, body: sorry }} }} }}
        ",
        upstream.addr()
    ))
    .await;
    let ask = async |path: &str| {
        let sent = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        raw(gateway.web(), sent, DEADLINE).await.text()
    };
    let first = ask("/cached").await;
    assert_eq!(first.matches("103 Early Hints").count(), 1, "{first}");
    eventually(DEADLINE, async || {
        let stored = ask("/cached").await;
        upstream.request_count() == 1 && !stored.contains("103 Early Hints")
    })
    .await;
    // Both attempts have told one, and then the fallback answered.
    let again = ask("/again").await;
    assert_eq!(again.matches("103 Early Hints").count(), 2, "{again}");
    assert!(again.ends_with("sorry"), "{again}");
}

#[tokio::test]
async fn of_hedged_attempts_only_the_first_is_heard() {
    let arrived = Arc::new(AtomicU64::new(0));
    let script = || {
        let arrived = Arc::clone(&arrived);
        Script::by(move |_: &Recorded| match arrived.fetch_add(1, Relaxed) {
            0 => Reply::ok("slow")
                .interim(103, &[("link", "</first>")])
                .delay(DEADLINE),
            _ => Reply::ok("ok").interim(103, &[("link", "</hedge>")]),
        })
    };
    let (one, other) = (Upstream::start(script()), Upstream::start(script()));
    let gateway = Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\", \"{}\"], retry: {{ hedge: {{ after: 50ms }} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        one.addr(),
        other.addr()
    ))
    .await;
    let sent = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await.text();
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert!(!answer.contains("</hedge>"), "{answer}");
}

/// What comes on one stream, in order: heads, and the body behind the last.
#[derive(Debug, PartialEq)]
struct Answered {
    interim: Vec<(StatusCode, HeaderMap)>,
    status: StatusCode,
    body: Bytes,
}

impl Answered {
    /// The values of this field in interim responses.
    fn told(&self, name: &str) -> Vec<&str> {
        let heads = self.interim.iter();
        let values = heads.filter_map(|(_, headers)| headers.get(name)?.to_str().ok());
        values.collect()
    }
}

async fn http2(address: SocketAddr) -> SendRequest<Bytes> {
    let stream = TcpStream::connect(address).await.unwrap();
    let (client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// Asks; `heard` is called at each interim response, as it comes.
async fn ask(client: SendRequest<Bytes>, method: &str, path: &str, heard: impl Fn()) -> Answered {
    let mut client = client.ready().await.unwrap();
    let request = Request::builder().method(method);
    let request = request.uri(format!("http://a{path}")).body(()).unwrap();
    let (answer, _) = client.send_request(request, true).unwrap();
    let mut answer = pin!(answer);
    let mut interim = Vec::new();
    let whole = async {
        let response = poll_fn(|cx| {
            while let Poll::Ready(Some(told)) = answer.poll_informational(cx) {
                let (head, ()) = told.unwrap().into_parts();
                interim.push((head.status, head.headers));
                heard();
            }
            answer.as_mut().poll(cx)
        });
        let response = response.await.unwrap();
        let (status, mut body) = (response.status(), response.into_body());
        let mut read = Vec::new();
        while let Some(data) = body.data().await {
            let data = data.unwrap();
            body.flow_control().release_capacity(data.len()).unwrap();
            read.extend_from_slice(&data);
        }
        (status, Bytes::from(read))
    };
    let (status, body) = tokio::time::timeout(DEADLINE, whole).await.unwrap();
    Answered {
        interim,
        status,
        body,
    }
}

#[tokio::test]
async fn a_hint_reaches_an_http_2_client_before_there_is_a_response() {
    let origin = Origin::start(HINT, OK).await;
    let gateway = Lone::start(&document(origin.address, "")).await;
    let client = http2(gateway.web()).await;
    for method in ["GET", "POST", "GET"] {
        // The response is held back until the hint has come.
        let answer = ask(client.clone(), method, "/", || origin.go_on()).await;
        assert_eq!(answer.told("link"), ["</a.css>; rel=preload"], "{answer:?}");
        assert_eq!(answer.told("via"), ["1.1 weir"], "{answer:?}");
        assert_eq!(answer.interim[0].0, 103);
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"ok"[..]));
    }
    assert_eq!(count(&gateway, "passed-on").await, 3.0);
}

#[tokio::test]
async fn streams_of_one_connection_get_their_own() {
    let body: &'static str = "0123456789abcdef".repeat(16 * 1024).leak();
    let upstream = Upstream::start(Script::by(move |request: &Recorded| {
        let path = request.path.as_str();
        Reply::ok(format!("{path} {body}"))
            .interim(102, &[("x-path", path)])
            .interim(103, &[("x-path", path)])
    }));
    let gateway = Lone::start(&document(upstream.addr(), "")).await;
    let client = http2(gateway.web()).await;
    let mut streams = tokio::task::JoinSet::new();
    for number in 0..60 {
        let client = client.clone();
        streams.spawn(async move {
            let path = format!("/{number}");
            let answer = ask(client, "GET", &path, || ()).await;
            // One is left out while the client is slow to take the bodies of others.
            let told = answer.told("x-path");
            assert!(told.iter().all(|told| *told == path), "{path}: {told:?}");
            assert_eq!(answer.body, format!("{path} {body}"), "{path}");
        });
    }
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
    let told = count(&gateway, "passed-on").await + count(&gateway, "client-busy").await;
    assert_eq!(told, 120.0);
    // Where nothing is under way, nothing is left out.
    let answer = ask(client, "HEAD", "/last", || ()).await;
    assert_eq!(answer.told("x-path"), ["/last", "/last"]);
    assert_eq!(
        (answer.interim[0].0, answer.interim[1].0),
        (102.try_into().unwrap(), 103.try_into().unwrap())
    );
}

#[tokio::test]
async fn http_2_clients_are_told_as_listener_and_bounds_say() {
    let upstream = Upstream::start(Script::by(move |request: &Recorded| {
        (0..request.path[1..].parse().unwrap()).fold(Reply::ok("ok"), |reply, _| {
            reply.interim(
                103,
                &[("link", "</a>"), ("connection", "x-hop"), ("x-hop", "1")],
            )
        })
    }));
    let max = RESPONSES_MAX as usize;
    for (rule, most) in [
        ("", max),
        (", interim_responses: forward", max),
        (", interim_responses: http2", max),
        (", interim_responses: drop", 0),
    ] {
        let web = free_addr();
        let document = document(upstream.addr(), "");
        let listener = format!("        listeners: {{ web: {{ bind: \"{web}\"{rule} }} }}");
        let _gateway = Lone::start(&format!("\n{listener}{document}")).await;
        let client = http2(web).await;
        for asked in [1, max, max + 1] {
            let answer = ask(client.clone(), "GET", &format!("/{asked}"), || ()).await;
            assert_eq!(answer.interim.len(), asked.min(most), "{rule} {asked}");
            assert_eq!(answer.told("x-hop"), [""; 0], "{rule}");
            assert_eq!(&*answer.body, b"ok");
        }
    }
}

#[tokio::test]
async fn hints_of_http_2_services_reach_both_kinds_of_clients_before_there_is_a_response() {
    let origin = origin_http2().await;
    let gateway = Lone::start(&document_http2(origin.address)).await;
    let mut first = TcpStream::connect(gateway.web()).await.unwrap();
    let second = http2(gateway.web()).await;
    for number in 1..=2 {
        first.write_all(get("/").as_bytes()).await.unwrap();
        // The response is held back until this has come.
        let hint = read_to(&mut first, "\r\n\r\n").await;
        let expected = HINT.replace("\r\n\r\n", "\r\nvia: 2 weir\r\n\r\n");
        assert_eq!(hint, expected, "{number}");
        origin.go_on();
        let response = read_to(&mut first, "2\r\nok\r\n0\r\n\r\n").await;
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");

        let method = ["GET", "POST"][number - 1];
        let answer = ask(second.clone(), method, "/", || origin.go_on()).await;
        assert_eq!(answer.told("link"), ["</a.css>; rel=preload"], "{answer:?}");
        assert_eq!(answer.told("via"), ["2 weir"], "{answer:?}");
        assert_eq!(answer.interim[0].0, 103);
        assert_eq!((answer.status.as_u16(), &*answer.body), (200, &b"ok"[..]));
    }
    assert_eq!(count(&gateway, "passed-on").await, 4.0);
}

#[tokio::test]
async fn hints_of_http_2_services_can_be_withheld_and_lose_what_the_route_conceals() {
    let hint = Reply::ok("ok").interim(103, &[("link", "</a>"), ("x-inner", "1")]);
    let upstream = Upstream::builder(hint).http2().start();
    let document = document_http2(upstream.addr()).replace(
        "to: app",
        "to: app, response_headers: { remove: [x-inner] }",
    );
    for (rule, to_first, to_second) in [
        ("", true, true),
        (", interim_responses: http2", false, true),
        (", interim_responses: drop", false, false),
    ] {
        let web = free_addr();
        let listener = format!("        listeners: {{ web: {{ bind: \"{web}\"{rule} }} }}");
        let _gateway = Lone::start(&format!("\n{listener}{document}")).await;
        let sent = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = raw(web, sent, DEADLINE).await.text();
        let hints = answer.matches("103 Early Hints").count();
        assert_eq!(hints, usize::from(to_first), "{rule}: {answer}");
        let answer = ask(http2(web).await, "GET", "/", || ()).await;
        assert_eq!(answer.interim.len(), usize::from(to_second), "{rule}");
        assert_eq!(answer.told("x-inner"), [""; 0], "{rule}");
    }
}
