//! TLS that is passed on closed, by the name that the client asks for.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::authority::{Authority, Identity};
use weir_testkit::client::{Client, ClientError, Ending, Trust, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

/// Two TLS servers behind one listener, `more` beside its `sni`.
struct Stand {
    gateway: Lone,
    authority: Authority,
    one: Identity,
    below: Identity,
    _upstreams: [Upstream; 3],
}

impl Stand {
    async fn start(more: &str) -> Self {
        let authority = Authority::new("inside");
        let one = authority.issue(&["one.example"]);
        let below = authority.issue(&["*.below.example", "*.deep.below.example"]);
        let tls = |name: &'static str, identity: &Identity| {
            Upstream::builder(Reply::ok(name))
                .tls(identity.server_config())
                .start()
        };
        let (first, second) = (tls("one", &one), tls("below", &below));
        let plain = Upstream::start(Reply::ok("opened"));
        let place = Place::new();
        let yaml = format!(
            "
            listeners:
              secure:
                bind: \"{}\"
                header_timeout: 500ms
                sni:
                  - {{ hosts: one.example, to: one }}
                  - {{ hosts: [\"*.below.example\"], to: below }}
                {more}
            services:
              one: {{ endpoints: [\"{}\"] }}
              below: {{ endpoints: [\"{}\"] }}
              plain: {{ endpoints: [\"{}\"] }}
            routes: [{{ path: \"/*\", to: plain }}]
            ",
            place.secure,
            first.addr(),
            second.addr(),
            plain.addr()
        );
        Self {
            gateway: place.start(&yaml).await,
            authority,
            one,
            below,
            _upstreams: [first, second, plain],
        }
    }

    fn client(&self) -> Client {
        Client::http1().connect_to(self.gateway.place().secure)
    }

    /// The line of the access log about the connection that asked for `name`. Each worker writes
    /// its own lines, so their order says nothing.
    async fn logged(&self, name: &str) -> serde_json::Value {
        eventually(DEADLINE, async || {
            let lines = self.gateway.access_log();
            lines.into_iter().find(|line| line["server_name"] == name)
        })
        .await
    }

    /// Waits until so many connections were closed for this reason.
    async fn closed(&self, reason: &str, times: usize) {
        let labels = [("listener", "secure"), ("reason", reason)];
        eventually(DEADLINE, async || {
            let metrics = self.gateway.metrics().await;
            metrics.sum("weir_listener_connections_closed_total", &labels) == times as f64
        })
        .await;
    }
}

#[tokio::test]
async fn names_are_passed_on_closed() {
    let stand = Stand::start("").await;
    let trusting = stand.client().trust(Trust::only(&stand.authority));
    for (name, identity, text) in [
        ("one.example", &stand.one, "one"),
        ("ONE.example", &stand.one, "one"),
        ("a.below.example", &stand.below, "below"),
        ("b.deep.below.example", &stand.below, "below"),
    ] {
        let url = format!("https://{name}/x");
        let mut connection = trusting.connect(&url).await.unwrap();
        assert_eq!(
            connection.peer_certificates()[0],
            identity.certificate(),
            "{name}"
        );
        assert_eq!(connection.get("/x").await.unwrap().text(), text, "{name}");
    }
    eventually(DEADLINE, async || stand.gateway.access_log().len() == 4).await;
    let line = stand.logged("one.example").await;
    assert_eq!(line["scheme"], "tcp");
    assert_eq!(
        (&line["service"], &line["termination"]),
        (&"one".into(), &"ok".into()),
        "{line}"
    );
}

#[tokio::test]
async fn who_asks_for_another_name_is_told() {
    let stand = Stand::start("").await;
    for name in ["other.example", "below.example", "one.example.org"] {
        let refused = stand.client().get(&format!("https://{name}/x")).await;
        let Err(ClientError::Tls(error)) = refused else {
            panic!("{name}: {refused:?}")
        };
        assert!(
            error.to_string().contains("UnrecognisedName"),
            "{name}: {error}"
        );
    }
    // An address is no name.
    assert!(stand.client().get("https://127.0.0.1/x").await.is_err());
    stand.closed("sni-unknown", 4).await;
    eventually(DEADLINE, async || stand.gateway.access_log().len() == 4).await;
    let line = stand.logged("other.example").await;
    assert_eq!(
        (&line["termination"], &line["reason"]),
        (&"refused".into(), &"sni-unknown".into())
    );
}

#[tokio::test]
async fn other_names_are_opened_where_there_is_a_certificate() {
    let stand = Stand::start("tls: { self_signed: [shop.example] }").await;
    for client in [
        stand.client(),
        Client::http2().connect_to(stand.gateway.place().secure),
    ] {
        let answer = client.get("https://shop.example/x").await.unwrap();
        assert_eq!(answer.text(), "opened");
    }
    let answer = stand.client().get("https://one.example/x").await.unwrap();
    assert_eq!(answer.text(), "one");
    let hosts: Vec<_> = eventually(DEADLINE, async || {
        let lines = stand.gateway.access_log();
        (lines.len() == 3).then(|| lines.iter().map(|line| line["host"].clone()).collect())
    })
    .await;
    assert_eq!(
        hosts.iter().filter(|host| **host == "shop.example").count(),
        2,
        "{hosts:?}"
    );
}

#[tokio::test]
async fn a_rest_that_is_passed_on_as_well() {
    let more = "tls: { self_signed: [shop.example] }\n                tcp: { to: plain }";
    let stand = Stand::start(more).await;
    let answer = stand.client().get("https://shop.example/x").await.unwrap();
    assert_eq!(answer.text(), "opened");
    let scheme = eventually(DEADLINE, async || {
        stand
            .gateway
            .access_log()
            .first()
            .map(|line| line["scheme"].clone())
    });
    assert_eq!(scheme.await, "tls");
}

#[tokio::test]
async fn what_does_not_say_what_it_asks_for_is_closed() {
    let stand = Stand::start("").await;
    let address = stand.gateway.place().secure;
    let http = raw(
        address,
        "GET / HTTP/1.1\r\nHost: one.example\r\n\r\n",
        DEADLINE,
    )
    .await;
    assert_ne!(http.ending, Ending::Open);
    // A record that announces more than a hello may be.
    let long = [&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff][..], &[0; 17_000]].concat();
    assert_ne!(raw(address, long, DEADLINE).await.ending, Ending::Open);
    stand.closed("tls", 2).await;
    for slow in [&[][..], &[22, 3, 1, 2, 0, 1][..]] {
        let start = Instant::now();
        assert_ne!(raw(address, slow, DEADLINE).await.ending, Ending::Open);
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "{:?}",
            start.elapsed()
        );
    }
    stand.closed("tls", 4).await;
    let metrics = stand.gateway.metrics().await;
    let failed = |reason| {
        let labels = [("listener", "secure"), ("reason", reason)];
        metrics.sum("weir_listener_tls_handshakes_failed_total", &labels)
    };
    assert_eq!(failed("hello-timeout"), 2.0);
    assert_eq!(failed("protocol") + failed("hello-too-large"), 2.0);
}

#[tokio::test]
async fn a_hello_that_comes_byte_by_byte_is_read() {
    let stand = Stand::start("").await;
    // Somebody in between who passes the first bytes on one by one.
    let between = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = between.local_addr().unwrap();
    let secure = stand.gateway.place().secure;
    tokio::spawn(async move {
        let (mut client, _) = between.accept().await.unwrap();
        let mut server = TcpStream::connect(secure).await.unwrap();
        server.set_nodelay(true).unwrap();
        let mut hello = vec![0; 4096];
        let read = client.read(&mut hello).await.unwrap();
        for byte in &hello[..read.min(300)] {
            server.write_all(&[*byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        server.write_all(&hello[read.min(300)..read]).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    let client = Client::http1().connect_to(address);
    let answer = client.get("https://one.example/x").await.unwrap();
    assert_eq!(answer.text(), "one");
}

/// A client hello that asks for `name` and is this long, the head of its record included.
fn hello(name: &str, bytes: usize) -> Vec<u8> {
    fn sized(width: usize, inner: &[u8]) -> Vec<u8> {
        let length = inner.len().to_be_bytes();
        [&length[length.len() - width..], inner].concat()
    }
    fn extension(kind: u16, inner: &[u8]) -> Vec<u8> {
        [&kind.to_be_bytes()[..], &sized(2, inner)].concat()
    }
    let names = sized(2, &[&[0][..], &sized(2, name.as_bytes())].concat());
    let signatures = sized(2, &[4, 3]);
    let record = |padding: usize| {
        let extensions = [
            extension(0, &names),
            extension(13, &signatures),
            extension(21, &vec![0; padding]),
        ]
        .concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &sized(1, &[]),
            &sized(2, &[0x13, 0x01]),
            &sized(1, &[0]),
            &sized(2, &extensions),
        ]
        .concat();
        let handshake = [&[1][..], &sized(3, &body)].concat();
        [&[22, 3, 1][..], &sized(2, &handshake)].concat()
    };
    let whole = record(bytes - record(0).len());
    assert_eq!(whole.len(), bytes);
    whole
}

#[tokio::test]
async fn a_hello_may_be_so_long_and_no_byte_longer() {
    // The bound of the language, CLIENT_HELLO_BYTES_MAX.
    const BYTES_MAX: usize = 16 * 1024;
    let stand = Stand::start("").await;
    let address = stand.gateway.place().secure;
    let longest = raw(address, hello("one.example", BYTES_MAX), DEADLINE).await;
    // The endpoint has it, and finds nothing in it that it would speak.
    let alert = longest.bytes.first();
    assert_eq!(alert, Some(&21), "{:?}", longest.bytes);
    assert_eq!(stand.logged("one.example").await["service"], "one");
    stand.closed("tls", 0).await;

    let past = raw(address, hello("a.below.example", BYTES_MAX + 1), DEADLINE).await;
    assert_ne!(past.ending, Ending::Open);
    assert_eq!(past.bytes, b"");
    stand.closed("tls", 1).await;
    let labels = [("listener", "secure"), ("reason", "hello-too-large")];
    let metrics = stand.gateway.metrics().await;
    let failed = metrics.sum("weir_listener_tls_handshakes_failed_total", &labels);
    assert_eq!(failed, 1.0);
    assert_eq!(stand.gateway.access_log().len(), 1);
}
