//! Percentages, exact to a thousandth of a percent.

use std::fmt;
use std::str::FromStr;

use super::{Kind, Percent, UnitError, quoted};

impl Percent {
    /// The whole.
    pub const WHOLE: Percent = Percent(100_000);

    /// So many whole percent.
    pub const fn whole_percent(percent: u32) -> Self {
        Percent(percent * 1_000)
    }

    /// The share as a number from 0 to 1.
    pub fn as_fraction(self) -> f64 {
        f64::from(self.0) / f64::from(Percent::WHOLE.0)
    }
}

impl FromStr for Percent {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let kind = Kind::Percent;
        let not_one = || UnitError::NotOne {
            text: quoted(text),
            kind,
        };
        let Some(number) = text.strip_suffix('%') else {
            return Err(match text.parse::<f64>() {
                Ok(_) => UnitError::NoUnit {
                    text: quoted(text),
                    kind,
                },
                Err(_) => not_one(),
            });
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) {
            return Err(not_one());
        }
        let out_of_range = || UnitError::OutOfRange {
            text: quoted(text),
            kind,
            range: "from 0% to 100%, with at most three decimals",
        };
        if fraction.len() > 3 {
            return Err(out_of_range());
        }
        let whole: u32 = whole.parse().map_err(|_| out_of_range())?;
        let thousandths: u32 = format!("{fraction:0<3}")
            .parse()
            .map_err(|_| out_of_range())?;
        whole
            .checked_mul(1_000)
            .and_then(|whole| whole.checked_add(thousandths))
            .filter(|share| *share <= Percent::WHOLE.0)
            .map(Percent)
            .ok_or_else(out_of_range)
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1_000, self.0 % 1_000);
        if thousandths == 0 {
            return write!(f, "{whole}%");
        }
        let fraction = format!("{thousandths:03}");
        write!(f, "{whole}.{}%", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::Percent;

    #[test]
    fn reads_and_writes() {
        for (text, share) in [
            ("0%", 0),
            ("20%", 20_000),
            ("12.5%", 12_500),
            ("0.001%", 1),
            ("33.333%", 33_333),
            ("100%", 100_000),
        ] {
            assert_eq!(text.parse(), Ok(Percent(share)), "{text}");
            assert_eq!(Percent(share).to_string(), text);
        }
        assert!((Percent(12_500).as_fraction() - 0.125).abs() < 1e-12);
    }

    #[test]
    fn refuses() {
        let range = "is out of range: a percentage is from 0% to 100%, with at most three decimals";
        for (text, problem) in [
            ("20", "`20` has no unit".to_owned()),
            ("0.2", "`0.2` has no unit".to_owned()),
            ("%", "`%` is not a percentage".to_owned()),
            ("-1%", "`-1%` is not a percentage".to_owned()),
            ("1.%", "`1.%` is not a percentage".to_owned()),
            ("101%", format!("`101%` {range}")),
            ("100.001%", format!("`100.001%` {range}")),
            ("1.2345%", format!("`1.2345%` {range}")),
            ("99999999999%", format!("`99999999999%` {range}")),
        ] {
            let error = text.parse::<Percent>().map_err(|error| error.to_string());
            assert_eq!(error, Err(problem));
        }
    }
}
