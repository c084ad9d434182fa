//! YAML of somebody else's language, read under the rules and bounds of this one: no duplicate
//! keys, no tags, no alias bombs.

use serde_json::Value as Json;

use crate::decode::Decoder;
use crate::error::ConfigErrors;

/// Reads a YAML text, and so a JSON one, as JSON; keys are texts, numbers what the YAML 1.2 core
/// schema makes of them.
///
/// # Errors
/// When it is not one readable document of at most
/// [`DOCUMENT_BYTES_MAX`](crate::bounds::DOCUMENT_BYTES_MAX) bytes, nested no deeper than
/// `depth_max`.
pub fn parse(text: &str, depth_max: usize) -> Result<Json, ConfigErrors> {
    let mut decoder = Decoder::default();
    let node = crate::yaml::parse_within(text, depth_max, &mut decoder);
    Ok(decoder.finish(node)?.to_json())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn it_may_be_nested_as_deep_as_told() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(&nested(40), 40).is_ok());
        let errors = parse(&nested(41), 40).unwrap_err();
        assert!(errors.0[0].problem.contains("deeper than 40"), "{errors}");
        assert!(parse("{ a: 1, a: 2 }", 40).is_err());
        assert_eq!(parse("200: { x: .5 }", 40).unwrap()["200"]["x"], 0.5);
    }
}
