//! Why a call to Consul failed, and at which address.

use std::path::PathBuf;
use std::time::Duration;

/// A failed call. Never holds the token.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The connection ended before the answer did: the agent stopped, or the network.
    #[error("consul at {address}: the connection broke: {source}")]
    Broken {
        /// The agent's address.
        address: String,
        /// What the HTTP client says.
        source: hyper::Error,
    },
    /// A file with the token, roots or client certificate cannot be used: the operator's fault.
    #[error("consul: {variable} names {}: {problem}", path.display())]
    Credentials {
        /// The environment variable that usually names it.
        variable: &'static str,
        /// Its path.
        path: PathBuf,
        /// What is wrong with it; never its content.
        problem: String,
    },
    /// The answer is not what the API promises: not Consul, or a version unlike those we know.
    #[error("consul at {address}: cannot decode the answer of {what}: {problem}")]
    Decode {
        /// The agent's address.
        address: String,
        /// Which call.
        what: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A setting is wrong: the operator's fault.
    #[error("consul: {variable}: {problem}")]
    Setting {
        /// The environment variable that usually sets it.
        variable: &'static str,
        /// What is wrong and what to write instead.
        problem: String,
    },
    /// The agent refused, or could not: see the code. 403 is the token's fault, 500 often means
    /// that there is no leader.
    #[error("consul at {address}: {what} answered {code}: {body}")]
    Status {
        /// The agent's address.
        address: String,
        /// Which call.
        what: &'static str,
        /// HTTP status.
        code: u16,
        /// The first part of the body.
        body: String,
    },
    /// No whole answer in time.
    #[error("consul at {address}: {what} took longer than {after:?}")]
    Timeout {
        /// The agent's address.
        address: String,
        /// Which call.
        what: &'static str,
        /// The deadline that passed.
        after: Duration,
    },
    /// What was to be sent, or what came, is larger than allowed.
    #[error("consul at {address}: {what} is larger than {bytes_max} bytes")]
    TooLarge {
        /// The agent's address.
        address: String,
        /// Which call.
        what: &'static str,
        /// The bound.
        bytes_max: usize,
    },
    /// More operations than a transaction may have: the caller's fault.
    #[error("a transaction has {count} operations; at most {count_max} are allowed")]
    TooManyOperations {
        /// How many it has.
        count: usize,
        /// The bound.
        count_max: usize,
    },
    /// No connection: nobody listens, no route, or TLS failed.
    #[error("consul at {address} is unreachable: {source}")]
    Unreachable {
        /// The agent's address.
        address: String,
        /// What the system says.
        source: std::io::Error,
    },
}
