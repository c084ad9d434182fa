//! `/v1/health/service`: the instances of a service with their checks, and what they mean to us.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use weir_config::bounds::{
    ENDPOINT_LABELS_MAX, ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX, LABEL_NAME_BYTES_MAX,
    LABEL_VALUE_BYTES_MAX, PRIORITY_MAX,
};
use weir_config::endpoint::Endpoint;

use super::agent::Health;
use super::blocking::{self, Query};
use super::error::Error;
use super::transport::{Answer, Call};
use super::{Consul, Reply};
use crate::watch::Watch;

/// One instance of a service.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Instance {
    /// Where its agent runs.
    pub node: Node,
    /// The instance itself.
    pub service: Service,
    /// The checks of the instance and of its node.
    #[serde(deserialize_with = "nullable")]
    pub checks: Vec<Check>,
}

/// The node of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Node {
    /// Its name.
    pub node: String,
    /// Its IP address.
    pub address: String,
    /// Free pairs.
    #[serde(default, deserialize_with = "nullable")]
    pub meta: BTreeMap<String, String>,
}

/// A registered instance.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Service {
    /// Unique on its node.
    #[serde(rename = "ID")]
    pub id: String,
    /// The name of the service.
    pub service: String,
    /// Its address; empty: the node's.
    #[serde(default)]
    pub address: String,
    /// Its port; zero: none registered.
    #[serde(default)]
    pub port: u16,
    /// Free words.
    #[serde(default, deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// Free pairs.
    #[serde(default, deserialize_with = "nullable")]
    pub meta: BTreeMap<String, String>,
    /// Shares of the load.
    #[serde(default, deserialize_with = "nullable")]
    pub weights: Weights,
}

/// Shares of the load by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Weights {
    /// While all checks pass.
    pub passing: u32,
    /// While one warns.
    pub warning: u32,
}

impl Default for Weights {
    fn default() -> Self {
        Weights {
            passing: 1,
            warning: 1,
        }
    }
}

/// One check of an instance or node.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Check {
    /// Unique on its node.
    #[serde(rename = "CheckID")]
    pub check_id: String,
    /// What it says.
    pub status: Health,
}

/// Key of the meta data of an instance that holds its SPIFFE id.
const META_IDENTITY: &str = "weir-identity";
/// Key of the meta data of an instance, or else of its node, that holds its zone.
const META_ZONE: &str = "zone";
/// Key of the meta data of an instance that holds its level.
const META_PRIORITY: &str = "priority";
/// Checks with which Consul marks maintenance of a node, and of a service by prefix.
const NODE_MAINTENANCE: &str = "_node_maintenance";
const SERVICE_MAINTENANCE: &str = "_service_maintenance:";

impl Consul {
    /// All instances of a service, whatever their health.
    pub async fn health_service(
        &self,
        name: &str,
        tag: Option<&str>,
        datacenter: Option<&str>,
    ) -> Result<Reply<Vec<Instance>>, Error> {
        let answer = self
            .transport
            .succeed(service_call(name, tag, datacenter))
            .await?;
        Ok(Reply {
            value: answer.json()?,
            index: answer.index,
        })
    }

    /// Follows the instances of a service: passing and warning ones are healthy, critical ones are
    /// listed as unhealthy, those in maintenance and those without a port are left out.
    pub fn watch_service(&self, name: &str, tag: Option<&str>, datacenter: Option<&str>) -> Watch {
        let owned = |text: &str| text.to_owned();
        let query = ServiceQuery {
            name: name.to_owned(),
            tag: tag.map(owned),
            datacenter: datacenter.map(owned),
        };
        blocking::watch(self.clone(), query)
    }
}

/// Default consistency on purpose: a server without a leader then refuses, and we keep what we
/// have, where a stale read could answer from an empty state.
fn service_call(name: &str, tag: Option<&str>, datacenter: Option<&str>) -> Call {
    Call::get("health/service")
        .segment(name)
        .query_some("tag", tag)
        .query_some("dc", datacenter)
}

struct ServiceQuery {
    name: String,
    tag: Option<String>,
    datacenter: Option<String>,
}

impl Query for ServiceQuery {
    type Value = [Endpoint];

    fn name(&self) -> &str {
        &self.name
    }

    fn call(&self) -> Call {
        service_call(&self.name, self.tag.as_deref(), self.datacenter.as_deref())
    }

    fn decode(&self, answer: Answer) -> Result<Arc<[Endpoint]>, crate::Error> {
        let instances: Vec<Instance> = answer.success()?.json()?;
        if instances.len() > ENDPOINTS_MAX {
            let name = self.name.clone();
            return Err(crate::Error::TooMany {
                name,
                count: instances.len(),
            });
        }
        let mut endpoints: Vec<Endpoint> = instances.iter().filter_map(endpoint).collect();
        // Consul's order is not part of its promise; an order of our own keeps it from being a
        // change.
        endpoints.sort_unstable();
        Ok(endpoints.into())
    }

    fn is_empty(value: &[Endpoint]) -> bool {
        value.is_empty()
    }

    fn is_same(shown: &[Endpoint], value: &[Endpoint]) -> bool {
        shown == value
    }
}

/// What an instance means to us; `None` when it must not be used at all.
fn endpoint(instance: &Instance) -> Option<Endpoint> {
    let (service, node) = (&instance.service, &instance.node);
    let maintained = |check: &Check| {
        check.check_id == NODE_MAINTENANCE || check.check_id.starts_with(SERVICE_MAINTENANCE)
    };
    if service.port == 0 || instance.checks.iter().any(maintained) {
        return None;
    }
    let host = if service.address.is_empty() {
        &node.address
    } else {
        &service.address
    };
    let address = match host.contains(':') {
        true => format!("[{host}]:{}", service.port),
        false => format!("{host}:{}", service.port),
    };
    let zone = service
        .meta
        .get(META_ZONE)
        .or_else(|| node.meta.get(META_ZONE));
    let priority = service.meta.get(META_PRIORITY);
    let priority = priority.and_then(|text| text.parse::<u8>().ok());
    Some(Endpoint {
        address,
        weight: service.weights.passing.clamp(1, ENDPOINT_WEIGHT_MAX),
        zone: zone.cloned().unwrap_or_default(),
        priority: priority.unwrap_or(0).min(PRIORITY_MAX),
        identity: service
            .meta
            .get(META_IDENTITY)
            .filter(|id| !id.is_empty())
            .cloned(),
        labels: labels(service),
        healthy: instance
            .checks
            .iter()
            .all(|check| check.status != Health::Critical),
    })
}

/// Meta data as it is, and each tag as `tag.NAME: true`. Past the bound of labels the rest is left
/// out: Consul has the same one for meta data, but none for tags.
fn labels(service: &Service) -> BTreeMap<String, String> {
    let tags = service.tags.iter();
    let tags = tags.map(|tag| (format!("tag.{tag}"), "true".to_owned()));
    let meta = service.meta.clone().into_iter();
    let fits = |(name, value): &(String, String)| {
        name.len() <= LABEL_NAME_BYTES_MAX && value.len() <= LABEL_VALUE_BYTES_MAX
    };
    meta.chain(tags)
        .filter(fits)
        .take(ENDPOINT_LABELS_MAX)
        .collect()
}

/// Consul writes `null` for an empty list or object.
pub(super) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn instance(service: &str, checks: &str) -> Instance {
        serde_json::from_str(&format!(
            r#"{{"Node": {{"Node": "n1", "Address": "10.0.0.9", "Meta": {{"zone": "b"}}}},
                "Service": {service}, "Checks": {checks}}}"#
        ))
        .unwrap()
    }

    #[test]
    fn an_instance_becomes_an_endpoint() {
        let found = instance(
            r#"{"ID": "u1", "Service": "users", "Address": "2001:db8::1", "Port": 80,
                "Tags": ["canary"], "Weights": {"Passing": 7, "Warning": 1},
                "Meta": {"weir-identity": "spiffe://weir.internal/service/users", "zone": "a",
                "priority": "1"}}"#,
            r#"[{"CheckID": "c", "Status": "warning"}]"#,
        );
        let endpoint = endpoint(&found).unwrap();
        assert_eq!(
            (endpoint.address.as_str(), endpoint.weight),
            ("[2001:db8::1]:80", 7)
        );
        assert_eq!((endpoint.zone.as_str(), endpoint.healthy), ("a", true));
        assert_eq!(endpoint.priority, 1);
        assert_eq!(
            endpoint.identity.unwrap(),
            "spiffe://weir.internal/service/users"
        );
        assert_eq!(endpoint.labels["tag.canary"], "true");
    }

    #[test]
    fn labels_are_bounded() {
        let tags: Vec<_> = (0..100).map(|tag| format!("\"t{tag}\"")).collect();
        let service = format!(
            r#"{{"ID": "u1", "Service": "users", "Port": 80, "Tags": ["{}", {}],
                "Meta": {{"version": "v2", "priority": "99"}}}}"#,
            "x".repeat(LABEL_NAME_BYTES_MAX),
            tags.join(", ")
        );
        let endpoint = endpoint(&instance(&service, "[]")).unwrap();
        assert_eq!(endpoint.labels.len(), ENDPOINT_LABELS_MAX);
        assert_eq!(endpoint.labels["version"], "v2");
        assert!(!endpoint.labels.keys().any(|name| name.ends_with("xx")));
        assert_eq!(endpoint.priority, PRIORITY_MAX);
    }

    #[test]
    fn nulls_and_gaps_fall_back_to_the_node() {
        let found = instance(
            r#"{"ID": "u1", "Service": "users", "Address": "", "Port": 80, "Tags": null,
                "Meta": null, "Weights": null}"#,
            "null",
        );
        let endpoint = endpoint(&found).unwrap();
        assert_eq!(
            (endpoint.address.as_str(), endpoint.weight),
            ("10.0.0.9:80", 1)
        );
        assert_eq!((endpoint.zone.as_str(), endpoint.identity), ("b", None));
    }

    #[test]
    fn checks_decide_health_and_maintenance() {
        let service = r#"{"ID": "u1", "Service": "users", "Port": 80}"#;
        let with = |id: &str, status: &str| {
            instance(
                service,
                &format!(r#"[{{"CheckID": "{id}", "Status": "{status}"}}]"#),
            )
        };
        assert!(endpoint(&with("c", "passing")).unwrap().healthy);
        assert!(!endpoint(&with("c", "critical")).unwrap().healthy);
        assert!(endpoint(&with("_node_maintenance", "critical")).is_none());
        assert!(endpoint(&with("_service_maintenance:u1", "critical")).is_none());
        let portless = r#"{"ID": "u1", "Service": "users", "Port": 0}"#;
        assert!(endpoint(&instance(portless, "[]")).is_none());
    }
}
