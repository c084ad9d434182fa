//! Endpoints among which one is drawn, and whose turn it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use weir_config::units::Ratio;

use super::group::WHOLE;
use super::table::Table;
use super::{Member, schedule};
use crate::snapshot::Service;

/// Some endpoints of a service, in the order of its membership.
#[derive(Debug)]
pub(super) struct Pool {
    pub(super) members: Box<[Arc<Member>]>,
    /// Indices into `members`, each as often as its weight says, evenly spread; empty when all
    /// weights are equal, which reads as 0, 1, 2, ….
    schedule: Box<[u32]>,
    /// Next place in the schedule; [`CURSOR_UNSET`] until the first draw decides where to begin.
    cursor: AtomicU64,
    /// Of methods that hash.
    pub(super) table: Option<Arc<Table>>,
    /// The sum of all weights.
    weight: u64,
}

impl Pool {
    pub(super) fn new(service: &Service, members: Box<[Arc<Member>]>) -> Pool {
        let weights: Vec<u32> = members.iter().map(|it| it.endpoint.weight).collect();
        Pool {
            table: service.live.tables.of(&service.balance, &members),
            weight: weights.iter().copied().map(u64::from).sum(),
            members,
            schedule: schedule::spread(&weights),
            cursor: AtomicU64::new(CURSOR_UNSET),
        }
    }

    /// Endpoints of which none is drawn.
    pub(super) fn undrawn(members: Box<[Arc<Member>]>) -> Pool {
        Pool {
            members,
            schedule: Box::default(),
            cursor: AtomicU64::new(CURSOR_UNSET),
            table: None,
            weight: 0,
        }
    }

    /// How many places the schedule has; zero only without endpoints.
    pub(super) fn places(&self) -> u64 {
        match self.schedule.len() {
            0 => self.members.len() as u64,
            places => places as u64,
        }
    }

    /// Index of the endpoint at this place of the schedule, counted round.
    pub(super) fn at_place(&self, place: u64) -> usize {
        let place = (place % self.places()) as usize;
        self.schedule
            .get(place)
            .map_or(place, |index| *index as usize)
    }

    /// Index of the endpoint whose turn it is; the first `draw` decides where the turns begin, so
    /// that workers do not all begin with the same endpoint.
    pub(super) fn next_turn(&self, draw: u64) -> usize {
        // One worker uses this, so load and store need not be one step; if two did, one turn might
        // be taken twice.
        let cursor = match self.cursor.load(Ordering::Relaxed) {
            CURSOR_UNSET => draw % self.places(),
            cursor => cursor,
        };
        self.cursor
            .store((cursor + 1) % self.places(), Ordering::Relaxed);
        self.at_place(cursor)
    }

    /// How much more than the mean an endpoint may have in flight ("consistent hashing with
    /// bounded loads"); the request that is being placed counts already. `share` is what these
    /// endpoints get of the service's requests, in millionths.
    pub(super) fn room(&self, service: &Service, share: u32) -> Option<Room> {
        let load_max = service.balance.load_max()?;
        let load = u64::from(service.live.in_flight()) * u64::from(share) / u64::from(WHOLE);
        Some(Room {
            load: load.max(1) * u64::from(load_max.0),
            weight: self.weight * u64::from(Ratio::WHOLE.0),
        })
    }
}

/// The load that each endpoint may have, by its weight.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    load: u64,
    weight: u64,
}

impl Room {
    /// Whether one more is within the bound.
    pub(super) fn is_in(&self, member: &Member) -> bool {
        let share = self.load * u64::from(member.endpoint.weight);
        u64::from(member.live.in_flight()) < share.div_ceil(self.weight.max(1))
    }
}

/// No place in any schedule.
const CURSOR_UNSET: u64 = u64::MAX;
