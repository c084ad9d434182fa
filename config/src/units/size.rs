//! Sizes in bytes, in powers of 1024 only: `64KiB` says what `64K` and `64kB` leave open.

use std::fmt;
use std::str::FromStr;

use super::{Kind, Size, UnitError, number_and_unit, quoted};

impl Size {
    /// So many KiB.
    pub const fn kib(count: u32) -> Self {
        Size(count as u64 * 1024)
    }

    /// So many MiB.
    pub const fn mib(count: u32) -> Self {
        Size(count as u64 * 1024 * 1024)
    }
}

const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl FromStr for Size {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let kind = Kind::Size;
        let Some((number, unit)) = number_and_unit(text) else {
            return Err(UnitError::NotOne {
                text: quoted(text),
                kind,
            });
        };
        let factor = match unit {
            "" | "B" => 1,
            _ => match UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => *factor,
                None => {
                    let unit = quoted(unit);
                    return Err(UnitError::UnknownUnit {
                        text: quoted(text),
                        unit,
                        kind,
                    });
                }
            },
        };
        let number: Option<u64> = number.parse().ok();
        number
            .and_then(|number| number.checked_mul(factor))
            .map(Size)
            .ok_or_else(|| UnitError::OutOfRange {
                text: quoted(text),
                kind,
                range: "less than 2^64 bytes",
            })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS
            .iter()
            .find(|(_, factor)| self.0 != 0 && self.0.is_multiple_of(*factor));
        match exact {
            Some((unit, factor)) => write!(f, "{}{unit}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Size;

    #[test]
    fn reads_and_writes() {
        for (text, bytes) in [
            ("0B", 0),
            ("500B", 500),
            ("64KiB", 65_536),
            ("10MiB", 10_485_760),
            ("1GiB", 1_073_741_824),
            ("1025B", 1025),
        ] {
            assert_eq!(text.parse(), Ok(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), text);
        }
        assert_eq!("65536".parse(), Ok(Size::kib(64)));
    }

    #[test]
    fn refuses() {
        for (text, problem) in [
            ("64KB", "`64KB` has the unknown unit `KB`"),
            ("64k", "`64k` has the unknown unit `k`"),
            ("KiB", "`KiB` is not a size"),
            ("-1", "`-1` is not a size"),
            (
                "99999999999999999999",
                "`99999999999999999999` is out of range: a size is less than 2^64 bytes",
            ),
        ] {
            let error = text.parse::<Size>().map_err(|error| error.to_string());
            assert_eq!(error, Err(problem.to_owned()));
        }
    }
}
