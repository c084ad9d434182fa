//! What every source file looks like: a module comment first, no more than 600 lines without its
//! tests, no line past 100 columns, nothing that only holds on one machine.

use std::path::{Path, PathBuf};

/// Most lines of a source file before its tests.
const FILE_LINES_MAX: usize = 600;
/// Widest line, characters; strings, links, tables and text with YAML in it are let through.
const COLUMNS_MAX: usize = 100;

/// Every place where a source file below `root` breaks the rules.
///
/// # Errors
/// A file or directory that cannot be read.
pub fn violations(root: &Path) -> std::io::Result<Vec<String>> {
    let mut found = Vec::new();
    let mut files = Vec::new();
    collect(root, &mut files)?;
    files.sort();
    for path in files {
        let text = std::fs::read_to_string(&path)?;
        let shown = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .display()
            .to_string();
        check_file(&shown, &text, &mut found);
    }
    Ok(found)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if !name.starts_with('.') && name != "target" && name != "node_modules" {
                collect(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

fn check_file(shown: &str, text: &str, found: &mut Vec<String>) {
    if !text.starts_with("//!") && !text.starts_with("#![no_main]") {
        found.push(format!(
            "{shown}: must begin with a //! comment that says what it is for"
        ));
    }
    if shown.ends_with("mod.rs") {
        found.push(format!(
            "{shown}: name the file for what it holds, foo.rs beside foo/"
        ));
    }
    let code = text
        .lines()
        .take_while(|line| *line != "#[cfg(test)]")
        .count();
    let is_test = shown.contains("/tests/") || shown.ends_with("tests.rs");
    if code > FILE_LINES_MAX && !is_test {
        found.push(format!("{shown}: {code} lines; does it hold two ideas?"));
    }
    for (index, line) in text.lines().enumerate() {
        let at = index + 1;
        let excused = ["\"", "://", "//! |", "{{"]
            .iter()
            .any(|mark| line.contains(mark));
        if line.chars().count() > COLUMNS_MAX && !excused {
            found.push(format!("{shown}:{at}: past {COLUMNS_MAX} columns"));
        }
        if line.contains("todo!(") && !shown.starts_with("xtask/") {
            found.push(format!("{shown}:{at}: unfinished"));
        }
    }
}
