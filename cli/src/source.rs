//! Texts that a user names on the command line: a file, or `-` for standard input.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use thiserror::Error;

/// A text and the name it is shown by.
#[derive(Debug)]
pub(crate) struct Source {
    /// The file as it was named; `<stdin>` for `-`.
    pub(crate) name: String,
    /// Its text.
    pub(crate) text: String,
}

/// Why a text cannot be read.
#[derive(Debug, Error)]
pub(crate) enum SourceError {
    /// It is no text.
    #[error("{name} is not UTF-8 text: byte {at} does not belong to a character")]
    NotText {
        /// The file.
        name: String,
        /// How far it is text.
        at: usize,
    },
    /// The system does not give it.
    #[error("cannot read {name}: {source}")]
    Read {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl Source {
    /// Reads a file, or standard input for `-`; at most one byte more than `bytes_max`, so that
    /// whoever reads the text sees that it is too large.
    pub(crate) fn read(path: &str, bytes_max: usize) -> Result<Self, SourceError> {
        let name = if path == "-" {
            "<stdin>".to_owned()
        } else {
            path.to_owned()
        };
        let limit = bytes_max as u64 + 1;
        let mut bytes = Vec::new();
        let read = if path == "-" {
            io::stdin().lock().take(limit).read_to_end(&mut bytes)
        } else {
            let file = File::open(PathBuf::from(path));
            file.and_then(|file| file.take(limit).read_to_end(&mut bytes))
        };
        if let Err(source) = read {
            return Err(SourceError::Read { name, source });
        }
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Self { name, text }),
            Err(error) => Err(SourceError::NotText {
                name,
                at: error.utf8_error().valid_up_to(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::io::Write;

    use super::{Source, SourceError};

    #[test]
    fn files_are_read_up_to_the_bound() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"0123456789").unwrap();
        let path = file.path().to_str().unwrap().to_owned();
        let path = path.as_str();
        assert_eq!(Source::read(path, 100).unwrap().text, "0123456789");
        assert_eq!(Source::read(path, 4).unwrap().text, "01234");
        file.write_all(b"\xff").unwrap();
        let error = Source::read(path, 100).unwrap_err();
        assert!(
            matches!(error, SourceError::NotText { at: 10, .. }),
            "{error}"
        );
        assert!(matches!(
            Source::read("/no/such", 1),
            Err(SourceError::Read { .. })
        ));
    }
}
