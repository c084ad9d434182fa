//! The methods: how one endpoint is drawn among those that will do.

use std::cmp::Ordering;

use weir_config::balance::Balance;

use crate::balance::Member;
use crate::balance::pool::Pool;
use crate::balance::ramp::{FULL, Ramp};
use crate::balance::random::{below, mix};
use crate::moment::Moment;

/// What decides a draw.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    /// The hash of the request's key, for methods that hash.
    pub(super) key: Option<u64>,
    pub(super) draw: u64,
    pub(super) at: Moment,
    pub(super) ramp: Option<&'a Ramp>,
}

impl Draw<'_> {
    /// Index of an endpoint that will do; `None` when none does. There is at least one endpoint.
    ///
    /// Constant time while the first ones drawn will do; after [`DRAWS_MAX`] that did not, every
    /// endpoint is looked at.
    pub(super) fn from(
        &self,
        balance: &Balance,
        pool: &Pool,
        will_do: impl Fn(&Member) -> bool,
    ) -> Option<usize> {
        let Draw {
            key,
            draw,
            at,
            ramp,
        } = *self;
        let first = |source: &mut dyn FnMut() -> usize| first_that(pool, draw, source, &will_do);
        let weight = |member: &Member| {
            let share = ramp.map_or(FULL, |ramp| ramp.share(member));
            u64::from(member.endpoint.weight) * share
        };
        match balance {
            Balance::Maglev(_) | Balance::RingHash(_) => match (&pool.table, key) {
                (Some(table), Some(key)) => table.first(key, |index| will_do(&pool.members[index])),
                // Without a key, in turn.
                _ => first(&mut || pool.next_turn(draw)),
            },
            Balance::RoundRobin => first(&mut || pool.next_turn(draw)),
            Balance::Random => first(&mut by_weight(pool, draw)),
            Balance::LeastRequest => better_of_two(pool, draw, &will_do, |one, other| {
                // In flight by weight, without dividing.
                let one_load = u64::from(one.live.in_flight()) * weight(other);
                let other_load = u64::from(other.live.in_flight()) * weight(one);
                one_load.cmp(&other_load)
            }),
            Balance::PeakEwma => better_of_two(pool, draw, &will_do, |one, other| {
                let cost = |member: &Member| {
                    let load = member.live.latency.cost(member.live.in_flight(), at);
                    load / weight(member).max(1) as f64
                };
                cost(one).total_cmp(&cost(other))
            }),
        }
    }
}

/// Indices drawn at random by weight, without end.
fn by_weight(pool: &Pool, draw: u64) -> impl FnMut() -> usize {
    let mut number = draw;
    move || {
        number = mix(number);
        pool.at_place(below(number, pool.places()))
    }
}

/// The first index of `source` that will do; after enough that did not, the next one in order.
fn first_that(
    pool: &Pool,
    draw: u64,
    source: &mut dyn FnMut() -> usize,
    will_do: &impl Fn(&Member) -> bool,
) -> Option<usize> {
    let endpoints = &pool.members;
    let found = (0..DRAWS_MAX)
        .map(|_| source())
        .find(|index| will_do(&endpoints[*index]));
    found.or_else(|| {
        let start = below(mix(draw), endpoints.len() as u64) as usize;
        let indices = (start..endpoints.len()).chain(0..start);
        indices
            .into_iter()
            .find(|index| will_do(&endpoints[*index]))
    })
}

/// The better of two different endpoints drawn by weight (power of two choices): nearly as even as
/// asking all of them, and no herd runs to the one that looks best.
fn better_of_two(
    pool: &Pool,
    draw: u64,
    will_do: &impl Fn(&Member) -> bool,
    compare: impl Fn(&Member, &Member) -> Ordering,
) -> Option<usize> {
    let endpoints = &pool.members;
    let mut source = by_weight(pool, draw);
    let one = first_that(pool, draw, &mut source, will_do)?;
    if endpoints.len() == 1 {
        return Some(one);
    }
    // Weights may draw the same one again and again; then a neighbour is the other choice.
    let other = (0..DRAWS_MAX)
        .map(|_| source())
        .find(|index| *index != one && will_do(&endpoints[*index]))
        .or_else(|| {
            let mut round = (one + 1..endpoints.len()).chain(0..one);
            round.find(|index| will_do(&endpoints[*index]))
        });
    match other {
        Some(other) if compare(&endpoints[other], &endpoints[one]) == Ordering::Less => Some(other),
        _ => Some(one),
    }
}

/// How many are drawn before all are looked at. When half of the endpoints will do, that happens
/// once in 256 times.
const DRAWS_MAX: usize = 8;
