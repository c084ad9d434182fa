//! Validators of a document's schemas: compiled once, when a configuration is.

use jsonschema::{Draft, PatternOptions, Registry, Validator};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use weir_config::bounds::REGEX_BYTES_MAX;

use super::read::{DocumentFault, excerpt};

/// The adapted document, ready to compile schemas from.
pub(super) struct Schemas<'d> {
    registry: Registry<'d>,
}

impl<'d> Schemas<'d> {
    pub(super) fn of(root: &'d Value) -> Result<Self, DocumentFault> {
        let registry = Registry::new()
            .draft(Draft::Draft202012)
            .add(DOCUMENT, root)
            .and_then(jsonschema::RegistryBuilder::prepare);
        match registry {
            Ok(registry) => Ok(Schemas { registry }),
            Err(error) => Err(DocumentFault::new("", excerpt(&error.to_string()))),
        }
    }

    /// The validator of the schema at a place.
    pub(super) fn validator(&self, pointer: &str) -> Result<Validator, DocumentFault> {
        let fragment = utf8_percent_encode(pointer, ESCAPED);
        let schema = json!({ "$ref": format!("{DOCUMENT}#{fragment}") });
        let built = jsonschema::options()
            .with_draft(Draft::Draft202012)
            .offline()
            .with_registry(&self.registry)
            .should_validate_formats(true)
            .with_format("byte", is_base64)
            // Linear in the length of the text, whatever the pattern.
            .with_pattern_options(PatternOptions::regex().size_limit(REGEX_BYTES_MAX))
            .build(&schema);
        built.map_err(|error| {
            let place = error.instance_path().as_str();
            let place = if place.is_empty() { pointer } else { place };
            let fault =
                DocumentFault::new(place, format!("no schema: {}", excerpt(&error.to_string())));
            match place.ends_with("/pattern") {
                true => fault.hint("the syntax is RE2's: no look-around and no back references"),
                false => fault,
            }
        })
    }
}

fn is_base64(text: &str) -> bool {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD
        .decode(text)
        .is_ok()
}

const DOCUMENT: &str = "urn:weir:openapi";

/// What a fragment of a URI holds as it is, of what pointers are made of.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'/')
    .remove(b'~')
    .remove(b'-')
    .remove(b'_')
    .remove(b'.');
