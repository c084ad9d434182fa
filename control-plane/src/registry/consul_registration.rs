//! Registers the instances whose sidecars report here in the Consul catalog, with a TTL check that
//! is passed while the sidecar's stream is open and its application answers.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use weir_discovery::consul::{Consul, Registrar, Registration};
use weir_protocol::Role;

use crate::nodes::Node;

/// An instance that was not heard of for this long is critical.
const TTL: Duration = Duration::from_secs(15);
/// A critical instance is removed by Consul after this time; its least is a minute.
const DEREGISTER_AFTER: Duration = Duration::from_secs(60);
/// How long the removal of our instances may take when we end.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// One instance as Consul is told.
#[derive(Debug, Clone, PartialEq)]
struct Instance {
    registration: Registration,
    healthy: bool,
}

/// Keeps Consul's catalog like the nodes that report here.
#[derive(Debug)]
pub struct ConsulRegistration {
    wanted: watch::Sender<BTreeMap<String, Instance>>,
    registrar: Arc<Registrar>,
    tasks: [JoinHandle<()>; 2],
}

impl ConsulRegistration {
    /// With this agent.
    #[must_use]
    pub fn new(consul: Consul) -> Self {
        let registrar = Arc::new(Registrar::new(consul));
        let (wanted, changes) = watch::channel(BTreeMap::new());
        let renewing = Arc::clone(&registrar);
        let following = Arc::clone(&registrar);
        let tasks = [
            tokio::spawn(async move { renewing.run().await }),
            tokio::spawn(follow(following, changes)),
        ];
        ConsulRegistration {
            wanted,
            registrar,
            tasks,
        }
    }

    /// Takes the nodes as they are now.
    pub fn keep(&mut self, nodes: &[Node]) {
        let wanted: BTreeMap<String, Instance> = nodes
            .iter()
            .filter_map(|node| Some((node.node.clone(), instance(node)?)))
            .collect();
        self.wanted.send_if_modified(|before| {
            let changed = *before != wanted;
            *before = wanted;
            changed
        });
    }

    /// Removes all our instances.
    pub async fn leave(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        let removed = tokio::time::timeout(LEAVE_TIMEOUT, self.registrar.deregister_all()).await;
        match removed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "instances stay in consul until their TTL"),
            Err(_) => tracing::warn!("consul does not answer; instances stay until their TTL"),
        }
    }
}

/// Brings Consul from what it was told to what is wanted, change by change.
async fn follow(
    registrar: Arc<Registrar>,
    mut changes: watch::Receiver<BTreeMap<String, Instance>>,
) {
    let mut told: BTreeMap<String, Instance> = BTreeMap::new();
    loop {
        let wanted = changes.borrow_and_update().clone();
        for (id, instance) in &wanted {
            if let Err(error) = tell(&registrar, told.get(id), id, instance).await {
                // The registrar keeps it and tries again on its own.
                tracing::warn!(%error, instance = id, "consul was not told");
            }
        }
        for id in told.keys().filter(|id| !wanted.contains_key(*id)) {
            if let Err(error) = registrar.deregister(id).await {
                tracing::warn!(%error, instance = id, "instance stays in consul until its TTL");
            }
        }
        told = wanted;
        if changes.changed().await.is_err() {
            return;
        }
    }
}

async fn tell(
    registrar: &Registrar,
    before: Option<&Instance>,
    id: &str,
    instance: &Instance,
) -> Result<(), weir_discovery::consul::Error> {
    if before.is_none_or(|before| before.registration != instance.registration) {
        registrar.register(instance.registration.clone()).await?;
    }
    if instance.healthy {
        registrar.pass(id).await?;
    } else {
        registrar
            .fail(
                id,
                "the application does not answer, or its sidecar is away",
            )
            .await?;
    }
    Ok(())
}

/// The registration of a sidecar's instance; `None` for nodes that are none, or are leaving.
fn instance(node: &Node) -> Option<Instance> {
    let report = node.report.as_ref().filter(|report| !report.leaving)?;
    if node.role != Role::Sidecar {
        return None;
    }
    let (address, port) = report.address.rsplit_once(':')?;
    let mut meta = report.labels.clone();
    meta.insert("weir-identity".to_owned(), node.identity.clone());
    let registration = Registration {
        id: node.node.clone(),
        name: node.service.clone()?,
        address: address.trim_matches(['[', ']']).to_owned(),
        port: port.parse().ok()?,
        tags: vec!["weir".to_owned()],
        meta,
        ttl: TTL,
        deregister_after: Some(DEREGISTER_AFTER),
    };
    Some(Instance {
        registration,
        healthy: report.healthy && node.connected,
    })
}
