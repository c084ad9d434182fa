//! The proxies that are connected, what each runs, and whether all run the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::sync::watch;
use weir_config::ConfigError;
use weir_protocol::{Ack, NodeHello, NodeReport, RevisionNumber, Role};

/// Most nodes one control plane serves; further ones are told to come back later.
pub const NODES_MAX: usize = 10_000;

/// How long an instance stays in the membership after its stream broke without a goodbye: a restart
/// of the control plane or a cut network is not the end of the instance.
pub const ABSENCE_GRACE: Duration = Duration::from_secs(15);

/// One proxy as the API shows it.
#[derive(Debug, Clone, Serialize)]
pub struct Node {
    /// Its id.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// The service it stands beside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Its SPIFFE id.
    pub identity: String,
    /// Version of its binary.
    pub version: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// The revision it runs.
    pub running: RevisionNumber,
    /// The last revision it answered, accepted or not.
    pub answered: RevisionNumber,
    /// Why it refused `answered`; empty when it runs it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<ConfigError>,
    /// Its last report; sidecars only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub report: Option<NodeReport>,
    /// When its stream last opened or closed, seconds since 1970.
    pub since_unix: u64,
    /// Which opening of the stream this is; an old stream's end must not close a newer one.
    #[serde(skip)]
    stream: u64,
}

/// Who runs a revision.
#[derive(Debug, Clone, Default, Serialize, PartialEq, Eq)]
pub struct Convergence {
    /// The revision.
    pub number: RevisionNumber,
    /// Whether every connected node runs it or a later one.
    pub converged: bool,
    /// Nodes that run it.
    pub running: Vec<String>,
    /// Nodes that have not answered.
    pub pending: Vec<String>,
    /// Nodes that refused it, and why.
    pub refused: Vec<Refused>,
}

/// A node that refused a revision.
#[derive(Debug, Clone, Serialize, PartialEq, Eq)]
pub struct Refused {
    /// The node.
    pub node: String,
    /// Why.
    pub errors: Vec<ConfigError>,
}

/// Why a node is not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AdmitError {
    /// [`NODES_MAX`] are connected.
    #[error("this control plane serves {NODES_MAX} nodes already")]
    Full,
    /// The id is empty, too long or has other characters than `A-Za-z0-9._-`.
    #[error("a node id has 1 to 128 of the characters A-Z a-z 0-9 . _ -")]
    BadId,
    /// Another identity holds this node id.
    #[error("this node id belongs to another identity")]
    Taken,
}

/// All nodes.
#[derive(Debug)]
pub struct Nodes {
    table: Mutex<Table>,
    changed: watch::Sender<u64>,
    instances: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Table {
    nodes: BTreeMap<String, Node>,
    streams: u64,
}

/// A node's open stream; the node counts as gone when it is dropped.
#[derive(Debug)]
pub struct Presence {
    nodes: Arc<Nodes>,
    node: String,
    stream: u64,
}

impl Default for Nodes {
    fn default() -> Self {
        let (changed, _) = watch::channel(0);
        let (instances, _) = watch::channel(0);
        Nodes {
            table: Mutex::default(),
            changed,
            instances,
        }
    }
}

impl Nodes {
    /// A node opened its stream.
    ///
    /// # Errors
    /// Too many nodes, a bad id, or an id that another identity holds.
    pub fn connect(
        self: &Arc<Self>,
        hello: &NodeHello,
        identity: &str,
        now_unix: u64,
    ) -> Result<Presence, AdmitError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
        if hello.node.is_empty() || hello.node.len() > 128 || !hello.node.bytes().all(fits) {
            return Err(AdmitError::BadId);
        }
        let mut table = self.lock();
        let known = table.nodes.get(&hello.node);
        if known.is_some_and(|known| known.connected && known.identity != identity) {
            return Err(AdmitError::Taken);
        }
        if known.is_none() && table.nodes.len() >= NODES_MAX {
            return Err(AdmitError::Full);
        }
        let report = known.and_then(|known| known.report.clone());
        let is_instance = report.is_some();
        table.streams += 1;
        let stream = table.streams;
        table.nodes.insert(
            hello.node.clone(),
            Node {
                node: hello.node.clone(),
                role: hello.role,
                service: hello.service.clone(),
                identity: identity.to_owned(),
                version: hello.version.clone(),
                connected: true,
                running: hello.running,
                answered: hello.running,
                errors: Vec::new(),
                report,
                since_unix: now_unix,
                stream,
            },
        );
        drop(table);
        self.tick(is_instance);
        Ok(Presence {
            nodes: Arc::clone(self),
            node: hello.node.clone(),
            stream,
        })
    }

    /// A node answered a revision. Returns whether the node is known.
    pub fn acknowledge(&self, ack: Ack, identity: &str) -> bool {
        let mut table = self.lock();
        let Some(node) = table.known(&ack.node, identity) else {
            return false;
        };
        node.answered = ack.number;
        if ack.errors.is_empty() {
            node.running = ack.number;
        }
        node.errors = ack.errors;
        drop(table);
        self.tick(false);
        true
    }

    /// A sidecar reported. Returns whether the node is known. Most reports repeat the last one, as
    /// a sign of life, and change nothing.
    pub fn report(&self, report: NodeReport, identity: &str) -> bool {
        let mut table = self.lock();
        let Some(node) = table.known(&report.node, identity) else {
            return false;
        };
        if node.report.as_ref() != Some(&report) {
            node.report = Some(report);
            drop(table);
            self.tick(true);
        }
        true
    }

    /// Forgets nodes that have been away longer than [`ABSENCE_GRACE`].
    pub fn forget_absent(&self, now_unix: u64) {
        let mut table = self.lock();
        let before = table.nodes.len();
        table.nodes.retain(|_, node| {
            let left = node.report.as_ref().is_some_and(|report| report.leaving);
            node.connected || (!left && node.since_unix + ABSENCE_GRACE.as_secs() > now_unix)
        });
        let forgot = table.nodes.len() != before;
        drop(table);
        if forgot {
            self.tick(true);
        }
    }

    /// All nodes by id.
    #[must_use]
    pub fn all(&self) -> Vec<Node> {
        self.lock().nodes.values().cloned().collect()
    }

    /// Changes whenever anything about a node changes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Changes whenever anything changes that a membership is made of: what an instance reports,
    /// and whether its stream is open.
    #[must_use]
    pub fn instance_changes(&self) -> watch::Receiver<u64> {
        self.instances.subscribe()
    }

    /// Who runs this revision now.
    #[must_use]
    pub fn convergence(&self, number: RevisionNumber) -> Convergence {
        let mut report = Convergence {
            number,
            ..Convergence::default()
        };
        for node in self.lock().nodes.values().filter(|node| node.connected) {
            if node.running >= number {
                report.running.push(node.node.clone());
            } else if node.answered >= number {
                report.refused.push(Refused {
                    node: node.node.clone(),
                    errors: node.errors.clone(),
                });
            } else {
                report.pending.push(node.node.clone());
            }
        }
        report.converged = report.pending.is_empty() && report.refused.is_empty();
        report
    }

    /// Waits until every connected node answered this revision, or the time is over.
    pub async fn converge(&self, number: RevisionNumber, within: Duration) -> Convergence {
        let mut changes = self.changes();
        let all_answered = async {
            loop {
                changes.borrow_and_update();
                if !self.is_pending(number) {
                    return;
                }
                if changes.changed().await.is_err() {
                    return;
                }
            }
        };
        // Over or not, the report says how it stands.
        let _over = tokio::time::timeout(within, all_answered).await;
        self.convergence(number)
    }

    /// Whether a connected node has not answered this revision; asked with each answer.
    fn is_pending(&self, number: RevisionNumber) -> bool {
        let table = self.lock();
        let mut connected = table.nodes.values().filter(|node| node.connected);
        connected.any(|node| node.running < number && node.answered < number)
    }

    fn tick(&self, instances: bool) {
        self.changed.send_modify(|version| *version += 1);
        if instances {
            self.instances.send_modify(|version| *version += 1);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn known(&mut self, name: &str, identity: &str) -> Option<&mut Node> {
        let node = self.nodes.get_mut(name);
        node.filter(|node| node.identity == identity)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut is_instance = false;
        let mut table = self.nodes.lock();
        if let Some(node) = table
            .nodes
            .get_mut(&self.node)
            .filter(|node| node.stream == self.stream)
        {
            node.connected = false;
            node.since_unix = crate::unix_now();
            is_instance = node.report.is_some();
        }
        drop(table);
        self.nodes.tick(is_instance);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn hello(node: &str) -> NodeHello {
        NodeHello {
            node: node.to_owned(),
            role: Role::Gateway,
            service: None,
            version: "1".to_owned(),
            running: 0,
            takes_changes: true,
        }
    }

    fn ack(node: &str, number: u64, errors: Vec<ConfigError>) -> Ack {
        Ack {
            node: node.to_owned(),
            number,
            errors,
        }
    }

    fn error() -> ConfigError {
        ConfigError {
            path: "routes[0]".to_owned(),
            at: weir_config::Position { line: 1, column: 1 },
            problem: "bad".to_owned(),
            hint: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn converges_when_all_have_answered() {
        let nodes = Arc::new(Nodes::default());
        let _a = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        let _b = nodes.connect(&hello("b"), "id-b", 0).unwrap();
        assert!(nodes.acknowledge(ack("a", 3, Vec::new()), "id-a"));
        let early = nodes.converge(3, Duration::from_millis(10)).await;
        assert_eq!(early.pending, ["b"]);
        assert!(!early.converged);
        assert!(nodes.acknowledge(ack("b", 3, vec![error()]), "id-b"));
        let done = nodes.converge(3, Duration::from_secs(1)).await;
        assert_eq!(done.refused.len(), 1);
        assert!(!done.converged);
        assert!(nodes.acknowledge(ack("b", 4, Vec::new()), "id-b"));
        assert!(nodes.convergence(3).converged, "a later revision counts");
    }

    #[test]
    fn only_what_changes_an_instance_is_a_change_of_instances() {
        let nodes = Arc::new(Nodes::default());
        let mut changes = nodes.instance_changes();
        let mut changed = || {
            let changed = changes.has_changed().unwrap();
            changes.borrow_and_update();
            changed
        };
        let report = NodeReport {
            node: "a".to_owned(),
            address: "127.0.0.1:1".to_owned(),
            healthy: true,
            leaving: false,
            labels: BTreeMap::new(),
        };
        let presence = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        assert!(!changed(), "it has not reported yet");
        assert!(nodes.report(report.clone(), "id-a"));
        assert!(changed());
        assert!(nodes.report(report.clone(), "id-a"));
        assert!(!changed(), "the same again");
        assert!(nodes.acknowledge(ack("a", 1, Vec::new()), "id-a"));
        assert!(!changed(), "an answer to a revision");
        let ill = NodeReport {
            healthy: false,
            ..report
        };
        assert!(!nodes.report(ill.clone(), "id-b"));
        assert!(!changed(), "a report by another identity");
        assert!(nodes.report(ill, "id-a"));
        assert!(changed());
        drop(presence);
        assert!(changed(), "its stream ended");
        let presence = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        assert!(changed(), "it came back");
        drop(presence);
        assert!(changed());
        nodes.forget_absent(crate::unix_now() + ABSENCE_GRACE.as_secs() + 1);
        assert!(changed(), "it was forgotten");
    }

    #[test]
    fn another_identity_can_neither_take_nor_answer_for_a_node() {
        let nodes = Arc::new(Nodes::default());
        let presence = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        assert_eq!(
            nodes.connect(&hello("a"), "id-b", 0).unwrap_err(),
            AdmitError::Taken
        );
        assert!(!nodes.acknowledge(ack("a", 1, Vec::new()), "id-b"));
        drop(presence);
        assert!(nodes.connect(&hello("a"), "id-b", 0).is_ok());
    }

    #[test]
    fn the_end_of_an_old_stream_does_not_close_a_newer_one() {
        let nodes = Arc::new(Nodes::default());
        let old = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        let new = nodes.connect(&hello("a"), "id-a", 0).unwrap();
        drop(old);
        assert!(nodes.all()[0].connected);
        drop(new);
        assert!(!nodes.all()[0].connected);
        nodes.forget_absent(crate::unix_now() + ABSENCE_GRACE.as_secs() + 1);
        assert!(nodes.all().is_empty());
    }

    #[test]
    fn odd_node_ids_are_refused() {
        let nodes = Arc::new(Nodes::default());
        for id in ["", "a b", "a/b", &"x".repeat(129)] {
            assert_eq!(
                nodes.connect(&hello(id), "i", 0).unwrap_err(),
                AdmitError::BadId,
                "{id}"
            );
        }
    }
}
