//! Listeners that pass connections on: every service resolved, every name taken once.

use std::collections::HashMap;
use std::time::Duration;

use weir_config::broken::{Doubts, Section};
use weir_config::listener::Listener as Written;
use weir_config::resilience::{Retry, Timeouts};
use weir_config::route::Destination as WrittenDestination;
use weir_config::service::{Service, Source};
use weir_config::{Document, Position};

use super::faults::{Faults, did_you_mean};
use super::{services, subsets};
use crate::resilience::{RetryPlan, TimeoutPlan};
use crate::snapshot::{Destination, Service as Compiled, ServiceId};
use crate::tunnel::{TunnelPlan, Tunnels};

/// Whether connections of a listener, or those that are left of them, carry HTTP.
pub(super) fn carries_http(listener: &Written) -> bool {
    listener.tcp.is_none() && (listener.sni.is_empty() || listener.tls.is_some())
}

/// Checks what the listeners of the document pass on, and that no route is attached to one that
/// carries no HTTP.
pub(super) fn check(document: &Document, doubts: &Doubts, faults: &mut Faults) {
    let services = services::by_name(document);
    for (name, listener) in &document.listeners {
        if doubts.entry(Section::Listeners, &name.value) {
            continue;
        }
        let path = format!("listeners.{}", name.value);
        if let Some(tcp) = &listener.tcp {
            let path = format!("{path}.tcp.to");
            check_destinations(document, doubts, &services, &tcp.to, &path, faults);
        }
        let mut taken = HashMap::new();
        for (index, entry) in listener.sni.iter().enumerate() {
            let path = format!("{path}.sni[{index}]");
            for host in &entry.hosts {
                if let Some(line) = taken.insert(&host.value, host.at.line) {
                    let problem = format!("`{}` is taken in line {line}", host.value);
                    faults.error(format!("{path}.hosts"), host.at, problem, None);
                }
            }
            let path = format!("{path}.to");
            check_destinations(document, doubts, &services, &entry.to, &path, faults);
        }
    }
    check_routes(document, doubts, faults);
    check_connects(document, doubts, &services, faults);
}

/// Routes for CONNECT lead to no service of the mesh.
fn check_connects(
    document: &Document,
    doubts: &Doubts,
    services: &HashMap<&str, ServiceId>,
    faults: &mut Faults,
) {
    let connects = document.routes.iter().enumerate();
    for (index, route) in connects.filter(|(_, route)| route.connect().is_some()) {
        for (key, destination) in route.action.destinations() {
            // Whether there is such a service is asked of all routes.
            if services.contains_key(destination.service.value.as_str()) {
                let path = format!("routes[{index}].{key}.service");
                check_destination(document, doubts, services, destination, path, faults);
            }
        }
    }
}

fn check_routes(document: &Document, doubts: &Doubts, faults: &mut Faults) {
    for (index, route) in document.routes.iter().enumerate() {
        for (nr, attached) in route.listeners.iter().enumerate() {
            let named =
                |(name, _): &&(weir_config::Located<String>, Written)| name.value == attached.value;
            let Some((name, listener)) = document.listeners.iter().find(named) else {
                continue;
            };
            if carries_http(listener) || doubts.entry(Section::Listeners, &name.value) {
                continue;
            }
            let path = format!("routes[{index}].listeners[{nr}]");
            let problem = format!("listener `{}` carries no HTTP", name.value);
            let hint = "it passes connections on as they are; routes are for requests".to_owned();
            faults.error(path, attached.at, problem, Some(hint));
        }
    }
}

fn check_destinations(
    document: &Document,
    doubts: &Doubts,
    services: &HashMap<&str, ServiceId>,
    to: &[WrittenDestination],
    path: &str,
    faults: &mut Faults,
) {
    for (nr, destination) in to.iter().enumerate() {
        let path = format!("{path}[{nr}].service");
        check_destination(document, doubts, services, destination, path, faults);
    }
}

fn check_destination(
    document: &Document,
    doubts: &Doubts,
    services: &HashMap<&str, ServiceId>,
    destination: &WrittenDestination,
    path: String,
    faults: &mut Faults,
) {
    let (name, at) = (destination.service.value.as_str(), destination.service.at);
    match services.get(name) {
        Some(id) => {
            let (_, service) = &document.services[id.0 as usize];
            if is_mesh(service) && !doubts.entry(Section::Services, name) {
                let problem = format!("`{name}` is in the mesh, where sidecars take HTTP only");
                let hint = "give it endpoints that speak its protocol themselves".to_owned();
                faults.error(path, at, problem, Some(hint));
            }
        }
        None if doubts.names(Section::Services) => {}
        None => {
            let known = document
                .services
                .iter()
                .map(|(name, _)| name.value.as_str());
            let hint = did_you_mean(name, known);
            faults.error(path, at, format!("there is no service `{name}`"), hint);
        }
    }
}

fn is_mesh(service: &Service) -> bool {
    match &service.source {
        Source::Mesh(_) => true,
        Source::Endpoints(list) => list
            .iter()
            .any(|endpoint| endpoint.value.identity.is_some()),
        Source::Consul { .. } | Source::Dns(_) | Source::File(_) => false,
    }
}

/// What a listener passes on. Everything named is there: `check` has seen to it.
pub(super) fn build(document: &Document, compiled: &[Compiled], listener: &Written) -> Tunnels {
    let services = services::by_name(document);
    let plan = |to: &[WrittenDestination], idle_timeout: Duration, at: Position| TunnelPlan {
        destinations: to
            .iter()
            .filter_map(|written| destination(document, compiled, &services, written))
            .collect(),
        idle_timeout,
        at,
    };
    let mut tunnels = Tunnels::default();
    for entry in &listener.sni {
        let hosts = entry.hosts.iter().map(|host| &host.value);
        tunnels.pass(hosts, plan(&entry.to, entry.idle_timeout, entry.at));
    }
    if let Some(tcp) = &listener.tcp {
        tunnels.take_rest(plan(&tcp.to, tcp.idle_timeout, tcp.at));
    }
    tunnels
}

fn destination(
    document: &Document,
    compiled: &[Compiled],
    services: &HashMap<&str, ServiceId>,
    written: &WrittenDestination,
) -> Option<Destination> {
    let id = *services.get(written.service.value.as_str())?;
    let (_, service) = &document.services[id.0 as usize];
    Some(Destination {
        service: id,
        subset: subsets::wanted(&compiled[id.0 as usize].subsets, written),
        weight: written.weight,
        timeouts: TimeoutPlan::resolve(&service.timeouts, &Timeouts::default()),
        retry: RetryPlan::resolve(&service.retry, &Retry::default()),
        response_bytes_max: u64::MAX,
        at: written.at,
    })
}
