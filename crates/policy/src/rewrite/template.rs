//! Compiled templates: what fills each place of a text, and what keeps it harmless where it goes.
//!
//! The one idea: what a client sent can fill a place, never add one. In a path it stays one
//! segment, in a body of JSON or HTML it stays text, in a header it stays one field; and what
//! cannot be had is told to the caller instead of being left out silently, because `/users/` is
//! another request than `/users/7`.

use std::borrow::Cow;
use std::net::IpAddr;

use http::HeaderName;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode, utf8_percent_encode};
use regex::{Captures, Regex};
use weir_config::bounds::TEMPLATE_VALUE_BYTES_MAX;
use weir_config::template::{Piece as WrittenPiece, Template as Written, Variable};

use crate::auth::Claims;
use crate::request::RequestView;
use crate::route::{Params, PathMatch, cookie_values, query_values};

/// A text whose places are known to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    pieces: Box<[Piece]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    /// A group of the expression that the old path matched.
    Group(usize),
    /// The parameter with this index.
    Parameter(usize, Box<str>),
    Text(Box<str>),
    /// Neither a parameter nor the route's name.
    Variable(Variable),
}

/// What a template may name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scope<'a> {
    /// The route's name.
    pub(crate) route: &'a str,
    /// The route's path, for its parameters.
    pub(crate) pattern: &'a PathMatch,
    /// Whether the route verifies a token.
    pub(crate) authenticated: bool,
    /// The expression whose groups `$1` and `{name}` stand for.
    pub(crate) groups: Option<&'a Regex>,
}

/// What fills the places.
#[derive(Debug, Clone, Copy)]
pub struct Values<'a> {
    /// The request.
    pub request: &'a RequestView<'a>,
    /// Its host in normal form, without port.
    pub host: &'a str,
    /// Its path in normal form.
    pub path: &'a str,
    /// The parameters of that path.
    pub params: &'a Params,
    /// Claims of the verified token.
    pub claims: Option<&'a Claims>,
    /// The client's address.
    pub client: IpAddr,
}

/// Where a filled text goes, and so what must not come of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goes {
    /// Into a header field.
    Header,
    /// Into a host.
    Host,
    /// Into HTML or XML.
    Html,
    /// Between the quotes of a JSON text.
    Json,
    /// Into a path.
    Path,
    /// Into plain text.
    Plain,
}

/// Why a template cannot be used by a route.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// A claim where no token is verified.
    #[error("`{{{0}}}` needs a token, and this route asks for none")]
    Claim(String),
    /// The expression has no such group.
    #[error("the expression has no group `{0}`")]
    Group(String),
    /// The route's path has no such parameter.
    #[error("the route's path has no parameter `{0}`")]
    Parameter(String),
}

/// The variable that had no value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unfilled<'t>(&'t Piece);

impl Template {
    /// Compiles a template for a route.
    ///
    /// # Errors
    /// The first place that nothing could fill.
    pub(crate) fn compile(written: &Written, scope: Scope<'_>) -> Result<Template, TemplateFault> {
        let mut pieces = Vec::with_capacity(written.pieces.len());
        for piece in &written.pieces {
            match piece {
                WrittenPiece::Text(text) => push_text(text, scope.groups, &mut pieces)?,
                WrittenPiece::Variable(variable) => pieces.push(Piece::compile(variable, scope)?),
            }
        }
        let pieces = pieces.into();
        Ok(Template { pieces })
    }

    /// The same with its text in the form that it has on the wire of a path.
    pub(crate) fn escaped(mut self) -> Template {
        for piece in &mut self.pieces {
            if let Piece::Text(text) = piece {
                let escaped: Cow<'_, str> = utf8_percent_encode(text, RAW_IN_PATHS).into();
                *text = escaped.into();
            }
        }
        self
    }

    /// The text, when it is known without a request.
    pub(crate) fn as_fixed(&self) -> Option<&str> {
        match &*self.pieces {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills the places. In bodies what has no value is nothing; elsewhere it is an error.
    pub(crate) fn fill(
        &self,
        values: &Values<'_>,
        groups: Option<&Captures<'_>>,
        goes: Goes,
    ) -> Result<Vec<u8>, Unfilled<'_>> {
        let mut out = Vec::with_capacity(64);
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::Group(index) => {
                    // A group that took no part stands for nothing, as everywhere.
                    let group = groups.and_then(|groups| groups.get(*index));
                    out.extend_from_slice(group.map_or("", |group| group.as_str()).as_bytes());
                }
                Piece::Parameter(index, _) => {
                    let value = values.params.text(values.path, *index).as_bytes();
                    match goes {
                        // It was one segment of a normal path and is one again.
                        Goes::Path => out.extend_from_slice(value),
                        _ => append(value, goes, &mut out),
                    }
                }
                Piece::Variable(variable) => {
                    let needed = matches!(goes, Goes::Host | Goes::Path);
                    let value = value(variable, values)
                        .filter(|value| value.len() <= TEMPLATE_VALUE_BYTES_MAX)
                        .filter(|value| !(needed && value.is_empty()));
                    match value {
                        Some(value) if goes == Goes::Path && *variable == Variable::RequestPath => {
                            out.extend_from_slice(&value);
                        }
                        Some(value) => append(&value, goes, &mut out),
                        None if matches!(goes, Goes::Html | Goes::Json | Goes::Plain) => {}
                        None => return Err(Unfilled(piece)),
                    }
                }
            }
        }
        Ok(out)
    }
}

impl Piece {
    fn compile(variable: &Variable, scope: Scope<'_>) -> Result<Piece, TemplateFault> {
        match variable {
            Variable::Claim(_) if !scope.authenticated => {
                Err(TemplateFault::Claim(variable.to_string()))
            }
            Variable::Parameter(name) => {
                let mut groups = scope.groups.into_iter().flat_map(Regex::capture_names);
                if let Some(index) = groups.position(|group| group == Some(name)) {
                    return Ok(Piece::Group(index));
                }
                let index = scope.pattern.parameter(name);
                let index = index.ok_or_else(|| TemplateFault::Parameter(name.clone()))?;
                Ok(Piece::Parameter(index, name.as_str().into()))
            }
            Variable::RouteName => Ok(Piece::Text(scope.route.into())),
            other => Ok(Piece::Variable(other.clone())),
        }
    }
}

/// Adds text; with an expression at hand `$1` stands for its first group and `$$` for `$`.
fn push_text(
    text: &str,
    groups: Option<&Regex>,
    pieces: &mut Vec<Piece>,
) -> Result<(), TemplateFault> {
    let Some(regex) = groups else {
        pieces.push(Piece::Text(text.into()));
        return Ok(());
    };
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        let (number, behind) = after.split_at(digits);
        if let Ok(index) = number.parse::<usize>() {
            if index >= regex.captures_len() {
                return Err(TemplateFault::Group(format!("${number}")));
            }
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain).into()));
            }
            pieces.push(Piece::Group(index));
            rest = behind;
        } else {
            plain.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        pieces.push(Piece::Text(plain.into()));
    }
    Ok(())
}

/// What a variable stands for in this request.
fn value<'v>(variable: &'v Variable, values: &Values<'v>) -> Option<Cow<'v, [u8]>> {
    let request = values.request;
    let text = |text: &'v str| Some(Cow::Borrowed(text.as_bytes()));
    let header = |name: &HeaderName| Some(Cow::Borrowed(request.headers.get(name)?.as_bytes()));
    match variable {
        Variable::Claim(name) => match values.claims?.text(name)? {
            Cow::Borrowed(claim) => text(claim),
            Cow::Owned(claim) => Some(Cow::Owned(claim.into_bytes())),
        },
        Variable::ClientAddress => Some(Cow::Owned(values.client.to_string().into_bytes())),
        Variable::Cookie(name) => {
            let found = cookie_values(request.headers, name).next();
            found.map(Cow::Borrowed)
        }
        Variable::Header(name) => header(name),
        Variable::Peer => text(request.peer?),
        Variable::Query(name) => query_values(request.query, name).next(),
        Variable::RequestHost => text(values.host),
        Variable::RequestId => header(&REQUEST_ID),
        Variable::RequestMethod => text(request.method.as_str()),
        Variable::RequestPath => text(values.path),
        Variable::RequestScheme => text(if request.secure { "https" } else { "http" }),
        // Compiled to pieces of their own.
        Variable::Parameter(_) | Variable::RouteName => None,
    }
}

/// Appends a value so that it stays one where it goes.
fn append(value: &[u8], goes: Goes, out: &mut Vec<u8>) {
    match goes {
        // What no field and no host may hold is found out on the whole.
        Goes::Header | Goes::Host | Goes::Plain => out.extend_from_slice(value),
        Goes::Path => {
            for part in percent_encode(value, UNRESERVED) {
                out.extend_from_slice(part.as_bytes());
            }
        }
        Goes::Html => {
            for &byte in value {
                match byte {
                    b'&' => out.extend_from_slice(b"&amp;"),
                    b'<' => out.extend_from_slice(b"&lt;"),
                    b'>' => out.extend_from_slice(b"&gt;"),
                    b'"' => out.extend_from_slice(b"&quot;"),
                    b'\'' => out.extend_from_slice(b"&#39;"),
                    byte => out.push(byte),
                }
            }
        }
        Goes::Json => {
            let text = String::from_utf8_lossy(value);
            let quoted = serde_json::Value::from(text).to_string();
            // Without its own quotes: the author wrote them.
            let inside = quoted.get(1..quoted.len() - 1).unwrap_or_default();
            out.extend_from_slice(inside.as_bytes());
        }
    }
}

/// The variable as it was written.
impl std::fmt::Display for Unfilled<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Piece::Variable(variable) => write!(f, "{{{variable}}}"),
            Piece::Parameter(_, name) => write!(f, "{{{name}}}"),
            Piece::Group(index) => write!(f, "${index}"),
            Piece::Text(text) => f.write_str(text),
        }
    }
}

/// What stands in a new path as it is written, but not on the wire; non-ASCII always.
const RAW_IN_PATHS: &AsciiSet = &AsciiSet::EMPTY
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'^')
    .add(b'`')
    .add(b'|');

/// What a value may bring into a path as it is (RFC 3986 section 2.3).
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
