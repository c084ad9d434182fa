//! The response cache (RFC 9111): what makes two requests the same, what may be stored, and what a
//! stored response may be served for.
//!
//! For: decisions. Not for: keeping anything, which the engine does. The one idea: what can be
//! known when a response arrives is decided then and kept as a [`Freshness`], a few numbers, so
//! that serving it again is arithmetic. The semantics of storing and of freshness are those of the
//! crate `http-cache-semantics`; [`semantics`] is the one place that speaks with it, and says what
//! is added to it and why.

use std::time::{Duration, UNIX_EPOCH};

use http::header::{AUTHORIZATION, DATE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use weir_config::bounds::CACHE_TAGS_MAX;
use weir_config::cache::RouteCache;

use crate::moment::Moment;
use crate::request::RequestView;
use crate::rewrite;

mod conditional;
mod directives;
mod freshen;
mod key;
mod range;
mod semantics;
mod serve;

pub use conditional::{is_conditional, not_modified, strip_conditions, validate_with};
pub use freshen::{freshen, same_response};
pub use key::{QueryPlan, invalidated, key, key_of_url};
pub use range::{Ranged, ranged};
pub use semantics::Freshness;
pub use serve::{Asked, Serve, Way, may_serve, may_serve_instead};

/// What a route says about storing its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CachePlan {
    /// Which query parameters are part of the key.
    pub query: QueryPlan,
    /// Request headers that are part of the key.
    pub headers: Vec<HeaderName>,
    /// How long past its freshness an answer may stand in for a failing service.
    pub stale_if_error: Duration,
    /// How long a request waits for another that fetches the same.
    pub wait: Duration,
    /// Whether the route asks for a token: then only what says that it is for everybody is stored.
    pub authenticated: bool,
}

impl CachePlan {
    /// Compiles what a route says.
    #[must_use]
    pub fn compile(written: &RouteCache, authenticated: bool) -> CachePlan {
        CachePlan {
            query: QueryPlan::compile(&written.query),
            headers: written.headers.clone(),
            stale_if_error: written.stale_if_error,
            wait: written.wait,
            authenticated,
        }
    }
}

/// Why a response is not stored; the words go into `Cache-Status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unstorable {
    /// The request had `Authorization`, or the route asks for a token, and the response does not
    /// say that it is for everybody.
    Authorized,
    /// Its directives or its status forbid it.
    Directives,
    /// It sets a cookie and does not say `public`.
    Cookie,
    /// It could never be served: stale at once, with nothing to validate it by.
    Useless,
    /// It varies by `*`, or by what is no header name.
    Vary,
}

impl Unstorable {
    /// One word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Unstorable::Authorized => "authorized",
            Unstorable::Cookie => "set-cookie",
            Unstorable::Directives => "directives",
            Unstorable::Useless => "stale",
            Unstorable::Vary => "vary",
        }
    }
}

/// Header fields by which a response was chosen, with the values that its request had.
pub type Selecting = Vec<(HeaderName, Box<[u8]>)>;

/// Whether a response to a GET request may be stored, and for how long it is fresh. `request` is
/// what was sent to the service; `began` is when.
///
/// # Errors
/// Why not.
pub fn may_store(
    plan: &CachePlan,
    request: &HeaderMap,
    asked: &Asked,
    (status, response): (StatusCode, &HeaderMap),
    began: Moment,
) -> Result<(Freshness, Selecting), Unstorable> {
    let authorized = request.contains_key(AUTHORIZATION);
    let freshness = semantics::judge(plan, asked, authorized, status, response, began)?;
    let selecting = selecting(plan, request, response).ok_or(Unstorable::Vary)?;
    Ok((freshness, selecting))
}

/// The fields that choose among the responses of a URL, with this request's values; `None` when no
/// request could ever be told to be the same.
fn selecting(plan: &CachePlan, request: &HeaderMap, response: &HeaderMap) -> Option<Selecting> {
    let mut names = plan.headers.clone();
    for value in response.get_all(VARY) {
        for name in value.as_bytes().split(|&byte| byte == b',') {
            let name = name.trim_ascii();
            if name.is_empty() {
                continue;
            }
            if name == b"*" {
                return None;
            }
            let name = HeaderName::from_bytes(name).ok()?;
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    let with_value = |name: HeaderName| {
        let value = joined(request, &name).into_boxed_slice();
        (name, value)
    };
    Some(names.into_iter().map(with_value).collect())
}

/// Whether a request has the values that a stored response was chosen by.
#[must_use]
pub fn selects(selecting: &Selecting, request: &HeaderMap) -> bool {
    selecting.iter().all(|(name, stored)| {
        let mut values = request.get_all(name).iter();
        match (values.next(), values.next()) {
            (None, _) => stored.is_empty(),
            (Some(only), None) if !only.as_bytes().contains(&b',') => {
                only.as_bytes().trim_ascii() == &**stored
            }
            _ => joined(request, name) == **stored,
        }
    })
}

/// All values of a field as one list, with the spaces between its members left out (RFC 9111
/// section 4.1 lets a cache do so).
fn joined(headers: &HeaderMap, name: &HeaderName) -> Vec<u8> {
    let mut joined = Vec::new();
    for value in headers.get_all(name) {
        for part in value.as_bytes().split(|&byte| byte == b',') {
            if !joined.is_empty() {
                joined.push(b',');
            }
            joined.extend_from_slice(part.trim_ascii());
        }
    }
    joined
}

/// The fields of a response that are stored: without what ends at a proxy, and with a date.
#[must_use]
pub fn storable_headers(response: &HeaderMap, now: Moment) -> HeaderMap {
    let mut headers = response.clone();
    rewrite::strip_response(&mut headers);
    if !headers.contains_key(DATE) {
        let date = UNIX_EPOCH + Duration::from_secs(now.unix_seconds);
        // A date is made of letters and digits.
        if let Ok(date) = HeaderValue::try_from(httpdate::fmt_http_date(date)) {
            headers.insert(DATE, date);
        }
    }
    headers
}

/// What the cache makes of a request, in words.
pub(crate) fn explained(plan: &CachePlan, request: &RequestView<'_>, path: &str) -> String {
    let bare = request.body_bytes.unwrap_or(0) == 0;
    let asked = Asked::of(request.method, request.headers, bare);
    let key = key(&plan.query, request, path).unwrap_or_default();
    match asked.way {
        Way::Through if asked.stores => format!("a stored answer for {key} may be served"),
        Way::Through => format!("a stored answer for {key} may be served, none is stored"),
        Way::Invalidate => {
            format!("an answer without an error makes what is stored for {key} invalid")
        }
        Way::Around => "not asked: this request is the service's alone".to_owned(),
    }
}

/// The tags by which purges can name a response: members of `Cache-Tag` (separated by commas) and
/// of `Surrogate-Key` (by spaces), at most [`CACHE_TAGS_MAX`].
#[must_use]
pub fn tags(response: &HeaderMap) -> Vec<Box<str>> {
    let members = |name: &str, separator: char| {
        response
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(move |value| value.split(separator))
            .map(str::trim)
            .filter(|tag| !tag.is_empty())
            .map(Box::from)
            .collect::<Vec<Box<str>>>()
    };
    let mut tags = members("cache-tag", ',');
    tags.extend(members("surrogate-key", ' '));
    tags.truncate(CACHE_TAGS_MAX);
    tags
}

#[cfg(test)]
mod tests;
