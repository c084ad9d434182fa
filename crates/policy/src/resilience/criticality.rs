//! Who is shed first when a service has more to do than it can: the least critical.
//!
//! Each class may use a share of the limit; what is left above is kept for those that matter more.

use http::{HeaderMap, HeaderName};
use weir_config::criticality::Criticality;

/// Carries the class of a request from the first proxy to the next ones. Taken from those alone
/// that are trusted; from anybody else it never reaches a service.
pub const CRITICALITY_HEADER: HeaderName = HeaderName::from_static("weir-criticality");

/// The class of a request: what a trusted sender says, else what its route says.
#[must_use]
pub fn class_of(
    route: Option<Criticality>,
    headers: &HeaderMap,
    sender_is_trusted: bool,
) -> Criticality {
    let told = || {
        let text = headers.get(&CRITICALITY_HEADER)?.to_str().ok()?;
        Criticality::named(text)
    };
    let told = sender_is_trusted.then(told).flatten();
    told.or(route).unwrap_or_default()
}

/// How many requests in flight a class may find, at most, and still be let in.
#[must_use]
pub fn within(class: Criticality, limit: u32) -> u32 {
    let percent = match class {
        Criticality::Critical => 100,
        Criticality::Default => DEFAULT_PERCENT,
        Criticality::Sheddable => SHEDDABLE_PERCENT,
    };
    let share = (u64::from(limit) * percent).div_ceil(100);
    u32::try_from(share).unwrap_or(limit)
}

/// A tenth is kept for what is critical.
const DEFAULT_PERCENT: u64 = 90;
/// A quarter is kept from what nobody waits for.
const SHEDDABLE_PERCENT: u64 = 75;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn a_class_is_believed_from_the_trusted_only() {
        use Criticality::{Critical, Default, Sheddable};
        let headers = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(CRITICALITY_HEADER, value.parse().unwrap());
            headers
        };
        for (route, told, trusted, expected) in [
            (None, "critical", false, Default),
            (Some(Sheddable), "critical", false, Sheddable),
            (None, "critical", true, Critical),
            (Some(Critical), "sheddable", true, Sheddable),
            (Some(Critical), "most-critical", true, Critical),
            (None, "", true, Default),
        ] {
            let class = class_of(route, &headers(told), trusted);
            assert_eq!(class, expected, "{route:?} {told} {trusted}");
        }
        assert_eq!(class_of(Some(Critical), &HeaderMap::new(), true), Critical);
    }

    #[test]
    fn the_less_critical_the_less_of_the_limit() {
        use Criticality::{Critical, Default, Sheddable};
        for (limit, expected) in [
            (100, [100, 90, 75]),
            (10, [10, 9, 8]),
            (1, [1, 1, 1]),
            (u32::MAX, [u32::MAX, 3_865_470_566, 3_221_225_472]),
        ] {
            let shares = [Critical, Default, Sheddable].map(|class| within(class, limit));
            assert_eq!(shares, expected);
        }
    }
}
