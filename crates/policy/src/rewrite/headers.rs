//! Changes of headers: remove, set, add, with places in the values.
//!
//! `{client}`, `{host}`, `{route}`, `{path.<parameter>}` and `{claim.<name>}` are places; any other
//! brace is text, so JSON in a value needs no escapes. What fills a place comes from a request:
//! bytes that no field value may hold become `?`. When a place has nothing to be filled with (the
//! claim is missing), `set` removes the field and `add` adds nothing, so that the client's own
//! value never passes for Weir's.

use std::io::Write as _;
use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_config::route::HeaderChanges;

use crate::auth::Claims;
use crate::route::{Params, PathMatch};

/// Changes of headers.
#[derive(Debug, Default)]
pub struct HeaderPlan {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Template(Vec<Piece>),
}

#[derive(Debug)]
enum Piece {
    Claim(Box<str>),
    Client,
    Host,
    Parameter(usize),
    Text(Box<[u8]>),
}

/// What fills the places.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// Normalised path.
    pub path: &'a str,
    /// Its parameters.
    pub params: &'a Params,
    /// Claims of the verified token.
    pub claims: Option<&'a Claims>,
    /// The client's address.
    pub client: IpAddr,
    /// Host, without port.
    pub host: &'a str,
}

/// Where a header plan is used, and so which places it may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) route: &'a str,
    /// `None` for a response: nothing of the request is at hand there.
    pub(crate) request: Option<&'a PathMatch>,
    /// Whether the route verifies a token.
    pub(crate) authenticated: bool,
}

/// Why a change was refused: the key below the changes, and the problem.
pub(super) type Reject = (String, String, Option<String>);

impl HeaderPlan {
    /// Compiles the changes; every fault goes to `reject`.
    pub(crate) fn compile(
        changes: &HeaderChanges,
        place: Place<'_>,
        mut reject: impl FnMut(Reject),
    ) -> HeaderPlan {
        let mut plan = HeaderPlan {
            remove: changes.remove.clone(),
            ..HeaderPlan::default()
        };
        for name in &changes.remove {
            if is_own(name) {
                reject((format!("remove.{name}"), own_problem(name), None));
            }
        }
        for (key, written, compiled) in [
            ("set", &changes.set, &mut plan.set),
            ("add", &changes.add, &mut plan.add),
        ] {
            for (name, value) in written {
                if is_own(name) {
                    reject((format!("{key}.{name}"), own_problem(name), None));
                    continue;
                }
                match Value::compile(value, place) {
                    Ok(value) => compiled.push((name.clone(), value)),
                    Err((problem, hint)) => reject((format!("{key}.{name}"), problem, hint)),
                }
            }
        }
        plan
    }

    /// Whether it changes nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Applies the changes; without `values`, a value with places counts as one that has nothing to
    /// be filled with.
    pub fn apply(&self, headers: &mut HeaderMap, values: Option<&Values<'_>>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            match value.fill(values) {
                Some(value) => {
                    headers.insert(name, value);
                }
                None => {
                    headers.remove(name);
                }
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.fill(values) {
                headers.append(name, value);
            }
        }
    }
}

impl Value {
    fn compile(written: &HeaderValue, place: Place<'_>) -> Result<Value, (String, Option<String>)> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut rest = written.as_bytes();
        while let Some((&byte, tail)) = rest.split_first() {
            let Some((name, after)) = variable(rest) else {
                text.push(byte);
                rest = tail;
                continue;
            };
            rest = after;
            if name == "route" {
                text.extend_from_slice(place.route.as_bytes());
                continue;
            }
            if !text.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut text).into()));
            }
            pieces.push(Piece::compile(name, place)?);
        }
        if pieces.is_empty() {
            // Only `{route}` can have changed it, and names are made of visible characters.
            return Ok(Value::Fixed(sanitised(text)));
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.into()));
        }
        Ok(Value::Template(pieces))
    }

    fn fill(&self, values: Option<&Values<'_>>) -> Option<HeaderValue> {
        let pieces = match self {
            Value::Fixed(value) => return Some(value.clone()),
            Value::Template(pieces) => pieces,
        };
        let values = values?;
        let mut out = Vec::with_capacity(64);
        for piece in pieces {
            match piece {
                Piece::Claim(name) => {
                    out.extend_from_slice(values.claims?.text(name)?.as_bytes());
                }
                // Writing to a vector cannot fail.
                Piece::Client => drop(write!(out, "{}", values.client)),
                Piece::Host => out.extend_from_slice(values.host.as_bytes()),
                Piece::Parameter(index) => {
                    out.extend_from_slice(values.params.text(values.path, *index).as_bytes());
                }
                Piece::Text(text) => out.extend_from_slice(text),
            }
        }
        Some(sanitised(out))
    }
}

impl Piece {
    fn compile(name: &str, place: Place<'_>) -> Result<Piece, (String, Option<String>)> {
        let unknown = |hint: &str| {
            let problem = format!("`{{{name}}}` is not a variable here");
            Err((problem, Some(hint.to_owned())))
        };
        let Some(pattern) = place.request else {
            return unknown("a response header can use `{route}` only");
        };
        match name.split_once('.') {
            None if name == "client" => Ok(Piece::Client),
            None if name == "host" => Ok(Piece::Host),
            Some(("path", parameter)) => match pattern.parameter(parameter) {
                Some(index) => Ok(Piece::Parameter(index)),
                None => unknown(&format!("the path of this route has no `{{{parameter}}}`")),
            },
            Some(("claim", claim)) if place.authenticated && !claim.is_empty() => {
                Ok(Piece::Claim(claim.into()))
            }
            Some(("claim", _)) => unknown("claims need `auth: { jwt: … }` on this route"),
            _ => unknown(
                "variables are `{client}`, `{host}`, `{route}`, `{path.<parameter>}` and \
                 `{claim.<name>}`",
            ),
        }
    }
}

/// A variable at the start of the bytes: its name and what follows it.
fn variable(bytes: &[u8]) -> Option<(&str, &[u8])> {
    let inside = bytes.strip_prefix(b"{")?;
    let end = inside.iter().position(|&byte| byte == b'}')?;
    let name = std::str::from_utf8(&inside[..end]).ok()?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    // Claim names may be URIs.
    let fits = name.starts_with("claim.") || (!name.is_empty() && name.bytes().all(plain));
    fits.then_some((name, &inside[end + 1..]))
}

fn sanitised(mut bytes: Vec<u8>) -> HeaderValue {
    for byte in &mut bytes {
        if (*byte < 0x20 && *byte != b'\t') || *byte == 0x7F {
            *byte = b'?';
        }
    }
    HeaderValue::from_bytes(&bytes).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Fields that frame the message or that Weir writes itself.
fn is_own(name: &HeaderName) -> bool {
    let name = name.as_str();
    super::hop::is_hop_by_hop(name)
        || matches!(name, "content-length" | "trailer")
        || name.starts_with("weir-")
}

fn own_problem(name: &HeaderName) -> String {
    format!("`{name}` is written by Weir itself and cannot be changed")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::pattern::{PathPattern, Segment};

    use super::*;

    fn pattern() -> PathMatch {
        let segments = vec![
            Segment::Literal("o".into()),
            Segment::Parameter("id".into()),
        ];
        PathMatch::compile(&PathPattern::Template {
            segments,
            below: false,
        })
        .unwrap()
    }

    fn compiled(value: &str) -> Result<HeaderPlan, Reject> {
        let changes = HeaderChanges {
            set: vec![(
                HeaderName::from_static("x-v"),
                HeaderValue::from_str(value).unwrap(),
            )],
            ..HeaderChanges::default()
        };
        let pattern = pattern();
        let place = Place {
            route: "r",
            request: Some(&pattern),
            authenticated: false,
        };
        let mut fault = None;
        let plan = HeaderPlan::compile(&changes, place, |reject| fault = Some(reject));
        fault.map_or(Ok(plan), Err)
    }

    fn filled(value: &str, path: &str) -> String {
        let params = pattern().params(path);
        let values = Values {
            path,
            params: &params,
            claims: None,
            client: IpAddr::from([10, 0, 0, 1]),
            host: "shop.example",
        };
        let mut headers = HeaderMap::new();
        compiled(value).unwrap().apply(&mut headers, Some(&values));
        String::from_utf8_lossy(headers["x-v"].as_bytes()).into_owned()
    }

    #[test]
    fn places_are_filled_and_other_braces_are_text() {
        let table = [
            ("plain", "plain"),
            ("{client}", "10.0.0.1"),
            ("a {path.id} b {host}/{route}", "a 7 b shop.example/r"),
            (r#"{"a":{"b":1}}"#, r#"{"a":{"b":1}}"#),
            ("{} { } {", "{} { } {"),
        ];
        for (value, expected) in table {
            assert_eq!(filled(value, "/o/7"), expected, "{value}");
        }
        assert_eq!(sanitised(b"a\r\nb\0\x7F\tc".to_vec()), "a??b??\tc");
    }

    #[test]
    fn unknown_variables_and_own_fields_are_refused() {
        for value in ["{path.nr}", "{claim.sub}", "{cliant}", "{header.x}"] {
            assert!(compiled(value).is_err(), "{value}");
        }
        for name in [
            "connection",
            "content-length",
            "weir-reason",
            "transfer-encoding",
        ] {
            let changes = HeaderChanges {
                set: vec![(name.parse().unwrap(), HeaderValue::from_static("x"))],
                ..HeaderChanges::default()
            };
            let place = Place {
                route: "r",
                request: None,
                authenticated: false,
            };
            let mut faults = 0;
            let _ = HeaderPlan::compile(&changes, place, |_| faults += 1);
            assert_eq!(faults, 1, "{name}");
        }
    }
}
