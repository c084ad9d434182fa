//! Client, upstream and authority agree on TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use weir_testkit::authority::Authority;
use weir_testkit::client::{Client, ClientError, Trust};
use weir_testkit::upstream::{Reply, Upstream};

#[tokio::test]
async fn a_certificate_is_checked_against_the_given_roots() {
    let authority = Authority::new("test root");
    let config = authority.issue(&["localhost", "127.0.0.1"]).server_config();
    for http2 in [false, true] {
        let builder = Upstream::builder(Reply::ok("secret")).tls(config.clone());
        let upstream = if http2 {
            builder.http2().start()
        } else {
            builder.start()
        };
        let client = if http2 {
            Client::http2()
        } else {
            Client::http1()
        };

        let trusting = client.clone().trust(Trust::only(&authority));
        assert_eq!(
            trusting.get(&upstream.url("/")).await.unwrap().text(),
            "secret"
        );
        let stranger = Trust::only(&Authority::new("another root"));
        let refused = client.clone().trust(stranger).get(&upstream.url("/")).await;
        assert!(matches!(refused, Err(ClientError::Tls(_))), "{refused:?}");
        assert_eq!(
            client.get(&upstream.url("/")).await.unwrap().text(),
            "secret"
        );

        let elsewhere = trusting.connect_to(upstream.addr());
        let wrong_name = elsewhere.get("https://other.example/").await;
        assert!(
            matches!(wrong_name, Err(ClientError::Tls(_))),
            "{wrong_name:?}"
        );
        assert!(elsewhere.get("https://localhost/").await.is_ok());
    }
}

#[tokio::test]
async fn mutual_tls_wants_a_client_certificate() {
    let authority = Authority::new("test root");
    let config = authority
        .issue(&["127.0.0.1"])
        .server_config_mutual(&authority);
    let upstream = Upstream::builder(Reply::ok("inside")).tls(config).start();
    assert!(Client::http1().get(&upstream.url("/")).await.is_err());
    let client = Client::http1().identity(authority.issue(&["spiffe://test/service/a"]));
    assert_eq!(
        client.get(&upstream.url("/")).await.unwrap().text(),
        "inside"
    );
}
