//! Who serves each service, for the board: instances whose sidecars report here (`mesh:`), and what
//! Consul says (`consul:`, and `mesh:` where the store is Consul).

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use weir_config::Document;
use weir_config::bounds::PRIORITY_MAX;
use weir_config::endpoint::Endpoint;
use weir_config::service::Source;
use weir_discovery::{Discover, Discovery};

use crate::board::Board;
use crate::nodes::{ABSENCE_GRACE, Node, Nodes};
use crate::store::Stored;

mod consul_registration;

pub use consul_registration::ConsulRegistration;

/// How often absent nodes are looked for.
const SWEEP: Duration = Duration::from_secs(1);
/// Most membership changes of watched sources waiting to be written down.
const CHANGES_MAX: usize = 1024;

/// What a service's membership is made of.
#[derive(Debug, Clone, PartialEq)]
enum Want {
    /// The reports of sidecars of this service.
    Reports(String),
    /// A source that discovery follows.
    Watched(Source),
}

/// Keeps the board.
pub struct Registry {
    /// Sidecars' reports.
    pub nodes: Arc<Nodes>,
    /// What is kept.
    pub board: Arc<Board>,
    /// Follows `consul:` sources.
    pub discovery: Discovery,
    /// Registers instances in Consul, where the store is Consul.
    pub registration: Option<ConsulRegistration>,
    /// When this process began, seconds since 1970: reports of instances that outlived a restart of
    /// the control plane are waited for before a service is said to have none.
    pub began_unix: u64,
}

impl Registry {
    /// Runs until `ending`.
    pub async fn run(
        mut self,
        mut head: watch::Receiver<Option<Arc<Stored>>>,
        mut ending: watch::Receiver<bool>,
    ) {
        let mut changes = self.nodes.changes();
        let mut sweep = tokio::time::interval(SWEEP);
        let (told, mut watched) = mpsc::channel(CHANGES_MAX);
        let mut wants: BTreeMap<String, Want> = BTreeMap::new();
        let mut watches: HashMap<String, JoinHandle<()>> = HashMap::new();
        head.mark_changed();
        loop {
            tokio::select! {
                _ = ending.wait_for(|ending| *ending) => break,
                changed = head.changed() => {
                    if changed.is_err() { break }
                    let stored = head.borrow_and_update().clone();
                    if let Some(next) = stored.and_then(|stored| self.wants(&stored.text)) {
                        self.follow(&wants, &next, &mut watches, &told);
                        wants = next;
                        self.board.retain(|service| wants.contains_key(service));
                    }
                }
                changed = changes.changed() => {
                    if changed.is_err() { break }
                    changes.borrow_and_update();
                    if let Some(registration) = &mut self.registration {
                        registration.keep(&self.nodes.all());
                    }
                }
                Some((service, endpoints)) = watched.recv() => {
                    if wants.contains_key(&service) {
                        self.board.put(&service, endpoints);
                    }
                }
                _ = sweep.tick() => {
                    self.nodes.forget_absent(crate::unix_now());
                }
            }
            self.put_reported(&wants);
        }
        for (_, watch) in watches {
            watch.abort();
        }
        if let Some(registration) = &mut self.registration {
            registration.leave().await;
        }
    }

    /// What the services of a document need; `None` for a text that does not decode (the head
    /// always does, unless a newer version wrote it).
    fn wants(&self, text: &str) -> Option<BTreeMap<String, Want>> {
        let document = Document::from_yaml(text).ok()?;
        let mut wants = BTreeMap::new();
        for (name, service) in &document.services {
            let want = match &service.source {
                Source::Mesh(mesh) if self.registration.is_none() => {
                    Want::Reports(mesh.value.clone())
                }
                Source::Mesh(mesh) => Want::Watched(Source::Consul {
                    name: mesh.clone(),
                    tag: None,
                    datacenter: None,
                }),
                source @ Source::Consul { .. } => Want::Watched(source.clone()),
                Source::Dns(_) | Source::Endpoints(_) | Source::File(_) => continue,
            };
            wants.insert(name.value.clone(), want);
        }
        Some(wants)
    }

    /// Starts watches that are new, ends those that are gone or changed, leaves the others alone.
    fn follow(
        &self,
        before: &BTreeMap<String, Want>,
        next: &BTreeMap<String, Want>,
        watches: &mut HashMap<String, JoinHandle<()>>,
        told: &mpsc::Sender<(String, Vec<Endpoint>)>,
    ) {
        watches.retain(|service, watch| {
            let keep = next.get(service).is_some() && next.get(service) == before.get(service);
            if !keep {
                watch.abort();
            }
            keep
        });
        for (service, want) in next {
            let Want::Watched(source) = want else {
                continue;
            };
            if watches.contains_key(service) {
                continue;
            }
            let mut watch = self.discovery.watch(source);
            let (service, told) = (service.clone(), told.clone());
            let name = service.clone();
            let task = tokio::spawn(async move {
                while let Some(endpoints) = watch.next().await {
                    if told
                        .send((service.clone(), endpoints.to_vec()))
                        .await
                        .is_err()
                    {
                        return;
                    }
                }
            });
            watches.insert(name, task);
        }
    }

    fn put_reported(&self, wants: &BTreeMap<String, Want>) {
        let settled = crate::unix_now() >= self.began_unix + ABSENCE_GRACE.as_secs();
        let nodes = self.nodes.all();
        for (service, want) in wants {
            let Want::Reports(mesh) = want else { continue };
            let endpoints: Vec<Endpoint> = nodes
                .iter()
                .filter_map(|node| endpoint(node, mesh))
                .collect();
            if settled || !endpoints.is_empty() {
                self.board.put(service, endpoints);
            }
        }
    }
}

/// The endpoint of a sidecar's instance, if it is one of this service.
fn endpoint(node: &Node, service: &str) -> Option<Endpoint> {
    let report = node.report.as_ref()?;
    if node.service.as_deref() != Some(service) || report.leaving {
        return None;
    }
    let mut endpoint = Endpoint::plain(report.address.clone());
    endpoint.identity = Some(node.identity.clone());
    endpoint.zone = report.labels.get("zone").cloned().unwrap_or_default();
    let priority = report.labels.get("priority");
    let priority = priority.and_then(|text| text.parse::<u8>().ok());
    endpoint.priority = priority.unwrap_or(0).min(PRIORITY_MAX);
    endpoint.labels = report.labels.clone();
    endpoint.healthy = report.healthy;
    Some(endpoint)
}
