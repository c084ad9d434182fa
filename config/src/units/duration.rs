//! Durations: a whole number of milliseconds, seconds, minutes or hours.

use std::time::Duration;

use super::{Kind, UnitError, number_and_unit, quoted};
use crate::bounds::DURATION_MAX;

/// Reads `250ms`, `5s`, `1m` or `2h`.
///
/// # Errors
/// When the text is anything else, or longer than seven days.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let kind = Kind::Duration;
    let Some((number, unit)) = number_and_unit(text) else {
        return Err(UnitError::NotOne {
            text: quoted(text),
            kind,
        });
    };
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "" => {
            return Err(UnitError::NoUnit {
                text: quoted(text),
                kind,
            });
        }
        // `1.5s` and `1m30s`: what follows the first digits is not a unit at all.
        _ if unit.starts_with('.') || unit.chars().any(|c| c.is_ascii_digit()) => {
            return Err(UnitError::NotOne {
                text: quoted(text),
                kind,
            });
        }
        _ => {
            let unit = quoted(unit);
            return Err(UnitError::UnknownUnit {
                text: quoted(text),
                unit,
                kind,
            });
        }
    };
    let number: Option<u64> = number.parse().ok();
    number
        .and_then(|number| number.checked_mul(unit_ms))
        .map(Duration::from_millis)
        .filter(|duration| *duration <= DURATION_MAX)
        .ok_or_else(|| UnitError::OutOfRange {
            text: quoted(text),
            kind,
            range: "at most 168h (seven days)",
        })
}

/// Writes a duration in the largest unit that says it exactly, to the millisecond: `90s`, `2m`.
pub fn duration_text(duration: Duration) -> String {
    let ms = duration.as_millis();
    match ms {
        0 => "0s".to_owned(),
        _ if ms.is_multiple_of(3_600_000) => format!("{}h", ms / 3_600_000),
        _ if ms.is_multiple_of(60_000) => format!("{}m", ms / 60_000),
        _ if ms.is_multiple_of(1_000) => format!("{}s", ms / 1_000),
        _ => format!("{ms}ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration_text, parse_duration};
    use std::time::Duration;

    #[test]
    fn reads_and_writes() {
        for (text, ms) in [
            ("0s", 0),
            ("1ms", 1),
            ("250ms", 250),
            ("5s", 5_000),
            ("90s", 90_000),
            ("2m", 120_000),
            ("2h", 7_200_000),
            ("168h", 604_800_000),
        ] {
            let duration = Duration::from_millis(ms);
            assert_eq!(parse_duration(text), Ok(duration), "{text}");
            assert_eq!(duration_text(duration), text);
        }
        assert_eq!(parse_duration("60s"), parse_duration("1m"));
    }

    #[test]
    fn refuses() {
        for (text, problem) in [
            ("5", "`5` has no unit"),
            ("", "`` is not a duration"),
            ("s", "`s` is not a duration"),
            ("-5s", "`-5s` is not a duration"),
            ("1.5s", "`1.5s` is not a duration"),
            ("1m30s", "`1m30s` is not a duration"),
            ("5 s", "`5 s` has the unknown unit ` s`"),
            ("5sec", "`5sec` has the unknown unit `sec`"),
            ("5S", "`5S` has the unknown unit `S`"),
            (
                "169h",
                "`169h` is out of range: a duration is at most 168h (seven days)",
            ),
            (
                "99999999999999999999ms",
                "`99999999999999999999ms` is out of range: a duration is at most 168h (seven days)",
            ),
        ] {
            let error = parse_duration(text).map_err(|error| error.to_string());
            assert_eq!(error, Err(problem.to_owned()));
        }
    }
}
