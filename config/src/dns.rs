//! Endpoints by name: which records of which name are looked up, and who is asked.

use std::fmt;
use std::net::SocketAddr;

use crate::bounds::NAME_SERVERS_MAX;
use crate::declare::{by_key, empty, object, variants};
use crate::position::Located;
use crate::syntax::host::{dns_address, name_server, srv_name};
use crate::syntax::{at, list};

object! {
    /// Names of endpoints; `host:port` alone says it too.
    pub struct Dns: Eq {
        short at(dns_address()) => |address, _| Dns {
            target: DnsTarget::Address(address),
            name_servers: Vec::new(),
        };
        /// What is looked up.
        pub target: DnsTarget = by_key(),
        /// Who is asked, each `address:port`; Consul's agent for instance is at `127.0.0.1:8600`.
        /// With them, names are taken as they stand: neither `/etc/hosts` nor search domains count.
        pub name_servers: Vec<SocketAddr> = empty(
            list(name_server()).not_empty().at_most(NAME_SERVERS_MAX)
        ).note("those of `/etc/resolv.conf`"),
    }
}

variants! {
    /// What is looked up.
    pub enum DnsTarget: Eq {
        /// `host:port`: the A and AAAA records of the host, each an endpoint with this port. A dot
        /// behind the host (`users.internal.:80`) keeps search domains out.
        Address(Located<String>) = "address", at(dns_address()) => DnsTarget::Address,
        /// A name with SRV records such as `_http._tcp.users.internal`: they tell host, port,
        /// weight and priority.
        Srv(Located<String>) = "srv", at(srv_name()) => DnsTarget::Srv,
    }
}

impl Dns {
    /// The addresses behind `host:port`, asked for as the system does.
    pub fn address(host_and_port: impl Into<String>) -> Self {
        Dns {
            target: DnsTarget::Address(Located::unwritten(host_and_port.into())),
            name_servers: Vec::new(),
        }
    }

    /// What is looked up, as it was written.
    pub fn name(&self) -> &str {
        match &self.target {
            DnsTarget::Address(name) | DnsTarget::Srv(name) => &name.value,
        }
    }

    /// The name that endpoints prove to own where TLS is spoken: the host, or for SRV records the
    /// domain that was asked, without the labels of service and protocol (RFC 9525, section 6.1:
    /// what an answer without a signature leads to proves nothing).
    pub fn server_name(&self) -> &str {
        let whole = match &self.target {
            DnsTarget::Address(address) => {
                let address = address.value.as_str();
                address.rsplit_once(':').map_or(address, |(host, _)| host)
            }
            DnsTarget::Srv(name) => {
                let mut rest = name.value.as_str();
                while rest.starts_with('_')
                    && let Some((_, behind)) = rest.split_once('.')
                {
                    rest = behind;
                }
                rest
            }
        };
        let bare = whole.strip_suffix('.').unwrap_or(whole);
        bare.trim_start_matches('[').trim_end_matches(']')
    }
}

/// For people: what is looked up, and where.
impl fmt::Display for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.target {
            DnsTarget::Address(address) => write!(f, "{}", address.value)?,
            DnsTarget::Srv(name) => write!(f, "SRV {}", name.value)?,
        }
        let mut before = " at ";
        for server in &self.name_servers {
            write!(f, "{before}{server}")?;
            before = ", ";
        }
        Ok(())
    }
}
