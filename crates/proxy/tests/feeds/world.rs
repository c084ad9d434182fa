//! A node in this process.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::watch;
use weir_policy::snapshot::Role;
use weir_process::drain::{Drain, DrainTimes};
use weir_process::readiness::Readiness;
use weir_proxy::OwnSockets;
use weir_proxy::node::enrolment::Who;
use weir_proxy::node::reports::Instance;
use weir_proxy::node::state_dir::StateDir;
use weir_proxy::node::{ConfigSource, Node, NodeOptions, SidecarOptions, StartError};
use weir_proxy::store::MeshAddresses;
use weir_telemetry::Registry;
use weir_telemetry::access_log::LogTarget;
use weir_testkit::client::Client;

pub const DEADLINE: Duration = Duration::from_secs(20);
pub const TIMES: DrainTimes = DrainTimes {
    leaving: Duration::ZERO,
    total: Duration::from_secs(5),
};

/// What a test needs beside the node.
pub struct Around {
    pub drain: Drain,
    pub readiness: Readiness,
    pub registry: Registry,
}

pub fn around() -> Around {
    weir_identity::install_provider();
    let drain = Drain::new();
    Around {
        readiness: Readiness::new(drain.clone()),
        drain,
        registry: Registry::new(1),
    }
}

fn options(around: &Around, config: ConfigSource, state: &Path) -> NodeOptions {
    NodeOptions {
        zone: None,
        who: Who::gateway("edge-1"),
        role: Role::Gateway,
        config,
        state: StateDir::at(state),
        workers: 1,
        sockets: Arc::new(OwnSockets),
        discover: None,
        access_log: Some(LogTarget::Off),
        registry: around.registry.clone(),
        readiness: around.readiness.clone(),
        sidecar: None,
        shown: Arc::new(OnceLock::new()),
    }
}

pub async fn gateway(
    around: &Around,
    config: ConfigSource,
    state: &Path,
) -> Result<Node, StartError> {
    Node::start(options(around, config, state)).await
}

pub async fn sidecar(
    around: &Around,
    config: ConfigSource,
    state: &Path,
    application: std::net::SocketAddr,
    addresses: MeshAddresses,
    healthy: watch::Receiver<bool>,
) -> Node {
    let options = NodeOptions {
        who: Who::sidecar("users-1", "users"),
        role: Role::Sidecar {
            service: "users".to_owned(),
            application,
        },
        sidecar: Some(SidecarOptions {
            addresses,
            instance: Instance {
                node: "users-1".to_owned(),
                address: addresses.inbound.to_string(),
                labels: [("zone".to_owned(), "a".to_owned())].into(),
            },
            healthy,
        }),
        ..options(around, config, state)
    };
    Node::start(options).await.unwrap()
}

/// Status and body of a GET.
pub async fn get(url: &str) -> (u16, String) {
    match Client::http1().get(url).await {
        Ok(answer) => (answer.status.as_u16(), answer.text()),
        Err(error) => (0, error.to_string()),
    }
}
