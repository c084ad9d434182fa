//! YAML text as a tree in which every value knows its place.
//!
//! For: YAML 1.2 core schema, anchors and aliases, bounded in size, depth and number of values
//! (aliases count as often as they are used). Refuses duplicate keys, several documents in one
//! text, application tags and keys that are not texts. Not for: what the values mean.

mod build;
mod scalar;

use crate::give_way::give_way;
use crate::position::{Located, Position};

pub(crate) use build::{parse, parse_within};
pub(crate) use scalar::Plain;

/// A value and its place.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    pub(crate) at: Position,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    List(Vec<Node>),
    Map(Vec<(Located<String>, Node)>),
    Scalar {
        /// As written, quotes and escapes resolved.
        text: String,
        /// What the core schema makes of it.
        plain: Plain,
    },
}

impl Node {
    /// The node in words, for messages: `the integer 5`, `a list`.
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a map".to_owned(),
            Value::Scalar { text, plain } => match plain {
                Plain::Bool(_) => format!("the boolean `{}`", excerpt(text)),
                Plain::Float(_) => format!("the number `{}`", excerpt(text)),
                Plain::Integer(_) => format!("the integer `{}`", excerpt(text)),
                Plain::Null => "nothing".to_owned(),
                Plain::Text => format!("the text `{}`", excerpt(text)),
            },
        }
    }

    /// Whether there is no value, as after a key that ends its line.
    pub(crate) fn is_null(&self) -> bool {
        matches!(
            &self.value,
            Value::Scalar {
                plain: Plain::Null,
                ..
            }
        )
    }

    /// Whether it is neither a list nor a map.
    pub(crate) fn is_scalar(&self) -> bool {
        matches!(&self.value, Value::Scalar { .. })
    }

    /// What stands under a key, where this is a map that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(written, _)| written.value == key)
                .map(|(_, node)| node),
            Value::List(_) | Value::Scalar { .. } => None,
        }
    }

    /// Lets go of it piece by piece: a large tree takes milliseconds.
    pub(crate) fn free(self) {
        give_way();
        match self.value {
            Value::List(items) => items.into_iter().for_each(Node::free),
            Value::Map(entries) => entries.into_iter().for_each(|(_, node)| node.free()),
            Value::Scalar { .. } => {}
        }
    }

    /// The same tree as JSON, the way a schema sees it.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::List(items) => items.iter().map(Node::to_json).collect(),
            Value::Map(entries) => entries
                .iter()
                .map(|(key, node)| (key.value.clone(), node.to_json()))
                .collect::<serde_json::Map<_, _>>()
                .into(),
            Value::Scalar { text, plain } => match plain {
                Plain::Bool(value) => (*value).into(),
                Plain::Float(value) => (*value).into(),
                Plain::Integer(value) => (*value).into(),
                Plain::Null => serde_json::Value::Null,
                Plain::Text => text.clone().into(),
            },
        }
    }
}

/// A value as messages quote it: at most 60 characters, on one line.
pub(crate) fn excerpt(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(60)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}
