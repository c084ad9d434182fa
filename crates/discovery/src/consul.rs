//! A client of Consul's HTTP API: the catalog and its health checks, the key-value store, sessions.
//!
//! For: what Weir asks of Consul, no more. Not for: choosing what to do about an answer. The one
//! idea: nothing is left open. Each call has a deadline over connecting, headers and body, a bound
//! on the body, and an error that names the address; a blocking query follows one set of index
//! rules (`blocking`); an answer without data (404) keeps its index.
//!
//! Each call has a connection of its own: blocking queries hold one for minutes anyway, and a
//! connection that is never kept cannot have died while it lay idle.

mod agent;
mod blocking;
mod catalog;
mod error;
mod health;
mod kv;
mod registrar;
mod session;
mod settings;
mod tls;
mod transport;
mod txn;

use std::sync::Arc;

pub use agent::{AgentSelf, CheckRegistration, Health, ServiceRegistration};
pub use error::Error;
pub use health::{Check, Instance, Node, Service, Weights};
pub use kv::{Entry, KvView, VALUE_BYTES_MAX};
pub use registrar::{Registrar, Registration};
pub use settings::{Settings, Token};
pub use txn::{Operation, Outcome, Refused, TXN_OPERATIONS_MAX};

use transport::Transport;

/// A client of one agent; clones share it.
#[derive(Clone, Debug)]
pub struct Consul {
    transport: Arc<Transport>,
}

/// What an endpoint answered, and the index that a blocking query can wait to see passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply<T> {
    /// The answer.
    pub value: T,
    /// `X-Consul-Index`; `None` where the endpoint has none.
    pub index: Option<u64>,
}

impl Consul {
    /// A client with these settings; reads the certificate files but calls nobody.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        Ok(Consul {
            transport: Arc::new(Transport::new(settings)?),
        })
    }

    /// A client as Consul's own environment variables say (see [`Settings::from_env`]).
    pub fn from_env() -> Result<Self, Error> {
        Consul::new(Settings::from_env()?)
    }

    /// The agent's address as `http://host:port` or `https://host:port`.
    pub fn address(&self) -> &str {
        self.transport.address()
    }
}

#[cfg(test)]
mod scripted;
