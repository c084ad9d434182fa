//! Dates: a day, or a second of one, in UTC.

use std::fmt;

use super::{Kind, UnitError, quoted};

/// A second of UTC, from 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    /// Seconds since the Unix epoch; every day has 86,400.
    pub unix_seconds: u64,
}

impl Date {
    /// Year, month (1 to 12) and day (1 to 31): the civil calendar from days since the epoch, with
    /// years that begin in March, so that the leap day is their last.
    fn civil(self) -> (u64, u64, u64) {
        let days = self.unix_seconds / DAY + DAYS_TO_EPOCH;
        let (era, day_of_era) = (days / ERA_DAYS, days % ERA_DAYS);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * from_march + 2) / 5 + 1;
        let month = if from_march < 10 {
            from_march + 3
        } else {
            from_march - 9
        };
        (year_of_era + era * 400 + u64::from(month <= 2), month, day)
    }

    /// The first second of a day; `None` when the calendar has no such day.
    fn of_day(year: u64, month: u64, day: u64) -> Option<Self> {
        let in_range = (1970..=9999).contains(&year) && (1..=12).contains(&month) && day >= 1;
        if !in_range {
            return None;
        }
        let from_march = (month + 9) % 12;
        let year_from_march = year - u64::from(month <= 2);
        let (era, year_of_era) = (year_from_march / 400, year_from_march % 400);
        let day_of_year = (153 * from_march + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * ERA_DAYS + day_of_era - DAYS_TO_EPOCH;
        let date = Date {
            unix_seconds: days * DAY,
        };
        // The 31st of a shorter month came out as a day of the next.
        (date.civil() == (year, month, day)).then_some(date)
    }

    /// As HTTP writes dates (RFC 9110 section 5.6.7): `Sun, 06 Nov 1994 08:49:37 GMT`.
    #[must_use]
    pub fn http(self) -> String {
        let (year, month, day) = self.civil();
        let (hour, minute, second) = self.time();
        // The epoch was a Thursday.
        let weekday = WEEKDAYS[((self.unix_seconds / DAY + 4) % 7) as usize];
        let month = MONTHS[(month - 1) as usize];
        format!("{weekday}, {day:02} {month} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
    }

    fn time(self) -> (u64, u64, u64) {
        let second = self.unix_seconds % DAY;
        (second / 3_600, second / 60 % 60, second % 60)
    }
}

impl std::str::FromStr for Date {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        read(text).ok_or_else(|| UnitError::NotOne {
            text: quoted(text),
            kind: Kind::Date,
        })
    }
}

fn read(text: &str) -> Option<Date> {
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, Some(time)),
        None => (text, None),
    };
    let [year, month, day] = numbers(day, '-', [4, 2, 2])?;
    let mut date = Date::of_day(year, month, day)?;
    if let Some(time) = time {
        let [hour, minute, second] = numbers(time.strip_suffix('Z')?, ':', [2, 2, 2])?;
        if hour > 23 || minute > 59 || second > 59 {
            return None;
        }
        date.unix_seconds += (hour * 60 + minute) * 60 + second;
    }
    Some(date)
}

/// Three numbers of so many digits.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut numbers = [0; 3];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let part = parts.next()?;
        if part.len() != digits || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// The shortest form that says it exactly.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.civil();
        write!(f, "{year:04}-{month:02}-{day:02}")?;
        match self.time() {
            (0, 0, 0) => Ok(()),
            (hour, minute, second) => write!(f, "T{hour:02}:{minute:02}:{second:02}Z"),
        }
    }
}

const DAY: u64 = 86_400;
/// Days of 400 years.
const ERA_DAYS: u64 = 146_097;
/// Days from the first of March of the year 0 to the epoch.
const DAYS_TO_EPOCH: u64 = 719_468;
const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_seconds_of_the_calendar() {
        let table = [
            ("1970-01-01", 0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (
                "1994-11-06T08:49:37Z",
                784_111_777,
                "Sun, 06 Nov 1994 08:49:37 GMT",
            ),
            ("2000-02-29", 951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (
                "2023-06-30T23:59:59Z",
                1_688_169_599,
                "Fri, 30 Jun 2023 23:59:59 GMT",
            ),
            (
                "9999-12-31T23:59:59Z",
                253_402_300_799,
                "Fri, 31 Dec 9999 23:59:59 GMT",
            ),
        ];
        for (text, unix_seconds, http) in table {
            let date: Date = text.parse().unwrap_or(Date { unix_seconds: 1 });
            assert_eq!(date.unix_seconds, unix_seconds, "{text}");
            assert_eq!(date.http(), http);
            assert_eq!(date.to_string(), text);
        }
        // Every day of four centuries is the one after the day before.
        let mut date = Date { unix_seconds: 0 };
        for _ in 0..ERA_DAYS {
            let (year, month, day) = date.civil();
            assert_eq!(Date::of_day(year, month, day), Some(date));
            date.unix_seconds += DAY;
        }
    }

    #[test]
    fn what_the_calendar_does_not_have_is_refused() {
        for text in [
            "",
            "2026",
            "2026-1-01",
            "2026-13-01",
            "2026-00-01",
            "2026-02-29",
            "2026-04-31",
            "2026-01-00",
            "1969-12-31",
            "26-01-01",
            "2026-01-01T00:00:00",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01 00:00:00Z",
            "2026-01-01T00:00:00+01:00",
            "2026-01-0x",
        ] {
            assert!(text.parse::<Date>().is_err(), "{text}");
        }
    }
}
