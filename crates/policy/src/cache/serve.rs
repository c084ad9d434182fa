//! What a stored response may be served for, by arithmetic on its [`Freshness`].

use std::time::Duration;

use http::header::{IF_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use http::{HeaderMap, Method};

use super::{Freshness, directives};
use crate::moment::Moment;

/// The way of a request through the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Past it: no request that a cache answers.
    Around,
    /// Past it, and an answer without an error makes stored ones invalid (RFC 9111 section 4.4).
    Invalidate,
    /// A stored response may answer it.
    Through,
}

/// What a request asks of the cache.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    /// Its way.
    pub way: Way,
    /// Whether a full answer to it may be stored: GET for the whole of it.
    pub stores: bool,
    directives: directives::Request,
}

impl Asked {
    /// Reads a request. `bare` says that it has no body and asks for no other protocol.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap, bare: bool) -> Asked {
        let reads = method == Method::GET || method == Method::HEAD;
        // Preconditions that are for the service alone.
        let strict = headers.contains_key(IF_MATCH) || headers.contains_key(IF_UNMODIFIED_SINCE);
        let way = match (reads, method.is_safe()) {
            (true, _) if bare && !strict => Way::Through,
            (false, false) => Way::Invalidate,
            _ => Way::Around,
        };
        let directives = match way {
            Way::Through => directives::Request::of(headers),
            Way::Around | Way::Invalidate => directives::Request::default(),
        };
        let whole = method == Method::GET && !headers.contains_key(RANGE);
        Asked {
            way,
            stores: way == Way::Through && whole && !directives.no_store,
            directives,
        }
    }

    pub(super) fn no_store(&self) -> bool {
        self.directives.no_store
    }

    /// Whether it must not go to the service (`only-if-cached`).
    #[must_use]
    pub fn only_if_cached(&self) -> bool {
        self.directives.only_if_cached
    }

    /// Whether an answer that another request fetches now would do.
    #[must_use]
    pub fn shares(&self) -> bool {
        let asked = &self.directives;
        self.stores && !asked.no_cache && asked.max_age.is_none() && asked.min_fresh.is_none()
    }
}

/// What to do with a stored response that a request selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// Serve it.
    Fresh,
    /// Serve it, and fetch it again meanwhile.
    Meanwhile,
    /// Serve it stale, as the client said.
    Stale,
    /// Ask the service whether it still holds.
    Validate,
}

/// Whether a stored response may answer a request by itself.
#[must_use]
pub fn may_serve(stored: &Freshness, asked: &Asked, now: Moment) -> Serve {
    let asked = &asked.directives;
    if asked.no_cache || stored.validate {
        return Serve::Validate;
    }
    let older = |max: u64| stored.age(now) > Duration::from_secs(max);
    if asked.max_age.is_some_and(older) {
        return Serve::Validate;
    }
    match stored.fresh_for(now) {
        Some(left) => match asked.min_fresh {
            Some(wanted) if left < Duration::from_secs(wanted) => Serve::Validate,
            _ => Serve::Fresh,
        },
        None if stored.strict || asked.min_fresh.is_some() => Serve::Validate,
        None if within(stored.stale_for(now), stored.stale_while_revalidate) => Serve::Meanwhile,
        None => match asked.max_stale {
            Some(max) if within(stored.stale_for(now), max) => Serve::Stale,
            _ => Serve::Validate,
        },
    }
}

/// Whether a stored response may be served in place of a failure.
#[must_use]
pub fn may_serve_instead(stored: &Freshness, asked: &Asked, now: Moment) -> bool {
    if stored.strict || asked.directives.no_cache {
        return false;
    }
    let window = asked.directives.stale_if_error.unwrap_or(0);
    within(stored.stale_for(now), stored.stale_if_error.max(window))
}

fn within(stale_for: Duration, seconds: u64) -> bool {
    seconds > 0 && stale_for <= Duration::from_secs(seconds)
}
