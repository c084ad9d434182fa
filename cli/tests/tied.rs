//! What `weir up` relies on: a program that was tied to its parent ends with it, even when the
//! parent is killed without a chance to do anything.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const WEIR: &str = env!("CARGO_BIN_EXE_weir");

#[test]
fn a_tied_program_ends_with_its_parent() {
    let script = format!("{WEIR} tied --parent $$ -- sleep 60 & echo $!; wait");
    let mut parent = Command::new("/bin/sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(parent.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let child: u32 = line.trim().parse().unwrap();
    let is_sleeping = || name(child).as_deref() == Some("sleep");
    eventually("it becomes the other program", is_sleeping);
    parent.kill().unwrap();
    parent.wait().unwrap();
    eventually("it ends", || name(child).is_none());
}

#[test]
fn a_program_whose_parent_is_gone_does_not_start() {
    let ran = Command::new(WEIR)
        .args(["tied", "--parent", "1", "--", "echo", "x"])
        .output();
    let ran = ran.unwrap();
    assert_eq!(ran.status.code(), Some(2));
    assert!(ran.stdout.is_empty());
}

/// The program of a process; none when it has ended, reaped or not.
fn name(pid: u32) -> Option<String> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(')')?;
    let name = before.split_once('(')?.1;
    (!after.trim_start().starts_with('Z')).then(|| name.to_owned())
}

fn eventually(what: &str, is_so: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !is_so() {
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
