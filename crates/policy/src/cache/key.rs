//! What makes two requests ask for the same: scheme, host, normalised path and query, written as a
//! URL, which is also how purges name it.

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, LOCATION};
use weir_config::cache::CacheQuery;

use crate::request::RequestView;
use crate::route::{host, path};

/// Which query parameters are part of a key. Names are compared as they are written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum QueryPlan {
    /// All.
    #[default]
    All,
    /// All but these.
    Ignore(Vec<String>),
    /// Only these.
    Only(Vec<String>),
}

impl QueryPlan {
    pub(super) fn compile(written: &CacheQuery) -> QueryPlan {
        match (&written.only, written.ignore.as_slice()) {
            (Some(only), _) => QueryPlan::Only(only.clone()),
            (None, []) => QueryPlan::All,
            (None, ignore) => QueryPlan::Ignore(ignore.to_vec()),
        }
    }

    fn counts(&self, name: &str) -> bool {
        match self {
            QueryPlan::All => true,
            QueryPlan::Ignore(names) => !names.iter().any(|known| known == name),
            QueryPlan::Only(names) => names.iter().any(|known| known == name),
        }
    }

    fn push(&self, query: &str, key: &mut String) {
        if *self == QueryPlan::All {
            key.push('?');
            key.push_str(query);
            return;
        }
        let mut mark = '?';
        for parameter in query.split('&') {
            let name = parameter.split('=').next().unwrap_or_default();
            if self.counts(name) {
                key.push(mark);
                key.push_str(parameter);
                mark = '&';
            }
        }
    }
}

/// The key of a request whose path is in normal form. A request that names no host (HTTP/1.0) has
/// an empty one; one whose host is malformed has no key.
#[must_use]
pub fn key(plan: &QueryPlan, request: &RequestView<'_>, path: &str) -> Option<String> {
    let authority = host::of(
        request.authority,
        request.headers,
        request.version,
        request.secure,
    );
    let authority = authority.ok()?;
    let (host, port) = authority
        .as_ref()
        .map_or(("", None), |authority| (&*authority.host, authority.port));
    let mut key = String::with_capacity(
        16 + host.len() + path.len() + request.query.map_or(0, |query| query.len() + 1),
    );
    key.push_str(origin(request.secure, host, port).as_str());
    key.push_str(path);
    if let Some(query) = request.query {
        plan.push(query, &mut key);
    }
    Some(key)
}

/// The key that a URL, or the beginning of one, stands for; `None` when it is neither.
#[must_use]
pub fn key_of_url(url: &str) -> Option<String> {
    let (scheme, rest) = url.split_once("://")?;
    let secure = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return None,
    };
    let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let authority = host::parse(authority).ok()?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let path = if path.is_empty() { "/" } else { path };
    let path = path::normalise(path, path::Rules::EDGE).ok()?;
    let origin = origin(secure, &authority.host, authority.port);
    Some(match query {
        Some(query) => format!("{origin}{path}?{query}"),
        None => format!("{origin}{path}"),
    })
}

fn origin(secure: bool, host: &str, port: Option<u16>) -> String {
    let (scheme, default) = if secure { ("https", 443) } else { ("http", 80) };
    match port.filter(|port| *port != default) {
        Some(port) => format!("{scheme}://{host}:{port}"),
        None => format!("{scheme}://{host}"),
    }
}

/// The keys that an answer to an unsafe request makes invalid: its own, that of its path alone,
/// and those that `Location` and `Content-Location` name on the same origin (RFC 9111 section 4.4).
#[must_use]
pub fn invalidated(key: &str, response: &HeaderMap) -> Vec<String> {
    let bare = key.split('?').next().unwrap_or(key);
    let mut keys = vec![key.to_owned()];
    if bare != key {
        keys.push(bare.to_owned());
    }
    let origin_end = origin_length(key);
    for name in [LOCATION, CONTENT_LOCATION] {
        let Some(target) = response.get(name).and_then(|value| value.to_str().ok()) else {
            continue;
        };
        keys.extend(resolved(bare, origin_end, target));
    }
    keys
}

/// Where the path of a key begins.
fn origin_length(key: &str) -> usize {
    let host = key.find("://").map_or(0, |colon| colon + 3);
    key[host..]
        .find('/')
        .map_or(key.len(), |slash| host + slash)
}

/// A reference against a key, as a key; `None` when it leads to another origin.
fn resolved(base: &str, origin_end: usize, target: &str) -> Option<String> {
    let target = target.split('#').next().unwrap_or_default();
    let (origin, base_path) = base.split_at(origin_end);
    let absolute = if target.contains("://") {
        target.to_owned()
    } else if target.starts_with("//") {
        return None;
    } else if target.starts_with('/') {
        format!("{origin}{target}")
    } else {
        let directory = &base_path[..base_path.rfind('/').map_or(0, |slash| slash + 1)];
        format!("{origin}{directory}{target}")
    };
    key_of_url(&absolute)
        .filter(|key| key.starts_with(origin) && key[origin.len()..].starts_with('/'))
}
