//! Nodes with a control plane.

use std::fs;
use std::path::Path;
use std::time::Duration;

use http::{Method, Request};
use tempfile::tempdir;
use tokio::sync::watch;
use weir_config::endpoint::Endpoint;
use weir_process::drain::DrainOutcome;
use weir_process::readiness::State;
use weir_protocol::{MembershipChange, Update};
use weir_proxy::node::enrolment::EnrolError;
use weir_proxy::node::{ConfigSource, StartError};
use weir_proxy::store::MeshAddresses;
use weir_testkit::client::Client;
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Reply, Upstream};

use crate::mesh_port::{MeshPort, Trust};
use crate::world::{DEADLINE, TIMES, around, gateway, get, sidecar};

const HOUR: Duration = Duration::from_secs(3600);

fn source(port: &MeshPort, trust: &Trust, directory: &Path) -> ConfigSource {
    let token = directory.join("join-token");
    fs::write(&token, trust.token.expose()).unwrap();
    let url = format!("https://{}", port.address).parse().unwrap();
    ConfigSource::ControlPlane {
        url,
        join_token_file: Some(token),
    }
}

fn document(web: std::net::SocketAddr, path: &str) -> String {
    format!(
        "listeners: {{ web: {{ bind: \"{web}\" }} }}\n\
         services: {{ users: {{ mesh: users }} }}\n\
         routes: [{{ path: \"{path}\", to: users }}]\n"
    )
}

fn plain(upstream: &Upstream) -> Vec<Endpoint> {
    vec![Endpoint::plain(upstream.addr().to_string())]
}

#[tokio::test]
async fn a_gateway_joins_runs_what_it_is_told_and_answers() {
    let trust = Trust::new(HOUR);
    let port = MeshPort::start(&trust);
    let (one, two) = (
        Upstream::start(Reply::ok("one")),
        Upstream::start(Reply::ok("two")),
    );
    let (web, directory) = (free_addr(), tempdir().unwrap());
    port.set_members("users", plain(&one));
    let around = around();
    let config = source(&port, &trust, directory.path());
    let node = gateway(&around, config, &directory.path().join("state"))
        .await
        .unwrap();
    assert_eq!(around.readiness.state(), State::Starting);

    port.set_revision(1, &document(web, "/a"));
    around.readiness.ready().await;
    let url = |path: &str| format!("http://{web}{path}");
    assert_eq!(get(&url("/a")).await, (200, "one".to_owned()));
    eventually(DEADLINE, async || port.heard(|heard| heard.acks.len()) == 1).await;
    port.heard(|heard| {
        assert_eq!((heard.acks[0].number, heard.acks[0].errors.len()), (1, 0));
        assert_eq!(heard.hellos[0].running, 0);
        assert_eq!(heard.issued, [true]);
    });

    // A refused revision is answered with every error and changes nothing.
    port.set_revision(2, "services: { users: { mash: users } }\nroutes: nothing\n");
    eventually(DEADLINE, async || port.heard(|heard| heard.acks.len()) == 2).await;
    port.heard(|heard| assert!(heard.acks[1].errors.len() >= 2, "{:?}", heard.acks[1]));
    assert_eq!(get(&url("/a")).await, (200, "one".to_owned()));

    // What is not understood is skipped; members move; a good revision follows.
    port.tell_text("{\"type\":\"weather\",\"sun\":true}");
    port.set_members("users", plain(&two));
    port.set_revision(3, &document(web, "/b"));
    eventually(DEADLINE, async || {
        get(&url("/b")).await == (200, "two".to_owned())
    })
    .await;
    assert_eq!(get(&url("/a")).await.0, 404);
    assert_eq!(
        port.heard(|heard| heard.hellos.len()),
        1,
        "the stream never broke"
    );
    assert_eq!(node.end(&around.drain, TIMES).await, DrainOutcome::Drained);
}

#[tokio::test]
async fn members_change_one_by_one_and_a_change_that_does_not_fit_brings_them_whole() {
    let trust = Trust::new(HOUR);
    let port = MeshPort::start(&trust);
    let (one, two) = (
        Upstream::start(Reply::ok("one")),
        Upstream::start(Reply::ok("two")),
    );
    let (web, directory) = (free_addr(), tempdir().unwrap());
    port.set_members("users", plain(&one));
    port.set_revision(1, &document(web, "/*"));
    let around = around();
    let config = source(&port, &trust, directory.path());
    let node = gateway(&around, config, &directory.path().join("state"))
        .await
        .unwrap();
    around.readiness.ready().await;
    let url = format!("http://{web}/");
    assert_eq!(get(&url).await, (200, "one".to_owned()));
    port.heard(|heard| assert!(heard.hellos[0].takes_changes));

    // The second comes and the first goes, on the same stream.
    let change = MembershipChange {
        service: "users".to_owned(),
        endpoints: plain(&two),
        gone: vec![one.addr().to_string()],
        count: 1,
    };
    port.tell(&Update::MembershipChange(change.clone()));
    eventually(DEADLINE, async || {
        get(&url).await == (200, "two".to_owned())
    })
    .await;
    port.heard(|heard| assert_eq!(heard.hellos.len(), 1));

    // This one stands on something else: the node asks for everything again, and this port's
    // memberships are as they were set.
    let unfit = MembershipChange { count: 5, ..change };
    port.tell(&Update::MembershipChange(unfit));
    eventually(DEADLINE, async || {
        get(&url).await == (200, "one".to_owned())
    })
    .await;
    port.heard(|heard| assert_eq!(heard.hellos.len(), 2));
    assert_eq!(node.end(&around.drain, TIMES).await, DrainOutcome::Drained);
}

#[tokio::test]
async fn it_starts_from_the_last_good_copy_while_the_control_plane_is_away() {
    let trust = Trust::new(HOUR);
    let port = MeshPort::start(&trust);
    let upstream = Upstream::start(Reply::ok("users"));
    let (web, directory) = (free_addr(), tempdir().unwrap());
    let state = directory.path().join("state");
    let config = source(&port, &trust, directory.path());
    port.set_members("users", plain(&upstream));
    port.set_revision(7, &document(web, "/*"));
    let url = format!("http://{web}/x");
    let first = around();
    let node = gateway(&first, config.clone(), &state).await.unwrap();
    first.readiness.ready().await;
    assert_eq!(get(&url).await.0, 200);
    let kept = state.join("last-good.json");
    eventually(DEADLINE, async || kept.exists()).await;

    // Away: it goes on serving, and so does one that starts now.
    let address = port.address;
    drop(port);
    assert_eq!(get(&url).await.0, 200);
    node.end(&first.drain, TIMES).await;
    let second = around();
    let node = gateway(&second, config, &state).await.unwrap();
    assert_eq!(second.readiness.state(), State::Ready);
    assert_eq!(get(&url).await, (200, "users".to_owned()));

    // Back: it says what it runs, and takes what is new.
    let port = MeshPort::start_at(&trust, address);
    eventually(DEADLINE, async || {
        port.heard(|heard| heard.hellos.len()) > 0
    })
    .await;
    port.heard(|heard| {
        assert_eq!(heard.hellos[0].running, 7);
        assert!(heard.issued.is_empty(), "the kept certificate was enough");
    });
    port.set_revision(8, &document(web, "/new"));
    eventually(DEADLINE, async || {
        get(&format!("http://{web}/new")).await.0 == 200
    })
    .await;
    drop(node);
}

#[tokio::test]
async fn a_short_certificate_is_renewed_by_itself() {
    let trust = Trust::new(Duration::from_secs(4));
    let port = MeshPort::start(&trust);
    let directory = tempdir().unwrap();
    let state = directory.path().join("state");
    let around = around();
    let config = source(&port, &trust, directory.path());
    let node = gateway(&around, config, &state).await.unwrap();
    let kept = state.join("identity.json");
    let first = fs::read_to_string(&kept).unwrap();
    eventually(DEADLINE, async || {
        port.heard(|heard| heard.issued.len()) >= 3
    })
    .await;
    port.heard(|heard| assert_eq!(heard.issued[..3], [true, false, false]));
    eventually(DEADLINE, async || {
        fs::read_to_string(&kept).unwrap() != first
    })
    .await;
    drop(node);
}

#[tokio::test]
async fn without_a_token_there_is_no_first_certificate() {
    let trust = Trust::new(HOUR);
    let port = MeshPort::start(&trust);
    let directory = tempdir().unwrap();
    let around = around();
    let ConfigSource::ControlPlane { url, .. } = source(&port, &trust, directory.path()) else {
        unreachable!()
    };
    let no_token = ConfigSource::ControlPlane {
        url: url.clone(),
        join_token_file: None,
    };
    let state = directory.path().join("state");
    let error = gateway(&around, no_token, &state).await.err().unwrap();
    assert!(
        matches!(error, StartError::Enrol(EnrolError::NoToken)),
        "{error}"
    );

    // A token for another root: the control plane is not believed, and the secret not sent.
    let other = Trust::new(HOUR);
    let token = directory.path().join("other-token");
    fs::write(&token, other.token.expose()).unwrap();
    let config = ConfigSource::ControlPlane {
        url,
        join_token_file: Some(token),
    };
    let waiting = gateway(&around, config, &state);
    assert!(
        tokio::time::timeout(Duration::from_millis(500), waiting)
            .await
            .is_err()
    );
    assert!(port.heard(|heard| heard.issued.is_empty()));
}

#[tokio::test]
async fn a_sidecar_reports_its_application_and_says_goodbye() {
    let trust = Trust::new(HOUR);
    let port = MeshPort::start(&trust);
    let application = Upstream::start(Reply::ok("application"));
    let orders = Upstream::start(Reply::ok("orders"));
    let directory = tempdir().unwrap();
    let addresses = MeshAddresses {
        outbound: free_addr(),
        inbound: free_addr(),
    };
    let (health, healthy) = watch::channel(false);
    let around = around();
    let node = sidecar(
        &around,
        source(&port, &trust, directory.path()),
        &directory.path().join("state"),
        application.addr(),
        addresses,
        healthy,
    )
    .await;
    port.set_revision(
        1,
        "services: { users: { mesh: users }, orders: { mesh: orders } }\n",
    );
    port.set_members("orders", plain(&orders));
    around.readiness.ready().await;

    // Healthy when it is, at once.
    health.send_replace(true);
    eventually(DEADLINE, async || {
        port.heard(|heard| heard.reports.iter().any(|one| one.healthy))
    })
    .await;
    port.heard(|heard| {
        let last = heard.reports.last().unwrap();
        assert_eq!(last.address, addresses.inbound.to_string());
        assert_eq!(last.labels["zone"], "a");
        assert!(!heard.reports[0].healthy && !last.leaving);
    });

    // Out by name; in only with a certificate.
    let outbound = Client::http1().connect_to(addresses.outbound);
    let request = Request::builder()
        .method(Method::GET)
        .uri("http://orders/1")
        .body(bytes::Bytes::new());
    eventually(DEADLINE, async || {
        let answer = outbound.send(request.as_ref().unwrap().clone()).await;
        answer.is_ok_and(|answer| answer.text() == "orders")
    })
    .await;
    assert_eq!(get(&format!("https://{}/", addresses.inbound)).await.0, 0);
    assert_eq!(application.request_count(), 0);

    assert_eq!(node.end(&around.drain, TIMES).await, DrainOutcome::Drained);
    port.heard(|heard| assert!(heard.reports.last().unwrap().leaving));
}
