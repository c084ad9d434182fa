//! The reference page: every key of the language with its type, default and meaning, from the same
//! declarations as decoder and schema.

use std::collections::{HashSet, VecDeque};

use serde_json::Value as Json;

use crate::document::Document;
use crate::shape::{FieldShape, ObjectShape, Presence, Shape, prose};
use crate::syntax::Declared;
use crate::template::VARIABLES;

/// The page, in Markdown.
pub fn markdown() -> String {
    let mut page = HEAD.to_owned();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::new();
    visit(&Document::shape(), &mut seen, &mut queue);
    while let Some(object) = queue.pop_front() {
        write_object(&object, &mut page);
        let shapes = object
            .short
            .iter()
            .chain(object.fields.iter().map(|field| &field.shape));
        for shape in shapes {
            visit(shape, &mut seen, &mut queue);
        }
    }
    page.push_str(VARIABLES_HEAD);
    for (name, meaning) in VARIABLES {
        page.push_str(&format!("| `{name}` | {meaning} |\n"));
    }
    page
}

/// Puts the object types that a shape mentions into the queue, each once.
fn visit(shape: &Shape, seen: &mut HashSet<&'static str>, queue: &mut VecDeque<ObjectShape>) {
    match shape {
        Shape::AnyOf(shapes) => shapes.iter().for_each(|shape| visit(shape, seen, queue)),
        Shape::List { item, .. } => visit(item, seen, queue),
        Shape::Map { value, .. } => visit(value, seen, queue),
        Shape::Object(object) => {
            let object = object();
            if seen.insert(object.name) {
                queue.push_back(object);
            }
        }
        Shape::Any
        | Shape::Boolean
        | Shape::Choice(_)
        | Shape::Constant(_)
        | Shape::Integer { .. }
        | Shape::Text(_) => {}
    }
}

fn write_object(object: &ObjectShape, page: &mut String) {
    page.push_str(&format!("\n## {}\n\n{}\n", object.name, prose(object.doc)));
    if let Some(short) = &object.short {
        page.push_str(&format!("\nShort form: {}.\n", value(short)));
    }
    for group in &object.one_of {
        let keys: Vec<_> = group.iter().map(|key| format!("`{key}`")).collect();
        page.push_str(&format!(
            "\nExactly one of {} is written.\n",
            keys.join(", ")
        ));
    }
    page.push_str("\n| key | value | unless told | meaning |\n|---|---|---|---|\n");
    for field in &object.fields {
        let cells = [
            format!("`{}`", field.key),
            value(&field.shape),
            absent(field),
            prose(field.doc),
        ]
        .map(|cell| cell.replace('|', "\\|"));
        page.push_str(&format!("| {} |\n", cells.join(" | ")));
    }
    for field in &object.fields {
        if let Shape::Choice(words) = innermost(&field.shape) {
            page.push_str(&format!("\n`{}`:\n\n", field.key));
            for word in words {
                page.push_str(&format!("- `{}`: {}\n", word.text, prose(word.doc)));
            }
        }
    }
}

/// What a list is a list of.
fn innermost(shape: &Shape) -> &Shape {
    match shape {
        Shape::List { item, .. } => innermost(item),
        other => other,
    }
}

fn value(shape: &Shape) -> String {
    match shape {
        Shape::AnyOf(shapes) => shapes.iter().map(value).collect::<Vec<_>>().join(", or "),
        Shape::List { item, .. } => format!("list of: {}", value(item)),
        Shape::Map { key, value: of, .. } => format!("map of {} → {}", key.what, value(of)),
        Shape::Object(object) => {
            let name = object().name;
            format!("[{name}](#{})", name.to_lowercase())
        }
        Shape::Any
        | Shape::Boolean
        | Shape::Choice(_)
        | Shape::Constant(_)
        | Shape::Integer { .. }
        | Shape::Text(_) => shape.words(),
    }
}

fn absent(field: &FieldShape) -> String {
    match &field.presence {
        Presence::OneOfGroup => "one of these".to_owned(),
        Presence::Optional {
            default: Some(default),
            ..
        } => written(default),
        Presence::Optional { note: "", .. } => "-".to_owned(),
        Presence::Optional { note, .. } => (*note).to_owned(),
        Presence::Required => "**required**".to_owned(),
    }
}

/// A default as a document would have it.
fn written(default: &Json) -> String {
    match default {
        Json::String(text) if text.is_empty() => "empty".to_owned(),
        Json::String(text) => format!("`{text}`"),
        Json::Array(items) if items.is_empty() => "none".to_owned(),
        Json::Array(items) => {
            let items: Vec<_> = items
                .iter()
                .map(|item| item.as_str().map_or(item.to_string(), str::to_owned))
                .collect();
            format!("`[{}]`", items.join(", "))
        }
        other => format!("`{other}`"),
    }
}

const VARIABLES_HEAD: &str = "
## Variables

A name in braces stands for something of the request. `{{` writes a brace that would begin a
variable; other braces are text, so JSON needs no escapes. Unknown variables are refused, and so are
claims on a route that asks for no token.

A value can fill its place and nothing else. In a path it is escaped and stays one segment, in JSON
and HTML it is escaped as text, and a header that could not hold it is left out. A path or host that
lacks its value, or would be none, is refused with `rewrite-failed`; in a body what has no value is
nothing. Values longer than 8 KiB count as missing.

| variable | is |
|---|---|
";

const HEAD: &str = "\
<!-- Generated from the declarations in config/src by `cargo run -p weir-xtask -- generate`. -->

# Configuration reference

One YAML document (YAML 1.2) configures gateway and sidecars alike. Unknown keys are refused, and
every error is reported at once with its path, line, column and a hint. Editors complete and check
with `config/schema/weir.schema.json` (also printed by `weir schema`).

Wherever a list is expected, a single item may be written without the brackets: `methods: GET`.
Anchors and aliases work; merge keys (`<<`) are not part of YAML 1.2.

| unit | written | |
|---|---|---|
| duration | `250ms`, `5s`, `1m`, `2h` | a whole number with its unit; at most 168h |
| size | `500B`, `64KiB`, `10MiB`, `1GiB` | powers of 1024; a bare number is bytes |
| rate | `100/s`, `30/m`, `1000/h`, `5/10s` | a count per time, at most 24h |
| percentage | `20%`, `12.5%` | from 0% to 100%, up to three decimals |
";
