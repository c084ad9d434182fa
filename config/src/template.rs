//! Texts with places for what a request brings: `id={path.id}`.
//!
//! One syntax for header values, new paths and hosts, and bodies. `{name}` is a place when the name
//! could be one; `{{` stands for a brace that would otherwise begin one; every other brace is text,
//! so that JSON needs no escapes. What the places may be is said here and nowhere else; whether a
//! route has what they name is for the compiler to find out.

use std::fmt;

use http::HeaderName;

use crate::bounds::TEMPLATE_VARIABLES_MAX;
use crate::decode::{Complaint, unknown};
use crate::yaml::excerpt;

/// A text with places.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Template {
    /// Its pieces in order; no two texts stand beside each other.
    pub pieces: Vec<Piece>,
}

/// A piece of a template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Text as it is.
    Text(String),
    /// A place.
    Variable(Variable),
}

/// What fills a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// `{claim.sub}`: a claim of the verified token; dots lead into objects.
    Claim(String),
    /// `{client.address}`: the address of the client, trusted proxies considered.
    ClientAddress,
    /// `{cookie.name}`: the first cookie of this name.
    Cookie(String),
    /// `{header.name}`: the first request header of this name, as the client sent it.
    Header(HeaderName),
    /// `{id}` or `{path.id}`: a parameter of the route's path.
    Parameter(String),
    /// `{peer.id}`: the SPIFFE id of the mesh peer.
    Peer,
    /// `{query.name}`: the first query parameter of this name, decoded.
    Query(String),
    /// `{request.host}`: the host asked for, in lower case and without port.
    RequestHost,
    /// `{request.id}`: the value of `x-request-id`, which every request has.
    RequestId,
    /// `{request.method}`: the method.
    RequestMethod,
    /// `{request.path}`: the path asked for, normalised.
    RequestPath,
    /// `{request.scheme}`: `http` or `https`, as the client connected.
    RequestScheme,
    /// `{route.name}`: the name of the route.
    RouteName,
}

/// Every variable with its meaning, for the reference page.
pub const VARIABLES: &[(&str, &str)] = &[
    (
        "{id}, {path.id}",
        "A parameter of the route's path; `{id}` is short for it.",
    ),
    (
        "{claim.sub}",
        "A claim of the verified token: a text, number or boolean. Dots lead into objects. The \
         route needs `auth: { jwt: … }`.",
    ),
    (
        "{client.address}",
        "The address of the client, trusted proxies considered.",
    ),
    ("{cookie.name}", "The first cookie of this name."),
    (
        "{header.name}",
        "The first request header of this name, as the client sent it.",
    ),
    ("{peer.id}", "The SPIFFE id of the mesh peer."),
    (
        "{query.name}",
        "The first query parameter of this name, decoded.",
    ),
    (
        "{request.host}",
        "The host asked for, in lower case and without port.",
    ),
    (
        "{request.id}",
        "The value of `x-request-id`, which every request has.",
    ),
    ("{request.method}", "The method."),
    ("{request.path}", "The path asked for, normalised."),
    (
        "{request.scheme}",
        "`http` or `https`, as the client connected.",
    ),
    ("{route.name}", "The name of the route."),
];

impl Template {
    /// A template without places.
    pub fn fixed(text: impl Into<String>) -> Self {
        let text = text.into();
        let pieces = if text.is_empty() {
            Vec::new()
        } else {
            vec![Piece::Text(text)]
        };
        Template { pieces }
    }

    /// The text, when there is no place in it.
    #[must_use]
    pub fn as_fixed(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// The variables, in order.
    pub fn variables(&self) -> impl Iterator<Item = &Variable> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(_) => None,
            Piece::Variable(variable) => Some(variable),
        })
    }

    /// The texts between the places.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.pieces.iter().filter_map(|piece| match piece {
            Piece::Text(text) => Some(text.as_str()),
            Piece::Variable(_) => None,
        })
    }

    /// The text with something harmless in every place, to see whether the rest has the right form.
    #[must_use]
    pub fn probe(&self) -> String {
        let piece = |piece: &Piece| match piece {
            Piece::Text(text) => text.clone(),
            Piece::Variable(_) => "x".to_owned(),
        };
        self.pieces.iter().map(piece).collect()
    }

    pub(crate) fn parse(text: &str) -> Result<Self, Complaint> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        let mut places = 0;
        while let Some(open) = rest.find('{') {
            plain.push_str(&rest[..open]);
            rest = &rest[open..];
            if let Some(after) = rest.strip_prefix("{{") {
                plain.push('{');
                rest = after;
            } else if let Some((name, after)) = place(rest) {
                if !plain.is_empty() {
                    pieces.push(Piece::Text(std::mem::take(&mut plain)));
                }
                pieces.push(Piece::Variable(Variable::named(name)?));
                places += 1;
                rest = after;
            } else {
                plain.push('{');
                rest = &rest[1..];
            }
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        if places > TEMPLATE_VARIABLES_MAX {
            let problem = format!("{places} variables; at most {TEMPLATE_VARIABLES_MAX}");
            return Err(Complaint::new(problem));
        }
        Ok(Template { pieces })
    }
}

/// The name of a place at the start of a text that begins with a brace, and what follows it.
fn place(text: &str) -> Option<(&str, &str)> {
    let (name, after) = text.get(1..)?.split_once('}')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    // Claims may be named by URIs.
    let uri = name.starts_with("claim.") && !name.contains(['{', '"']);
    (uri || (begins && name.chars().all(plain))).then_some((name, after))
}

impl Variable {
    fn named(name: &str) -> Result<Self, Complaint> {
        let found = match name.split_once('.') {
            None => Some(Variable::Parameter(name.to_owned())),
            Some((_, "")) => None,
            Some(("claim", claim)) => Some(Variable::Claim(claim.to_owned())),
            Some(("cookie", cookie)) => Some(Variable::Cookie(cookie.to_owned())),
            Some(("header", header)) => HeaderName::try_from(header).ok().map(Variable::Header),
            Some(("path", parameter)) => Some(Variable::Parameter(parameter.to_owned())),
            Some(("query", parameter)) => Some(Variable::Query(parameter.to_owned())),
            Some(_) => FIXED
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, variable)| variable.clone()),
        };
        found.ok_or_else(|| {
            let mut known: Vec<&str> = FIXED.iter().map(|(name, _)| *name).collect();
            known.extend(["claim.…", "cookie.…", "header.…", "path.…", "query.…"]);
            let escaped = format!("; `{{{{{}}}` stands for the text itself", excerpt(name));
            unknown("variable", name, &known).and_hint(&escaped)
        })
    }
}

/// Variables of one name.
const FIXED: &[(&str, Variable)] = &[
    ("client.address", Variable::ClientAddress),
    ("peer.id", Variable::Peer),
    ("request.host", Variable::RequestHost),
    ("request.id", Variable::RequestId),
    ("request.method", Variable::RequestMethod),
    ("request.path", Variable::RequestPath),
    ("request.scheme", Variable::RequestScheme),
    ("route.name", Variable::RouteName),
];

/// As a document has it.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => f.write_str(&text.replace('{', "{{"))?,
                Piece::Variable(variable) => write!(f, "{{{variable}}}")?,
            }
        }
        Ok(())
    }
}

/// The name, without braces.
impl fmt::Display for Variable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Variable::Claim(name) => write!(f, "claim.{name}"),
            Variable::Cookie(name) => write!(f, "cookie.{name}"),
            Variable::Header(name) => write!(f, "header.{name}"),
            Variable::Parameter(name) => write!(f, "path.{name}"),
            Variable::Query(name) => write!(f, "query.{name}"),
            fixed => {
                let name = FIXED.iter().find(|(_, variable)| variable == fixed);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn places_are_found_and_other_braces_are_text() {
        let text = |text: &str| Piece::Text(text.to_owned());
        let path = |name: &str| Piece::Variable(Variable::Parameter(name.to_owned()));
        let claim = |name: &str| Piece::Variable(Variable::Claim(name.to_owned()));
        let table = [
            ("", vec![]),
            ("plain", vec![text("plain")]),
            ("{id}", vec![path("id")]),
            (
                "a{path.id}b{x-y}",
                vec![text("a"), path("id"), text("b"), path("x-y")],
            ),
            ("{{id}", vec![text("{id}")]),
            ("{{{id}}", vec![text("{"), path("id"), text("}")]),
            (r#"{"a":{"b":{}}}"#, vec![text(r#"{"a":{"b":{}}}"#)]),
            (
                r#"{"a": "{id}"}"#,
                vec![text(r#"{"a": ""#), path("id"), text(r#""}"#)],
            ),
            ("{} { } {0} {a b} {", vec![text("{} { } {0} {a b} {")]),
            ("{claim.https://a/b}", vec![claim("https://a/b")]),
        ];
        for (written, pieces) in table {
            let template = Template::parse(written).unwrap_or_default();
            assert_eq!(template.pieces, pieces, "{written}");
            let again = Template::parse(&template.to_string()).unwrap_or_default();
            assert_eq!(again, template, "{template}");
        }
    }

    #[test]
    fn what_is_no_variable_is_refused_with_a_hint() {
        for (written, hint) in [
            ("{client.adress}", "did you mean `client.address`?"),
            (
                "{request.uri}",
                "`{{request.uri}` stands for the text itself",
            ),
            ("{claim.}", "known: "),
            ("{header.}", "known: "),
        ] {
            let complaint = Template::parse(written).err().unwrap();
            let said = format!("{complaint:?}");
            assert!(said.contains(hint), "{written}: {said}");
        }
        let many = "{a}".repeat(TEMPLATE_VARIABLES_MAX);
        assert!(Template::parse(&many).is_ok());
        assert!(Template::parse(&format!("{many}{{a}}")).is_err());
    }

    #[test]
    fn every_variable_is_in_the_table() {
        for (name, _) in FIXED {
            assert!(
                VARIABLES
                    .iter()
                    .any(|(known, _)| *known == format!("{{{name}}}")),
                "{name}"
            );
        }
        for (names, _) in VARIABLES {
            for name in names.split(", ") {
                let template = Template::parse(name).unwrap_or_default();
                assert_eq!(template.variables().count(), 1, "{name}");
            }
        }
    }
}
