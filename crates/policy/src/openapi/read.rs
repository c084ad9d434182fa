//! The text of an OpenAPI document, as far as it can be told to be one: its version, that it refers
//! to nothing outside itself, and how its references are followed.

use serde_json::{Map, Value};
use weir_config::bounds::{DOCUMENT_BYTES_MAX, OPENAPI_DEPTH_MAX};

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DocumentFault {
    /// JSON Pointer; empty for the document itself.
    pub(crate) pointer: String,
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl DocumentFault {
    pub(super) fn new(pointer: impl Into<String>, problem: impl Into<String>) -> Self {
        DocumentFault {
            pointer: pointer.into(),
            problem: problem.into(),
            hint: None,
        }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The versions that are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    V30,
    V31,
}

/// Reads a text.
pub(super) fn read(text: &str) -> Result<(Version, Value), Vec<DocumentFault>> {
    let root = parse(text).map_err(|fault| vec![fault])?;
    let version = version(&root).map_err(|fault| vec![fault])?;
    let mut faults = Vec::new();
    foreign_references(&root, &mut String::new(), &mut faults);
    match faults.is_empty() {
        true => Ok((version, root)),
        false => Err(faults),
    }
}

fn parse(text: &str) -> Result<Value, DocumentFault> {
    if text.len() > DOCUMENT_BYTES_MAX {
        let problem = format!("{} bytes; at most {DOCUMENT_BYTES_MAX}", text.len());
        return Err(DocumentFault::new("", problem));
    }
    // What looks like JSON is read as JSON: it is faster, and YAML knows no escaped slash.
    if text.trim_start().starts_with('{') {
        let parsed: Result<Value, _> = serde_json::from_str(text);
        match parsed {
            Ok(root) if depth(&root) <= OPENAPI_DEPTH_MAX => return Ok(root),
            Ok(_) => {
                let problem = format!("nested deeper than {OPENAPI_DEPTH_MAX} lists and objects");
                return Err(DocumentFault::new("", problem));
            }
            // Perhaps YAML in its flow style, which says more about its errors.
            Err(_) => {}
        }
    }
    weir_config::foreign::parse(text, OPENAPI_DEPTH_MAX).map_err(|errors| {
        let first = errors.0.into_iter().next().unwrap_or_else(|| {
            // A refusal has at least one error.
            unreadable()
        });
        let at = first.at;
        let problem = format!("line {}, column {}: {}", at.line, at.column, first.problem);
        DocumentFault {
            hint: first.hint,
            ..DocumentFault::new("", problem)
        }
    })
}

fn unreadable() -> weir_config::ConfigError {
    weir_config::ConfigError {
        path: String::new(),
        at: weir_config::Position::default(),
        problem: "not readable".to_owned(),
        hint: None,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(map) => 1 + map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

fn version(root: &Value) -> Result<Version, DocumentFault> {
    let Value::Object(map) = root else {
        return Err(DocumentFault::new("", "this is no OpenAPI document"));
    };
    if map.contains_key("swagger") {
        return Err(
            DocumentFault::new("/swagger", "this is Swagger 2.0, not OpenAPI 3")
                .hint("convert it, with `swagger2openapi` for instance"),
        );
    }
    match map.get("openapi").and_then(Value::as_str) {
        Some(text) if text.starts_with("3.0.") => Ok(Version::V30),
        Some(text) if text.starts_with("3.1.") => Ok(Version::V31),
        Some(text) => {
            let problem = format!("version `{}` is not known", excerpt(text));
            Err(DocumentFault::new("/openapi", problem).hint("3.0.x and 3.1.x are"))
        }
        None if map.contains_key("openapi") => {
            let fault = DocumentFault::new("/openapi", "the version is no text");
            Err(fault.hint("write all three of its numbers: `openapi: 3.1.0`"))
        }
        None => Err(
            DocumentFault::new("", "this is no OpenAPI document: `openapi` is missing")
                .hint("it begins with `openapi: 3.1.0`"),
        ),
    }
}

/// Finds references to elsewhere. Nothing is ever fetched, so they could not be followed.
fn foreign_references(value: &Value, pointer: &mut String, faults: &mut Vec<DocumentFault>) {
    if faults.len() >= FAULTS_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, inner) in map {
                if is_free(key) {
                    continue;
                }
                let length = pointer.len();
                push(pointer, key);
                match (key.as_str(), inner) {
                    ("$ref", Value::String(target)) if !is_local(target) => {
                        let problem = format!("`{}` lies outside of the document", excerpt(target));
                        let hint = "only `#/…` is followed and nothing is fetched: bundle the \
                                    document first, with `redocly bundle` for instance";
                        faults.push(DocumentFault::new(pointer.clone(), problem).hint(hint));
                    }
                    ("$id" | "$dynamicRef", Value::String(_)) => {
                        let problem = format!("`{key}` is not supported");
                        let hint = "refer to schemas by `$ref: \"#/components/schemas/…\"`";
                        faults.push(DocumentFault::new(pointer.clone(), problem).hint(hint));
                    }
                    _ => foreign_references(inner, pointer, faults),
                }
                pointer.truncate(length);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let length = pointer.len();
                push(pointer, &index.to_string());
                foreign_references(inner, pointer, faults);
                pointer.truncate(length);
            }
        }
        _ => {}
    }
}

/// What holds data of the author's, in which a `$ref` is no reference.
fn is_free(key: &str) -> bool {
    matches!(key, "default" | "enum" | "example" | "examples" | "const") || key.starts_with("x-")
}

fn is_local(target: &str) -> bool {
    target == "#" || target.starts_with("#/")
}

/// Appends a name to a pointer.
pub(super) fn push(pointer: &mut String, token: &str) {
    pointer.push('/');
    pointer.push_str(&token.replace('~', "~0").replace('/', "~1"));
}

/// A pointer with one more name.
pub(super) fn below(pointer: &str, token: &str) -> String {
    let mut longer = pointer.to_owned();
    push(&mut longer, token);
    longer
}

/// Follows references until something else stands there; gives it with its own pointer.
pub(super) fn resolve<'a>(
    root: &'a Value,
    mut value: &'a Value,
    mut pointer: String,
) -> Result<(&'a Value, String), DocumentFault> {
    for _ in 0..REFERENCES_MAX {
        let Some(Value::String(target)) = value.get("$ref") else {
            return Ok((value, pointer));
        };
        let inner = target.strip_prefix('#').unwrap_or(target);
        // References are URIs, so `{` may be written `%7B`.
        let inner = percent_encoding::percent_decode_str(inner).decode_utf8_lossy();
        let Some(found) = root.pointer(&inner) else {
            let problem = format!("there is nothing at `{}`", excerpt(target));
            return Err(DocumentFault::new(below(&pointer, "$ref"), problem));
        };
        (value, pointer) = (found, inner.into_owned());
    }
    Err(DocumentFault::new(
        pointer,
        "the references lead in a circle",
    ))
}

/// The object at a place.
pub(super) fn object<'a>(
    value: &'a Value,
    pointer: &str,
) -> Result<&'a Map<String, Value>, DocumentFault> {
    value
        .as_object()
        .ok_or_else(|| DocumentFault::new(pointer, "expected an object"))
}

/// A value as messages quote it.
pub(super) fn excerpt(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(80)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Most faults of a document that are told.
pub(super) const FAULTS_MAX: usize = 20;
/// Most references that lead to one thing.
const REFERENCES_MAX: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn faults(text: &str) -> Vec<(String, String)> {
        let faults = read(text).err().unwrap_or_default();
        let pair = |fault: DocumentFault| (fault.pointer, fault.problem);
        faults.into_iter().map(pair).collect()
    }

    #[test]
    fn what_is_no_document_is_told_apart() {
        let table = [
            ("", "", "document is empty"),
            ("[]", "", "this is no OpenAPI document"),
            ("{ \"a\": ", "", "not readable as YAML"),
            ("swagger: '2.0'", "/swagger", "Swagger 2.0"),
            ("openapi: 4.0.0", "/openapi", "`4.0.0` is not known"),
            ("openapi: 3.1", "/openapi", "the version is no text"),
            ("info: 1", "", "`openapi` is missing"),
            ("a: 1\na: 2", "", "the key `a` is already there"),
        ];
        for (text, pointer, problem) in table {
            let found = faults(text);
            assert_eq!(found.len(), 1, "{text}: {found:?}");
            assert_eq!(found[0].0, pointer, "{text}");
            assert!(found[0].1.contains(problem), "{text}: {found:?}");
        }
        assert_eq!(read("openapi: 3.0.3").unwrap().0, Version::V30);
        assert_eq!(read("{\"openapi\": \"3.1.0\"}").unwrap().0, Version::V31);
    }

    #[test]
    fn nothing_outside_is_referred_to() {
        let text = "
openapi: 3.1.0
components:
  schemas:
    A: { $ref: other.yaml }
    B: { properties: { $ref: { type: string } } }
    C: { example: { $ref: 'http://a/b' }, allOf: [{ $ref: 'http://a/b' }] }
    D: { $ref: '#/components/schemas/B' }
    E: { $id: 'http://a/b' }
";
        let pointers: Vec<_> = faults(text).into_iter().map(|(at, _)| at).collect();
        let expected = [
            "/components/schemas/A/$ref",
            "/components/schemas/C/allOf/0/$ref",
            "/components/schemas/E/$id",
        ];
        assert_eq!(pointers, expected);
    }

    #[test]
    fn references_are_followed_to_their_end_and_not_in_circles() {
        let root = serde_json::json!({
            "a~b": { "x/y": { "$ref": "#/c" } },
            "c": 1,
            "d": { "$ref": "#/e" },
            "e": { "$ref": "#/d" },
            "f": { "$ref": "#/g" },
        });
        let follow = |target: &str| {
            let start = serde_json::json!({ "$ref": target });
            resolve(&root, &start, "/s".to_owned())
                .map(|(value, pointer)| (value.clone(), pointer))
                .map_err(|fault| fault.problem)
        };
        assert_eq!(follow("#/a~0b/x~1y"), Ok((1.into(), "/c".to_owned())));
        assert_eq!(follow("#/a%7E0b/x~1y"), Ok((1.into(), "/c".to_owned())));
        assert!(follow("#/d").unwrap_err().contains("circle"));
        assert!(follow("#/f").unwrap_err().contains("nothing at `#/g`"));
    }

    #[test]
    fn nesting_has_a_bound() {
        let deep = |levels: usize| {
            let inside = "{\"a\":".repeat(levels - 1);
            format!(
                "{{\"openapi\":\"3.1.0\",\"x-a\":{inside}1{}",
                "}".repeat(levels)
            )
        };
        assert!(read(&deep(OPENAPI_DEPTH_MAX)).is_ok());
        let found = faults(&deep(OPENAPI_DEPTH_MAX + 1));
        assert!(found[0].1.contains("deeper than 100"), "{found:?}");
    }
}
