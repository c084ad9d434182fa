//! Examples of a schema: what its author gave as one, or what can be made of those of its parts.

use serde_json::{Map, Value};

use super::read::resolve;

/// An example of a schema; `None` where the document has too little to make one of.
pub(super) fn of_schema(root: &Value, schema: &Value) -> Option<Value> {
    let mut left = SCHEMAS_MAX;
    make(root, schema, 0, &mut left)
}

fn make(root: &Value, schema: &Value, depth: usize, left: &mut usize) -> Option<Value> {
    if depth > DEPTH_MAX || *left == 0 {
        return None;
    }
    *left -= 1;
    let (schema, _) = resolve(root, schema, String::new()).ok()?;
    let first = |key: &str| schema.get(key)?.as_array()?.first().cloned();
    let given = schema
        .get("example")
        .cloned()
        .or_else(|| first("examples"))
        .or_else(|| schema.get("default").cloned())
        .or_else(|| schema.get("const").cloned())
        .or_else(|| first("enum"));
    if given.is_some() {
        return given;
    }
    if let Some(Value::Array(all)) = schema.get("allOf") {
        return together(root, schema, all, depth, left);
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(Value::Array(alternatives)) = schema.get(key) {
            let mut each = alternatives.iter();
            return each.find_map(|inner| make(root, inner, depth + 1, left));
        }
    }
    if schema.get("properties").is_some() {
        return object(root, schema, depth, left).map(Value::Object);
    }
    if let Some(items) = schema.get("items") {
        let item = make(root, items, depth + 1, left)?;
        return Some(Value::Array(vec![item]));
    }
    None
}

/// An object of the examples of its properties. One that is required and has none leaves the whole
/// without an example: half an answer would be a wrong one.
fn object(
    root: &Value,
    schema: &Value,
    depth: usize,
    left: &mut usize,
) -> Option<Map<String, Value>> {
    let mut made = Map::new();
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, property) in properties.into_iter().flatten() {
        if property.get("writeOnly") == Some(&Value::Bool(true)) {
            continue;
        }
        if let Some(value) = make(root, property, depth + 1, left) {
            made.insert(name.clone(), value);
        }
    }
    let required = schema.get("required").and_then(Value::as_array);
    let mut required = required.into_iter().flatten().filter_map(Value::as_str);
    let complete = required.all(|name| {
        let write_only = || properties?.get(name)?.get("writeOnly")?.as_bool();
        made.contains_key(name) || write_only() == Some(true)
    });
    (complete && !made.is_empty()).then_some(made)
}

/// One object of all parts.
fn together(
    root: &Value,
    schema: &Value,
    all: &[Value],
    depth: usize,
    left: &mut usize,
) -> Option<Value> {
    let mut made = object(root, schema, depth, left).unwrap_or_default();
    for part in all {
        match make(root, part, depth + 1, left) {
            Some(Value::Object(fields)) => made.extend(fields),
            Some(other) if made.is_empty() => return Some(other),
            Some(_) | None => {}
        }
    }
    (!made.is_empty()).then_some(Value::Object(made))
}

/// How deep an example is made.
const DEPTH_MAX: usize = 16;
/// How many schemas one example is made of.
const SCHEMAS_MAX: usize = 2_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn examples_are_given_or_made_of_those_of_the_parts() {
        let root = json!({ "pet": {
            "required": ["id"],
            "properties": {
                "id": { "type": "integer", "example": 7 },
                "name": { "type": "string", "examples": ["Rex", "Bo"] },
                "secret": { "writeOnly": true, "example": "x" },
                "unknown": { "type": "string" },
            },
        }, "self": { "properties": { "inner": { "$ref": "#/self" } } } });
        let table = [
            (json!({ "example": null }), Some(json!(null))),
            (json!({ "default": 1, "enum": [2] }), Some(json!(1))),
            (json!({ "enum": [2, 3] }), Some(json!(2))),
            (
                json!({ "$ref": "#/pet" }),
                Some(json!({ "id": 7, "name": "Rex" })),
            ),
            (
                json!({ "type": "array", "items": { "$ref": "#/pet" } }),
                Some(json!([{ "id": 7, "name": "Rex" }])),
            ),
            (
                json!({ "allOf": [{ "$ref": "#/pet" }, { "example": { "age": 1 } }] }),
                Some(json!({ "id": 7, "name": "Rex", "age": 1 })),
            ),
            (
                json!({ "oneOf": [{ "type": "string" }, { "const": 1 }] }),
                Some(json!(1)),
            ),
            (
                json!({ "required": ["a"], "properties": { "a": {}, "b": { "example": 1 } } }),
                None,
            ),
            (json!({ "type": "string" }), None),
            (json!({ "$ref": "#/self" }), None),
        ];
        for (schema, expected) in table {
            assert_eq!(of_schema(&root, &schema), expected, "{schema}");
        }
    }
}
