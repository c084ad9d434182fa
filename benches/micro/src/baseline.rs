//! The counts that are expected, and what may differ from them.
//!
//! `benches/micro/baseline.txt` has one line per case, and at its head the environment that the
//! counts are of. In the same environment a case may take 3 % more instructions and 5 % fewer; an
//! allocation more or less is always said. Fewer is a failure too, until it is accepted: a baseline
//! that lies high lets the next regression pass unseen. In another environment (another compiler,
//! another processor) only a quarter more is a failure: counts of two compilers differ by several
//! percent without anybody's doing.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use crate::callgrind::Counts;
use crate::cases;

/// How many percent more instructions are let through.
pub const MORE_PERCENT: f64 = 3.0;
/// How many percent fewer.
pub const FEWER_PERCENT: f64 = 5.0;
/// How many percent more in another environment than that of the baseline.
pub const ELSEWHERE_PERCENT: f64 = 25.0;
/// How many allocations more or fewer: what a hash table with random keys does differently.
pub const ALLOCATIONS: f64 = 0.05;

/// The command that makes new counts the baseline.
pub const ACCEPT: &str = "make micro-accept";

/// What counts depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Environment {
    /// The compiler with its version.
    pub compiler: String,
    /// The instruction set, as programs below valgrind find it.
    pub processor: String,
}

/// The counts that are expected.
#[derive(Debug, Clone, PartialEq)]
pub struct Baseline {
    /// Where they were counted.
    pub environment: Environment,
    counts: BTreeMap<String, Counts>,
}

impl Environment {
    /// This program's.
    #[must_use]
    pub fn here() -> Environment {
        #[cfg(target_arch = "x86_64")]
        let wide = std::arch::is_x86_feature_detected!("avx2");
        #[cfg(not(target_arch = "x86_64"))]
        let wide = false;
        let arch = std::env::consts::ARCH;
        Environment {
            compiler: env!("WEIR_MICRO_COMPILER").to_owned(),
            processor: format!("{arch}{}", if wide { " with AVX2" } else { "" }),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {}", self.compiler, self.processor)
    }
}

impl Baseline {
    /// The file in this repository.
    #[must_use]
    pub fn path() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.txt")
    }

    /// Without any counts.
    #[must_use]
    pub fn empty(environment: Environment) -> Baseline {
        Baseline {
            environment,
            counts: BTreeMap::new(),
        }
    }

    /// Reads a file; one that is not there is an empty baseline of this environment.
    ///
    /// # Errors
    /// It cannot be read, or a line is none.
    pub fn read(path: &Path) -> Result<Baseline, String> {
        match std::fs::read_to_string(path) {
            Ok(text) => Baseline::parse(&text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                Ok(Baseline::empty(Environment::here()))
            }
            Err(error) => Err(format!("{}: {error}", path.display())),
        }
    }

    /// Reads a text.
    ///
    /// # Errors
    /// A line is none.
    pub fn parse(text: &str) -> Result<Baseline, String> {
        let mut environment = Environment {
            compiler: String::new(),
            processor: String::new(),
        };
        let mut counts = BTreeMap::new();
        for line in text.lines() {
            if line.starts_with('#') || line.is_empty() {
                continue;
            }
            if let Some(compiler) = line.strip_prefix("compiler: ") {
                compiler.clone_into(&mut environment.compiler);
            } else if let Some(processor) = line.strip_prefix("processor: ") {
                processor.clone_into(&mut environment.processor);
            } else {
                let (name, count) = row(line).ok_or_else(|| format!("no count: {line:?}"))?;
                counts.insert(name, count);
            }
        }
        Ok(Baseline {
            environment,
            counts,
        })
    }

    /// What is expected of a case.
    #[must_use]
    pub fn of(&self, case: &str) -> Option<&Counts> {
        self.counts.get(case)
    }

    /// Expects this of a case from now on.
    pub fn set(&mut self, case: &str, counts: Counts) {
        self.counts.insert(case.to_owned(), counts);
    }

    /// Drops what is counted no longer.
    pub fn forget_unknown(&mut self) {
        let counted = |name: &str| cases::named(name).is_some_and(|case| case.counted);
        self.counts.retain(|name, _| counted(name));
    }

    /// The names of the cases that it has.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(String::as_str)
    }

    /// The text of the file.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = format!(
            "# Instructions, allocations and allocated bytes of one operation of each case.\n\
             # Written by `{ACCEPT}`; benches/README.md says what they mean.\n\
             compiler: {}\nprocessor: {}\n\n",
            self.environment.compiler, self.environment.processor
        );
        for (name, counts) in &self.counts {
            let Counts {
                instructions,
                allocations,
                bytes,
            } = counts;
            let _ = writeln!(
                text,
                "{name:<26} {instructions:>12.1} {allocations:>9.2} {bytes:>10.1}"
            );
        }
        text
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, path: &Path) -> Result<(), String> {
        std::fs::write(path, self.text()).map_err(|error| format!("{}: {error}", path.display()))
    }

    /// Compares a case with what is expected of it.
    ///
    /// # Errors
    /// It differs by more than is let through; the text says by how much, and what to do.
    pub fn compare(&self, case: &str, now: Counts, here: &Environment) -> Result<(), String> {
        let Some(before) = self.of(case) else {
            return Err(format!("{case}: no baseline yet; accept it: {ACCEPT}"));
        };
        // To the hundredth, so that a bound is a bound.
        let percent = now.instructions / before.instructions - 1.0;
        let percent = (percent * 10_000.0).round() / 100.0;
        let same = *here == self.environment;
        let allocations = now.allocations - before.allocations;
        let allocations = (allocations * 100.0).round() / 100.0;
        let verdict = match same {
            true if percent > MORE_PERCENT => {
                Some(format!("over {MORE_PERCENT} % more instructions"))
            }
            true if percent < -FEWER_PERCENT => Some(format!(
                "over {FEWER_PERCENT} % fewer instructions: accept it, or the next regression hides in it"
            )),
            false if percent > ELSEWHERE_PERCENT => Some(format!(
                "over {ELSEWHERE_PERCENT} % more instructions, though the baseline is of {}",
                self.environment
            )),
            _ if allocations > ALLOCATIONS => Some("it allocates more".to_owned()),
            _ if same && allocations < -ALLOCATIONS => {
                Some("it allocates less: accept it, or the next regression hides in it".to_owned())
            }
            _ => None,
        };
        match verdict {
            None => Ok(()),
            Some(why) => Err(format!(
                "{case}: {why}\n  instructions {:.1} before, {:.1} now ({percent:+.2} %)\n  \
                 allocations {:.2} before, {:.2} now; bytes {:.1} before, {:.1} now\n  \
                 where they go: make micro-counts CASE={case}, then callgrind_annotate\n  \
                 if it is meant: {ACCEPT} CASE={case}",
                before.instructions,
                now.instructions,
                before.allocations,
                now.allocations,
                before.bytes,
                now.bytes,
            )),
        }
    }
}

fn row(line: &str) -> Option<(String, Counts)> {
    let mut words = line.split_whitespace();
    let name = words.next()?.to_owned();
    let mut number = || words.next()?.parse().ok();
    let counts = Counts {
        instructions: number()?,
        allocations: number()?,
        bytes: number()?,
    };
    Some((name, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(instructions: f64, allocations: f64) -> Counts {
        Counts {
            instructions,
            allocations,
            bytes: 100.0 * allocations,
        }
    }

    fn baseline() -> Baseline {
        let mut baseline = Baseline::empty(Environment::here());
        baseline.set("admit_plain", counts(1000.0, 1.0));
        baseline
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let baseline = baseline();
        assert_eq!(Baseline::parse(&baseline.text()), Ok(baseline));
        assert!(Baseline::parse("admit_plain 12").is_err());
    }

    #[test]
    fn a_case_may_differ_by_so_much_and_no_more() {
        let here = Environment::here();
        let elsewhere = Environment {
            compiler: "rustc 1.0.0".to_owned(),
            ..here.clone()
        };
        for (instructions, allocations, home, away) in [
            (1030.0, 1.0, true, true),
            (1031.0, 1.0, false, true),
            (950.0, 1.0, true, true),
            (949.0, 1.0, false, true),
            (1250.0, 1.0, false, true),
            (1251.0, 1.0, false, false),
            (1000.0, 1.05, true, true),
            (1000.0, 1.06, false, false),
            (1000.0, 0.0, false, true),
        ] {
            let now = counts(instructions, allocations);
            let is_ok = |at| baseline().compare("admit_plain", now, at).is_ok();
            assert_eq!(is_ok(&here), home, "{now:?}");
            assert_eq!(is_ok(&elsewhere), away, "{now:?} elsewhere");
        }
    }

    #[test]
    fn a_failure_names_case_counts_and_remedy() {
        let here = Environment::here();
        let why = baseline().compare("admit_plain", counts(1100.0, 2.0), &here);
        let why = why.unwrap_err();
        for part in [
            "admit_plain: over 3 % more instructions",
            "1000.0 before, 1100.0 now (+10.00 %)",
            "allocations 1.00 before, 2.00 now",
            "make micro-accept CASE=admit_plain",
        ] {
            assert!(why.contains(part), "{why}");
        }
        let why = baseline().compare("unknown", counts(1.0, 0.0), &here);
        assert!(why.unwrap_err().contains("no baseline yet"));
    }
}
