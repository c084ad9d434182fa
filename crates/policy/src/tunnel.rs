//! Connections that are passed on byte by byte: which service takes one, and under which permit.
//!
//! For: what `admit` is for requests. Choosing an endpoint and judging how connecting went are the
//! phases that requests have. Not for: reading TLS or moving bytes; the engine does. The one idea:
//! such a connection is to a service what a request is. It holds a permit of the service to its
//! end, and that it stands is to breaker and ejection what a good answer is.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use foldhash::fast::FixedState;
use http::{HeaderMap, Method, StatusCode};
use weir_config::Position;
use weir_config::criticality::Criticality;
use weir_config::pattern::HostPattern;

use crate::balance::Chosen;
use crate::key::KeyInputs;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::pipeline::admit::{Brings, drawn, enter};
use crate::pipeline::asks::asks;
use crate::pipeline::{self, Attempt, FailureKind, Forward, Next, Outcome};
use crate::refusal::Refusal;
use crate::snapshot::{Destination, Snapshot};

/// What a listener does with connections before, or instead of, HTTP.
#[derive(Debug, Default)]
pub struct Tunnels {
    plans: Vec<TunnelPlan>,
    exact: HashMap<Box<str>, PlanId, FixedState>,
    suffixes: HashMap<Box<str>, PlanId, FixedState>,
    any: Option<PlanId>,
    rest: Option<PlanId>,
}

/// Index of a plan of one listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanId(u16);

/// Where connections go.
#[derive(Debug)]
pub struct TunnelPlan {
    /// Weighted services.
    pub destinations: Vec<Destination>,
    /// A connection ends after so long without a byte.
    pub idle_timeout: Duration,
    /// Where it was written.
    pub at: Position,
}

impl Tunnels {
    /// TLS connections whose client asks for one of these names stay closed and go there.
    pub(crate) fn pass<'h>(
        &mut self,
        hosts: impl Iterator<Item = &'h HostPattern>,
        plan: TunnelPlan,
    ) {
        let id = self.add(plan);
        for host in hosts {
            match host {
                HostPattern::Any => self.any = Some(id),
                HostPattern::Exact(name) => {
                    self.exact.insert(name.as_str().into(), id);
                }
                HostPattern::Suffix(name) => {
                    self.suffixes.insert(name.as_str().into(), id);
                }
            }
        }
    }

    /// All other connections go there; those of a TLS listener are opened first.
    pub(crate) fn take_rest(&mut self, plan: TunnelPlan) {
        self.rest = Some(self.add(plan));
    }

    fn add(&mut self, plan: TunnelPlan) -> PlanId {
        // Entries of a list are bounded far below 2^16.
        let id = PlanId(self.plans.len() as u16);
        self.plans.push(plan);
        id
    }

    /// Whether the name that a TLS client asks for has to be known.
    #[must_use]
    pub fn need_name(&self) -> bool {
        !self.exact.is_empty() || !self.suffixes.is_empty() || self.any.is_some()
    }

    /// Where a TLS connection goes that stays closed. Names are compared without regard to case.
    #[must_use]
    pub fn passed(&self, name: Option<&str>) -> Option<PlanId> {
        let Some(name) = name else { return self.any };
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if let Some(id) = self.exact.get(name.as_str()) {
            return Some(*id);
        }
        // Leftmost dot first: the longest suffix.
        let below = name.match_indices('.');
        let mut suffixes = below.filter_map(|(dot, _)| self.suffixes.get(name.get(dot + 1..)?));
        suffixes.next().copied().or(self.any)
    }

    /// Where all other connections go; `None`: they carry HTTP.
    #[must_use]
    pub fn rest(&self) -> Option<PlanId> {
        self.rest
    }

    /// The plan with this id.
    #[must_use]
    pub fn plan(&self, id: PlanId) -> &TunnelPlan {
        &self.plans[usize::from(id.0)]
    }
}

/// Decides which service takes a connection, and whether it may have one more.
///
/// # Errors
/// `service-overloaded` or `breaker-open`.
pub fn admit(
    snapshot: &Snapshot,
    plan: &TunnelPlan,
    client: IpAddr,
    at: Moment,
    draw: u64,
    note: &mut impl Note,
) -> Result<Forward, Refusal> {
    note.note(|| Step {
        area: "timeouts",
        said: format!("closed after {:?} without a byte", plan.idle_timeout),
        at: plan.at,
    });
    let (_, destination) = drawn(&plan.destinations, draw);
    // Of the keys that a service can choose by, a connection has its client's address.
    let inputs = KeyInputs {
        route: "",
        client,
        path: "",
        query: None,
        headers: &HeaderMap::new(),
        claims: None,
        peer: None,
    };
    let service = snapshot.service(destination.service);
    let brings = Brings {
        asks: asks(service, destination.subset, &inputs, note),
        call: None,
        class: Criticality::Default,
    };
    enter(snapshot, destination, brings, at, note)
}

/// Judges an attempt to connect: tells breaker, ejection and latency about it, and says whether
/// another may follow one that failed. Nothing of the client's was sent, so it is always safe.
#[must_use]
pub fn judge(
    snapshot: &Snapshot,
    forward: &Forward,
    connecting: &Connecting<'_>,
    at: Moment,
    draw: u64,
) -> Next {
    let outcome = match connecting.failure {
        Some(kind) => Outcome::Failure { kind, sent: false },
        None => Outcome::Response {
            status: StatusCode::OK,
        },
    };
    let attempt = Attempt {
        chosen: connecting.chosen,
        number: connecting.number,
        began: connecting.began,
        outcome,
        replayable: true,
        grpc: None,
        retry_after: None,
        // Each attempt has a deadline of its own, and all of them together have none.
        time_left: Duration::MAX,
    };
    pipeline::judge(
        snapshot,
        forward,
        &Method::CONNECT,
        &attempt,
        at,
        draw,
        &mut (),
    )
}

/// A finished attempt to connect.
#[derive(Debug)]
pub struct Connecting<'a> {
    /// To which endpoint.
    pub chosen: &'a Chosen,
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    pub began: Moment,
    /// What went wrong; `None`: the connection stands.
    pub failure: Option<FailureKind>,
}
