//! What a worker runs: a configuration with everything resolved that requests and connections need,
//! swapped as one by an install.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, request};
use ipnet::IpNet;
use rustls::{ClientConfig, ServerConfig};
use weir_config::listener::Listener as ListenerConfig;
use weir_config::service::Protocol;
use weir_identity::Identity;
use weir_policy::clients::ClientPlace;
use weir_policy::framing::{self, Fault};
use weir_policy::snapshot::{ListenerId, RouteId, Service, ServiceId, Snapshot};
use weir_policy::tunnel::Tunnels;
use weir_telemetry::request_metrics::RequestMetrics;
use weir_telemetry::sharded::Counter;
use weir_telemetry::{Registry, names};

use super::Worker;
use crate::engine::{Binding, Installation};
use crate::membership::{self, Roster, Seats};
use crate::pace::Pace;
use crate::pool::Pool;
use crate::record::{ListenerMetrics, ServiceMetrics};

/// A configuration as one worker runs it.
#[derive(Debug)]
pub(crate) struct Installed {
    pub(crate) snapshot: Arc<Snapshot>,
    /// The revision's number; 0 when its label is not one.
    pub(crate) revision: u64,
    pub(crate) identity: Option<Arc<Identity>>,
    seats: Vec<RefCell<Rc<Seats>>>,
    service_tls: Vec<Option<Arc<ClientConfig>>>,
    service_metrics: Vec<Rc<ServiceMetrics>>,
    /// TLS for connections that are passed on: the same, without a protocol to agree on.
    tunnel_tls: RefCell<HashMap<u32, Arc<ClientConfig>>>,
}

impl Installed {
    pub(super) fn new(installation: &Installation, roster: &Roster, worker: &Worker) -> Rc<Self> {
        let snapshot = Arc::clone(&installation.snapshot);
        let seats = membership::seats(&snapshot, roster, &worker.pool);
        let service_tls = snapshot
            .services
            .iter()
            .enumerate()
            .map(|(index, service)| {
                let config = installation.service_tls.get(index)?.as_ref()?;
                Some(with_alpn(config, service.protocol))
            });
        let service_tls = service_tls.collect();
        let metrics =
            |service: &Service| ServiceMetrics::new(worker.index, &service.name, &worker.registry);
        Rc::new(Self {
            revision: snapshot.revision.parse().unwrap_or(0),
            identity: installation.identity.clone(),
            seats: seats.into_iter().map(RefCell::new).collect(),
            service_tls,
            tunnel_tls: RefCell::default(),
            service_metrics: snapshot.services.iter().map(metrics).collect(),
            snapshot,
        })
    }

    /// Who serves this service now.
    pub(crate) fn seats(&self, service: ServiceId) -> Rc<Seats> {
        Rc::clone(&self.seats[service.0 as usize].borrow())
    }

    /// TLS towards endpoints of this service without a mesh identity.
    pub(crate) fn tls(&self, service: ServiceId) -> Option<&Arc<ClientConfig>> {
        self.service_tls.get(service.0 as usize)?.as_ref()
    }

    /// TLS towards endpoints of this service for bytes of any kind.
    pub(crate) fn tunnel_tls(&self, service: ServiceId) -> Option<Arc<ClientConfig>> {
        let config = self.tls(service)?;
        let mut known = self.tunnel_tls.borrow_mut();
        let plain = known.entry(service.0).or_insert_with(|| {
            let mut config = (**config).clone();
            config.alpn_protocols.clear();
            Arc::new(config)
        });
        Some(Arc::clone(plain))
    }

    pub(crate) fn metrics(&self, service: ServiceId) -> &Rc<ServiceMetrics> {
        &self.service_metrics[service.0 as usize]
    }

    /// Retires every lane that leads to nobody in these services any more.
    pub(super) fn retire_lanes(&self, pool: &Pool) {
        pool.retire_unused(|mark| {
            for seats in &self.seats {
                seats.borrow().lanes().for_each(|lane| mark(lane));
            }
        });
    }

    pub(super) fn set_members(&self, name: &str, roster: &Roster, pool: &Pool) {
        for (service, seats) in self.snapshot.services.iter().zip(&self.seats) {
            if &*service.name == name {
                seats.replace(membership::seats_of(service, roster, pool));
            }
        }
    }
}

fn alpn(protocol: Protocol) -> &'static [u8] {
    match protocol {
        Protocol::Http1 => b"http/1.1",
        Protocol::Http2 => b"h2",
    }
}

/// A client configuration that offers what the service speaks.
fn with_alpn(config: &Arc<ClientConfig>, protocol: Protocol) -> Arc<ClientConfig> {
    let offered = alpn(protocol);
    if config.alpn_protocols.iter().eq([offered]) {
        return Arc::clone(config);
    }
    let mut config = (**config).clone();
    config.alpn_protocols = vec![offered.to_vec()];
    Arc::new(config)
}

/// What a connection of one listener needs for its next request: swapped as one by an install.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) installed: Rc<Installed>,
    pub(crate) listener: ListenerId,
    pub(crate) name: Arc<str>,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) mesh: bool,
    pub(crate) bounds: Bounds,
    pub(crate) metrics: ListenerMetrics,
    registry: Registry,
    by_route: RefCell<RouteMetrics>,
    by_version: RefCell<VersionCounters>,
}

type RouteMetrics =
    HashMap<(Option<RouteId>, Option<ServiceId>), Arc<RequestMetrics>, foldhash::fast::RandomState>;

/// By route and version of its API.
type VersionCounters = HashMap<(RouteId, u16), Arc<Counter>, foldhash::fast::RandomState>;

impl Entry {
    pub(crate) fn new(
        installed: &Rc<Installed>,
        binding: &Binding,
        registry: &Registry,
    ) -> Rc<Self> {
        let listener = installed.snapshot.listener(binding.listener);
        let bounds = Bounds::of(listener.config.as_ref());
        Rc::new(Self {
            installed: Rc::clone(installed),
            listener: binding.listener,
            name: Arc::clone(&listener.name),
            tls: binding.tls.as_ref().map(|tls| offering(tls, bounds.only)),
            mesh: binding.mesh,
            bounds,
            metrics: ListenerMetrics::new(&listener.name, registry),
            registry: registry.clone(),
            by_route: RefCell::default(),
            by_version: RefCell::default(),
        })
    }

    /// What happens to connections before, or instead of, HTTP.
    pub(crate) fn tunnels(&self) -> &Tunnels {
        &self.installed.snapshot.listener(self.listener).tunnels
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }

    /// A place for one more connection of a client, where it is counted: a trusted proxy stands for
    /// many.
    pub(crate) fn place_of(&self, client: IpAddr) -> Result<Option<ClientPlace>, &'static str> {
        let snapshot = &self.installed.snapshot;
        let listener = snapshot.listener(self.listener);
        let Some(config) = &listener.config else {
            return Ok(None);
        };
        let client = client.to_canonical();
        if snapshot.trusts(client) {
            return Ok(None);
        }
        let place = listener
            .clients
            .enter(client, config.client_connections_max);
        place.map(Some).ok_or("client-full")
    }

    /// From which networks connections are to begin with a PROXY header; all others are closed.
    pub(crate) fn announced_from(&self) -> Option<&[IpNet]> {
        let listener = self.installed.snapshot.listener(self.listener);
        let expected = listener.config.as_ref()?.proxy_protocol.as_ref()?;
        Some(&expected.from)
    }

    /// The metrics of a route and service: looked up once per worker and install.
    pub(crate) fn metrics(
        &self,
        route: Option<RouteId>,
        service: Option<ServiceId>,
    ) -> Arc<RequestMetrics> {
        let mut by_route = self.by_route.borrow_mut();
        let metrics = by_route.entry((route, service)).or_insert_with(|| {
            let snapshot = &self.installed.snapshot;
            let route = route.map_or("", |route| &snapshot.route(route).name);
            let service = service.map_or("", |service| &snapshot.service(service).name);
            self.registry.requests().with(&self.name, route, service)
        });
        Arc::clone(metrics)
    }

    /// The counter of a version of a route's API: looked up once per worker and install.
    pub(crate) fn version_counter(&self, route: RouteId, version: u16) -> Arc<Counter> {
        let mut by_version = self.by_version.borrow_mut();
        let counter = by_version.entry((route, version)).or_insert_with(|| {
            let route = self.installed.snapshot.route(route);
            let name = route
                .versions
                .as_ref()
                .map_or("", |plan| plan.name(version));
            let family = self.registry.family(&names::REQUESTS_BY_VERSION);
            family.with(&[&route.name, name])
        });
        Arc::clone(counter)
    }
}

/// The server configuration, with an ALPN of one protocol where only that is spoken.
fn offering(config: &Arc<ServerConfig>, only: Option<Protocol>) -> Arc<ServerConfig> {
    let Some(only) = only else {
        return Arc::clone(config);
    };
    let mut config = (**config).clone();
    config.alpn_protocols = vec![alpn(only).to_vec()];
    Arc::new(config)
}

/// Bounds of a listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The only protocol spoken; `None` for both.
    pub(crate) only: Option<Protocol>,
    pub(crate) header_bytes_max: usize,
    pub(crate) header_count_max: usize,
    pub(crate) uri_bytes_max: usize,
    pub(crate) connections_max: u64,
    pub(crate) idle_timeout: Duration,
    pub(crate) client_rate_min: Pace,
    pub(crate) header_timeout: Duration,
}

impl Bounds {
    fn of(config: Option<&ListenerConfig>) -> Self {
        match config {
            Some(config) => Self {
                only: match config.protocols[..] {
                    [only] => Some(only),
                    _ => None,
                },
                header_bytes_max: usize::try_from(config.header_bytes_max.0)
                    .unwrap_or(usize::MAX)
                    .clamp(HEADER_BYTES_MIN, HEADER_BYTES_CEILING),
                header_count_max: config.header_count_max as usize,
                uri_bytes_max: usize::try_from(config.uri_bytes_max.0).unwrap_or(usize::MAX),
                connections_max: u64::from(config.connections_max),
                idle_timeout: config.idle_timeout,
                client_rate_min: Pace(config.client_rate_min.0),
                header_timeout: config.header_timeout,
            },
            None => Self::MESH,
        }
    }

    /// What is read of HTTP/1 at all. Method, version and white space have room beside what
    /// [`Bounds::exceeded_by`] counts.
    pub(crate) fn framing(&self) -> framing::Bounds {
        framing::Bounds {
            head_bytes_max: self.header_bytes_max + HEAD_SLACK_BYTES,
            fields_max: self.header_count_max,
            target_bytes_max: self.uri_bytes_max,
            trailer_bytes_max: self.header_bytes_max,
        }
    }

    /// Which bound a request's header section is over, counted alike for all versions of HTTP.
    pub(crate) fn exceeded_by(&self, head: &request::Parts) -> Option<Fault> {
        if head.headers.len() > self.header_count_max {
            return Some(Fault::TooManyFields);
        }
        let target = head
            .uri
            .path_and_query()
            .map_or(1, |target| target.as_str().len());
        if target > self.uri_bytes_max {
            return Some(Fault::TargetTooLong);
        }
        // As HTTP/1.1 writes it: `name: value`, and an end for each line.
        let field =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let bytes = target + head.headers.iter().map(field).sum::<usize>();
        (bytes > self.header_bytes_max).then_some(Fault::TooLarge)
    }

    /// Listeners of a sidecar, which the document does not describe.
    const MESH: Self = Self {
        only: None,
        header_bytes_max: 64 * 1024,
        header_count_max: 100,
        uri_bytes_max: 16 * 1024,
        connections_max: 10_000,
        idle_timeout: Duration::from_secs(75),
        client_rate_min: Pace::ANY,
        header_timeout: Duration::from_secs(10),
    };
}

const HEADER_BYTES_MIN: usize = 1024;
const HEAD_SLACK_BYTES: usize = 512;
const HEADER_BYTES_CEILING: usize = 1024 * 1024;
