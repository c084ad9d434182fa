//! Services whose answers are not HTTP, or not quite: what the gateway says instead, and that
//! nothing of them is taken for the answer to another request.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, raw};

/// A service that keeps its connections open whatever it has said, and answers `/good` well.
struct Service {
    address: SocketAddr,
    /// Requests on connections on which it had said something else.
    strays: Arc<AtomicUsize>,
    /// What it says to all other requests.
    says: Arc<Mutex<Vec<u8>>>,
}

const GOOD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";

impl Service {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = Self {
            address: listener.local_addr().unwrap(),
            strays: Arc::default(),
            says: Arc::default(),
        };
        let (strays, says) = (Arc::clone(&service.strays), Arc::clone(&service.says));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&strays), Arc::clone(&says)));
            }
        });
        service
    }

    fn say(&self, bytes: impl AsRef<[u8]>) {
        *self.says.lock().unwrap() = bytes.as_ref().to_vec();
    }
}

async fn serve(
    mut stream: TcpStream,
    strays: Arc<AtomicUsize>,
    says: Arc<Mutex<Vec<u8>>>,
) -> std::io::Result<()> {
    let (mut head, mut spoiled) = (Vec::new(), false);
    loop {
        head.push(stream.read_u8().await?);
        if !head.ends_with(b"\r\n\r\n") {
            continue;
        }
        if spoiled {
            strays.fetch_add(1, Ordering::Relaxed);
        }
        spoiled = !head.starts_with(b"GET /good ");
        let answer = match spoiled {
            true => says.lock().unwrap().clone(),
            false => GOOD.to_vec(),
        };
        stream.write_all(&answer).await?;
        head.clear();
    }
}

async fn gateway_to(service: &Service) -> Lone {
    Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\"], retry: false, outlier: false, timeouts: {{ response: 3s }} }}
        routes: [{{ path: \"/*\", to: app }}]
        ",
        service.address
    ))
    .await
}

/// Nothing of the answer reaches another request, and nobody uses its connection again.
async fn is_left_alone(gateway: &Lone, service: &Service, what: &str) {
    // Each worker has its own connections; a few requests meet them all.
    for _ in 0..4 {
        assert_eq!(gateway.get("/good").await.text(), "good", "after {what}");
    }
    assert_eq!(
        service.strays.load(Ordering::Relaxed),
        0,
        "{what}: used again"
    );
}

#[tokio::test]
async fn heads_that_have_two_readings_or_none_are_refused() {
    let service = Service::start().await;
    let gateway = gateway_to(&service).await;
    let many: String = (0..300)
        .map(|number| format!("x-{number}: y\r\n"))
        .collect();
    let long = format!("x: {}\r\nContent-Length: 4\r\n", "y".repeat(70_000));
    let fields = |fields: &str| format!("HTTP/1.1 200 OK\r\n{fields}\r\nevil");
    let table = [
        (
            "length and coding",
            fields("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"),
        ),
        (
            "coding and length",
            fields("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n"),
        ),
        (
            "two lengths",
            fields("Content-Length: 4\r\nContent-Length: 5\r\n"),
        ),
        (
            "a length twice",
            fields("Content-Length: 4\r\nContent-Length: 4\r\n"),
        ),
        ("a list of lengths", fields("Content-Length: 4, 4\r\n")),
        ("a length with a sign", fields("Content-Length: +4\r\n")),
        ("a negative length", fields("Content-Length: -4\r\n")),
        ("a length in hexadecimal", fields("Content-Length: 0x4\r\n")),
        ("an empty length", fields("Content-Length: \r\n")),
        (
            "a length past 64 bits",
            fields("Content-Length: 18446744073709551620\r\n"),
        ),
        ("another coding", fields("Transfer-Encoding: gzip\r\n")),
        (
            "a coding before chunked",
            fields("Transfer-Encoding: gzip, chunked\r\n"),
        ),
        (
            "chunked twice",
            fields("Transfer-Encoding: chunked, chunked\r\n"),
        ),
        (
            "two codings",
            fields("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"),
        ),
        ("nearly chunked", fields("Transfer-Encoding: xchunked\r\n")),
        (
            "a NUL in a value",
            fields("Content-Length: 4\r\nx: a\0b\r\n"),
        ),
        (
            "a NUL in a name",
            fields("Content-Length: 4\r\nx\0y: a\r\n"),
        ),
        ("a lone CR", fields("Content-Length: 4\r\nx: a\rb: c\r\n")),
        ("a bare LF", fields("Content-Length: 4\r\nx: a\nb: c\r\n")),
        (
            "bare LFs alone",
            "HTTP/1.1 200 OK\nContent-Length: 4\n\nevil".to_owned(),
        ),
        (
            "a folded line",
            fields("Content-Length: 4\r\nx: a\r\n b\r\n"),
        ),
        ("a space before the colon", fields("Content-Length : 4\r\n")),
        (
            "a line without a colon",
            fields("Content-Length: 4\r\nwhat\r\n"),
        ),
        (
            "a short status",
            "HTTP/1.1 20 OK\r\nContent-Length: 4\r\n\r\nevil".to_owned(),
        ),
        (
            "another version",
            "HTTP/3.0 200 OK\r\nContent-Length: 4\r\n\r\nevil".to_owned(),
        ),
        (
            "an unasked switch",
            "HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\nevil".to_owned(),
        ),
        (
            "a coding in HTTP/1.0",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"
                .to_owned(),
        ),
        ("too many fields", fields(&many)),
        ("too long a field", fields(&long)),
    ];
    for (what, answer) in table {
        service.say(answer);
        let answer = gateway.get("/bad").await;
        let code = match what {
            "too many fields" => "response-headers-too-many",
            "too long a field" => "response-header-too-large",
            _ => "upstream-protocol",
        };
        assert_eq!(answer.header("weir-reason"), Some(code), "{what}: {answer}");
        gateway.assert_refused(&answer, 502, code).await;
        assert!(!answer.text().contains("evil"), "{what}: {answer}");
        is_left_alone(&gateway, &service, what).await;
    }
}

#[tokio::test]
async fn bodies_that_break_are_cut_off_and_their_connections_left_alone() {
    let service = Service::start().await;
    let gateway = gateway_to(&service).await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhere\r\n";
    for (what, rest) in [
        ("no size", "\r\nevil\r\n0\r\n\r\n"),
        ("a size that is none", "zz\r\nevil\r\n0\r\n\r\n"),
        ("a size with a prefix", "0x4\r\nevil\r\n0\r\n\r\n"),
        ("a size with a sign", "-4\r\nevil\r\n0\r\n\r\n"),
        (
            "a size past 64 bits",
            "10000000000000004\r\nevil\r\n0\r\n\r\n",
        ),
        ("more than the size", "2\r\nevil\r\n0\r\n\r\n"),
        ("a bare LF behind the size", "4\nevil\r\n0\r\n\r\n"),
        ("a bare LF behind the chunk", "4\r\nevil\n0\r\n\r\n"),
        ("a NUL among the trailers", "0\r\nx\0: y\r\n\r\n"),
    ] {
        service.say(format!("{chunked}{rest}"));
        let request = "GET /bad HTTP/1.1\r\nHost: a\r\n\r\n";
        let answer = raw(gateway.web(), request, DEADLINE).await;
        let text = answer.text();
        assert_eq!(answer.status(), Some(200), "{what}: {text}");
        assert!(!text.ends_with("0\r\n\r\n"), "{what} looks whole: {text}");
        is_left_alone(&gateway, &service, what).await;
    }
    gateway.logged("/bad").await;
    for line in gateway
        .access_log()
        .iter()
        .filter(|line| line["path"] == "/bad")
    {
        assert_eq!(line["termination"], "upstream-invalid", "{line}");
    }
}

#[tokio::test]
async fn what_stands_in_chunks_and_behind_them_is_bounded() {
    let service = Service::start().await;
    let gateway = gateway_to(&service).await;
    let extension = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes));
    let long = |bytes: usize| format!("0\r\nx: {}\r\n\r\n", "y".repeat(bytes - 5));
    let many = |count: usize| format!("0\r\n{}\r\n", "x: y\r\n".repeat(count));
    for (number, (what, rest, fits)) in [
        ("extension", extension(256), true),
        ("extension", extension(257), false),
        ("trailers", long(64 * 1024), true),
        ("trailers", long(64 * 1024 + 1), false),
        ("trailer fields", many(100), true),
        ("trailer fields", many(101), false),
    ]
    .into_iter()
    .enumerate()
    {
        let close = if fits { "Connection: close\r\n" } else { "" };
        service.say(format!(
            "HTTP/1.1 200 OK\r\n{close}Transfer-Encoding: chunked\r\n\r\n4\r\nhere\r\n{rest}"
        ));
        let path = format!("/bad{number}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let text = raw(gateway.web(), request, DEADLINE).await.text();
        assert_eq!(text.ends_with("0\r\n\r\n"), fits, "{what}: {text}");
        let line = gateway.logged(&path).await;
        let termination = if fits { "ok" } else { "upstream-too-large" };
        assert_eq!(line["termination"], termination, "{what}: {line}");
        if !fits {
            is_left_alone(&gateway, &service, what).await;
        }
    }
}

#[tokio::test]
async fn what_follows_an_answer_is_not_the_next_one() {
    let service = Service::start().await;
    let gateway = gateway_to(&service).await;
    let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere";
    for (what, answer) in [
        ("a length", whole.to_owned()),
        (
            "chunks",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhere\r\n0\r\n\r\n"
                .to_owned(),
        ),
        ("no content", "HTTP/1.1 204 No Content\r\n\r\n".to_owned()),
        (
            "not modified",
            "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n".to_owned(),
        ),
    ] {
        service.say(format!("{answer}{evil}"));
        for _ in 0..20 {
            // On a connection of its own, so that it may meet either worker.
            let answer = gateway.get("/bad").await;
            assert!(
                answer.status.is_success() || answer.status == 304,
                "{what}: {answer}"
            );
            assert!(!answer.text().contains("evil"), "{what}: {answer}");
            is_left_alone(&gateway, &service, what).await;
        }
    }
    // HEAD has no body, whatever the head says of one.
    service.say(format!("{whole}{evil}"));
    let url = gateway.url("/bad");
    for _ in 0..20 {
        let head = weir_testkit::client::request(http::Method::HEAD, &url, &[], "".into());
        let answer = Client::http1().send(head.unwrap()).await.unwrap();
        assert_eq!((answer.status.as_u16(), answer.body.len()), (200, 0));
        is_left_alone(&gateway, &service, "HEAD").await;
    }
}

#[tokio::test]
async fn a_head_at_its_bounds_is_taken_and_one_past_them_is_not() {
    let service = Service::start().await;
    let gateway = gateway_to(&service).await;
    let head = |fields: &str| format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n{fields}\r\nhere");
    let many = |count: usize| {
        let fields: String = (0..count)
            .map(|number| format!("x-{number}: y\r\n"))
            .collect();
        head(&fields)
    };
    // 64 KiB, of which a field is its name, its value and four bytes.
    let long = |bytes: usize| head(&format!("x: {}\r\n", "y".repeat(bytes - 19 - 5)));
    for (what, answer, refused) in [
        ("100 fields", many(99), None),
        ("101 fields", many(100), Some("response-headers-too-many")),
        ("64 KiB", long(64 * 1024), None),
        (
            "one byte more",
            long(64 * 1024 + 1),
            Some("response-header-too-large"),
        ),
    ] {
        service.say(answer);
        let request = "GET /bad HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answer = raw(gateway.web(), request, DEADLINE).await.text();
        let expected = match refused {
            None => "\r\n\r\nhere".to_owned(),
            Some(code) => format!("weir-reason: {code}\r\n"),
        };
        assert!(answer.contains(&expected), "{what}: {answer}");
    }
}
