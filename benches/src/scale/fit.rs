//! Models with at most two parameters, fitted by least squares of the relative residuals.
//!
//! Relative, because a series spans orders of magnitude and the smallest sizes are as true as the
//! largest.

use std::fmt;

/// How a cost grows with a size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Not at all.
    Constant,
    /// By the same amount each time that the size doubles.
    Logarithmic,
    /// By the same amount for each one more.
    Linear,
}

/// A model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Model {
    /// How it grows.
    pub shape: Shape,
    /// What there is without growth.
    pub base: f64,
    /// What is added per doubling or per one more.
    pub slope: f64,
}

/// A model beside the points that it was fitted to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fit {
    /// The model.
    pub model: Model,
    /// The largest residual, relative to what was measured.
    pub residual_max: f64,
    /// The last point, predicted by a model of the same shape that does not know it, relative to
    /// what was measured; `None` with fewer than four points.
    pub last_predicted: Option<f64>,
}

/// A series that differs by no more than this, relative to its mean, does not grow.
const CONSTANT_WITHIN: f64 = 0.03;

impl Model {
    /// The cost at this size.
    #[must_use]
    pub fn at(&self, size: f64) -> f64 {
        self.base + self.slope * self.shape.of(size)
    }
}

impl Shape {
    fn of(self, size: f64) -> f64 {
        match self {
            Shape::Constant => 0.0,
            Shape::Logarithmic => size.log2(),
            Shape::Linear => size,
        }
    }
}

impl fmt::Display for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Model { base, slope, .. } = self;
        match self.shape {
            Shape::Constant => write!(f, "{}", digits(*base)),
            Shape::Logarithmic => write!(f, "{} + {} · log2 n", digits(*base), digits(*slope)),
            Shape::Linear => write!(f, "{} + {} · n", digits(*base), digits(*slope)),
        }
    }
}

/// Four significant digits.
#[must_use]
pub fn digits(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    // The number of digits before the point, from -300 to 300.
    let before = number.abs().log10().floor() as i32 + 1;
    let after = usize::try_from(4 - before).unwrap_or(0).min(9);
    format!("{number:.after$}")
}

/// The simplest model of these points that is not clearly worse than another: constant where they
/// hardly differ, else the shape with the smaller residuals. `None` without two points, or where
/// one is not above zero.
#[must_use]
pub fn fit(points: &[(f64, f64)]) -> Option<Fit> {
    if points.len() < 2 || points.iter().any(|point| point.0 <= 0.0 || point.1 <= 0.0) {
        return None;
    }
    let constant = least_squares(Shape::Constant, points)?;
    if residual_max(&constant, points) <= CONSTANT_WITHIN {
        return Some(judged(constant, points));
    }
    [Shape::Logarithmic, Shape::Linear]
        .into_iter()
        .filter_map(|shape| least_squares(shape, points))
        .min_by(|one, other| squares(one, points).total_cmp(&squares(other, points)))
        .map(|model| judged(model, points))
}

fn judged(model: Model, points: &[(f64, f64)]) -> Fit {
    let last_predicted = points
        .split_last()
        .filter(|(_, rest)| rest.len() >= 3)
        .and_then(|(last, rest)| Some(least_squares(model.shape, rest)?.at(last.0) / last.1));
    Fit {
        model,
        residual_max: residual_max(&model, points),
        last_predicted,
    }
}

/// The parameters of least relative residuals: a weighted linear regression with weights `1/y²`.
fn least_squares(shape: Shape, points: &[(f64, f64)]) -> Option<Model> {
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for &(size, cost) in points {
        let (x, weight) = (shape.of(size), 1.0 / (cost * cost));
        w += weight;
        wx += weight * x;
        wy += weight * cost;
        wxx += weight * x * x;
        wxy += weight * x * cost;
    }
    if shape == Shape::Constant {
        return Some(Model {
            shape,
            base: wy / w,
            slope: 0.0,
        });
    }
    let determinant = w * wxx - wx * wx;
    if determinant <= f64::EPSILON * w * wxx {
        return None;
    }
    let slope = (w * wxy - wx * wy) / determinant;
    let base = (wy - slope * wx) / w;
    Some(Model { shape, base, slope })
}

fn relative<'p>(model: &Model, points: &'p [(f64, f64)]) -> impl Iterator<Item = f64> + 'p {
    let model = *model;
    points
        .iter()
        .map(move |&(size, cost)| (model.at(size) - cost) / cost)
}

fn squares(model: &Model, points: &[(f64, f64)]) -> f64 {
    relative(model, points).map(|it| it * it).sum()
}

fn residual_max(model: &Model, points: &[(f64, f64)]) -> f64 {
    relative(model, points).map(f64::abs).fold(0.0, f64::max)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    const SIZES: [f64; 5] = [10.0, 100.0, 1000.0, 3000.0, 10_000.0];

    fn points(cost: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
        SIZES.iter().map(|&size| (size, cost(size))).collect()
    }

    #[test]
    fn a_law_is_found_again() {
        for (shape, base, slope) in [
            (Shape::Constant, 500.0, 0.0),
            (Shape::Logarithmic, 500.0, 40.0),
            (Shape::Linear, 500.0, 3.0),
        ] {
            let law = Model { shape, base, slope };
            let fit = fit(&points(|size| law.at(size))).unwrap();
            assert_eq!(fit.model.shape, shape);
            assert!((fit.model.base - base).abs() < 1e-6, "{fit:?}");
            assert!((fit.model.slope - slope).abs() < 1e-6, "{fit:?}");
            assert!(fit.residual_max < 1e-9, "{fit:?}");
            assert!((fit.last_predicted.unwrap() - 1.0).abs() < 1e-9, "{fit:?}");
        }
    }

    #[test]
    fn noise_is_no_growth() {
        let noisy = fit(&points(|size| 100.0 + 2.9 * (size % 7.0 / 3.0 - 1.0))).unwrap();
        assert_eq!(noisy.model.shape, Shape::Constant);
        let grown = fit(&points(|size| 100.0 * (1.0 + size / 100_000.0))).unwrap();
        assert_eq!(grown.model.shape, Shape::Linear);
    }

    #[test]
    fn what_breaks_at_the_end_is_seen() {
        let broken = points(|size| {
            if size > 5000.0 {
                1000.0
            } else {
                100.0 + size.log2()
            }
        });
        let fit = fit(&broken).unwrap();
        assert!(
            fit.residual_max > 0.3 || fit.last_predicted.unwrap() < 0.5,
            "{fit:?}"
        );
    }

    #[test]
    fn nothing_is_concluded_from_nothing() {
        assert_eq!(fit(&[]), None);
        assert_eq!(fit(&[(10.0, 1.0)]), None);
        assert_eq!(fit(&[(10.0, 0.0), (20.0, 1.0)]), None);
        let two = fit(&[(10.0, 1.0), (20.0, 2.0)]).unwrap();
        assert_eq!(two.last_predicted, None);
    }

    #[test]
    fn models_are_written_with_four_digits() {
        let model = |shape, base, slope| Model { shape, base, slope }.to_string();
        assert_eq!(model(Shape::Constant, 55_693.2, 0.0), "55693");
        assert_eq!(
            model(Shape::Logarithmic, 1.234_56, 0.012_345),
            "1.235 + 0.01235 · log2 n"
        );
        assert_eq!(model(Shape::Linear, 100.04, -2.0), "100.0 + -2.000 · n");
        assert_eq!(digits(0.0), "0");
    }
}
