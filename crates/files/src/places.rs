//! Where a file can change what it says: in its own directory, and in every directory with a link
//! on the way to it; where something on the way is missing, in the directory that it is missing in.
//! A directory further up that is renamed says so to nobody: that is not noticed.

use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsString;
use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Component, Path, PathBuf};

use nix::sys::statfs::{self, FsType};

use crate::events::Names;

/// The names to watch for changes of some files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Places {
    /// The directories to watch, and the names in them that the files are reached by.
    pub(crate) names: Names,
    /// Whether watching them tells of every change. Not so where a file is missing, since it may
    /// come by another way, nor on file systems of other machines, nor where the file alone is
    /// mounted (a volume of a container that is one file): what is done to it where it comes from
    /// is not done in this directory.
    pub(crate) tell_all: bool,
}

impl Places {
    pub(crate) fn of(files: &[PathBuf]) -> Self {
        let mut way = Way::default();
        let mut tell_all = true;
        for file in files {
            tell_all &= way.walk(file).is_ok();
        }
        let Way {
            mut names,
            watched,
            mounted,
        } = way;
        names.retain(|directory, _| watched.contains(directory));
        tell_all &= !mounted && watched.iter().all(|directory| is_local(directory));
        Self { names, tell_all }
    }
}

/// Where paths lead through.
#[derive(Debug, Default)]
struct Way {
    names: Names,
    /// The directories where a path can turn: with a link, with the file, or where something is
    /// missing.
    watched: BTreeSet<PathBuf>,
    /// Whether a file is of another file system than its directory.
    mounted: bool,
}

impl Way {
    /// Follows a path, link by link.
    fn walk(&mut self, file: &Path) -> io::Result<()> {
        let mut left = parts(&std::path::absolute(file)?);
        let (mut at, mut links) = (PathBuf::from("/"), 0);
        while let Some(part) = left.pop_front() {
            if part == ".." {
                at.pop();
                continue;
            }
            let next = at.join(&part);
            self.names.entry(at.clone()).or_default().insert(part);
            let found = next.symlink_metadata();
            if left.is_empty() || !found.as_ref().is_ok_and(Metadata::is_dir) {
                self.watched.insert(at.clone());
            }
            let found = found?;
            if !found.is_symlink() {
                self.mounted |= left.is_empty() && found.dev() != at.metadata()?.dev();
                at = next;
                continue;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(nix::Error::ELOOP.into());
            }
            let target = next.read_link()?;
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            let mut inside = parts(&target);
            inside.append(&mut left);
            left = inside;
        }
        Ok(())
    }
}

fn parts(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
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

    /// Directories below `root` and the names in them: `map: ..data, weir.yaml`.
    fn names(places: &Places, root: &Path) -> Vec<String> {
        let names = places.names.iter().map(|(directory, names)| {
            let directory = directory.strip_prefix(root).unwrap();
            let names: Vec<_> = names.iter().map(|name| name.to_str().unwrap()).collect();
            format!("{}: {}", directory.display(), names.join(", "))
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
        let places = of("releases/7/weir.yaml");
        assert_eq!(names(&places, &root), ["releases/7: weir.yaml"]);

        // As Kubernetes mounts a config map.
        symlink("..1", root.join("map/..data")).unwrap();
        symlink("..data/weir.yaml", root.join("map/weir.yaml")).unwrap();
        let expected = ["map: ..1, ..data, weir.yaml", "map/..1: weir.yaml"];
        assert_eq!(names(&of("map/weir.yaml"), &root), expected);

        // As some deploy releases.
        symlink(root.join("releases/7"), root.join("current")).unwrap();
        let places = of("current/../7/weir.yaml");
        // The directory of the link is watched: what else leads through it counts there too.
        let expected = [": current, releases", "releases/7: weir.yaml"];
        assert_eq!(names(&places, &root), expected);
    }

    #[test]
    fn what_is_missing_or_runs_in_circles_is_not_told_of() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        symlink("b", root.join("a")).unwrap();
        symlink("a", root.join("b")).unwrap();
        symlink("nowhere/weir.yaml", root.join("dangling")).unwrap();
        let cases = [
            ("missing.yaml", ": missing.yaml"),
            ("missing/weir.yaml", ": missing"),
            ("dangling", ": dangling, nowhere"),
            ("a", ": a, b"),
        ];
        for (file, expected) in cases {
            let places = Places::of(&[root.join(file)]);
            assert!(!places.tell_all, "{file}");
            assert_eq!(names(&places, &root), [expected], "{file}");
        }
        // What is missing takes nothing away from the others.
        fs::write(root.join("there"), "").unwrap();
        let places = Places::of(&[root.join("missing/weir.yaml"), root.join("there")]);
        assert_eq!(names(&places, &root), [": missing, there"]);
    }

    #[test]
    fn file_systems_without_news_are_polled() {
        assert!(!is_local(Path::new("/proc")));
        assert!(!is_local(Path::new("/does/not/exist")));
    }
}
