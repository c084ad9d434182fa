//! The one place that speaks with `http-cache-semantics`: whether a response may be stored, and how
//! long it is fresh.
//!
//! The crate (3.0.0, BSD-2-Clause) is asked with `shared: true` and with fields that were read here
//! first, because it is laxer or stricter than RFC 9111 in places:
//!
//! - it compares directive names with case, splits lists inside quoted strings, and takes the first
//!   of two `Age` or `Expires` fields: it gets one `Cache-Control` in normal form, one `Expires`,
//!   and one `Age`;
//! - it adds `Age` and resident time without a bound, which can overflow: all times are cut at
//!   2^31;
//! - it ignores how old `Date` says a response is: `Age` is the corrected initial age (section
//!   4.2.3);
//! - it knows a fixed list of statuses: any other final one that says how long it is fresh goes as
//!   302, which the crate never stores without being told; 206 and 304 never;
//! - it takes `proxy-revalidate` for "never fresh": the directive is kept here instead;
//! - it gives `Set-Cookie` and `Vary: *` a lifetime of zero: both are refused here;
//! - it caps no heuristic freshness (section 4.2.2): here it is a day;
//! - its 304 merging loses fields, so it is not used (`super::freshen`).

use std::time::{Duration, UNIX_EPOCH};

use http::header::{AGE, AUTHORIZATION, CACHE_CONTROL, DATE, EXPIRES, LAST_MODIFIED, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_cache_semantics::{CacheOptions, CachePolicy};

use super::directives::{self, seconds};
use super::{Asked, CachePlan, Unstorable};
use crate::moment::Moment;

/// How fresh a stored response is: all that serving it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// When its request was sent.
    pub began: Moment,
    /// Its age then, seconds.
    pub age: u64,
    /// The age up to which it is fresh, seconds.
    pub lifetime: u64,
    /// It must be validated each time (`no-cache`).
    pub validate: bool,
    /// Stale, it must not be served without validation.
    pub strict: bool,
    /// How long it may be served while it is fetched again, seconds past its freshness.
    pub stale_while_revalidate: u64,
    /// How long it may be served when that fails, seconds past its freshness.
    pub stale_if_error: u64,
}

impl Freshness {
    /// Its age now.
    #[must_use]
    pub fn age(&self, now: Moment) -> Duration {
        Duration::from_secs(self.age).saturating_add(now.since(self.began))
    }

    /// For how long it is fresh; `None` when it is stale.
    #[must_use]
    pub fn fresh_for(&self, now: Moment) -> Option<Duration> {
        let lifetime = Duration::from_secs(self.lifetime);
        lifetime
            .checked_sub(self.age(now))
            .filter(|left| !left.is_zero())
    }

    /// For how long it has been stale; zero when it is fresh.
    #[must_use]
    pub fn stale_for(&self, now: Moment) -> Duration {
        self.age(now)
            .saturating_sub(Duration::from_secs(self.lifetime))
    }
}

/// See [`super::may_store`].
pub(super) fn judge(
    plan: &CachePlan,
    asked: &Asked,
    authorized: bool,
    status: StatusCode,
    response: &HeaderMap,
    began: Moment,
) -> Result<Freshness, Unstorable> {
    let said = directives::Response::of(response);
    if status.is_informational()
        || status == StatusCode::PARTIAL_CONTENT
        || status == StatusCode::NOT_MODIFIED
        || (said.must_understand && !is_understood(status))
    {
        return Err(Unstorable::Directives);
    }
    if plan.authenticated && !said.public && said.s_maxage.is_none() {
        return Err(Unstorable::Authorized);
    }
    if response.contains_key(SET_COOKIE) && !said.public {
        return Err(Unstorable::Cookie);
    }
    let (age, normal) = normalise(&said, status, response, began);
    let mut request = HeaderMap::new();
    if authorized {
        request.insert(AUTHORIZATION, HeaderValue::from_static("sent"));
    }
    if asked.no_store() {
        request.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    }
    let now = UNIX_EPOCH + Duration::from_secs(began.unix_seconds);
    let policy = CachePolicy::new_options(&of_get(request), &normal, now, OPTIONS);
    if !policy.is_storable() {
        let for_some = authorized && !said.public && !said.must_revalidate;
        return Err(match for_some && said.s_maxage.is_none() {
            true => Unstorable::Authorized,
            false => Unstorable::Directives,
        });
    }
    let lifetime = policy.time_to_live(now) + policy.age(now);
    let explicit = said.max_age.is_some() || said.s_maxage.is_some();
    let heuristic = !explicit && (said.targeted || !response.contains_key(EXPIRES));
    // Nothing left to live says no more than that it is stale.
    let lifetime = match (policy.is_stale(now), heuristic) {
        (true, _) => 0,
        (false, true) => lifetime.as_secs().min(HEURISTIC_SECONDS_MAX),
        (false, false) => lifetime.as_secs(),
    };
    let forbids_stale = said.must_revalidate || said.proxy_revalidate;
    let stale_if_error = said.stale_if_error.unwrap_or(plan.stale_if_error.as_secs());
    let asked_for_stale = said.stale_if_error.is_some() || said.stale_while_revalidate.is_some();
    let freshness = Freshness {
        began,
        age,
        lifetime,
        validate: said.no_cache,
        // `s-maxage` means `proxy-revalidate` (section 5.2.2.10) unless it comes with RFC 5861.
        strict: forbids_stale || said.no_cache || (said.s_maxage.is_some() && !asked_for_stale),
        stale_while_revalidate: said.stale_while_revalidate.unwrap_or(0),
        stale_if_error,
    };
    let stands_in = freshness.stale_while_revalidate > 0 || stale_if_error > 0;
    let serves = lifetime > age && !freshness.validate;
    let can_be_validated = super::conditional::has_validator(response);
    if serves || can_be_validated || (stands_in && !freshness.strict) {
        Ok(freshness)
    } else {
        Err(Unstorable::Useless)
    }
}

/// The age of a response when it was asked for, and the response as the crate is to see it.
fn normalise(
    said: &directives::Response,
    status: StatusCode,
    response: &HeaderMap,
    began: Moment,
) -> (u64, Response<()>) {
    let date = one_date(response, DATE).unwrap_or(began.unix_seconds);
    // Section 4.2.3; what the response took to come is counted by `began`.
    let apparent = began.unix_seconds.saturating_sub(date);
    let age = age_field(response).max(apparent).min(SECONDS_MAX);
    let mut normal = Response::new(());
    *normal.status_mut() = match is_understood(status) {
        true => status,
        false => StatusCode::FOUND,
    };
    let headers = normal.headers_mut();
    let mut set = |name: HeaderName, value: String| {
        // Made of digits, directives and dates.
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(name, value);
        }
    };
    set(CACHE_CONTROL, written(said, is_understood(status)));
    set(AGE, age.to_string());
    set(DATE, http_date(date));
    if response.contains_key(EXPIRES) && !said.targeted {
        // More than one, or one that is no date, is in the past (section 5.3).
        let expires = one_date(response, EXPIRES).map_or_else(|| "0".to_owned(), http_date);
        set(EXPIRES, expires);
    }
    if let Some(modified) = one_date(response, LAST_MODIFIED) {
        set(LAST_MODIFIED, http_date(modified));
    }
    (age, normal)
}

/// `Cache-Control` in the form that the crate reads right.
fn written(said: &directives::Response, understood: bool) -> String {
    let flags = [
        // Section 5.2.2.3: who understands the status ignores `no-store`.
        (
            "no-store",
            said.no_store && !(said.must_understand && understood),
        ),
        ("no-cache", said.no_cache),
        ("private", said.private),
        ("public", said.public),
        ("must-revalidate", said.must_revalidate),
    ];
    let times = [("max-age", said.max_age), ("s-maxage", said.s_maxage)];
    let flags = flags
        .into_iter()
        .filter(|(_, set)| *set)
        .map(|(name, _)| name.to_owned());
    let times = times
        .into_iter()
        .filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    flags.chain(times).collect::<Vec<_>>().join(", ")
}

/// The `Age` field. More than one, or one that is no number, says that the response has been
/// somewhere for a time that nobody knows, so that it is as old as can be.
fn age_field(response: &HeaderMap) -> u64 {
    let mut fields = response.get_all(AGE).iter();
    match (fields.next(), fields.next()) {
        (None, _) => 0,
        (Some(only), None) => match only.to_str().map(str::trim) {
            Ok(text) if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
                seconds(text)
            }
            _ => SECONDS_MAX,
        },
        _ => SECONDS_MAX,
    }
}

/// A field that holds one date, in seconds since 1970.
pub(super) fn one_date(headers: &HeaderMap, name: HeaderName) -> Option<u64> {
    let mut fields = headers.get_all(name).iter();
    let (only, None) = (fields.next()?, fields.next()) else {
        return None;
    };
    date(only)
}

/// A date in any of the three forms of RFC 9110 section 5.6.7, in seconds since 1970.
pub(super) fn date(value: &HeaderValue) -> Option<u64> {
    let time = httpdate::parse_http_date(value.to_str().ok()?.trim()).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

fn http_date(seconds: u64) -> String {
    // Past the year 9999 there is no such date.
    let seconds = seconds.min(DATE_SECONDS_MAX);
    httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds))
}

fn of_get(headers: HeaderMap) -> Request<()> {
    let mut request = Request::new(());
    *request.headers_mut() = headers;
    request
}

/// Final statuses whose caching rules this cache knows (those that the crate knows).
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

const OPTIONS: CacheOptions = CacheOptions {
    shared: true,
    cache_heuristic: 0.1,
    // `immutable` says nothing about how long (RFC 8246).
    immutable_min_time_to_live: Duration::ZERO,
    ignore_cargo_cult: false,
};
/// The longest freshness that nobody asked for.
const HEURISTIC_SECONDS_MAX: u64 = 24 * 3600;
const SECONDS_MAX: u64 = 1 << 31;
/// 9999-12-31.
const DATE_SECONDS_MAX: u64 = 253_402_300_799;
