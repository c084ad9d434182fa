//! Places in the YAML text: every decoded object remembers where it stood, so that errors and
//! explanations can name the line that decided.

use serde::{Deserialize, Serialize};

/// A place in the text, both counted from 1; `0:0` means "not written, a default".
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Position {
    /// Line, from 1.
    pub line: u32,
    /// Column in characters, from 1.
    pub column: u32,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A value and where it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Located<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: Position,
}

impl<T> std::ops::Deref for Located<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> Located<T> {
    /// A value that stands in no text: a default, or made by a program.
    pub fn unwritten(value: T) -> Self {
        Located {
            value,
            at: Position::default(),
        }
    }
}
