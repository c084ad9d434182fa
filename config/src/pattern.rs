//! Patterns a request is matched by: hosts, paths, header and query values.

use std::fmt;

use crate::declare::variants;
use crate::decode::Decoder;
use crate::shape::Shape;
use crate::syntax::path::{exact_path, path_pattern, path_prefix, path_template, regex};
use crate::syntax::plain::Boolean;
use crate::syntax::text::any_text;
use crate::syntax::variant::{ByKey, Variant, by_key_shape, read_by_key};
use crate::syntax::{Declared, Syntax};
use crate::yaml::{Node, Plain, Value};

/// A host pattern: `shop.example` (exact), `*.shop.example` (one or more labels before), `*` (any).
/// Lowercase, without port.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// Any host: what an absent `hosts` means.
    Any,
    /// This host alone.
    Exact(String),
    /// Every host that ends in `.` + this suffix.
    Suffix(String),
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HostPattern::Any => f.write_str("*"),
            HostPattern::Exact(host) => f.write_str(host),
            HostPattern::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

variants! {
    /// A path pattern. Short forms: `/x` exact; `/x/*` everything below `/x` on a segment boundary,
    /// and `/x` itself; `{id}` stands for one segment. Long forms: `{ exact: }`, `{ prefix: }`,
    /// `{ template: }`, `{ regex: }`.
    pub enum PathPattern: Eq {
        /// The whole path, byte by byte.
        Exact(String) = "exact", exact_path() => PathPattern::Exact,
        /// This path and everything below it on a segment boundary. Held without its final slash,
        /// so that `/` is empty.
        Prefix(String) = "prefix", path_prefix() => PathPattern::Prefix,
        /// The whole path matches this regular expression (anchored at both ends).
        Regex(String) = "regex", regex() => PathPattern::Regex,
        /// Segments, some of which are parameters (`{id}`); with `/*` at the end, everything below
        /// as well.
        Template {
            /// The segments in order.
            segments: Vec<Segment>,
            /// Whether anything may follow on a segment boundary.
            below: bool,
        } = "template", path_template() => |(segments, below)| {
            PathPattern::Template { segments, below }
        },
    }
}

/// One segment of a path template.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// Exactly this text.
    Literal(String),
    /// Any one non-empty segment, remembered under this name.
    Parameter(String),
}

impl PathPattern {
    /// The names of its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = &str> {
        let segments = match self {
            PathPattern::Template { segments, .. } => segments.as_slice(),
            _ => &[],
        };
        segments.iter().filter_map(|segment| match segment {
            Segment::Literal(_) => None,
            Segment::Parameter(name) => Some(name.as_str()),
        })
    }
}

/// The short form; a regular expression, which has none, as `~` and itself.
impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathPattern::Exact(path) => f.write_str(path),
            PathPattern::Prefix(prefix) => write!(f, "{prefix}/*"),
            PathPattern::Regex(regex) => write!(f, "~{regex}"),
            PathPattern::Template { segments, below } => {
                for segment in segments {
                    match segment {
                        Segment::Literal(text) => write!(f, "/{text}")?,
                        Segment::Parameter(name) => write!(f, "/{{{name}}}")?,
                    }
                }
                if *below { f.write_str("/*") } else { Ok(()) }
            }
        }
    }
}

impl std::str::FromStr for PathPattern {
    type Err = String;

    /// Reads the short form.
    fn from_str(text: &str) -> Result<Self, String> {
        (path_pattern().parse)(text).map_err(|complaint| complaint.problem)
    }
}

impl Declared for PathPattern {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        match &node.value {
            Value::Map(_) => read_by_key(node, decoder, "a path"),
            Value::List(_) | Value::Scalar { .. } => path_pattern().read(node, decoder),
        }
    }

    fn shape() -> Shape {
        Shape::Object(|| {
            by_key_shape::<PathPattern>(
                "PathPattern",
                "A path pattern. As a text: `/x` is exact; `/x/*` is everything below `/x` on a \
                 segment boundary, and `/x` itself; `{id}` stands for one segment.",
                path_pattern().shape(),
            )
        })
    }
}

/// How a header or query value is matched. Short form: a string is exact, `true` means present,
/// `false` means absent. Long forms: `{ exact: }`, `{ prefix: }`, `{ regex: }`, `{ present: }`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ValuePattern {
    /// Must not be there.
    Absent,
    /// Exactly this.
    Exact(String),
    /// Starts with this.
    Prefix(String),
    /// Is there, whatever its value.
    Present,
    /// The whole value matches (anchored at both ends).
    Regex(String),
}

impl ValuePattern {
    fn present(present: bool) -> Self {
        if present {
            ValuePattern::Present
        } else {
            ValuePattern::Absent
        }
    }
}

impl ByKey for ValuePattern {
    fn variants() -> Vec<Variant<Self>> {
        vec![
            Variant::new("exact", "Exactly this.", any_text(), ValuePattern::Exact),
            Variant::new(
                "prefix",
                "Starts with this.",
                any_text(),
                ValuePattern::Prefix,
            ),
            Variant::new(
                "regex",
                "The whole value matches this regular expression (anchored at both ends).",
                regex(),
                ValuePattern::Regex,
            ),
            Variant::new(
                "present",
                "`true`: is there, whatever its value; `false`: is not there.",
                Boolean,
                ValuePattern::present,
            ),
        ]
    }
}

impl Declared for ValuePattern {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        match &node.value {
            Value::Map(_) => read_by_key(node, decoder, "a value to match"),
            Value::Scalar {
                plain: Plain::Bool(present),
                ..
            } => Some(ValuePattern::present(*present)),
            Value::List(_) | Value::Scalar { .. } => {
                any_text().read(node, decoder).map(ValuePattern::Exact)
            }
        }
    }

    fn shape() -> Shape {
        Shape::Object(|| {
            by_key_shape::<ValuePattern>(
                "ValuePattern",
                "How a header or query value is matched. As a text: exactly that; `true`: is \
                 there; `false`: is not there.",
                any_text().shape(),
            )
        })
    }
}
