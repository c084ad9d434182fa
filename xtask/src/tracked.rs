//! What every file in git looks like, source or not: no marks of a merge that was not finished, and
//! shell scripts that a shell can read.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;

/// Every tracked file below `root` that breaks the rules. Links, and what is no text, are passed
/// over.
///
/// # Errors
/// `git` or `bash` cannot be started, or a file cannot be read.
pub fn violations(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for name in names(root)? {
        let path = root.join(&name);
        // Tracked, and gone since.
        let Ok(kind) = fs::symlink_metadata(&path) else {
            continue;
        };
        if !kind.is_file() {
            continue;
        }
        let Ok(text) = String::from_utf8(fs::read(&path)?) else {
            continue;
        };
        found.extend(merge_marks(&text).map(|line| format!("{name}:{line}: unfinished merge")));
        if is_script(&name, &text)
            && let Some(said) = fault_of_script(&path)?
        {
            found.push(format!("{name}: bash -n: {said}"));
        }
    }
    Ok(found)
}

/// The names of all files in git, relative to `root`.
fn names(root: &Path) -> io::Result<Vec<String>> {
    let listed = Command::new("git")
        .args(["ls-files", "-z"])
        .current_dir(root)
        .output()?;
    if !listed.status.success() {
        let said = String::from_utf8_lossy(&listed.stderr).into_owned();
        return Err(io::Error::other(said));
    }
    let names = String::from_utf8_lossy(&listed.stdout).into_owned();
    let names = names.split('\0').filter(|name| !name.is_empty());
    Ok(names.map(str::to_owned).collect())
}

/// Numbers of the lines that git writes where it could not merge.
fn merge_marks(text: &str) -> impl Iterator<Item = usize> {
    let marked = |line: &str| {
        let of_side = ['<', '|', '>'].into_iter().any(|side| {
            let rest = line.trim_start_matches(side);
            line.len() == rest.len() + 7 && (rest.is_empty() || rest.starts_with(' '))
        });
        of_side || line == "======="
    };
    let lines = text.lines().enumerate();
    lines.filter_map(move |(at, line)| marked(line).then_some(at + 1))
}

fn is_script(name: &str, text: &str) -> bool {
    let first = text.lines().next().unwrap_or_default();
    name.ends_with(".sh") || first.starts_with("#!") && first.ends_with("sh")
}

/// What the shell says of a script that it cannot read; it runs nothing of it.
fn fault_of_script(path: &Path) -> io::Result<Option<String>> {
    let read = Command::new("bash").arg("-n").arg(path).output()?;
    let said = String::from_utf8_lossy(&read.stderr).trim().to_owned();
    // Warnings, as of a here-document without its end, do not fail it.
    Ok((!read.status.success() || !said.is_empty()).then_some(said))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_merges_are_found_at_the_start_of_lines_only() {
        let mark = |side: &str| side.repeat(7);
        let text = format!(
            "{} main\na\n{} base\n{}\nb\n{}\n{}= heading\n {}\n{}",
            mark("<"),
            mark("|"),
            mark("="),
            mark(">"),
            mark("="),
            mark("<"),
            "<".repeat(8)
        );
        assert_eq!(merge_marks(&text).collect::<Vec<_>>(), [1, 3, 4, 6]);
    }

    #[test]
    fn scripts_are_known_by_name_or_first_line() {
        assert!(is_script("a.sh", "echo"));
        assert!(is_script("a", "#!/usr/bin/env bash\n"));
        assert!(is_script("a", "#!/bin/sh\n"));
        assert!(!is_script("a", "#!/usr/bin/env python3\n"));
        assert!(!is_script("a.md", "sh"));
    }

    #[test]
    fn a_script_with_a_fault_is_told_from_one_without() -> io::Result<()> {
        let directory = std::env::temp_dir().join(format!("weir-xtask-{}", std::process::id()));
        fs::create_dir_all(&directory)?;
        let path = directory.join("a.sh");
        let mut faults = Vec::new();
        for text in [
            "if true; then echo; fi\n",
            "if true; then\n",
            "cat <<A\nb\n",
        ] {
            fs::write(&path, text)?;
            faults.push(fault_of_script(&path)?.is_some());
        }
        fs::remove_dir_all(&directory)?;
        assert_eq!(faults, [false, true, true]);
        Ok(())
    }
}
