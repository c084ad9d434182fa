//! Connections that a listener passes on without reading HTTP: TCP, and TLS that stays closed.

use std::time::Duration;

use crate::declare::{defaulted, object, place, required};
use crate::pattern::HostPattern;
use crate::position::{Located, Position};
use crate::route::{Destination, Destinations};
use crate::syntax::host::host_pattern;
use crate::syntax::unit::duration;
use crate::syntax::{at, list, mapped, of};

object! {
    /// Connections are passed on to a service byte by byte, whatever they carry; with `tls`, what
    /// is inside of TLS. A connection counts as one request of the service's `limits`; its
    /// `timeouts.connect` and `retry` say how often and how long connecting is tried.
    pub struct Tcp {
        /// Where connections go.
        pub to: Vec<Destination> =
            required(mapped(of::<Destinations>(), |Destinations(to)| to)),
        /// A connection is closed after so long without a byte in either direction.
        pub idle_timeout: Duration = defaulted(duration(), TCP_IDLE_TIMEOUT),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// TLS connections that are passed on closed: only the name that the client asks for (SNI) is
    /// read. Otherwise as `tcp`.
    pub struct TlsPassthrough {
        /// Names: one, everything below one (`*.shop.example`), or with `*` all others and clients
        /// that ask for none. The most specific entry takes a connection.
        pub hosts: Vec<Located<HostPattern>> = required(list(at(host_pattern())).not_empty()),
        /// Where connections go.
        pub to: Vec<Destination> =
            required(mapped(of::<Destinations>(), |Destinations(to)| to)),
        /// A connection is closed after so long without a byte in either direction.
        pub idle_timeout: Duration = defaulted(duration(), TCP_IDLE_TIMEOUT),
        /// Where it was written.
        pub at: Position = place(),
    }
}

// Pools of database connections stand unused for long; peers allow 10 minutes to an hour.
const TCP_IDLE_TIMEOUT: Duration = Duration::from_secs(3600);
