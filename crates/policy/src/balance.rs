//! Who is there, who is fit, who is next.
//!
//! For: choosing the endpoint of an attempt. Not for: knowing who is there (`discovery`, the
//! engine) or who has failed (`resilience`). The one idea: the usual case costs nothing. An
//! endpoint is drawn by the service's method; only when the one that was drawn is not fit (ejected,
//! unhealthy, or already tried by this request) does anybody look at the others.
//!
//! An attempt goes to an endpoint that is fit and untried, else to one that is fit. When less than
//! the `panic` share of a service's endpoints is fit, fitness no longer counts: the few that are
//! left would be overrun, and what looks like failing endpoints may be something else. A `panic` of
//! zero means that unfit endpoints are never used.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;
use weir_config::endpoint::Endpoint;
use weir_config::service::Balance;

use crate::live::EndpointLive;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::refusal::{Code, Refusal};
use crate::snapshot::Service;

mod draw;
pub(crate) mod latency;
pub(crate) mod random;
mod schedule;

/// The endpoints of one service as one worker sees them. Each worker compiles its own, so that
/// reference counts are not shared between cores; the [`EndpointLive`] inside are.
#[derive(Debug)]
pub struct Members {
    /// The endpoints.
    pub endpoints: Vec<Arc<Member>>,
    /// Indices into `endpoints`, each as often as its weight says, evenly spread; empty when all
    /// weights are equal, which reads as 0, 1, 2, ….
    schedule: Box<[u32]>,
    /// Next place in the schedule; [`CURSOR_UNSET`] until the first draw decides where to begin.
    cursor: AtomicU64,
}

/// One endpoint.
#[derive(Debug)]
pub struct Member {
    /// As discovered.
    pub endpoint: Endpoint,
    /// Its live state, shared by all workers and kept over membership changes by address.
    pub live: Arc<EndpointLive>,
}

/// The choice of an endpoint for one attempt; counts as a request in flight there until dropped.
#[derive(Debug)]
pub struct Chosen {
    /// The endpoint.
    pub member: Arc<Member>,
    choices: u32,
}

/// Addresses already tried by a request.
#[derive(Debug, Default)]
pub struct Tried(pub SmallVec<[Arc<Member>; 2]>);

impl Members {
    /// Compiles discovered endpoints for a service.
    #[must_use]
    pub fn compile(service: &Service, endpoints: &[Endpoint]) -> Members {
        let states = service.live.endpoints_of(endpoints);
        let weights: Vec<u32> = endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let endpoints = endpoints.iter().cloned().zip(states);
        Members {
            endpoints: endpoints
                .map(|(endpoint, live)| Arc::new(Member { endpoint, live }))
                .collect(),
            schedule: schedule::spread(&weights),
            cursor: AtomicU64::new(CURSOR_UNSET),
        }
    }

    /// How many places the schedule has; zero only without endpoints.
    fn places(&self) -> u64 {
        match self.schedule.len() {
            0 => self.endpoints.len() as u64,
            places => places as u64,
        }
    }

    /// Index of the endpoint at this place of the schedule, counted round.
    fn at_place(&self, place: u64) -> usize {
        let place = (place % self.places()) as usize;
        self.schedule
            .get(place)
            .map_or(place, |index| *index as usize)
    }

    /// Index of the endpoint whose turn it is; the first `draw` decides where the turns begin, so
    /// that workers do not all begin with the same endpoint.
    fn next_turn(&self, draw: u64) -> usize {
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
}

impl Default for Members {
    fn default() -> Members {
        Members {
            endpoints: Vec::new(),
            schedule: Box::default(),
            cursor: AtomicU64::new(CURSOR_UNSET),
        }
    }
}

impl Member {
    /// Whether discovery holds it healthy and outlier detection has not taken it out.
    #[must_use]
    pub fn is_fit(&self, at: Moment) -> bool {
        self.endpoint.healthy && !self.live.is_ejected(at)
    }
}

impl Chosen {
    fn new(member: &Arc<Member>, members: &Members) -> Chosen {
        member.live.begin();
        let choices = u32::try_from(members.endpoints.len()).unwrap_or(u32::MAX);
        Chosen {
            member: member.clone(),
            choices,
        }
    }

    /// Among how many endpoints it was chosen.
    #[must_use]
    pub fn choices(&self) -> u32 {
        self.choices
    }
}

impl Drop for Chosen {
    fn drop(&mut self) {
        self.member.live.end();
    }
}

impl Tried {
    /// Whether this endpoint was tried. Told by its live state, which stays the same when the
    /// membership is compiled anew while a request is on its way.
    #[must_use]
    pub fn has(&self, member: &Member) -> bool {
        self.0
            .iter()
            .any(|tried| Arc::ptr_eq(&tried.live, &member.live))
    }

    /// Remembers an endpoint.
    pub fn add(&mut self, member: &Arc<Member>) {
        self.0.push(member.clone());
    }
}

/// Chooses the endpoint of an attempt: deterministic for a given `draw` and turn.
///
/// # Errors
/// `no-endpoint` when there is none, or none fit while `panic` is zero.
pub fn pick(
    service: &Service,
    members: &Members,
    tried: &Tried,
    draw: u64,
    at: Moment,
    note: &mut impl Note,
) -> Result<Chosen, Refusal> {
    if members.endpoints.is_empty() {
        let refusal = Refusal::new(Code::NoEndpoint);
        return Err(refusal.with_detail(format!("service {:?} has no endpoint", service.name)));
    }
    // Counted at the first unfit endpoint that is drawn, so never while all are fit.
    let panic = Cell::new(None);
    let in_panic = || {
        panic.get().unwrap_or_else(|| {
            let few = too_few_fit(service, members, at);
            panic.set(Some(few));
            few
        })
    };
    let usable = |member: &Member| member.is_fit(at) || in_panic();
    let fresh = |member: &Member| !tried.has(member) && usable(member);

    let (index, again) = match draw::draw(service.balance, members, draw, at, fresh) {
        Some(index) => (Some(index), ""),
        None => {
            let index = draw::draw(service.balance, members, draw, at, usable);
            (index, ", though it was tried before")
        }
    };
    let Some(index) = index else {
        let all = members.endpoints.len();
        let detail = format!(
            "none of the {all} endpoints of service {:?} is fit",
            service.name
        );
        return Err(Refusal::new(Code::NoEndpoint).with_detail(detail));
    };
    let member = &members.endpoints[index];
    note.note(|| Step {
        area: "endpoint",
        said: format!(
            "{} by {}, one of {}{}{again}",
            member.endpoint.address,
            method_name(service.balance),
            members.endpoints.len(),
            if panic.get() == Some(true) {
                ", in panic: too few are fit"
            } else {
                ""
            },
        ),
        at: service.at,
    });
    Ok(Chosen::new(member, members))
}

/// Whether so few endpoints are fit that fitness no longer counts.
fn too_few_fit(service: &Service, members: &Members, at: Moment) -> bool {
    let fit = members
        .endpoints
        .iter()
        .filter(|member| member.is_fit(at))
        .count() as u64;
    let all = members.endpoints.len() as u64;
    fit * WHOLE < all * u64::from(service.outlier.panic.0)
}

/// The method as the language writes it.
fn method_name(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequest => "least-request",
        Balance::PeakEwma => "peak-ewma",
        Balance::Random => "random",
        Balance::RoundRobin => "round-robin",
    }
}

/// No place in any schedule.
const CURSOR_UNSET: u64 = u64::MAX;
/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests;
