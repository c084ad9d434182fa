//! How many connections each client of a listener has, over all workers and reloads.
//!
//! For: keeping one client from taking every connection of a listener. Not for: requests; those
//! have `limit`. The one idea: an entry lives as long as a connection of its client, so the table
//! is never larger than the listener's `connections_max`, and nothing has to be swept.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The connections of a listener by client. Locked for a moment when a connection opens and when it
/// closes, one of several parts at a time; never for a request.
#[derive(Debug, Default)]
pub struct ClientConnections {
    parts: [Part; PARTS],
    hasher: RandomState,
}

type Part = Mutex<HashMap<u128, u32>>;

/// One connection of a client; given back on drop.
#[derive(Debug)]
pub struct ClientPlace {
    table: Arc<ClientConnections>,
    key: u128,
}

impl ClientConnections {
    /// Takes a place for one more connection of a client, unless it has `max` already.
    #[must_use]
    pub fn enter(self: &Arc<Self>, client: IpAddr, max: u32) -> Option<ClientPlace> {
        let key = key(client);
        let mut part = self.part(key);
        let open = part.get(&key).copied().unwrap_or(0);
        if open >= max {
            return None;
        }
        part.insert(key, open + 1);
        drop(part);
        let table = Arc::clone(self);
        Some(ClientPlace { table, key })
    }

    /// How many connections a client has.
    #[must_use]
    pub fn open(&self, client: IpAddr) -> u32 {
        let key = key(client);
        self.part(key).get(&key).copied().unwrap_or(0)
    }

    fn part(&self, key: u128) -> MutexGuard<'_, HashMap<u128, u32>> {
        let part = self.hasher.hash_one(key) as usize % PARTS;
        // Every change under the lock leaves the map whole.
        self.parts[part]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ClientPlace {
    fn drop(&mut self) {
        let mut part = self.table.part(self.key);
        match part.get_mut(&self.key) {
            Some(open) if *open > 1 => *open -= 1,
            _ => {
                part.remove(&self.key);
            }
        }
    }
}

/// What counts as one client: an IPv4 address, or the first half of an IPv6 address, all of which
/// one customer of a provider has.
fn key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        // As mapped, where no other network of IPv6 is.
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

/// Enough that workers rarely meet.
const PARTS: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn as_many_as_allowed_and_not_one_more() {
        let table = Arc::new(ClientConnections::default());
        let client = ip("192.0.2.1");
        let mut held: Vec<_> = (0..3).map(|_| table.enter(client, 3).unwrap()).collect();
        assert!(table.enter(client, 3).is_none());
        assert_eq!(table.open(client), 3);
        // The bound may change while connections are open.
        assert!(table.enter(client, 2).is_none());
        held.push(table.enter(client, 4).unwrap());
        assert!(table.enter(ip("192.0.2.2"), 1).is_some());
        held.pop();
        held.pop();
        assert!(table.enter(client, 3).is_some());
    }

    #[test]
    fn who_is_one_client() {
        let table = Arc::new(ClientConnections::default());
        for (one, other, same) in [
            ("192.0.2.1", "::ffff:192.0.2.1", true),
            ("192.0.2.1", "192.0.2.2", false),
            ("2001:db8::1", "2001:db8::ffff:2", true),
            ("2001:db8:0:1::1", "2001:db8:0:2::1", false),
            ("::1", "192.0.2.1", false),
            ("::1", "0.0.0.0", false),
        ] {
            let _held = table.enter(ip(one), 1).unwrap();
            assert_eq!(table.enter(ip(other), 1).is_none(), same, "{one} {other}");
        }
    }

    #[test]
    fn nothing_is_kept_of_who_is_gone_also_not_of_who_was_refused() {
        let table = Arc::new(ClientConnections::default());
        let places: Vec<_> = (0..200_u8)
            .flat_map(|last| table.enter(ip(&format!("192.0.2.{last}")), 1))
            .collect();
        assert!(table.enter(ip("192.0.2.1"), 1).is_none());
        assert!(table.enter(ip("198.51.100.1"), 0).is_none());
        drop(places);
        let left: usize = table
            .parts
            .iter()
            .map(|part| part.lock().unwrap().len())
            .sum();
        assert_eq!(left, 0);
    }

    #[test]
    fn workers_count_together() {
        let table = Arc::new(ClientConnections::default());
        let client = ip("192.0.2.1");
        let taken: usize = std::thread::scope(|scope| {
            let work = || {
                let held: Vec<_> = (0..100).filter_map(|_| table.enter(client, 150)).collect();
                let count = held.len();
                std::mem::forget(held);
                count
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .sum()
        });
        assert_eq!((taken, table.open(client)), (150, 150));
    }
}
