//! The key of a request: what limits count by and consistent hashing chooses by.
//!
//! For: finding the one thing of a request that a document names (`client`, `header.x-user`, …).
//! Not for: what is done with it. The one idea: a key is there exactly once or not at all; a field
//! that is sent twice is ambiguous, and whoever reads the other one must not be counted or sent
//! elsewhere.

use std::borrow::Cow;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName};
use weir_config::limit::LimitKey;

use crate::auth::Claims;
use crate::route::{cookie_values, query_values};

/// What of a request a key can be.
#[derive(Debug, Clone, Copy)]
pub struct KeyInputs<'a> {
    /// Name of its route.
    pub route: &'a str,
    /// The client's address.
    pub client: IpAddr,
    /// The normalised path.
    pub path: &'a str,
    /// The raw query.
    pub query: Option<&'a str>,
    /// Request headers.
    pub headers: &'a HeaderMap,
    /// Claims of its verified token.
    pub claims: Option<&'a Claims>,
    /// SPIFFE id of the mesh peer.
    pub peer: Option<&'a str>,
}

/// [`LimitKey`], ready to be used.
#[derive(Debug)]
pub(crate) enum RequestKey {
    Claim(Box<str>),
    Client,
    Cookie(Box<str>),
    /// `None` when the name cannot be a header name: nothing ever has it.
    Header(Option<HeaderName>),
    Path,
    Peer,
    Query(Box<str>),
    Route,
}

/// What a request's key is. The variant is part of the hash, so that a header that says the same as
/// a claim is not the same key.
#[derive(Debug, Hash, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    Absent,
    Claim(Cow<'a, str>),
    Client(u64),
    Cookie(&'a [u8]),
    /// Everything on the route together.
    Everybody,
    Header(&'a [u8]),
    Path(&'a str),
    Peer(&'a str),
    Query(Cow<'a, [u8]>),
}

impl RequestKey {
    pub(crate) fn compile(key: &LimitKey) -> RequestKey {
        match key {
            LimitKey::Claim(name) => RequestKey::Claim(name.as_str().into()),
            LimitKey::Client => RequestKey::Client,
            LimitKey::Cookie(name) => RequestKey::Cookie(name.as_str().into()),
            LimitKey::Header(name) => {
                RequestKey::Header(HeaderName::from_bytes(name.as_bytes()).ok())
            }
            LimitKey::Path => RequestKey::Path,
            LimitKey::Peer => RequestKey::Peer,
            LimitKey::Query(name) => RequestKey::Query(name.as_str().into()),
            LimitKey::Route => RequestKey::Route,
        }
    }

    /// The key of a request.
    pub(crate) fn of<'a>(&'a self, inputs: &KeyInputs<'a>) -> Subject<'a> {
        match self {
            RequestKey::Claim(name) => {
                let claim = inputs.claims.and_then(|claims| claims.text(name));
                claim.map_or(Subject::Absent, Subject::Claim)
            }
            RequestKey::Client => Subject::Client(client_network(inputs.client)),
            RequestKey::Cookie(name) => {
                only(cookie_values(inputs.headers, name)).map_or(Subject::Absent, Subject::Cookie)
            }
            RequestKey::Header(Some(name)) => {
                let values = inputs.headers.get_all(name).iter();
                only(values).map_or(Subject::Absent, |value| Subject::Header(value.as_bytes()))
            }
            RequestKey::Header(None) => Subject::Absent,
            RequestKey::Path => Subject::Path(inputs.path),
            RequestKey::Peer => inputs.peer.map_or(Subject::Absent, Subject::Peer),
            RequestKey::Query(name) => {
                only(query_values(inputs.query, name)).map_or(Subject::Absent, Subject::Query)
            }
            RequestKey::Route => Subject::Everybody,
        }
    }
}

/// A key and what it is here, in words.
pub(crate) fn shown(key: &LimitKey, inputs: &KeyInputs<'_>) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let compiled = RequestKey::compile(key);
    let value = match compiled.of(inputs) {
        Subject::Absent => "absent".to_owned(),
        Subject::Claim(claim) => claim.into_owned(),
        Subject::Client(_) => inputs.client.to_string(),
        Subject::Cookie(value) | Subject::Header(value) => text(value),
        Subject::Everybody => "everybody".to_owned(),
        Subject::Path(value) | Subject::Peer(value) => value.to_owned(),
        Subject::Query(value) => text(&value),
    };
    format!("{key}, here {value}")
}

/// The value that is there exactly once.
fn only<T>(mut values: impl Iterator<Item = T>) -> Option<T> {
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The address as a key: IPv4 whole, IPv6 by /64, since one client has at least that.
fn client_network(address: IpAddr) -> u64 {
    match address.to_canonical() {
        // No /64 that is routed has a zero first half, so the two kinds stay apart.
        IpAddr::V4(four) => u64::from(four.to_bits()),
        IpAddr::V6(six) => (six.to_bits() >> 64) as u64,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn found(key: LimitKey, headers: &[(&'static str, &str)], query: &str) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let inputs = KeyInputs {
            route: "r",
            client: "2001:db8::7".parse().unwrap(),
            path: "/p",
            query: Some(query),
            headers: &map,
            claims: None,
            peer: None,
        };
        shown(&key, &inputs)
    }

    #[test]
    fn a_key_is_there_exactly_once_or_not_at_all() {
        let cookie = || LimitKey::Cookie("c".into());
        let header = || LimitKey::Header("x-a".into());
        let query = || LimitKey::Query("q".into());
        for (key, headers, target, expected) in [
            (
                cookie(),
                &[("cookie", "a=0; c=1")][..],
                "",
                "cookie.c, here 1",
            ),
            (
                cookie(),
                &[("cookie", "c=1; c=2")],
                "",
                "cookie.c, here absent",
            ),
            (
                cookie(),
                &[("cookie", "c=1"), ("cookie", "c=1")],
                "",
                "cookie.c, here absent",
            ),
            (header(), &[("x-a", "1")], "", "header.x-a, here 1"),
            (
                header(),
                &[("x-a", "1"), ("x-a", "2")],
                "",
                "header.x-a, here absent",
            ),
            (header(), &[], "", "header.x-a, here absent"),
            (query(), &[], "a=1&q=%41", "query.q, here A"),
            (query(), &[], "q=1&q=2", "query.q, here absent"),
            (query(), &[], "", "query.q, here absent"),
            (LimitKey::Path, &[], "", "path, here /p"),
            (LimitKey::Client, &[], "", "client, here 2001:db8::7"),
            (LimitKey::Peer, &[], "", "peer, here absent"),
        ] {
            assert_eq!(found(key, headers, target), expected);
        }
    }
}
