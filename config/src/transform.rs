//! Changes of JSON bodies, named by JSON Pointers (RFC 6901).

use crate::bounds::{BUFFERED_BODY_BYTES_MAX, POINTERS_MAX};
use crate::declare::{defaulted, empty, object, optional, place};
use crate::decode::{Complaint, Decoder};
use crate::pointer::{JsonPointer, pointer};
use crate::position::{Located, Position};
use crate::shape::Shape;
use crate::syntax::unit::size;
use crate::syntax::{Syntax, at, list, map, of};
use crate::template::Template;
use crate::units::Size;
use crate::yaml::{Node, Plain, Value};

object! {
    /// Changes of JSON bodies on their way. What is no JSON by its `content-type` passes as it is,
    /// and so do event streams, upgrades and gRPC.
    pub default struct Transform {
        check Transform::check;
        /// Changes of the request's body.
        pub request: Option<JsonChanges> = optional(of::<JsonChanges>()).note("none"),
        /// Changes of the service's response. Its `ETag` becomes a weak one; digests and ranges go.
        /// Answers of Weir's own stay as they are.
        pub response: Option<JsonChanges> = optional(of::<JsonChanges>()).note("none"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Transform {
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if self.request.is_none() && self.response.is_none() {
            let complaint = Complaint::new("changes nothing")
                .hint("give it `request` or `response`, or remove it");
            decoder.report(self.at, complaint);
        }
    }
}

object! {
    /// Changes of a JSON body, applied as remove, rename, set. A field is named by a JSON Pointer,
    /// such as `/user/name` or `/items/0`. Everything else of the body keeps its order and its
    /// numbers as they were written.
    pub default struct JsonChanges {
        check JsonChanges::check;
        /// Fields and items taken out, where they are there.
        pub remove: Vec<Located<JsonPointer>> = empty(list(at(pointer())).at_most(POINTERS_MAX)),
        /// Fields moved elsewhere, where they are there; what was there before goes.
        pub rename: Vec<(Located<JsonPointer>, Located<JsonPointer>)> =
            empty(map(pointer(), at(pointer())).at_most(POINTERS_MAX)),
        /// Fields inserted or replaced; objects on the way are made, and `-` appends to a list.
        /// Values are any YAML; texts may have [variables](#variables), and a value with one that
        /// has none takes its field out.
        pub set: Vec<(Located<JsonPointer>, Located<JsonValue>)> =
            empty(map(pointer(), at(AnyValue)).at_most(POINTERS_MAX)),
        /// Largest body, before and after, from 1KiB to 16MiB: it lies in memory until it is
        /// changed. Past it a request is refused with 413 and a response with 502.
        pub body_bytes_max: Size = defaulted(
            size().within(Size::kib(1), Size(BUFFERED_BODY_BYTES_MAX)),
            Size::mib(1),
        ),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl JsonChanges {
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if self.remove.is_empty() && self.rename.is_empty() && self.set.is_empty() {
            let complaint = Complaint::new("changes nothing")
                .hint("give it `remove`, `rename` or `set`, or remove it");
            decoder.report(self.at, complaint);
        }
        for (from, to) in &self.rename {
            if from.value == to.value {
                let complaint = Complaint::new(format!("`{}` is its name already", to.value))
                    .hint("remove it, or give it another name");
                decoder.in_key("rename", |decoder| decoder.report(to.at, complaint));
            }
        }
    }
}

/// A JSON value whose texts may have places.
#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue {
    /// A list.
    List(Vec<JsonValue>),
    /// An object.
    Object(Vec<(String, JsonValue)>),
    /// A number, a boolean or nothing.
    Plain(serde_json::Value),
    /// A text.
    Text(Template),
}

/// Any YAML value.
struct AnyValue;

impl Syntax for AnyValue {
    type Value = JsonValue;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<JsonValue> {
        match &node.value {
            Value::List(items) => {
                let mut read = Vec::with_capacity(items.len());
                for (index, item) in items.iter().enumerate() {
                    read.push(decoder.in_item(index, |decoder| self.read(item, decoder))?);
                }
                Some(JsonValue::List(read))
            }
            Value::Map(entries) => {
                let mut read = Vec::with_capacity(entries.len());
                for (key, node) in entries {
                    let value = decoder.in_key(key, |decoder| self.read(node, decoder))?;
                    read.push((key.value.clone(), value));
                }
                Some(JsonValue::Object(read))
            }
            Value::Scalar {
                text,
                plain: Plain::Text,
            } => Template::parse(text)
                .map(JsonValue::Text)
                .map_err(|complaint| decoder.report(node.at, complaint))
                .ok(),
            Value::Scalar {
                plain: Plain::Float(number),
                ..
            } if !number.is_finite() => {
                let problem = format!("{} is no number of JSON", node.describe());
                decoder.report(node.at, Complaint::new(problem));
                None
            }
            Value::Scalar { .. } => Some(JsonValue::Plain(node.to_json())),
        }
    }

    fn shape(&self) -> Shape {
        Shape::Any
    }
}
