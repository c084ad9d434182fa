//! Signals, in processes of their own because they go to all threads of one.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir_process::drain::{Drain, Phase};
use weir_process::exit::Exit;
use weir_process::signals;

const DEADLINE: Duration = Duration::from_secs(20);

#[test]
#[ignore = "not a test: the process that the others send signals to"]
fn target() {
    let drain = Drain::new();
    let (reloaded, reloads) = sync_channel(1);
    signals::spawn(
        drain.clone(),
        Some(Arc::new(move || reloaded.send(()).unwrap())),
    )
    .unwrap();
    println!("\nregistered");
    reloads.recv_timeout(DEADLINE).unwrap();
    println!("reloaded");
    let deadline = Instant::now() + DEADLINE;
    while drain.phase() == Phase::Serving && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(drain.phase(), Phase::Leaving);
    println!("leaving");
    // SIGTERM lets it end; after SIGINT only the second one does.
    if std::env::var_os("STAY").is_some() {
        std::thread::sleep(DEADLINE);
    }
    Exit::Fine.leave();
}

/// Starts the target, sends SIGHUP and then these signals, and returns its exit code.
fn exit_code_after(signals: &[Signal], stay: bool) -> Option<i32> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["target", "--exact", "--ignored", "--nocapture"])
        .stdout(Stdio::piped());
    if stay {
        command.env("STAY", "1");
    }
    let mut child = command.spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map(Result::unwrap);
    let mut wait_for = |word: &str| assert!(lines.any(|line| line == word), "no {word}");
    wait_for("registered");
    kill(pid, Signal::SIGHUP).unwrap();
    wait_for("reloaded");
    let (first, more) = signals.split_first().unwrap();
    kill(pid, *first).unwrap();
    wait_for("leaving");
    for signal in more {
        kill(pid, *signal).unwrap();
    }
    child.wait().unwrap().code()
}

#[test]
fn hangup_reloads_and_terminate_drains() {
    assert_eq!(exit_code_after(&[Signal::SIGTERM], false), Some(0));
}

#[test]
fn a_second_interrupt_ends_at_once() {
    let started = Instant::now();
    assert_eq!(
        exit_code_after(&[Signal::SIGINT, Signal::SIGINT], true),
        Some(1)
    );
    assert!(started.elapsed() < DEADLINE);
}
