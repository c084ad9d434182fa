//! Medians and spreads of a few values.

use serde::{Deserialize, Serialize};

/// The middle of some values and how far they lie apart.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// The value in the middle, or the mean of the two there.
    pub median: f64,
    /// The least value.
    pub min: f64,
    /// The greatest value.
    pub max: f64,
    /// How many there are.
    pub count: usize,
}

impl Summary {
    /// Of these values; none where there are no finite ones.
    #[must_use]
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().filter(|it| it.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        let upper = values[values.len() / 2];
        let lower = values[(values.len() - 1) / 2];
        Some(Self {
            median: f64::midpoint(lower, upper),
            min,
            max,
            count: values.len(),
        })
    }
}

/// The number with its two leading digits, the others zero: rates that people can remember.
#[must_use]
pub fn two_digits(value: f64) -> f64 {
    if value < 1.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor() - 1.0).max(1.0);
    (value / power).floor() * power
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Summary, two_digits};

    #[test]
    fn the_median_of_an_even_count_is_between_the_two_in_the_middle() {
        let odd = Summary::of([5.0, 1.0, 3.0]).unwrap();
        assert_eq!(
            (odd.median, odd.min, odd.max, odd.count),
            (3.0, 1.0, 5.0, 3)
        );
        let even = Summary::of([4.0, 1.0, 3.0, 2.0]).unwrap();
        assert!((even.median - 2.5).abs() < 1e-9);
        let one = Summary::of([7.0]).unwrap();
        assert_eq!((one.median, one.min, one.max), (7.0, 7.0, 7.0));
    }

    #[test]
    fn values_that_are_no_numbers_do_not_count() {
        assert_eq!(Summary::of([]), None);
        assert_eq!(Summary::of([f64::NAN, f64::INFINITY]), None);
        assert_eq!(Summary::of([f64::NAN, 2.0]).unwrap().count, 1);
    }

    #[test]
    fn rates_keep_two_digits() {
        for (value, rate) in [(0.2, 1.0), (7.9, 7.0), (48.0, 48.0), (12_987.0, 12_000.0)] {
            assert!((two_digits(value) - rate).abs() < 1e-6, "{value}");
        }
    }
}
