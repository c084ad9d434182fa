//! Rate limits.

use crate::declare::{defaulted, object, optional, place, required};
use crate::position::{Located, Position};
use crate::syntax::at;
use crate::syntax::auth::limit_key;
use crate::syntax::plain::whole;
use crate::syntax::text::name;
use crate::syntax::unit::rate;
use crate::units::Rate;

object! {
    /// A rate limit: a token bucket (GCRA) for each value of `by`. The rate alone (`limit: 100/s`)
    /// limits everybody on the route together.
    pub struct Limit: Eq {
        short at(rate()) => |rate, at| Limit { at, ..Limit::of(rate) };
        /// Sustained rate, `100/s`.
        pub rate: Located<Rate> = required(at(rate())),
        /// How many may come at once.
        pub burst: Option<u32> =
            optional(whole(1, u32::MAX)).note("the rate's count"),
        /// What is counted together: `route` (everybody on this route), `client` (an address, IPv6
        /// by /64), `path`, `claim.NAME`, `cookie.NAME`, `header.NAME` or `query.NAME`; requests
        /// without it, or with more than one, are counted together. `peer` (an identity in the
        /// mesh) is refused: no listener that routes are attached to has peers. A route on `mesh`
        /// needs none, since every caller has its own sidecar, which counts it alone.
        pub by: LimitKey = defaulted(limit_key(), LimitKey::Route),
        /// Routes that name the same `shared` limit count together; absent: this route alone.
        pub shared: Option<String> = optional(name()),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Limit {
    /// A limit on everybody together.
    pub fn of(rate: Located<Rate>) -> Self {
        Limit {
            rate,
            burst: None,
            by: LimitKey::Route,
            shared: None,
            at: Position::default(),
        }
    }
}

/// What a limit is counted by.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LimitKey {
    /// `claim.sub`: a claim of the verified token; dots go into objects.
    Claim(String),
    /// `client`: the client's address (IPv6 by /64).
    Client,
    /// `cookie.session`: a cookie.
    Cookie(String),
    /// `header.x-api-key`: a request header.
    Header(String),
    /// `path`: the normalised path.
    Path,
    /// `peer`: the SPIFFE id of the mesh peer.
    Peer,
    /// `query.user`: a query parameter, decoded.
    Query(String),
    /// `route`: everything on this route together.
    #[default]
    Route,
}

impl std::fmt::Display for LimitKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LimitKey::Claim(claim) => write!(f, "claim.{claim}"),
            LimitKey::Client => f.write_str("client"),
            LimitKey::Header(header) => write!(f, "header.{header}"),
            LimitKey::Cookie(cookie) => write!(f, "cookie.{cookie}"),
            LimitKey::Path => f.write_str("path"),
            LimitKey::Peer => f.write_str("peer"),
            LimitKey::Query(name) => write!(f, "query.{name}"),
            LimitKey::Route => f.write_str("route"),
        }
    }
}
