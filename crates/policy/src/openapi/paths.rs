//! Which path of a document a request has: a tree by segments, in which what is written goes before
//! what is a parameter.
//!
//! A parameter is usually a whole segment; `/report.{format}` and `/{from}-{to}` are taken as well.
//! Looking up goes back where a branch turns out to lead nowhere, so that `/pets/mine` does not
//! hide `/pets/{id}/toys`; each node is entered at most once, and templates that differ in names
//! alone are refused when a document is compiled.

use std::borrow::Cow;
use std::collections::HashMap;

use percent_encoding::percent_decode_str;
use smallvec::SmallVec;

/// The parameters of a matched path: texts in the order of the template, still escaped.
pub(super) type Captures<'p> = SmallVec<[&'p str; 4]>;

/// The tree.
#[derive(Debug, Default)]
pub(super) struct PathTree {
    root: Node,
}

#[derive(Debug, Default)]
struct Node {
    literals: HashMap<Box<str>, Node>,
    /// Those with the most text first.
    patterns: Vec<(Pattern, Node)>,
    /// The path that ends here, by its index.
    end: Option<u32>,
}

/// A segment with parameters in it: texts, between every two of which there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Pattern(Box<[Box<str>]>);

/// Why a template is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateFault {
    #[error("two parameters stand side by side")]
    Adjacent,
    #[error("a `{{` or `}}` has no counterpart")]
    Braces,
    #[error("it takes the same requests as another path")]
    Equal,
    #[error("it does not begin with `/`")]
    NotAbsolute,
}

impl PathTree {
    /// Adds a template; gives the names of its parameters.
    pub(super) fn add(&mut self, template: &str, index: u32) -> Result<Vec<String>, TemplateFault> {
        let rest = template
            .strip_prefix('/')
            .ok_or(TemplateFault::NotAbsolute)?;
        let mut names = Vec::new();
        let mut node = &mut self.root;
        for segment in rest.split('/') {
            let pattern = Pattern::parse(segment, &mut names)?;
            node = match pattern {
                None => node.literals.entry(decoded(segment).into()).or_default(),
                Some(pattern) => node.pattern(pattern),
            };
        }
        match node.end.replace(index) {
            None => Ok(names),
            Some(_) => Err(TemplateFault::Equal),
        }
    }

    /// The path that a request has, with its parameters. `path` is in normal form.
    pub(super) fn find<'p>(&self, path: &'p str) -> Option<(u32, Captures<'p>)> {
        let mut captures = Captures::new();
        let rest = path.strip_prefix('/')?;
        let index = self.root.find(Some(rest), &mut captures)?;
        Some((index, captures))
    }
}

impl Node {
    fn pattern(&mut self, pattern: Pattern) -> &mut Node {
        let known = self
            .patterns
            .iter()
            .position(|(known, _)| *known == pattern);
        let index = known.unwrap_or_else(|| {
            let before = |known: &Pattern| known.text_bytes() >= pattern.text_bytes();
            let index = self
                .patterns
                .iter()
                .take_while(|(known, _)| before(known))
                .count();
            self.patterns.insert(index, (pattern, Node::default()));
            index
        });
        &mut self.patterns[index].1
    }

    fn find<'p>(&self, rest: Option<&'p str>, captures: &mut Captures<'p>) -> Option<u32> {
        let Some(rest) = rest else {
            return self.end;
        };
        let (segment, rest) = match rest.split_once('/') {
            Some((segment, rest)) => (segment, Some(rest)),
            None => (rest, None),
        };
        if let Some(node) = self.literals.get(&*decoded(segment))
            && let Some(found) = node.find(rest, captures)
        {
            return Some(found);
        }
        for (pattern, node) in &self.patterns {
            let before = captures.len();
            if pattern.take(segment, captures)
                && let Some(found) = node.find(rest, captures)
            {
                return Some(found);
            }
            captures.truncate(before);
        }
        None
    }
}

impl Pattern {
    /// `None` for a segment without parameters.
    fn parse(segment: &str, names: &mut Vec<String>) -> Result<Option<Pattern>, TemplateFault> {
        let mut texts: Vec<Box<str>> = Vec::new();
        let mut rest = segment;
        while let Some((text, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or(TemplateFault::Braces)?;
            if text.contains('}') || name.contains('{') || name.is_empty() {
                return Err(TemplateFault::Braces);
            }
            if text.is_empty() && !texts.is_empty() {
                return Err(TemplateFault::Adjacent);
            }
            texts.push(text.into());
            names.push(name.to_owned());
            rest = after;
        }
        if rest.contains('}') {
            return Err(TemplateFault::Braces);
        }
        if texts.is_empty() {
            return Ok(None);
        }
        texts.push(rest.into());
        Ok(Some(Pattern(texts.into())))
    }

    fn text_bytes(&self) -> usize {
        self.0.iter().map(|text| text.len()).sum()
    }

    /// Takes a segment apart; each parameter has at least one character, and ends where the text
    /// after it first stands.
    fn take<'p>(&self, segment: &'p str, captures: &mut Captures<'p>) -> bool {
        let [first, between @ .., last] = &*self.0 else {
            return false;
        };
        let Some(mut rest) = segment.strip_prefix(&**first) else {
            return false;
        };
        for text in between {
            let after_one = rest.char_indices().nth(1).map(|(at, _)| at);
            let found = after_one.and_then(|from| Some(from + rest.get(from..)?.find(&**text)?));
            let Some(at) = found else { return false };
            captures.push(&rest[..at]);
            rest = &rest[at + text.len()..];
        }
        match rest.strip_suffix(&**last) {
            Some(value) if !value.is_empty() => {
                captures.push(value);
                true
            }
            _ => false,
        }
    }
}

/// A segment without escapes, for comparing.
fn decoded(segment: &str) -> Cow<'_, str> {
    match segment.contains('%') {
        true => percent_decode_str(segment).decode_utf8_lossy(),
        false => Cow::Borrowed(segment),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn tree(templates: &[&str]) -> PathTree {
        let mut tree = PathTree::default();
        for (index, template) in (0..).zip(templates) {
            tree.add(template, index).unwrap();
        }
        tree
    }

    #[test]
    fn what_is_written_goes_before_parameters_and_hides_nothing() {
        let templates = [
            "/",
            "/pets",
            "/pets/",
            "/pets/{id}",
            "/pets/mine",
            "/pets/{id}/toys",
            "/files/{name}.{ending}",
            "/files/{name}",
            "/files/report-{year}.csv",
            "/{a}/{b}/{c}",
            "/a b/ä",
            "/range/{from}-{to}",
        ];
        let tree = tree(&templates);
        let table: &[(&str, Option<&str>, &[&str])] = &[
            ("/", Some("/"), &[]),
            ("/pets", Some("/pets"), &[]),
            ("/pets/", Some("/pets/"), &[]),
            ("/pets/7", Some("/pets/{id}"), &["7"]),
            ("/pets/mine", Some("/pets/mine"), &[]),
            ("/pets/mine/toys", Some("/pets/{id}/toys"), &["mine"]),
            ("/pets/mine/x", Some("/{a}/{b}/{c}"), &["pets", "mine", "x"]),
            ("/pets/7/", None, &[]),
            ("/files/x", Some("/files/{name}"), &["x"]),
            (
                "/files/x.y.z",
                Some("/files/{name}.{ending}"),
                &["x", "y.z"],
            ),
            ("/files/.x", Some("/files/{name}"), &[".x"]),
            (
                "/files/report-2026.csv",
                Some("/files/report-{year}.csv"),
                &["2026"],
            ),
            ("/a%20b/%C3%A4", Some("/a b/ä"), &[]),
            ("/range/1-2", Some("/range/{from}-{to}"), &["1", "2"]),
            ("/range/1-", None, &[]),
            ("/nothing", None, &[]),
        ];
        for (path, template, captures) in table {
            let found = tree.find(path);
            let (index, got) = found.map_or((None, Captures::new()), |(index, got)| {
                (Some(templates[index as usize]), got)
            });
            assert_eq!((index, &*got), (*template, *captures), "{path}");
        }
    }

    #[test]
    fn templates_that_say_nothing_clear_are_refused() {
        let mut known = tree(&["/a/{b}", "/a/{b}/c"]);
        assert_eq!(known.add("/a/{c}", 9), Err(TemplateFault::Equal));
        assert_eq!(known.add("/a/{b}{c}", 9), Err(TemplateFault::Adjacent));
        for bad in ["/{", "/}", "/{}", "/{a{b}}", "/a}{b}"] {
            assert_eq!(known.add(bad, 9), Err(TemplateFault::Braces), "{bad}");
        }
        assert_eq!(known.add("a", 9), Err(TemplateFault::NotAbsolute));
        assert_eq!(known.add("/x/{b}-{c}", 9).unwrap(), ["b", "c"]);
    }
}
