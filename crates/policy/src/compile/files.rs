//! Files that a document names, as far as a compilation needs what is in them. Policy itself opens
//! none: whoever compiles says what there is.

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

/// Gives texts of files.
pub trait Files: Debug + Sync {
    /// The text of a file, at most `bytes_max` of it.
    fn text(&self, path: &Path, bytes_max: usize) -> FileText;
}

/// What came of asking for a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FileText {
    /// It is not here, and nobody says that it should be: it lies at the proxies.
    Elsewhere,
    /// Its text.
    Text(Arc<str>),
    /// It cannot be read; why, in the words of the system.
    Unreadable(String),
}

/// No file is at hand: those of a document lie at the proxies that run it.
#[derive(Debug, Clone, Copy)]
pub struct Elsewhere;

impl Files for Elsewhere {
    fn text(&self, _path: &Path, _bytes_max: usize) -> FileText {
        FileText::Elsewhere
    }
}
