//! How values are written: small readers that combine, each of which also says what it accepts.
//!
//! A declaration names one for every field: `list(at(name()))` reads a list of names with their
//! places. One rule holds for every list: a single item may be written without the brackets.

pub(crate) mod auth;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod path;
pub(crate) mod plain;
pub(crate) mod template;
pub(crate) mod text;
pub(crate) mod unit;
pub(crate) mod variant;
pub(crate) mod version;

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::bounds::ENTRIES_MAX;
use crate::decode::{Complaint, Decoder};
use crate::give_way::give_way;
use crate::position::Located;
use crate::shape::Shape;
use crate::yaml::{Node, Value, excerpt};
use text::Text;

/// A way to write a value.
pub(crate) trait Syntax {
    /// What is read.
    type Value;

    /// Reads a value; `None` when it is not one, which is then reported.
    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<Self::Value>;

    /// What is accepted.
    fn shape(&self) -> Shape;
}

/// A syntax whose values can be written again; defaults need it.
pub(crate) trait Writable: Syntax {
    /// The value as a document would have it.
    fn write(&self, value: &Self::Value) -> Json;
}

/// A type that has one syntax of its own.
pub(crate) trait Declared: Sized {
    /// See [`Syntax::read`].
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self>;

    /// See [`Syntax::shape`].
    fn shape() -> Shape;
}

/// The syntax of a type that has its own.
pub(crate) fn of<T: Declared>() -> Of<T> {
    Of(std::marker::PhantomData)
}

pub(crate) struct Of<T>(std::marker::PhantomData<T>);

impl<T: Declared> Syntax for Of<T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        T::read(node, decoder)
    }

    fn shape(&self) -> Shape {
        T::shape()
    }
}

/// A value with its place.
pub(crate) fn at<S: Syntax>(syntax: S) -> At<S> {
    At(syntax)
}

pub(crate) struct At<S>(S);

impl<S: Syntax> Syntax for At<S> {
    type Value = Located<S::Value>;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<Self::Value> {
        self.0
            .read(node, decoder)
            .map(|value| Located { value, at: node.at })
    }

    fn shape(&self) -> Shape {
        self.0.shape()
    }
}

impl<S: Writable> Writable for At<S> {
    fn write(&self, value: &Self::Value) -> Json {
        self.0.write(&value.value)
    }
}

/// A value made of what another syntax reads.
pub(crate) fn mapped<S: Syntax, T>(syntax: S, make: fn(S::Value) -> T) -> Mapped<S, T> {
    Mapped { syntax, make }
}

pub(crate) struct Mapped<S: Syntax, T> {
    syntax: S,
    make: fn(S::Value) -> T,
}

impl<S: Syntax, T> Syntax for Mapped<S, T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        self.syntax.read(node, decoder).map(self.make)
    }

    fn shape(&self) -> Shape {
        self.syntax.shape()
    }
}

/// A list, or one item alone.
pub(crate) fn list<S: Syntax>(item: S) -> ListOf<S> {
    ListOf {
        item,
        min: 0,
        max: ENTRIES_MAX,
        stand_in: None,
    }
}

pub(crate) struct ListOf<S: Syntax> {
    item: S,
    min: usize,
    max: usize,
    stand_in: Option<fn() -> S::Value>,
}

impl<S: Syntax> ListOf<S> {
    /// Not empty.
    pub(crate) fn not_empty(mut self) -> Self {
        self.min = 1;
        self
    }

    /// At most so many.
    pub(crate) fn at_most(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// What stands for an item that cannot be read, so that those behind it keep their numbers.
    pub(crate) fn standing_in(mut self, stand_in: fn() -> S::Value) -> Self {
        self.stand_in = Some(stand_in);
        self
    }
}

impl<S: Syntax> Syntax for ListOf<S> {
    type Value = Vec<S::Value>;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<Self::Value> {
        let Value::List(items) = &node.value else {
            // A scalar that cannot stand for an item was most likely meant to be a list.
            if node.is_null() || (node.is_scalar() && !self.item.shape().has_scalar_form()) {
                return decoder.wrong_type(node, "a list");
            }
            return self.item.read(node, decoder).map(|item| vec![item]);
        };
        if items.len() < self.min {
            decoder.report(
                node.at,
                Complaint::new("the list is empty; it needs at least one"),
            );
            return None;
        }
        if items.len() > self.max {
            let problem = format!("the list has {} items; at most {}", items.len(), self.max);
            decoder.report(node.at, Complaint::new(problem));
            return None;
        }
        let mut read = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            give_way();
            let item = decoder.in_item(index, |decoder| self.item.read(item, decoder));
            read.extend(item.or_else(|| self.stand_in.map(|make| make())));
        }
        (read.len() == items.len()).then_some(read)
    }

    fn shape(&self) -> Shape {
        Shape::List {
            item: Box::new(self.item.shape()),
            min: self.min,
            max: self.max,
        }
    }
}

impl<S: Writable> Writable for ListOf<S> {
    fn write(&self, value: &Self::Value) -> Json {
        value.iter().map(|item| self.item.write(item)).collect()
    }
}

/// A map of names (or other texts) to values, in the order of the text.
pub(crate) fn map<K, V: Syntax>(key: Text<K>, value: V) -> MapOf<K, V> {
    MapOf {
        key,
        value,
        max: ENTRIES_MAX,
        stand_in: None,
    }
}

pub(crate) struct MapOf<K: 'static, V: Syntax> {
    key: Text<K>,
    value: V,
    max: usize,
    stand_in: Option<fn() -> V::Value>,
}

impl<K, V: Syntax> MapOf<K, V> {
    /// At most so many.
    pub(crate) fn at_most(mut self, max: usize) -> Self {
        self.max = max;
        self
    }

    /// What stands for the value of an entry that cannot be read, so that its name stays known.
    pub(crate) fn standing_in(mut self, stand_in: fn() -> V::Value) -> Self {
        self.stand_in = Some(stand_in);
        self
    }
}

impl<K, V: Syntax> Syntax for MapOf<K, V> {
    type Value = Vec<(Located<K>, V::Value)>;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<Self::Value> {
        let Value::Map(entries) = &node.value else {
            return decoder.wrong_type(node, "a map");
        };
        if entries.len() > self.max {
            let problem = format!(
                "the map has {} entries; at most {}",
                entries.len(),
                self.max
            );
            decoder.report(node.at, Complaint::new(problem));
            return None;
        }
        let mut read = Vec::with_capacity(entries.len());
        let mut seen = HashMap::with_capacity(entries.len());
        for (written, node) in entries {
            give_way();
            let entry = decoder.in_key(written, |decoder| {
                let key = self.key.read_text(written, written.at, decoder);
                let value = self.value.read(node, decoder);
                let value = value.or_else(|| self.stand_in.map(|make| make()));
                let key = key?;
                // The tree refuses equal texts; here `X-A` and `x-a` turn out to be one key.
                if let Some(first) = seen.insert(self.key.text(&key), written) {
                    let problem =
                        format!("`{}` is the same as `{}`", excerpt(written), excerpt(first));
                    decoder.report(
                        written.at,
                        Complaint::new(problem).hint("keep one of the two"),
                    );
                    return None;
                }
                Some((
                    Located {
                        value: key,
                        at: written.at,
                    },
                    value?,
                ))
            });
            read.extend(entry);
        }
        // An entry whose name is none has no stand-in, but the others have theirs.
        (read.len() == entries.len() || self.stand_in.is_some()).then_some(read)
    }

    fn shape(&self) -> Shape {
        let value = Box::new(self.value.shape());
        Shape::Map {
            key: self.key.text_shape(),
            value,
            max: self.max,
        }
    }
}

/// A map whose keys need no place.
pub(crate) fn pairs<K, V: Syntax>(
    key: Text<K>,
    value: V,
) -> impl Syntax<Value = Vec<(K, V::Value)>> {
    mapped(map(key, value), |entries| {
        entries
            .into_iter()
            .map(|(key, value)| (key.value, value))
            .collect()
    })
}
