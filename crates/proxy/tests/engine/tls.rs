//! TLS on either side, and the mesh.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use weir_config::endpoint::Endpoint;
use weir_identity::{Authority, ClientAuth, Identity, KeyRequest, SpiffeId, TrustDomain};
use weir_telemetry::access_log::LogTarget;
use weir_testkit::authority::Authority as WebAuthority;
use weir_testkit::client::{Client, Trust};
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{SOON, World, document};

#[tokio::test]
async fn clients_speak_tls_with_either_protocol() {
    let upstream = Upstream::start(Reply::ok("hello"));
    let authority = WebAuthority::new("test");
    let mut world = World::new();
    let mut config = authority.issue(&["127.0.0.1"]).server_config();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    world.tls = Some(Arc::new(config));
    world
        .install(&document(&[upstream.addr()], "", ""))
        .await
        .unwrap();
    for client in [Client::http1(), Client::http2()] {
        let client = client.trust(Trust::only(&authority));
        let response = client.get(&world.url("/")).await.unwrap();
        assert_eq!(response.text(), "hello");
        assert_eq!(
            upstream.last_request().header("x-forwarded-proto"),
            Some("https")
        );
    }
    // A client that trusts nobody of ours.
    let stranger = Client::http1().trust(Trust::only(&WebAuthority::new("other")));
    assert!(stranger.get(&world.url("/")).await.is_err());
}

#[tokio::test]
async fn endpoints_speak_tls_and_are_verified() {
    let authority = WebAuthority::new("test");
    let directory = tempfile::tempdir().unwrap();
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, authority.pem()).unwrap();
    let named = authority.issue(&["app.test"]);
    for http2 in [false, true] {
        let builder = Upstream::builder(Reply::ok("hello")).tls(named.server_config());
        let upstream = if http2 { builder.http2() } else { builder }.start();
        let mut world = World::new();
        let trust = weir_identity::UpstreamTrust::File(ca.clone());
        world.service_tls = Some(weir_identity::upstream_client_config(&trust, None, &[]).unwrap());
        let protocol = if http2 {
            "protocol: http2"
        } else {
            "protocol: http1"
        };
        let tls = |name| format!("{protocol}, tls: {{ server_name: {name} }}");
        world
            .install(&document(&[upstream.addr()], &tls("app.test"), ""))
            .await
            .unwrap();
        let response = Client::http1().get(&world.url("/")).await.unwrap();
        assert_eq!(response.text(), "hello", "{response}");

        world
            .install(&document(&[upstream.addr()], &tls("other.test"), ""))
            .await
            .unwrap();
        let response = Client::http1().get(&world.url("/")).await.unwrap();
        assert_eq!(
            response.header("weir-reason"),
            Some("tls-failed"),
            "{response}"
        );
    }
}

fn identity(authority: &Authority, id: &SpiffeId) -> Arc<Identity> {
    let request = KeyRequest::new().unwrap();
    let (ttl, now) = (Duration::from_secs(3600), SystemTime::now());
    let issued = authority
        .issue(request.csr_pem(), id, &[], ttl, now)
        .unwrap();
    let current = request
        .into_current(&issued.chain_pem, authority.bundle().unwrap())
        .unwrap();
    Arc::new(Identity::new(current))
}

#[tokio::test]
async fn mesh_peers_know_each_other() {
    let domain = TrustDomain::parse("weir.internal").unwrap();
    let authority = Authority::create(&domain, SystemTime::now()).unwrap();
    let app = SpiffeId::service(&domain, "app").unwrap();
    let gateway = SpiffeId::gateway(&domain, "g1").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("access.log");

    // The inner proxy stands in front of the application and takes mesh peers only.
    let upstream = Upstream::start(Reply::ok("hello"));
    let mut inner = World::with_log(LogTarget::File(log.clone()));
    let alpn: &[&[u8]] = &[b"h2", b"http/1.1"];
    let inner_identity = identity(&authority, &app);
    let tls = weir_identity::mesh_server_config(&inner_identity, ClientAuth::Required, alpn);
    inner.tls = Some(tls.unwrap());
    inner.mesh = true;
    inner
        .install(&document(&[upstream.addr()], "", ""))
        .await
        .unwrap();

    for protocol in ["http1", "http2"] {
        let mut outer = World::new();
        outer.identity = Some(identity(&authority, &gateway));
        let text = document(&[], &format!("protocol: {protocol}"), "")
            .replace("endpoints: []", "mesh: app");
        outer.install(&text).await.unwrap();
        let tell = |id: &SpiffeId| {
            let mut endpoint = Endpoint::plain(inner.address.to_string());
            endpoint.identity = Some(id.as_str().to_owned());
            outer.engine.set_members("app", [endpoint].into());
        };
        tell(&app);
        let answer = async || Client::http1().get(&outer.url("/")).await.unwrap();
        eventually(SOON, async || answer().await.text() == "hello").await;
        tell(&SpiffeId::service(&domain, "other").unwrap());
        let refused = async || answer().await.header("weir-reason") == Some("tls-failed");
        eventually(SOON, refused).await;
    }
    // Nobody else comes in.
    assert!(Client::http1().get(&inner.url("/")).await.is_err());

    // The access log knows the peer; a worker flushes it within a quarter of a second.
    let lines = eventually(SOON, async || {
        let text = std::fs::read_to_string(&log).unwrap();
        (text.lines().count() >= 2).then_some(text)
    });
    for line in lines.await.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["peer"], gateway.as_str());
        assert_eq!(
            (&line["status"], &line["termination"]),
            (&200.into(), &"ok".into())
        );
        assert_eq!(
            (&line["service"], &line["attempts"]),
            (&"app".into(), &1.into())
        );
        assert_eq!(line["response_bytes"], 5);
        assert_eq!(line["endpoint"], upstream.addr().to_string());
        assert_eq!(line["trace_id"].as_str().unwrap().len(), 32);
    }
}
