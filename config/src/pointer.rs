//! JSON Pointers (RFC 6901): the name of a field inside a JSON value.

use std::fmt;

use crate::bounds::POINTER_TOKENS_MAX;
use crate::decode::Complaint;
use crate::shape::Accepts;
use crate::syntax::text::Text;
use crate::yaml::excerpt;

/// The name of a field or item below the root of a JSON value. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct JsonPointer {
    /// The names and indices on the way, unescaped.
    pub tokens: Vec<String>,
}

/// As a document has it.
impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for token in &self.tokens {
            write!(f, "/{}", token.replace('~', "~0").replace('/', "~1"))?;
        }
        Ok(())
    }
}

/// A pointer.
pub(crate) fn pointer() -> Text<JsonPointer> {
    Text {
        what: "a JSON Pointer such as `/user/name`",
        pattern: Some("^(/([^~/]|~[01])*)+$"),
        accepts: Accepts::Text,
        parse,
        write: JsonPointer::to_string,
    }
}

fn parse(text: &str) -> Result<JsonPointer, Complaint> {
    let fault = |hint: &str| {
        Complaint::new(format!("`{}` is no JSON Pointer to a field", excerpt(text))).hint(hint)
    };
    let Some(rest) = text.strip_prefix('/') else {
        return Err(fault("it begins with `/`, such as `/user/name`"));
    };
    let mut tokens = Vec::new();
    for token in rest.split('/') {
        let escaped = token.split('~').skip(1);
        if !escaped.into_iter().all(|it| it.starts_with(['0', '1'])) {
            return Err(fault("`~` is written `~0`, and a `/` in a name `~1`"));
        }
        tokens.push(token.replace("~1", "/").replace("~0", "~"));
    }
    if tokens.len() > POINTER_TOKENS_MAX {
        let hint = format!("at most {POINTER_TOKENS_MAX} names");
        return Err(fault(&hint));
    }
    Ok(JsonPointer { tokens })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn pointers_are_read_and_written_as_rfc_6901_says() {
        let table = [
            ("/a", vec!["a"]),
            ("/a/b/0", vec!["a", "b", "0"]),
            ("/", vec![""]),
            ("/a~1b/m~0n", vec!["a/b", "m~n"]),
            ("/~01", vec!["~1"]),
            ("/ä b", vec!["ä b"]),
        ];
        for (text, tokens) in table {
            let pointer = parse(text).unwrap();
            assert_eq!(pointer.tokens, tokens, "{text}");
            assert_eq!(pointer.to_string(), text);
        }
        for bad in ["", "a", "a/b", "/a~", "/a~2"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        let deepest = "/a".repeat(POINTER_TOKENS_MAX);
        assert!(parse(&deepest).is_ok());
        assert!(parse(&format!("{deepest}/a")).is_err());
    }
}
