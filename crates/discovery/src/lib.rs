//! Where services and endpoints come from, behind one trait.
//!
//! For: turning a [`Source`] of a document into a [`Watch`] of who is there now. Not for: choosing
//! among endpoints (`weir-policy`) or asking them how they are (`weir-proxy`). The one idea:
//! discovery is a hint, so a source that fails keeps its last answer, says since when it fails, and
//! never turns an outage of its own into an empty membership.

mod address;
mod backoff;
#[cfg(feature = "consul")]
pub mod consul;
mod dns;
mod error;
mod file;
mod fixed;
mod watch;

use weir_config::service::Source;

pub use error::Error;
pub use watch::{Asked, Status, Watch};

/// Something that knows who serves a source.
pub trait Discover: Send + Sync {
    /// Follows `source`; the watch ends (and frees what it holds) when it is dropped. A source that
    /// nothing here can follow gives a watch that ends at once and says why in its status.
    ///
    /// Must be called inside a tokio runtime: what is watched runs as a task of that runtime.
    fn watch(&self, source: &Source) -> Watch;
}

/// The sources that this process can follow: fixed lists, files and DNS, and Consul where given.
#[derive(Clone, Default)]
pub struct Discovery {
    #[cfg(feature = "consul")]
    consul: Option<consul::Consul>,
}

impl Discovery {
    /// Follows `endpoints:`, `file:` and `dns:`.
    pub fn new() -> Self {
        Discovery::default()
    }

    /// Follows `consul:` through this agent as well.
    #[cfg(feature = "consul")]
    pub fn with_consul(mut self, consul: consul::Consul) -> Self {
        self.consul = Some(consul);
        self
    }

    #[cfg(feature = "consul")]
    fn watch_consul(&self, name: &str, tag: Option<&str>, datacenter: Option<&str>) -> Watch {
        match &self.consul {
            Some(consul) => consul.watch_service(name, tag, datacenter),
            None => Watch::failed(Error::ConsulUnset {
                service: name.to_owned(),
            }),
        }
    }

    #[cfg(not(feature = "consul"))]
    fn watch_consul(&self, name: &str, _tag: Option<&str>, _datacenter: Option<&str>) -> Watch {
        Watch::failed(Error::ConsulUnset {
            service: name.to_owned(),
        })
    }
}

impl Discover for Discovery {
    fn watch(&self, source: &Source) -> Watch {
        match source {
            Source::Consul {
                name,
                tag,
                datacenter,
            } => self.watch_consul(&name.value, tag.as_deref(), datacenter.as_deref()),
            Source::Dns(dns) => dns::watch(dns),
            Source::Endpoints(endpoints) => fixed::watch(endpoints),
            Source::File(path) => file::watch(&path.value),
            Source::Mesh(name) => Watch::failed(Error::MeshUnjoined {
                service: name.value.clone(),
            }),
        }
    }
}
