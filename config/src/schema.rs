//! The JSON Schema of the language (draft 2020-12), for editors and for tools that write documents.
//!
//! It is made of the declarations and of nothing else. It accepts everything that the decoder
//! accepts; the decoder is stricter where a schema cannot say it (a regular expression that does
//! not compile, two fields that contradict each other).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use crate::bounds::TEXT_BYTES_MAX;
use crate::decode::Decoder;
use crate::document::Document;
use crate::error::ConfigErrors;
use crate::shape::{Accepts, FieldShape, ObjectShape, Presence, Shape, TextShape, prose};
use crate::syntax::Declared;

/// The schema of a whole document.
pub fn schema() -> Json {
    let mut writer = Writer::default();
    let document = match Document::shape() {
        Shape::Object(object) => writer.object(&object()),
        other => writer.shape(&other),
    };
    let mut root = Map::new();
    root.insert(
        "$schema".into(),
        "https://json-schema.org/draft/2020-12/schema".into(),
    );
    root.insert("title".into(), "Weir configuration".into());
    root.extend(document);
    let definitions: Map<String, Json> = writer
        .definitions
        .into_iter()
        .map(|(name, definition)| (name.to_owned(), definition.into()))
        .collect();
    root.insert("$defs".into(), definitions.into());
    sorted(root.into())
}

/// The same value with its keys in order. A feature of `serde_json` that any crate of a build can
/// switch on makes maps keep the order of insertion; the file must not depend on that.
fn sorted(value: Json) -> Json {
    match value {
        Json::Object(map) => {
            let entries: BTreeMap<String, Json> = map
                .into_iter()
                .map(|(key, value)| (key, sorted(value)))
                .collect();
            entries.into_iter().collect::<Map<_, _>>().into()
        }
        Json::Array(items) => items.into_iter().map(sorted).collect(),
        scalar => scalar,
    }
}

/// The schema as the text of `config/schema/weir.schema.json`.
pub fn text() -> String {
    format!("{:#}\n", schema())
}

/// A YAML text as the JSON that a schema is held against.
///
/// # Errors
/// When the text is not one readable YAML document.
pub fn instance(text: &str) -> Result<Json, ConfigErrors> {
    let mut decoder = Decoder::default();
    let node = crate::yaml::parse(text, &mut decoder);
    Ok(decoder.finish(node)?.to_json())
}

#[derive(Default)]
struct Writer {
    /// By name; an entry is put in before its fields are looked at, so that a type may hold itself.
    definitions: BTreeMap<&'static str, Map<String, Json>>,
}

impl Writer {
    fn shape(&mut self, shape: &Shape) -> Map<String, Json> {
        let schema = match shape {
            Shape::Any => json!({}),
            Shape::AnyOf(shapes) => {
                let shapes: Vec<_> = shapes.iter().map(|shape| self.shape(shape)).collect();
                json!({ "oneOf": shapes })
            }
            Shape::Boolean => json!({ "type": "boolean" }),
            Shape::Choice(words) => {
                let words: Vec<_> = words
                    .iter()
                    .map(|word| json!({ "const": word.text, "description": prose(word.doc) }))
                    .collect();
                json!({ "oneOf": words })
            }
            Shape::Constant(value) => json!({ "const": value }),
            Shape::Integer { min, max } => {
                json!({ "type": "integer", "minimum": min, "maximum": max })
            }
            Shape::List { item, min, max } => {
                let item = self.shape(item);
                let mut list = json!({ "type": "array", "items": item, "maxItems": max });
                if *min > 0 {
                    list["minItems"] = (*min).into();
                }
                json!({ "oneOf": [item, list] })
            }
            Shape::Map { key, value, max } => {
                let mut map = json!({
                    "type": "object",
                    "additionalProperties": self.shape(value),
                    "maxProperties": max,
                });
                if let Some(pattern) = key.pattern {
                    map["propertyNames"] = json!({ "pattern": pattern });
                }
                map
            }
            Shape::Object(object) => {
                let object = object();
                if !self.definitions.contains_key(object.name) {
                    self.definitions.insert(object.name, Map::new());
                    let definition = self.object(&object);
                    self.definitions.insert(object.name, definition);
                }
                json!({ "$ref": format!("#/$defs/{}", object.name) })
            }
            Shape::Text(text) => text_schema(text),
        };
        into_map(schema)
    }

    fn object(&mut self, object: &ObjectShape) -> Map<String, Json> {
        let mut properties = Map::new();
        for field in &object.fields {
            properties.insert(field.key.to_owned(), self.field(field).into());
        }
        let mut schema = into_map(json!({
            "type": "object",
            "properties": properties,
            "additionalProperties": false,
        }));
        let required: Vec<_> = object
            .fields
            .iter()
            .filter(|field| matches!(field.presence, Presence::Required))
            .map(|field| field.key)
            .collect();
        if !required.is_empty() {
            schema.insert("required".into(), required.into());
        }
        let groups: Vec<Json> = object
            .one_of
            .iter()
            .map(|group| {
                let one_of: Vec<_> = group
                    .iter()
                    .map(|key| json!({ "required": [key] }))
                    .collect();
                json!({ "oneOf": one_of })
            })
            .collect();
        match groups.as_slice() {
            [] => {}
            [group] => schema.extend(into_map(group.clone())),
            _ => {
                schema.insert("allOf".into(), groups.into());
            }
        }
        if let Some(short) = &object.short {
            let short = self.shape(short);
            schema = into_map(json!({ "oneOf": [short, schema] }));
        }
        let doc = prose(object.doc);
        if !doc.is_empty() {
            schema.insert("description".into(), doc.into());
        }
        schema
    }

    fn field(&mut self, field: &FieldShape) -> Map<String, Json> {
        let mut schema = self.shape(&field.shape);
        let mut description = prose(field.doc);
        // The words of the syntax itself, which the field's own would hide.
        if let Some(what) = schema.get("description").and_then(Json::as_str) {
            description.push_str(&format!(" Written as {what}."));
        }
        if let Presence::Optional { default, note } = &field.presence {
            if !note.is_empty() {
                description.push_str(&format!(" Unless told: {note}."));
            }
            if let Some(default) = default {
                schema.insert("default".into(), default.clone());
            }
        }
        schema.insert("description".into(), description.into());
        schema
    }
}

fn text_schema(text: &TextShape) -> Json {
    let types = match text.accepts {
        Accepts::AnyScalar => json!(["string", "number", "boolean"]),
        Accepts::Text => json!("string"),
        Accepts::TextOrInteger => json!(["string", "integer"]),
    };
    let description = match &text.range {
        Some((min, max)) => format!("{}, from {min} to {max}", text.what),
        None => text.what.to_owned(),
    };
    let mut schema = json!({ "type": types, "description": description });
    match text.pattern {
        Some(pattern) => schema["pattern"] = pattern.into(),
        // What has no pattern is free text, which may be longer than others.
        None => return schema,
    }
    schema["maxLength"] = TEXT_BYTES_MAX.into();
    if text.accepts == Accepts::TextOrInteger {
        schema["minimum"] = 0.into();
    }
    schema
}

fn into_map(schema: Json) -> Map<String, Json> {
    match schema {
        Json::Object(map) => map,
        // Only objects come here; `true` would be the schema that says the same.
        other => Map::from_iter([("const".to_owned(), other)]),
    }
}
