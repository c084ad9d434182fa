//! Rates: a count per second, minute, hour or any duration.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::{Kind, Rate, UnitError, duration_text, parse_duration, quoted};
use crate::bounds::RATE_WINDOW_MAX;

impl FromStr for Rate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let kind = Kind::Rate;
        let not_one = || UnitError::NotOne {
            text: quoted(text),
            kind,
        };
        let out_of_range = |range| UnitError::OutOfRange {
            text: quoted(text),
            kind,
            range,
        };

        let Some((count, per)) = text.split_once('/') else {
            return Err(match text.parse::<u64>() {
                Ok(_) => UnitError::NoUnit {
                    text: quoted(text),
                    kind,
                },
                Err(_) => not_one(),
            });
        };
        if count.is_empty() || !count.bytes().all(|b| b.is_ascii_digit()) {
            return Err(not_one());
        }
        let count: u32 = count
            .parse()
            .ok()
            .filter(|count| *count > 0)
            .ok_or_else(|| out_of_range("at least 1 and at most 4294967295 in its time"))?;
        let per = match per {
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3600),
            _ => parse_duration(per).map_err(|_| UnitError::UnknownUnit {
                text: quoted(text),
                unit: quoted(per),
                kind,
            })?,
        };
        if per.is_zero() || per > RATE_WINDOW_MAX {
            return Err(out_of_range("per 1ms to 24h"));
        }
        Ok(Rate { count, per })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.per.as_millis() {
            1_000 => write!(f, "{}/s", self.count),
            60_000 => write!(f, "{}/m", self.count),
            3_600_000 => write!(f, "{}/h", self.count),
            _ => write!(f, "{}/{}", self.count, duration_text(self.per)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Rate;
    use std::time::Duration;

    #[test]
    fn reads_and_writes() {
        for (text, count, ms) in [
            ("100/s", 100, 1_000),
            ("30/m", 30, 60_000),
            ("1000/h", 1000, 3_600_000),
            ("5/10s", 5, 10_000),
            ("1/250ms", 1, 250),
            ("7/24h", 7, 86_400_000),
        ] {
            let rate = Rate {
                count,
                per: Duration::from_millis(ms),
            };
            assert_eq!(text.parse(), Ok(rate), "{text}");
            assert_eq!(rate.to_string(), text);
        }
    }

    #[test]
    fn refuses() {
        for (text, problem) in [
            ("100", "`100` has no unit"),
            ("fast", "`fast` is not a rate"),
            ("/s", "`/s` is not a rate"),
            ("+1/s", "`+1/s` is not a rate"),
            ("100/sec", "`100/sec` has the unknown unit `sec`"),
            (
                "0/s",
                "`0/s` is out of range: a rate is at least 1 and at most 4294967295 in its time",
            ),
            ("1/0s", "`1/0s` is out of range: a rate is per 1ms to 24h"),
            ("1/25h", "`1/25h` is out of range: a rate is per 1ms to 24h"),
        ] {
            let error = text.parse::<Rate>().map_err(|error| error.to_string());
            assert_eq!(error, Err(problem.to_owned()));
        }
    }
}
