//! The endpoints that a request may choose among, divided by level and zone.
//!
//! For: the share of requests that each level (`priority`) and each side (the proxy's own zone, the
//! others) gets at this moment. Not for: drawing within one of them ([`Pool`]). The one idea: most
//! services have one level and one side, and those pay nothing. Where there are more, shares are
//! worked out again a few times a second and whenever an endpoint was ejected, never per request.
//!
//! The rules, as `docs/concepts/balancing.md` has them for users; all shares are of weight, and an
//! endpoint is *able* when it is fit and its breaker, where it has one, lets requests through:
//!
//! - A level is able to carry `overprovisioning` × its able share of the load, at most all of it.
//!   Level by level each takes what it is able to, of what those before it left. When all together
//!   cannot carry everything, they divide it in proportion to what they are able to.
//! - Within a level the own zone keeps `overprovisioning` × its share of the able endpoints × the
//!   number of zones, at most everything: requests are taken to come from all zones alike, so no
//!   endpoint gets more than `overprovisioning` times the mean.
//! - A level of which less than `panic` is fit uses all of its endpoints, unless the levels
//!   together carry the load. When nobody is able at all, levels divide the load by weight.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use smallvec::SmallVec;
use weir_config::resilience::BreakerScope;

use super::pool::Pool;
use super::random::{below, mix};
use super::{Away, Member};
use crate::moment::Moment;
use crate::snapshot::Service;

/// The endpoints that a request may choose among.
#[derive(Debug)]
pub(super) struct Group {
    /// All of them. Nothing is drawn here where there are parts.
    pub(super) all: Pool,
    /// Level by level, the own zone first; empty when there is nothing to divide.
    parts: Box<[Part]>,
    /// Of all, where there are no parts.
    pub(super) away: Option<Away>,
    /// When shares are worked out again, nanoseconds.
    stale_at: AtomicU64,
    /// The service's count of ejections when they were.
    ejections: AtomicU64,
}

/// One side of one level. What changes is written by the one worker that owns it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) pool: Pool,
    /// Where its requests go, seen from the first level and the own zone.
    pub(super) away: Option<Away>,
    /// Levels by their order, whatever their numbers.
    level: usize,
    priority: u8,
    side: Side,
    /// How many zones the level has.
    zones: u64,
    /// What it gets, in millionths.
    share: AtomicU32,
    panic: AtomicBool,
}

/// What part of its level a part is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// All of it.
    Both,
    /// The proxy's own zone of a level that has others too.
    OwnZone,
    /// What is not in the own zone.
    OtherZones,
}

impl Group {
    pub(super) fn new(service: &Service, members: Vec<Arc<Member>>) -> Group {
        let priorities: BTreeSet<u8> = members.iter().map(|it| it.endpoint.priority).collect();
        let mut parts = Vec::new();
        for (level, priority) in priorities.into_iter().enumerate() {
            let here = members.iter().filter(|it| it.endpoint.priority == priority);
            divide(service, level, here.cloned().collect(), &mut parts);
        }
        let members = members.into_boxed_slice();
        let mut away = None;
        let all = if parts.len() < 2 {
            away = parts.pop().and_then(|part| part.away);
            Pool::new(service, members)
        } else {
            Pool::undrawn(members)
        };
        Group {
            all,
            away,
            parts: parts.into_boxed_slice(),
            stale_at: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
        }
    }

    /// The part for a draw; `None` when nothing is divided.
    pub(super) fn part(&self, service: &Service, draw: u64, at: Moment) -> Option<usize> {
        if self.parts.is_empty() {
            return None;
        }
        self.refresh(service, at);
        let draw = below(mix(draw ^ SALT), u64::from(WHOLE)) as u32;
        let mut end = 0;
        self.parts.iter().position(|part| {
            end += part.share();
            draw < end
        })
    }

    /// The parts in the order in which they are asked: this one first.
    pub(super) fn from(&self, first: usize) -> impl Iterator<Item = &Part> {
        let others = self.parts.iter().enumerate();
        let others = others.filter(move |(index, _)| *index != first);
        self.parts
            .get(first)
            .into_iter()
            .chain(others.map(|(_, part)| part))
    }

    /// How requests are divided at this moment, in words; `None` when they are not.
    pub(super) fn said(&self, service: &Service, at: Moment) -> Option<String> {
        if self.parts.is_empty() {
            return None;
        }
        self.refresh(service, at);
        let mut said = "its requests go to".to_owned();
        for (index, part) in self.parts.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let share = f64::from(part.share()) * 100.0 / f64::from(WHOLE);
            let place = part.said(service);
            // Writing to a string cannot fail.
            let _ = write!(said, "{comma} {place} by {share:.1} %");
        }
        Some(said)
    }

    fn refresh(&self, service: &Service, at: Moment) {
        let ejections = service.live.ejections().total();
        if at.nanos >= self.stale_at.load(Ordering::Relaxed)
            || ejections != self.ejections.load(Ordering::Relaxed)
        {
            self.work_out(service, at);
            self.ejections.store(ejections, Ordering::Relaxed);
            let stale_at = at.plus(REFRESH).nanos;
            self.stale_at.store(stale_at, Ordering::Relaxed);
        }
    }

    /// The shares at this moment.
    fn work_out(&self, service: &Service, at: Moment) {
        let weigh = |part: &Part| Weight::of(&part.pool, service, at);
        let weights: Weights = self.parts.iter().map(weigh).collect();
        let mut levels = Weights::new();
        for (part, weight) in self.parts.iter().zip(&weights) {
            levels.resize(part.level + 1, Weight::default());
            levels[part.level].add(weight);
        }
        let over = service.overprovisioning.0;
        let able = |level: &Weight| Weight::share(level.able, level.all, over, 1);
        let carried = levels.iter().map(able).sum::<u64>().min(u64::from(WHOLE));
        let weight_all: u64 = levels.iter().map(|level| level.all).sum();
        let mut parts = self.parts.iter().zip(&weights).peekable();
        let mut left = u64::from(WHOLE);
        for (index, level) in levels.iter().enumerate() {
            let share = match carried {
                0 => u64::from(WHOLE) * level.all / weight_all.max(1),
                _ => able(level) * u64::from(WHOLE) / carried,
            };
            // What rounding left goes to the last level.
            let last = index + 1 == levels.len();
            let share = if last { left } else { share.min(left) };
            left -= share;
            let few = level.fit_count * 100_000 < level.count * u64::from(service.outlier.panic.0);
            let panic = few && (carried < u64::from(WHOLE) || levels.len() == 1);
            let mut left_here = share;
            while let Some((part, weight)) = parts.next_if(|(part, _)| part.level == index) {
                let own = match part.side {
                    Side::OwnZone => part.kept(level, weight, over, panic, share),
                    Side::Both | Side::OtherZones => left_here,
                };
                left_here -= own;
                // At most the whole, so it fits.
                part.share.store(own as u32, Ordering::Relaxed);
                part.panic.store(panic, Ordering::Relaxed);
            }
        }
    }
}

impl Part {
    /// Whether fitness does not count here.
    pub(super) fn in_panic(&self) -> bool {
        self.panic.load(Ordering::Relaxed)
    }

    /// What it gets, in millionths.
    pub(super) fn share(&self) -> u32 {
        self.share.load(Ordering::Relaxed)
    }

    /// What it is, in words.
    pub(super) fn said(&self, service: &Service) -> String {
        let zone = service.zone.as_deref().unwrap_or_default();
        match self.side {
            Side::Both => format!("priority {}", self.priority),
            Side::OwnZone => format!("priority {} in zone {zone:?}", self.priority),
            Side::OtherZones => format!("priority {} outside of zone {zone:?}", self.priority),
        }
    }

    /// What the own zone keeps of what its level gets.
    fn kept(&self, level: &Weight, own: &Weight, over: u32, panic: bool, share: u64) -> u64 {
        let kept = match panic {
            true => Weight::share(own.all, level.all, over, self.zones),
            false => Weight::share(own.able, level.able, over, self.zones),
        };
        kept * share / u64::from(WHOLE)
    }
}

/// What stands behind shares.
#[derive(Debug, Default, Clone, Copy)]
struct Weight {
    able: u64,
    all: u64,
    fit_count: u64,
    count: u64,
}

type Weights = SmallVec<[Weight; 4]>;

impl Weight {
    fn of(pool: &Pool, service: &Service, at: Moment) -> Weight {
        let breaker = service.breaker_of(BreakerScope::Endpoint);
        let mut sum = Weight::default();
        for member in &pool.members {
            let weight = u64::from(member.endpoint.weight);
            let fit = member.is_fit(at);
            let able = fit && breaker.is_none_or(|it| member.refuses(it, at).is_none());
            sum.add(&Weight {
                able: if able { weight } else { 0 },
                all: weight,
                fit_count: u64::from(fit),
                count: 1,
            });
        }
        sum
    }

    fn add(&mut self, other: &Weight) {
        self.able += other.able;
        self.all += other.all;
        self.fit_count += other.fit_count;
        self.count += other.count;
    }

    /// `over` thousandths × `part` / `all` × `times`, in millionths; at most the whole.
    fn share(part: u64, all: u64, over: u32, times: u64) -> u64 {
        let whole = u128::from(WHOLE);
        let share = u128::from(part) * u128::from(over) * u128::from(times) * whole / 1_000;
        let share = share.checked_div(u128::from(all)).unwrap_or(0);
        // At most the whole, so it fits.
        share.min(whole) as u64
    }
}

/// A level as one part, or as two where the proxy's zone has some of it and others have some.
fn divide(service: &Service, level: usize, here: Vec<Arc<Member>>, parts: &mut Vec<Part>) {
    let zones: BTreeSet<_> = here.iter().map(|it| it.endpoint.zone.as_str()).collect();
    let zones = zones.into_iter().filter(|zone| !zone.is_empty()).count() as u64;
    let lower = (level > 0).then_some(Away::Level);
    let mut add = |members: Vec<Arc<Member>>, side, away| {
        parts.push(Part {
            priority: members.first().map_or(0, |it| it.endpoint.priority),
            pool: Pool::new(service, members.into_boxed_slice()),
            away,
            level,
            side,
            zones,
            share: AtomicU32::new(0),
            panic: AtomicBool::new(false),
        });
    };
    let Some(zone) = &service.zone else {
        return add(here, Side::Both, lower);
    };
    let is_own = |it: &Arc<Member>| *it.endpoint.zone == **zone;
    let (own, others): (Vec<_>, Vec<_>) = here.into_iter().partition(is_own);
    match (own.is_empty(), others.is_empty()) {
        (false, false) => {
            add(own, Side::OwnZone, lower);
            add(others, Side::OtherZones, lower.or(Some(Away::Zone)));
        }
        (false, true) => add(own, Side::Both, lower),
        (true, _) => add(others, Side::OtherZones, lower.or(Some(Away::Zone))),
    }
}

/// The whole load, in millionths.
pub(super) const WHOLE: u32 = 1_000_000;
/// The draw of a part says nothing about the draw within it.
const SALT: u64 = 0x6c65_7665_6c5f_6f66;
/// How old shares may get: ejections end by time alone.
const REFRESH: Duration = Duration::from_millis(100);
