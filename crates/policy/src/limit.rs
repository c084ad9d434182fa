//! Rate limits: what one route asks, and by whom requests are counted.
//!
//! For: turning a request into the key that it is counted by, and asking the buckets. Not for: the
//! arithmetic (governor's GCRA, in `limit/limiter.rs`) or where buckets live (`limit/table.rs`).
//! The one idea: a request can always be counted. Where the thing it should be counted by is
//! missing or ambiguous, it shares one bucket with every other such request, so that leaving a
//! header out, or sending it twice, never buys a fresh bucket.

use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};
use weir_config::limit::{Limit, LimitKey};

use crate::auth::Claims;
use crate::live::Live;
use crate::moment::Moment;

mod limiter;
mod table;

pub use limiter::Limiter;

/// A limit as one route asks it.
#[derive(Debug)]
pub struct RouteLimit {
    /// As written.
    pub config: Limit,
    /// The buckets, outliving snapshots.
    pub limiter: Arc<Limiter>,
    by: By,
}

/// What a request can be counted by.
#[derive(Debug, Clone, Copy)]
pub struct KeyInputs<'a> {
    /// Name of its route.
    pub route: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// Request headers.
    pub headers: &'a HeaderMap,
    /// Claims of its verified token.
    pub claims: Option<&'a Claims>,
    /// SPIFFE id of the mesh peer.
    pub peer: Option<&'a str>,
}

impl RouteLimit {
    /// Compiles a limit of a route and takes its buckets from `live`.
    ///
    /// Routes that name the same `shared` limit with the same rate and burst get the same buckets;
    /// a limit of the route's own is found again by route, key and quota, so that a reload that
    /// leaves them alone leaves the buckets alone.
    #[must_use]
    pub fn compile(limit: &Limit, route_name: &str, live: &Live) -> RouteLimit {
        let rate = limit.rate.value;
        let burst = limit.burst.unwrap_or(rate.count);
        let by = By::compile(&limit.by);
        // The slash cannot stand in a shared limit's name, so own and shared names never meet.
        let name = match &limit.shared {
            Some(shared) => format!("shared/{shared}"),
            None => format!("route/{}/{route_name}", key_text(&limit.by)),
        };
        RouteLimit {
            config: limit.clone(),
            limiter: live.limiter(&name, rate, burst),
            by,
        }
    }

    /// Counts a request, if it is within the limit.
    ///
    /// # Errors
    /// How long until a request with this key would be within it.
    pub fn check(&self, inputs: &KeyInputs<'_>, at: Moment) -> Result<(), Duration> {
        match self.key(inputs) {
            None => self.limiter.check(at),
            Some(key) => self.limiter.check_key(key, at),
        }
    }

    /// The answer that [`check`](Self::check) would give, without counting anything.
    ///
    /// # Errors
    /// How long until a request with this key would be within the limit.
    pub fn peek(&self, inputs: &KeyInputs<'_>, at: Moment) -> Result<(), Duration> {
        match self.key(inputs) {
            None => self.limiter.peek(at),
            Some(key) => self.limiter.peek_key(key, at),
        }
    }

    /// The keyed hash a request is counted by; `None` when everything is counted together.
    fn key(&self, inputs: &KeyInputs<'_>) -> Option<u64> {
        let subject = match &self.by {
            By::Route => return None,
            By::Client => Subject::Client(client_network(inputs.client)),
            By::Header(Some(name)) => match only_value(inputs.headers, name) {
                Some(value) => Subject::Header(value),
                None => Subject::Absent,
            },
            By::Header(None) => Subject::Absent,
            By::Peer => inputs.peer.map_or(Subject::Absent, Subject::Peer),
            By::Claim(name) => {
                let Some(value) = inputs.claims.and_then(|claims| claims.text(name)) else {
                    return Some(self.limiter.key(&Subject::Absent));
                };
                return Some(self.limiter.key(&Subject::Claim(&value)));
            }
        };
        Some(self.limiter.key(&subject))
    }
}

/// [`LimitKey`], ready to be used.
#[derive(Debug)]
enum By {
    Claim(Box<str>),
    Client,
    /// `None` when the name cannot be a header name: nothing ever has it.
    Header(Option<HeaderName>),
    Peer,
    Route,
}

impl By {
    fn compile(key: &LimitKey) -> By {
        match key {
            LimitKey::Claim(name) => By::Claim(name.as_str().into()),
            LimitKey::Client => By::Client,
            LimitKey::Header(name) => By::Header(HeaderName::from_bytes(name.as_bytes()).ok()),
            LimitKey::Peer => By::Peer,
            LimitKey::Route => By::Route,
        }
    }
}

/// What is hashed. The variant is part of the hash, so that a header that says the same as a claim
/// does not reach its bucket in a shared limit.
#[derive(Hash)]
enum Subject<'a> {
    Absent,
    Claim(&'a str),
    Client(u64),
    Header(&'a [u8]),
    Peer(&'a str),
}

/// The address as a limit counts it: IPv4 whole, IPv6 by /64, since one client has at least that.
fn client_network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No /64 that is routed has a zero first half, so the two kinds stay apart.
        IpAddr::V4(four) => u64::from(four.to_bits()),
        IpAddr::V6(six) => (six.to_bits() >> 64) as u64,
    }
}

/// The value of a header that is there exactly once.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value.as_bytes()),
        _ => None,
    }
}

/// A limit's key as it is written.
fn key_text(key: &LimitKey) -> String {
    match key {
        LimitKey::Claim(name) => format!("claim.{name}"),
        LimitKey::Client => "client".to_owned(),
        LimitKey::Header(name) => format!("header.{name}"),
        LimitKey::Peer => "peer".to_owned(),
        LimitKey::Route => "route".to_owned(),
    }
}

#[cfg(test)]
mod tests;
