//! What is wrong with one field of a request: named, never quoted.

use serde_json::{Map, Value};

/// A part of a request that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldFault {
    /// Which part.
    pub place: FieldPlace,
    /// Where inside of it, as a JSON Pointer; empty for all of it.
    pub pointer: Box<str>,
    /// What is wrong, following the name: "must be an integer".
    pub said: Box<str>,
}

/// A part of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldPlace {
    /// The body.
    Body,
    /// A cookie.
    Cookie(Box<str>),
    /// A header field.
    Header(Box<str>),
    /// A parameter of the path.
    Path(Box<str>),
    /// A query parameter.
    Query(Box<str>),
}

impl FieldPlace {
    /// The word of OpenAPI for it, and its name.
    fn parts(&self) -> (&'static str, Option<&str>) {
        match self {
            FieldPlace::Body => ("body", None),
            FieldPlace::Cookie(name) => ("cookie", Some(name)),
            FieldPlace::Header(name) => ("header", Some(name)),
            FieldPlace::Path(name) => ("path", Some(name)),
            FieldPlace::Query(name) => ("query", Some(name)),
        }
    }
}

impl FieldFault {
    /// As a problem document has it.
    #[must_use]
    pub fn json(&self) -> Value {
        let (kind, name) = self.place.parts();
        let mut map = Map::new();
        map.insert("in".into(), kind.into());
        if let Some(name) = name {
            map.insert("name".into(), name.into());
        }
        if name.is_none() || !self.pointer.is_empty() {
            map.insert("pointer".into(), self.pointer.as_ref().into());
        }
        map.insert("detail".into(), self.said.as_ref().into());
        map.into()
    }
}

impl std::fmt::Display for FieldFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (pointer, said) = (&self.pointer, &self.said);
        match (&self.place, pointer.is_empty()) {
            (FieldPlace::Body, true) => write!(f, "the body {said}"),
            (FieldPlace::Body, false) => write!(f, "`{pointer}` of the body {said}"),
            (place, whole) => {
                let (kind, name) = place.parts();
                let kind = match place {
                    FieldPlace::Path(_) | FieldPlace::Query(_) => format!("{kind} parameter"),
                    _ => kind.to_owned(),
                };
                match whole {
                    true => write!(f, "{kind} `{}` {said}", name.unwrap_or_default()),
                    false => write!(f, "{kind} `{}` {pointer} {said}", name.unwrap_or_default()),
                }
            }
        }
    }
}
