//! Where requests come in.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::bounds::{CONNECTIONS_MAX, HEADER_BYTES_MAX, HEADER_COUNT_MAX, URI_BYTES_MAX};
use crate::compress::Compress;
use crate::declare::{defaulted, empty, object, optional, place, required};
use crate::decode::{Complaint, Decoder};
use crate::edge_rules::{InterimResponses, Paths, Underscores};
use crate::pattern::HostPattern;
use crate::position::Position;
use crate::proxy_protocol::ProxyProtocolFrom;
use crate::service::Protocol;
use crate::syntax::host::{host_name, host_pattern, socket_address};
use crate::syntax::plain::{whole, word};
use crate::syntax::text::file;
use crate::syntax::unit::{duration, size};
use crate::syntax::{list, of};
use crate::tcp::{Tcp, TlsPassthrough};
use crate::units::Size;
use crate::yaml::Node;

object! {
    /// One listening address of the gateway.
    pub struct Listener {
        check Listener::check;
        /// Address and port to listen on, `0.0.0.0:8080` or `[::]:8080`.
        pub bind: SocketAddr = required(socket_address()),
        /// Present: this listener speaks TLS.
        pub tls: Option<ListenerTls> = optional(of::<ListenerTls>()),
        /// What clients may speak. Where both are, ALPN decides over TLS, and the first bytes do
        /// without; where one is, nothing else is understood.
        pub protocols: Vec<Protocol> = empty(list(word::<Protocol>())).note("`[http1, http2]`"),
        /// TLS connections that are passed on closed, by the name that the client asks for. All
        /// other names are opened here where the listener has `tls`, and refused where it has not.
        pub sni: Vec<TlsPassthrough> = empty(list(of::<TlsPassthrough>())),
        /// Present: connections are passed on byte by byte and no HTTP is read.
        pub tcp: Option<Tcp> = optional(of::<Tcp>()),
        /// Load balancers in front that send the PROXY protocol; absent: none is expected.
        pub proxy_protocol: Option<ProxyProtocolFrom> = optional(of::<ProxyProtocolFrom>()),
        /// Largest request header section, and trailer section; more is refused with 431.
        pub header_bytes_max: Size =
            defaulted(size().within(Size::kib(1), Size(HEADER_BYTES_MAX)), HEADER_BYTES),
        /// Most header fields of a request, and trailer fields; more is refused with 431.
        pub header_count_max: u32 = defaulted(whole(1, HEADER_COUNT_MAX), HEADER_COUNT),
        /// Longest request URI (path and query); more is refused with 414.
        pub uri_bytes_max: Size =
            defaulted(size().within(Size(64), Size(URI_BYTES_MAX)), URI_BYTES),
        /// How paths are read; the same path is decided on and forwarded.
        pub paths: Paths = empty(of::<Paths>()),
        /// Header fields with `_` in their name: many applications read `X_Forwarded_For` and
        /// `X-Forwarded-For` as one, so a client could say what only a proxy may.
        pub headers_with_underscores: Underscores =
            defaulted(word::<Underscores>(), Underscores::Drop),
        /// Which clients get the interim responses of services (`103 Early Hints`, 102; all of 1xx
        /// but 100 and 101) as they come. Clients of HTTP/1.0 never do.
        pub interim_responses: InterimResponses =
            defaulted(word::<InterimResponses>(), InterimResponses::Forward),
        /// Most connections at once; more are closed as they come.
        pub connections_max: u32 = defaulted(whole(1, CONNECTIONS_MAX), CONNECTIONS),
        /// Most connections of one client at once: an IPv4 address, or the /64 network of an IPv6
        /// address, as a PROXY header has it where one is expected. `trusted_proxies` are not
        /// counted.
        pub client_connections_max: u32 =
            defaulted(whole(1, CONNECTIONS_MAX), CLIENT_CONNECTIONS),
        /// How long a connection may stand idle between requests, and how long a client may take
        /// nothing of a response: over HTTP/2 only that stream ends then.
        pub idle_timeout: Duration = defaulted(duration(), IDLE_TIMEOUT),
        /// Bytes per second that a client must manage, sending a body or taking a response, once it
        /// has kept the gateway waiting for 10 s; `0B` for any. A body that is slower is refused
        /// with 408, a response cut off. Waiting for a service does not count, nor does gRPC.
        pub client_rate_min: Size = defaulted(size(), CLIENT_RATE),
        /// How long the whole header section may take to arrive.
        pub header_timeout: Duration = defaulted(duration(), HEADER_TIMEOUT),
        /// Compression of responses, for routes that say nothing of it. `true` is all defaults.
        pub compress: Option<Compress> = optional(of::<Compress>()).note("off"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

// Room for large cookies and tokens, twice over; peers allow 8 to 60 KiB.
const HEADER_BYTES: Size = Size::kib(32);
// Browsers send about 20.
const HEADER_COUNT: u32 = 100;
// What nginx and most servers behind take.
const URI_BYTES: Size = Size::kib(8);
const CONNECTIONS: u32 = 10_000;
// A tenth of them: no client can shut out the others, and an office behind one address fits.
const CLIENT_CONNECTIONS: u32 = 1_000;
const _: () = assert!(CLIENT_CONNECTIONS < CONNECTIONS);
// Longer than the 60 s that load balancers in front keep theirs, so that they close first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
// A tenth of what the slowest mobile networks carry; Apache asks for half, Kestrel for a quarter.
const CLIENT_RATE: Size = Size::kib(1);
// Against clients that send one byte at a time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

impl Listener {
    /// A plain listener with all defaults.
    pub fn on(bind: SocketAddr) -> Self {
        Listener {
            bind,
            tls: None,
            protocols: Vec::new(),
            sni: Vec::new(),
            tcp: None,
            proxy_protocol: None,
            header_bytes_max: HEADER_BYTES,
            header_count_max: HEADER_COUNT,
            uri_bytes_max: URI_BYTES,
            paths: Paths::default(),
            headers_with_underscores: Underscores::default(),
            interim_responses: InterimResponses::default(),
            connections_max: CONNECTIONS,
            client_connections_max: CLIENT_CONNECTIONS,
            idle_timeout: IDLE_TIMEOUT,
            client_rate_min: CLIENT_RATE,
            header_timeout: HEADER_TIMEOUT,
            compress: None,
            at: Position::default(),
        }
    }

    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if self.tcp.is_some() && !self.sni.is_empty() && self.tls.is_none() {
            let complaint = Complaint::new("without `tls`, every connection is for `sni`").hint(
                "give `tls` to open all other names, or move `tcp` to an entry of `sni` with \
                 `hosts: \"*\"`",
            );
            decoder.report(node.at, complaint);
        }
    }

    /// For one that cannot be read: any port, so that it takes nobody's.
    pub(crate) fn stand_in() -> Self {
        Listener::on(SocketAddr::from(([0, 0, 0, 0], 0)))
    }
}

object! {
    /// TLS of a listener: certificates are chosen by SNI, re-read when their files change.
    pub default struct ListenerTls {
        check ListenerTls::check;
        /// Certificate and key files; the first is the default.
        pub certificates: Vec<CertificateFiles> = empty(list(of::<CertificateFiles>())),
        /// Make a self-signed development certificate for these names, where no certificate is
        /// given. Never for production; `weir check` says so.
        pub self_signed: Vec<String> = empty(list(host_name())),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl ListenerTls {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let complaint = match (self.certificates.is_empty(), self.self_signed.is_empty()) {
            (true, true) => Complaint::new("TLS needs a certificate; there is none").hint(
                "write `certificates: [{ cert: edge.pem, key: edge.key }]`, or for development \
                 `self_signed: [localhost]`",
            ),
            (false, false) => Complaint::new("`certificates` and `self_signed` exclude each other")
                .hint("`self_signed` is for development, without certificates"),
            _ => return,
        };
        decoder.report(node.at, complaint);
    }
}

object! {
    /// A certificate chain and its key, PEM files.
    pub struct CertificateFiles: Eq {
        /// PEM chain, leaf first.
        pub cert: PathBuf = required(file()),
        /// PEM private key (PKCS#8, SEC1 or PKCS#1).
        pub key: PathBuf = required(file()),
        /// Names it serves.
        pub hosts: Vec<HostPattern> =
            empty(list(host_pattern())).note("the names in the certificate"),
        /// Where it was written.
        pub at: Position = place(),
    }
}
