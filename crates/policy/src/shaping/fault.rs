//! Faults on purpose: which requests wait, which are answered with an error.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use weir_config::Position;
use weir_config::fault::Fault;

use super::fallback::{Entered, enter_service};
use super::{GaveUp, Left, Question, told};
use crate::grpc;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::pipeline::admit::Brings;
use crate::pipeline::{Admitted, Then};
use crate::refusal::{Code, Refusal};
use crate::route::ValueMatch;
use crate::snapshot::{Action, Destination, RouteId, ServiceId, Snapshot};

/// The faults of a route.
#[derive(Debug)]
pub struct FaultPlan {
    headers: Vec<(HeaderName, ValueMatch)>,
    delay: Option<(Duration, u32)>,
    abort: Option<(StatusCode, u32)>,
    at: Position,
}

/// What a request was drawn for.
#[derive(Debug, Default)]
pub(crate) struct Injected {
    pub(crate) delay: Option<Duration>,
    pub(crate) abort: Option<Refusal>,
}

/// A request that has to wait before anything else happens to it. It holds nothing of the service
/// meanwhile.
#[derive(Debug)]
pub struct Delayed {
    /// How long.
    pub pause: Duration,
    pub(crate) then: Postponed,
}

/// What happens after the delay.
#[derive(Debug)]
pub(crate) enum Postponed {
    Answer(Box<Response<Bytes>>),
    /// It enters the service of the route's destination with this index.
    Enter(usize, Brings),
    Refuse(Refusal),
}

impl Injected {
    /// What happens instead of `then`.
    pub(crate) fn apply(self, then: Then) -> Then {
        let later = |pause, then| Then::Delayed(Box::new(Delayed { pause, then }));
        match (self.delay, self.abort, then) {
            (Some(pause), Some(refusal), _) => later(pause, Postponed::Refuse(refusal)),
            (Some(pause), None, Then::Answer(response)) => {
                later(pause, Postponed::Answer(response))
            }
            (_, _, then) => then,
        }
    }
}

impl FaultPlan {
    /// Compiles the faults of a route.
    ///
    /// # Errors
    /// The header whose regular expression is none, or is too large.
    pub(crate) fn compile(fault: &Fault) -> Result<FaultPlan, (HeaderName, regex::Error)> {
        let compiled = |(name, pattern): &(weir_config::Located<HeaderName>, _)| {
            let value = ValueMatch::compile(pattern);
            match value {
                Ok(value) => Ok((name.value.clone(), value)),
                Err(error) => Err((name.value.clone(), error)),
            }
        };
        // The language allows statuses from 400 to 599 only, all of which exist.
        let status =
            |status| StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
        Ok(FaultPlan {
            headers: fault
                .headers
                .iter()
                .map(compiled)
                .collect::<Result<_, _>>()?,
            delay: fault.delay.as_ref().map(|it| (it.pause, it.share.0)),
            abort: fault
                .abort
                .as_ref()
                .map(|it| (status(it.status), it.share.0)),
            at: fault.at,
        })
    }

    /// What happens to a request of this draw.
    pub(crate) fn inject(&self, headers: &HeaderMap, draw: u64, note: &mut impl Note) -> Injected {
        let aimed_at = |(name, value): &(HeaderName, ValueMatch)| {
            let values = headers.get_all(name).iter();
            value.holds(values.map(|value| Cow::Borrowed(value.as_bytes())))
        };
        if !self.headers.iter().all(aimed_at) {
            self.say(note, || "none: the request has not the headers".to_owned());
            return Injected::default();
        }
        let drawn = |share, question: Question| question.hits(draw, share);
        let delay = self
            .delay
            .filter(|(_, share)| drawn(*share, Question::Delay));
        let abort = self
            .abort
            .filter(|(_, share)| drawn(*share, Question::Abort));
        if let Some((pause, share)) = self.delay {
            let said = format!("{} are delayed by {pause:?}", percent(share));
            self.say(note, || told(&said, delay.is_some()));
        }
        if let Some((status, share)) = self.abort {
            let said = format!("{} are answered with {}", percent(share), status.as_u16());
            self.say(note, || told(&said, abort.is_some()));
        }
        Injected {
            delay: delay.map(|(pause, _)| pause),
            abort: abort.map(|(status, _)| Refusal::new(Code::FaultInjected).with_status(status)),
        }
    }

    fn say(&self, note: &mut impl Note, said: impl FnOnce() -> String) {
        note.note(|| Step {
            area: "fault",
            said: said(),
            at: self.at,
        });
    }
}

impl Delayed {
    /// A request that enters a service after the pause, or is refused when its total deadline comes
    /// first.
    pub(crate) fn entering(
        index: usize,
        destination: &Destination,
        pause: Duration,
        brings: Brings,
    ) -> Delayed {
        let timeouts = &destination.timeouts;
        let (total, code) = match brings.call {
            None => (timeouts.total, Code::TotalTimeout),
            Some(call) => {
                let deadline = call.deadline(timeouts.grpc);
                (deadline, grpc::late(deadline, timeouts.grpc))
            }
        };
        match total {
            Some(total) if total <= pause => Delayed {
                pause: total,
                then: Postponed::Refuse(code.into()),
            },
            _ => Delayed {
                pause,
                then: Postponed::Enter(index, brings),
            },
        }
    }

    /// The service that it goes to.
    #[must_use]
    pub fn service(&self, snapshot: &Snapshot, route: RouteId) -> Option<ServiceId> {
        match (&self.then, &snapshot.route(route).action) {
            (Postponed::Enter(index, _), Action::Forward(destinations)) => destinations
                .get(*index)
                .map(|destination| destination.service),
            _ => None,
        }
    }

    /// What happens now that the pause is over, and whether that is the route's fallback already.
    ///
    /// # Errors
    /// The refusal to answer with: that of the fault, or of the service it would enter.
    pub fn resume(
        &self,
        snapshot: &Snapshot,
        admitted: &Admitted,
        at: Moment,
        note: &mut impl Note,
    ) -> Result<(Then, Option<GaveUp>), Refusal> {
        let route = snapshot.route(admitted.route);
        match (&self.then, &route.action) {
            (Postponed::Answer(response), _) => Ok((Then::Answer(response.clone()), None)),
            (Postponed::Refuse(refusal), _) => Err(refusal.clone()),
            (Postponed::Enter(index, brings), Action::Forward(destinations)) => {
                let destination = destinations.get(*index).ok_or(Code::Internal)?;
                let left = Left {
                    sendable: true,
                    brings: *brings,
                    upgrade: admitted.upgrade.is_some(),
                    filled: admitted.filled.as_deref(),
                };
                let Entered { then, fallback } =
                    enter_service(snapshot, route, destination, left, at, note)?;
                Ok((then, fallback))
            }
            (Postponed::Enter(..), _) => Err(Code::Internal.into()),
        }
    }
}

fn percent(share: u32) -> weir_config::units::Percent {
    weir_config::units::Percent(share)
}
