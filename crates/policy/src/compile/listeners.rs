//! Listeners: the gateway's as written, a sidecar's two as built in, each with its routes.

use std::collections::HashMap;
use std::sync::Arc;

use weir_config::broken::{Doubts, Section};
use weir_config::edge_rules::{InterimResponses, Underscores};
use weir_config::pattern::HostPattern;
use weir_config::resilience::{Retry, Timeouts};
use weir_config::{Document, Position};

use super::faults::Faults;
use super::routes::{self, Compiled, MESH};
use super::services::{self, INBOUND};
use super::tunnels;
use crate::compress::CompressPlan;
use crate::live::Live;
use crate::resilience::{RetryPlan, TimeoutPlan};
use crate::route::RouteTable;
use crate::route::path::Rules;
use crate::snapshot::{Listener, Role, RouteId, Service, ServiceId};
use crate::tunnel::Tunnels;

/// Checks the listeners of the document.
pub(super) fn check(document: &Document, doubts: &Doubts, role: &Role, faults: &mut Faults) {
    let mut addresses = HashMap::new();
    for (name, listener) in &document.listeners {
        let path = format!("listeners.{}", name.value);
        if name.value == MESH {
            let problem = format!("`{MESH}` is the outbound listener of every sidecar");
            let hint = "give the listener another name".to_owned();
            faults.error(path.clone(), name.at, problem, Some(hint));
        }
        // Port 0 is a new port for each.
        if listener.bind.port() != 0
            && let Some(other) = addresses.insert(listener.bind, &name.value)
        {
            let problem = format!(
                "listener `{other}` has the address {} already",
                listener.bind
            );
            faults.error(format!("{path}.bind"), listener.at, problem, None);
        }
        if doubts.entry(Section::Listeners, &name.value) {
            continue;
        }
        let Some(tls) = &listener.tls else { continue };
        if tls.certificates.is_empty() && tls.self_signed.is_empty() {
            let hint = "name certificate and key files under `certificates`".to_owned();
            let problem = "a TLS listener needs a certificate";
            faults.error(format!("{path}.tls"), tls.at, problem, Some(hint));
        }
        if !tls.self_signed.is_empty() {
            let problem = "a self-signed certificate is for development only";
            let hint = "clients cannot verify it; use `certificates` in production".to_owned();
            faults.warn(
                format!("{path}.tls.self_signed"),
                tls.at,
                problem,
                Some(hint),
            );
        }
    }
    let unheard = |route: &weir_config::route::Route| routes::is_attached(route, role);
    if *role == Role::Gateway
        && document.listeners.is_empty()
        && document.routes.iter().any(unheard)
    {
        let problem = "the gateway has no listener, so no route of it can be reached";
        let hint = "add `listeners: { web: { bind: \"0.0.0.0:8080\" } }`".to_owned();
        faults.warn(
            "listeners".to_owned(),
            Position::default(),
            problem,
            Some(hint),
        );
    }
}

/// Builds the listeners of a role; a sidecar's built-in routes are added behind the others.
pub(super) fn build(
    document: &Document,
    role: &Role,
    services: &[Service],
    routes: &mut Compiled,
    live: &Live,
) -> Vec<Listener> {
    match role {
        Role::Gateway => gateway(document, services, routes, live),
        Role::Sidecar { .. } => vec![mesh(document, routes), inbound(document, routes)],
    }
}

fn gateway(
    document: &Document,
    services: &[Service],
    routes: &Compiled,
    live: &Live,
) -> Vec<Listener> {
    let listener = |(name, config): &(weir_config::Located<String>, _)| {
        let config: &weir_config::listener::Listener = config;
        let attached = routes.kept.iter().enumerate().filter(|(_, route)| {
            let written = route.written.and_then(|index| document.routes.get(index));
            tunnels::carries_http(config)
                && written.is_some_and(|route| {
                    route.listeners.is_empty()
                        || route
                            .listeners
                            .iter()
                            .any(|listener| listener.value == name.value)
                })
        });
        Listener {
            name: name.value.as_str().into(),
            config: Some(config.clone()),
            edge: true,
            peer_required: false,
            compress: config.compress.as_ref().and_then(CompressPlan::compile),
            paths: Rules::from(&config.paths),
            underscores: config.headers_with_underscores,
            interim: config.interim_responses,
            table: RouteTable::build(attached.map(|(index, route)| (id(index), &route.matcher))),
            tunnels: tunnels::build(document, services, config),
            clients: live.clients(&name.value),
            at: config.at,
        }
    };
    document.listeners.iter().map(listener).collect()
}

/// Outbound: the document's `mesh` routes, and behind them every service by its name.
fn mesh(document: &Document, routes: &mut Compiled) -> Listener {
    let first = routes.kept.len();
    for (index, (name, service)) in document.services.iter().enumerate() {
        let hosts = vec![
            HostPattern::Exact(name.value.clone()),
            HostPattern::Exact(format!("{}.{MESH}", name.value)),
        ];
        let name: Arc<str> = format!("{MESH}/{}", name.value).into();
        // The number of services is bounded far below 2^32.
        let service_id = ServiceId(index as u32);
        let plans = (
            TimeoutPlan::resolve(&service.timeouts, &Timeouts::default()),
            RetryPlan::resolve(&service.retry, &Retry::default()),
        );
        let route = routes::built_in(name, hosts, service_id, plans, service.at);
        routes.kept.push(route);
    }
    let table = |from: usize, to: usize| {
        let some = routes.kept[from..to].iter().enumerate();
        RouteTable::build(some.map(|(index, route)| (id(from + index), &route.matcher)))
    };
    Listener {
        name: MESH.into(),
        config: None,
        edge: false,
        peer_required: false,
        compress: None,
        paths: Rules::MESH,
        underscores: Underscores::Allow,
        interim: InterimResponses::Forward,
        table: table(0, first).or_else(table(first, routes.kept.len())),
        tunnels: Tunnels::default(),
        clients: Arc::default(),
        at: Position::default(),
    }
}

/// Inbound: everything goes to the application.
fn inbound(document: &Document, routes: &mut Compiled) -> Listener {
    let index = routes.kept.len();
    let service = ServiceId(document.services.len() as u32);
    let plans = (services::inbound_timeouts(), services::inbound_retry());
    let at = Position::default();
    routes.kept.push(routes::built_in(
        INBOUND.into(),
        Vec::new(),
        service,
        plans,
        at,
    ));
    let matcher = &routes.kept[index].matcher;
    Listener {
        name: INBOUND.into(),
        config: None,
        edge: false,
        peer_required: true,
        compress: None,
        paths: Rules::MESH,
        underscores: Underscores::Allow,
        interim: InterimResponses::Forward,
        table: RouteTable::build([(id(index), matcher)]),
        tunnels: Tunnels::default(),
        clients: Arc::default(),
        at,
    }
}

/// Routes are bounded far below 2^32, built-in ones included.
fn id(index: usize) -> RouteId {
    RouteId(index as u32)
}
