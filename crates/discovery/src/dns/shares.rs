//! SRV records as endpoints: shares of targets with several addresses, and levels.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use weir_config::bounds::{ENDPOINT_WEIGHT_MAX, PRIORITY_MAX};
use weir_config::endpoint::Endpoint;

/// One SRV record whose target has been looked up.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) port: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// The endpoints, by level and address. An address with its port that several records lead to
/// counts once, at the first of its levels.
///
/// A record's weight is divided among the addresses of its target, so that a target's share does
/// not grow with its addresses. A weight of 0 counts as 1. Weights are brought into the range of
/// endpoints together: shares stay what they are, up to rounding.
pub(super) fn endpoints(targets: &[Target]) -> Vec<Endpoint> {
    let mut priorities: Vec<u16> = targets.iter().map(|target| target.priority).collect();
    priorities.sort_unstable();
    priorities.dedup();
    // Their order matters, not their numbers. Those past the last level share it.
    let level = |priority: u16| {
        let rank = priorities.partition_point(|other| *other < priority);
        u8::try_from(rank).map_or(PRIORITY_MAX, |rank| rank.min(PRIORITY_MAX))
    };
    let mut shares: BTreeMap<SocketAddr, (u8, f64)> = BTreeMap::new();
    for target in targets {
        let each = f64::from(target.weight.max(1)) / target.addresses.len().max(1) as f64;
        for ip in &target.addresses {
            let address = SocketAddr::new(*ip, target.port);
            let here = (level(target.priority), each);
            let share = shares.entry(address).or_insert(here);
            if here.0 < share.0 {
                *share = here;
            }
        }
    }
    let least = shares.values().map(|share| share.1).fold(1.0, f64::min);
    let most = shares.values().map(|share| share.1).fold(1.0, f64::max);
    let scale = (1.0 / least).min(f64::from(ENDPOINT_WEIGHT_MAX) / most);
    let endpoint = |(address, (level, share)): (SocketAddr, (u8, f64))| {
        let mut endpoint = Endpoint::plain(address.to_string());
        // In range by the bounds on both sides.
        let weight = (share * scale).round() as u32;
        endpoint.weight = weight.clamp(1, ENDPOINT_WEIGHT_MAX);
        endpoint.priority = level;
        endpoint
    };
    let mut endpoints: Vec<Endpoint> = shares.into_iter().map(endpoint).collect();
    // Stable: by address within a level.
    endpoints.sort_by_key(|endpoint| endpoint.priority);
    endpoints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, port: u16, last: &[u8]) -> Target {
        let addresses = last.iter().map(|last| IpAddr::from([10, 0, 0, *last]));
        Target {
            priority,
            weight,
            port,
            addresses: addresses.collect(),
        }
    }

    fn check(targets: &[Target], expected: &[(&str, u32, u8)]) {
        let found = endpoints(targets);
        let found: Vec<_> = found
            .iter()
            .map(|it| (it.address.as_str(), it.weight, it.priority))
            .collect();
        assert_eq!(found, expected, "{targets:?}");
    }

    #[test]
    fn weights_and_levels() {
        check(&[], &[]);
        check(
            &[
                target(20, 5, 81, &[2]),
                target(10, 60, 80, &[1]),
                target(10, 0, 80, &[3]),
            ],
            &[
                ("10.0.0.1:80", 60, 0),
                ("10.0.0.3:80", 1, 0),
                ("10.0.0.2:81", 5, 1),
            ],
        );
    }

    #[test]
    fn a_target_shares_its_weight_among_its_addresses() {
        check(
            &[target(0, 1, 80, &[1, 2]), target(0, 1, 80, &[3])],
            &[
                ("10.0.0.1:80", 1, 0),
                ("10.0.0.2:80", 1, 0),
                ("10.0.0.3:80", 2, 0),
            ],
        );
        check(
            &[target(0, 10, 80, &[1, 2]), target(0, 30, 80, &[3])],
            &[
                ("10.0.0.1:80", 5, 0),
                ("10.0.0.2:80", 5, 0),
                ("10.0.0.3:80", 30, 0),
            ],
        );
    }

    #[test]
    fn large_weights_keep_their_shares() {
        check(
            &[
                target(0, 65_535, 80, &[1]),
                target(0, 32_768, 80, &[2]),
                target(0, 1, 80, &[3]),
            ],
            &[
                ("10.0.0.1:80", 1000, 0),
                ("10.0.0.2:80", 500, 0),
                ("10.0.0.3:80", 1, 0),
            ],
        );
        check(
            &[target(0, 1000, 80, &[1]), target(0, 1, 80, &[2])],
            &[("10.0.0.1:80", 1000, 0), ("10.0.0.2:80", 1, 0)],
        );
        check(
            &[target(0, 1001, 80, &[1]), target(0, 1001, 80, &[2])],
            &[("10.0.0.1:80", 1000, 0), ("10.0.0.2:80", 1000, 0)],
        );
    }

    #[test]
    fn levels_end_at_the_last() {
        let many: Vec<Target> = (0..18)
            .map(|rank| target(rank * 100, 1, 80, &[rank as u8]))
            .collect();
        let levels: Vec<u8> = endpoints(&many).iter().map(|it| it.priority).collect();
        assert_eq!(levels[..16], (0..16).collect::<Vec<u8>>());
        assert_eq!(levels[16..], [15, 15]);
    }

    #[test]
    fn an_address_counts_once_at_its_first_level() {
        check(
            &[
                target(2, 7, 80, &[1]),
                target(1, 3, 80, &[1]),
                target(2, 7, 81, &[1]),
            ],
            &[("10.0.0.1:80", 3, 0), ("10.0.0.1:81", 7, 1)],
        );
    }
}
