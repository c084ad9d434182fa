//! JSON of the network, read strictly: no key twice in an object (readers disagree about which one
//! counts, so what was checked might not be what is used), nothing behind the value, no deeper
//! nesting than any reader takes.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads a value.
///
/// # Errors
/// What is wrong with the text, in words that hold nothing of it.
pub(crate) fn parse(text: &[u8]) -> Result<Value, String> {
    let parsed: Result<Strict, _> = serde_json::from_slice(text);
    match parsed {
        Ok(Strict(value)) => Ok(value),
        Err(error) => Err(fault(&error)),
    }
}

/// What a parser found wrong, without what it quotes.
pub(crate) fn fault(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Eof => "ends too early",
        serde_json::error::Category::Data => "has a field twice",
        _ => "is no JSON",
    };
    let (line, column) = (error.line(), error.column());
    format!("{what} (line {line}, column {column})")
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(list.into())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((key, Strict(value))) = entries.next_entry::<String, Strict>()? {
            if map.insert(key, value).is_some() {
                return Err(A::Error::custom("a field twice"));
            }
        }
        Ok(map.into())
    }
}

/// Whether a content type says JSON: `application/json`, or anything that ends in `+json`.
pub(crate) fn is_json(content_type: &[u8]) -> bool {
    let kind = essence(content_type);
    kind.eq_ignore_ascii_case(b"application/json")
        || kind.len() > 5 && kind[kind.len() - 5..].eq_ignore_ascii_case(b"+json")
}

/// A content type without its parameters.
pub(crate) fn essence(content_type: &[u8]) -> &[u8] {
    let end = content_type.iter().position(|byte| *byte == b';');
    content_type[..end.unwrap_or(content_type.len())].trim_ascii()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use proptest::prelude::{any, proptest};
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_are_there_once() {
        let good = br#"{"a":[1,-2,1.5,"x",null,true],"b":{"a":{}}}"#;
        let expected = json!({ "a": [1, -2, 1.5, "x", null, true], "b": { "a": {} } });
        assert_eq!(parse(good).unwrap(), expected);
        let table = [
            (r#"{"a":1,"a":1}"#, "twice"),
            (r#"[{"b":{"a":1,"\u0061":2}}]"#, "twice"),
            ("", "too early"),
            ("{\"a\":", "too early"),
            ("{} {}", "no JSON"),
            ("{'secret':1}", "no JSON"),
            ("NaN", "no JSON"),
            ("\u{feff}{}", "no JSON"),
        ];
        for (text, said) in table {
            let fault = parse(text.as_bytes()).unwrap_err();
            assert!(fault.contains(said), "{text}: {fault}");
            assert!(!fault.contains("secret"));
        }
        assert!(parse(b"\"\xff\"").is_err());
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(127).as_bytes()).is_ok());
        assert!(parse(nested(100_000).as_bytes()).is_err());
    }

    #[test]
    fn types_that_say_json() {
        let table = [
            ("application/json", true),
            ("Application/JSON ; charset=utf-8", true),
            ("application/problem+json", true),
            ("application/x-ndjson", false),
            ("+json", false),
            ("text/json-like", false),
            ("", false),
        ];
        for (kind, expected) in table {
            assert_eq!(is_json(kind.as_bytes()), expected, "{kind}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in any::<Vec<u8>>()) {
            let _ = parse(&text);
        }
    }
}
