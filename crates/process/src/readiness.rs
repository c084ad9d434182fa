//! Whether the process is ready, and if not, what it waits for.
//!
//! Whatever has to be there first takes a named guard while the process starts, and releases it.
//! Guards are taken before the admin server starts; else it could say *ready* too early.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::sync::watch;

use crate::drain::{Drain, Phase};

/// Whether traffic should come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum State {
    /// The process is about to end.
    Draining,
    /// Nothing is waited for.
    Ready,
    /// Something is waited for.
    Starting,
}

impl State {
    /// The word in `/readyz`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Ready => "ready",
            Self::Starting => "starting",
        }
    }
}

/// Something that is waited for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// The name of its guard.
    pub name: Cow<'static, str>,
    /// Why it takes so long, when that is known.
    pub detail: Option<String>,
}

/// The readiness of a process. Clones share it.
#[derive(Clone, Debug)]
pub struct Readiness {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    drain: Drain,
    waiting: watch::Sender<Vec<(u64, Waiting)>>,
    next_id: AtomicU64,
}

impl Readiness {
    /// The readiness of a process that ends with this drain.
    pub fn new(drain: Drain) -> Self {
        let waiting = watch::Sender::new(Vec::new());
        Self {
            shared: Arc::new(Shared {
                drain,
                waiting,
                next_id: AtomicU64::new(0),
            }),
        }
    }

    /// Takes a guard: the process is not ready until it is released by [`Guard::ready`].
    pub fn guard(&self, name: impl Into<Cow<'static, str>>) -> Guard {
        let id = self.shared.next_id.fetch_add(1, Relaxed);
        let waiting = Waiting {
            name: name.into(),
            detail: None,
        };
        self.shared
            .waiting
            .send_modify(|all| all.push((id, waiting)));
        Guard {
            shared: Arc::clone(&self.shared),
            id,
        }
    }

    /// The present state.
    pub fn state(&self) -> State {
        if self.shared.drain.phase() > Phase::Serving {
            State::Draining
        } else if self.shared.waiting.borrow().is_empty() {
            State::Ready
        } else {
            State::Starting
        }
    }

    /// What is waited for, in the order in which the guards were taken.
    pub fn waiting(&self) -> Vec<Waiting> {
        self.shared
            .waiting
            .borrow()
            .iter()
            .map(|(_, waiting)| waiting.clone())
            .collect()
    }

    /// Waits until every guard is released.
    pub async fn ready(&self) {
        // It fails only when the sender is gone, and `self` holds it.
        let _ = self
            .shared
            .waiting
            .subscribe()
            .wait_for(Vec::is_empty)
            .await;
    }
}

/// Keeps the process from being ready. A guard that is dropped without [`Guard::ready`] keeps it
/// so for good: what it stood for has failed, and the process must not claim otherwise.
#[derive(Debug)]
#[must_use = "the process does not become ready before the guard is released"]
pub struct Guard {
    shared: Arc<Shared>,
    id: u64,
}

impl Guard {
    /// What the guard stands for is there.
    pub fn ready(self) {
        self.shared
            .waiting
            .send_modify(|all| all.retain(|(id, _)| *id != self.id));
    }

    /// Says why it takes so long, for `/readyz`.
    pub fn detail(&self, detail: impl Into<String>) {
        let detail = detail.into();
        self.shared.waiting.send_modify(|all| {
            if let Some((_, waiting)) = all.iter_mut().find(|(id, _)| *id == self.id) {
                waiting.detail = Some(detail);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_when_every_guard_is_released() {
        let drain = Drain::new();
        let readiness = Readiness::new(drain.clone());
        let configuration = readiness.guard("configuration");
        let listeners = readiness.guard(format!("listener {}", "web"));
        configuration.detail("control plane does not answer");
        assert_eq!(readiness.state(), State::Starting);
        let waiting = readiness.waiting();
        assert_eq!(waiting[0].name, "configuration");
        assert_eq!(
            waiting[0].detail.as_deref(),
            Some("control plane does not answer")
        );
        assert_eq!(waiting[1].name, "listener web");

        let ready = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.ready().await }
        });
        configuration.ready();
        assert_eq!(readiness.state(), State::Starting);
        listeners.ready();
        assert!(ready.await.is_ok());
        assert_eq!(readiness.state(), State::Ready);

        drain.request();
        assert_eq!(readiness.state(), State::Draining);
    }

    #[test]
    fn what_failed_is_never_ready() {
        let readiness = Readiness::new(Drain::new());
        drop(readiness.guard("identity"));
        assert_eq!(readiness.state(), State::Starting);
        assert_eq!(readiness.waiting()[0].name, "identity");
    }
}
