//! The engine as a tower service, without sockets of clients.

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use tokio::task::LocalSet;
use tower_service::Service;
use weir_proxy::Solo;
use weir_telemetry::access_log::{AccessLog, LogTarget};
use weir_testkit::upstream::{Reply, Upstream};

use crate::world::{World, document};

#[tokio::test]
async fn a_connection_is_a_service() {
    let upstream = Upstream::start(Reply::echo());
    let world = World::new();
    let installation = world.installation(&document(&[upstream.addr()], "", "methods: [POST]"));
    let log = AccessLog::start(LogTarget::Off, &world.registry).unwrap();
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let solo = Solo::new(&installation, &world.registry, &log);
            let remote = "192.0.2.1:4000".parse().unwrap();
            let mut service = solo.connection::<Bytes>(&installation.bindings[0], remote);
            let post = Request::post("/x")
                .header("host", "a.test")
                .body("body".into())
                .unwrap();
            let response = service.call(post).await.unwrap();
            assert_eq!(response.status(), 200);
            response.into_body().collect().await.unwrap();
            let seen = upstream.last_request();
            assert_eq!(
                (seen.text().as_str(), seen.header("host")),
                ("body", Some("a.test"))
            );
            assert_eq!(seen.header("x-forwarded-for"), Some("192.0.2.1"));

            let get = Request::get("/x")
                .header("host", "a.test")
                .body(Bytes::new())
                .unwrap();
            let response = service.call(get).await.unwrap();
            assert_eq!(response.status(), 405);
            assert_eq!(solo.decisions().latest(10).len(), 1);
        })
        .await;
}
