//! Which service a request reaches: conditions, shares, and what an author changes in one word.

use http::Method;
use tokio::time::timeout;
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, repository};
use weir_testkit::client::{Client, request};
use weir_testkit::upstream::{Reply, Upstream};

/// The example of the documentation, with upstreams of the test behind it; each answers its name.
struct Example {
    text: String,
    _upstreams: Vec<Upstream>,
}

impl Example {
    fn new() -> Self {
        let path = repository().join("config/examples/routing.yaml");
        let text = std::fs::read_to_string(path).unwrap();
        // The gateway of the test has a listener of its own.
        let (head, rest) = text.split_once("listeners:").unwrap();
        let services = rest.split_once("services:").unwrap().1;
        let mut text = format!("{head}services:{services}");
        let mut upstreams = Vec::new();
        for (port, name) in [
            (5001, "blue"),
            (5002, "green"),
            (5003, "search"),
            (5004, "next"),
        ] {
            let upstream = Upstream::start(Reply::ok(name));
            text = text.replace(&format!("127.0.0.1:{port}"), &upstream.addr().to_string());
            upstreams.push(upstream);
        }
        Self {
            text,
            _upstreams: upstreams,
        }
    }
}

#[tokio::test]
async fn a_cookie_is_matched_beside_weights_over_http1_and_http2() {
    let example = Example::new();
    let gateway = Lone::start(&example.text).await;
    let table: [(&[(&str, &str)], &str); 5] = [
        (&[("cookie", "preview=on")], "next"),
        (&[("cookie", "a=b; preview=\"on\"; c=d")], "next"),
        (&[("cookie", "a=b"), ("cookie", "preview=on")], "next"),
        // A header is asked before a cookie, and the narrower network before both.
        (&[("x-staff", "1"), ("cookie", "preview=on")], "either"),
        (&[("x-staff", "1")], "either"),
    ];
    let (http1, http2) = (Client::http1(), Client::http2());
    for (headers, expected) in table {
        for client in [&http1, &http2] {
            let answer = client.get_with(&gateway.url("/search/x"), headers).await;
            let text = answer.unwrap().text();
            let fits = match expected {
                "either" => text == "search" || text == "next",
                _ => text == expected,
            };
            assert!(fits, "{text} for {headers:?}");
        }
    }
    // Whose cookie says something else is one of everybody.
    let headers = [("cookie", "Preview=on; preview=off; xpreview=on")];
    let url = gateway.url("/search/x");
    for _ in 0..20 {
        if http1.get_with(&url, &headers).await.unwrap().text() == "search" {
            return;
        }
    }
    panic!("twenty requests out of twenty went to the one with a share of 5 %");
}

#[tokio::test]
async fn shares_are_as_the_weights_say() {
    let example = Example::new();
    let gateway = Lone::start(&example.text).await;
    let (url, client) = (gateway.url("/search/x"), Client::http1());
    let mut connection = client.connect(&url).await.unwrap();
    let mut next = [0_u32; 2];
    for (count, headers) in next.iter_mut().zip([&[][..], &[("x-staff", "1")]]) {
        for _ in 0..REQUESTS {
            let request = request(Method::GET, &url, headers, "".into()).unwrap();
            let text = connection.send(request).await.unwrap().text();
            *count += u32::from(text == "next");
        }
    }
    // Six standard deviations around 5 % and 50 % of a thousand: chance fails this once in 500
    // million runs, a wrong weight always.
    assert!((9..=91).contains(&next[0]), "{next:?}");
    assert!((405..=595).contains(&next[1]), "{next:?}");
    let metrics = gateway.metrics().await;
    let counted = |service: &str| {
        let labels = [("route", "search"), ("service", service)];
        metrics.sum("weir_http_requests_total", &labels)
    };
    assert_eq!(counted("search-next"), f64::from(next[0]));
    assert_eq!(counted("search"), f64::from(REQUESTS - next[0]));
}

#[tokio::test]
async fn blue_becomes_green_in_one_word_and_no_request_fails() {
    let example = Example::new();
    let gateway = Lone::start(&example.text).await;
    assert_eq!(gateway.get("/").await.text(), "blue");
    let green = example.text.replace("to: shop-blue", "to: shop-green");
    gateway.rewrite(&green);
    let mut blue = 0_u32;
    let switched = async {
        loop {
            let answer = gateway.get("/").await;
            assert_eq!(answer.status, 200);
            match answer.text().as_str() {
                "green" => return,
                _ => blue += 1,
            }
        }
    };
    timeout(DEADLINE, switched).await.expect("green answers");
    assert_eq!(
        gateway.get("/").await.text(),
        "green",
        "after {blue} of blue"
    );
}

const REQUESTS: u32 = 1_000;
