//! `weir-micro`: counts the instructions of cases, and accepts new counts.

#![allow(
    clippy::print_stderr,
    clippy::expect_used,
    reason = "a tool for people who work on Weir"
)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use weir_micro::allocations::Counting;
use weir_micro::baseline::{Baseline, Environment};
use weir_micro::callgrind;
use weir_micro::cases::CASES;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage: weir-micro run CASE      one case, as callgrind runs it
       weir-micro count [WORD]   count the cases with WORD in their names, beside the baseline
       weir-micro accept [WORD]  the same, and make the counts the baseline";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments[..] {
        ["run", case] => callgrind::run(case),
        ["count"] => count("", false),
        ["count", word] => count(word, false),
        ["accept"] => count("", true),
        ["accept", word] => count(word, true),
        _ => Err(USAGE.to_owned()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn count(word: &str, accept: bool) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let directory = profiles(&program)?;
    let path = Baseline::path();
    let mut baseline = Baseline::read(&path)?;
    let here = Environment::here();
    if baseline.environment != here {
        println!(
            "the baseline is of {}, this is {here}",
            baseline.environment
        );
        if accept && word.is_empty() {
            baseline = Baseline::empty(here);
        } else if accept {
            return Err("counts of two environments do not mix: accept all of them".to_owned());
        }
    }
    println!(
        "{:<26} {:>12} {:>12} {:>8} {:>8} {:>9}",
        "case", "instructions", "baseline", "", "allocs", "bytes"
    );
    for case in CASES {
        if !case.counted || !case.name.contains(word) {
            continue;
        }
        let counts = callgrind::count(&program, case, &directory)?;
        let before = baseline.of(case.name).map(|before| before.instructions);
        let change = before.map_or(String::new(), |before| {
            format!("{:+.2} %", (counts.instructions / before - 1.0) * 100.0)
        });
        println!(
            "{:<26} {:>12.1} {:>12.1} {:>8} {:>8.2} {:>9.1}",
            case.name,
            counts.instructions,
            before.unwrap_or_default(),
            change,
            counts.allocations,
            counts.bytes
        );
        baseline.set(case.name, counts);
    }
    if accept {
        baseline.forget_unknown();
        baseline.write(&path)?;
        println!("wrote {}", path.display());
    }
    Ok(())
}

/// Where callgrind writes: below the directory of the program, for whoever wants to look.
fn profiles(program: &Path) -> Result<PathBuf, String> {
    let directory = program.with_file_name("callgrind");
    std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
    Ok(directory)
}
