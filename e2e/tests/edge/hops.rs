//! From hop to hop: bodies and trailers between versions of HTTP, and what each side is told of the
//! other.

use weir_e2e::DEADLINE;
use weir_e2e::lone::Lone;
use weir_testkit::client::{Client, raw};
use weir_testkit::upstream::{Reply, Upstream};

async fn gateway_to(upstream: &Upstream, protocol: &str, more: &str) -> Lone {
    let more = more.replace('\n', "\n        ");
    Lone::start(&format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"], protocol: {protocol} }} }}
        routes: [{{ path: \"/*\", to: app }}]
        {more}
        ",
        upstream.addr()
    ))
    .await
}

#[tokio::test]
async fn bodies_and_trailers_pass_between_all_versions() {
    let body: String = "0123456789".repeat(20_000);
    let trailers = [
        ("x-sum", "42"),
        ("content-length", "1"),
        ("set-cookie", "a=b"),
    ];
    let reply = || {
        Reply::ok(body.clone())
            .header("trailer", "x-sum")
            .trailers(&trailers)
    };
    for (behind, seen_behind) in [("http1", "1.1 weir"), ("http2", "2 weir")] {
        let upstream = match behind {
            "http1" => Upstream::start(reply()),
            _ => Upstream::builder(reply()).http2().start(),
        };
        let gateway = gateway_to(&upstream, behind, "").await;
        for (client, seen) in [(Client::http1(), "1.1 weir"), (Client::http2(), "2 weir")] {
            let headers = [("te", "trailers")];
            let url = gateway.url("/x");
            let answer = client.post(&url, &headers, body.clone()).await.unwrap();
            assert_eq!(answer.status, 200, "{seen} to {behind}");
            assert!(answer.text() == body, "{seen} to {behind}");
            let got = answer.trailers.clone().unwrap_or_default();
            assert_eq!(got.get("x-sum").unwrap(), "42", "{seen} to {behind}");
            // Fields that belong to the head do not come behind the body.
            assert_eq!(got.len(), 1, "{got:?}");
            assert_eq!(answer.header("via"), Some(seen_behind));
            assert!(answer.header("date").is_some(), "{seen} to {behind}");
            let asked = upstream.last_request();
            assert_eq!(asked.body_bytes, body.len() as u64);
            assert_eq!(asked.header("via"), Some(seen));
        }
    }
}

#[tokio::test]
async fn trailers_of_clients_carry_nothing_that_only_a_proxy_may_say() {
    let upstream = Upstream::builder(Reply::ok("thanks")).http2().start();
    let gateway = gateway_to(&upstream, "http2", "").await;
    let sent = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\
                Connection: close\r\n\r\n4\r\nbody\r\n0\r\nx-sum: 1\r\n\
                x-forwarded-for: 9.9.9.9\r\nweir-peer: me\r\nauthorization: b\r\n\r\n";
    let answer = raw(gateway.web(), sent, DEADLINE).await;
    assert_eq!(answer.status(), Some(200), "{}", answer.text());
    let seen = upstream.last_request();
    assert_eq!(seen.trailers, [("x-sum".to_owned(), "1".to_owned())]);
}

#[tokio::test]
async fn services_are_told_where_a_request_came_from_as_the_document_says() {
    let upstream = Upstream::start(Reply::ok("here").interim(103, &[("link", "</a>")]));
    let old = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
    ];
    for (mode, has_old, has_new) in [
        ("x-forwarded", true, false),
        ("rfc7239", false, true),
        ("both", true, true),
        ("off", false, false),
    ] {
        let gateway = gateway_to(
            &upstream,
            "http1",
            &format!("forwarded: {mode}\nvia: false"),
        )
        .await;
        // What a stranger claims is removed in every mode.
        let claims = [("x-forwarded-for", "9.9.9.9"), ("forwarded", "for=9.9.9.9")];
        let answer = gateway.get_with("/x", &claims).await;
        assert_eq!((answer.status.as_u16(), answer.header("via")), (200, None));
        let seen = upstream.last_request();
        assert_eq!(seen.header("via"), None);
        for name in old {
            assert_eq!(seen.header(name).is_some(), has_old, "{mode} {name}");
        }
        let (host, port) = (gateway.web().to_string(), gateway.web().port().to_string());
        if has_old {
            assert_eq!(seen.header("x-forwarded-for"), Some("127.0.0.1"));
            assert_eq!(seen.header("x-forwarded-port"), Some(port.as_str()));
        }
        let element = format!("for=127.0.0.1;host=\"{host}\";proto=http");
        assert_eq!(
            seen.header("forwarded"),
            has_new.then_some(element.as_str()),
            "{mode}"
        );

        // A trusted proxy is believed in the fields that are in use.
        let more = format!("forwarded: {mode}\ntrusted_proxies: [127.0.0.0/8, 10.0.0.0/8]");
        let gateway = gateway_to(&upstream, "http1", &more).await;
        let says = [
            ("x-forwarded-for", "6.6.6.6, 192.0.2.7, 10.1.1.1"),
            ("forwarded", "for=6.6.6.6, for=192.0.2.8, for=10.1.1.1"),
        ];
        assert_eq!(gateway.get_with("/who", &says).await.status, 200);
        let client = if mode == "rfc7239" {
            "192.0.2.8"
        } else {
            "192.0.2.7"
        };
        assert_eq!(gateway.logged("/who").await["client"], client, "{mode}");
    }
}
