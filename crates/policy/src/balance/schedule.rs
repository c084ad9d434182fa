//! Weighted turns: a sequence in which every endpoint comes as often as its weight says, evenly
//! spread, so that a turn is one look into an array.
//!
//! Each endpoint of weight *w* wants its turns at (k + phase) / w of a round, for k below w. The
//! phases are multiples of the golden ratio, which keeps endpoints of equal weight apart.

/// Indices in order of their turns; empty when all weights are equal.
///
/// Weights are divided by what they have in common. A round longer than [`TURNS_MAX`] (or four
/// turns per endpoint, if that is more) is shortened: weights then hold to a share of 1 / round.
pub(super) fn spread(weights: &[u32]) -> Box<[u32]> {
    let Some(first) = weights.first() else {
        return Box::default();
    };
    if weights.iter().all(|weight| weight == first) {
        return Box::default();
    }
    let weights = shortened(weights);
    let mut turns: Vec<(f64, u32)> = Vec::new();
    for (index, weight) in (0_u32..).zip(&weights) {
        let phase = (f64::from(index + 1) * GOLDEN_RATIO).fract();
        let weight = u32::try_from(*weight).unwrap_or(u32::MAX);
        turns
            .extend((0..weight).map(|turn| ((f64::from(turn) + phase) / f64::from(weight), index)));
    }
    turns.sort_by(|one, other| one.0.total_cmp(&other.0).then(one.1.cmp(&other.1)));
    turns.into_iter().map(|(_, index)| index).collect()
}

/// The same proportions in the fewest turns, within the bound.
fn shortened(weights: &[u32]) -> Vec<u64> {
    let weights: Vec<u64> = weights
        .iter()
        .map(|weight| u64::from(*weight).max(1))
        .collect();
    let common = weights
        .iter()
        .copied()
        .fold(0, greatest_common_divisor)
        .max(1);
    let round: u64 = weights.iter().map(|weight| weight / common).sum();
    let turns_max = TURNS_MAX.max(4 * weights.len() as u64);
    let scaled = |weight: u64| {
        let weight = weight / common;
        if round <= turns_max {
            weight
        } else {
            (weight * turns_max / round).max(1)
        }
    };
    weights.into_iter().map(scaled).collect()
}

fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other > 0 {
        (one, other) = (other, one % other);
    }
    one
}

/// Longest round of few endpoints: 16 KiB per worker and service.
const TURNS_MAX: u64 = 4096;
const GOLDEN_RATIO: f64 = 1.618_033_988_749_895;

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(schedule: &[u32], endpoints: usize) -> Vec<usize> {
        let mut counts = vec![0; endpoints];
        for index in schedule {
            counts[*index as usize] += 1;
        }
        counts
    }

    #[test]
    fn a_round_has_exactly_the_weights_evenly_spread() {
        assert!(spread(&[]).is_empty());
        assert!(
            spread(&[7, 7, 7]).is_empty(),
            "equal weights need no schedule"
        );
        assert_eq!(counts(&spread(&[5, 1, 1]), 3), [5, 1, 1]);
        assert_eq!(counts(&spread(&[950, 50]), 2), [19, 1]);
        assert_eq!(counts(&spread(&[1000, 1]), 2), [1000, 1]);

        let schedule = spread(&[5, 3, 2]);
        assert_eq!(counts(&schedule, 3), [5, 3, 2]);
        for (index, weight) in [(0, 5_usize), (1, 3), (2, 2)] {
            // Within one round's stretch no endpoint gets more than its share and one.
            for start in 0..10 {
                let stretch = (start..start + 5).map(|place| schedule[place % 10]);
                let turns = stretch.filter(|turn| *turn == index).count();
                assert!(turns <= weight / 2 + 2, "{schedule:?}");
            }
        }
        let heavy = spread(&[5, 1, 1]);
        let gap = (0..7).any(|place| heavy[place] != 0 && heavy[(place + 1) % 7] != 0);
        assert!(!gap, "the light ones are apart: {heavy:?}");
    }

    #[test]
    fn long_rounds_are_shortened_and_nobody_is_left_out() {
        let weights: Vec<u32> = (1..=1000).collect();
        let schedule = spread(&weights);
        assert!(schedule.len() <= 5096, "{}", schedule.len());
        assert!(counts(&schedule, 1000).iter().all(|turns| *turns > 0));
    }
}
