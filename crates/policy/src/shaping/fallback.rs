//! What answers when the service of a route gave up.

use weir_config::Position;
use weir_config::fallback::Fallback;
use weir_config::service::Protocol;

use crate::balance::Asks;
use crate::grpc::Flavour;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::pipeline::admit::Brings;
use crate::pipeline::{Then, admit, answer};
use crate::refusal::{Code, Refusal};
use crate::rewrite::{Filled, RespondPlan};
use crate::snapshot::{Destination, Route, Snapshot};

/// The fallback of a route.
#[derive(Debug)]
pub struct FallbackPlan {
    instead: Instead,
    /// Sorted.
    statuses: Box<[u16]>,
    at: Position,
}

/// What answers.
#[derive(Debug)]
pub(crate) enum Instead {
    Respond(RespondPlan),
    To(Destination),
}

/// How a service gave up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// It was not asked, or did not answer: what its failure would be refused with.
    Refused(Code),
    /// It answered with this status.
    Status(http::StatusCode),
}

impl GaveUp {
    /// A word for it: a reason code, or `status`.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            GaveUp::Refused(code) => code.as_str(),
            GaveUp::Status(_) => "status",
        }
    }
}

/// What is known about the request that a service gave up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Left<'a> {
    /// Whether it may be sent to another service: nothing of it was sent, or its method is
    /// idempotent, and all of it is still there.
    pub(crate) sendable: bool,
    /// What it brings to the service it enters.
    pub(crate) brings: Brings,
    /// Whether it wants to change to another protocol.
    pub(crate) upgrade: bool,
    /// What its route's templates came to.
    pub(crate) filled: Option<&'a Filled>,
}

impl FallbackPlan {
    pub(crate) fn new(fallback: &Fallback, instead: Instead) -> FallbackPlan {
        let mut statuses = fallback.statuses.clone();
        statuses.sort_unstable();
        FallbackPlan {
            instead,
            statuses: statuses.into(),
            at: fallback.at,
        }
    }

    /// Whether it needs the request once more.
    pub(crate) fn sends_again(&self) -> bool {
        matches!(self.instead, Instead::To(_))
    }

    /// What happens instead, if anything does.
    pub(crate) fn instead(
        &self,
        snapshot: &Snapshot,
        route: &Route,
        why: GaveUp,
        left: Left<'_>,
        at: Moment,
        note: &mut impl Note,
    ) -> Option<Then> {
        if !self.is_for(why) {
            return None;
        }
        match &self.instead {
            // Who calls by gRPC could not read it.
            Instead::Respond(_) if left.brings.call.is_some() => None,
            Instead::Respond(respond) => {
                self.say(note, || {
                    format!("{}: the fixed answer is given instead", why.label())
                });
                let response = answer::fixed(route, respond, left.filled);
                Some(Then::Answer(Box::new(response)))
            }
            Instead::To(destination) => {
                let service = snapshot.service(destination.service);
                // What was translated for the first service may not fit the second.
                let translated = left
                    .brings
                    .call
                    .is_some_and(|call| call.flavour != Flavour::Grpc);
                let fits = !left.upgrade || service.protocol == Protocol::Http1;
                if !left.sendable || !fits || translated {
                    return None;
                }
                self.say(note, || {
                    format!("{}: `{}` is asked instead", why.label(), service.name)
                });
                let brings = Brings {
                    asks: Asks::of(destination),
                    ..left.brings
                };
                admit::enter(snapshot, destination, brings, at, note)
                    .ok()
                    .map(Then::Forward)
            }
        }
    }

    /// Says when it answers.
    pub(crate) fn describe(&self, snapshot: &Snapshot, note: &mut impl Note) {
        self.say(note, || {
            let who = match &self.instead {
                Instead::Respond(respond) => {
                    format!("a fixed answer ({})", respond.status.as_u16())
                }
                Instead::To(to) => format!("`{}`", snapshot.service(to.service).name),
            };
            format!(
                "{who} answers when the service gave up, or with {:?}",
                self.statuses
            )
        });
    }

    fn say(&self, note: &mut impl Note, said: impl FnOnce() -> String) {
        note.note(|| Step {
            area: "fallback",
            said: said(),
            at: self.at,
        });
    }

    fn is_for(&self, why: GaveUp) -> bool {
        match why {
            GaveUp::Status(status) => self.statuses.binary_search(&status.as_u16()).is_ok(),
            // Once the whole time is over, only what takes none may answer.
            GaveUp::Refused(Code::TotalTimeout) => !self.sends_again(),
            GaveUp::Refused(code) => GIVEN_UP.contains(&code),
        }
    }
}

/// Where a request came in.
pub(crate) struct Entered {
    pub(crate) then: Then,
    /// Why it is not the service that was drawn.
    pub(crate) fallback: Option<GaveUp>,
}

/// Takes a place at the service of a destination, or at the route's fallback.
pub(crate) fn enter_service(
    snapshot: &Snapshot,
    route: &Route,
    destination: &Destination,
    left: Left<'_>,
    at: Moment,
    note: &mut impl Note,
) -> Result<Entered, Refusal> {
    let refusal = match admit::enter(snapshot, destination, left.brings, at, note) {
        Ok(forward) => {
            return Ok(Entered {
                then: Then::Forward(forward),
                fallback: None,
            });
        }
        Err(refusal) => refusal,
    };
    let plan = route.shaping.as_ref().and_then(|it| it.fallback.as_ref());
    let why = GaveUp::Refused(refusal.code);
    match plan.and_then(|plan| plan.instead(snapshot, route, why, left, at, note)) {
        Some(then) => Ok(Entered {
            then,
            fallback: Some(why),
        }),
        None => Err(refusal),
    }
}

/// What is the service's failure, and not the client's or Weir's.
const GIVEN_UP: &[Code] = &[
    Code::BreakerOpen,
    Code::ConnectFailed,
    Code::ConnectTimeout,
    Code::NoEndpoint,
    Code::PendingOverflow,
    Code::PendingTimeout,
    Code::PerTryTimeout,
    Code::ResponseHeaderTooLarge,
    Code::ResponseHeadersTooMany,
    Code::ServiceOverloaded,
    Code::Shed,
    Code::SubsetEmpty,
    Code::TlsFailed,
    Code::UpstreamProtocol,
    Code::UpstreamReset,
    Code::UpstreamStalled,
    Code::UpstreamTimeout,
];
