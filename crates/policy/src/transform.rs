//! Changes of JSON bodies: fields removed, renamed and set.
//!
//! For: compiled changes, filled for one request and applied to one body. Not for: holding bodies;
//! the engine does. The one idea: a change either happens as it was written or the body goes
//! nowhere. What cannot be read, is too large, or has no place for a field is refused, since it may
//! be the field that somebody relies on.

mod tree;

#[cfg(test)]
mod tests;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_TYPE, ETAG};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use serde_json::value::{RawValue, to_raw_value};
use weir_config::Position;
use weir_config::pointer::JsonPointer;
use weir_config::transform::{JsonChanges, JsonValue};

use crate::json;
use crate::rewrite::{Goes, Scope, Template, TemplateFault, Values};
use tree::{Misfit, Tree};

/// The changes of one kind of body.
#[derive(Debug)]
pub(crate) struct JsonPlan {
    remove: Vec<JsonPointer>,
    rename: Vec<(JsonPointer, JsonPointer)>,
    set: Vec<(JsonPointer, SetValue)>,
    pub(crate) bytes_max: u64,
    pub(crate) at: Position,
}

/// What a field is set to.
#[derive(Debug)]
enum SetValue {
    /// The same for every request.
    Fixed(Box<RawValue>),
    /// Made from it.
    Varying(Varying),
}

/// A value with places in it.
#[derive(Debug)]
enum Varying {
    List(Vec<Varying>),
    Object(Vec<(String, Varying)>),
    Plain(Value),
    Text(Template),
}

/// What the varying values of a plan became for one request, in their order; `None` where a
/// variable had no value.
pub(crate) type FilledJson = Vec<Option<Value>>;

/// Why a body could not be changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum TransformFault {
    /// It is no JSON; in words that hold nothing of it.
    Malformed(String),
    /// What a pointer goes through is neither object nor list.
    NoPlace(String),
    /// It has more bytes than are held, before or after.
    TooLarge(u64),
}

impl JsonPlan {
    /// Compiles changes.
    ///
    /// # Errors
    /// The pointer whose value has a place that nothing could fill.
    pub(crate) fn compile(
        written: &JsonChanges,
        scope: Scope<'_>,
    ) -> Result<JsonPlan, (Position, TemplateFault)> {
        let mut set = Vec::with_capacity(written.set.len());
        for (pointer, value) in &written.set {
            let compiled = Varying::compile(&value.value, scope);
            let compiled = compiled.map_err(|fault| (value.at, fault))?;
            let fixed = compiled.as_fixed().and_then(|it| to_raw_value(&it).ok());
            let value = match fixed {
                Some(raw) => SetValue::Fixed(raw),
                None => SetValue::Varying(compiled),
            };
            set.push((pointer.value.clone(), value));
        }
        let rename = written.rename.iter();
        Ok(JsonPlan {
            remove: written.remove.iter().map(|it| it.value.clone()).collect(),
            rename: rename
                .map(|(from, to)| (from.value.clone(), to.value.clone()))
                .collect(),
            set,
            bytes_max: written.body_bytes_max.0,
            at: written.at,
        })
    }

    /// Whether it has values that a request fills.
    pub(crate) fn varies(&self) -> bool {
        let mut values = self.set.iter();
        values.any(|(_, value)| matches!(value, SetValue::Varying(_)))
    }

    /// Fills its varying values for a request.
    pub(crate) fn fill(&self, values: &Values<'_>) -> FilledJson {
        let varying = self.set.iter().filter_map(|(_, value)| match value {
            SetValue::Fixed(_) => None,
            SetValue::Varying(varying) => Some(varying.fill(values)),
        });
        varying.collect()
    }

    /// The body that leaves instead of one that came.
    pub(crate) fn apply(
        &self,
        body: &[u8],
        filled: &[Option<Value>],
    ) -> Result<Vec<u8>, TransformFault> {
        let too_large = |bytes: usize| bytes as u64 > self.bytes_max;
        if too_large(body.len()) {
            return Err(TransformFault::TooLarge(self.bytes_max));
        }
        let at = |pointer: &JsonPointer| {
            let pointer = pointer.to_string();
            move |misfit| match misfit {
                Misfit::Malformed(error) => TransformFault::Malformed(json::fault(&error)),
                Misfit::NoPlace => TransformFault::NoPlace(pointer),
            }
        };
        let mut tree = Tree::read(body).map_err(|misfit| match misfit {
            Misfit::Malformed(error) => TransformFault::Malformed(json::fault(&error)),
            Misfit::NoPlace => TransformFault::NoPlace(String::new()),
        })?;
        for pointer in &self.remove {
            tree.take(&pointer.tokens).map_err(at(pointer))?;
        }
        for (from, to) in &self.rename {
            if let Some(value) = tree.take(&from.tokens).map_err(at(from))? {
                tree.put(&to.tokens, value).map_err(at(to))?;
            }
        }
        let mut filled = filled.iter();
        for (pointer, value) in &self.set {
            let value = match value {
                SetValue::Fixed(raw) => Some(Tree::Raw(raw)),
                SetValue::Varying(_) => filled.next().cloned().flatten().map(Tree::Made),
            };
            match value {
                Some(value) => tree.put(&pointer.tokens, value).map_err(at(pointer))?,
                // Nobody else may say it either.
                None => drop(tree.take(&pointer.tokens).map_err(at(pointer))?),
            }
        }
        let mut changed = Vec::with_capacity(body.len() + GROWTH_BYTES);
        tree.write(&mut changed);
        match too_large(changed.len()) {
            true => Err(TransformFault::TooLarge(self.bytes_max)),
            false => Ok(changed),
        }
    }

    /// What it does, for an explanation.
    pub(crate) fn describe(&self) -> String {
        let pointers = |list: Vec<&JsonPointer>| {
            let list: Vec<_> = list.iter().map(|it| format!("`{it}`")).collect();
            list.join(", ")
        };
        let mut said = Vec::new();
        if !self.remove.is_empty() {
            said.push(format!(
                "without {}",
                pointers(self.remove.iter().collect())
            ));
        }
        for (from, to) in &self.rename {
            said.push(format!("`{from}` as `{to}`"));
        }
        if !self.set.is_empty() {
            let set = self.set.iter().map(|(pointer, _)| pointer).collect();
            said.push(format!("with another {}", pointers(set)));
        }
        format!("{}, at most {} bytes", said.join(", "), self.bytes_max)
    }
}

impl Varying {
    fn compile(written: &JsonValue, scope: Scope<'_>) -> Result<Varying, TemplateFault> {
        Ok(match written {
            JsonValue::List(items) => {
                let items = items.iter().map(|item| Varying::compile(item, scope));
                Varying::List(items.collect::<Result<_, _>>()?)
            }
            JsonValue::Object(fields) => {
                let fields = fields.iter().map(|(name, value)| {
                    Ok::<_, TemplateFault>((name.clone(), Varying::compile(value, scope)?))
                });
                Varying::Object(fields.collect::<Result<_, _>>()?)
            }
            JsonValue::Plain(value) => Varying::Plain(value.clone()),
            JsonValue::Text(template) => Varying::Text(Template::compile(template, scope)?),
        })
    }

    /// The value, when it is known without a request.
    fn as_fixed(&self) -> Option<Value> {
        match self {
            Varying::List(items) => items.iter().map(Varying::as_fixed).collect(),
            Varying::Object(fields) => {
                let fields = fields.iter();
                let fixed = fields.map(|(name, value)| Some((name.clone(), value.as_fixed()?)));
                fixed.collect::<Option<_>>().map(Value::Object)
            }
            Varying::Plain(value) => Some(value.clone()),
            Varying::Text(template) => template.as_fixed().map(Value::from),
        }
    }

    fn fill(&self, values: &Values<'_>) -> Option<Value> {
        match self {
            Varying::List(items) => items.iter().map(|item| item.fill(values)).collect(),
            Varying::Object(fields) => {
                let fields = fields.iter();
                let filled = fields.map(|(name, value)| Some((name.clone(), value.fill(values)?)));
                filled.collect::<Option<_>>().map(Value::Object)
            }
            Varying::Plain(value) => Some(value.clone()),
            Varying::Text(template) => {
                // Nothing is escaped for a header, and JSON is written behind this.
                let filled = template.fill(values, None, Goes::Header).ok()?;
                String::from_utf8(filled).ok().map(Value::from)
            }
        }
    }
}

impl std::fmt::Display for TransformFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            TransformFault::Malformed(said) => write!(f, "the body {said}"),
            TransformFault::NoPlace(pointer) => {
                write!(
                    f,
                    "`{pointer}` of the body goes through what is no object and no list"
                )
            }
            TransformFault::TooLarge(max) => write!(f, "at most {max} bytes are changed"),
        }
    }
}

/// Whether a body of this head is JSON by its type.
pub(crate) fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| json::is_json(kind.as_bytes()))
}

/// Takes out of a head what speaks of the bytes of a body that are no longer those.
pub(crate) fn disown(headers: &mut HeaderMap) {
    headers.remove(CONTENT_LENGTH);
    for name in DIGESTS {
        headers.remove(name);
    }
}

/// Says in the head of a response that its body is another one: the tag that it had only stands for
/// the same meaning now, and its ranges for nothing.
pub(crate) fn weaken(headers: &mut HeaderMap) {
    headers.remove(ACCEPT_RANGES);
    for name in DIGESTS {
        headers.remove(name);
    }
    let Some(tag) = headers
        .get(ETAG)
        .filter(|tag| !tag.as_bytes().starts_with(b"W/"))
    else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

/// Digests of a body (RFC 9530, and those before it).
const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("repr-digest"),
];
/// What a body is expected to grow by.
const GROWTH_BYTES: usize = 256;
