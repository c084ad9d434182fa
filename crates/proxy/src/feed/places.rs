//! Where a file can change what it says: in its own directory, and in every directory with a link
//! on the way to it. A directory further up that is renamed says so to nobody: that is not noticed.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{self, FsType};

/// The directories to watch for changes of some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Places {
    pub(super) directories: BTreeSet<PathBuf>,
    /// Whether watching them tells of every change. Not so where a file is missing, since it may
    /// come by another way, nor on file systems of other machines.
    pub(super) tell_all: bool,
}

impl Places {
    pub(super) fn of(files: &[PathBuf]) -> Self {
        let mut directories = BTreeSet::new();
        let mut tell_all = true;
        for file in files {
            if add(file, &mut directories).is_err() {
                tell_all = false;
                // What can be told of it all the same.
                directories.insert(parent(file).to_owned());
            }
        }
        tell_all &= directories.iter().all(|directory| is_local(directory));
        Self {
            directories,
            tell_all,
        }
    }
}

/// Follows a path, link by link.
fn add(file: &Path, directories: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    let mut left = parts(&std::path::absolute(file)?);
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    while let Some(part) = left.pop_front() {
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        if !next.symlink_metadata()?.is_symlink() {
            at = next;
            continue;
        }
        links += 1;
        if links > LINKS_MAX {
            return Err(nix::Error::ELOOP.into());
        }
        let target = next.read_link()?;
        directories.insert(at.clone());
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        let mut inside = parts(&target);
        inside.append(&mut left);
        left = inside;
    }
    directories.insert(parent(&at).to_owned());
    Ok(())
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

/// The directory that a file is in.
fn parent(file: &Path) -> &Path {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Whether the kernel knows of every change in a directory.
fn is_local(directory: &Path) -> bool {
    statfs::statfs(directory).is_ok_and(|found| LOCAL.contains(&found.filesystem_type()))
}

/// Others may be changed by other machines.
const LOCAL: [FsType; 7] = [
    statfs::BTRFS_SUPER_MAGIC,
    statfs::EXT4_SUPER_MAGIC,
    statfs::F2FS_SUPER_MAGIC,
    statfs::OVERLAYFS_SUPER_MAGIC,
    statfs::TMPFS_MAGIC,
    statfs::XFS_SUPER_MAGIC,
    // ZFS.
    FsType(0x2fc1_2fc1),
];
/// As many as Linux follows.
const LINKS_MAX: usize = 40;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(places: &Places, root: &Path) -> Vec<String> {
        let names = places.directories.iter().map(|directory| {
            let name = directory.strip_prefix(root).unwrap();
            name.display().to_string()
        });
        names.collect()
    }

    #[test]
    fn every_directory_with_a_link_counts_and_the_last() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        for directory in ["map/..1", "releases/7"] {
            fs::create_dir_all(root.join(directory)).unwrap();
            fs::write(root.join(directory).join("weir.yaml"), "").unwrap();
        }
        let of = |file: &str| Places::of(&[root.join(file)]);
        assert_eq!(names(&of("releases/7/weir.yaml"), &root), ["releases/7"]);

        // As Kubernetes mounts a config map.
        symlink("..1", root.join("map/..data")).unwrap();
        symlink("..data/weir.yaml", root.join("map/weir.yaml")).unwrap();
        assert_eq!(names(&of("map/weir.yaml"), &root), ["map", "map/..1"]);

        // As some deploy releases.
        symlink(root.join("releases/7"), root.join("current")).unwrap();
        let places = of("current/../7/weir.yaml");
        assert_eq!(names(&places, &root), ["", "releases/7"]);
    }

    #[test]
    fn what_is_missing_or_runs_in_circles_is_not_told_of() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        for file in ["missing.yaml", "a"] {
            let places = Places::of(&[root.join(file)]);
            assert!(!places.tell_all, "{file}");
            assert_eq!(names(&places, &root), [""], "{file}");
        }
    }

    #[test]
    fn file_systems_without_news_are_polled() {
        assert!(!is_local(Path::new("/proc")));
        assert!(!is_local(Path::new("/does/not/exist")));
    }
}
