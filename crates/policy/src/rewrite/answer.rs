//! Compiled answers that a route gives by itself: redirects and fixed responses.

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use weir_config::route::{Redirect, RedirectQuery, Respond};

use super::template::{Goes, Scope, Template, TemplateFault, Values};

/// A redirect; where it leads to in path and host is the route's rewrite.
#[derive(Debug, Clone)]
pub struct RedirectPlan {
    /// Status.
    pub status: StatusCode,
    /// `http` or `https`; `None` for the one the request came by.
    pub scheme: Option<Box<str>>,
    /// Whether the query goes along.
    pub keeps_query: bool,
}

/// A response.
#[derive(Debug, Clone)]
pub struct RespondPlan {
    /// Status.
    pub status: StatusCode,
    /// Content type.
    pub content_type: HeaderValue,
    body: Body,
}

#[derive(Debug, Clone)]
enum Body {
    Fixed(Bytes),
    Template(Template, Goes),
}

/// Why an answer cannot be given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AnswerFault {
    /// The content type is none.
    #[error("`{0}` is not a content type")]
    ContentType(String),
    /// Values cannot be kept from being read as something else.
    #[error("a body of type `{0}` can have no variables")]
    Unsafe(String),
    /// A JSON value that is not a text.
    #[error("`{{{0}}}` stands outside of quotes: in JSON a variable is part of a text")]
    Unquoted(String),
    /// The status is none.
    #[error("{0} is not a status")]
    Status(u16),
    /// A place cannot be filled.
    #[error(transparent)]
    Template(#[from] TemplateFault),
}

impl RedirectPlan {
    /// Compiles a redirect.
    ///
    /// # Errors
    /// Its status is none.
    pub(crate) fn compile(written: &Redirect) -> Result<RedirectPlan, AnswerFault> {
        Ok(RedirectPlan {
            status: status(written.status)?,
            scheme: written.scheme.as_deref().map(Into::into),
            keeps_query: written.query == RedirectQuery::Keep,
        })
    }
}

impl RespondPlan {
    /// Compiles a response.
    ///
    /// # Errors
    /// Why it cannot be given.
    pub(crate) fn compile(written: &Respond, scope: Scope<'_>) -> Result<RespondPlan, AnswerFault> {
        let kind = written.content_type.as_str();
        let content_type = HeaderValue::from_str(kind);
        let content_type = content_type.map_err(|_| AnswerFault::ContentType(kind.to_owned()))?;
        let template = Template::compile(&written.body, scope)?;
        let body = match template.as_fixed() {
            Some(text) => Body::Fixed(Bytes::copy_from_slice(text.as_bytes())),
            None => {
                let goes = body_goes(kind).ok_or_else(|| AnswerFault::Unsafe(kind.to_owned()))?;
                if goes == Goes::Json {
                    within_quotes(&written.body)?;
                }
                Body::Template(template, goes)
            }
        };
        Ok(RespondPlan {
            status: status(written.status)?,
            content_type,
            body,
        })
    }

    /// Whether the body holds what came with a request.
    pub(crate) fn varies(&self) -> bool {
        matches!(self.body, Body::Template(..))
    }

    /// The body that is the same for every request; `None` where it varies.
    pub(crate) fn fixed(&self) -> Option<Bytes> {
        match &self.body {
            Body::Fixed(bytes) => Some(bytes.clone()),
            Body::Template(..) => None,
        }
    }

    /// The body for a request.
    pub(crate) fn body(&self, values: &Values<'_>) -> Bytes {
        match &self.body {
            Body::Fixed(bytes) => bytes.clone(),
            // In a body what has no value is nothing, so filling one cannot fail.
            Body::Template(template, goes) => template
                .fill(values, None, *goes)
                .unwrap_or_default()
                .into(),
        }
    }
}

fn status(status: u16) -> Result<StatusCode, AnswerFault> {
    StatusCode::from_u16(status).map_err(|_| AnswerFault::Status(status))
}

/// How values are kept harmless in a body of this type; `None` where nobody could.
fn body_goes(content_type: &str) -> Option<Goes> {
    let kind = content_type.split(';').next().unwrap_or_default().trim();
    let kind = kind.to_ascii_lowercase();
    match kind.as_str() {
        "text/plain" => Some(Goes::Plain),
        "application/json" => Some(Goes::Json),
        "text/html" | "application/xml" | "text/xml" => Some(Goes::Html),
        kind if kind.ends_with("+json") => Some(Goes::Json),
        kind if kind.ends_with("+xml") => Some(Goes::Html),
        _ => None,
    }
}

/// Whether every place of a JSON text stands between quotes, where a value cannot end what it is
/// part of.
fn within_quotes(body: &weir_config::template::Template) -> Result<(), AnswerFault> {
    use weir_config::template::Piece;
    let (mut quoted, mut escaped) = (false, false);
    for piece in &body.pieces {
        match piece {
            Piece::Text(text) => {
                for byte in text.bytes() {
                    match byte {
                        _ if escaped => escaped = false,
                        b'\\' => escaped = quoted,
                        b'"' => quoted = !quoted,
                        _ => {}
                    }
                }
            }
            Piece::Variable(_) if quoted && !escaped => {}
            Piece::Variable(variable) => return Err(AnswerFault::Unquoted(variable.to_string())),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn types_by_which_values_are_escaped() {
        let table = [
            ("text/plain; charset=utf-8", Some(Goes::Plain)),
            ("Application/JSON", Some(Goes::Json)),
            ("application/problem+json", Some(Goes::Json)),
            ("text/html", Some(Goes::Html)),
            ("image/svg+xml", Some(Goes::Html)),
            ("text/javascript", None),
            ("text/css", None),
            ("application/octet-stream", None),
        ];
        for (kind, expected) in table {
            assert_eq!(body_goes(kind), expected, "{kind}");
        }
    }
}
