//! The compiled, immutable meaning of one document for one role.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use weir_config::balance::{Balance, Sticky};
use weir_config::criticality::Criticality;
use weir_config::document::{AccessLog, Forwarded};
use weir_config::edge_rules::{InterimResponses, Underscores};
use weir_config::give_way::free_each;
use weir_config::listener::Listener as ListenerConfig;
use weir_config::proxy_protocol::ProxyProtocol;
use weir_config::resilience::{Breaker, BreakerScope};
use weir_config::service::{Protocol, Source, UpstreamTls};
use weir_config::units::Ratio;
use weir_config::{ConfigError, Document, Position};

use crate::auth::{IssuerLive, RouteAuth};
use crate::cache::CachePlan;
use crate::clients::ClientConnections;
use crate::compress::{CompressPlan, RouteCompress};
use crate::content::ContentPlan;
use crate::cors::CorsPlan;
use crate::health::HealthPlan;
use crate::key::RequestKey;
use crate::limit::RouteLimit;
use crate::live::ServiceLive;
use crate::resilience::{AdaptivePlan, RetryPlan, TimeoutPlan};
use crate::rewrite::{HeaderPlan, RedirectPlan, RespondPlan, RewritePlan};
use crate::route::path::Rules;
use crate::route::{Matcher, RouteTable, VersionPlan};
use crate::shaping::Shaping;
use crate::tunnel::Tunnels;

/// Index of a listener in [`Snapshot::listeners`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ListenerId(pub u16);

/// Index of a route in [`Snapshot::routes`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RouteId(pub u32);

/// Index of a service in [`Snapshot::services`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServiceId(pub u32);

/// Index of a label set in [`Service::subsets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubsetId(pub u16);

/// Index of an issuer in [`Snapshot::issuers`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IssuerId(pub u16);

/// What a proxy runs: everything resolved, nothing to look up by name.
#[derive(Debug)]
pub struct Snapshot {
    /// Label of the revision it came from (`"17"`, or the short digest of a file).
    pub revision: Arc<str>,
    /// Listeners. A gateway has those of the document; a sidecar has `mesh` (outbound, id 0) and
    /// `inbound` (id 1).
    pub listeners: Vec<Listener>,
    /// Routes, in file order; built-in ones behind.
    pub routes: Vec<Route>,
    /// Services, in file order; a sidecar's `inbound` service (its application) behind.
    pub services: Vec<Service>,
    /// Token issuers.
    pub issuers: Vec<Issuer>,
    /// Networks whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// Which forwarding fields are read and written.
    pub forwarded: Forwarded,
    /// Whether what is passed on says so in `Via`.
    pub via: bool,
    /// Where the access log goes.
    pub access_log: AccessLog,
    /// The document itself.
    pub document: Arc<Document>,
    /// For which proxy it was compiled.
    pub role: Role,
    /// What is allowed but looks wrong.
    pub warnings: Vec<ConfigError>,
}

impl Snapshot {
    /// Lets go of it. Who is the last one frees it piece by piece, which takes milliseconds where
    /// it is large.
    pub fn free(self: Arc<Self>) {
        let Some(snapshot) = Arc::into_inner(self) else {
            return;
        };
        free_each(snapshot.routes);
        free_each(snapshot.services);
        free_each(snapshot.listeners);
        if let Some(document) = Arc::into_inner(snapshot.document) {
            document.free();
        }
    }
}

/// A listener and the routes attached to it.
#[derive(Debug)]
pub struct Listener {
    /// Its name.
    pub name: Arc<str>,
    /// As written; `None` for a sidecar's two, whose addresses are not in the document.
    pub config: Option<ListenerConfig>,
    /// Whether it faces untrusted clients: hardened path and header rules, forwarding headers
    /// dropped unless the other side is a trusted proxy.
    pub edge: bool,
    /// Whether only connections with a mesh identity may send requests.
    pub peer_required: bool,
    /// Compression of responses, for routes that say nothing of it.
    pub compress: Option<CompressPlan>,
    /// How it reads paths.
    pub paths: Rules,
    /// What it does about header names with `_`.
    pub underscores: Underscores,
    /// Which clients get the interim responses of services.
    pub interim: InterimResponses,
    /// The routes attached to it.
    pub table: RouteTable,
    /// What it does with connections before, or instead of, HTTP.
    pub tunnels: Tunnels,
    /// Its connections by client, outliving snapshots.
    pub clients: Arc<ClientConnections>,
    /// Where it was written.
    pub at: Position,
}

/// One compiled route.
#[derive(Debug)]
pub struct Route {
    /// Its unique name, for logs, metrics and explanations.
    pub name: Arc<str>,
    /// Everything that must match beyond host and path, and their written form for explanations.
    pub matcher: Matcher,
    /// Token asked for.
    pub auth: Option<RouteAuth>,
    /// Limits in the order they are asked.
    pub limits: Vec<RouteLimit>,
    /// What happens.
    pub action: Action,
    /// Versions, each of which has a part of the destinations of its own.
    pub versions: Option<Box<VersionPlan>>,
    /// Changes of path and host.
    pub rewrite: RewritePlan,
    /// Changes of request headers.
    pub request_headers: HeaderPlan,
    /// Changes of response headers.
    pub response_headers: HeaderPlan,
    /// Which pages of other origins may read answers; `None`: the service's own affair.
    pub cors: Option<CorsPlan>,
    /// Compression of responses.
    pub compress: RouteCompress,
    /// Largest request body, bytes; `u64::MAX` for none.
    pub body_bytes_max: u64,
    /// What is done to its traffic beyond sending it on; `None` for most routes.
    pub shaping: Option<Box<Shaping>>,
    /// What is done with the content of its requests; `None` for most routes.
    pub content: Option<Box<ContentPlan>>,
    /// How much its requests matter.
    pub criticality: Option<Criticality>,
    /// How its answers are stored; `None` when they are not.
    pub cache: Option<CachePlan>,
    /// Whether unsafe requests make stored answers invalid: some route of the document stores.
    pub invalidates: bool,
    /// Its index in the document's routes; `None` for a built-in one.
    pub written: Option<usize>,
    /// Where it was written.
    pub at: Position,
}

/// What happens to an admitted request.
#[derive(Debug)]
pub enum Action {
    /// It is sent on.
    Forward(Vec<Destination>),
    /// It is answered from the examples of the route's OpenAPI document.
    Mock,
    /// It is redirected.
    Redirect(RedirectPlan),
    /// It is answered.
    Respond(RespondPlan),
}

/// A weighted destination with the route's deadlines and retries resolved over the service's.
#[derive(Debug)]
pub struct Destination {
    /// The service.
    pub service: ServiceId,
    /// Which of its endpoints; `None` for all of them.
    pub subset: Option<SubsetId>,
    /// Share relative to the others.
    pub weight: u32,
    /// Deadlines in force.
    pub timeouts: TimeoutPlan,
    /// Retries in force.
    pub retry: RetryPlan,
    /// Largest response body, bytes; `u64::MAX` for any.
    pub response_bytes_max: u64,
    /// Where it was written.
    pub at: Position,
}

/// One compiled service.
#[derive(Debug)]
pub struct Service {
    /// Its name.
    pub name: Arc<str>,
    /// Where its endpoints come from.
    pub source: Source,
    /// How one is chosen.
    pub balance: Balance,
    /// The label sets that routes ask of its endpoints.
    pub subsets: Vec<Labels>,
    /// What of a request decides, where the method hashes.
    pub(crate) hash_key: Option<RequestKey>,
    /// Whether clients stay at one endpoint.
    pub sticky: Option<Sticky>,
    /// In what time a new endpoint gets its whole share.
    pub slow_start: Option<Duration>,
    /// The proxy's own zone, where its endpoints are preferred.
    pub zone: Option<Arc<str>>,
    /// How much more than its share a level or zone is able to carry.
    pub overprovisioning: Ratio,
    /// What is spoken.
    pub protocol: Protocol,
    /// TLS towards endpoints without a mesh identity.
    pub tls: Option<UpstreamTls>,
    /// Connections to endpoints without a mesh identity begin with this PROXY protocol header.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Equal for services whose connections may be shared over reloads: changes when protocol or
    /// TLS settings change.
    pub connection_class: u64,
    /// Most connections per endpoint and worker.
    pub connections_max: u32,
    /// Most requests that wait for a connection.
    pub pending_max: u32,
    /// Most requests in flight.
    pub requests_max: u32,
    /// Bounds of its adaptive limit, where it has one.
    pub adaptive: Option<AdaptivePlan>,
    /// Breaker settings.
    pub breaker: Option<Breaker>,
    /// Health checks of its endpoints.
    pub health: Option<Arc<HealthPlan>>,
    /// Ejection settings.
    pub outlier: weir_config::resilience::Outlier,
    /// Deadlines for requests of Weir's own to it (keys, for instance).
    pub timeouts: TimeoutPlan,
    /// State that outlives snapshots.
    pub live: Arc<ServiceLive>,
    /// Where it was written.
    pub at: Position,
}

/// Labels that an endpoint must have, sorted by name.
pub type Labels = Vec<(String, String)>;

/// One compiled issuer.
#[derive(Debug)]
pub struct Issuer {
    /// Its name.
    pub name: Arc<str>,
    /// As written.
    pub config: weir_config::auth::Issuer,
    /// Its keys and their state, outliving snapshots.
    pub live: Arc<IssuerLive>,
}

/// For which proxy a document is compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// The edge gateway.
    Gateway,
    /// The sidecar of one service.
    Sidecar {
        /// The service's name.
        service: String,
        /// Where its application listens.
        application: SocketAddr,
    },
}

impl Route {
    /// Which of its destinations a request of this version has: all where it has no versions.
    pub(crate) fn own_destinations(&self, version: Option<u16>) -> Range<usize> {
        match (&self.versions, version, &self.action) {
            (Some(plan), Some(version), _) => plan.destinations(version),
            (_, _, Action::Forward(all)) => 0..all.len(),
            (_, _, Action::Mock | Action::Redirect(_) | Action::Respond(_)) => 0..0,
        }
    }
}

impl Snapshot {
    /// The route with this id.
    #[must_use]
    pub fn route(&self, id: RouteId) -> &Route {
        &self.routes[id.0 as usize]
    }

    /// The service with this id.
    #[must_use]
    pub fn service(&self, id: ServiceId) -> &Service {
        &self.services[id.0 as usize]
    }

    /// The listener with this id.
    #[must_use]
    pub fn listener(&self, id: ListenerId) -> &Listener {
        &self.listeners[id.0 as usize]
    }

    /// The listener of this name.
    #[must_use]
    pub fn listener_named(&self, name: &str) -> Option<ListenerId> {
        let index = self
            .listeners
            .iter()
            .position(|listener| &*listener.name == name)?;
        u16::try_from(index).ok().map(ListenerId)
    }

    /// How responses of this route are compressed for clients of this listener.
    #[must_use]
    pub fn compression(&self, listener: ListenerId, route: RouteId) -> Option<&CompressPlan> {
        match &self.route(route).compress {
            RouteCompress::Listener => self.listener(listener).compress.as_ref(),
            RouteCompress::Off => None,
            RouteCompress::On(plan) => Some(plan),
        }
    }

    /// Whether forwarding headers of this address are believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted_proxies
            .iter()
            .any(|network| network.contains(&address))
    }
}

impl Service {
    /// Its breaker, where that stands before this.
    #[must_use]
    pub fn breaker_of(&self, scope: BreakerScope) -> Option<&Breaker> {
        let breaker = self.breaker.as_ref();
        breaker.filter(|breaker| breaker.scope == scope)
    }

    /// The labels of a subset in words, beginning with a space; empty for the whole.
    pub(crate) fn labels_text(&self, subset: Option<SubsetId>) -> String {
        let labels = subset.and_then(|it| self.subsets.get(usize::from(it.0)));
        let pairs: Vec<_> = labels
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match pairs.is_empty() {
            true => String::new(),
            false => format!(" with {}", pairs.join(", ")),
        }
    }
}

/// How long the whole of a request may take when nothing else bounds it: none.
pub const TOTAL_TIMEOUT_DEFAULT: Option<Duration> = None;
