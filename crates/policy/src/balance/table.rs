//! Tables of consistent hashing: made when a membership changes, shared by all workers.
//!
//! A table of thousands of endpoints takes milliseconds and megabytes, so there is one per process:
//! whoever compiles the same endpoints finds it here as long as somebody holds it. The engine
//! compiles a new membership once before it tells the workers, so that none of them stands still
//! for it.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use weir_config::balance::Balance;

use super::random::mix;
use super::ring::{self, Ring};
use super::{Member, maglev};

/// An endpoint as tables see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Weighted<'a> {
    pub(super) address: &'a str,
    pub(super) weight: u32,
}

/// A table and what it was made of.
#[derive(Debug)]
pub(crate) struct Table {
    kind: Kind,
    size: u32,
    endpoints: Box<[(Box<str>, u32)]>,
}

#[derive(Debug)]
enum Kind {
    Maglev(maglev::Table),
    Ring(Ring),
}

/// The tables of one service.
#[derive(Debug, Default)]
pub(crate) struct Tables(Mutex<Vec<Weak<Table>>>);

impl Tables {
    /// The table of these endpoints; `None` for methods that have none.
    pub(super) fn of(&self, balance: &Balance, members: &[Arc<Member>]) -> Option<Arc<Table>> {
        let size = match balance {
            Balance::Maglev(maglev) => maglev.table,
            Balance::RingHash(_) => 0,
            _ => return None,
        };
        // Held while it is made: another worker that wants the same one waits for it.
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|table| table.strong_count() > 0);
        let mut tables = known.iter().filter_map(Weak::upgrade);
        if let Some(table) = tables.find(|table| table.is_of(size, members)) {
            return Some(table);
        }
        let table = Arc::new(Table::build(size, members));
        known.push(Arc::downgrade(&table));
        Some(table)
    }
}

impl Table {
    fn build(size: u32, members: &[Arc<Member>]) -> Table {
        let weighted: Vec<_> = members.iter().map(|member| member.weighted()).collect();
        let kind = match size {
            0 => Kind::Ring(Ring::build(&weighted)),
            places => Kind::Maglev(maglev::Table::build(&weighted, places)),
        };
        let endpoints = weighted.iter().map(|it| (it.address.into(), it.weight));
        Table {
            kind,
            size,
            endpoints: endpoints.collect(),
        }
    }

    fn is_of(&self, size: u32, members: &[Arc<Member>]) -> bool {
        let own = self
            .endpoints
            .iter()
            .map(|(address, weight)| (&**address, *weight));
        let asked = members.iter().map(|member| member.weighted());
        self.size == size && own.eq(asked.map(|it| (it.address, it.weight)))
    }

    /// The key's endpoint if it will do, else the next that will; the same one for the same key as
    /// long as the same ones will do. After [`STEPS_MAX`] that did not, every endpoint is looked
    /// at.
    pub(super) fn first(&self, key: u64, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let found = match &self.kind {
            Kind::Maglev(table) => {
                let mut key = key;
                let mut places = (0..STEPS_MAX).filter_map(|_| {
                    let index = table.at(key);
                    key = mix(key);
                    index
                });
                places.find(|index| will_do(*index))
            }
            Kind::Ring(ring) => {
                let mut points = ring.from(key as u32).take(STEPS_MAX);
                points.find(|index| will_do(*index))
            }
        };
        found.or_else(|| {
            let count = self.endpoints.len() as u64;
            let start = super::random::below(mix(key), count) as usize;
            let mut all = (start..self.endpoints.len()).chain(0..start);
            all.find(|index| will_do(*index))
        })
    }
}

/// The hash of a key, as a method wants it.
pub(crate) fn hash(balance: &Balance, key: &[u8]) -> u64 {
    match balance {
        Balance::RingHash(_) => u64::from(ring::place(key)),
        _ => maglev::hash(key),
    }
}

/// How many places are tried before all endpoints are looked at.
const STEPS_MAX: usize = 64;
