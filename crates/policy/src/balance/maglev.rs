//! The table of Maglev hashing (Eisenbud et al., NSDI 2016, section 3.4): each endpoint has an own
//! order of all places, and they take places in turn until the table is full.
//!
//! Shares differ by at most one place for equal weights. When an endpoint goes, its places are
//! taken by others and few more change hands.

use weir_config::balance::next_prime;

use crate::balance::random::mix;
use crate::balance::table::Weighted;

/// Places, each with an endpoint's index.
#[derive(Debug)]
pub(super) struct Table(Box<[u32]>);

/// The hash of a key: the same on every machine and in every version.
pub(super) fn hash(key: &[u8]) -> u64 {
    seeded(key, FNV_BASIS)
}

impl Table {
    /// A table with so many places, a prime number; with the next one above the number of endpoints
    /// when they are more, so that everybody has a place.
    pub(super) fn build(endpoints: &[Weighted<'_>], places: u32) -> Table {
        if endpoints.is_empty() {
            return Table(Box::default());
        }
        let count = u32::try_from(endpoints.len()).unwrap_or(u32::MAX);
        let places = next_prime(places.max(count));
        let size = u64::from(places);
        let mut orders: Vec<Order> = endpoints.iter().map(|it| Order::of(it, size)).collect();
        let heaviest = endpoints.iter().map(|it| it.weight).max().unwrap_or(1);
        let heaviest = u64::from(heaviest.max(1));
        let mut table = vec![FREE; places as usize];
        let mut left = places;
        let mut round = 0_u64;
        while left > 0 {
            round += 1;
            for (index, order) in (0_u32..).zip(&mut orders) {
                // A lighter endpoint sits out. Everybody gets a place in the first round.
                if round * order.weight < order.turns * heaviest {
                    continue;
                }
                order.turns += 1;
                let mut place = order.next(size);
                while table[place] != FREE {
                    place = order.next(size);
                }
                table[place] = index;
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
        Table(table.into_boxed_slice())
    }

    /// The index at the place of a hash.
    pub(super) fn at(&self, hash: u64) -> Option<usize> {
        let places = self.0.len() as u64;
        let place = hash.checked_rem(places)?;
        self.0.get(place as usize).map(|index| *index as usize)
    }
}

/// One endpoint's order of all places, and its turns so far.
struct Order {
    next: u64,
    skip: u64,
    weight: u64,
    turns: u64,
}

impl Order {
    fn of(endpoint: &Weighted<'_>, size: u64) -> Order {
        let name = endpoint.address.as_bytes();
        Order {
            next: seeded(name, OFFSET_SEED) % size,
            skip: seeded(name, SKIP_SEED) % (size - 1) + 1,
            weight: u64::from(endpoint.weight.max(1)),
            turns: 0,
        }
    }

    fn next(&mut self, size: u64) -> usize {
        let place = self.next;
        self.next = (self.next + self.skip) % size;
        place as usize
    }
}

/// FNV-1a, mixed: short keys that differ in their last byte come out far apart.
fn seeded(bytes: &[u8], seed: u64) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
    mix(bytes.iter().fold(seed, step))
}

const FREE: u32 = u32::MAX;
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;
const OFFSET_SEED: u64 = FNV_BASIS ^ 0x6f66_6673_6574_0000;
const SKIP_SEED: u64 = FNV_BASIS ^ 0x0073_6b69_7000_0000;
