//! Ratios, exact to a thousandth.

use std::fmt;
use std::str::FromStr;

use super::{Kind, Ratio, UnitError, quoted};

impl Ratio {
    /// One to one.
    pub const WHOLE: Ratio = Ratio(1_000);

    /// The ratio as a number.
    pub fn as_number(self) -> f64 {
        f64::from(self.0) / f64::from(Ratio::WHOLE.0)
    }
}

impl FromStr for Ratio {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let kind = Kind::Ratio;
        let not_one = || UnitError::NotOne {
            text: quoted(text),
            kind,
        };
        let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
            return Err(not_one());
        }
        let thousandths: u32 = format!("{fraction:0<3}").parse().map_err(|_| not_one())?;
        let whole: u32 = whole.parse().map_err(|_| not_one())?;
        let ratio = whole.checked_mul(1_000);
        let ratio = ratio.and_then(|whole| whole.checked_add(thousandths));
        ratio.map(Ratio).ok_or_else(not_one)
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, thousandths) = (self.0 / 1_000, self.0 % 1_000);
        if thousandths == 0 {
            return write!(f, "{whole}");
        }
        let fraction = format!("{thousandths:03}");
        write!(f, "{whole}.{}", fraction.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::Ratio;

    #[test]
    fn reads_and_writes() {
        for (text, thousandths) in [
            ("1", 1_000),
            ("1.4", 1_400),
            ("0.001", 1),
            ("12.345", 12_345),
        ] {
            assert_eq!(text.parse(), Ok(Ratio(thousandths)), "{text}");
            assert_eq!(Ratio(thousandths).to_string(), text);
        }
        assert_eq!("1.250".parse(), Ok(Ratio(1_250)));
        assert!((Ratio(1_250).as_number() - 1.25).abs() < 1e-12);
    }

    #[test]
    fn refuses() {
        for text in [
            "",
            ".",
            "1.",
            ".5",
            "-1",
            "1.2345",
            "1e3",
            "125%",
            "99999999999",
            "4294968",
        ] {
            assert!(text.parse::<Ratio>().is_err(), "{text}");
        }
    }
}
