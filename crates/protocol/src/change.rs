//! What changed in the membership of one service: so that an instance that joins costs every node
//! one endpoint, and not the whole membership again.
//!
//! A change stands on exactly what the same stream said of the service before. It carries how many
//! endpoints there are afterwards: no proof, but most ways in which two ends could come to differ
//! are noticed by it. Memberships that changes are made of are sorted.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use weir_config::endpoint::Endpoint;

/// What changed in the membership of a service since the stream spoke of it last. Only for nodes
/// whose hello has [`NodeHello::takes_changes`](crate::NodeHello::takes_changes).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    /// The service's name in the document.
    pub service: String,
    /// Endpoints that are new, and those of which anything but the address is new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<Endpoint>,
    /// Addresses of endpoints that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
    /// How many endpoints there are afterwards.
    pub count: usize,
}

impl MembershipChange {
    /// What leads from one sorted membership to another; `None` where it takes the whole one:
    /// when an address is there more than once.
    #[must_use]
    pub fn between(service: &str, before: &[Endpoint], after: &[Endpoint]) -> Option<Self> {
        if !has_single_addresses(before) || !has_single_addresses(after) {
            return None;
        }
        let mut change = MembershipChange {
            service: service.to_owned(),
            endpoints: Vec::new(),
            gone: Vec::new(),
            count: after.len(),
        };
        let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => return Some(change),
                (None, Some(_)) => Ordering::Greater,
                (Some(_), None) => Ordering::Less,
                (Some(old), Some(new)) => old.address.cmp(&new.address),
            };
            let (left, come) = match order {
                Ordering::Less => (old.next(), None),
                Ordering::Equal => (old.next(), new.next()),
                Ordering::Greater => (None, new.next()),
            };
            match (left, come) {
                (Some(left), None) => change.gone.push(left.address.clone()),
                (left, Some(come)) if left != Some(come) => change.endpoints.push(come.clone()),
                _ => {}
            }
        }
    }

    /// The membership afterwards, sorted; `None` when it does not fit what was before.
    #[must_use]
    pub fn applied(self, before: &[Endpoint]) -> Option<Vec<Endpoint>> {
        let told = self.endpoints.iter().map(|it| it.address.as_str());
        let replaced: HashSet<&str> = told.chain(self.gone.iter().map(String::as_str)).collect();
        let stays = |it: &&Endpoint| !replaced.contains(it.address.as_str());
        let mut after: Vec<Endpoint> = before.iter().filter(stays).cloned().collect();
        after.extend(self.endpoints);
        after.sort_unstable();
        (after.len() == self.count).then_some(after)
    }
}

/// Whether no address of a sorted membership is there twice.
fn has_single_addresses(endpoints: &[Endpoint]) -> bool {
    endpoints
        .windows(2)
        .all(|pair| matches!(pair, [one, other] if one.address < other.address))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn members(ports: &[u16]) -> Vec<Endpoint> {
        let mut members: Vec<Endpoint> = ports
            .iter()
            .map(|port| Endpoint::plain(format!("127.0.0.1:{port}")))
            .collect();
        members.sort_unstable();
        members
    }

    fn check(before: &[Endpoint], after: &[Endpoint]) -> MembershipChange {
        let change = MembershipChange::between("users", before, after).unwrap();
        let json = serde_json::to_string(&change).unwrap();
        let read: MembershipChange = serde_json::from_str(&json).unwrap();
        assert_eq!(read.applied(before).as_deref(), Some(after), "{json}");
        change
    }

    #[test]
    fn only_what_differs_is_carried() {
        let joined = check(&members(&[1, 3]), &members(&[1, 2, 3]));
        assert_eq!(joined.endpoints, members(&[2]));
        assert!(joined.gone.is_empty());
        let left = check(&members(&[1, 2, 3]), &members(&[1, 3]));
        assert!(left.endpoints.is_empty());
        assert_eq!(left.gone, ["127.0.0.1:2"]);
        let mut ill = members(&[1, 2, 3]);
        ill[1].healthy = false;
        let fell_ill = check(&members(&[1, 2, 3]), &ill);
        assert_eq!(fell_ill.endpoints, ill[1..2]);
        assert!(fell_ill.gone.is_empty());
    }

    #[test]
    fn every_step_between_two_sets_leads_there() {
        // All pairs of subsets of four, each endpoint healthy in one of them and not in the other.
        let subset = |bits: u8, is_well: bool| -> Vec<Endpoint> {
            let ports: Vec<u16> = (0..4).filter(|port| bits & (1 << port) != 0).collect();
            let mut members = members(&ports);
            for member in &mut members {
                member.healthy = is_well || member.address.ends_with('1');
            }
            members
        };
        for before in 0..16 {
            for after in 0..16 {
                check(&subset(before, true), &subset(after, true));
                check(&subset(before, true), &subset(after, false));
            }
        }
    }

    #[test]
    fn a_node_that_does_not_know_of_changes_takes_none() {
        let hello = "{\"node\":\"n\",\"role\":\"gateway\",\"version\":\"1\",\"running\":0}";
        let hello: crate::NodeHello = serde_json::from_str(hello).unwrap();
        assert!(!hello.takes_changes);
    }

    #[test]
    fn one_address_twice_takes_the_whole_membership() {
        let mut twice = members(&[1, 1]);
        twice[1].zone = "b".to_owned();
        assert_eq!(
            MembershipChange::between("users", &twice, &members(&[1])),
            None
        );
        assert_eq!(
            MembershipChange::between("users", &members(&[1]), &twice),
            None
        );
    }

    #[test]
    fn a_change_that_does_not_fit_is_noticed() {
        let joined = check(&members(&[1]), &members(&[1, 2]));
        assert_eq!(joined.clone().applied(&[]), None, "less was known");
        assert_eq!(joined.applied(&members(&[1, 3])), None, "more was known");
        let left = check(&members(&[1, 2]), &members(&[1]));
        assert_eq!(left.applied(&members(&[2])), None, "another was known");
    }
}
