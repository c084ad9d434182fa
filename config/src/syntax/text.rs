//! Texts of some syntax, and the plain ones: names, paths of files, any text at all.

use std::path::PathBuf;

use serde_json::Value as Json;

use super::{Syntax, Writable, map, mapped};
use crate::bounds::{
    ENDPOINT_LABELS_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX, NAME_CHARS_MAX,
    RESPOND_BODY_BYTES_MAX, TEXT_BYTES_MAX,
};
use crate::decode::{Complaint, Decoder};
use crate::position::Position;
use crate::shape::{Accepts, Shape, TextShape};
use crate::yaml::{Node, Plain, Value, excerpt};

/// A text that is parsed.
pub(crate) struct Text<T: 'static> {
    /// In words, with an example: "a duration such as `5s`".
    pub(crate) what: &'static str,
    /// A regular expression that every good value matches, for editors; the parser decides.
    pub(crate) pattern: Option<&'static str>,
    pub(crate) accepts: Accepts,
    pub(crate) parse: fn(&str) -> Result<T, Complaint>,
    pub(crate) write: fn(&T) -> String,
}

impl<T> Text<T> {
    /// Reads a text that is known to be one: a key.
    pub(crate) fn read_text(&self, text: &str, at: Position, decoder: &mut Decoder) -> Option<T> {
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!(
                "the text has {} bytes; at most {TEXT_BYTES_MAX}",
                text.len()
            );
            decoder.report(at, Complaint::new(problem));
            return None;
        }
        match (self.parse)(text) {
            Ok(value) => Some(value),
            Err(complaint) => {
                decoder.report(at, complaint);
                None
            }
        }
    }

    /// The value as it is written.
    pub(crate) fn text(&self, value: &T) -> String {
        (self.write)(value)
    }

    pub(crate) fn text_shape(&self) -> TextShape {
        TextShape {
            what: self.what,
            pattern: self.pattern,
            accepts: self.accepts,
            range: None,
        }
    }

    /// Only values from `min` to `max`.
    pub(crate) fn within(self, min: T, max: T) -> Within<T> {
        Within {
            text: self,
            min,
            max,
        }
    }
}

impl<T> Syntax for Text<T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        let Value::Scalar { text, plain } = &node.value else {
            return decoder.wrong_type(node, self.what);
        };
        let accepted = match plain {
            Plain::Text => true,
            Plain::Null => return decoder.wrong_type(node, self.what),
            Plain::Integer(_) => self.accepts != Accepts::Text,
            Plain::Bool(_) | Plain::Float(_) => self.accepts == Accepts::AnyScalar,
        };
        let value = self.read_text(text, node.at, decoder)?;
        if accepted {
            return Some(value);
        }
        let problem = format!("expected {}, found {}", self.what, node.describe());
        let hint = format!("put it in quotes: \"{}\"", excerpt(text));
        decoder.report(node.at, Complaint::new(problem).hint(hint));
        None
    }

    fn shape(&self) -> Shape {
        Shape::Text(self.text_shape())
    }
}

impl<T> Writable for Text<T> {
    fn write(&self, value: &T) -> Json {
        self.text(value).into()
    }
}

/// A text whose value lies in a range.
pub(crate) struct Within<T: 'static> {
    text: Text<T>,
    min: T,
    max: T,
}

impl<T> Within<T> {
    /// The same with another upper end.
    pub(crate) fn up_to(self, max: T) -> Self {
        Within { max, ..self }
    }
}

impl<T: PartialOrd> Syntax for Within<T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        let value = self.text.read(node, decoder)?;
        if value >= self.min && value <= self.max {
            return Some(value);
        }
        let written = |value| self.text.text(value);
        let problem = format!(
            "`{}` is out of range: from {} to {}",
            written(&value),
            written(&self.min),
            written(&self.max)
        );
        decoder.report(node.at, Complaint::new(problem));
        None
    }

    fn shape(&self) -> Shape {
        let range = Some((self.text.text(&self.min), self.text.text(&self.max)));
        Shape::Text(TextShape {
            range,
            ..self.text.text_shape()
        })
    }
}

impl<T: PartialOrd> Writable for Within<T> {
    fn write(&self, value: &T) -> Json {
        self.text.write(value)
    }
}

/// A name of a service or issuer, or a mention of one.
pub(crate) fn name() -> Text<String> {
    Text {
        what: "a name such as `orders-v2`",
        pattern: Some("^[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?$"),
        accepts: Accepts::Text,
        parse: parse_name,
        write: String::clone,
    }
}

fn parse_name(text: &str) -> Result<String, Complaint> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = text.starts_with(edge)
        && text.ends_with(edge)
        && text
            .chars()
            .all(|c| edge(c) || matches!(c, '.' | '_' | '-'))
        && text.len() <= NAME_CHARS_MAX;
    if good {
        return Ok(text.to_owned());
    }
    Err(Complaint::new(format!("`{}` is not a name", excerpt(text))).hint(format!(
        "a name has a-z, 0-9 and inside also `.`, `_` and `-`; at most {NAME_CHARS_MAX} characters"
    )))
}

/// A name that a listener of the gateway may have.
pub(crate) fn listener_name() -> Text<String> {
    Text {
        parse: |text| match text {
            "mesh" => Err(Complaint::new("the listener name `mesh` is reserved")
                .hint("`mesh` is the outbound listener of every sidecar; choose another name")),
            _ => parse_name(text),
        },
        ..name()
    }
}

/// The name of a route: free, since it is only shown.
pub(crate) fn route_name() -> Text<String> {
    Text {
        what: "a name such as `orders`",
        pattern: Some("^[^\\x00-\\x1f\\x7f]{1,100}$"),
        accepts: Accepts::Text,
        parse: |text| match text.chars().count() {
            1..=100 if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(
                Complaint::new(format!("`{}` cannot name a route", excerpt(text)))
                    .hint("from 1 to 100 printable characters"),
            ),
        },
        write: String::clone,
    }
}

/// At least one character; a dot alone would not match a line break.
pub(super) const NOT_EMPTY: Option<&str> = Some("[\\s\\S]");

/// Any text that is not empty.
pub(crate) fn text() -> Text<String> {
    Text {
        what: "a text",
        pattern: NOT_EMPTY,
        accepts: Accepts::Text,
        parse: |text| match text {
            "" => Err(Complaint::new("the text is empty")),
            _ => Ok(text.to_owned()),
        },
        write: String::clone,
    }
}

/// Any text or other scalar, even an empty one: values that are compared as texts.
pub(crate) fn any_text() -> Text<String> {
    Text {
        what: "a text",
        pattern: None,
        accepts: Accepts::AnyScalar,
        parse: |text| Ok(text.to_owned()),
        write: String::clone,
    }
}

/// The zone of an endpoint.
pub(crate) fn zone() -> Text<String> {
    Text {
        what: "a zone such as `eu-a`",
        ..label_name()
    }
}

/// Labels of an endpoint, or those asked of one.
pub(crate) fn labels() -> impl Syntax<Value = Vec<(String, String)>> {
    let entries = map(label_name(), label_value()).at_most(ENDPOINT_LABELS_MAX);
    mapped(entries, |entries| {
        let pairs = entries.into_iter().map(|(name, value)| (name.value, value));
        pairs.collect()
    })
}

fn label_name() -> Text<String> {
    Text {
        what: "the name of a label, such as `version`",
        pattern: Some("^[^\\x00-\\x1f\\x7f]+$"),
        accepts: Accepts::Text,
        parse: |text| match text.len() {
            1..=LABEL_NAME_BYTES_MAX if !text.chars().any(char::is_control) => Ok(text.to_owned()),
            _ => Err(
                Complaint::new(format!("`{}` is not a label", excerpt(text))).hint(format!(
                    "from 1 to {LABEL_NAME_BYTES_MAX} bytes, none of them a control character"
                )),
            ),
        },
        write: String::clone,
    }
}

fn label_value() -> Text<String> {
    Text {
        parse: |text| match text.len() {
            0..=LABEL_VALUE_BYTES_MAX => Ok(text.to_owned()),
            bytes => Err(Complaint::new(format!(
                "the value has {bytes} bytes; at most {LABEL_VALUE_BYTES_MAX}"
            ))),
        },
        ..any_text()
    }
}

/// The body of a fixed answer: a text that may be longer than others.
pub(crate) struct Body;

impl Syntax for Body {
    type Value = String;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<String> {
        let Value::Scalar { text, plain } = &node.value else {
            return decoder.wrong_type(node, "a text");
        };
        if *plain == Plain::Null {
            return decoder.wrong_type(node, "a text");
        }
        if text.len() > RESPOND_BODY_BYTES_MAX {
            let problem = format!(
                "the body has {} bytes; at most {RESPOND_BODY_BYTES_MAX}",
                text.len()
            );
            decoder.report(node.at, Complaint::new(problem));
            return None;
        }
        Some(text.clone())
    }

    fn shape(&self) -> Shape {
        any_text().shape()
    }
}

impl Writable for Body {
    fn write(&self, value: &String) -> Json {
        value.as_str().into()
    }
}

/// A file.
pub(crate) fn file() -> Text<PathBuf> {
    Text {
        what: "a file such as `tls/edge.pem`",
        pattern: NOT_EMPTY,
        accepts: Accepts::Text,
        parse: |text| {
            if text.is_empty() || text.contains('\0') {
                return Err(Complaint::new(format!("`{}` is not a file", excerpt(text))));
            }
            Ok(PathBuf::from(text))
        },
        write: |path| path.display().to_string(),
    }
}
