//! Counting instructions: a case runs in a process of its own below callgrind, which collects
//! only inside of [`counted_rounds`].
//!
//! What is counted does not depend on load, clock or the speed of the machine. It depends on the
//! compiler, and on what the processor offers: libraries choose among several implementations when
//! they start. valgrind shows programs a processor of its own, which knows AVX2 where the real one
//! does and nothing newer; glibc is told which of its implementations to use ([`TUNABLES`]).

use std::path::Path;
use std::process::Command;

use crate::allocations;
use crate::cases::{self, Case};

/// What one operation takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counts {
    /// Instructions in user space.
    pub instructions: f64,
    /// Allocations.
    pub allocations: f64,
    /// Bytes that they ask for.
    pub bytes: f64,
}

/// Most operations before the first that is counted: tables have grown, lazy values are made, and
/// every request of a case was there once.
const WARM_UP: u32 = 64;

/// Makes glibc choose the implementations that every x86-64 processor has.
const TUNABLES: &str = "glibc.cpu.hwcaps=-AVX2,-AVX,-AVX512F,-AVX512VL,-AVX512BW,-ERMS,-FSRM,\
    -BMI1,-BMI2,-LZCNT,-MOVBE,-RTM,-SSE4_1,-SSE4_2,-SSSE3";

/// Runs the operation so often. Its own name is how callgrind knows what to collect.
#[inline(never)]
pub fn counted_rounds(rounds: u32, work: &mut dyn FnMut()) {
    for _ in 0..rounds {
        work();
    }
}

/// What the process that is counted does: sets a case up, runs it, prints what it allocated.
///
/// # Errors
/// There is no case of this name.
pub fn run(name: &str) -> Result<(), String> {
    let case = cases::named(name).ok_or_else(|| format!("there is no case {name:?}"))?;
    let mut work = (case.make)();
    (0..WARM_UP.min(case.rounds)).for_each(|_| work());
    let before = allocations::so_far();
    counted_rounds(case.rounds, &mut *work);
    let after = allocations::so_far();
    println!(
        "{} {}",
        after.times - before.times,
        after.bytes - before.bytes
    );
    Ok(())
}

/// Counts a case; `program` is one whose `main` calls [`run`] and that has
/// [`allocations::Counting`] for its allocator.
///
/// # Errors
/// valgrind is missing, or the program failed.
pub fn count(program: &Path, case: &Case, directory: &Path) -> Result<Counts, String> {
    let out = directory.join(format!("callgrind.{}", case.name));
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg("--toggle-collect=*counted_rounds*")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["run", case.name])
        .env("GLIBC_TUNABLES", TUNABLES)
        .output()
        .map_err(|error| format!("valgrind cannot be started ({error}): make test-deps"))?;
    let said = String::from_utf8_lossy(&ran.stdout);
    if !ran.status.success() {
        let why = String::from_utf8_lossy(&ran.stderr);
        return Err(format!("{}: {}: {why}", case.name, ran.status));
    }
    let profile = std::fs::read_to_string(&out).map_err(|error| error.to_string())?;
    let total = profile
        .lines()
        .find_map(|line| line.strip_prefix("totals: "));
    let total: f64 = total
        .and_then(|total| total.trim().parse().ok())
        .ok_or("callgrind wrote no totals")?;
    let mut allocated = said.split_whitespace().map(str::parse::<f64>);
    let mut next = || match allocated.next() {
        Some(Ok(number)) => Ok(number / f64::from(case.rounds)),
        _ => Err(format!("{}: printed {said:?}", case.name)),
    };
    Ok(Counts {
        instructions: total / f64::from(case.rounds),
        allocations: next()?,
        bytes: next()?,
    })
}
