//! What is wrong with a document: always a list, each entry with its place and a remedy.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::bounds::ERRORS_MAX;
use crate::position::Position;

/// One thing that is wrong, its place, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConfigError {
    /// YAML path, for instance `routes[2].to[0].service`; empty for the document itself.
    pub path: String,
    /// Line and column.
    #[serde(flatten)]
    pub at: Position,
    /// What is wrong; names the value and the rule. Lowercase, no full stop.
    pub problem: String,
    /// What to write instead, where that can be said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: ", self.at)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.problem)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

/// Every error found in one document, in the order of their places. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(transparent)]
pub struct ConfigErrors(pub Vec<ConfigError>);

impl ConfigErrors {
    /// What several checks of one document found: each error once, in the order of places, and past
    /// [`ERRORS_MAX`] only counted, as the `uncollected` ones that nobody kept.
    pub fn collect(mut errors: Vec<ConfigError>, mut uncollected: usize) -> Self {
        let mut seen = HashSet::with_capacity(errors.len());
        errors.retain(|error| seen.insert(error.clone()));
        errors.sort_by_key(|error| error.at);
        uncollected += errors.len().saturating_sub(ERRORS_MAX);
        errors.truncate(ERRORS_MAX);
        if uncollected > 0 {
            errors.push(ConfigError {
                path: String::new(),
                at: Position::default(),
                problem: format!("{uncollected} more errors are not shown"),
                hint: None,
            });
        }
        ConfigErrors(errors)
    }

    /// The errors for a person: each as `file:line:column: path: problem`, the line of the text
    /// with a caret under the place, and the hint.
    pub fn render(&self, text: &str, file: &str) -> String {
        // Lines are looked up for every error; splitting once keeps many errors in a large text
        // linear.
        let lines: Vec<&str> = text.lines().collect();
        let mut out = String::new();
        for error in &self.0 {
            render_one(error, &lines, file, &mut out);
        }
        out
    }
}

fn render_one(error: &ConfigError, lines: &[&str], file: &str, out: &mut String) {
    out.push_str(file);
    if error.at.line > 0 {
        out.push_str(&format!(":{}", error.at));
    }
    if !error.path.is_empty() {
        out.push_str(&format!(": {}", error.path));
    }
    out.push_str(&format!(": {}\n", error.problem));

    let number = error.at.line.to_string();
    let gutter = " ".repeat(number.len());
    let line = (error.at.line as usize)
        .checked_sub(1)
        .and_then(|index| lines.get(index));
    if let Some(line) = line {
        let (shown, caret) = window(line, error.at.column.saturating_sub(1) as usize);
        out.push_str(&format!("  {number} | {shown}\n  {gutter} | {caret}^\n"));
    }
    if let Some(hint) = &error.hint {
        out.push_str(&format!("  {gutter} = hint: {hint}\n"));
    }
}

/// At most [`SHOWN_MAX`] characters of a line around a column, and the blanks before its caret.
/// Tabs stay tabs in the blanks, so that the caret stands under its character.
fn window(line: &str, column: usize) -> (String, String) {
    let from = if column < SHOWN_MAX - 20 {
        0
    } else {
        column - SHOWN_MAX / 2
    };
    let shown: String = line
        .chars()
        .skip(from)
        .take(SHOWN_MAX)
        .map(|c| if c.is_control() && c != '\t' { ' ' } else { c })
        .collect();
    let caret = shown
        .chars()
        .take(column - from)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    (shown, caret)
}

/// Most characters of a source line that are shown with an error.
const SHOWN_MAX: usize = 120;

impl std::fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
