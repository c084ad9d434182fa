//! Conditions on header and query values.

use std::borrow::Cow;

use regex::bytes::Regex;
use weir_config::bounds::REGEX_BYTES_MAX;
use weir_config::pattern::ValuePattern;

/// A compiled [`ValuePattern`].
#[derive(Debug, Clone)]
pub enum ValueMatch {
    /// Must not be there.
    Absent,
    /// Exactly this.
    Exact(Box<[u8]>),
    /// Starts with this.
    Prefix(Box<[u8]>),
    /// Is there.
    Present,
    /// The whole value matches.
    Regex(Regex),
}

impl ValueMatch {
    /// Compiles a pattern.
    ///
    /// # Errors
    /// Its regular expression is none, or too large.
    pub fn compile(pattern: &ValuePattern) -> Result<ValueMatch, regex::Error> {
        Ok(match pattern {
            ValuePattern::Absent => ValueMatch::Absent,
            ValuePattern::Exact(text) => ValueMatch::Exact(text.as_bytes().into()),
            ValuePattern::Prefix(text) => ValueMatch::Prefix(text.as_bytes().into()),
            ValuePattern::Present => ValueMatch::Present,
            ValuePattern::Regex(text) => ValueMatch::Regex(
                regex::bytes::RegexBuilder::new(&anchored(text)?)
                    .size_limit(REGEX_BYTES_MAX)
                    .build()?,
            ),
        })
    }

    /// Whether no single value is likely to fit both.
    pub(crate) fn excludes(&self, other: &ValueMatch) -> bool {
        use ValueMatch::{Absent, Exact, Prefix, Present, Regex};
        match (self, other) {
            (Absent, Absent) | (Present, Present) => false,
            (Absent, _) | (_, Absent) => true,
            (Present, _) | (_, Present) => false,
            (Exact(one), Exact(two)) => one != two,
            (Exact(text), Prefix(start)) | (Prefix(start), Exact(text)) => !text.starts_with(start),
            (Prefix(one), Prefix(two)) => !(one.starts_with(two) || two.starts_with(one)),
            (Exact(text), Regex(regex)) | (Regex(regex), Exact(text)) => !regex.is_match(text),
            (Regex(_), _) | (_, Regex(_)) => true,
        }
    }

    /// Whether any of the values of a name fits; for [`ValueMatch::Absent`], whether there is none.
    pub fn holds<'v>(&self, mut values: impl Iterator<Item = Cow<'v, [u8]>>) -> bool {
        match self {
            ValueMatch::Absent => values.next().is_none(),
            ValueMatch::Exact(text) => values.any(|value| *value == **text),
            ValueMatch::Prefix(text) => values.any(|value| value.starts_with(text)),
            ValueMatch::Present => values.next().is_some(),
            ValueMatch::Regex(regex) => values.any(|value| regex.is_match(&value)),
        }
    }
}

impl std::fmt::Display for ValueMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ValueMatch::Absent => f.write_str("absent"),
            ValueMatch::Exact(text) => write!(f, "`{}`", String::from_utf8_lossy(text)),
            ValueMatch::Prefix(text) => {
                write!(
                    f,
                    "something that starts with `{}`",
                    String::from_utf8_lossy(text)
                )
            }
            ValueMatch::Present => f.write_str("present"),
            ValueMatch::Regex(regex) => write!(f, "something that matches `{regex}`"),
        }
    }
}

/// The expression anchored at both ends. It is parsed alone first, so that `a)|(b` cannot climb out
/// of the group that anchors it.
pub(crate) fn anchored(text: &str) -> Result<String, regex::Error> {
    regex::RegexBuilder::new(text)
        .size_limit(REGEX_BYTES_MAX)
        .build()?;
    Ok(format!(r"\A(?:{text})\z"))
}

/// Every value of a query parameter, decoded; `a` without `=` has the empty value.
pub(crate) fn query_values<'q>(
    query: Option<&'q str>,
    name: &'q str,
) -> impl Iterator<Item = Cow<'q, [u8]>> {
    query
        .unwrap_or_default()
        .split('&')
        .filter(|pair| !pair.is_empty())
        .filter_map(move |pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (*form_decoded(key) == *name.as_bytes()).then(|| form_decoded(value))
        })
}

/// Decodes `+` and escapes as forms do; copies only when there are any.
fn form_decoded(text: &str) -> Cow<'_, [u8]> {
    if !text.bytes().any(|byte| byte == b'+' || byte == b'%') {
        return Cow::Borrowed(text.as_bytes());
    }
    let spaced = text.replace('+', " ");
    Cow::Owned(percent_encoding::percent_decode_str(&spaced).collect())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn holds(pattern: ValuePattern, query: &str) -> bool {
        ValueMatch::compile(&pattern)
            .unwrap()
            .holds(query_values(Some(query), "v"))
    }

    #[test]
    fn values_are_decoded_before_they_are_compared() {
        let exact = || ValuePattern::Exact("a b".into());
        assert!(holds(exact(), "v=a+b"));
        assert!(holds(exact(), "x=1&v=a%20b"));
        assert!(holds(exact(), "%76=a%20b"));
        assert!(holds(exact(), "v=x&v=a+b"), "any of several values");
        assert!(!holds(exact(), "v=a%2Bb"));
        assert!(!holds(exact(), "w=a+b"));
    }

    #[test]
    fn presence_prefix_and_expressions() {
        assert!(holds(ValuePattern::Present, "v"));
        assert!(!holds(ValuePattern::Present, "w=v"));
        assert!(holds(ValuePattern::Absent, ""));
        assert!(!holds(ValuePattern::Absent, "v="));
        assert!(holds(ValuePattern::Prefix("ab".into()), "v=abc"));
        assert!(holds(ValuePattern::Regex("a|bc".into()), "v=bc"));
        assert!(
            !holds(ValuePattern::Regex("a|bc".into()), "v=abc"),
            "anchored at both ends"
        );
    }

    #[test]
    fn an_expression_cannot_climb_out_of_its_anchors() {
        assert!(ValueMatch::compile(&ValuePattern::Regex("a)|(b".into())).is_err());
        let huge = ValuePattern::Regex("(a{1000}){1000}".into());
        assert!(ValueMatch::compile(&huge).is_err(), "size limit");
    }
}
