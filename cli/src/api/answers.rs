//! What the control plane answers, as far as the command reads it. Members that are not known here
//! are ignored, so that a newer control plane is understood.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use weir_config::ConfigError;
use weir_config::endpoint::Endpoint;
use weir_protocol::{RevisionNumber, Role};

/// An error answer (RFC 9457).
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Problem {
    pub(crate) code: String,
    pub(crate) title: String,
    pub(crate) status: u16,
    #[serde(default)]
    pub(crate) detail: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<ConfigError>,
    #[serde(flatten)]
    pub(crate) more: Map<String, Value>,
}

impl Problem {
    /// Whether the control plane understood the question and said no.
    pub(crate) fn is_a_no(&self) -> bool {
        matches!(self.code.as_str(), "conflict" | "invalid" | "no-revision")
    }
}

/// A revision without its text.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Revision {
    pub(crate) number: RevisionNumber,
    pub(crate) digest: String,
    pub(crate) bytes: u64,
    pub(crate) accepted_unix: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) author: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) rollback_to: Option<RevisionNumber>,
}

/// The revisions that are kept, newest first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Revisions {
    pub(crate) revisions: Vec<Revision>,
}

/// What a write did.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Written {
    pub(crate) revision: Revision,
    pub(crate) changed: bool,
    #[serde(default)]
    pub(crate) warnings: Vec<ConfigError>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) convergence: Option<Convergence>,
}

/// Who runs a revision.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Convergence {
    pub(crate) number: RevisionNumber,
    pub(crate) converged: bool,
    pub(crate) running: Vec<String>,
    pub(crate) pending: Vec<String>,
    pub(crate) refused: Vec<Refused>,
}

/// A node that refused a revision.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Refused {
    pub(crate) node: String,
    pub(crate) errors: Vec<ConfigError>,
}

/// The proxies.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Nodes {
    pub(crate) revision: RevisionNumber,
    pub(crate) converged: bool,
    pub(crate) nodes: Vec<Node>,
}

/// One proxy.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Node {
    pub(crate) node: String,
    pub(crate) role: Role,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<String>,
    pub(crate) version: String,
    pub(crate) connected: bool,
    pub(crate) running: RevisionNumber,
    pub(crate) answered: RevisionNumber,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) errors: Vec<ConfigError>,
    pub(crate) since_unix: u64,
}

/// The services that discovery follows.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Services {
    pub(crate) services: Vec<Service>,
}

/// One service.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Service {
    pub(crate) service: String,
    pub(crate) endpoints: Vec<Endpoint>,
}

/// Whether the control plane serves.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Readiness {
    pub(crate) status: String,
    #[serde(default)]
    pub(crate) store: String,
}
