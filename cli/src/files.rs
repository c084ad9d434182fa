//! Files that a document names, read where the command runs.

use std::io::{self, Read as _};
use std::path::Path;

use weir_policy::compile::{FileText, Files};

/// The files of this machine.
#[derive(Debug)]
pub(crate) struct LocalFiles;

impl Files for LocalFiles {
    fn text(&self, path: &Path, bytes_max: usize) -> FileText {
        match read(path, bytes_max) {
            Ok(text) => FileText::Text(text.into()),
            Err(error) => FileText::Unreadable(error.to_string()),
        }
    }
}

fn read(path: &Path, bytes_max: usize) -> io::Result<String> {
    let mut text = String::new();
    // One byte more, so that whoever reads the text sees that it is too large.
    let limit = bytes_max as u64 + 1;
    std::fs::File::open(path)?
        .take(limit)
        .read_to_string(&mut text)?;
    Ok(text)
}
