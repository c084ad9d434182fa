//! Certificates: renewed without losing a connection, refused without the token, never told.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::time::Duration;

use http::Method;
use weir_e2e::DEADLINE;
use weir_e2e::proxy::Proxy;
use weir_e2e::stand::{Options, Stand};
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::load::Load;
use weir_testkit::ports::{free_addr, free_port};
use weir_testkit::process::Launch;
use weir_testkit::upstream::{Reply, Upstream};

/// When the certificates of a proxy end, as it tells.
async fn not_after(proxy: &Proxy) -> Vec<u64> {
    let metrics = proxy.metrics().await;
    let samples = metrics.samples("weir_certificate_not_after_timestamp_seconds", &[]);
    assert!(!samples.is_empty(), "{metrics:?}");
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "Unix time"
    )]
    samples.iter().map(|sample| sample.value as u64).collect()
}

#[tokio::test]
async fn certificates_are_renewed_without_losing_a_connection() {
    let options = Options::new().certificate_life(Duration::from_secs(6));
    let stand = options.start().await;
    let web = free_addr();
    let yaml = format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ users: {{ mesh: users, retry: false }} }}
routes: [{{ path: "/users/*", to: users }}]
"#
    );
    stand.apply(&yaml).await;
    let users = Upstream::start(Reply::ok("a user"));
    let orders = Upstream::start(Reply::ok("an order"));
    let of_users = stand.sidecar("users", users.addr()).start().await;
    let of_orders = stand.sidecar("orders", orders.addr()).start().await;
    stand.wait_for_healthy("users", 1).await;
    let gateway = stand.gateway().start().await;
    let pause = Duration::from_millis(5);
    let from_edge = Load::of(format!("http://{web}/users/1"))
        .pause(pause)
        .start();
    from_edge.wait_for_more(1, DEADLINE).await;
    eventually(DEADLINE, async || {
        of_orders.call("users", "/x").await.status == 200
    })
    .await;
    let from_orders = Load::of(of_orders.outbound_url("/2")).header("host", "users");
    let from_orders = from_orders.pause(pause).start();

    // Two renewals of each: every certificate that a connection began with has run out by then.
    for proxy in [&gateway, &of_users, &of_orders] {
        let seen = RefCell::new(BTreeSet::new());
        eventually(Duration::from_secs(25), async || {
            let ends = not_after(proxy).await;
            let mut seen = seen.borrow_mut();
            seen.extend(ends);
            if seen.len() >= 3 {
                Ok(())
            } else {
                Err(format!("until {seen:?}"))
            }
        })
        .await;
    }
    // Handshakes of now: with an instance that was not there before.
    let late = Upstream::start(Reply::ok("a user"));
    let _of_late = stand.sidecar("users", late.addr()).start().await;
    late.wait_for_requests(20, DEADLINE).await;

    from_edge.stop().await.assert_undisturbed();
    from_orders.stop().await.assert_undisturbed();
}

#[tokio::test]
async fn a_wrong_secret_is_refused_and_tried_again() {
    let stand = Stand::start().await;
    stand.apply("services: { users: { mesh: users } }\n").await;
    let right = std::fs::read_to_string(stand.join_token_file()).unwrap();
    let (head, secret) = right.trim().rsplit_once('.').unwrap();
    let wrong_secret: String = secret.chars().rev().collect();
    // The last character of base64 carries few bits, so the reversed text may not decode.
    let wrong_secret = format!("{}{}", &wrong_secret[..42], "A");
    let file = stand.file("token", &format!("{head}.{wrong_secret}\n"));

    let mut sidecar = stand
        .sidecar("users", free_addr())
        .join_token_file(&file)
        .launch();
    let is_told = |text: &str| text.contains("cannot join yet") && text.contains("401");
    eventually(DEADLINE, async || {
        let output = sidecar.output();
        if is_told(&output) {
            Ok(())
        } else {
            Err(output)
        }
    })
    .await;
    assert!(sidecar.process.is_running());
    assert!(!sidecar.output().contains(&wrong_secret[..20]));

    // The operator mends the file; nobody restarts anything.
    std::fs::write(&file, &right).unwrap();
    stand.converged(1).await;
    assert!(!sidecar.output().contains(secret));
}

#[tokio::test]
async fn a_token_of_another_mesh_does_not_tell_its_secret() {
    let mut ours = Stand::start().await;
    let theirs = Stand::start().await;
    let launch = ours.gateway().join_token_file(theirs.join_token_file());
    let mut gateway = launch.launch();
    eventually(DEADLINE, async || {
        gateway.output().contains("cannot join yet")
    })
    .await;
    assert!(gateway.process.is_running());
    // Nothing was sent: the fingerprint in the token told the proxy that this is not its mesh.
    let log = ours.control_plane().stderr();
    assert!(!log.contains("certificate refused"), "{log}");
    assert!(!gateway.output().contains(&theirs.join_secret()));
}

#[tokio::test]
async fn a_text_that_is_no_token_ends_the_proxy_with_the_reason() {
    let stand = Stand::start().await;
    let file = stand.file("token", "weir-join.half");
    for launch in [stand.gateway(), stand.sidecar("users", free_addr())] {
        let mut proxy = launch.join_token_file(&file).launch();
        let status = proxy.process.wait_exit(DEADLINE).await;
        assert_eq!(status.code(), Some(2), "{}", proxy.process.tail());
        let is_said = proxy.output().contains("weir-join.<fingerprint>.<secret>");
        assert!(is_said, "{}", proxy.process.tail());
    }
}

#[tokio::test]
async fn no_log_holds_a_secret() {
    let mut stand = Options::new().arg("--log-level=debug").start().await;
    let web = free_addr();
    let yaml = format!(
        r#"
listeners: {{ web: {{ bind: "{web}" }} }}
services: {{ users: {{ mesh: users }} }}
routes: [{{ path: "/users/*", to: users }}]
"#
    );
    stand.apply(&yaml).await;
    let users = Upstream::start(Reply::ok("a user"));
    let sidecar = stand
        .sidecar("users", users.addr())
        .arg("--log-level=debug");
    let sidecar = sidecar.start().await;
    stand.wait_for_healthy("users", 1).await;
    let gateway = stand.gateway().arg("--log-level=debug").start().await;
    let headers = [
        ("authorization", "Bearer s3cret-bearer"),
        ("cookie", "session=s3cret-cookie"),
    ];
    let url = format!("http://{web}/users/1?token=s3cret-query");
    let answer = Client::http1().get_with(&url, &headers).await.unwrap();
    assert_eq!(answer.status, 200, "{answer}");
    for proxy in [&gateway, &sidecar] {
        eventually(DEADLINE, async || !proxy.access_log().is_empty()).await;
    }

    let secret = stand.join_secret();
    let control_plane = stand.control_plane();
    let of_control_plane = control_plane.stdout() + &control_plane.stderr();
    for (name, log) in [
        ("gateway", gateway.output()),
        ("sidecar", sidecar.output()),
        ("control plane", of_control_plane),
    ] {
        assert!(!log.is_empty(), "{name}");
        for secret in [secret.as_str(), "s3cret", "PRIVATE KEY"] {
            assert!(!log.contains(secret), "{secret} in the log of {name}");
        }
    }
}

#[tokio::test]
async fn the_api_asks_for_its_token_where_it_has_one() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("api-token").display().to_string();
    std::fs::write(&file, "s3cret-api\n").unwrap();
    let flag = format!("--api-token-file={file}");
    let mut stand = Options::new().arg(flag).start().await;

    for headers in [&[][..], &[("authorization", "Bearer wrong")]] {
        let answer = stand.send(Method::GET, "/v1/nodes", headers, "").await;
        assert_eq!(answer.status, 401, "{answer}");
    }
    let right = [("authorization", "Bearer s3cret-api")];
    assert_eq!(
        stand
            .send(Method::GET, "/v1/nodes", &right, "")
            .await
            .status,
        200
    );
    assert_eq!(
        stand.get("/metrics").await.status,
        200,
        "scrapers have no token"
    );
    let refused = stand.weir(&["history"]).await;
    assert_eq!(
        refused.code,
        Some(2),
        "the question was not heard: {refused:#?}"
    );
    stand.weir(&["history", "--token-file", &file]).await.fine();
    assert!(!stand.control_plane().stderr().contains("s3cret"));
}

#[tokio::test]
async fn an_open_api_off_loopback_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let mut process = Launch::of("weir-control-plane")
        .arg(format!("--api=0.0.0.0:{}", free_port()))
        .arg(format!("--mesh={}", free_addr()))
        .arg(format!("--data-dir={}", directory.path().display()))
        .start();
    let status = process.wait_exit(DEADLINE).await;
    assert_eq!(status.code(), Some(2), "{}", process.tail());
    assert!(
        process.stderr().contains("--api-token-file"),
        "{}",
        process.tail()
    );
}
