//! Durations and sizes as people write them: `250ms`, `2s`, `100KiB`.

use std::time::Duration;

use thiserror::Error;

/// What is wrong with a written quantity.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum UnitError {
    /// Not a duration.
    #[error("{0:?} is not a duration; write a whole number with ms, s or m, such as 250ms")]
    Duration(String),
    /// Not a size.
    #[error("{0:?} is not a size; write a whole number with B, KiB or MiB, such as 100KiB")]
    Size(String),
}

/// A duration such as `250ms`, `2s` or `1m`.
///
/// # Errors
/// When it is not one.
pub fn duration(text: &str) -> Result<Duration, UnitError> {
    let wrong = || UnitError::Duration(text.to_owned());
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let milliseconds = match unit {
        "ms" => Some(number),
        "s" => number.checked_mul(1_000),
        "m" => number.checked_mul(60_000),
        _ => None,
    };
    milliseconds.map(Duration::from_millis).ok_or_else(wrong)
}

/// A number of bytes such as `512B`, `100KiB` or `1MiB`.
///
/// # Errors
/// When it is not one.
pub fn size(text: &str) -> Result<u64, UnitError> {
    let wrong = || UnitError::Size(text.to_owned());
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let bytes = match unit {
        "B" => Some(number),
        "KiB" => number.checked_mul(1024),
        "MiB" => number.checked_mul(1024 * 1024),
        _ => None,
    };
    bytes.ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|character: char| !character.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    Some((number.parse().ok()?, unit))
}

#[cfg(test)]
mod tests {
    use super::{duration, size};
    use std::time::Duration;

    #[test]
    fn quantities_need_a_number_and_a_unit() {
        assert_eq!(duration("250ms"), Ok(Duration::from_millis(250)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(size("100KiB"), Ok(102_400));
        for wrong in [
            "",
            "5",
            "ms",
            "-1s",
            "1.5s",
            "5h",
            "99999999999999999999s",
            "5 s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong}");
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(size("18446744073709551615KiB").is_err());
    }
}
