//! What is wrong with a value, in words that hold nothing of the value itself: requests carry
//! secrets, and answers are logged.

use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{ValidationError, Validator};
use serde_json::Value;

use super::read::{below, excerpt};

/// What is wrong inside a value: where, as a JSON Pointer, and what.
pub(super) type Complaint = (String, String);

/// Everything that is wrong with a value, as far as that is told.
pub(super) fn complaints(
    validator: &Validator,
    value: &Value,
    all: bool,
    max: usize,
) -> Vec<Complaint> {
    if all {
        return validator
            .iter_errors(value)
            .take(max)
            .map(complaint)
            .collect();
    }
    let first = validator.validate(value);
    first.err().into_iter().map(complaint).collect()
}

fn complaint(error: ValidationError<'_>) -> Complaint {
    let place = bounded(error.instance_path().as_str());
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            (below(&place, &excerpt(name)), "is missing".to_owned())
        }
        ValidationErrorKind::PropertyNames { error } => (
            place,
            format!("has a field whose name {}", words(error.kind())),
        ),
        kind => (place, words(kind)),
    }
}

fn words(kind: &ValidationErrorKind) -> String {
    use ValidationErrorKind as Kind;
    match kind {
        Kind::Type { kind } => format!("must be {}", types(kind)),
        Kind::Required { .. } => "lacks a field".to_owned(),
        Kind::AdditionalProperties { unexpected } | Kind::UnevaluatedProperties { unexpected } => {
            format!("has fields that are not known here: {}", names(unexpected))
        }
        Kind::AdditionalItems { limit } => format!("has more than {limit} items"),
        Kind::UnevaluatedItems { .. } => "has items that are not known here".to_owned(),
        Kind::AnyOf { .. } | Kind::OneOfNotValid { .. } => {
            "fits none of the alternatives".to_owned()
        }
        Kind::OneOfMultipleValid { .. } => "fits more than one of the alternatives".to_owned(),
        Kind::Constant { expected_value } => format!("must be {}", shown(expected_value)),
        Kind::Enum { options } => match options.as_array() {
            Some(options) => {
                let shown: Vec<_> = options.iter().take(NAMES_MAX).map(shown).collect();
                let more = if options.len() > NAMES_MAX {
                    ", …"
                } else {
                    ""
                };
                format!("must be one of {}{more}", shown.join(", "))
            }
            None => "is none of the values allowed".to_owned(),
        },
        Kind::Contains => "contains too few or too many items of a kind".to_owned(),
        Kind::Format { format } => format!("must be of format `{}`", excerpt(format)),
        Kind::Pattern { pattern } => format!("must match `{}`", excerpt(pattern)),
        Kind::Minimum { limit } => format!("must be at least {limit}"),
        Kind::Maximum { limit } => format!("must be at most {limit}"),
        Kind::ExclusiveMinimum { limit } => format!("must be more than {limit}"),
        Kind::ExclusiveMaximum { limit } => format!("must be less than {limit}"),
        Kind::MultipleOf { multiple_of } => format!("must be a multiple of {multiple_of}"),
        Kind::MinLength { limit } => format!("must have at least {limit} characters"),
        Kind::MaxLength { limit } => format!("must have at most {limit} characters"),
        Kind::MinItems { limit } => format!("must have at least {limit} items"),
        Kind::MaxItems { limit } => format!("must have at most {limit} items"),
        Kind::MinProperties { limit } => format!("must have at least {limit} fields"),
        Kind::MaxProperties { limit } => format!("must have at most {limit} fields"),
        Kind::UniqueItems => "has an item twice".to_owned(),
        Kind::FalseSchema => "is not allowed".to_owned(),
        Kind::Not { .. } => "is what it must not be".to_owned(),
        _ => "is not as its schema says".to_owned(),
    }
}

fn types(kind: &TypeKind) -> String {
    match kind {
        TypeKind::Single(one) => article(one.as_str()),
        TypeKind::Multiple(set) => {
            let all: Vec<_> = set.iter().map(|one| article(one.as_str())).collect();
            all.join(" or ")
        }
    }
}

fn article(kind: &str) -> String {
    match kind {
        "null" => "null".to_owned(),
        "array" | "integer" | "object" => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}

/// A value of the document's.
fn shown(value: &Value) -> String {
    format!("`{}`", excerpt(&value.to_string()))
}

/// Names are the client's, so they are few and short.
fn names(names: &[String]) -> String {
    let shown: Vec<_> = names
        .iter()
        .take(NAMES_MAX)
        .map(|name| format!("`{}`", excerpt(name)))
        .collect();
    let more = if names.len() > NAMES_MAX { ", …" } else { "" };
    format!("{}{more}", shown.join(", "))
}

/// A pointer into a client's value can be as long as its keys.
fn bounded(pointer: &str) -> String {
    let mut shown: String = pointer.chars().take(POINTER_CHARS_MAX).collect();
    if shown.len() < pointer.len() {
        shown.push('…');
    }
    shown
}

/// Most names and values that are listed.
const NAMES_MAX: usize = 8;
/// Most characters of a pointer that are told.
const POINTER_CHARS_MAX: usize = 256;
