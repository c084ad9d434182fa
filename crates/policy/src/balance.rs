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
mod group;
pub(crate) mod latency;
mod maglev;
mod pool;
mod ramp;
pub(crate) mod random;
mod ring;
mod schedule;
mod search;
pub(crate) mod session;
pub(crate) mod table;

use group::Group;
use pool::Pool;
use ramp::Ramp;
use search::{Found, How, Search};
use table::Weighted;

/// The endpoints of one service as one worker sees them. Each worker compiles its own, so that
/// reference counts are not shared between cores; the [`EndpointLive`] inside are.
#[derive(Debug)]
pub struct Members {
    /// The endpoints.
    pub endpoints: Vec<Arc<Member>>,
    /// All of them, for who asks for no labels.
    whole: Group,
    /// Those with the labels of each of the service's subsets.
    subsets: Box<[Group]>,
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
    /// Why it is not one of those that come first, where the membership is divided.
    pub away: Option<Away>,
    choices: u32,
    /// The consent of the endpoint's breaker.
    consent: Consent,
}

/// Where an endpoint is that is not one of those that come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Away {
    /// On a lower level (`priority`): those before it cannot carry the load.
    Level,
    /// Outside of the proxy's own zone, which cannot carry the load.
    Zone,
}

impl Away {
    /// How many there are.
    pub const COUNT: usize = 2;

    /// The metric label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Away::Level => "level",
            Away::Zone => "zone",
        }
    }
}

/// Addresses already tried by a request.
#[derive(Debug, Default)]
pub struct Tried(pub SmallVec<[Arc<Member>; 2]>);

impl Members {
    /// Compiles discovered endpoints for a service. Those that are new to it begin at this moment.
    #[must_use]
    pub fn compile(service: &Service, endpoints: &[Endpoint], at: Moment) -> Members {
        let states = service.live.endpoints_of(endpoints, at);
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
            Group::new(service, members.cloned().collect())
        };
        Members {
            whole: Group::new(service, endpoints.clone()),
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

    /// How requests that ask for this are divided between levels and zones, in words; `None` when
    /// they are not.
    pub(crate) fn division(&self, service: &Service, asks: &Asks, at: Moment) -> Option<String> {
        self.group(asks)?.said(service, at)
    }

    /// Among whom a request may choose; `None` for a subset that this service does not have.
    fn group(&self, asks: &Asks) -> Option<&Group> {
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

    /// How much of its weight counts at this moment, in percent: less than 100 in a slow start.
    pub(crate) fn counts(&self, service: &Service, at: Moment) -> u64 {
        let over = service.slow_start;
        over.map_or(100, |over| ramp::share(over, self, at) / 10)
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
    fn new(found: &Found<'_>, group: &Group, consent: Consent) -> Chosen {
        found.member.live.begin();
        let choices = u32::try_from(group.all.members.len()).unwrap_or(u32::MAX);
        Chosen {
            member: Arc::clone(found.member),
            away: found.away(group),
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
    let group = match members.group(asks) {
        Some(group) if !group.all.members.is_empty() => group,
        _ => return Err(nobody(service, members, asks)),
    };
    // Panic does not open breakers: what they keep from an endpoint stays away from it.
    let breaker = service.breaker_of(BreakerScope::Endpoint);
    let search = Search {
        service,
        breaker,
        asks,
        tried,
        draw,
        at,
        ramp: service.slow_start.map(|over| Ramp::new(over, draw, at)),
    };
    let Some(found) = search.among(group, members.kept(service, asks)) else {
        if let Some(after) = breaker.and_then(|breaker| all_refuse(breaker, &group.all, at)) {
            return Err(Refusal::new(Code::BreakerOpen).with_retry_after(after));
        }
        let all = group.all.members.len();
        let detail = format!(
            "none of the {all} endpoints of service {:?} is fit",
            service.name
        );
        return Err(Refusal::new(Code::NoEndpoint).with_detail(detail));
    };
    note.note(|| Step {
        area: "endpoint",
        said: said(service, asks, &found),
        at: service.at,
    });
    let consent = match breaker {
        None => Consent::free(),
        Some(breaker) => {
            let owner = service.live.owner(Some(&found.member.endpoint.address));
            match found.member.live.own_breaker().enter(breaker, owner, at) {
                Ok(consent) => consent,
                // Another worker has just taken the last probe, so this one is left out now.
                Err(_) => return pick(service, members, asks, tried, draw, at, note),
            }
        }
    };
    Ok(Chosen::new(&found, group, consent))
}

/// When the first breaker lets something through, where all endpoints have theirs open.
fn all_refuse(breaker: &Breaker, pool: &Pool, at: Moment) -> Option<Duration> {
    let mut first = Duration::MAX;
    for member in &pool.members {
        first = first.min(member.refuses(breaker, at)?);
    }
    Some(first)
}

/// Who was found, in words.
fn said(service: &Service, asks: &Asks, found: &Found<'_>) -> String {
    let by = match found.how {
        How::Session => "the session that its cookie names",
        How::Again | How::Method | How::PastBound => service.balance.as_str(),
    };
    let place = match found.part {
        None => String::new(),
        Some(part) => format!(" of {}", part.said(service)),
    };
    let panic = if found.panic {
        ", in panic: too few are fit"
    } else {
        ""
    };
    let how = match found.how {
        How::Again => ", though it was tried before",
        How::PastBound => ", though all are past `load_max`",
        How::Method | How::Session => "",
    };
    format!(
        "{} by {by}, one of {}{place}{}{panic}{how}",
        found.member.endpoint.address,
        found.pool.members.len(),
        service.labels_text(asks.subset),
    )
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

#[cfg(test)]
mod tests;
