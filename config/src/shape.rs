//! What a declaration accepts, as data: the schema and the reference page are written from this,
//! and from nothing else.

use serde_json::Value as Json;

/// What may stand at some place.
#[derive(Debug, Clone)]
pub(crate) enum Shape {
    /// Anything.
    Any,
    /// Any of these; they differ in type.
    AnyOf(Vec<Shape>),
    /// `true` or `false`.
    Boolean,
    /// One of some words.
    Choice(Vec<Word>),
    /// Exactly this boolean.
    Constant(bool),
    /// A whole number.
    Integer { min: i64, max: i64 },
    /// A list; one item may stand without brackets.
    List {
        item: Box<Shape>,
        min: usize,
        max: usize,
    },
    /// Names to values.
    Map {
        key: TextShape,
        value: Box<Shape>,
        max: usize,
    },
    /// An object type of the language. A function, since types may hold each other.
    Object(fn() -> ObjectShape),
    /// A text of some syntax.
    Text(TextShape),
}

impl Shape {
    /// Whether a scalar may stand here.
    pub(crate) fn has_scalar_form(&self) -> bool {
        match self {
            Shape::AnyOf(shapes) => shapes.iter().any(Shape::has_scalar_form),
            Shape::List { item, .. } => item.has_scalar_form(),
            Shape::Map { .. } => false,
            Shape::Object(object) => object().short.is_some_and(|short| short.has_scalar_form()),
            Shape::Any
            | Shape::Boolean
            | Shape::Choice(_)
            | Shape::Constant(_)
            | Shape::Integer { .. }
            | Shape::Text(_) => true,
        }
    }

    /// The shape in words: "a duration such as `5s`, from 1ms to 168h".
    pub(crate) fn words(&self) -> String {
        match self {
            Shape::Any => "any value".to_owned(),
            Shape::AnyOf(shapes) => shapes
                .iter()
                .map(Shape::words)
                .collect::<Vec<_>>()
                .join(", or "),
            Shape::Boolean => "`true` or `false`".to_owned(),
            Shape::Choice(words) => words
                .iter()
                .map(|word| format!("`{}`", word.text))
                .collect::<Vec<_>>()
                .join(", "),
            Shape::Constant(value) => format!("`{value}`"),
            Shape::Integer { min, max } if *max >= i64::from(u32::MAX) => {
                format!("a whole number from {min}")
            }
            Shape::Integer { min, max } => format!("a whole number from {min} to {max}"),
            Shape::List { item, .. } => format!("a list, each {}", item.words()),
            Shape::Map { value, .. } => format!("a map, each value {}", value.words()),
            Shape::Object(object) => match object().short {
                Some(short) => format!("{}, or a map", short.words()),
                None => "a map".to_owned(),
            },
            Shape::Text(text) => match &text.range {
                Some((min, max)) => format!("{}, from {min} to {max}", text.what),
                None => text.what.to_owned(),
            },
        }
    }
}

/// A text of some syntax.
#[derive(Debug, Clone)]
pub(crate) struct TextShape {
    /// In words: "a duration such as `5s`".
    pub(crate) what: &'static str,
    /// A regular expression that every good value matches; anchored.
    pub(crate) pattern: Option<&'static str>,
    /// Which bare scalars stand for a text.
    pub(crate) accepts: Accepts,
    /// Least and most, as written.
    pub(crate) range: Option<(String, String)>,
}

/// Which scalars a text may be written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Accepts {
    /// Booleans and numbers too; taken as they stand.
    AnyScalar,
    /// Only what YAML holds for a text.
    Text,
    /// A bare whole number too.
    TextOrInteger,
}

/// One word of a choice.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    pub(crate) text: &'static str,
    pub(crate) doc: &'static str,
}

/// An object type.
#[derive(Debug, Clone)]
pub(crate) struct ObjectShape {
    /// The Rust name, which is the name of its definition in the schema.
    pub(crate) name: &'static str,
    pub(crate) doc: &'static str,
    /// What may stand instead of the object.
    pub(crate) short: Option<Shape>,
    pub(crate) fields: Vec<FieldShape>,
    /// Groups of keys of which exactly one must be there.
    pub(crate) one_of: Vec<Vec<&'static str>>,
}

/// One key of an object.
#[derive(Debug, Clone)]
pub(crate) struct FieldShape {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
    pub(crate) presence: Presence,
}

/// Whether a key must be there, and what holds when it is not.
#[derive(Debug, Clone)]
pub(crate) enum Presence {
    /// One of a group.
    OneOfGroup,
    /// May be missing.
    Optional {
        /// The value then.
        default: Option<Json>,
        /// What holds then, where that is not one value.
        note: &'static str,
    },
    /// Must be there.
    Required,
}

/// A doc comment as one line of text: rustdoc keeps the break and the blank of every line.
pub(crate) fn prose(doc: &str) -> String {
    doc.split_whitespace().collect::<Vec<_>>().join(" ")
}
