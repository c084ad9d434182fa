//! Services, and the one that stands for a sidecar's application.

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use weir_config::balance::Balance;
use weir_config::endpoint::Endpoint;
use weir_config::proxy_protocol::ProxyProtocol;
use weir_config::resilience::{Limits, Outlier, Retry, Timeouts};
use weir_config::service::{Protocol, Service as Written, Source, UpstreamTls};
use weir_config::units::{Percent, Ratio, Size};
use weir_config::{Document, Located, Position};

use super::faults::Faults;
use super::subsets;
use crate::health::{self, HealthPlan};
use crate::key::RequestKey;
use crate::live::Live;
use crate::resilience::{AdaptivePlan, HedgePlan, RetryPlan, TimeoutPlan};
use crate::snapshot::{Labels, Role, Service, ServiceId};

/// Name of the service that stands for a sidecar's application.
pub(super) const INBOUND: &str = "inbound";

/// Services in file order; a sidecar's application behind.
pub(super) fn compile(
    document: &Document,
    role: &Role,
    live: &Live,
    faults: &mut Faults,
) -> Vec<Service> {
    let mut subsets = subsets::collect(document, faults);
    let mut services = Vec::with_capacity(document.services.len() + 1);
    for (name, written) in &document.services {
        if name.value == INBOUND {
            let problem = format!("`{INBOUND}` is the name of a sidecar's own application");
            let hint = "give the service another name".to_owned();
            faults.error(format!("services.{INBOUND}"), name.at, problem, Some(hint));
        }
        if written.proxy_protocol.is_some() && written.protocol == Protocol::Http2 {
            let path = format!("services.{}.proxy_protocol", name.value);
            let problem = "an HTTP/2 connection is shared, and a PROXY header is about one client";
            let hint = "use `protocol: http1`, or leave `proxy_protocol` out".to_owned();
            faults.error(path, written.at, problem, Some(hint));
        }
        if written.slow_start.is_some() && written.balance.key().is_some() {
            let path = format!("services.{}.slow_start", name.value);
            let method = written.balance.as_str();
            let problem = format!("with `{method}` the key decides, and a weight that grows would");
            let hint = "leave `slow_start` out, or balance by another method".to_owned();
            faults.error(
                path,
                written.at,
                problem + " move keys all the time",
                Some(hint),
            );
        }
        if let Some(hedge) = &written.retry.hedge
            && let Some(plan) = HedgePlan::resolve(Some(hedge), None)
            && let Some(problem) = plan.problem(&TimeoutPlan::resolve(
                &written.timeouts,
                &Timeouts::default(),
            ))
        {
            let path = format!("services.{}.retry.hedge", name.value);
            let hint = "shorten `retry.hedge`, or lengthen the deadline".to_owned();
            faults.error(path, hedge.at, problem, Some(hint));
        }
        if let Some(health) = &written.health
            && let Some(problem) = health::problem(health, written.protocol)
        {
            let path = format!("services.{}.health", name.value);
            let hint = "add `protocol: http2`, or check by `http` or `tcp`".to_owned();
            faults.error(path, health.at, problem, Some(hint));
        }
        let subsets = subsets.remove(name.value.as_str()).unwrap_or_default();
        services.push(service(&name.value, written, subsets, live));
    }
    if let Role::Sidecar {
        service,
        application,
    } = role
    {
        services.push(inbound(document, service, *application, live));
    }
    services
}

/// Where a service of a name stands.
pub(super) fn by_name(document: &Document) -> HashMap<&str, ServiceId> {
    let services = document.services.iter().enumerate();
    // The number of services is bounded far below 2^32.
    services
        .map(|(index, (name, _))| (name.value.as_str(), ServiceId(index as u32)))
        .collect()
}

fn service(name: &str, written: &Written, subsets: Vec<Labels>, live: &Live) -> Service {
    let tls = tls(written);
    let connection_class = connection_class(written.protocol, tls.as_ref(), written.proxy_protocol);
    // A key must lead to the same endpoint from everywhere.
    let prefers_zone = written.prefer_zone && written.balance.key().is_none();
    Service {
        name: name.into(),
        source: written.source.clone(),
        balance: written.balance.clone(),
        hash_key: written.balance.key().map(RequestKey::compile),
        sticky: written.sticky.clone(),
        slow_start: written.slow_start,
        zone: prefers_zone.then(|| live.zone()).flatten(),
        overprovisioning: written.overprovisioning,
        subsets,
        protocol: written.protocol,
        tls,
        proxy_protocol: written.proxy_protocol,
        connection_class,
        connections_max: written.limits.connections,
        pending_max: written.limits.pending,
        requests_max: written.limits.requests,
        adaptive: adaptive(&written.limits),
        breaker: written.breaker.clone(),
        health: written
            .health
            .as_ref()
            .map(|health| Arc::new(HealthPlan::compile(health))),
        outlier: written.outlier.clone(),
        timeouts: TimeoutPlan::resolve(&written.timeouts, &Timeouts::default()),
        live: live.service(name),
        at: written.at,
    }
}

/// Endpoints that were found by a name prove to own it, although their addresses have none.
fn tls(written: &Written) -> Option<UpstreamTls> {
    let mut tls = written.tls.clone()?;
    if let Source::Dns(dns) = &written.source {
        let name = || dns.server_name().to_owned();
        tls.server_name.get_or_insert_with(name);
    }
    Some(tls)
}

/// The application behind a sidecar: one address, never ejected, and no deadline of its own, since
/// the caller's proxy holds the deadline of the route.
fn inbound(document: &Document, name: &str, application: SocketAddr, live: &Live) -> Service {
    let written = document
        .services
        .iter()
        .find(|(known, _)| known.value == name);
    let protocol = written.map_or(Protocol::Http1, |(_, service)| service.protocol);
    let proxy_protocol = written.and_then(|(_, service)| service.proxy_protocol);
    let endpoint = Endpoint::plain(application.to_string());
    Service {
        name: INBOUND.into(),
        source: Source::Endpoints(vec![Located {
            value: endpoint,
            at: Position::default(),
        }]),
        balance: Balance::RoundRobin,
        hash_key: None,
        sticky: None,
        slow_start: None,
        zone: None,
        overprovisioning: Ratio::WHOLE,
        subsets: Vec::new(),
        protocol,
        tls: None,
        proxy_protocol,
        connection_class: connection_class(protocol, None, proxy_protocol),
        connections_max: INBOUND_CONNECTIONS_MAX,
        pending_max: INBOUND_REQUESTS_MAX,
        requests_max: INBOUND_REQUESTS_MAX,
        // The one place that sees all callers of the application.
        adaptive: written.and_then(|(_, service)| adaptive(&service.limits)),
        breaker: None,
        health: None,
        outlier: Outlier {
            enabled: false,
            consecutive: 0,
            share_max: Percent(0),
            panic: Percent(0),
            ..Outlier::default()
        },
        timeouts: inbound_timeouts(),
        live: live.service(INBOUND),
        at: written.map_or_else(Position::default, |(_, service)| service.at),
    }
}

fn adaptive(limits: &Limits) -> Option<AdaptivePlan> {
    let written = limits.adaptive?;
    let max = written.max.unwrap_or(limits.requests);
    Some(AdaptivePlan {
        min: written.min.min(max),
        max,
    })
}

/// Deadlines towards a sidecar's own application.
pub(super) fn inbound_timeouts() -> TimeoutPlan {
    let timeouts = Timeouts {
        connect: Some(Duration::from_secs(1)),
        response: Some(INBOUND_TIME_MAX),
        idle: Some(INBOUND_TIME_MAX),
        ..Timeouts::default()
    };
    TimeoutPlan::resolve(&timeouts, &Timeouts::default())
}

/// Retries towards a sidecar's own application: one more attempt for what was provably not sent.
/// Whether anything else is tried again, the caller's proxy judges with the route's settings: here
/// statuses are delivered as they are, no body is kept, and what the application may have seen is
/// never sent to it a second time.
pub(super) fn inbound_retry() -> RetryPlan {
    let retry = Retry {
        attempts: Some(1),
        statuses: Some(Vec::new()),
        body_bytes_max: Some(Size(0)),
        ..Retry::default()
    };
    RetryPlan {
        unsent_only: true,
        ..RetryPlan::resolve(&retry, &Retry::default())
    }
}

/// Equal for services whose connections may be shared; positions in the text do not count.
fn connection_class(
    protocol: Protocol,
    tls: Option<&UpstreamTls>,
    proxy_protocol: Option<ProxyProtocol>,
) -> u64 {
    let tls = tls.map(|tls| (&tls.server_name, &tls.ca, tls.client.as_ref()));
    FixedState::default().hash_one(format!("{protocol:?} {tls:?} {proxy_protocol:?}"))
}

/// Everything is bounded, also where nobody is meant to notice.
const INBOUND_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// As many as one local address has ports for, nearly.
const INBOUND_CONNECTIONS_MAX: u32 = 16_384;
/// The callers' proxies bound what they send; this bounds all of them together.
const INBOUND_REQUESTS_MAX: u32 = 65_536;
