//! Texts of parameters and forms as the JSON that their schema speaks of: `7` is a number where a
//! number may stand, and a text elsewhere.

use serde_json::{Map, Value};

use super::read::resolve;

/// Which JSON types a schema lets stand somewhere.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Types(u8);

impl Types {
    const ARRAY: Types = Types(1);
    const BOOLEAN: Types = Types(2);
    const NULL: Types = Types(4);
    const NUMBER: Types = Types(8);
    const OBJECT: Types = Types(16);
    const STRING: Types = Types(32);

    fn has(self, other: Types) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: Types) {
        self.0 |= other.0;
    }

    fn named(name: &str) -> Types {
        match name {
            "array" => Types::ARRAY,
            "boolean" => Types::BOOLEAN,
            "integer" | "number" => Types::NUMBER,
            "null" => Types::NULL,
            "object" => Types::OBJECT,
            "string" => Types::STRING,
            _ => Types::default(),
        }
    }

    fn of(value: &Value) -> Types {
        match value {
            Value::Array(_) => Types::ARRAY,
            Value::Bool(_) => Types::BOOLEAN,
            Value::Null => Types::NULL,
            Value::Number(_) => Types::NUMBER,
            Value::Object(_) => Types::OBJECT,
            Value::String(_) => Types::STRING,
        }
    }
}

/// What of a schema decides how a text is read.
#[derive(Debug, Clone, Default)]
pub(super) struct Coercion {
    types: Types,
    items: Option<Box<Coercion>>,
    properties: Vec<(Box<str>, Coercion)>,
    others: Option<Box<Coercion>>,
}

impl Coercion {
    /// Reads a schema of a document.
    pub(super) fn of(root: &Value, schema: &Value) -> Coercion {
        let mut coercion = Coercion::default();
        let mut left = SCHEMAS_MAX;
        coercion.take(root, schema, 0, &mut left);
        coercion
    }

    fn take(&mut self, root: &Value, schema: &Value, depth: usize, left: &mut usize) {
        if depth > DEPTH_MAX || *left == 0 {
            return;
        }
        *left -= 1;
        // What leads nowhere is found out where the schema is compiled.
        let Ok((schema, _)) = resolve(root, schema, String::new()) else {
            return;
        };
        match schema.get("type") {
            Some(Value::String(name)) => self.types.add(Types::named(name)),
            Some(Value::Array(names)) => {
                let names = names.iter().filter_map(Value::as_str);
                names.for_each(|name| self.types.add(Types::named(name)));
            }
            _ => {
                let values = schema.get("enum").and_then(Value::as_array);
                let values = values.into_iter().flatten().chain(schema.get("const"));
                values.for_each(|value| self.types.add(Types::of(value)));
            }
        }
        let mut inner = |schema: &Value| {
            let mut inner = Coercion::default();
            inner.take(root, schema, depth + 1, left);
            inner
        };
        if let Some(items) = schema.get("items") {
            self.items = Some(Box::new(inner(items)));
        }
        if let Some(Value::Object(properties)) = schema.get("properties") {
            for (name, schema) in properties {
                self.properties.push((name.as_str().into(), inner(schema)));
            }
            if schema.get("type").is_none() {
                self.types.add(Types::OBJECT);
            }
        }
        if let Some(others @ Value::Object(_)) = schema.get("additionalProperties") {
            self.others = Some(Box::new(inner(others)));
        }
        for key in ["allOf", "anyOf", "oneOf"] {
            let list = schema.get(key).and_then(Value::as_array);
            for schema in list.into_iter().flatten() {
                self.take(root, schema, depth + 1, left);
            }
        }
    }

    pub(super) fn is_array(&self) -> bool {
        self.types.has(Types::ARRAY)
    }

    pub(super) fn is_object(&self) -> bool {
        self.types.has(Types::OBJECT)
    }

    /// Whether a text may stand here beside something that looks like a number.
    pub(super) fn takes_text(&self) -> bool {
        self.types.has(Types::STRING)
    }

    /// The properties that are known by name.
    pub(super) fn properties(&self) -> impl Iterator<Item = &str> {
        self.properties.iter().map(|(name, _)| &**name)
    }

    /// A text as what it most likely stands for.
    pub(super) fn scalar(&self, text: String) -> Value {
        if self.types.has(Types::BOOLEAN) && (text == "true" || text == "false") {
            return Value::Bool(text == "true");
        }
        // A parser of JSON would take blanks around it.
        if self.types.has(Types::NUMBER)
            && !text.bytes().any(|byte| byte.is_ascii_whitespace())
            && let Ok(number) = serde_json::from_str::<serde_json::Number>(&text)
        {
            return Value::Number(number);
        }
        if self.types.has(Types::NULL) && !self.types.has(Types::STRING) && text.is_empty() {
            return Value::Null;
        }
        Value::String(text)
    }

    pub(super) fn array(&self, items: impl IntoIterator<Item = String>) -> Value {
        let unknown = Coercion::default();
        let item = self.items.as_deref().unwrap_or(&unknown);
        items.into_iter().map(|text| item.scalar(text)).collect()
    }

    /// An object of pairs; several of one name are a list where the schema has one.
    pub(super) fn object(&self, pairs: impl IntoIterator<Item = (String, String)>) -> Value {
        let unknown = Coercion::default();
        let mut map = Map::new();
        for (name, text) in pairs {
            let known = self.properties.iter().find(|(known, _)| **known == *name);
            let property = known.map(|(_, property)| property);
            let property = property.or(self.others.as_deref()).unwrap_or(&unknown);
            if !property.is_array() {
                map.insert(name, property.scalar(text));
                continue;
            }
            let item = property.items.as_deref().unwrap_or(&unknown).scalar(text);
            match map.get_mut(&name) {
                Some(Value::Array(list)) => list.push(item),
                _ => {
                    map.insert(name, Value::Array(vec![item]));
                }
            }
        }
        Value::Object(map)
    }
}

/// How deep a schema is looked into: parameters are flat.
const DEPTH_MAX: usize = 8;
/// How many schemas are looked at for one parameter.
const SCHEMAS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_become_what_the_schema_speaks_of() {
        let root = json!({ "n": { "type": "integer" } });
        let table = [
            (json!({ "type": "integer" }), "7", json!(7)),
            (json!({ "type": "integer" }), "-7", json!(-7)),
            (json!({ "type": "integer" }), "+7", json!("+7")),
            (json!({ "type": "integer" }), "0x7", json!("0x7")),
            (json!({ "type": "integer" }), " 7", json!(" 7")),
            (json!({ "type": "number" }), "1e2", json!(100.0)),
            (json!({ "type": "number" }), "NaN", json!("NaN")),
            (json!({ "type": "string" }), "7", json!("7")),
            (json!({ "type": "boolean" }), "true", json!(true)),
            (json!({ "type": "boolean" }), "TRUE", json!("TRUE")),
            (json!({ "type": ["integer", "null"] }), "", json!(null)),
            (json!({ "$ref": "#/n" }), "7", json!(7)),
            (
                json!({ "allOf": [{ "$ref": "#/n" }, { "minimum": 1 }] }),
                "7",
                json!(7),
            ),
            (json!({ "enum": [1, 2] }), "2", json!(2)),
            (json!({}), "7", json!("7")),
        ];
        for (schema, text, expected) in table {
            let coercion = Coercion::of(&root, &schema);
            assert_eq!(
                coercion.scalar(text.to_owned()),
                expected,
                "{schema} {text}"
            );
        }
        let object = json!({
            "properties": { "a": { "type": "integer" }, "l": { "type": "array", "items": { "$ref": "#/n" } } },
            "additionalProperties": { "type": "boolean" },
        });
        let pairs = [("a", "1"), ("l", "1"), ("l", "2"), ("x", "true")];
        let pairs = pairs.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let read = Coercion::of(&root, &object).object(pairs);
        assert_eq!(read, json!({ "a": 1, "l": [1, 2], "x": true }));
    }

    #[test]
    fn schemas_that_hold_themselves_end() {
        let root = json!({ "t": {
            "type": "object",
            "properties": { "a": { "$ref": "#/t" }, "b": { "$ref": "#/t" }, "c": { "$ref": "#/t" } },
            "allOf": [{ "$ref": "#/t" }, { "$ref": "#/t" }],
        } });
        let coercion = Coercion::of(&root, &json!({ "$ref": "#/t" }));
        assert!(coercion.is_object());
    }
}
