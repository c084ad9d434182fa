//! The gateway alone in front of services that are not ours: a small Flask application and a small
//! Express application of the kind that people have, behind a document as short as the one in the
//! README.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::command::{self, Finished};
use weir_e2e::lone::{Lone, Place, peer_file, peer_program, repository};
use weir_testkit::client::{Client, Response, raw};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

/// Flask by its own `flask run`, Express by node, a gateway in front.
struct Stand {
    gateway: Lone,
    flask: SocketAddr,
    express: SocketAddr,
    _processes: [Process; 2],
}

impl Stand {
    async fn start() -> Self {
        let (flask, express) = (free_addr(), free_addr());
        let mut users = Launch::program(peer_program("venv/bin/flask"))
            .args([
                "--app",
                "flask_app",
                "run",
                "--port",
                &flask.port().to_string(),
            ])
            .env("PYTHONPATH", repository().join("e2e/peers"))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .start();
        let mut orders = Launch::program("node")
            .arg(peer_file("express_app.js"))
            .env("NODE_PATH", peer_program("node_modules"))
            .env("PORT", express.port().to_string())
            .start();
        users.wait_ready(&Ready::Tcp(flask), DEADLINE).await;
        orders.wait_ready(&Ready::Tcp(express), DEADLINE).await;
        let place = Place::new();
        let yaml = document(&place, flask, express, "");
        let gateway = place.start(&yaml).await;
        Self {
            gateway,
            flask,
            express,
            _processes: [users, orders],
        }
    }

    /// The same request straight to Flask and through the gateway.
    async fn both(&self, path: &str) -> [Response; 2] {
        let straight = Client::http1()
            .get(&format!("http://{}{path}", self.flask))
            .await
            .unwrap();
        [straight, self.gateway.get(path).await]
    }

    fn document(&self, more: &str) -> String {
        document(self.gateway.place(), self.flask, self.express, more)
    }

    async fn weir(&self, arguments: &[&str]) -> Finished {
        let file = self.gateway.place().config().display().to_string();
        let arguments: Vec<&str> = arguments
            .iter()
            .map(|it| if *it == "FILE" { file.as_str() } else { it })
            .collect();
        command::weir(&arguments).await
    }
}

fn document(place: &Place, flask: SocketAddr, express: SocketAddr, more: &str) -> String {
    format!(
        "listeners:\n\
         \x20 web: {{ bind: \"{}\" }}\n\
         \x20 secure: {{ bind: \"{}\", tls: {{ self_signed: [localhost] }} }}\n\
         \n\
         services:\n\
         \x20 users: {{ endpoints: [\"{flask}\"] }}\n\
         \x20 orders: {{ endpoints: [\"{express}\"], balance: peak-ewma }}\n\
         \n\
         routes:\n\
         \x20 - {{ path: \"/user/*\", to: users }}\n\
         \x20 - {{ path: \"/order/*\", to: orders }}\n\
         \x20 - {{ path: \"/v1/order/{{id}}\", methods: [GET], rewrite: {{ path: \"/order/{{id}}\" }}, to: orders }}\n\
         {more}",
        place.web, place.secure
    )
}

#[tokio::test]
async fn routes_parameters_and_queries_reach_both() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let user: Value = gateway.get("/user/1?field=a&field=b%26c").await.json();
    assert_eq!(
        user,
        json!({"id": 1, "name": "ada", "fields": ["a", "b&c"]})
    );
    let order: Value = gateway.get("/order/7?full=1&tag=x%2Fy").await.json();
    assert_eq!(
        order,
        json!({"id": "7", "total": 42, "query": {"full": "1", "tag": "x/y"}})
    );
    let order: Value = gateway.get("/v1/order/7").await.json();
    assert_eq!(order["total"], 42);
    for client in [Client::http1(), Client::http2()] {
        let user: Value = client
            .get(&gateway.secure_url("/user/2"))
            .await
            .unwrap()
            .json();
        assert_eq!(user["name"], "grace");
    }
    // What neither has is Weir's own answer.
    let answer = gateway.get("/elsewhere").await;
    gateway.assert_refused(&answer, 404, "no-route").await;
}

#[tokio::test]
async fn json_is_posted_and_created() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let made = gateway.post("/user/", &JSON, r#"{"name": "linus"}"#).await;
    assert_eq!(made.status, 201, "{made}");
    // An absolute URL that the application makes leads through the gateway.
    assert_eq!(
        made.header("location"),
        Some(gateway.url("/user/3").as_str())
    );
    let made: Value = gateway
        .post("/order", &JSON, r#"{"total": 5}"#)
        .await
        .json();
    assert_eq!(made, json!({"id": "8", "total": 5}));
    // What the frameworks refuse is passed on as they say it.
    let wrong = gateway.post("/user/", &JSON, "{").await;
    assert_eq!(
        (wrong.status.as_u16(), wrong.header("weir-reason")),
        (400, None)
    );
    let wrong = gateway
        .post("/user/", &[("content-type", "text/plain")], "x")
        .await;
    assert_eq!(wrong.status, 415);
}

#[tokio::test]
async fn chunked_uploads_and_large_answers_pass() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let chunk = format!("4000\r\n{}\r\n", "x".repeat(0x4000));
    for path in ["/user/upload", "/order/upload"] {
        let sent = format!(
            "POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n{}0\r\n\r\n",
            chunk.repeat(64)
        );
        let answer = raw(gateway.web(), sent, DEADLINE).await;
        let text = answer.text();
        assert_eq!(answer.status(), Some(200), "{path}: {text}");
        assert!(text.contains("\"bytes\":1048576"), "{path}: {text}");
    }
    for path in ["/user/large", "/order/large"] {
        for client in [Client::http1(), Client::http2()] {
            let answer = client.get(&gateway.url(path)).await.unwrap();
            let right = answer
                .body
                .chunks(16384)
                .enumerate()
                .all(|(number, piece)| {
                    piece.len() == 16384 && piece.iter().all(|byte| usize::from(*byte) == number)
                });
            assert!(
                answer.body.len() == 256 * 16384 && right,
                "{path} {}",
                answer.body.len()
            );
        }
    }
}

#[tokio::test]
async fn cookies_and_redirects_pass_unchanged() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let login = gateway.get("/user/login").await;
    assert_eq!(
        (login.status.as_u16(), login.header("location")),
        (302, Some("/user/1"))
    );
    let cookies: Vec<_> = login.headers.get_all("set-cookie").iter().collect();
    assert_eq!(
        cookies,
        ["session=s3cret; HttpOnly; Path=/", "theme=dark; Path=/"]
    );
    let sent = [("cookie", "session=s3cret; theme=dark")];
    let seen: Value = gateway.get_with("/user/cookies", &sent).await.json();
    assert_eq!(seen, json!({"session": "s3cret", "theme": "dark"}));

    let visit = gateway.get_with("/order/visit", &sent).await;
    assert_eq!(
        visit.headers.get_all("set-cookie").iter().count(),
        2,
        "{visit}"
    );
    assert_eq!(
        visit.json::<Value>()["cookie"],
        "session=s3cret; theme=dark"
    );
    let moved = gateway.get("/order/old").await;
    assert_eq!(
        (moved.status.as_u16(), moved.header("location")),
        (301, Some("/order/7?from=old"))
    );
}

#[tokio::test]
async fn answers_are_those_of_the_application_errors_included() {
    let stand = Stand::start().await;
    for path in [
        "/user/1",
        "/user/99",
        "/user/nobody",
        "/user/large",
        "/user/login",
    ] {
        let [straight, through] = stand.both(path).await;
        assert_eq!(through.status, straight.status, "{path}");
        assert_eq!(through.body, straight.body, "{path}");
        for name in [
            "content-type",
            "location",
            "server",
            "set-cookie",
            "content-length",
        ] {
            assert_eq!(through.header(name), straight.header(name), "{path} {name}");
        }
        assert_eq!(through.header("weir-reason"), None, "{path}");
    }
    let missing = stand.gateway.get("/order/99").await;
    assert_eq!(
        (missing.status.as_u16(), missing.text().as_str()),
        (404, r#"{"error":"no order 99"}"#)
    );
    let unknown = stand.gateway.get("/user/1/2/3").await;
    assert!(
        unknown.status == 404 && unknown.text().contains("<!doctype html>"),
        "{unknown}"
    );
}

#[tokio::test]
async fn frameworks_that_trust_their_proxy_see_the_client() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let forged = [
        ("host", "shop.example:8080"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x-forwarded-proto", "gopher"),
        ("x-forwarded-host", "evil.example"),
    ];
    for path in ["/user/seen", "/order/seen"] {
        let seen: Value = gateway.get_with(path, &forged).await.json();
        assert_eq!(seen["client"], "127.0.0.1", "{path} {seen}");
        assert_eq!(seen["scheme"], "http", "{path} {seen}");
        assert_eq!(seen["host"], "shop.example:8080", "{path} {seen}");
        let secure = Client::http2()
            .get(&gateway.secure_url(path))
            .await
            .unwrap();
        let seen: Value = secure.json();
        assert_eq!(seen["scheme"], "https", "{path} {seen}");
        assert_eq!(
            seen["host"],
            gateway.place().secure.to_string(),
            "{path} {seen}"
        );
    }
    let seen: Value = gateway.get_with("/user/seen", &forged).await.json();
    assert_eq!(seen["url"], "http://shop.example:8080/user/seen");
}

#[tokio::test]
async fn events_stream_while_they_are_made() {
    let stand = Stand::start().await;
    let url = stand.gateway.url("/order/events");
    let events = tokio::spawn(async move { Client::http1().get(&url).await });
    // Express sends the second only after this, and this comes only after the first was seen: here
    // by the access log of nobody, but by a client of its own.
    let mut connection = Client::http1()
        .connect(&stand.gateway.url("/"))
        .await
        .unwrap();
    let get = weir_testkit::client::request(http::Method::GET, "/order/events", &[], "".into());
    let mut answer = connection.start(get.unwrap()).await.unwrap();
    let first = http_body_util::BodyExt::frame(answer.body_mut());
    let first = tokio::time::timeout(DEADLINE, first)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(first.into_data().unwrap(), "data: first\n\n");
    assert!(!events.is_finished());
    assert_eq!(
        stand
            .gateway
            .post("/order/seen-first", &[], "")
            .await
            .status,
        204
    );
    assert_eq!(
        events.await.unwrap().unwrap().text(),
        "data: first\n\ndata: second\n\n"
    );
}

#[tokio::test]
async fn an_edited_file_is_live_in_under_a_second() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    assert_eq!(gateway.get("/people/1").await.status, 404);
    let more = "  - { path: \"/people/*\", rewrite: { path: /user }, to: users }\n";
    let start = Instant::now();
    gateway.rewrite(&stand.document(more));
    eventually(DEADLINE, async || {
        gateway.get("/people/1").await.status == 200
    })
    .await;
    let live = start.elapsed();
    println!("live after {live:?}");
    assert!(live < Duration::from_secs(1), "{live:?}");

    // Written in place, as the shell does.
    let start = Instant::now();
    std::fs::write(gateway.place().config(), stand.document("")).unwrap();
    eventually(DEADLINE, async || {
        gateway.get("/people/1").await.status == 404
    })
    .await;
    println!("gone after {:?}", start.elapsed());
    assert!(
        start.elapsed() < Duration::from_secs(1),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn a_broken_edit_changes_nothing_and_every_error_is_in_the_log() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    let broken = concat!(
        "  - { path: people, to: users }\n",
        "  - { path: \"/a\", to: nobody }\n",
        "  - { path: \"/b\", to: users, limit: { rate: fast } }\n",
    );
    gateway.rewrite(&stand.document(broken));
    let refused = || async {
        gateway
            .metrics()
            .await
            .sum("weir_config_refused_total", &[])
    };
    eventually(DEADLINE, async || refused().await == 1.0).await;
    let said = gateway.process.stderr();
    for (line, what) in [(13, "people"), (14, "nobody"), (15, "fast")] {
        assert!(
            said.contains(&format!("weir.yaml:{line}:")) && said.contains(what),
            "{said}"
        );
    }
    assert_eq!(gateway.get("/user/1").await.status, 200);
    assert_eq!(
        gateway
            .metrics()
            .await
            .one("weir_config_applied_total", &[]),
        1.0
    );

    // The command says the same of the same file.
    let checked = stand.weir(&["check", "FILE"]).await;
    assert_eq!(checked.code, Some(1), "{checked:?}");
    for what in [
        "weir.yaml:13:",
        "weir.yaml:14:",
        "weir.yaml:15:",
        "3 errors",
    ] {
        assert!(checked.stderr.contains(what), "{what}: {}", checked.stderr);
    }

    gateway.rewrite(&stand.document("  - { path: \"/a\", respond: { status: 204 } }\n"));
    eventually(DEADLINE, async || gateway.get("/a").await.status == 204).await;
    assert_eq!(stand.weir(&["check", "FILE"]).await.code, Some(0));
}

#[tokio::test]
async fn a_signal_reloads_at_once() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    for number in 0..10 {
        let status = if number % 2 == 0 { 201 } else { 202 };
        let more = format!("  - {{ path: /signal, respond: {{ status: {status} }} }}\n");
        gateway.rewrite(&stand.document(&more));
        gateway.hang_up();
        let start = Instant::now();
        eventually(DEADLINE, async || {
            gateway.get("/signal").await.status == status
        })
        .await;
        assert!(
            start.elapsed() < Duration::from_secs(1),
            "{:?}",
            start.elapsed()
        );
    }
}

#[tokio::test]
async fn explain_says_what_happens() {
    let stand = Stand::start().await;
    let gateway = &stand.gateway;
    for (method, path, service, target) in [
        ("GET", "/user/1?x=1", "users", "/user/1?x=1"),
        ("GET", "/v1/order/7", "orders", "/order/7"),
        ("POST", "/order/", "orders", "/order/"),
        ("GET", "/user/../order/7", "orders", "/order/7"),
    ] {
        let url = gateway.url(path);
        let said = stand
            .weir(&["explain", method, &url, "--config", "FILE", "--json"])
            .await;
        assert_eq!(said.code, Some(0), "{said:?}");
        let said = said.json();
        assert_eq!(said["answer"]["service"], service, "{said:#}");
        assert_eq!(said["upstream"]["target"], target, "{said:#}");
    }
    for (method, path, status, code) in [
        ("GET", "/elsewhere", 404, "no-route"),
        ("POST", "/v1/order/7", 405, "method-not-allowed"),
        ("GET", "/user/..%2forder", 400, "bad-path"),
    ] {
        let url = gateway.url(path);
        let said = stand
            .weir(&["explain", method, &url, "--config", "FILE", "--json"])
            .await;
        assert_eq!(said.code, Some(1), "{said:?}");
        let said = said.json();
        assert_eq!(said["answer"]["status"], status, "{said:#}");
        assert_eq!(said["answer"]["code"], code, "{said:#}");
        // And that is what happens.
        let request = weir_testkit::client::request(method.parse().unwrap(), &url, &[], "".into());
        let answer = Client::http1().send(request.unwrap()).await.unwrap();
        gateway.assert_refused(&answer, status, code).await;
    }
}
