//! Reading a tree: where the reader stands, what it found wrong, and which keys of a map it knows.
//!
//! A reader never stops at an error: it reports, gives `None`, and goes on with the next field, so
//! that one run shows every error of a document. What could be read is kept beside the errors; that
//! there is one is what makes a document invalid, in [`Decoder::finish`].

use std::collections::HashSet;

use crate::bounds::ERRORS_MAX;
use crate::error::{ConfigError, ConfigErrors};
use crate::position::{Located, Position};
use crate::yaml::{Node, Value, excerpt};

/// What is wrong with a value, before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) problem: String,
    pub(crate) hint: Option<String>,
}

impl Complaint {
    pub(crate) fn new(problem: impl Into<String>) -> Self {
        Complaint {
            problem: problem.into(),
            hint: None,
        }
    }

    /// The same hint with another problem.
    pub(crate) fn problem(mut self, problem: String) -> Self {
        self.problem = problem;
        self
    }

    /// The same hint and more behind it.
    pub(crate) fn and_hint(mut self, more: &str) -> Self {
        self.hint.get_or_insert_default().push_str(more);
        self
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// A YAML path, grown and cut while walking down and up.
#[derive(Debug, Clone, Default)]
pub(crate) struct Path {
    text: String,
    /// Where each part of the text ends.
    ends: Vec<usize>,
}

impl Path {
    pub(crate) fn push_key(&mut self, key: &str) {
        let plain = key
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
        if plain && !key.is_empty() {
            if !self.text.is_empty() {
                self.text.push('.');
            }
            self.text.push_str(key);
        } else {
            // A key with dots or spaces in it would read as several.
            self.text.push_str(&format!("[{:?}]", excerpt(key)));
        }
        self.ends.push(self.text.len());
    }

    pub(crate) fn push_index(&mut self, index: usize) {
        self.text.push_str(&format!("[{index}]"));
        self.ends.push(self.text.len());
    }

    fn pop(&mut self) {
        self.ends.pop();
        self.text.truncate(self.ends.last().copied().unwrap_or(0));
    }

    /// The path of the section or entry that it leads into: `routes[2]` of
    /// `routes[2].to[0].service`.
    fn entry(&self) -> &str {
        match self.ends.get(1) {
            Some(end) => &self.text[..*end],
            None => &self.text,
        }
    }

    pub(crate) fn into_text(self) -> String {
        self.text
    }
}

/// Collects errors while a tree is read.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    errors: Vec<ConfigError>,
    /// Errors past [`ERRORS_MAX`].
    dropped: usize,
    /// Paths of the sections and entries with an error in them.
    faulty: HashSet<String>,
    path: Path,
}

impl Decoder {
    /// Reports a complaint at the present path.
    pub(crate) fn report(&mut self, at: Position, complaint: Complaint) {
        self.report_at_path(self.path.clone(), at, complaint);
    }

    /// Reports a complaint at another path.
    pub(crate) fn report_at_path(&mut self, path: Path, at: Position, complaint: Complaint) {
        if !self.faulty.contains(path.entry()) {
            self.faulty.insert(path.entry().to_owned());
        }
        if self.errors.len() >= ERRORS_MAX {
            self.dropped += 1;
            return;
        }
        let Complaint { problem, hint } = complaint;
        self.errors.push(ConfigError {
            path: path.into_text(),
            at,
            problem,
            hint,
        });
    }

    /// How many errors there are so far.
    pub(crate) fn count(&self) -> usize {
        self.errors.len() + self.dropped
    }

    /// Reads what stands under a key.
    pub(crate) fn in_key<R>(&mut self, key: &str, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push_key(key);
        let result = read(self);
        self.path.pop();
        result
    }

    /// Reads an item of a list.
    pub(crate) fn in_item<R>(&mut self, index: usize, read: impl FnOnce(&mut Self) -> R) -> R {
        self.path.push_index(index);
        let result = read(self);
        self.path.pop();
        result
    }

    /// Reports that a value is of another type than `expected`.
    pub(crate) fn wrong_type<T>(&mut self, node: &Node, expected: &str) -> Option<T> {
        let complaint = if node.is_null() {
            Complaint::new(format!("no value; expected {expected}"))
                .hint("give it a value or remove the key")
        } else {
            Complaint::new(format!("expected {expected}, found {}", node.describe()))
        };
        self.report(node.at, complaint);
        None
    }

    /// The result: what was read, when nothing was wrong; otherwise every error.
    pub(crate) fn finish<T>(self, read: Option<T>) -> Result<T, Faulty<T>> {
        match read {
            Some(value) if self.errors.is_empty() => Ok(value),
            rest => Err(Faulty {
                rest,
                errors: self.errors,
                dropped: self.dropped,
                paths: self.faulty,
            }),
        }
    }
}

/// What was read although something was wrong, and what that was.
#[derive(Debug)]
pub(crate) struct Faulty<T> {
    pub(crate) rest: Option<T>,
    pub(crate) errors: Vec<ConfigError>,
    /// Errors past [`ERRORS_MAX`].
    pub(crate) dropped: usize,
    /// Paths of the sections and entries with an error in them.
    pub(crate) paths: HashSet<String>,
}

impl<T> From<Faulty<T>> for ConfigErrors {
    fn from(faulty: Faulty<T>) -> Self {
        ConfigErrors::collect(faulty.errors, faulty.dropped)
    }
}

/// The entries of a map while an object is read from it: which keys were asked for, and which of
/// the written ones were never asked for.
pub(crate) struct Fields<'node, 'decoder> {
    pub(crate) decoder: &'decoder mut Decoder,
    pub(crate) at: Position,
    entries: &'node [(Located<String>, Node)],
    taken: Vec<bool>,
    known: Vec<&'static str>,
}

impl<'node, 'decoder> Fields<'node, 'decoder> {
    /// Opens a map; anything else is reported as not being `expected`.
    pub(crate) fn open(
        node: &'node Node,
        decoder: &'decoder mut Decoder,
        expected: &str,
    ) -> Option<Self> {
        let Value::Map(entries) = &node.value else {
            return decoder.wrong_type(node, expected);
        };
        let taken = vec![false; entries.len()];
        Some(Fields {
            decoder,
            at: node.at,
            entries,
            taken,
            known: Vec::new(),
        })
    }

    /// What stands under a key of the language.
    pub(crate) fn take(&mut self, key: &'static str) -> Option<&'node Node> {
        self.known.push(key);
        let index = self
            .entries
            .iter()
            .position(|(written, _)| written.value == key)?;
        self.taken[index] = true;
        Some(&self.entries[index].1)
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn close(self) {
        for ((key, _), taken) in self.entries.iter().zip(&self.taken) {
            if *taken {
                continue;
            }
            let complaint = unknown("key", key, &self.known);
            self.decoder
                .in_key(key, |decoder| decoder.report(key.at, complaint));
        }
    }
}

/// An unknown word where only `known` ones may stand.
pub(crate) fn unknown(what: &str, written: &str, known: &[&str]) -> Complaint {
    let complaint = Complaint::new(format!("unknown {what} `{}`", excerpt(written)));
    if written == "<<" {
        return complaint.hint("merge keys are not YAML 1.2; write the keys themselves");
    }
    let list = known
        .iter()
        .map(|word| format!("`{word}`"))
        .collect::<Vec<_>>()
        .join(", ");
    match nearest(written, known) {
        Some(word) => complaint.hint(format!("did you mean `{word}`? known: {list}")),
        None => complaint.hint(format!("known: {list}")),
    }
}

/// The known word that a written one most likely stands for: near, nearer than any other, and with
/// the same digits, since `http3` is no misspelt `http2`.
fn nearest<'known>(written: &str, known: &[&'known str]) -> Option<&'known str> {
    // Distance costs length times length, and nobody mistypes a word of that size.
    if written.len() > 64 {
        return None;
    }
    let same = |text: &str| text.to_lowercase().replace('-', "_");
    let digits = |text: &str| {
        text.chars()
            .filter(char::is_ascii_digit)
            .collect::<String>()
    };
    let (folded, written_digits) = (same(written), digits(written));
    let mut near: Vec<(usize, &str)> = known
        .iter()
        .filter(|word| digits(word) == written_digits)
        .map(|word| (strsim::damerau_levenshtein(&folded, &same(word)), *word))
        .filter(|(distance, word)| *distance <= word.len().max(3) / 3)
        .collect();
    near.sort_by_key(|(distance, _)| *distance);
    match near.as_slice() {
        [(_, word)] => Some(word),
        [(first, word), (second, _), ..] if first < second => Some(word),
        _ => None,
    }
}
