//! Real files in real directories.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::time::Instant;

use tempfile::TempDir;

use super::*;

const DEADLINE: Duration = Duration::from_secs(5);

/// Sooner than a poll would find it.
async fn changed(changes: &mut FileChanges) {
    const { assert!(DEADLINE.as_millis() < POLL.as_millis()) };
    timeout(DEADLINE, changes.changed()).await.unwrap();
}

async fn nothing_changed(changes: &mut FileChanges) {
    assert!(timeout(QUIET * 3, changes.changed()).await.is_err());
}

/// A directory with one file in it, which is watched.
fn one_file() -> (TempDir, PathBuf, FileChanges) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("weir.yaml");
    fs::write(&file, "1").unwrap();
    let changes = FileChanges::of(vec![file.clone()]);
    assert!(changes.places.tell_all, "no poll");
    (directory, file, changes)
}

/// Lets `act` run in a thread while changes are waited for; there must be none. Says how often the
/// files were looked at, how often the queue was read, and how often it may have been at most.
async fn beside(changes: &mut FileChanges, act: impl FnOnce() + Send + 'static) -> [u64; 3] {
    let wake_ups = |changes: &FileChanges| changes.events.as_ref().unwrap().wake_ups;
    let (looks_before, wake_ups_before) = (changes.looks, wake_ups(changes));
    let began = Instant::now();
    let acting = tokio::task::spawn_blocking(act);
    tokio::select! {
        () = changes.changed() => panic!("nothing changed"),
        acted = acting => acted.unwrap(),
    }
    nothing_changed(changes).await;
    let pauses = began.elapsed().as_millis() / PAUSE.as_millis();
    [
        changes.looks - looks_before,
        wake_ups(changes) - wake_ups_before,
        u64::try_from(pauses).unwrap() + 1,
    ]
}

#[tokio::test]
async fn writing_replacing_and_appearing_are_changes_and_reading_is_none() {
    let directory = tempfile::tempdir().unwrap();
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    fs::write(&one, "1").unwrap();
    let mut changes = FileChanges::of(vec![one.clone(), two.clone()]);
    fs::read(&one).unwrap();
    fs::write(directory.path().join("other"), "x").unwrap();
    nothing_changed(&mut changes).await;

    fs::write(&one, "11").unwrap();
    changed(&mut changes).await;
    let beside = directory.path().join("beside");
    fs::write(&beside, "22").unwrap();
    fs::rename(&beside, &one).unwrap();
    changed(&mut changes).await;
    fs::write(&two, "").unwrap();
    changed(&mut changes).await;
    assert!(changes.places.tell_all, "nothing is missing: no poll");
    fs::remove_file(&two).unwrap();
    changed(&mut changes).await;
    assert!(!changes.places.tell_all, "what is missing is polled");
    fs::hard_link(&one, &two).unwrap();
    changed(&mut changes).await;
    assert!(changes.places.tell_all, "nothing is missing: no poll");
}

#[tokio::test]
async fn a_log_that_is_kept_open_beside_the_file_wakes_nobody() {
    let (directory, file, mut changes) = one_file();
    let log = directory.path().join("access.log");
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(log)
        .unwrap();
    nothing_changed(&mut changes).await;
    let [looks, wake_ups, _] = beside(&mut changes, move || {
        for _ in 0..1_000 {
            writeln!(log, "GET / 200").unwrap();
        }
        log.sync_all().unwrap();
        // Nor does what is read, and closed after that; nor what is no content.
        for _ in 0..1_000 {
            fs::read(&file).unwrap();
        }
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        // What becomes of the log is closing, but not ours.
        std::mem::forget(log);
    })
    .await;
    assert_eq!([looks, wake_ups], [0, 0]);
    fs::write(directory.path().join("weir.yaml"), "2").unwrap();
    changed(&mut changes).await;
}

#[tokio::test]
async fn other_files_are_no_reason_to_look_and_are_heard_of_together() {
    let (directory, file, mut changes) = one_file();
    let neighbour = directory.path().join("neighbour");
    let [looks, wake_ups, wake_ups_max] = beside(&mut changes, move || {
        for number in 0..1_000 {
            fs::write(&neighbour, number.to_string()).unwrap();
            fs::rename(&neighbour, neighbour.with_extension("old")).unwrap();
        }
    })
    .await;
    assert_eq!(looks, 0);
    assert!(
        wake_ups > 0 && wake_ups <= wake_ups_max,
        "{wake_ups} of {wake_ups_max}"
    );
    fs::write(&file, "2").unwrap();
    changed(&mut changes).await;
}

#[tokio::test]
async fn a_file_written_in_place_has_changed_when_it_is_closed() {
    let (_directory, file, mut changes) = one_file();
    let mut open = File::create(&file).unwrap();
    for piece in ["listeners:\n", "  web: { bind: \"127.0.0.1:0\" }\n"] {
        open.write_all(piece.as_bytes()).unwrap();
        nothing_changed(&mut changes).await;
    }
    drop(open);
    changed(&mut changes).await;
    nothing_changed(&mut changes).await;
}

#[tokio::test]
async fn a_file_is_removed_and_made_anew() {
    let (directory, file, mut changes) = one_file();
    fs::remove_file(&file).unwrap();
    changed(&mut changes).await;
    fs::write(&file, "1").unwrap();
    changed(&mut changes).await;
    assert!(changes.places.tell_all, "no poll");

    // With its directory, and that with the one above it.
    let deep = directory.path().join("a/b");
    fs::create_dir_all(&deep).unwrap();
    let file = deep.join("weir.yaml");
    fs::write(&file, "1").unwrap();
    let mut changes = FileChanges::of(vec![file.clone()]);
    fs::remove_dir_all(directory.path().join("a")).unwrap();
    changed(&mut changes).await;
    // One after the other, each with time to be noticed: none of them is found by a poll.
    fs::create_dir(directory.path().join("a")).unwrap();
    nothing_changed(&mut changes).await;
    fs::create_dir(&deep).unwrap();
    nothing_changed(&mut changes).await;
    fs::write(&file, "1").unwrap();
    changed(&mut changes).await;
    assert!(changes.places.tell_all, "no poll");
}

#[tokio::test]
async fn a_directory_is_replaced() {
    let root = tempfile::tempdir().unwrap();
    let of = |name: &str| root.path().join(name);
    for name in ["now", "next"] {
        fs::create_dir(of(name)).unwrap();
        fs::write(of(name).join("weir.yaml"), name).unwrap();
    }
    let mut changes = FileChanges::of(vec![of("now/weir.yaml")]);
    fs::rename(of("now"), of("old")).unwrap();
    changed(&mut changes).await;
    fs::rename(of("next"), of("now")).unwrap();
    changed(&mut changes).await;
    fs::write(of("old/weir.yaml"), "of nobody").unwrap();
    nothing_changed(&mut changes).await;
    fs::write(of("now/weir.yaml"), "another").unwrap();
    changed(&mut changes).await;
}

#[tokio::test]
async fn a_config_map_is_swapped() {
    let root = tempfile::tempdir().unwrap();
    let of = |name: &str| root.path().join(name);
    let publish = |version: &str| {
        fs::create_dir(of(version)).unwrap();
        for file in ["tls.crt", "tls.key"] {
            fs::write(of(version).join(file), version).unwrap();
        }
        symlink(version, of("..data_tmp")).unwrap();
        fs::rename(of("..data_tmp"), of("..data")).unwrap();
    };
    publish("..1");
    for file in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{file}"), of(file)).unwrap();
    }
    let mut changes = FileChanges::of(vec![of("tls.crt"), of("tls.key")]);
    for (before, version) in [("..1", "..2"), ("..2", "..3")] {
        publish(version);
        fs::remove_dir_all(of(before)).unwrap();
        changed(&mut changes).await;
        // One change, with both files.
        nothing_changed(&mut changes).await;
        assert!(changes.places.tell_all, "no poll");
    }
}

#[tokio::test]
async fn links_that_lead_elsewhere_are_followed() {
    let root = tempfile::tempdir().unwrap();
    let of = |name: &str| root.path().join(name);
    for release in ["1", "2"] {
        fs::create_dir(of(release)).unwrap();
        fs::write(of(release).join("weir.yaml"), release).unwrap();
    }
    let point_to = |release: &str| {
        symlink(release, of("next")).unwrap();
        fs::rename(of("next"), of("current")).unwrap();
    };
    point_to("1");
    let mut changes = FileChanges::of(vec![of("current/weir.yaml")]);
    assert!(changes.places.tell_all, "no poll");
    point_to("2");
    changed(&mut changes).await;
    // Where it leads now is watched, where it led before is not any more.
    fs::write(of("1/weir.yaml"), "another").unwrap();
    nothing_changed(&mut changes).await;
    fs::write(of("2/weir.yaml"), "another").unwrap();
    changed(&mut changes).await;
    // A directory in the place of another.
    fs::rename(of("2"), of("old")).unwrap();
    fs::rename(of("1"), of("2")).unwrap();
    changed(&mut changes).await;
    fs::write(of("2/weir.yaml"), "the last one").unwrap();
    changed(&mut changes).await;
}

#[tokio::test]
async fn a_change_that_nobody_waited_for_to_the_end_is_not_lost() {
    let (_directory, file, mut changes) = one_file();
    fs::write(&file, "22").unwrap();
    // Told already, and not yet quiet.
    assert!(timeout(QUIET / 2, changes.changed()).await.is_err());
    assert!(changes.is_told);
    changed(&mut changes).await;
    nothing_changed(&mut changes).await;
}

#[tokio::test]
async fn lost_events_are_a_reason_to_look() {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    if queue > 100_000 {
        eprintln!("not tested: a queue of {queue} events takes long to fill");
        return;
    }
    let (directory, file, mut changes) = one_file();
    // Two names in turn: the same event twice in a row counts once.
    let neighbours = ["a", "b"].map(|name| directory.path().join(name));
    for neighbour in neighbours.iter().cycle().take(queue + 1) {
        File::create(neighbour).unwrap();
    }
    fs::write(&file, "22").unwrap();
    changed(&mut changes).await;
    // Heard again.
    fs::write(&file, "333").unwrap();
    changed(&mut changes).await;
}
