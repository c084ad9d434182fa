//! The search for one endpoint: which conditions are dropped, and in which order, when nobody meets
//! them all.
//!
//! Where endpoints are divided, one part is drawn and the others follow in their order: who was not
//! tried goes before who is near, because another endpoint is another chance. A breaker's refusal
//! is never dropped; fitness is, in panic.

use std::cell::Cell;
use std::sync::Arc;

use weir_config::resilience::Breaker;

use super::draw;
use super::group::{Group, Part, WHOLE};
use super::pool::Pool;
use super::ramp::Ramp;
use super::{Asks, Away, Member, Tried};
use crate::moment::Moment;
use crate::snapshot::Service;

/// What is searched for.
pub(super) struct Search<'a> {
    pub(super) service: &'a Service,
    /// Of each endpoint, where the service has one.
    pub(super) breaker: Option<&'a Breaker>,
    pub(super) asks: &'a Asks,
    pub(super) tried: &'a Tried,
    pub(super) draw: u64,
    pub(super) at: Moment,
    pub(super) ramp: Option<Ramp>,
}

/// Who was found, and where.
pub(super) struct Found<'a> {
    pub(super) member: &'a Arc<Member>,
    pub(super) pool: &'a Pool,
    /// Where the membership is divided.
    pub(super) part: Option<&'a Part>,
    pub(super) how: How,
    pub(super) panic: bool,
}

/// How an endpoint came to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// Every one that will do has been tried.
    Again,
    /// By the service's method.
    Method,
    /// By the method, and nobody has room.
    PastBound,
    /// The client is at this one.
    Session,
}

/// A pool, and whether fitness counts in it.
struct Place<'a> {
    pool: &'a Pool,
    part: Option<&'a Part>,
    panic: Cell<Option<bool>>,
}

impl<'a> Search<'a> {
    /// The endpoint of a session if it will do, else one by the method.
    pub(super) fn among(
        &self,
        group: &'a Group,
        kept: Option<&'a Arc<Member>>,
    ) -> Option<Found<'a>> {
        let all = Place::all(group);
        if let Some(member) = kept.filter(|member| self.is_fresh(&all, member)) {
            return Some(all.found(member, How::Session));
        }
        // One key leads to one level, whatever is drawn.
        let draw = self.asks.key.unwrap_or(self.draw);
        let Some(first) = group.part(self.service, draw, self.at) else {
            return self.fresh(&all).or_else(|| self.again(&all));
        };
        let mut parts = group.from(first);
        let fresh = parts.find_map(|part| self.fresh(&Place::part(part)));
        fresh.or_else(|| {
            let mut parts = group.from(first);
            parts.find_map(|part| self.again(&Place::part(part)))
        })
    }

    /// One that this request has not tried.
    fn fresh(&self, place: &Place<'a>) -> Option<Found<'a>> {
        let room = place.pool.room(self.service, place.share());
        let ramp = self.ramp.as_ref();
        let best = self.draw(place, |member| {
            room.is_none_or(|room| room.is_in(member))
                && self.is_fresh(place, member)
                && ramp.is_none_or(|ramp| ramp.keeps(member))
        });
        if let Some(member) = best {
            return Some(place.found(member, How::Method));
        }
        let how = match room {
            Some(_) => How::PastBound,
            // Nobody kept the draw: all that are left start slowly, each like the others.
            None => How::Method,
        };
        if room.is_none() && ramp.is_none() {
            return None;
        }
        let member = self.draw(place, |member| self.is_fresh(place, member))?;
        Some(place.found(member, how))
    }

    /// One that has been tried.
    fn again(&self, place: &Place<'a>) -> Option<Found<'a>> {
        let member = self.draw(place, |member| self.is_usable(place, member))?;
        Some(place.found(member, How::Again))
    }

    fn is_fresh(&self, place: &Place<'a>, member: &Member) -> bool {
        !self.tried.has(member) && self.is_usable(place, member)
    }

    fn is_usable(&self, place: &Place<'a>, member: &Member) -> bool {
        let closed = |breaker| member.refuses(breaker, self.at).is_none();
        self.breaker.is_none_or(closed)
            && (member.is_fit(self.at) || place.in_panic(self.service, self.at))
    }

    fn draw(
        &self,
        place: &Place<'a>,
        will_do: impl Fn(&Member) -> bool,
    ) -> Option<&'a Arc<Member>> {
        let drawn = draw::Draw {
            key: self.asks.key,
            draw: self.draw,
            at: self.at,
            ramp: self.ramp.as_ref(),
        };
        let index = drawn.from(&self.service.balance, place.pool, will_do)?;
        place.pool.members.get(index)
    }
}

impl<'a> Place<'a> {
    fn all(group: &'a Group) -> Place<'a> {
        Place {
            pool: &group.all,
            part: None,
            panic: Cell::new(None),
        }
    }

    fn part(part: &'a Part) -> Place<'a> {
        Place {
            pool: &part.pool,
            part: Some(part),
            panic: Cell::new(Some(part.in_panic())),
        }
    }

    /// What it gets of the requests, in millionths. A part that gets nothing is asked for what the
    /// others could not take, which may be everything.
    fn share(&self) -> u32 {
        match self.part.map(Part::share) {
            None | Some(0) => WHOLE,
            Some(share) => share,
        }
    }

    fn found(&self, member: &'a Arc<Member>, how: How) -> Found<'a> {
        Found {
            member,
            pool: self.pool,
            part: self.part,
            how,
            panic: self.panic.get() == Some(true) && how != How::Session,
        }
    }

    /// Whether fitness does not count. Counted at the first unfit endpoint that is drawn, so never
    /// while all are fit.
    fn in_panic(&self, service: &Service, at: Moment) -> bool {
        self.panic.get().unwrap_or_else(|| {
            let few = too_few_fit(service, self.pool, at);
            self.panic.set(Some(few));
            few
        })
    }
}

impl Found<'_> {
    /// Why it is not one of those that come first; who stays where its session is has not left.
    pub(super) fn away(&self, group: &Group) -> Option<Away> {
        match (self.how, self.part) {
            (How::Session, _) => None,
            (_, Some(part)) => part.away,
            (_, None) => group.away,
        }
    }
}

/// Whether so few endpoints are fit that fitness no longer counts.
fn too_few_fit(service: &Service, pool: &Pool, at: Moment) -> bool {
    let fit = pool.members.iter().filter(|member| member.is_fit(at));
    let (fit, all) = (fit.count() as u64, pool.members.len() as u64);
    fit * PERCENT_WHOLE < all * u64::from(service.outlier.panic.0)
}

/// The whole, in thousandths of a percent.
const PERCENT_WHOLE: u64 = 100_000;
