//! Reloads: nothing under way notices them.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs;
use std::io::Write as _;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::{Client, Connection, request};
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Recorded, Reply, Script, Upstream};

/// `/socket` echoes, `/stream` sends an event's byte every 100 ms for longer than any test takes.
fn upstream() -> Upstream {
    let script = |request: &Recorded| -> Answer {
        match request.path.as_str() {
            "/socket" => Answer::WebSocketEcho,
            "/stream" => Reply::ok(vec![b'x'; 10_000])
                .header("content-type", "text/event-stream")
                .trickle(1, Duration::from_millis(100))
                .into(),
            _ => Reply::ok("fine").into(),
        }
    };
    Upstream::start(Script::by(script))
}

/// Every number is another document, and another kind of change: routes, services, limits,
/// listeners' bounds, names.
fn document(place: &Place, upstream: &Upstream, number: usize) -> String {
    let address = upstream.addr();
    let more = match number % 6 {
        0 => String::new(),
        1 => format!("  - {{ path: \"/added-{number}\", to: app }}\n"),
        2 => format!(
            "  - {{ path: \"/limited-{number}\", limit: {{ rate: {number}/h }}, to: app }}\n"
        ),
        3 => format!("  - {{ hosts: [\"h{number}.example\"], path: \"/*\", to: other }}\n"),
        4 => "  - { path: \"/old/*\", redirect: { path: /new } }\n".to_owned(),
        _ => "  - { path: \"/own\", respond: { status: 200, body: own } }\n".to_owned(),
    };
    format!(
        "listeners:\n\
         \x20 web: {{ bind: \"{}\", idle_timeout: {}s }}\n\
         \x20 secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}\n\
         services:\n\
         \x20 app: {{ endpoints: [\"{address}\"], balance: {} }}\n\
         \x20 other: {{ endpoints: [\"{address}\"], limits: {{ requests: {} }} }}\n\
         routes:\n\
         \x20 - {{ path: \"/*\", to: app, response_headers: {{ set: {{ x-number: \"{number}\" }} }} }}\n\
         {more}",
        place.web,
        60 + number % 7,
        place.secure,
        ["round-robin", "least-request", "peak-ewma"][number % 3],
        100 + number,
    )
}

/// A WebSocket through the gateway to `/socket`.
struct Socket {
    io: TokioIo<hyper::upgrade::Upgraded>,
    _connection: Connection,
}

impl Socket {
    async fn open(gateway: &Lone) -> Self {
        let handshake = [
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
        let get = request(Method::GET, "/socket", &handshake, Bytes::new()).unwrap();
        let answer = connection.start(get).await.unwrap();
        assert_eq!(answer.status(), 101);
        Self {
            io: TokioIo::new(hyper::upgrade::on(answer).await.unwrap()),
            _connection: connection,
        }
    }

    async fn echoes(&mut self, byte: u8) {
        self.io.write_all(&[byte; 64]).await.unwrap();
        let mut back = [0; 64];
        let read = tokio::time::timeout(DEADLINE, self.io.read_exact(&mut back));
        read.await.unwrap().unwrap();
        assert_eq!(back, [byte; 64]);
    }
}

/// A response to `/stream` that has begun.
struct Stream {
    answer: http::Response<hyper::body::Incoming>,
    connection: Connection,
}

impl Stream {
    async fn open(client: &Client, gateway: &Lone) -> Self {
        let mut connection = client.connect(&gateway.url("/")).await.unwrap();
        let get = request(Method::GET, "/stream", &[], Bytes::new()).unwrap();
        let answer = connection.start(get).await.unwrap();
        Self { answer, connection }
    }

    /// Reads what has come, and waits for a byte that was sent after that.
    async fn flows(&mut self) {
        let body = self.answer.body_mut();
        loop {
            let began = Instant::now();
            let frame = tokio::time::timeout(DEADLINE, body.frame()).await.unwrap();
            frame.unwrap().unwrap().into_data().unwrap();
            // What had come before is read without waiting.
            if began.elapsed() > Duration::from_millis(20) {
                break;
            }
        }
        assert!(!self.connection.is_closed());
    }
}

const RELOADS: usize = 1_000;

#[tokio::test]
async fn a_thousand_reloads_close_nothing_and_fail_nothing() {
    let upstream = upstream();
    let place = Place::new();
    let first = document(&place, &upstream, 0);
    let gateway = place.start(&first).await;
    let load = |client: Client, url: String| {
        Load::of(url)
            .client(client)
            .connections(2)
            .pause(Duration::from_millis(2))
            .start()
    };
    let loads = [
        load(Client::http1(), gateway.url("/load")),
        load(Client::http2(), gateway.url("/load")),
        load(Client::http1(), gateway.secure_url("/load")),
        load(Client::http2(), gateway.secure_url("/load")),
    ];
    let mut sockets = Vec::new();
    for _ in 0..200 {
        sockets.push(Socket::open(&gateway).await);
    }
    let mut streams = Vec::new();
    for number in 0..50 {
        let client = [Client::http1(), Client::http2()][number % 2].clone();
        streams.push(Stream::open(&client, &gateway).await);
    }
    // One that stands idle the whole time, shorter than `idle_timeout`.
    let mut idle = Client::http1().connect(&gateway.url("/")).await.unwrap();
    idle.get("/idle").await.unwrap();

    for number in 1..=RELOADS {
        gateway.rewrite(&document(gateway.place(), &upstream, number));
        // Most are told, as a deployment does; some are found, as an editor's are.
        if number % 10 != 0 {
            gateway.hang_up();
        }
        let expected = number.to_string();
        eventually(DEADLINE, async || {
            gateway.get("/x").await.header("x-number") == Some(expected.as_str())
        })
        .await;
        sockets[number % 200].echoes(number as u8).await;
        if number % 250 == 0 {
            idle.get("/idle").await.unwrap();
        }
    }

    for socket in &mut sockets {
        socket.echoes(b'.').await;
    }
    for stream in &mut streams {
        stream.flows().await;
    }
    let last = idle.get("/idle").await.unwrap();
    assert_eq!(last.header("x-number"), Some(RELOADS.to_string().as_str()));
    for load in loads {
        let report = load.stop().await;
        report.assert_undisturbed();
        assert_eq!(report.connections_opened, 2, "{report}");
    }
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.one("weir_connections_closed_by_config_total", &[]),
        0.0
    );
    // A file may be found twice: once by its notice and once by the signal.
    assert!(metrics.one("weir_config_applied_total", &[]) > RELOADS as f64);
    assert_eq!(metrics.sum("weir_config_refused_total", &[]), 0.0);
}

#[tokio::test]
async fn a_listener_comes_and_goes_and_what_it_has_under_way_ends_in_peace() {
    let slow = Reply::ok(vec![b'x'; 60]).trickle(1, Duration::from_millis(50));
    let upstream = Upstream::start(slow);
    let (web, extra) = (free_addr(), free_addr());
    let with = |listeners: &str| {
        format!(
            "
            listeners: {{ web: {{ bind: \"{web}\" }}{listeners} }}
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: \"/*\", to: app }}, {{ path: /own, respond: {{ status: 200 }} }}]
            ",
            upstream.addr()
        )
    };
    let gateway = Lone::start(&with("")).await;
    let on = |address: std::net::SocketAddr, path: &str| format!("http://{address}{path}");
    assert!(Client::http1().get(&on(extra, "/own")).await.is_err());

    gateway.rewrite(&with(&format!(", extra: {{ bind: \"{extra}\" }}")));
    eventually(DEADLINE, async || {
        Client::http1().get(&on(extra, "/own")).await.is_ok()
    })
    .await;

    let mut under_way = Vec::new();
    for client in [Client::http1(), Client::http2()] {
        let mut connection = client.connect(&on(extra, "/")).await.unwrap();
        let get = request(Method::GET, "/slow", &[], Bytes::new()).unwrap();
        under_way.push((connection.start(get).await.unwrap(), connection));
    }
    let mut elsewhere = Client::http1().connect(&on(web, "/")).await.unwrap();
    elsewhere.get("/own").await.unwrap();

    gateway.rewrite(&with(""));
    eventually(DEADLINE, async || {
        tokio::net::TcpStream::connect(extra).await.is_err()
    })
    .await;
    for (answer, _connection) in under_way {
        assert_eq!(
            answer.into_body().collect().await.unwrap().to_bytes().len(),
            60
        );
    }
    assert!(!elsewhere.is_closed());
    assert_eq!(elsewhere.get("/own").await.unwrap().status, 200);
    let drained = [("listener", "extra"), ("reason", "drained")];
    eventually(DEADLINE, async || {
        let metrics = gateway.metrics().await;
        metrics.sum("weir_listener_connections_closed_total", &drained) >= 1.0
    })
    .await;
}

#[tokio::test]
async fn a_listener_moves_to_another_port() {
    let upstream = upstream();
    let (before, after) = (free_addr(), free_addr());
    let at = |address| {
        format!(
            "
            listeners: {{ web: {{ bind: \"{address}\" }} }}
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: \"/*\", to: app }}]
            ",
            upstream.addr()
        )
    };
    let gateway = Lone::start(&at(before)).await;
    gateway.rewrite(&at(after));
    let url = format!("http://{after}/x");
    eventually(DEADLINE, async || Client::http1().get(&url).await.is_ok()).await;
    eventually(DEADLINE, async || {
        tokio::net::TcpStream::connect(before).await.is_err()
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_refuses_the_whole_change() {
    let upstream = upstream();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = Place::new();
    let with = |place: &Place, listeners: &str, status: u16| {
        format!(
            "
            listeners: {{ web: {{ bind: \"{}\" }}{listeners} }}
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: /own, respond: {{ status: {status} }} }}]
            ",
            place.web,
            upstream.addr()
        )
    };
    let first = with(&place, "", 200);
    let gateway = place.start(&first).await;
    let address = taken.local_addr().unwrap();
    gateway.rewrite(&with(
        gateway.place(),
        &format!(", more: {{ bind: \"{address}\" }}"),
        201,
    ));
    eventually(DEADLINE, async || {
        gateway
            .metrics()
            .await
            .sum("weir_config_refused_total", &[])
            >= 1.0
    })
    .await;
    assert!(
        gateway
            .process
            .stderr()
            .contains(&address.port().to_string())
    );
    assert_eq!(gateway.get("/own").await.status, 200);
}

#[tokio::test]
async fn a_gateway_does_not_start_with_a_broken_file_and_says_every_error() {
    let mut gateway = Place::new().launch(
        "
        services: { app: { endpoints: [\"nowhere\"], balanse: random } }
        routes: [{ path: x, to: missing }]
        ",
    );
    let status = gateway.proxy.process.wait_exit(DEADLINE).await;
    assert_ne!(status.code(), Some(0));
    let said = gateway.process.stderr();
    for (what, hint) in [
        ("nowhere", "port"),
        ("balanse", "balance"),
        ("missing", "app"),
    ] {
        assert!(said.contains(what) && said.contains(hint), "{what}: {said}");
    }
    assert!(said.contains("weir.yaml:2:"), "{said}");
}

/// How often any thread of the gateway slept and was woken.
fn wake_ups(gateway: &Lone) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{}/task", gateway.process.id())).unwrap();
    let statuses = tasks.map(|task| fs::read_to_string(task.unwrap().path().join("status")));
    // A thread may have ended since.
    let switches = statuses.filter_map(|status| {
        let status = status.ok()?;
        let mut lines = status.lines();
        let field = lines.find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        field.trim().parse::<u64>().ok()
    });
    switches.sum()
}

#[tokio::test]
async fn a_busy_neighbour_of_the_document_wakes_nobody() {
    let document = |body: &str| {
        format!("routes: [{{ path: /own, respond: {{ status: 200, body: {body} }} }}]")
    };
    let gateway = Lone::start(&document("before")).await;
    assert_eq!(gateway.get("/own").await.text(), "before");
    let neighbour = gateway.place().directory().join("access.log");
    let mut log = fs::File::create(&neighbour).unwrap();
    // What is due at the start, and that a file appeared, is over when a while passes without.
    let mut before = u64::MAX;
    eventually(DEADLINE, || {
        let now = wake_ups(&gateway);
        let is_quiet = std::mem::replace(&mut before, now) == now;
        async move { is_quiet }
    })
    .await;

    for _ in 0..WRITES {
        writeln!(log, "GET / 200").unwrap();
        // Other files of the directory are read all the time as well.
        fs::read(gateway.place().config()).unwrap();
        fs::read(&neighbour).unwrap();
    }
    let appended = wake_ups(&gateway).saturating_sub(before);
    assert!(appended < WRITES / 20, "{appended} wake-ups");

    // Closing is heard of, but many times at once.
    let began = Instant::now();
    for _ in 0..WRITES {
        drop(fs::File::create(&neighbour).unwrap());
        tokio::task::yield_now().await;
    }
    let closed = wake_ups(&gateway).saturating_sub(before + appended);
    let pauses = u64::try_from(began.elapsed().as_millis() / 50).unwrap();
    assert!(
        closed < WRITES / 20 + 4 * pauses,
        "{closed} wake-ups in {pauses} pauses"
    );

    gateway.rewrite(&document("after"));
    eventually(DEADLINE, async || {
        gateway.get("/own").await.text() == "after"
    })
    .await;
    writeln!(log, "still open").unwrap();
}

const WRITES: u64 = 1_000;
