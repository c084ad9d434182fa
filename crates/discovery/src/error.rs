//! Why a source cannot say who is there: whose fault it is and what to do about it.

use std::path::PathBuf;

use weir_config::ConfigErrors;
use weir_config::bounds::{DOCUMENT_BYTES_MAX, ENDPOINTS_MAX, SRV_TARGETS_MAX};

/// A failure of one source; shown on status pages while the last good membership stays in force.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The target of `dns:` is not `host:port`: the document's fault.
    #[error("address {address:?} is not host:port; write for instance users.internal:8080")]
    Address {
        /// What was written.
        address: String,
    },
    /// A call to Consul failed: the agent's fault, or the network's.
    #[cfg(feature = "consul")]
    #[error(transparent)]
    Consul(#[from] crate::consul::Error),
    /// The document names a Consul service but this process has no agent to ask: the operator's.
    #[error("service {service:?} comes from Consul but no agent is set; set CONSUL_HTTP_ADDR")]
    ConsulUnset {
        /// Its name in the catalog.
        service: String,
    },
    /// No name server answered to the point: their fault, or the network's.
    #[error("looking up {host:?} failed: {source}")]
    Dns {
        /// The name asked for.
        host: String,
        /// What the resolver says.
        source: hickory_resolver::net::NetError,
    },
    /// A name server answered that there is nothing: whoever keeps the zone, or the document.
    #[error("looking up {host:?}: {lacks}")]
    DnsNegative {
        /// The name asked for.
        host: String,
        /// What there is not.
        lacks: &'static str,
    },
    /// The SRV records of a name lead to too many hosts.
    #[error(
        "the SRV records of {name:?} lead to {count} hosts; at most {SRV_TARGETS_MAX} are followed"
    )]
    DnsTargets {
        /// The name asked for.
        name: String,
        /// How many hosts.
        count: usize,
    },
    /// The source lists nobody although it did before, right after it came back from an outage or
    /// lost its memory: not believed until it has said so for a while.
    #[error("{name:?} came back empty after an outage; keeping the last answer for now")]
    Emptied {
        /// The service or key.
        name: String,
    },
    /// The list of endpoints cannot be read or its directory cannot be watched.
    #[error("file {}: {source}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The list of endpoints is not what it should be: its author's fault. Every error of the file,
    /// one a line, each with its place.
    #[error("file {}: {errors}", path.display())]
    FileFormat {
        /// Its path.
        path: PathBuf,
        /// What is wrong.
        errors: ConfigErrors,
    },
    /// The list of endpoints is larger than a document may be, or is not text.
    #[error("file {}: must be UTF-8 of at most {DOCUMENT_BYTES_MAX} bytes", path.display())]
    FileText {
        /// Its path.
        path: PathBuf,
    },
    /// The document names a mesh service but this process has not joined a mesh: the operator's.
    #[error("service {service:?} comes from the mesh but no control plane is set; set one")]
    MeshUnjoined {
        /// Its name.
        service: String,
    },
    /// The source lists more endpoints than a service may have; the last list is kept rather than
    /// an arbitrary part of the new one.
    #[error("{name:?} lists {count} endpoints; at most {ENDPOINTS_MAX} are allowed")]
    TooMany {
        /// The service, file or name.
        name: String,
        /// How many it lists.
        count: usize,
    },
}

impl Error {
    /// Whether the source answered, and knows of nobody.
    pub(crate) fn is_negative(&self) -> bool {
        matches!(self, Error::DnsNegative { .. } | Error::Emptied { .. })
    }
}
