//! The schemas of a document, brought to the one dialect that is checked: JSON Schema 2020-12, seen
//! from the side of requests.
//!
//! What OpenAPI 3.0 writes otherwise (`nullable`, exclusive bounds as booleans, references that
//! hide what stands beside them) is rewritten; in both versions numbers get the range of their
//! format, and what only responses have is not asked of requests.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::read::Version;

/// Rewrites every schema of a document.
pub(super) fn adapt(root: &mut Value, version: Version) {
    let read_only = read_only(root);
    let adapter = Adapter { version, read_only };
    adapter.document(root);
}

/// References to component schemas that are `readOnly` as a whole.
fn read_only(root: &Value) -> HashSet<String> {
    let schemas = root
        .pointer("/components/schemas")
        .and_then(Value::as_object);
    let is_read_only = |schema: &Value| schema.get("readOnly") == Some(&Value::Bool(true));
    schemas
        .into_iter()
        .flatten()
        .filter(|(_, schema)| is_read_only(schema))
        .map(|(name, _)| format!("#/components/schemas/{name}"))
        .collect()
}

struct Adapter {
    version: Version,
    read_only: HashSet<String>,
}

impl Adapter {
    fn document(&self, root: &mut Value) {
        if let Some(Value::Object(components)) = root.get_mut("components") {
            for (kind, named) in components.iter_mut() {
                let Value::Object(named) = named else {
                    continue;
                };
                for value in named.values_mut() {
                    match kind.as_str() {
                        "schemas" => self.schema(value),
                        "examples" => {}
                        _ => self.holder(value),
                    }
                }
            }
        }
        if let Some(paths) = root.get_mut("paths") {
            self.holder(paths);
        }
    }

    /// Goes through everything that is no schema itself.
    fn holder(&self, value: &mut Value) {
        match value {
            Value::Array(items) => items.iter_mut().for_each(|item| self.holder(item)),
            Value::Object(map) => {
                for (key, inner) in map.iter_mut() {
                    match key.as_str() {
                        "schema" => self.schema(inner),
                        "example" | "examples" => {}
                        key if key.starts_with("x-") => {}
                        _ => self.holder(inner),
                    }
                }
            }
            _ => {}
        }
    }

    fn schema(&self, value: &mut Value) {
        let Value::Object(schema) = value else { return };
        if self.version == Version::V30 {
            if let Some(target @ Value::String(_)) = schema.get("$ref") {
                // Whatever stands beside a reference is ignored in 3.0.
                let target = target.clone();
                schema.clear();
                schema.insert("$ref".to_owned(), target);
                return;
            }
            nullable(schema);
            exclusive(schema, "minimum", "exclusiveMinimum");
            exclusive(schema, "maximum", "exclusiveMaximum");
        }
        // Words that the dialect would read otherwise, or that say nothing about validity.
        for word in [
            "$schema",
            "example",
            "examples",
            "discriminator",
            "xml",
            "externalDocs",
        ] {
            schema.remove(word);
        }
        self.ask_no_read_only(schema);
        for (key, inner) in schema.iter_mut() {
            match key.as_str() {
                "properties" | "patternProperties" | "dependentSchemas" | "$defs"
                | "definitions" => {
                    if let Value::Object(named) = inner {
                        named.values_mut().for_each(|inner| self.schema(inner));
                    }
                }
                "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                    if let Value::Array(list) = inner {
                        list.iter_mut().for_each(|inner| self.schema(inner));
                    }
                }
                "additionalProperties"
                | "contains"
                | "else"
                | "if"
                | "items"
                | "not"
                | "propertyNames"
                | "then"
                | "unevaluatedItems"
                | "unevaluatedProperties" => {
                    self.schema(inner);
                }
                _ => {}
            }
        }
        number_range(schema);
    }

    /// A property that only responses have is not required of a request.
    fn ask_no_read_only(&self, schema: &mut Map<String, Value>) {
        let Some(Value::Object(properties)) = schema.get("properties") else {
            return;
        };
        let is_read_only = |name: &str| match properties.get(name) {
            Some(property) => {
                let target = property.get("$ref").and_then(Value::as_str);
                property.get("readOnly") == Some(&Value::Bool(true))
                    || target.is_some_and(|target| self.read_only.contains(target))
            }
            None => false,
        };
        let Some(Value::Array(required)) = schema.get("required") else {
            return;
        };
        let asked = |name: &&Value| !name.as_str().is_some_and(is_read_only);
        let kept: Vec<Value> = required.iter().filter(asked).cloned().collect();
        schema.insert("required".to_owned(), kept.into());
    }
}

/// `nullable` adds to the type that stands beside it, and to nothing else (OpenAPI 3.0.3).
fn nullable(schema: &mut Map<String, Value>) {
    let nullable = schema.remove("nullable") == Some(Value::Bool(true));
    if let (true, Some(Value::String(kind))) = (nullable, schema.get("type")) {
        let both = json!([kind, "null"]);
        schema.insert("type".to_owned(), both);
    }
}

/// In 3.0 an exclusive bound is a boolean beside the bound.
fn exclusive(schema: &mut Map<String, Value>, bound: &str, exclusive: &str) {
    let Some(Value::Bool(is_exclusive)) = schema.get(exclusive) else {
        return;
    };
    let is_exclusive = *is_exclusive;
    schema.remove(exclusive);
    if is_exclusive && let Some(limit) = schema.remove(bound) {
        schema.insert(exclusive.to_owned(), limit);
    }
}

/// `int32` and `int64` are ranges.
fn number_range(schema: &mut Map<String, Value>) {
    let range = match schema.get("format").and_then(Value::as_str) {
        Some("int32") => json!({ "minimum": i32::MIN, "maximum": i32::MAX }),
        Some("int64") => json!({ "minimum": i64::MIN, "maximum": i64::MAX }),
        _ => return,
    };
    match schema.get_mut("allOf") {
        Some(Value::Array(all)) => all.push(range),
        _ => {
            schema.insert("allOf".to_owned(), json!([range]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapted(version: Version, schema: Value) -> Value {
        let mut root = json!({ "components": { "schemas": { "It": schema, "Id": {
            "type": "string", "readOnly": true,
        } } } });
        adapt(&mut root, version);
        root["components"]["schemas"]["It"].take()
    }

    #[test]
    fn what_3_0_writes_otherwise_is_rewritten() {
        let table = [
            (
                json!({ "type": "string", "nullable": true }),
                json!({ "type": ["string", "null"] }),
            ),
            (json!({ "nullable": true }), json!({})),
            (
                json!({ "minimum": 1, "exclusiveMinimum": true, "maximum": 2, "exclusiveMaximum": false }),
                json!({ "exclusiveMinimum": 1, "maximum": 2 }),
            ),
            (
                json!({ "$ref": "#/x", "type": "string" }),
                json!({ "$ref": "#/x" }),
            ),
            (
                json!({ "allOf": [{ "properties": { "nullable": { "nullable": true, "type": "integer" } } }] }),
                json!({ "allOf": [{ "properties": { "nullable": { "type": ["integer", "null"] } } }] }),
            ),
        ];
        for (written, expected) in table {
            assert_eq!(adapted(Version::V30, written), expected);
        }
        let kept = json!({ "$ref": "#/x", "minLength": 1, "exclusiveMinimum": 2 });
        assert_eq!(adapted(Version::V31, kept.clone()), kept);
    }

    #[test]
    fn requests_need_not_bring_what_only_responses_have() {
        let written = json!({
            "required": ["id", "ref", "name"],
            "properties": {
                "id": { "readOnly": true },
                "ref": { "$ref": "#/components/schemas/Id" },
                "name": { "type": "string" },
            },
        });
        for version in [Version::V30, Version::V31] {
            let adapted = adapted(version, written.clone());
            assert_eq!(adapted["required"], json!(["name"]));
        }
    }

    #[test]
    fn formats_of_numbers_are_ranges() {
        let adapted = adapted(Version::V31, json!({ "format": "int32", "allOf": [true] }));
        let range = json!({ "minimum": -2_147_483_648_i64, "maximum": 2_147_483_647 });
        assert_eq!(adapted["allOf"], json!([true, range]));
    }

    #[test]
    fn schemas_are_found_wherever_they_stand() {
        let nullable = || json!({ "schema": { "type": "string", "nullable": true } });
        let mut root = json!({
            "components": {
                "parameters": { "p": nullable() },
                "requestBodies": { "b": { "content": { "a/b": nullable() } } },
            },
            "paths": { "/a": {
                "parameters": [nullable()],
                "post": {
                    "responses": { "200": { "content": { "a/b": nullable() } } },
                    "example": nullable(),
                },
            } },
        });
        adapt(&mut root, Version::V30);
        let left = root.to_string().matches("nullable").count();
        assert_eq!(left, 1, "{root}");
        assert!(root["paths"]["/a"]["post"]["example"]["schema"]["nullable"].is_boolean());
    }
}
