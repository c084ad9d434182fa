//! The ring of consistent hashing: each endpoint has many points on it, and a key belongs to the
//! next point.
//!
//! Points and the hash of keys are those of nginx (`hash … consistent`) and pingora-ketama: CRC-32
//! of the address, and of each point before. So a fleet that moves from one to the other keeps its
//! caches warm.

use crc32fast::Hasher;

use crate::balance::table::Weighted;

/// Points by place, ascending: the place and the endpoint's index.
#[derive(Debug)]
pub(super) struct Ring(Box<[(u32, u32)]>);

/// The place of a key.
pub(super) fn place(key: &[u8]) -> u32 {
    crc32fast::hash(key)
}

impl Ring {
    /// 160 points for each unit of weight; fewer where they would be more than [`POINTS_MAX`].
    pub(super) fn build(endpoints: &[Weighted<'_>]) -> Ring {
        let units: u64 = endpoints.iter().map(|it| u64::from(it.weight)).sum();
        let wanted = units * POINTS_PER_UNIT;
        let mut points = Vec::with_capacity(wanted.min(POINTS_MAX) as usize);
        for (index, endpoint) in (0_u32..).zip(endpoints) {
            let own = u64::from(endpoint.weight) * POINTS_PER_UNIT;
            let own = match wanted <= POINTS_MAX {
                true => own,
                false => (own * POINTS_MAX / wanted).max(1),
            };
            let base = base(endpoint.address);
            let mut place = 0_u32;
            for _ in 0..own {
                let mut hasher = base.clone();
                hasher.update(&place.to_le_bytes());
                place = hasher.finalize();
                points.push((place, index));
            }
        }
        points.sort_unstable();
        points.dedup_by_key(|(place, _)| *place);
        Ring(points.into_boxed_slice())
    }

    /// Indices from a place onwards, all the way round; one comes as often as it has points.
    pub(super) fn from(&self, place: u32) -> impl Iterator<Item = usize> + '_ {
        let start = self.0.partition_point(|point| point.0 < place);
        let (before, after) = self.0.split_at(start);
        after.iter().chain(before).map(|(_, index)| *index as usize)
    }
}

/// The hash of an address, to be continued: host, zero, port. IPv6 goes without brackets.
fn base(address: &str) -> Hasher {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, ""));
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut hasher = Hasher::new();
    hasher.update(host.as_bytes());
    hasher.update(&[0]);
    hasher.update(port.as_bytes());
    hasher
}

/// As nginx has it; the spread of shares is then about 8 %.
const POINTS_PER_UNIT: u64 = 160;
/// Most points of a ring: 8 MiB, shared by all workers.
const POINTS_MAX: u64 = 1 << 20;
