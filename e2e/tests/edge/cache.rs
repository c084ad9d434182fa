//! The response cache: what is stored, how long, for whom, and how it is taken out again.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Method;
use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{self, Client, Response};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Script, Upstream};

/// A gateway with one stored route for everything.
async fn gateway_with(route: &str, upstream: &Upstream) -> Lone {
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], outlier: false, retry: false }} }}
        routes:
          - {{ path: \"/*\", methods: [GET], to: app, {route} }}
          - {{ path: \"/*\", to: app }}
        ",
        upstream.addr()
    ))
    .await
}

/// An upstream that numbers its answers and says this about storing them.
fn numbered(cache_control: &'static str) -> Upstream {
    Upstream::start(Script::by(move |request| {
        Reply::ok(format!("{}", request.index)).header("cache-control", cache_control)
    }))
}

fn status_of(answer: &Response) -> &str {
    answer.header("cache-status").unwrap_or_default()
}

/// So many requests for `/x` at once.
async fn at_once(gateway: &Lone, count: usize) -> Vec<Response> {
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..count {
        let url = gateway.url("/x");
        asked.spawn(async move { Client::http1().get(&url).await.unwrap() });
    }
    asked.join_all().await
}

async fn purge(gateway: &Lone, body: Value) -> Value {
    let url = gateway.admin_url("/cache/purge");
    let answer = Client::http1().post(&url, &[], body.to_string()).await;
    answer.unwrap().json()
}

#[tokio::test]
async fn a_fresh_answer_is_served_again_to_every_protocol() {
    let body = Bytes::from(vec![b'x'; 1_000_000]);
    let reply = Reply::ok(body.clone()).header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.header("x-a", "1").header("x-a", "2"));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let first = gateway.get("/x").await;
    assert_eq!(
        status_of(&first),
        "weir; fwd=uri-miss; fwd-status=200; stored"
    );
    assert_eq!(first.body, body);
    let again = eventually(DEADLINE, async || {
        let again = gateway.get("/x").await;
        status_of(&again)
            .starts_with("weir; hit; ttl=")
            .then_some(again)
    })
    .await;
    assert_eq!((again.status.as_u16(), &again.body), (200, &body));
    assert!(again.header("age").is_some(), "{again}");
    assert_eq!(again.headers.get_all("x-a").iter().count(), 2);
    let over_http2 = Client::http2().get(&gateway.url("/x")).await.unwrap();
    assert_eq!(over_http2.body, body);
    let head = client::request(Method::HEAD, &gateway.url("/x"), &[], Bytes::new()).unwrap();
    let head = Client::http1().send(head).await.unwrap();
    assert_eq!(head.header("content-length"), Some("1000000"));
    let requests = upstream.request_count();
    assert!(requests <= 2, "{requests}");
    let metrics = gateway.metrics().await;
    assert!(metrics.one("weir_cache_requests_total", &[("outcome", "hit")]) >= 3.0);
    assert!(metrics.one("weir_cache_bytes", &[]) > 1_000_000.0);
    assert_eq!(metrics.one("weir_cache_urls", &[]), 1.0);
}

#[tokio::test]
async fn headers_that_an_answer_varies_by_select_it() {
    let upstream = Upstream::start(Script::by(|request| {
        let language = request
            .header("accept-language")
            .unwrap_or("none")
            .to_owned();
        let reply = Reply::ok(language).header("cache-control", "max-age=60");
        reply.header("vary", "Accept-Language")
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    for _ in 0..3 {
        for language in ["de", "en"] {
            let answer = gateway
                .get_with("/x", &[("accept-language", language)])
                .await;
            assert_eq!(answer.text(), language);
        }
        assert_eq!(gateway.get("/x").await.text(), "none");
    }
    assert_eq!(upstream.request_count(), 3);
}

#[tokio::test]
async fn a_url_has_so_many_answers_and_the_oldest_makes_room() {
    let upstream = Upstream::start(Script::by(|request| {
        let visitor = request.header("x-visitor").unwrap_or("none").to_owned();
        let reply = Reply::ok(visitor).header("cache-control", "max-age=600");
        reply.header("vary", "X-Visitor")
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let visit = async |visitor: usize| {
        let visitor = visitor.to_string();
        let answer = gateway.get_with("/x", &[("x-visitor", &visitor)]).await;
        assert_eq!(answer.text(), visitor);
        status_of(&answer).starts_with("weir; hit")
    };
    let stored = async |visitor: usize| {
        assert!(!visit(visitor).await, "{visitor} is there already");
        eventually(DEADLINE, async || visit(visitor).await).await;
    };
    // As many as there may be: all of them are kept.
    for visitor in 0..CACHE_VARIANTS_MAX {
        stored(visitor).await;
    }
    for visitor in 0..CACHE_VARIANTS_MAX {
        assert!(visit(visitor).await, "{visitor} is gone");
    }
    // One more takes the place of the first, and of no other.
    stored(CACHE_VARIANTS_MAX).await;
    for visitor in 1..=CACHE_VARIANTS_MAX {
        assert!(visit(visitor).await, "{visitor} is gone");
    }
    assert!(!visit(0).await);
}

/// As the language's bounds have it: this crate sees Weir from outside only.
const CACHE_VARIANTS_MAX: usize = 64;

#[tokio::test]
async fn what_is_stale_is_validated_and_renewed() {
    let upstream = Upstream::start(Script::by(|request| {
        let reply = match request.header("if-none-match") {
            Some("\"a\"") => Reply::status(304),
            _ => Reply::ok("body"),
        };
        let number = request.index.to_string();
        let reply = reply
            .header("cache-control", "no-cache")
            .header("etag", "\"a\"");
        reply.header("x-number", &number)
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    assert_eq!(gateway.get("/x").await.header("x-number"), Some("0"));
    let answer = gateway.get("/x").await;
    assert_eq!(
        (answer.text().as_str(), answer.header("x-number")),
        ("body", Some("1"))
    );
    assert_eq!(
        status_of(&answer),
        "weir; fwd=stale; fwd-status=304; stored"
    );
    // The client's own condition is answered from what was validated.
    let answer = gateway.get_with("/x", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("etag")),
        (304, Some("\"a\""))
    );
    assert_eq!(
        upstream.last_request().header("if-none-match"),
        Some("\"a\"")
    );
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.one("weir_cache_requests_total", &[("outcome", "revalidated")]),
        2.0
    );
}

#[tokio::test]
async fn conditions_and_ranges_are_answered_from_the_store() {
    let reply = Reply::ok("0123456789").header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.header("etag", "\"a\""));
    let gateway = gateway_with("cache: {}", &upstream).await;
    // Even the first: it is stored whole, and this client has it.
    let answer = gateway.get_with("/x", &[("if-none-match", "\"a\"")]).await;
    assert_eq!(answer.status, 304);
    assert_eq!(upstream.last_request().header("if-none-match"), None);
    for (name, value, status, body) in [
        ("if-none-match", "W/\"a\"", 304, ""),
        ("if-none-match", "\"b\"", 200, "0123456789"),
        ("range", "bytes=2-4", 206, "234"),
        ("range", "bytes=10-", 416, ""),
        ("range", "bytes=0-1,5-6", 200, "0123456789"),
    ] {
        let answer = gateway.get_with("/x", &[(name, value)]).await;
        let text = answer.text();
        assert_eq!(
            (answer.status.as_u16(), text.as_str()),
            (status, body),
            "{name}: {value}"
        );
    }
    assert_eq!(upstream.request_count(), 1);
    // Past the cache: a part of what is not stored.
    let answer = gateway.get_with("/y", &[("range", "bytes=2-4")]).await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "0123456789")
    );
    assert_eq!(upstream.last_request().header("range"), Some("bytes=2-4"));
}

#[tokio::test]
async fn a_stale_answer_is_served_while_it_is_fetched_again() {
    let upstream = numbered("max-age=0, stale-while-revalidate=60");
    let gateway = gateway_with("cache: {}", &upstream).await;
    assert_eq!(gateway.get("/x").await.text(), "0");
    let answer = gateway.get("/x").await;
    assert_eq!(answer.text(), "0");
    assert!(
        status_of(&answer).starts_with("weir; hit; ttl=-"),
        "{answer}"
    );
    upstream.wait_for_requests(2, DEADLINE).await;
    eventually(DEADLINE, async || gateway.get("/x").await.text() != "0").await;
}

#[tokio::test]
async fn a_stale_answer_stands_in_for_a_failure_where_it_may() {
    for (route, said, stands_in) in [
        ("cache: {}", "max-age=0, stale-if-error=60", true),
        ("cache: { stale_if_error: 1m }", "max-age=0", true),
        (
            "cache: { stale_if_error: 1m }",
            "max-age=0, must-revalidate",
            false,
        ),
        ("cache: {}", "max-age=0", false),
    ] {
        let reply = Reply::ok("good")
            .header("cache-control", said)
            .header("etag", "\"a\"");
        let upstream = Upstream::start(reply);
        let gateway = gateway_with(route, &upstream).await;
        assert_eq!(gateway.get("/x").await.text(), "good");
        for failure in [Answer::Reset, Reply::status(503).into(), Answer::Close] {
            upstream.set_script(failure);
            let answer = gateway.get("/x").await;
            let served = answer.status == 200 && answer.text() == "good";
            assert_eq!(served, stands_in, "{route}, {said}: {answer}");
        }
    }
}

#[tokio::test]
async fn many_requests_for_the_same_are_one_fetch() {
    let reply = Reply::ok("one").header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.delay(Duration::from_millis(500)));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let answers = at_once(&gateway, 20).await;
    assert!(answers.iter().all(|answer| answer.text() == "one"));
    assert_eq!(upstream.request_count(), 1);
    let collapsed = answers
        .iter()
        .filter(|answer| status_of(answer).ends_with("; collapsed"));
    assert!(collapsed.count() > 10);
}

#[tokio::test]
async fn nobody_queues_behind_an_answer_that_is_not_stored() {
    let delay = Duration::from_millis(500);
    let upstream = Upstream::start(Script::by(move |request| {
        let reply = Reply::ok(request.index.to_string()).delay(delay);
        reply.header("cache-control", "private")
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let began = Instant::now();
    let answers = at_once(&gateway, 20).await;
    // One fetch to learn it, then all at once: not one after the other.
    assert!(began.elapsed() < 10 * delay, "{:?}", began.elapsed());
    let mut texts: Vec<_> = answers.iter().map(Response::text).collect();
    texts.sort();
    texts.dedup();
    assert_eq!((texts.len(), upstream.request_count()), (20, 20));
    assert!(
        status_of(&answers[0]).ends_with("detail=directives"),
        "{}",
        answers[0]
    );
    // From now on nobody waits even for that.
    let began = Instant::now();
    at_once(&gateway, 5).await;
    assert!(began.elapsed() < 2 * delay, "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_client_that_goes_away_does_not_end_the_fetch() {
    let reply = Reply::ok(vec![b'x'; 4000]).header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.trickle(1000, Duration::from_millis(200)));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let mut connection = Client::http1().connect(&gateway.url("/")).await.unwrap();
    let request = client::request(Method::GET, "/x", &[], Bytes::new()).unwrap();
    let started = connection.start(request).await.unwrap();
    assert_eq!(started.status(), 200);
    drop((started, connection));
    let answer = eventually(DEADLINE, async || {
        let answer = gateway.get("/x").await;
        status_of(&answer).contains("hit").then_some(answer)
    })
    .await;
    assert_eq!((answer.body.len(), upstream.request_count()), (4000, 1));
}

#[tokio::test]
async fn what_breaks_off_is_not_stored() {
    let reply = Reply::ok("0123456789").header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.clone().close_after(4));
    let gateway = gateway_with("cache: {}", &upstream).await;
    assert!(Client::http1().get(&gateway.url("/x")).await.is_err());
    assert_eq!(
        gateway.logged("/x").await["termination"],
        "upstream-reset-after-bytes"
    );
    upstream.set_script(reply);
    let answer = gateway.get("/x").await;
    assert_eq!(
        status_of(&answer),
        "weir; fwd=uri-miss; fwd-status=200; stored"
    );
    assert_eq!(answer.text(), "0123456789");
}

#[tokio::test]
async fn the_largest_object_is_stored_and_one_past_it_is_not() {
    let upstream = Upstream::start(Script::by(|request| {
        let length: usize = request.path.rsplit('/').next().unwrap().parse().unwrap();
        let reply = Reply::ok(vec![b'x'; length]).header("cache-control", "max-age=60");
        match request.path.starts_with("/chunked") {
            true => reply.chunked(),
            false => reply,
        }
    }));
    let gateway = Lone::start(&format!(
        "
        cache: {{ bytes_max: 1MiB, object_bytes_max: 2KiB }}
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes: [{{ path: \"/*\", to: app, cache: {{}} }}]
        ",
        upstream.addr()
    ))
    .await;
    for (path, length, stored) in [
        ("/plain/2048", 2048, true),
        ("/plain/2049", 2049, false),
        ("/chunked/2048", 2048, true),
        ("/chunked/2049", 2049, false),
    ] {
        for _ in 0..2 {
            assert_eq!(gateway.get(path).await.body.len(), length, "{path}");
        }
        let again = gateway.get(path).await;
        assert_eq!(status_of(&again).contains("hit"), stored, "{path}: {again}");
    }
    // The bound on all of them together.
    for number in 0..600 {
        gateway.get(&format!("/{number}/2048")).await;
    }
    let metrics = gateway.metrics().await;
    let bytes = metrics.one("weir_cache_bytes", &[]);
    assert!((500_000.0..=1_048_576.0).contains(&bytes), "{bytes}");
    assert!(metrics.one("weir_cache_evicted_total", &[]) > 100.0);
}

#[tokio::test]
async fn answers_for_one_are_not_given_to_others() {
    let upstream = numbered("max-age=60");
    let gateway = gateway_with("cache: {}", &upstream).await;
    for number in ["0", "1"] {
        let answer = gateway
            .get_with("/x", &[("authorization", "Basic x")])
            .await;
        assert_eq!(answer.text(), number);
        assert!(
            status_of(&answer).ends_with("detail=authorized"),
            "{answer}"
        );
    }
    upstream.set_script(Script::by(|request| {
        let reply = Reply::ok(request.index.to_string()).header("set-cookie", "session=1");
        reply.header("cache-control", "max-age=60")
    }));
    for number in ["2", "3"] {
        assert_eq!(gateway.get("/y").await.text(), number);
    }
}

#[tokio::test]
async fn limits_are_asked_for_stored_answers_too() {
    let upstream = numbered("max-age=60");
    let gateway = gateway_with("cache: {}, limit: { rate: 1/h, burst: 2 }", &upstream).await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/x").await.text(), "0");
    }
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 429, "rate-limited").await;
}

#[tokio::test]
async fn stored_answers_are_served_while_a_breaker_is_open() {
    let upstream = numbered("max-age=60");
    let gateway = Lone::start(&format!(
        "
        services:
          app: {{ endpoints: [\"{}\"], outlier: false, retry: false,
                 breaker: {{ consecutive: 1, open: 1m }} }}
        routes: [{{ path: \"/*\", to: app, cache: {{}} }}]
        ",
        upstream.addr()
    ))
    .await;
    assert_eq!(gateway.get("/x").await.text(), "0");
    upstream.set_script(Answer::Reset);
    gateway.get("/y").await;
    let answer = gateway.get("/y").await;
    gateway.assert_refused(&answer, 503, "breaker-open").await;
    assert_eq!(gateway.get("/x").await.text(), "0");
}

#[tokio::test]
async fn who_wants_a_stored_answer_or_none_gets_none() {
    let upstream = numbered("max-age=60");
    let gateway = gateway_with("cache: {}", &upstream).await;
    let only = [("cache-control", "only-if-cached")];
    let answer = gateway.get_with("/x", &only).await;
    gateway.assert_refused(&answer, 504, "not-cached").await;
    gateway.get("/x").await;
    assert_eq!(gateway.get_with("/x", &only).await.text(), "0");
}

#[tokio::test]
async fn an_unsafe_request_makes_stored_answers_invalid() {
    let upstream = numbered("max-age=60");
    let gateway = gateway_with("cache: {}", &upstream).await;
    for path in ["/x", "/x?q=1", "/y"] {
        gateway.get(path).await;
    }
    upstream.set_script(Reply::status(500));
    gateway.post("/x?q=1", &[], "").await;
    assert!(status_of(&gateway.get("/x").await).contains("hit"));
    upstream.set_script(Reply::status(201).header("location", "/y"));
    gateway.post("/x?q=1", &[], "").await;
    for path in ["/x", "/x?q=1", "/y"] {
        let answer = gateway.get(path).await;
        assert!(
            status_of(&answer).contains("fwd=uri-miss"),
            "{path}: {answer}"
        );
    }
}

#[tokio::test]
async fn purges_by_url_prefix_and_tag() {
    let upstream = Upstream::start(Script::by(|request| {
        let reply = Reply::ok(request.index.to_string()).header("cache-control", "max-age=60");
        reply.header("cache-tag", &format!("all, {}", &request.path[1..2]))
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let paths = ["/a/1", "/a/2", "/b/1"];
    let fill = async || {
        for path in paths {
            gateway.get(path).await;
        }
    };
    for (named, gone) in [
        (json!({ "url": gateway.url("/a/1") }), vec!["/a/1"]),
        (
            json!({ "prefix": gateway.url("/a/") }),
            vec!["/a/1", "/a/2"],
        ),
        (json!({ "tag": "b" }), vec!["/b/1"]),
        (json!({ "tag": "all" }), paths.to_vec()),
        (json!({ "all": true }), paths.to_vec()),
    ] {
        fill().await;
        let said = purge(&gateway, named.clone()).await;
        assert_eq!(said["purged"], gone.len(), "{named}");
        for path in paths {
            let stored = status_of(&gateway.get(path).await).contains("hit");
            assert_eq!(stored, !gone.contains(&path), "{named}: {path}");
        }
    }
    let said = purge(&gateway, json!({ "url": "/a/1" })).await;
    assert_eq!(said["status"], 400, "{said}");
    let shown: Value = gateway.admin("/cache").await.json();
    assert_eq!(shown["urls"], 3, "{shown}");
    assert!(shown["requests"]["hit"].as_u64().unwrap() > 0, "{shown}");
}

#[tokio::test]
async fn what_is_fetched_during_a_purge_is_not_stored() {
    let delay = Duration::from_millis(500);
    let reply = Reply::ok("old").header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.delay(delay));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let meanwhile = async {
        upstream.wait_for_requests(1, DEADLINE).await;
        purge(&gateway, json!({ "url": gateway.url("/x") })).await;
    };
    let (old, ()) = tokio::join!(gateway.get("/x"), meanwhile);
    assert_eq!(old.text(), "old");
    upstream.set_script(Reply::ok("new"));
    assert_eq!(gateway.get("/x").await.text(), "new");
}

#[tokio::test]
async fn keys_leave_out_what_makes_no_difference_and_routes_keep_apart() {
    let upstream = numbered("max-age=60");
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        routes:
          - {{ name: two, path: /x, headers: {{ x-version: 2 }}, to: app, cache: {{}} }}
          - {{ name: one, path: /x, to: app,
              cache: {{ query: {{ ignore: [utm] }}, headers: [x-country] }} }}
        ",
        upstream.addr()
    ))
    .await;
    for _ in 0..2 {
        assert_eq!(gateway.get("/x").await.text(), "0");
        assert_eq!(gateway.get("/x?utm=1").await.text(), "0");
        assert_eq!(gateway.get("/x?page=1").await.text(), "1");
        assert_eq!(
            gateway.get_with("/x", &[("x-country", "at")]).await.text(),
            "2"
        );
        assert_eq!(
            gateway.get_with("/x", &[("x-version", "2")]).await.text(),
            "3"
        );
    }
}

#[tokio::test]
async fn a_reload_keeps_what_is_stored() {
    let upstream = numbered("max-age=60");
    let document = |more: &str| {
        format!(
            "
            services: {{ app: {{ endpoints: [\"{}\"] }} }}
            routes: [{{ path: \"/*\", to: app, cache: {{}}{more} }}]
            ",
            upstream.addr()
        )
    };
    let gateway = Lone::start(&document("")).await;
    assert_eq!(gateway.get("/x").await.text(), "0");
    gateway.rewrite(&document(", response_headers: { set: { x-new: 1 } }"));
    let answer = eventually(DEADLINE, async || {
        let answer = gateway.get("/x").await;
        answer.header("x-new").is_some().then_some(answer)
    })
    .await;
    // Stored is what the service said; what the route adds is added each time.
    assert_eq!(answer.text(), "0");
}

#[tokio::test]
async fn one_stored_answer_leaves_in_every_coding() {
    let text = "the same again and ".repeat(500);
    let reply = Reply::ok(text.clone()).header("cache-control", "max-age=60");
    let upstream = Upstream::start(reply.header("content-type", "text/plain"));
    let gateway = gateway_with("cache: {}, compress: true", &upstream).await;
    for _ in 0..2 {
        for (accepted, coding) in [
            ("gzip", Some("gzip")),
            ("br", Some("br")),
            ("identity", None),
        ] {
            let answer = gateway
                .get_with("/x", &[("accept-encoding", accepted)])
                .await;
            assert_eq!(answer.header("content-encoding"), coding, "{answer}");
            assert_eq!(answer.text() == text, coding.is_none(), "{accepted}");
            assert!(answer.body.len() < 500 || coding.is_none(), "{accepted}");
        }
    }
    assert_eq!(upstream.request_count(), 1);
}

#[tokio::test]
async fn the_log_says_what_the_cache_made_of_a_request() {
    let upstream = Upstream::start(Script::by(|request| {
        let cache_control = match request.path.as_str() {
            "/private" => "private",
            "/renewed" | "/replaced" => "no-cache",
            "/stale" => "max-age=0, stale-while-revalidate=60",
            _ => "max-age=60",
        };
        if request.path == "/renewed" && request.header("if-none-match").is_some() {
            return Reply::status(304).header("etag", "\"a\"");
        }
        let reply = Reply::ok("x").header("cache-control", cache_control);
        reply.header("etag", "\"a\"")
    }));
    let gateway = gateway_with("cache: {}", &upstream).await;
    let outcomes = async |path: &str, count: usize| {
        let lines = eventually(DEADLINE, async || {
            let log = gateway.access_log().into_iter();
            let lines: Vec<_> = log.filter(|line| line["path"] == path).collect();
            (lines.len() == count).then_some(lines)
        })
        .await;
        let outcomes = lines.into_iter().map(|line| line["cache"].clone());
        let mut outcomes: Vec<_> = outcomes
            .map(|it| it.as_str().unwrap_or("none").to_owned())
            .collect();
        // Lines of different connections come in any order.
        outcomes.sort();
        outcomes
    };
    let metrics_before = gateway.metrics().await;
    for (path, second) in [
        ("/fresh", "hit"),
        ("/private", "miss"),
        ("/renewed", "revalidated"),
        ("/replaced", "miss"),
        ("/stale", "stale"),
    ] {
        assert_eq!(gateway.get(path).await.text(), "x");
        // Stored as soon as its body was read, which the client may hear of a moment earlier.
        if path != "/private" {
            eventually(DEADLINE, async || {
                let urls = gateway.metrics().await;
                let stored = urls.sum("weir_cache_stored_total", &[]);
                stored > metrics_before.sum("weir_cache_stored_total", &[])
            })
            .await;
        }
        gateway.get(path).await;
        let mut expected = vec!["miss".to_owned(), second.to_owned()];
        expected.sort();
        assert_eq!(outcomes(path, 2).await, expected, "{path}");
    }
    gateway.post("/post", &[], "x").await;
    assert_eq!(outcomes("/post", 1).await, ["none"], "its route has none");
    let range = [("range", "bytes=0-0"), ("if-range", "\"b\"")];
    gateway.get_with("/bypass", &range).await;
    let told = outcomes("/bypass", 1).await;
    let metrics = gateway.metrics().await;
    assert_eq!(
        metrics.one("weir_cache_requests_total", &[("outcome", &told[0])])
            - metrics_before.sum("weir_cache_requests_total", &[("outcome", &told[0])])
            > 0.0,
        told[0] != "none"
    );
}

#[tokio::test]
async fn a_stored_answer_carries_no_session() {
    let upstreams = [
        Upstream::start(Reply::ok("x").header("cache-control", "max-age=60")),
        Upstream::start(Reply::ok("x").header("cache-control", "max-age=60")),
    ];
    let addresses: Vec<_> = upstreams.iter().map(|it| it.addr().to_string()).collect();
    let gateway = Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: {addresses:?}, sticky: {{ cookie: weir-session }} }} }}
        routes: [{{ path: \"/*\", to: app, cache: {{}} }}]
        "
    ))
    .await;
    let first = gateway.get("/x").await;
    let own = first.header("set-cookie").unwrap_or_default();
    assert!(own.starts_with("weir-session="), "{first}");
    let again = eventually(DEADLINE, async || {
        let again = gateway.get("/x").await;
        status_of(&again).starts_with("weir; hit").then_some(again)
    })
    .await;
    assert_eq!(again.text(), "x");
    assert_eq!(
        again.header("set-cookie"),
        None,
        "the session of another client"
    );
    // Nor is it what a client with a session of its own is told.
    let cookie = own.split(';').next().unwrap();
    let again = gateway.get_with("/x", &[("cookie", cookie)]).await;
    assert!(status_of(&again).starts_with("weir; hit"), "{again}");
    assert_eq!(again.header("set-cookie"), None);
}
