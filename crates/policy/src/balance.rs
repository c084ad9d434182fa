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
//! zero means that unfit endpoints are never used. Breakers of endpoints hold in panic too.
//!
//! A request that asks for labels sees those that have them and no others; who has them is found
//! out when a membership compiles.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;
use weir_config::endpoint::Endpoint;
use weir_config::resilience::{Breaker, BreakerScope};

use crate::live::{EndpointLive, ServiceLive};
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::refusal::{Code, Refusal};
use crate::resilience::{Came, Consent};
use crate::snapshot::{Destination, Labels, Service, SubsetId};

mod draw;
pub(crate) mod latency;
mod maglev;
mod pool;
pub(crate) mod random;
mod ring;
mod schedule;
pub(crate) mod session;
pub(crate) mod table;

use pool::Pool;
use table::Weighted;

/// The endpoints of one service as one worker sees them. Each worker compiles its own, so that
/// reference counts are not shared between cores; the [`EndpointLive`] inside are.
#[derive(Debug)]
pub struct Members {
    /// The endpoints.
    pub endpoints: Vec<Arc<Member>>,
    /// All of them, for who asks for no labels.
    whole: Pool,
    /// Those with the labels of each of the service's subsets.
    subsets: Box<[Pool]>,
    /// Names of endpoints in cookies with their indices, sorted; empty unless sessions stick.
    sessions: Box<[(u64, u32)]>,
}

/// What a request asks of its endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Asks {
    /// Only endpoints of this subset.
    pub subset: Option<SubsetId>,
    /// The hash of its key, where the service's method hashes and the request has one.
    pub key: Option<u64>,
    /// The endpoint that its cookie names, where the service is sticky.
    pub session: Option<u64>,
}

impl Asks {
    /// What a copy or a fallback asks: key and session belong to the service that was drawn.
    pub(crate) fn of(destination: &Destination) -> Self {
        Self {
            subset: destination.subset,
            ..Self::default()
        }
    }
}

/// One endpoint.
#[derive(Debug)]
pub struct Member {
    /// As discovered.
    pub endpoint: Endpoint,
    /// Its live state, shared by all workers and kept over membership changes by address.
    pub live: Arc<EndpointLive>,
    /// Its name in cookies; 0 unless the service is sticky.
    pub session: u64,
}

/// The choice of an endpoint for one attempt; counts as a request in flight there until dropped.
#[derive(Debug)]
pub struct Chosen {
    /// The endpoint.
    pub member: Arc<Member>,
    choices: u32,
    /// The consent of the endpoint's breaker.
    consent: Consent,
}

/// Addresses already tried by a request.
#[derive(Debug, Default)]
pub struct Tried(pub SmallVec<[Arc<Member>; 2]>);

impl Members {
    /// Compiles discovered endpoints for a service.
    #[must_use]
    pub fn compile(service: &Service, endpoints: &[Endpoint]) -> Members {
        let states = service.live.endpoints_of(endpoints);
        let endpoints = endpoints.iter().cloned().zip(states);
        let endpoints: Vec<_> = endpoints
            .map(|(endpoint, live)| {
                let sticky = service.sticky.as_ref();
                let name = |it| session::name_of(&service.name, it, &endpoint.address);
                Arc::new(Member {
                    session: sticky.map_or(0, name),
                    endpoint,
                    live,
                })
            })
            .collect();
        let subset = |labels: &Labels| {
            let members = endpoints.iter().filter(|member| member.has(labels));
            Pool::new(service, members.cloned().collect())
        };
        Members {
            whole: Pool::new(service, endpoints.iter().cloned().collect()),
            subsets: service.subsets.iter().map(subset).collect(),
            sessions: sessions(service, &endpoints),
            endpoints,
        }
    }

    /// The endpoint that a request's cookie names, if it is one that the request may go to.
    fn kept(&self, service: &Service, asks: &Asks) -> Option<&Arc<Member>> {
        let name = asks.session?;
        let place = self.sessions.binary_search_by_key(&name, |it| it.0).ok()?;
        let member = self.endpoints.get(self.sessions[place].1 as usize)?;
        let labels = asks
            .subset
            .and_then(|it| service.subsets.get(usize::from(it.0)));
        labels
            .is_none_or(|labels| member.has(labels))
            .then_some(member)
    }

    /// Among whom a request may choose; `None` for a subset that this service does not have.
    fn pool(&self, asks: &Asks) -> Option<&Pool> {
        match asks.subset {
            None => Some(&self.whole),
            Some(subset) => self.subsets.get(usize::from(subset.0)),
        }
    }
}

fn sessions(service: &Service, endpoints: &[Arc<Member>]) -> Box<[(u64, u32)]> {
    if service.sticky.is_none() {
        return Box::default();
    }
    let endpoints = (0_u32..).zip(endpoints);
    let mut names: Box<[_]> = endpoints.map(|(index, it)| (it.session, index)).collect();
    names.sort_unstable();
    names
}

impl Member {
    /// Whether discovery holds it healthy, it passes its health checks, and outlier detection has
    /// not taken it out.
    #[must_use]
    pub fn is_fit(&self, at: Moment) -> bool {
        self.endpoint.healthy && self.live.checked().is_fit() && !self.live.is_ejected(at)
    }

    /// How long its breaker lets nothing through.
    fn refuses(&self, breaker: &Breaker, at: Moment) -> Option<Duration> {
        self.live.breaker()?.refuses(breaker, at)
    }

    fn weighted(&self) -> Weighted<'_> {
        Weighted {
            address: &self.endpoint.address,
            weight: self.endpoint.weight,
        }
    }

    /// Whether it has all of these labels.
    fn has(&self, labels: &Labels) -> bool {
        let own = &self.endpoint.labels;
        labels
            .iter()
            .all(|(name, value)| own.get(name) == Some(value))
    }
}

impl Chosen {
    fn new(member: &Arc<Member>, consent: Consent, pool: &Pool) -> Chosen {
        member.live.begin();
        let choices = u32::try_from(pool.members.len()).unwrap_or(u32::MAX);
        Chosen {
            member: member.clone(),
            choices,
            consent,
        }
    }

    /// Tells the endpoint's breaker what came of the attempt.
    pub(crate) fn settle(&self, breaker: &Breaker, live: &ServiceLive, came: Came, at: Moment) {
        let owner = live.owner(Some(&self.member.endpoint.address));
        let own = self.member.live.own_breaker();
        own.settle(breaker, owner, &self.consent, came, at);
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
        // If nothing came of it.
        if let Some(breaker) = self.member.live.breaker() {
            breaker.abandon(&self.consent);
        }
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
/// `no-endpoint` when there is none, or none fit while `panic` is zero; `subset-empty` when none
/// has the labels asked for.
pub fn pick(
    service: &Service,
    members: &Members,
    asks: &Asks,
    tried: &Tried,
    draw: u64,
    at: Moment,
    note: &mut impl Note,
) -> Result<Chosen, Refusal> {
    let pool = match members.pool(asks) {
        Some(pool) if !pool.members.is_empty() => pool,
        _ => return Err(nobody(service, members, asks)),
    };
    // Counted at the first unfit endpoint that is drawn, so never while all are fit.
    let panic = Cell::new(None);
    let in_panic = || {
        panic.get().unwrap_or_else(|| {
            let few = too_few_fit(service, pool, at);
            panic.set(Some(few));
            few
        })
    };
    // Panic does not open breakers: what they keep from an endpoint stays away from it.
    let breaker = service.breaker_of(BreakerScope::Endpoint);
    let closed = |member: &Member| breaker.is_none_or(|it| member.refuses(it, at).is_none());
    let usable = |member: &Member| closed(member) && (member.is_fit(at) || in_panic());
    let fresh = |member: &Member| !tried.has(member) && usable(member);

    let room = pool.room(service);
    let roomy = |member: &Member| room.is_none_or(|room| room.is_in(member)) && fresh(member);
    let by_method = |will_do: &dyn Fn(&Member) -> bool| {
        let index = draw::draw(&service.balance, pool, asks.key, draw, at, will_do)?;
        Some(&pool.members[index])
    };
    let kept = members.kept(service, asks).filter(|member| fresh(member));
    let (chosen, how) = match kept {
        Some(member) => (Some(member), How::Session),
        None => by_method(&roomy).map_or_else(
            || match by_method(&fresh).filter(|_| room.is_some()) {
                Some(member) => (Some(member), How::PastBound),
                None => (by_method(&usable), How::Again),
            },
            |member| (Some(member), How::Method),
        ),
    };
    let Some(member) = chosen else {
        if let Some(after) = breaker.and_then(|breaker| all_refuse(breaker, pool, at)) {
            return Err(Refusal::new(Code::BreakerOpen).with_retry_after(after));
        }
        let all = pool.members.len();
        let detail = format!(
            "none of the {all} endpoints of service {:?} is fit",
            service.name
        );
        return Err(Refusal::new(Code::NoEndpoint).with_detail(detail));
    };
    note.note(|| Step {
        area: "endpoint",
        said: format!(
            "{} by {}, one of {}{}{}{}",
            member.endpoint.address,
            match how {
                How::Session => "the session that its cookie names",
                _ => service.balance.as_str(),
            },
            pool.members.len(),
            service.labels_text(asks.subset),
            if panic.get() == Some(true) {
                ", in panic: too few are fit"
            } else {
                ""
            },
            match how {
                How::Again => ", though it was tried before",
                How::PastBound => ", though all are past `load_max`",
                How::Method | How::Session => "",
            }
        ),
        at: service.at,
    });
    let consent = match breaker {
        None => Consent::free(),
        Some(breaker) => {
            let owner = service.live.owner(Some(&member.endpoint.address));
            match member.live.own_breaker().enter(breaker, owner, at) {
                Ok(consent) => consent,
                // Another worker has just taken the last probe, so this one is left out now.
                Err(_) => return pick(service, members, asks, tried, draw, at, note),
            }
        }
    };
    Ok(Chosen::new(member, consent, pool))
}

/// When the first breaker lets something through, where all endpoints have theirs open.
fn all_refuse(breaker: &Breaker, pool: &Pool, at: Moment) -> Option<Duration> {
    let mut first = Duration::MAX;
    for member in &pool.members {
        first = first.min(member.refuses(breaker, at)?);
    }
    Some(first)
}

/// How an endpoint came to be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    /// Every one that will do has been tried.
    Again,
    /// By the service's method.
    Method,
    /// By the method, and nobody has room.
    PastBound,
    /// The client is at this one.
    Session,
}

/// Why there is nobody to choose.
fn nobody(service: &Service, members: &Members, asks: &Asks) -> Refusal {
    let name = &service.name;
    if members.endpoints.is_empty() {
        let detail = format!("service {name:?} has no endpoint");
        return Refusal::new(Code::NoEndpoint).with_detail(detail);
    }
    let all = members.endpoints.len();
    let with = service.labels_text(asks.subset);
    let detail = format!("service {name:?} has {all} endpoints, but none{with}");
    Refusal::new(Code::SubsetEmpty).with_detail(detail)
}

/// Whether so few endpoints are fit that fitness no longer counts.
fn too_few_fit(service: &Service, pool: &Pool, at: Moment) -> bool {
    let fit = pool.members.iter().filter(|member| member.is_fit(at));
    let (fit, all) = (fit.count() as u64, pool.members.len() as u64);
    fit * WHOLE < all * u64::from(service.outlier.panic.0)
}

/// The whole, in thousandths of a percent.
const WHOLE: u64 = 100_000;

#[cfg(test)]
mod tests;
