//! The kinds of fields: where a value comes from, and what holds when it is not written.

use serde_json::Value as Json;

use crate::decode::{Complaint, Fields};
use crate::position::Position;
use crate::shape::{FieldShape, ObjectShape, Presence};
use crate::syntax::variant::{ByKey, describe_variants, read_variant};
use crate::syntax::{Syntax, Writable};

/// A kind of field: how a `T` comes from the entries of a map.
pub(crate) trait Field<T> {
    /// Reads it; `None` after an error.
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<T>;

    /// Describes it.
    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape);
}

/// A kind of field that has a value when nothing is written.
pub(crate) trait AbsentField<T>: Field<T> {
    /// What the decoder gives then.
    fn absent(&self) -> T;

    /// What then holds: the documented default.
    fn in_force(&self) -> T {
        self.absent()
    }
}

pub(crate) fn required<S: Syntax>(syntax: S) -> Required<S> {
    Required(syntax)
}

pub(crate) struct Required<S>(S);

impl<S: Syntax> Field<S::Value> for Required<S> {
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<S::Value> {
        match fields.take(key) {
            Some(node) => fields
                .decoder
                .in_key(key, |decoder| self.0.read(node, decoder)),
            None => {
                let complaint = Complaint::new(format!("`{key}` is missing"))
                    .hint(format!("it is {}", self.0.shape().words()));
                fields.decoder.report(fields.at, complaint);
                None
            }
        }
    }

    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape) {
        let (shape, presence) = (self.0.shape(), Presence::Required);
        object.fields.push(FieldShape {
            key,
            doc,
            shape,
            presence,
        });
    }
}

pub(crate) fn optional<S: Syntax>(syntax: S) -> Optional<S> {
    Optional { syntax, note: "" }
}

pub(crate) struct Optional<S> {
    syntax: S,
    note: &'static str,
}

impl<S: Syntax> Optional<S> {
    /// What holds when nothing is written, and nothing in a place that this one overrides either.
    pub(crate) fn unless_told(self, default: S::Value) -> OptionalOr<S> {
        OptionalOr {
            syntax: self.syntax,
            default,
        }
    }

    /// What holds when nothing is written, where that is not one value.
    pub(crate) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

impl<S: Syntax> Field<Option<S::Value>> for Optional<S> {
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<Option<S::Value>> {
        Some(read_if_there(&self.syntax, key, fields, || None, Some))
    }

    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape) {
        let presence = Presence::Optional {
            default: None,
            note: self.note,
        };
        object.fields.push(FieldShape {
            key,
            doc,
            shape: self.syntax.shape(),
            presence,
        });
    }
}

impl<S: Syntax> AbsentField<Option<S::Value>> for Optional<S> {
    fn absent(&self) -> Option<S::Value> {
        None
    }
}

pub(crate) struct OptionalOr<S: Syntax> {
    syntax: S,
    default: S::Value,
}

impl<S: Writable> Field<Option<S::Value>> for OptionalOr<S> {
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<Option<S::Value>> {
        Some(read_if_there(&self.syntax, key, fields, || None, Some))
    }

    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape) {
        describe_default(
            &self.syntax,
            self.syntax.write(&self.default),
            key,
            doc,
            object,
        );
    }
}

impl<S: Writable<Value: Clone>> AbsentField<Option<S::Value>> for OptionalOr<S> {
    fn absent(&self) -> Option<S::Value> {
        None
    }

    fn in_force(&self) -> Option<S::Value> {
        Some(self.default.clone())
    }
}

pub(crate) fn defaulted<S: Syntax>(syntax: S, default: S::Value) -> Defaulted<S> {
    Defaulted { syntax, default }
}

pub(crate) struct Defaulted<S: Syntax> {
    syntax: S,
    default: S::Value,
}

impl<S: Writable<Value: Clone>> Field<S::Value> for Defaulted<S> {
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<S::Value> {
        Some(read_if_there(
            &self.syntax,
            key,
            fields,
            || self.absent(),
            |value| value,
        ))
    }

    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape) {
        describe_default(
            &self.syntax,
            self.syntax.write(&self.default),
            key,
            doc,
            object,
        );
    }
}

impl<S: Writable<Value: Clone>> AbsentField<S::Value> for Defaulted<S> {
    fn absent(&self) -> S::Value {
        self.default.clone()
    }
}

pub(crate) fn empty<S: Syntax>(syntax: S) -> Empty<S> {
    Empty { syntax, note: "" }
}

pub(crate) struct Empty<S> {
    syntax: S,
    note: &'static str,
}

impl<S> Empty<S> {
    /// What holds when nothing is written.
    pub(crate) fn note(mut self, note: &'static str) -> Self {
        self.note = note;
        self
    }
}

impl<S: Syntax<Value: Default>> Field<S::Value> for Empty<S> {
    fn read(&self, key: &'static str, fields: &mut Fields<'_, '_>) -> Option<S::Value> {
        Some(read_if_there(
            &self.syntax,
            key,
            fields,
            S::Value::default,
            |value| value,
        ))
    }

    fn describe(&self, key: &'static str, doc: &'static str, object: &mut ObjectShape) {
        let presence = Presence::Optional {
            default: None,
            note: self.note,
        };
        object.fields.push(FieldShape {
            key,
            doc,
            shape: self.syntax.shape(),
            presence,
        });
    }
}

impl<S: Syntax<Value: Default>> AbsentField<S::Value> for Empty<S> {
    fn absent(&self) -> S::Value {
        S::Value::default()
    }
}

/// Reads a key that may be missing. What cannot be read counts as missing too, once it is reported:
/// the rest of the object is still worth checking.
fn read_if_there<S: Syntax, T>(
    syntax: &S,
    key: &'static str,
    fields: &mut Fields<'_, '_>,
    absent: impl FnOnce() -> T,
    present: impl FnOnce(S::Value) -> T,
) -> T {
    match fields.take(key) {
        Some(node) => fields
            .decoder
            .in_key(key, |decoder| syntax.read(node, decoder))
            .map_or_else(absent, present),
        None => absent(),
    }
}

fn describe_default<S: Syntax>(
    syntax: &S,
    default: Json,
    key: &'static str,
    doc: &'static str,
    object: &mut ObjectShape,
) {
    let presence = Presence::Optional {
        default: Some(default),
        note: "",
    };
    object.fields.push(FieldShape {
        key,
        doc,
        shape: syntax.shape(),
        presence,
    });
}

pub(crate) fn by_key() -> KeyOfVariant {
    KeyOfVariant
}

pub(crate) struct KeyOfVariant;

impl<T: ByKey> Field<T> for KeyOfVariant {
    fn read(&self, _key: &'static str, fields: &mut Fields<'_, '_>) -> Option<T> {
        read_variant(fields)
    }

    fn describe(&self, _key: &'static str, _doc: &'static str, object: &mut ObjectShape) {
        describe_variants::<T>(object);
    }
}

pub(crate) fn place() -> Place {
    Place
}

pub(crate) struct Place;

impl Field<Position> for Place {
    fn read(&self, _key: &'static str, fields: &mut Fields<'_, '_>) -> Option<Position> {
        Some(fields.at)
    }

    fn describe(&self, _key: &'static str, _doc: &'static str, _object: &mut ObjectShape) {}
}

impl AbsentField<Position> for Place {
    fn absent(&self) -> Position {
        Position::default()
    }
}

pub(crate) fn fixed<T>(value: T) -> Fixed<T> {
    Fixed(value)
}

pub(crate) struct Fixed<T>(T);

impl<T: Clone> Field<T> for Fixed<T> {
    fn read(&self, _key: &'static str, _fields: &mut Fields<'_, '_>) -> Option<T> {
        Some(self.0.clone())
    }

    fn describe(&self, _key: &'static str, _doc: &'static str, _object: &mut ObjectShape) {}
}

impl<T: Clone> AbsentField<T> for Fixed<T> {
    fn absent(&self) -> T {
        self.0.clone()
    }
}
