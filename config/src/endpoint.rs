//! An endpoint: one address where a service answers, as written in a document, found by discovery
//! or sent by the control plane.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bounds::{ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX, PRIORITY_MAX};
use crate::declare::{defaulted, empty, object, optional, required};
use crate::decode::Decoder;
use crate::error::ConfigErrors;
use crate::syntax::host::{host_port, spiffe_id};
use crate::syntax::plain::whole;
use crate::syntax::text::{labels, zone};
use crate::syntax::{Syntax, list, of};

/// One address of a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Endpoint {
    /// `host:port`; the host is an IP address (IPv6 in brackets) or a DNS name.
    pub address: String,
    /// Relative share of the load, 1 to 1000; 1 unless told.
    #[serde(default = "one")]
    pub weight: u32,
    /// Where it stands; empty when unknown.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub zone: String,
    /// The level it belongs to, 0 to 15: a higher one is used when too few of those below it are
    /// fit.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub priority: u8,
    /// The SPIFFE id that must answer here; with it the connection is mTLS, without it as the
    /// service says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Free labels (Consul tags and meta, for instance).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Whether discovery holds it healthy; an unhealthy one is used only in panic.
    #[serde(default = "yes")]
    pub healthy: bool,
}

fn one() -> u32 {
    1
}

fn is_zero(priority: &u8) -> bool {
    *priority == 0
}

fn yes() -> bool {
    true
}

impl Endpoint {
    /// A healthy plain endpoint of weight 1.
    pub fn plain(address: impl Into<String>) -> Self {
        Endpoint {
            address: address.into(),
            weight: 1,
            zone: String::new(),
            priority: 0,
            identity: None,
            labels: BTreeMap::new(),
            healthy: true,
        }
    }

    /// Reads a file of endpoints (`file:` of a service): a YAML or JSON list, each entry as under
    /// `endpoints:`. It may be empty.
    ///
    /// # Errors
    /// Every error of the text at once, in order of place.
    pub fn list_from_yaml(text: &str) -> Result<Vec<Endpoint>, ConfigErrors> {
        let mut decoder = Decoder::default();
        let entries = crate::yaml::parse(text, &mut decoder).and_then(|node| {
            list(of::<EndpointEntry>())
                .at_most(ENDPOINTS_MAX)
                .read(&node, &mut decoder)
        });
        let entries = decoder.finish(entries).map_err(ConfigErrors::from)?;
        Ok(entries.into_iter().map(Endpoint::from).collect())
    }
}

object! {
    /// One address of a service; the address alone says it too.
    pub(crate) struct EndpointEntry {
        short host_port() => |address, _| EndpointEntry {
            address,
            weight: 1,
            zone: None,
            priority: 0,
            identity: None,
            labels: Vec::new(),
        };
        /// `host:port`; the host is an IP address (IPv6 in brackets) or a DNS name.
        pub address: String = required(host_port()),
        /// Relative share of the load.
        pub weight: u32 = defaulted(whole(1, ENDPOINT_WEIGHT_MAX), 1),
        /// The zone it stands in.
        pub zone: Option<String> = optional(zone()).note("unknown"),
        /// The level it belongs to: a higher one is used when too few of those below it are fit.
        pub priority: u8 = defaulted(whole(0, PRIORITY_MAX), 0),
        /// The SPIFFE id that must answer here: the connection is then mTLS.
        pub identity: Option<String> = optional(spiffe_id()).note("as the service's `tls` says"),
        /// Free labels, by which routes may choose.
        pub labels: Vec<(String, String)> = empty(labels()),
    }
}

impl From<EndpointEntry> for Endpoint {
    fn from(entry: EndpointEntry) -> Self {
        Endpoint {
            address: entry.address,
            weight: entry.weight,
            zone: entry.zone.unwrap_or_default(),
            priority: entry.priority,
            identity: entry.identity,
            labels: entry.labels.into_iter().collect(),
            healthy: true,
        }
    }
}
