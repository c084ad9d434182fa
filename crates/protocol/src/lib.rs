//! Messages between control plane and proxies, as JSON.
//!
//! A proxy (a *node*) obtains a certificate ([`IssueRequest`]), then opens one stream: it says who
//! it is and what it has ([`NodeHello`]) and reads [`Update`]s, one JSON object per line. It
//! answers each revision with an [`Ack`] and tells about its application with [`NodeReport`]s.
//! Unknown fields are ignored in both directions, so that neighbouring versions understand each
//! other.

use serde::{Deserialize, Serialize};
use weir_config::ConfigError;
use weir_config::endpoint::Endpoint;

mod change;

pub use change::MembershipChange;

/// Paths on the mesh port.
pub mod paths {
    /// `POST` [`IssueRequest`](super::IssueRequest) → [`IssueResponse`](super::IssueResponse).
    pub const ISSUE: &str = "/v1/identity/issue";
    /// `POST` [`NodeHello`](super::NodeHello) → a stream of [`Update`](super::Update) lines.
    pub const STREAM: &str = "/v1/nodes/stream";
    /// `POST` [`Ack`](super::Ack).
    pub const ACK: &str = "/v1/nodes/ack";
    /// `POST` [`NodeReport`](super::NodeReport).
    pub const REPORT: &str = "/v1/nodes/report";
}

/// Longest line of a stream, bytes: a document at its bound, escaped, fits.
pub const LINE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// How often the control plane says [`Update::Ping`]; a stream silent for three of them is dead.
pub const PING_INTERVAL: std::time::Duration = std::time::Duration::from_secs(5);

/// What kind of proxy a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// An edge gateway.
    Gateway,
    /// The sidecar of one service instance.
    Sidecar,
}

/// The number of an accepted document: 1, 2, 3, … in one control plane; 0 is "none yet".
pub type RevisionNumber = u64;

/// An accepted document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number.
    pub number: RevisionNumber,
    /// SHA-256 of `text`, lowercase hexadecimal.
    pub digest: String,
    /// The YAML text as it was written.
    pub text: String,
}

/// Who endpoints of one service are now; replaces what was known of this service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    /// The service's name in the document.
    pub service: String,
    /// All its endpoints.
    pub endpoints: Vec<Endpoint>,
}

/// One line of a node's stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Update {
    /// The roots to trust, PEM; sent first and when they change.
    Bundle {
        /// One or more PEM certificates.
        bundle_pem: String,
    },
    /// Endpoints of a service changed.
    Membership(Membership),
    /// Some endpoints of a service changed since the stream spoke of it last; only for nodes that
    /// say that they take it.
    MembershipChange(MembershipChange),
    /// Nothing; proves that the stream lives.
    Ping,
    /// A document to run; answered with an [`Ack`].
    Revision(Revision),
}

/// A node introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeHello {
    /// Unique among running nodes, `[A-Za-z0-9._-]{1,128}`.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// The service it stands beside; sidecars only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Version of the binary.
    pub version: String,
    /// The revision it runs (its last good copy, for instance); 0 for none.
    pub running: RevisionNumber,
    /// Whether it understands [`Update::MembershipChange`]; those that do not are told whole
    /// memberships.
    #[serde(default)]
    pub takes_changes: bool,
}

/// A node's answer to a revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// The node.
    pub node: String,
    /// The revision it answers.
    pub number: RevisionNumber,
    /// Empty: it runs. Otherwise why it was refused; the node keeps what it ran before.
    #[serde(default)]
    pub errors: Vec<ConfigError>,
}

/// What a sidecar says of the instance it stands beside; sent when it changes and every 5 s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeReport {
    /// The node.
    pub node: String,
    /// `host:port` where other proxies reach its inbound listener.
    pub address: String,
    /// Whether the application answers.
    pub healthy: bool,
    /// The instance is going away: take it out of the membership now.
    #[serde(default)]
    pub leaving: bool,
    /// Free labels of this instance (`zone`, `version`, …).
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A request for a certificate. Authorized by a join token's secret or a valid certificate of the
/// same identity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueRequest {
    /// PKCS#10 request, PEM.
    pub csr_pem: String,
    /// The node's id.
    pub node: String,
    /// What it is.
    pub role: Role,
    /// The service it stands beside; sidecars only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

/// A certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssueResponse {
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// Roots to trust, PEM.
    pub bundle_pem: String,
    /// When the leaf starts, seconds since 1970.
    pub not_before_unix: u64,
    /// When the leaf ends, seconds since 1970.
    pub not_after_unix: u64,
    /// The SPIFFE id in it.
    pub spiffe_id: String,
}
