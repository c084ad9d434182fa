//! Paths and path patterns.
//!
//! Requests are matched after their path was normalised: what a normal path never has (an empty
//! segment, `.` or `..`, a blank, a character outside ASCII) is refused in a pattern, since it
//! would silently match nothing.

use super::text::{NOT_EMPTY, Text};
use crate::bounds::{PATH_PARAMETERS_MAX, REGEX_BYTES_MAX};
use crate::decode::Complaint;
use crate::pattern::{PathPattern, Segment};
use crate::shape::Accepts;
use crate::yaml::excerpt;

const ABSOLUTE: Option<&str> = Some("^/[^?#\\s]*$");

/// The short form of a path pattern.
pub(crate) fn path_pattern() -> Text<PathPattern> {
    Text {
        what: "a path such as `/user/*`",
        pattern: ABSOLUTE,
        accepts: Accepts::Text,
        parse: parse_short,
        write: PathPattern::to_string,
    }
}

/// `exact:`.
pub(crate) fn exact_path() -> Text<String> {
    Text {
        what: "a path such as `/health`",
        pattern: ABSOLUTE,
        accepts: Accepts::Text,
        parse: |text| check_path(text).map(|()| text.to_owned()),
        write: String::clone,
    }
}

/// `prefix:`; without its final slash.
pub(crate) fn path_prefix() -> Text<String> {
    Text {
        parse: |text| {
            check_path(text)?;
            Ok(text.strip_suffix('/').unwrap_or(text).to_owned())
        },
        ..exact_path()
    }
}

/// `template:`.
pub(crate) fn path_template() -> Text<(Vec<Segment>, bool)> {
    Text {
        what: "a path template such as `/order/{id}`",
        pattern: ABSOLUTE,
        accepts: Accepts::Text,
        parse: parse_template,
        write: |(segments, below)| {
            PathPattern::Template {
                segments: segments.clone(),
                below: *below,
            }
            .to_string()
        },
    }
}

/// A path of a request to be sent, which may have a query.
pub(crate) fn target_path() -> Text<String> {
    Text {
        what: "a path such as `/.well-known/jwks.json`",
        pattern: Some("^/[^#\\s]*$"),
        accepts: Accepts::Text,
        parse: |text| match text.parse::<http::uri::PathAndQuery>() {
            Ok(_) if text.starts_with('/') && !text.contains('#') => Ok(text.to_owned()),
            _ => Err(not_a_path(text, "a path starts with `/` and has no blanks")),
        },
        write: String::clone,
    }
}

/// A regular expression.
pub(crate) fn regex() -> Text<String> {
    Text {
        what: "a regular expression",
        pattern: NOT_EMPTY,
        accepts: Accepts::Text,
        parse: parse_regex,
        write: String::clone,
    }
}

fn parse_regex(text: &str) -> Result<String, Complaint> {
    if text.is_empty() {
        return Err(Complaint::new("the regular expression is empty"));
    }
    // The way it is used: anchored at both ends.
    let anchored = format!("^(?:{text})$");
    let built = regex::RegexBuilder::new(&anchored)
        .size_limit(REGEX_BYTES_MAX)
        .build();
    match built {
        Ok(_) => Ok(text.to_owned()),
        Err(regex::Error::CompiledTooBig(_)) => {
            let problem = format!("the regular expression needs more than {REGEX_BYTES_MAX} bytes");
            Err(Complaint::new(problem).hint("use smaller repetitions"))
        }
        // The error draws the pattern over several lines; the last one says what is wrong.
        Err(error) => {
            let shown = error.to_string();
            let last = shown.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            let problem = format!("`{}` is not a regular expression: {reason}", excerpt(text));
            Err(Complaint::new(problem)
                .hint("the syntax is RE2's: no look-around and no back references"))
        }
    }
}

fn parse_short(text: &str) -> Result<PathPattern, Complaint> {
    if text.contains(['{', '}']) {
        let (segments, below) = parse_template(text)?;
        return Ok(PathPattern::Template { segments, below });
    }
    match text.strip_suffix("/*") {
        Some(prefix) => {
            if !prefix.is_empty() {
                check_path(prefix)?;
            }
            refuse_star(text, prefix)?;
            Ok(PathPattern::Prefix(prefix.to_owned()))
        }
        None => {
            check_path(text)?;
            refuse_star(text, text)?;
            Ok(PathPattern::Exact(text.to_owned()))
        }
    }
}

fn parse_template(text: &str) -> Result<(Vec<Segment>, bool), Complaint> {
    let (path, below) = match text.strip_suffix("/*") {
        Some(path) => (path, true),
        None => (text, false),
    };
    if !path.is_empty() || !below {
        check_path(path)?;
    }
    refuse_star(text, path)?;
    let names = parameters_of(path)?;
    if names.len() > PATH_PARAMETERS_MAX {
        let problem = format!(
            "{} parameters in a path; at most {PATH_PARAMETERS_MAX}",
            names.len()
        );
        return Err(Complaint::new(problem));
    }
    for (index, name) in names.iter().enumerate() {
        if names[..index].contains(name) {
            return Err(Complaint::new(format!(
                "the path has two parameters `{name}`"
            )));
        }
    }
    let mut segments = Vec::new();
    for segment in path.split('/').skip(1) {
        match segment
            .strip_prefix('{')
            .and_then(|rest| rest.strip_suffix('}'))
        {
            Some(name) => segments.push(Segment::Parameter(name.to_owned())),
            None if segment.contains(['{', '}']) => {
                return Err(not_a_path(
                    text,
                    "a parameter is a whole segment: `/order/{id}`",
                ));
            }
            None => segments.push(Segment::Literal(segment.to_owned())),
        }
    }
    Ok((segments, below))
}

/// The names in braces, each checked.
fn parameters_of(text: &str) -> Result<Vec<&str>, Complaint> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('{') {
        let closed = after.split_once('}');
        let (name, after) = closed.ok_or_else(|| not_a_path(text, "a `{` is not closed"))?;
        if before.contains('}') {
            return Err(not_a_path(text, "a `}` was never opened"));
        }
        let good = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if !good {
            return Err(not_a_path(
                text,
                "a parameter has a name of letters, digits and `_`",
            ));
        }
        names.push(name);
        rest = after;
    }
    if rest.contains('}') {
        return Err(not_a_path(text, "a `}` was never opened"));
    }
    Ok(names)
}

fn refuse_star(text: &str, path: &str) -> Result<(), Complaint> {
    if path.contains('*') {
        return Err(not_a_path(
            text,
            "`*` stands only at the end, as `/*`; `{name}` stands for one segment",
        ));
    }
    Ok(())
}

pub(super) fn check_path(text: &str) -> Result<(), Complaint> {
    let Some(rest) = text.strip_prefix('/') else {
        return Err(not_a_path(text, "a path starts with `/`"));
    };
    if text.contains(['?', '#']) {
        return Err(not_a_path(
            text,
            "a path has no `?` or `#`; match parameters with `query:`",
        ));
    }
    if !text.chars().all(|c| c.is_ascii_graphic()) {
        return Err(not_a_path(
            text,
            "blanks and characters outside ASCII are written as `%20`",
        ));
    }
    let mut segments = rest.split('/').peekable();
    while let Some(segment) = segments.next() {
        // An empty last segment is a final slash.
        let empty = segment.is_empty() && segments.peek().is_some();
        if empty || matches!(segment, "." | "..") {
            return Err(not_a_path(
                text,
                "`//`, `/./` and `/../` never arrive: paths are normalised before they are matched",
            ));
        }
    }
    Ok(())
}

fn not_a_path(text: &str, rule: &str) -> Complaint {
    Complaint::new(format!("`{}` is not a path that can match", excerpt(text))).hint(rule)
}
