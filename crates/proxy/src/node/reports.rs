//! What a sidecar tells the control plane of the instance that it stands beside: where others reach
//! it, and whether its application answers. Every five seconds, at every change, and once more to
//! say goodbye.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use weir_protocol::{NodeReport, PING_INTERVAL, paths};

use super::link::Link;
use crate::store::InForce;

/// What does not change of a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// The node's id.
    pub node: String,
    /// `host:port` where other proxies reach its inbound listener.
    pub address: String,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
}

/// The reports of one instance.
#[derive(Debug)]
pub(crate) struct Reports {
    instance: Instance,
    healthy: watch::Receiver<bool>,
    link: watch::Receiver<Option<Link>>,
    /// The listeners are open when a document is in force; nobody is sent here before.
    serving: watch::Receiver<Option<Arc<InForce>>>,
}

impl Reports {
    pub(crate) fn new(
        instance: Instance,
        healthy: watch::Receiver<bool>,
        link: watch::Receiver<Option<Link>>,
        serving: watch::Receiver<Option<Arc<InForce>>>,
    ) -> Self {
        Self {
            instance,
            healthy,
            link,
            serving,
        }
    }

    /// Reports until told to leave; the last thing said is goodbye.
    pub(crate) async fn follow(mut self, mut leave: mpsc::Receiver<oneshot::Sender<()>>) {
        loop {
            self.link.borrow_and_update();
            self.healthy.borrow_and_update();
            self.serving.borrow_and_update();
            let sent = tokio::select! {
                sent = self.send(false) => sent,
                done = leave.recv() => return self.leave(done).await,
            };
            let pause = if sent { PING_INTERVAL } else { RETRY };
            let ends = tokio::select! {
                changed = self.link.changed() => changed.is_err(),
                changed = self.healthy.changed() => changed.is_err(),
                changed = self.serving.changed() => changed.is_err(),
                () = sleep(pause) => false,
                done = leave.recv() => return self.leave(done).await,
            };
            if ends {
                return;
            }
        }
    }

    /// Says goodbye: once the control plane has heard it, nobody new is sent here. Tries for a
    /// moment; one that is away finds out by itself.
    async fn leave(&mut self, done: Option<oneshot::Sender<()>>) {
        let deadline = Instant::now() + LEAVE_TIME_MAX;
        let said = async {
            while !self.send(true).await {
                // A connection may be opening at this very moment.
                let _ = timeout(RETRY, self.link.changed()).await;
            }
        };
        if timeout_at(deadline, said).await.is_err() {
            tracing::warn!("the control plane could not be told that this instance leaves");
        }
        if let Some(done) = done {
            let _ = done.send(());
        }
    }

    /// Sends one report, if there is anybody to send it to. Says whether nothing is left to do.
    async fn send(&self, leaving: bool) -> bool {
        let Some(link) = self.link.borrow().clone() else {
            return false;
        };
        let report = NodeReport {
            node: self.instance.node.clone(),
            address: self.instance.address.clone(),
            healthy: *self.healthy.borrow() && self.serving.borrow().is_some(),
            leaving,
            labels: self.instance.labels.clone(),
        };
        match link.post(paths::REPORT, &report, None).await {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(%error, "the report did not reach the control plane");
                false
            }
        }
    }
}

const RETRY: Duration = Duration::from_secs(1);
const LEAVE_TIME_MAX: Duration = Duration::from_secs(2);
