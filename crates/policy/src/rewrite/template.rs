//! Path templates: text with `{parameter}` places.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, utf8_percent_encode};

use crate::route::{Params, PathMatch};

/// A new path with places for parameters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathTemplate {
    pieces: Vec<Piece>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Parameter(usize),
    Text(Box<str>),
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateFault {
    /// A brace without its other half.
    #[error("`{{` without `}}`, or the other way round")]
    Brace,
    /// A byte that no path may hold.
    #[error("a path cannot hold {0:?}")]
    Byte(char),
    /// It climbs or stands still.
    #[error("a new path cannot have `.` or `..` segments")]
    Dots,
    /// It does not begin with `/`.
    #[error("a new path begins with `/`")]
    Relative,
    /// The pattern has no such parameter.
    #[error("`{{{0}}}` is not a parameter of the route's path")]
    Unknown(String),
}

impl PathTemplate {
    /// Compiles a template for the parameters of a pattern.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn compile(text: &str, pattern: &PathMatch) -> Result<PathTemplate, TemplateFault> {
        if !text.starts_with('/') {
            return Err(TemplateFault::Relative);
        }
        if let Some(byte) = text
            .chars()
            .find(|c| c.is_control() || matches!(c, '\\' | '?' | '#'))
        {
            return Err(TemplateFault::Byte(byte));
        }
        if text
            .split('/')
            .any(|segment| segment == "." || segment == "..")
        {
            return Err(TemplateFault::Dots);
        }
        let mut pieces = Vec::new();
        let mut rest = text;
        while let Some(open) = rest.find(['{', '}']) {
            let (before, from) = rest.split_at(open);
            let (name, after) = from
                .strip_prefix('{')
                .and_then(|inside| inside.split_once('}'))
                .ok_or(TemplateFault::Brace)?;
            push_text(before, &mut pieces);
            let unknown = || TemplateFault::Unknown(name.to_owned());
            pieces.push(Piece::Parameter(
                pattern.parameter(name).ok_or_else(unknown)?,
            ));
            rest = after;
        }
        push_text(rest, &mut pieces);
        Ok(PathTemplate { pieces })
    }

    /// The whole new path.
    #[must_use]
    pub fn expand(&self, path: &str, params: &Params) -> String {
        let mut out = String::with_capacity(path.len() + 16);
        for piece in &self.pieces {
            out.push_str(match piece {
                Piece::Parameter(index) => params.text(path, *index),
                Piece::Text(text) => text,
            });
        }
        out
    }

    /// The new path in place of what the pattern matched; what follows a prefix stays.
    #[must_use]
    pub fn replace(&self, pattern: &PathMatch, path: &str, params: &Params) -> String {
        let mut out = self.expand(path, params);
        if !pattern.is_prefix() {
            return out;
        }
        let rest = path.get(pattern.matched_bytes(path)..).unwrap_or_default();
        if !rest.is_empty() {
            out.truncate(out.trim_end_matches('/').len());
            out.push_str(rest);
        }
        out
    }
}

fn push_text(text: &str, pieces: &mut Vec<Piece>) {
    if !text.is_empty() {
        let escaped: Cow<'_, str> = utf8_percent_encode(text, ESCAPED).into();
        pieces.push(Piece::Text(escaped.into()));
    }
}

/// What stands in a new path as it is written, but not on the wire; non-ASCII always.
const ESCAPED: &AsciiSet = &AsciiSet::EMPTY
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'^')
    .add(b'`')
    .add(b'|');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::pattern::{PathPattern, Segment};

    use super::*;

    fn replaced(pattern: PathPattern, template: &str, path: &str) -> String {
        let pattern = PathMatch::compile(&pattern).unwrap();
        let template = PathTemplate::compile(template, &pattern).unwrap();
        template.replace(&pattern, path, &pattern.params(path))
    }

    fn order(below: bool) -> PathPattern {
        let segments = vec![
            Segment::Literal("order".into()),
            Segment::Parameter("id".into()),
        ];
        PathPattern::Template { segments, below }
    }

    #[test]
    fn a_prefix_is_replaced_and_the_rest_stays() {
        let prefix = |text: &str| PathPattern::Prefix(text.into());
        let table = [
            (prefix("/user"), "/", "/user/1", "/1"),
            (prefix("/user"), "/", "/user", "/"),
            (prefix("/user"), "/", "/user/", "/"),
            (prefix("/user"), "/v1", "/user/1/x", "/v1/1/x"),
            (prefix("/user"), "/v1/", "/user/1", "/v1/1"),
            (prefix("/user"), "/v1/", "/user", "/v1/"),
            (prefix(""), "/api", "/x", "/api/x"),
            (
                order(true),
                "/o/{id}/now",
                "/order/7/lines/2",
                "/o/7/now/lines/2",
            ),
            (order(false), "/o?".trim_end_matches('?'), "/order/7", "/o"),
            (
                order(false),
                "/by-id-{id}.json",
                "/order/7",
                "/by-id-7.json",
            ),
            (PathPattern::Regex("/x.*".into()), "/y", "/xyz", "/y"),
            (
                PathPattern::Exact("/a".into()),
                "/caf\u{e9} x",
                "/a",
                "/caf%C3%A9%20x",
            ),
        ];
        for (pattern, template, path, expected) in table {
            assert_eq!(
                replaced(pattern, template, path),
                expected,
                "{template} {path}"
            );
        }
    }

    #[test]
    fn templates_that_cannot_work_are_refused() {
        let pattern = PathMatch::compile(&order(false)).unwrap();
        let fault = |text: &str| PathTemplate::compile(text, &pattern).unwrap_err();
        assert_eq!(fault("x"), TemplateFault::Relative);
        assert_eq!(fault("/{nr}"), TemplateFault::Unknown("nr".into()));
        assert_eq!(fault("/{id"), TemplateFault::Brace);
        assert_eq!(fault("/id}"), TemplateFault::Brace);
        assert_eq!(fault("/a/../b"), TemplateFault::Dots);
        assert_eq!(fault("/a?b=c"), TemplateFault::Byte('?'));
    }
}
