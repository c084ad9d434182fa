//! The declarations of the language: `object!`, `variants!` and `words!` make, from one text, the
//! Rust type, its reader and its description. Schema, reference page and decoder cannot drift
//! apart, since there is nothing else to change.
//!
//! A field is declared as `pub key: Type = kind(syntax)`. The kinds:
//!
//! | kind | when the key is missing |
//! |---|---|
//! | `required(s)` | an error |
//! | `optional(s)` | `None`; `.unless_told(v)` documents what holds then, `.note(…)` says it |
//! | `defaulted(s, v)` | `v` |
//! | `empty(s)` | `Default::default()` |
//! | `by_key()` | the field is an enum, one of whose keys must be there |
//! | `place()` | not a key: the position of the object |
//! | `fixed(v)` | not a key: always `v` |

mod field;

pub(crate) use field::{
    AbsentField, Field, by_key, defaulted, empty, fixed, optional, place, required,
};

/// Declares an object type. `pub default struct` also gives it `Default` (as if an empty map had
/// been read) and `defaults()` (what is in force then). Before the fields may stand
/// `short syntax => make;` (what may be written instead of a map, and how it becomes one; `make`
/// also gets the place) and `check function;` (what no single field can know).
macro_rules! object {
    (
        $(#[doc = $doc:literal])*
        $vis:vis default struct $name:ident $(: $($extra:ident),+)? {
            $(short $short:expr => $make:expr;)?
            $(check $check:expr;)?
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident: $type:ty $(as $key:literal)? = $kind:expr,
            )*
        }
    ) => {
        $crate::declare::object! {
            $(#[doc = $doc])*
            $vis struct $name $(: $($extra),+)? {
                $(short $short => $make;)?
                $(check $check;)?
                $(
                    $(#[doc = $field_doc])*
                    pub $field: $type $(as $key)? = $kind,
                )*
            }
        }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $crate::declare::AbsentField::absent(&$kind),)* }
            }
        }

        impl $name {
            /// What is in force where nothing is written, optional fields included.
            $vis fn defaults() -> Self {
                $name { $($field: $crate::declare::AbsentField::in_force(&$kind),)* }
            }
        }
    };
    (
        $(#[doc = $doc:literal])*
        $vis:vis struct $name:ident $(: $($extra:ident),+)? {
            $(short $short:expr => $make:expr;)?
            $(check $check:expr;)?
            $(
                $(#[doc = $field_doc:literal])*
                pub $field:ident: $type:ty $(as $key:literal)? = $kind:expr,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq $(, $($extra),+)?)]
        $vis struct $name {
            $($(#[doc = $field_doc])* pub $field: $type,)*
        }

        impl $crate::syntax::Declared for $name {
            fn read(
                node: &$crate::yaml::Node,
                decoder: &mut $crate::decode::Decoder,
            ) -> Option<Self> {
                // Functions, so that a field `name` that has been read does not hide the syntax
                // `name()` from the fields after it.
                struct Kinds;
                impl Kinds {
                    $(fn $field() -> impl $crate::declare::Field<$type> { $kind })*
                }
                $(
                    if !matches!(node.value, $crate::yaml::Value::Map(_)) {
                        let read = $crate::syntax::Syntax::read(&$short, node, decoder)?;
                        let make: fn(_, $crate::position::Position) -> $name = $make;
                        return Some(make(read, node.at));
                    }
                )?
                let _before = decoder.count();
                let mut fields = $crate::decode::Fields::open(node, decoder, "a map")?;
                $(
                    let $field: Option<$type> = $crate::declare::Field::read(
                        &Kinds::$field(),
                        $crate::declare::key!($field $($key)?),
                        &mut fields,
                    );
                )*
                fields.close();
                let object = $name { $($field: $field?,)* };
                $(
                    let check: fn(
                        &$name,
                        &$crate::yaml::Node,
                        &mut $crate::decode::Decoder,
                    ) = $check;
                    // Fields that are wrong by themselves say nothing together.
                    if decoder.count() == _before {
                        check(&object, node, decoder);
                    }
                )?
                Some(object)
            }

            fn shape() -> $crate::shape::Shape {
                $crate::shape::Shape::Object(|| {
                    let mut object = $crate::shape::ObjectShape {
                        name: stringify!($name),
                        doc: concat!($($doc, "
"),*),
                        short: None,
                        fields: Vec::new(),
                        one_of: Vec::new(),
                    };
                    $(object.short = Some($crate::syntax::Syntax::shape(&$short));)?
                    $(
                        $crate::declare::Field::<$type>::describe(
                            &$kind,
                            $crate::declare::key!($field $($key)?),
                            concat!($($field_doc, "
"),*),
                            &mut object,
                        );
                    )*
                    object
                })
            }
        }
    };
}

/// The key of a field: its name, or what is written after `as`.
macro_rules! key {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $key:literal) => {
        $key
    };
}

/// Declares an enum of which each variant has its own key. A variant is
/// `Name(payload) = "key", syntax => make`.
macro_rules! variants {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident $(: $($extra:ident),+)? {
            $(
                $(#[doc = $variant_doc:literal])*
                $variant:ident $payload:tt = $key:literal, $syntax:expr => $make:expr,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq $(, $($extra),+)?)]
        $vis enum $name {
            $($(#[doc = $variant_doc])* $variant $payload,)*
        }

        impl $crate::syntax::variant::ByKey for $name {
            fn variants() -> Vec<$crate::syntax::variant::Variant<Self>> {
                vec![$(
                    $crate::syntax::variant::Variant::new(
                        $key,
                        concat!($($variant_doc, "
"),*),
                        $syntax,
                        $make,
                    ),
                )*]
            }
        }
    };
}

/// Declares an enum whose variants are written as words: `Variant = "word"`; `Variant (default)`
/// where the type has one.
macro_rules! words {
    (
        $(#[doc = $doc:literal])*
        $vis:vis enum $name:ident $(: $($extra:ident),+)? {
            $(
                $(#[doc = $variant_doc:literal])*
                $variant:ident $(($default:ident))? = $word:literal,
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq $(, $($extra),+)?)]
        $vis enum $name {
            $($(#[doc = $variant_doc])* $(#[$default])? $variant,)*
        }

        impl $name {
            /// How a document writes it.
            $vis fn as_str(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)*
                }
            }
        }

        impl $crate::syntax::plain::Words for $name {
            fn words() -> Vec<(Self, $crate::shape::Word)> {
                vec![$((
                    $name::$variant,
                    $crate::shape::Word {
                        text: $word,
                        doc: concat!($($variant_doc, "
"),*),
                    },
                )),*]
            }

            fn word(self) -> &'static str {
                self.as_str()
            }
        }
    };
}

pub(crate) use {key, object, variants, words};
