//! Versions of an API as a client meets them: the example of the documentation.

use weir_e2e::lone::{Lone, repository};
use weir_testkit::client::Client;
use weir_testkit::upstream::{Reply, Upstream};

#[tokio::test]
async fn versions_of_the_example() {
    let path = repository().join("config/examples/versions.yaml");
    let text = std::fs::read_to_string(path).unwrap();
    let mut text = format!("services:{}", text.split_once("services:").unwrap().1);
    let upstreams = ["one", "two", "three"].map(|name| Upstream::start(Reply::ok(name)));
    for (port, upstream) in (5001..).zip(&upstreams) {
        text = text.replace(&format!("127.0.0.1:{port}"), &upstream.addr().to_string());
    }
    let gateway = Lone::start(&text).await;

    // In the path; the service does not see it there.
    let answer = gateway.get("/v2/orders/7?x").await;
    assert_eq!(
        (answer.status.as_u16(), answer.text().as_str()),
        (200, "two")
    );
    assert_eq!(upstreams[1].last_request().path, "/orders/7?x");
    assert_eq!(answer.header("deprecation"), Some("@1748736000"));
    assert_eq!(
        answer.header("sunset"),
        Some("Thu, 31 Dec 2099 00:00:00 GMT")
    );
    let link = "</api/changes>; rel=\"deprecation sunset\"";
    assert_eq!(answer.header("link"), Some(link));
    assert_eq!(answer.header("vary"), None);
    assert_eq!(gateway.logged("/v2/orders/7").await["api_version"], "v2");
    let gone = gateway.get("/v1/orders/7").await;
    gateway.assert_refused(&gone, 410, "api-version-gone").await;
    let unknown = gateway.get("/v9/orders/7").await;
    gateway
        .assert_refused(&unknown, 404, "api-version-unknown")
        .await;

    // In a header, over both protocols.
    for client in [Client::http1(), Client::http2()] {
        let ask = async |headers: &[(&str, &str)]| {
            let answer = client.get_with(&gateway.url("/orders/7"), headers).await;
            answer.unwrap()
        };
        let answer = ask(&[]).await;
        assert_eq!(answer.text(), "two");
        assert_eq!(answer.header("vary"), Some("api-version"));
        assert_eq!(answer.header("deprecation"), None);
        assert_eq!(ask(&[("api-version", "3")]).await.text(), "three");
        let unknown = ask(&[("api-version", "1")]).await;
        gateway
            .assert_refused(&unknown, 404, "api-version-unknown")
            .await;
    }

    // In the media type.
    let accept = |accept: &'static str| {
        let gateway = &gateway;
        async move {
            gateway
                .get_with("/media/orders/7", &[("accept", accept)])
                .await
        }
    };
    let answer = accept("application/vnd.shop.v3+json").await;
    assert_eq!(
        (answer.text().as_str(), answer.header("vary")),
        ("three", Some("accept"))
    );
    assert_eq!(accept("application/json; version=2").await.text(), "two");
    let missing = accept("*/*").await;
    gateway
        .assert_refused(&missing, 400, "api-version-missing")
        .await;
    let unacceptable = accept("application/vnd.shop.v4+json").await;
    gateway
        .assert_refused(&unacceptable, 406, "api-version-unacceptable")
        .await;

    // Counted by what is declared: a client cannot make labels.
    let metrics = gateway.metrics().await;
    let counted = |version: &str| {
        let labels = [("api_version", version)];
        metrics.sum("weir_http_requests_by_version_total", &labels)
    };
    assert_eq!(
        (counted("v2"), counted("v3"), counted("v9")),
        (4.0, 3.0, 0.0)
    );
    let series = metrics.samples("weir_http_requests_by_version_total", &[]);
    assert!(series.len() <= 7, "{series:?}");
}
