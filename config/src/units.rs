//! Values with units: durations (`250ms`), sizes (`64KiB`), rates (`100/s`), percentages (`12.5%`).
//!
//! Each reads what it writes: `text.parse()` and `to_string()` are inverse. Durations are
//! `std::time::Duration`, so theirs are [`parse_duration`] and [`duration_text`].

mod date;
mod duration;
mod percent;
mod rate;
mod ratio;
mod size;

use std::time::Duration;

pub use date::Date;
pub use duration::{duration_text, parse_duration};

/// A number of bytes, written `64KiB`, `10MiB`, `1GiB`, `500B` or a bare number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// So many per so long, written `100/s`, `30/m`, `1000/h`, `5/10s`. The count is at least 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// One thing relative to another, written `1.25`; stored in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ratio(pub u32);

/// A share, written `12.5%`; stored in thousandths of a percent (100,000 is the whole).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u32);

/// Why a text is not a value of its unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnitError {
    /// The number is missing or is not one.
    #[error("`{text}` is not {kind}")]
    NotOne {
        /// What was written.
        text: String,
        /// What it should be.
        kind: Kind,
    },
    /// A bare number where a unit is needed.
    #[error("`{text}` has no unit")]
    NoUnit {
        /// What was written.
        text: String,
        /// What it should be.
        kind: Kind,
    },
    /// The number is more, or less, than can be said.
    #[error("`{text}` is out of range: {kind} is {range}")]
    OutOfRange {
        /// What was written.
        text: String,
        /// What it should be.
        kind: Kind,
        /// The range.
        range: &'static str,
    },
    /// A unit that does not exist.
    #[error("`{text}` has the unknown unit `{unit}`")]
    UnknownUnit {
        /// What was written.
        text: String,
        /// Its unit.
        unit: String,
        /// What it should be.
        kind: Kind,
    },
}

/// What kind of value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A date.
    Date,
    /// A duration.
    Duration,
    /// A percentage.
    Percent,
    /// A rate.
    Rate,
    /// A ratio.
    Ratio,
    /// A size.
    Size,
}

impl Kind {
    /// How it is written.
    pub fn examples(self) -> &'static str {
        match self {
            Kind::Date => {
                "a day or a second of UTC, such as `2026-12-31` or `2026-12-31T23:59:59Z`"
            }
            Kind::Duration => "a whole number and `ms`, `s`, `m` or `h`, such as `250ms` or `5s`",
            Kind::Percent => "a number from 0 to 100 and `%`, such as `20%` or `12.5%`",
            Kind::Ratio => "a number with at most three decimals, such as `1.25`",
            Kind::Rate => "a count per time, such as `100/s`, `30/m`, `1000/h` or `5/10s`",
            Kind::Size => "a whole number and `B`, `KiB`, `MiB` or `GiB`, such as `64KiB`",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Kind::Date => "a date",
            Kind::Duration => "a duration",
            Kind::Percent => "a percentage",
            Kind::Rate => "a rate",
            Kind::Ratio => "a ratio",
            Kind::Size => "a size",
        })
    }
}

impl UnitError {
    /// What kind of value was wanted.
    pub fn kind(&self) -> Kind {
        match self {
            UnitError::NotOne { kind, .. }
            | UnitError::NoUnit { kind, .. }
            | UnitError::OutOfRange { kind, .. }
            | UnitError::UnknownUnit { kind, .. } => *kind,
        }
    }

    /// What to write instead.
    pub fn hint(&self) -> String {
        format!("write {}", self.kind().examples())
    }
}

/// A text as digits and what follows them; `None` where it does not begin with a digit.
fn number_and_unit(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

/// A text short enough to be quoted in an error.
fn quoted(text: &str) -> String {
    crate::yaml::excerpt(text)
}
