//! Claims of a verified token, read by name.

use std::borrow::Cow;

use serde_json::{Map, Value};

/// Claims of a verified token.
#[derive(Debug, Default)]
pub struct Claims {
    /// The payload.
    pub payload: Map<String, Value>,
}

impl Claims {
    /// The claim of this name. Dots go into objects; a name that is there as a whole is preferred,
    /// since names like `https://shop.example/roles` are common.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        find(&self.payload, name)
    }

    /// The claim as text, when it is a string, a number or a boolean.
    #[must_use]
    pub fn text(&self, dotted_name: &str) -> Option<Cow<'_, str>> {
        scalar(self.value(dotted_name)?)
    }

    /// The claim's values as text: the items of a list, the words of a `scope`, or the one value.
    #[must_use]
    pub fn list(&self, dotted_name: &str) -> Vec<Cow<'_, str>> {
        match self.value(dotted_name) {
            None => Vec::new(),
            Some(Value::Array(items)) => items.iter().filter_map(scalar).collect(),
            Some(Value::String(words)) if is_scope(dotted_name) => words
                .split(' ')
                .filter(|word| !word.is_empty())
                .map(Cow::Borrowed)
                .collect(),
            Some(value) => scalar(value).into_iter().collect(),
        }
    }

    /// Whether the claim is, or contains, one of these values.
    #[must_use]
    pub fn has_any(&self, dotted_name: &str, values: &[String]) -> bool {
        let list = self.list(dotted_name);
        list.iter()
            .any(|item| values.iter().any(|value| value == item))
    }
}

fn find<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = object.get(name) {
        return Some(value);
    }
    name.match_indices('.')
        .find_map(|(dot, _)| match object.get(&name[..dot]) {
            Some(Value::Object(inner)) => find(inner, &name[dot + 1..]),
            _ => None,
        })
}

fn scalar(value: &Value) -> Option<Cow<'_, str>> {
    match value {
        Value::String(text) => Some(Cow::Borrowed(text)),
        Value::Number(number) => Some(Cow::Owned(number.to_string())),
        Value::Bool(answer) => Some(Cow::Borrowed(if *answer { "true" } else { "false" })),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// The claims whose strings are lists of words (RFC 8693 §4.2, and what Entra ID calls it). The
/// words of any other claim belong together: `role: "not admin"` must not say `admin`.
fn is_scope(name: &str) -> bool {
    matches!(name.rsplit('.').next(), Some("scope" | "scp"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use serde_json::json;

    use super::*;

    #[test]
    fn claims_are_found_by_dotted_names_and_compared_as_text() {
        let Value::Object(payload) = json!({
            "sub": "ann",
            "level": 3,
            "admin": true,
            "scope": "orders:read orders:write",
            "role": "not admin",
            "groups": ["shop", 7, {"deep": 1}],
            "realm_access": {"roles": ["buyer"], "scope": "a b"},
            "https://shop.example/roles": ["seller"],
            "nothing": null
        }) else {
            unreachable!("an object was written")
        };
        let claims = Claims { payload };
        let has = |name: &str, value: &str| claims.has_any(name, &[value.to_owned()]);
        assert_eq!(claims.text("sub").as_deref(), Some("ann"));
        assert_eq!(claims.text("level").as_deref(), Some("3"));
        assert_eq!(claims.text("admin").as_deref(), Some("true"));
        for absent in [
            "nothing",
            "groups",
            "realm_access",
            "missing",
            "sub.deep",
            "",
            ".",
            "sub.",
        ] {
            assert_eq!(claims.text(absent), None, "{absent}");
        }
        assert_eq!(claims.list("scope"), ["orders:read", "orders:write"]);
        assert_eq!(claims.list("groups"), ["shop", "7"]);
        assert!(has("scope", "orders:read") && !has("scope", "orders"));
        assert!(has("role", "not admin") && !has("role", "admin"));
        assert!(has("realm_access.roles", "buyer") && has("realm_access.scope", "b"));
        assert!(has("https://shop.example/roles", "seller"));
        assert!(has("level", "3") && has("admin", "true") && !has("missing", ""));
        assert!(!claims.has_any("sub", &[]), "no value, no match");
    }
}
