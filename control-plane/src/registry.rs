//! Who serves each service, for the board: instances whose sidecars report here (`mesh:`), and what
//! Consul says (`consul:`, and `mesh:` where the store is Consul).
//!
//! Every instance that joins changes a membership that goes to every node, so a fleet that starts
//! would make as many pushes as it has instances, each longer than the one before. Therefore the
//! first change is told at once, and those of the next [`GATHER`] together.

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
mod pace;

use pace::Pace;

pub use consul_registration::ConsulRegistration;

/// Least time from one generation of memberships to the next, and from one reading of what the
/// sidecars reported to the next; a change waits for both at most. Short beside what a proxy needs
/// to find out for itself that an endpoint is gone.
const GATHER: Duration = Duration::from_millis(100);
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
        let mut changes = self.nodes.instance_changes();
        let mut sweep = tokio::time::interval(SWEEP);
        let (told, mut watched) = mpsc::channel(CHANGES_MAX);
        let mut wants: BTreeMap<String, Want> = BTreeMap::new();
        let mut watches: HashMap<String, JoinHandle<()>> = HashMap::new();
        let (mut read, mut publish) = (Pace::new(GATHER), Pace::new(GATHER));
        let mut settled = false;
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
                        // Proxies are about to need the services that are new in it.
                        self.read_nodes(&wants, settled);
                        self.board.publish();
                    }
                }
                changed = changes.changed(), if !read.is_wanted() => {
                    if changed.is_err() { break }
                    read.want();
                }
                Some((service, endpoints)) = watched.recv() => {
                    if wants.contains_key(&service) {
                        self.board.put(&service, endpoints);
                    }
                }
                _ = sweep.tick() => {
                    self.nodes.forget_absent(crate::unix_now());
                    if !settled && self.is_settled() {
                        settled = true;
                        read.want();
                    }
                }
                () = read.due() => {
                    changes.borrow_and_update();
                    self.read_nodes(&wants, settled);
                    read.done();
                }
                () = publish.due() => {
                    self.board.publish();
                    publish.done();
                }
            }
            if self.board.has_pending() {
                publish.want();
            }
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

    /// Whether every instance that outlived a restart of the control plane has had the time to
    /// report.
    fn is_settled(&self) -> bool {
        crate::unix_now() >= self.began_unix + ABSENCE_GRACE.as_secs()
    }

    /// Takes the instances as their sidecars report them now, into the catalog or onto the board.
    fn read_nodes(&mut self, wants: &BTreeMap<String, Want>, settled: bool) {
        let nodes = self.nodes.all();
        if let Some(registration) = &mut self.registration {
            registration.keep(&nodes);
        }
        let mut reported: HashMap<&str, Vec<Endpoint>> = HashMap::new();
        for want in wants.values() {
            if let Want::Reports(mesh) = want {
                reported.insert(mesh, Vec::new());
            }
        }
        for node in &nodes {
            let endpoints = node.service.as_deref();
            let endpoints = endpoints.and_then(|service| reported.get_mut(service));
            if let Some(endpoints) = endpoints {
                endpoints.extend(endpoint(node));
            }
        }
        for (service, want) in wants {
            let Want::Reports(mesh) = want else { continue };
            let endpoints = reported.get(mesh.as_str()).cloned().unwrap_or_default();
            if settled || !endpoints.is_empty() {
                self.board.put(service, endpoints);
            }
        }
    }
}

/// The endpoint of a sidecar's instance; `None` before it has reported, and when it goes away.
fn endpoint(node: &Node) -> Option<Endpoint> {
    let report = node.report.as_ref().filter(|report| !report.leaving)?;
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use weir_protocol::{NodeHello, NodeReport, Role};

    use super::*;
    use crate::nodes::Presence;
    use crate::store::RevisionInfo;

    struct Stand {
        nodes: Arc<Nodes>,
        board: Arc<Board>,
        head: watch::Sender<Option<Arc<Stored>>>,
        _end: watch::Sender<bool>,
        streams: Vec<Presence>,
    }

    impl Stand {
        /// A registry without Consul that runs a document with these services.
        fn start(services: &[&str]) -> Stand {
            let (nodes, board) = (Arc::new(Nodes::default()), Arc::new(Board::default()));
            let (head, documents) = watch::channel(Some(document(1, services)));
            let (end, ending) = watch::channel(false);
            let registry = Registry {
                nodes: Arc::clone(&nodes),
                board: Arc::clone(&board),
                discovery: Discovery::new(),
                registration: None,
                began_unix: crate::unix_now(),
            };
            tokio::spawn(registry.run(documents, ending));
            Stand {
                nodes,
                board,
                head,
                _end: end,
                streams: Vec::new(),
            }
        }

        fn join(&mut self, index: usize, service: &str) {
            let hello = NodeHello {
                node: format!("node-{index}"),
                role: Role::Sidecar,
                service: Some(service.to_owned()),
                version: "1".to_owned(),
                running: 0,
                takes_changes: true,
            };
            self.streams
                .push(self.nodes.connect(&hello, "id", 0).unwrap());
            self.report(index, true);
        }

        fn report(&self, index: usize, healthy: bool) {
            let report = NodeReport {
                node: format!("node-{index}"),
                address: format!("127.0.0.1:{}", 1000 + index),
                healthy,
                leaving: false,
                labels: BTreeMap::new(),
            };
            assert!(self.nodes.report(report, "id"));
        }

        fn members(&self, service: &str) -> usize {
            self.board.all().get(service).map_or(0, |all| all.len())
        }

        fn generation(&self) -> u64 {
            *self.board.changes().borrow()
        }
    }

    fn document(number: u64, services: &[&str]) -> Arc<Stored> {
        let mut text = "listeners: { web: { bind: \"127.0.0.1:0\" } }\nservices:\n".to_owned();
        for service in services {
            text.push_str(&format!("  {service}: {{ mesh: {service} }}\n"));
        }
        let info = RevisionInfo {
            number,
            digest: String::new(),
            bytes: text.len() as u64,
            accepted_unix: 0,
            author: None,
            rollback_to: None,
        };
        let text = text.into();
        Arc::new(Stored { info, text })
    }

    async fn pass(milliseconds: u64) {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_change_is_told_at_once_and_the_next_ones_together() {
        let mut stand = Stand::start(&["users"]);
        pass(500).await;
        let before = stand.generation();
        stand.join(0, "users");
        pass(5).await;
        assert_eq!(
            (stand.members("users"), stand.generation()),
            (1, before + 1)
        );
        for index in 1..50 {
            stand.join(index, "users");
            pass(1).await;
        }
        assert_eq!(stand.members("users"), 1, "gathered");
        pass(100).await;
        assert_eq!(
            (stand.members("users"), stand.generation()),
            (50, before + 2)
        );
        // Signs of life change nothing.
        for index in 0..50 {
            stand.report(index, true);
        }
        pass(5000).await;
        assert_eq!(stand.generation(), before + 2);
        // Quiet was long enough: one that fails is told at once again.
        stand.report(7, false);
        pass(5).await;
        assert_eq!(stand.generation(), before + 3);
        let ill = stand.board.all();
        assert_eq!(ill["users"].iter().filter(|it| !it.healthy).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_change_is_lost_however_it_falls_into_a_window() {
        let mut stand = Stand::start(&["users", "orders"]);
        for index in 0..40 {
            let service = if index % 2 == 0 { "users" } else { "orders" };
            stand.join(index, service);
            // From together to one window apart, and past it.
            pass((index as u64 * 7) % 130).await;
        }
        pass(200).await;
        assert_eq!((stand.members("users"), stand.members("orders")), (20, 20));
        assert!(stand.generation() < 40, "{}", stand.generation());
    }

    #[tokio::test(start_paused = true)]
    async fn a_document_is_followed_by_its_memberships_without_waiting() {
        let mut stand = Stand::start(&["users"]);
        pass(500).await;
        stand.join(0, "orders");
        stand.join(1, "users");
        pass(2).await;
        stand
            .head
            .send_replace(Some(document(2, &["users", "orders"])));
        pass(2).await;
        assert_eq!((stand.members("users"), stand.members("orders")), (1, 1));
        stand.head.send_replace(Some(document(3, &["users"])));
        pass(2).await;
        assert_eq!((stand.members("users"), stand.members("orders")), (1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn of_a_service_without_instances_nothing_is_said_before_they_had_time_to_come_back() {
        let stand = Stand::start(&["users"]);
        pass(2000).await;
        assert!(stand.board.all().is_empty());
    }
}
