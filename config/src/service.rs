//! Where requests go: a named service, where its endpoints come from, and how they are used.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::balance::{Balance, Sticky};
use crate::bounds::ENDPOINTS_MAX;
use crate::declare::{
    by_key, defaulted, empty, object, optional, place, required, variants, words,
};
use crate::dns::Dns;
use crate::endpoint::{Endpoint, EndpointEntry};
use crate::health::HealthCheck;
use crate::position::{Located, Position};
use crate::proxy_protocol::ProxyProtocol;
use crate::resilience::{Breaker, Limits, Outlier, Retry, Timeouts};
use crate::syntax::host::host_name;
use crate::syntax::plain::{Boolean, word};
use crate::syntax::text::{Within, file, name, text};
use crate::syntax::unit::{duration, ratio, size};
use crate::syntax::{at, list, mapped, of};
use crate::units::{Ratio, Size};

object! {
    /// A service: exactly one source of endpoints, and how to use them.
    pub struct Service {
        /// Where its endpoints come from.
        pub source: Source = by_key(),
        /// How an endpoint is chosen.
        pub balance: Balance = empty(of::<Balance>()).note("`round-robin`"),
        /// Keeps each client at the endpoint that answered it first, by a cookie of Weir's own.
        pub sticky: Option<Sticky> = optional(of::<Sticky>()).note("no"),
        /// How long a new endpoint, or one that has just recovered, takes to get its whole share:
        /// its weight grows from a tenth, evenly. The first endpoints of a service have it at once.
        /// Refused with `ring-hash` and `maglev`, where keys would move all the time.
        pub slow_start: Option<Duration> = optional(duration()).note("no"),
        /// Prefers endpoints in the proxy's own zone (`--zone`) as far as they can carry what comes
        /// from it. Not for `ring-hash` and `maglev`.
        pub prefer_zone: bool = defaulted(Boolean, true),
        /// How much more than its share a level of endpoints (those of the same `priority`), or a
        /// zone, is able to carry: with 1.4 a level needs no help until more than 28 % of it is
        /// unfit.
        // What Envoy takes; less would spill at the first endpoint that is missing.
        pub overprovisioning: Ratio = defaulted(overprovisioning(), Ratio(1_400)),
        /// What is spoken to the endpoints.
        pub protocol: Protocol = defaulted(word::<Protocol>(), Protocol::Http1),
        /// TLS towards plain (non-mesh) endpoints; absent: clear text.
        pub tls: Option<UpstreamTls> = optional(of::<UpstreamTls>()),
        /// Begin every connection to a plain (non-mesh) endpoint with a PROXY protocol header of
        /// this version. Such a connection belongs to one client, so it carries one request and is
        /// closed.
        pub proxy_protocol: Option<ProxyProtocol> = optional(word::<ProxyProtocol>()).note("none"),
        /// Deadlines; a route may set its own.
        pub timeouts: Timeouts = empty(of::<Timeouts>()),
        /// Retries; a route may set its own.
        pub retry: Retry = empty(of::<Retry>()),
        /// Opens for the whole service when it fails too much; absent: none.
        pub breaker: Option<Breaker> = optional(of::<Breaker>()),
        /// Takes failing endpoints out for a while; `false` switches it off.
        pub outlier: Outlier = empty(of::<Outlier>()).note("on"),
        /// Active health checks; its path alone is one by HTTP.
        pub health: Option<HealthCheck> = optional(of::<HealthCheck>()).note("none"),
        /// Bounds on what is in flight.
        pub limits: Limits = empty(of::<Limits>()),
        /// Largest response body: one that tells a larger length is refused with 502
        /// (`response-too-large`), one that tells none is cut off there. A route may set its own.
        pub response_bytes_max: Option<Size> = optional(size()).note("unlimited"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Service {
    /// A service with all defaults.
    pub fn from_source(source: Source) -> Self {
        Service {
            source,
            balance: Balance::default(),
            sticky: None,
            slow_start: None,
            prefer_zone: true,
            overprovisioning: Ratio(1_400),
            protocol: Protocol::default(),
            tls: None,
            proxy_protocol: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            breaker: None,
            outlier: Outlier::default(),
            health: None,
            limits: Limits::default(),
            response_bytes_max: None,
            at: Position::default(),
        }
    }

    /// A service with a fixed list of plain endpoints and all defaults.
    pub fn at_endpoints<A: Into<String>>(addresses: impl IntoIterator<Item = A>) -> Self {
        let endpoints = addresses
            .into_iter()
            .map(|address| Located::unwritten(Endpoint::plain(address)))
            .collect();
        Service::from_source(Source::Endpoints(endpoints))
    }

    /// For one that cannot be read: it has a name and nothing else.
    pub(crate) fn stand_in() -> Self {
        Service::from_source(Source::Endpoints(Vec::new()))
    }
}

variants! {
    /// Where endpoints come from.
    pub enum Source {
        /// `consul: name`: healthy instances of this service in the Consul catalog.
        Consul {
            /// The service's name in the catalog.
            name: Located<String>,
            /// Only instances with this tag.
            tag: Option<String>,
            /// Data centre; the agent's own unless told.
            datacenter: Option<String>,
        } = "consul", of::<ConsulSource>() => |ConsulSource { name, tag, datacenter }| {
            Source::Consul { name, tag, datacenter }
        },
        /// `dns: host:port`: A and AAAA records, or SRV records, looked up again as their time to
        /// live says.
        Dns(Dns) = "dns", of::<Dns>() => Source::Dns,
        /// `endpoints: […]`: a fixed list; each a `host:port` or an object.
        Endpoints(Vec<Located<Endpoint>>) = "endpoints",
            list(at(mapped(of::<EndpointEntry>(), Endpoint::from)))
                .not_empty()
                .at_most(ENDPOINTS_MAX) => Source::Endpoints,
        /// `file: path`: a YAML or JSON list of endpoints, re-read when it changes.
        File(Located<PathBuf>) = "file", at(file()) => Source::File,
        /// `mesh: name`: the instances of this service whose sidecars have joined the mesh.
        Mesh(Located<String>) = "mesh", at(name()) => Source::Mesh,
    }
}

/// For people: the key and what it says, as `consul orders` or `dns users.internal:80`.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Consul {
                name,
                tag,
                datacenter,
            } => {
                write!(f, "consul {}", name.value)?;
                if let Some(tag) = tag {
                    write!(f, ", tag {tag}")?;
                }
                datacenter
                    .iter()
                    .try_for_each(|datacenter| write!(f, ", data centre {datacenter}"))
            }
            Source::Dns(dns) => write!(f, "dns {dns}"),
            Source::Endpoints(_) => f.write_str("endpoints"),
            Source::File(path) => write!(f, "file {}", path.value.display()),
            Source::Mesh(name) => write!(f, "mesh {}", name.value),
        }
    }
}

object! {
    /// A service in the Consul catalog; its name alone says it too.
    struct ConsulSource {
        short at(text()) => |name, _| ConsulSource { name, tag: None, datacenter: None };
        /// The service's name in the catalog.
        pub name: Located<String> = required(at(text())),
        /// Only instances with this tag.
        pub tag: Option<String> = optional(text()),
        /// Data centre.
        pub datacenter: Option<String> = optional(text()).note("the agent's own"),
    }
}

words! {
    /// A version of HTTP.
    pub enum Protocol: Default {
        /// HTTP/1.1.
        Http1 (default) = "http1",
        /// HTTP/2: by ALPN over TLS, with prior knowledge without.
        Http2 = "http2",
    }
}

object! {
    /// TLS towards endpoints. `tls: {}` is TLS with all defaults.
    pub default struct UpstreamTls {
        /// Name for SNI and verification.
        pub server_name: Option<String> =
            optional(host_name()).note("the endpoint's host name"),
        /// PEM file of the roots to trust.
        pub ca: Option<PathBuf> = optional(file()).note("the system's"),
        /// Client certificate to present.
        pub client: Option<ClientCertificate> = optional(of::<ClientCertificate>()),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// A client certificate and its key, PEM files.
    pub struct ClientCertificate: Eq {
        /// PEM chain, leaf first.
        pub cert: PathBuf = required(file()),
        /// PEM private key.
        pub key: PathBuf = required(file()),
    }
}

fn overprovisioning() -> Within<Ratio> {
    ratio().within(Ratio::WHOLE, Ratio(10_000))
}

/// How long a connection attempt may take when nobody says; [`Timeouts::defaults`] has the rest.
pub const CONNECT_TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);
