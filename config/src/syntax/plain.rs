//! Numbers, booleans and words.

use serde_json::Value as Json;

use super::{Syntax, Writable};
use crate::decode::{Complaint, Decoder, unknown};
use crate::shape::{Shape, Word};
use crate::yaml::{Node, Plain, Value};

/// A whole number.
pub(crate) fn whole<T: TryFrom<i64> + Into<i64>>(min: T, max: T) -> Whole<T> {
    Whole {
        min: min.into(),
        max: max.into(),
        number: std::marker::PhantomData,
    }
}

pub(crate) struct Whole<T> {
    min: i64,
    max: i64,
    number: std::marker::PhantomData<T>,
}

impl<T: TryFrom<i64> + Into<i64> + Copy> Syntax for Whole<T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        let Value::Scalar { text, plain } = &node.value else {
            return decoder.wrong_type(node, "a whole number");
        };
        let Plain::Integer(number) = plain else {
            if *plain == Plain::Text && text.parse::<i64>().is_ok() {
                let problem = format!("expected a whole number, found {}", node.describe());
                decoder.report(node.at, Complaint::new(problem).hint("remove the quotes"));
                return None;
            }
            return decoder.wrong_type(node, "a whole number");
        };
        let in_range = (self.min..=self.max).contains(number);
        let value = T::try_from(*number).ok().filter(|_| in_range);
        if value.is_none() {
            let problem = format!(
                "{number} is out of range: from {} to {}",
                self.min, self.max
            );
            decoder.report(node.at, Complaint::new(problem));
        }
        value
    }

    fn shape(&self) -> Shape {
        Shape::Integer {
            min: self.min,
            max: self.max,
        }
    }
}

impl<T: TryFrom<i64> + Into<i64> + Copy> Writable for Whole<T> {
    fn write(&self, value: &T) -> Json {
        let number: i64 = (*value).into();
        number.into()
    }
}

/// `true` or `false`.
pub(crate) struct Boolean;

impl Syntax for Boolean {
    type Value = bool;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<bool> {
        match &node.value {
            Value::Scalar {
                plain: Plain::Bool(value),
                ..
            } => Some(*value),
            // What YAML 1.1 held for booleans.
            Value::Scalar {
                text,
                plain: Plain::Text,
            } if ["yes", "no", "on", "off", "true", "false"]
                .contains(&text.to_lowercase().as_str()) =>
            {
                let problem = format!("expected a boolean, found {}", node.describe());
                let complaint =
                    Complaint::new(problem).hint("write `true` or `false`, without quotes");
                decoder.report(node.at, complaint);
                None
            }
            _ => decoder.wrong_type(node, "a boolean"),
        }
    }

    fn shape(&self) -> Shape {
        Shape::Boolean
    }
}

impl Writable for Boolean {
    fn write(&self, value: &bool) -> Json {
        (*value).into()
    }
}

/// Exactly one boolean, where the other would say nothing.
pub(crate) struct Only(pub(crate) bool);

impl Syntax for Only {
    type Value = ();

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<()> {
        match &node.value {
            Value::Scalar {
                plain: Plain::Bool(value),
                ..
            } if *value == self.0 => Some(()),
            _ => decoder.wrong_type(node, &format!("a map or `{}`", self.0)),
        }
    }

    fn shape(&self) -> Shape {
        Shape::Constant(self.0)
    }
}

/// A closed set of words.
pub(crate) trait Words: Sized + Copy {
    /// The values with their words, in the order of the declaration.
    fn words() -> Vec<(Self, Word)>;
    /// The word of a value.
    fn word(self) -> &'static str;
}

/// One of the words of a type.
pub(crate) fn word<T: Words>() -> Choice<T> {
    Choice(std::marker::PhantomData)
}

pub(crate) struct Choice<T>(std::marker::PhantomData<T>);

impl<T: Words> Syntax for Choice<T> {
    type Value = T;

    fn read(&self, node: &Node, decoder: &mut Decoder) -> Option<T> {
        let words = T::words();
        let known: Vec<&str> = words.iter().map(|(_, word)| word.text).collect();
        let Value::Scalar {
            text,
            plain: Plain::Text,
        } = &node.value
        else {
            let words = known
                .iter()
                .map(|word| format!("`{word}`"))
                .collect::<Vec<_>>();
            return decoder.wrong_type(node, &format!("one of {}", words.join(", ")));
        };
        let found = words.iter().find(|(_, word)| word.text == text);
        if found.is_none() {
            decoder.report(node.at, unknown("value", text, &known));
        }
        found.map(|(value, _)| *value)
    }

    fn shape(&self) -> Shape {
        Shape::Choice(T::words().into_iter().map(|(_, word)| word).collect())
    }
}

impl<T: Words> Writable for Choice<T> {
    fn write(&self, value: &T) -> Json {
        value.word().into()
    }
}
