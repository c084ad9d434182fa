//! What the handlers of both ports share.

use std::sync::Arc;

use tokio::sync::watch;

use crate::board::Board;
use crate::inject::InjectOptions;
use crate::metrics::Metrics;
use crate::nodes::Nodes;
use crate::revisions::Revisions;
use crate::stream::{Encoded, Sources};
use crate::trust::Trust;

/// Shared by the handlers of API and mesh port.
#[derive(Debug)]
pub struct State {
    /// Documents.
    pub revisions: Revisions,
    /// Proxies.
    pub nodes: Arc<Nodes>,
    /// The newest revision as nodes are sent it.
    pub encoded: Arc<Encoded>,
    /// Memberships.
    pub board: Arc<Board>,
    /// The certificate authority.
    pub trust: Trust,
    /// What is injected.
    pub inject: InjectOptions,
    /// What the API asks of callers; `None`: nothing (loopback only).
    pub api_token: Option<ApiToken>,
    /// Counters.
    pub metrics: Metrics,
    /// True when the control plane ends.
    pub ending: watch::Receiver<bool>,
}

/// The bearer token of the API.
pub struct ApiToken(String);

impl ApiToken {
    /// From a file's text.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty()).then(|| ApiToken(text.to_owned()))
    }

    /// Compares without telling by its duration where they differ.
    #[must_use]
    pub fn accepts(&self, bearer: &str) -> bool {
        use sha2::{Digest as _, Sha256};
        // Digests of equal length; comparing them whole leaks nothing of the token.
        let (a, b) = (
            Sha256::digest(self.0.as_bytes()),
            Sha256::digest(bearer.as_bytes()),
        );
        a.iter()
            .zip(b.iter())
            .fold(0, |differ, (a, b)| differ | (a ^ b))
            == 0
    }
}

impl std::fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ApiToken(hidden)")
    }
}

impl State {
    /// What a node's stream reads from.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            head: self.revisions.head(),
            encoded: Arc::clone(&self.encoded),
            bundle: self.trust.bundle(),
            board: Arc::clone(&self.board),
            ending: self.ending.clone(),
        }
    }
}
