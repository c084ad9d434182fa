//! Enums of which each variant has its own key: `dns:`, `mesh:`, … of a service.

use super::Syntax;
use crate::decode::{Complaint, Decoder, Fields};
use crate::shape::{FieldShape, ObjectShape, Presence, Shape};
use crate::yaml::Node;

/// A type of which each variant has its own key, exactly one of which is written.
pub(crate) trait ByKey: Sized {
    /// The variants.
    fn variants() -> Vec<Variant<Self>>;
}

/// One variant of such a type.
pub(crate) struct Variant<T> {
    pub(crate) key: &'static str,
    pub(crate) doc: &'static str,
    pub(crate) shape: Shape,
    pub(crate) read: Reader<T>,
}

type Reader<T> = Box<dyn Fn(&Node, &mut Decoder) -> Option<T>>;

impl<T: 'static> Variant<T> {
    /// A variant that is made of what a syntax reads.
    pub(crate) fn new<S: Syntax + 'static>(
        key: &'static str,
        doc: &'static str,
        syntax: S,
        make: fn(S::Value) -> T,
    ) -> Self {
        let shape = syntax.shape();
        let read = Box::new(move |node: &Node, decoder: &mut Decoder| {
            syntax.read(node, decoder).map(make)
        });
        Variant {
            key,
            doc,
            shape,
            read,
        }
    }
}

/// Reads an object that has nothing but the key of one variant.
pub(crate) fn read_by_key<T: ByKey>(node: &Node, decoder: &mut Decoder, what: &str) -> Option<T> {
    let mut fields = Fields::open(node, decoder, what)?;
    let value = read_variant(&mut fields);
    fields.close();
    value
}

/// The shape of such an object, and what may stand in its place.
pub(crate) fn by_key_shape<T: ByKey>(
    name: &'static str,
    doc: &'static str,
    short: Shape,
) -> ObjectShape {
    let mut shape = ObjectShape {
        name,
        doc,
        short: Some(short),
        fields: Vec::new(),
        one_of: Vec::new(),
    };
    describe_variants::<T>(&mut shape);
    shape
}

/// Reads the one variant whose key is written. All that are written are checked, even though only
/// one may be.
pub(crate) fn read_variant<T: ByKey>(fields: &mut Fields<'_, '_>) -> Option<T> {
    let variants = T::variants();
    let mut written = Vec::new();
    for variant in &variants {
        if let Some(node) = fields.take(variant.key) {
            let value = fields
                .decoder
                .in_key(variant.key, |decoder| (variant.read)(node, decoder));
            written.push((variant.key, node.at, value));
        }
    }
    // In the order of the text, so that the error stands at the one that came second.
    written.sort_by_key(|(_, at, _)| *at);
    let keys = variants
        .iter()
        .map(|variant| format!("`{}`", variant.key))
        .collect::<Vec<_>>();
    let keys = keys.join(", ");
    let mut written = written.into_iter();
    let Some((key, _, value)) = written.next() else {
        let complaint = Complaint::new(format!("exactly one of {keys} is needed; there is none"));
        fields.decoder.report(fields.at, complaint);
        return None;
    };
    let mut excluded = false;
    for (other, at, _) in written {
        excluded = true;
        let complaint = Complaint::new(format!("`{key}` and `{other}` exclude each other"))
            .hint(format!("keep exactly one of {keys}"));
        fields
            .decoder
            .in_key(other, |decoder| decoder.report(at, complaint));
    }
    value.filter(|_| !excluded)
}

/// Adds the keys of all variants to an object.
pub(crate) fn describe_variants<T: ByKey>(object: &mut ObjectShape) {
    let mut group = Vec::new();
    for variant in T::variants() {
        group.push(variant.key);
        let presence = Presence::OneOfGroup;
        let (key, doc, shape) = (variant.key, variant.doc, variant.shape);
        object.fields.push(FieldShape {
            key,
            doc,
            shape,
            presence,
        });
    }
    object.one_of.push(group);
}
