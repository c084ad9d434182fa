//! A JSON text that is opened only where something is changed: everything else of it, the order of
//! its fields and the digits of its numbers included, leaves as it came.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

/// A value, opened or not.
#[derive(Debug)]
pub(super) enum Tree<'t> {
    List(Vec<Tree<'t>>),
    /// Made here.
    Made(Value),
    Object(Vec<(Cow<'t, str>, Tree<'t>)>),
    /// As it came.
    Raw(&'t RawValue),
}

/// Why a text cannot be changed.
#[derive(Debug)]
pub(super) enum Misfit {
    /// It is no JSON, or has a field twice where it was opened.
    Malformed(serde_json::Error),
    /// There is neither an object nor a list where a field was to go.
    NoPlace,
}

impl From<serde_json::Error> for Misfit {
    fn from(error: serde_json::Error) -> Self {
        Misfit::Malformed(error)
    }
}

impl<'t> Tree<'t> {
    /// Reads a whole text.
    pub(super) fn read(text: &'t [u8]) -> Result<Self, Misfit> {
        let raw: &RawValue = serde_json::from_slice(text)?;
        Ok(Tree::Raw(raw))
    }

    /// Takes out what a pointer names; `None` where nothing stands there.
    pub(super) fn take(&mut self, tokens: &[String]) -> Result<Option<Tree<'t>>, Misfit> {
        let Some((last, way)) = tokens.split_last() else {
            return Ok(None);
        };
        let mut tree = self;
        for token in way {
            tree.open()?;
            tree = match tree.child(token) {
                Some(child) => child,
                None => return Ok(None),
            };
        }
        tree.open()?;
        Ok(match tree {
            Tree::Object(fields) => {
                let at = fields.iter().position(|(name, _)| name == last);
                at.map(|at| fields.remove(at).1)
            }
            Tree::List(items) => {
                let at = index(last).filter(|at| *at < items.len());
                at.map(|at| items.remove(at))
            }
            Tree::Made(_) | Tree::Raw(_) => None,
        })
    }

    /// Puts a value where a pointer says; objects on the way are made, in the place of null too.
    pub(super) fn put(&mut self, tokens: &[String], value: Tree<'t>) -> Result<(), Misfit> {
        let mut tree = self;
        for token in tokens {
            tree.open()?;
            if tree.is_null() {
                *tree = Tree::Object(Vec::new());
            }
            tree = match tree {
                Tree::Object(fields) => {
                    let at = fields.iter().position(|(name, _)| name == token);
                    let at = at.unwrap_or_else(|| {
                        fields.push((Cow::Owned(token.clone()), Tree::Made(Value::Null)));
                        fields.len() - 1
                    });
                    &mut fields[at].1
                }
                Tree::List(items) => {
                    let at = match token.as_str() {
                        "-" => items.len(),
                        token => index(token).ok_or(Misfit::NoPlace)?,
                    };
                    if at == items.len() {
                        items.push(Tree::Made(Value::Null));
                    }
                    items.get_mut(at).ok_or(Misfit::NoPlace)?
                }
                Tree::Made(_) | Tree::Raw(_) => return Err(Misfit::NoPlace),
            };
        }
        *tree = value;
        Ok(())
    }

    /// Writes it.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Tree::List(items) => {
                out.push(b'[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    item.write(out);
                }
                out.push(b']');
            }
            Tree::Made(value) => write_json(value, out),
            Tree::Object(fields) => {
                out.push(b'{');
                for (index, (name, value)) in fields.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    write_json(name, out);
                    out.push(b':');
                    value.write(out);
                }
                out.push(b'}');
            }
            Tree::Raw(raw) => out.extend_from_slice(raw.get().as_bytes()),
        }
    }

    /// Opens one level, where there is one.
    fn open(&mut self) -> Result<(), Misfit> {
        match self {
            Tree::Raw(raw) => {
                let text = raw.get();
                match text.as_bytes().first() {
                    Some(b'{') => {
                        let Fields(fields) = serde_json::from_str(text)?;
                        *self = Tree::Object(fields);
                    }
                    Some(b'[') => {
                        let items: Vec<&'t RawValue> = serde_json::from_str(text)?;
                        *self = Tree::List(items.into_iter().map(Tree::Raw).collect());
                    }
                    _ => {}
                }
            }
            Tree::Made(value) => match std::mem::take(value) {
                Value::Array(items) => {
                    *self = Tree::List(items.into_iter().map(Tree::Made).collect());
                }
                Value::Object(map) => {
                    let fields = map.into_iter();
                    let fields = fields.map(|(name, value)| (Cow::Owned(name), Tree::Made(value)));
                    *self = Tree::Object(fields.collect());
                }
                scalar => *value = scalar,
            },
            Tree::List(_) | Tree::Object(_) => {}
        }
        Ok(())
    }

    fn child(&mut self, token: &str) -> Option<&mut Tree<'t>> {
        match self {
            Tree::Object(fields) => {
                let mut fields = fields.iter_mut();
                fields.find(|(name, _)| name == token).map(|(_, it)| it)
            }
            Tree::List(items) => items.get_mut(index(token)?),
            Tree::Made(_) | Tree::Raw(_) => None,
        }
    }

    fn is_null(&self) -> bool {
        match self {
            Tree::Made(value) => value.is_null(),
            Tree::Raw(raw) => raw.get() == "null",
            Tree::List(_) | Tree::Object(_) => false,
        }
    }
}

/// An index as RFC 6901 writes it: digits without a zero before them.
fn index(token: &str) -> Option<usize> {
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    let plain = digits && (token == "0" || !token.starts_with('0'));
    plain.then(|| token.parse().ok())?
}

fn write_json<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    // Values and texts always can be written, and a Vec takes everything.
    let _written = serde_json::to_writer(out, value);
}

/// The fields of an object, each unopened.
struct Fields<'t>(Vec<(Cow<'t, str>, Tree<'t>)>);

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FieldsVisitor)
    }
}

struct FieldsVisitor;

impl<'de> Visitor<'de> for FieldsVisitor {
    type Value = Fields<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
        let mut fields = Vec::new();
        let mut names = HashSet::new();
        while let Some((Name(name), value)) = entries.next_entry::<Name<'de>, &RawValue>()? {
            // Readers disagree about which one counts, so the wrong one might be changed.
            if !names.insert(name.clone()) {
                return Err(A::Error::custom("a field twice"));
            }
            fields.push((name, Tree::Raw(value)));
        }
        Ok(Fields(fields))
    }
}

/// A name, borrowed where it has no escapes.
struct Name<'t>(Cow<'t, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(NameVisitor)
    }
}

struct NameVisitor;

impl<'de> Visitor<'de> for NameVisitor {
    type Value = Name<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Borrowed(name)))
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(Name(Cow::Owned(name.to_owned())))
    }
}
