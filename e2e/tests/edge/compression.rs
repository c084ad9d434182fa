//! Compression of responses, read back by curl.

use std::time::Duration;

use bytes::Bytes;
use http::Method;
use http_body_util::BodyExt;
use weir_e2e::DEADLINE;
use weir_e2e::command::program;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, request};
use weir_testkit::upstream::{Recorded, Reply, Script, Upstream};

const TEXT: &str = "one line of many that are much alike\n";

async fn gateway(upstream: &Upstream, listener: &str, route: &str) -> Lone {
    let place = weir_e2e::lone::Place::new();
    let yaml = format!(
        "
        listeners: {{ web: {{ bind: \"{}\"{listener} }} }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ path: \"/*\", to: app{route} }}
          - {{ path: /plain, to: app, compress: false }}
        ",
        place.web,
        upstream.addr()
    );
    place.start(&yaml).await
}

fn page() -> Reply {
    Reply::ok(TEXT.repeat(2_000))
        .header("content-type", "text/html; charset=utf-8")
        .header("etag", "\"one\"")
}

#[tokio::test]
async fn every_coding_is_read_back_by_curl() {
    let upstream = Upstream::start(page());
    let gateway = gateway(&upstream, "", ", compress: true").await;
    for encoding in ["gzip", "br", "zstd"] {
        for version in ["--http1.1", "--http2-prior-knowledge"] {
            let accept = format!("accept-encoding: {encoding}");
            let url = gateway.url("/page");
            let arguments = ["-sS", version, "-D-", "--compressed", "-H", &accept, &url];
            let answer = program("curl", &arguments).await.fine();
            let (head, body) = answer.split_once("\r\n\r\n").unwrap();
            let head = head.to_lowercase();
            assert!(
                head.contains(&format!("content-encoding: {encoding}")),
                "{head}"
            );
            assert!(head.contains("etag: w/\"one\""), "{head}");
            assert!(head.contains("vary: accept-encoding"), "{head}");
            assert!(body == TEXT.repeat(2_000), "{encoding} {version}");
        }
    }
    let metrics = gateway.metrics().await;
    let bytes = |side: &str, encoding: &str| {
        let name = format!("weir_http_compression_{side}_bytes_total");
        metrics.one(&name, &[("encoding", encoding)])
    };
    for encoding in ["gzip", "br", "zstd"] {
        let input = bytes("input", encoding);
        assert_eq!(input, (2 * 2_000 * TEXT.len()) as f64);
        assert!(bytes("output", encoding) * 20.0 < input, "{encoding}");
    }
}

#[tokio::test]
async fn what_should_not_be_compressed_passes_as_it_is() {
    let script = |request: &Recorded| match request.path.as_str() {
        "/tiny" => Reply::ok("x".repeat(1023)).header("content-type", "text/plain"),
        "/limit" => Reply::ok("x".repeat(1024)).header("content-type", "text/plain"),
        "/image" => Reply::ok("x".repeat(4096)).header("content-type", "image/png"),
        "/done" => page().header("content-encoding", "br"),
        "/keep" => page().header("cache-control", "no-transform"),
        _ => page(),
    };
    let upstream = Upstream::start(Script::by(script));
    let gateway = gateway(&upstream, ", compress: { encodings: [gzip] }", "").await;
    let gzip = [("accept-encoding", "gzip")];
    for (path, encoding) in [
        ("/page", Some("gzip")),
        ("/limit", Some("gzip")),
        ("/tiny", None),
        ("/image", None),
        ("/done", Some("br")),
        ("/keep", None),
        ("/plain", None),
    ] {
        let answer = gateway.get_with(path, &gzip).await;
        assert_eq!(answer.header("content-encoding"), encoding, "{path}");
    }
    for accept in ["zstd", "gzip;q=0", "identity"] {
        let answer = gateway
            .get_with("/page", &[("accept-encoding", accept)])
            .await;
        assert_eq!(answer.header("content-encoding"), None, "{accept}");
        assert_eq!(answer.header("vary"), Some("accept-encoding"), "{accept}");
        assert_eq!(answer.header("etag"), Some("\"one\""));
    }
    // The head of a body that is not there is not changed.
    let head = Client::http1()
        .send(request(Method::HEAD, &gateway.url("/page"), &gzip, Bytes::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(head.header("content-encoding"), None);
}

#[tokio::test]
async fn a_slow_stream_is_not_held_back() {
    let reply = Reply::ok(TEXT.repeat(40))
        .header("content-type", "text/plain")
        .trickle(TEXT.len(), Duration::from_millis(100));
    let upstream = Upstream::start(reply);
    let gateway = gateway(&upstream, "", ", compress: true").await;
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let accept = [("accept-encoding", "gzip")];
    let get = request(Method::GET, "/slow", &accept, Bytes::new()).unwrap();
    let answer = connection.start(get).await.unwrap();
    assert_eq!(answer.headers()["content-encoding"], "gzip");
    let mut body = answer.into_body();
    let mut pieces = 0;
    let mut last = std::time::Instant::now();
    let mut longest = Duration::ZERO;
    while let Ok(Some(frame)) = tokio::time::timeout(DEADLINE, body.frame()).await {
        frame.unwrap();
        pieces += 1;
        longest = longest.max(last.elapsed());
        last = std::time::Instant::now();
    }
    assert!(pieces >= 20, "{pieces} pieces");
    assert!(longest < Duration::from_secs(2), "{longest:?}");
}
