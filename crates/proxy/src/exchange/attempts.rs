//! The attempts of one exchange: choose an endpoint, send, judge, until policy is content.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Response, request};
use weir_policy::balance::{Chosen, Tried};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Forward, Next, Outcome};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::resilience;
use weir_telemetry::termination::Termination;

use super::hedge::Race;
use crate::attempt::{self, Attempted, ClientFault, Deadlines, Try};
use crate::body::{FromEndpoint, Intake};
use crate::call;
use crate::connect::Plan;
use crate::happenings;
use crate::interim::Relay;
use crate::membership::Seats;
use crate::outcome;
use crate::pool::{Lane, Line};
use crate::record::{Ledger, failure_label};
use crate::serve::ClientConnection;
use crate::worker::{Entry, Worker};

/// Everything the attempts of one exchange share.
pub(super) struct Attempts<'a> {
    pub(super) worker: &'a Rc<Worker>,
    pub(super) entry: &'a Rc<Entry>,
    pub(super) plan: &'a Forward,
    pub(super) intake: Option<&'a Rc<Intake>>,
    pub(super) deadlines: &'a Deadlines,
    pub(super) began: Moment,
    /// Attempts made before these, at another service.
    pub(super) before: u32,
    /// Whether the head may be wanted again whatever the retries.
    pub(super) keep_head: bool,
    /// Passes on interim responses.
    pub(super) relay: &'a Relay<'a>,
    /// Whether an endpoint may have received the request.
    pub(super) sent: Cell<bool>,
}

/// A response to deliver, from where, and on what its body comes.
pub(super) type Delivered = (Chosen, Response<FromEndpoint>, Line);
/// What to answer instead, and how the exchange ends with it.
pub(super) type Refused = (Refusal, Termination);

type Answered = (Response<FromEndpoint>, Line);

/// What follows from an attempt.
enum Step {
    Again(Duration),
    Deliver(Answered),
    Refuse(Refused),
}

impl Attempts<'_> {
    /// Makes attempts until one is to be delivered.
    pub(super) async fn run(
        &self,
        ledger: &mut Ledger,
        head: &mut Option<request::Parts>,
    ) -> Result<Delivered, Refused> {
        let metrics = self.entry.installed.metrics(self.plan.service);
        let mut tried = Tried::default();
        // The first attempt begins when the attempts do: no need to ask the clock again.
        let mut at = self.began;
        let hedging = resilience::hedging(self.plan, ledger.method(), self.deadlines.upgrade);
        let mut hedges_left = hedging.map_or(0, |plan| plan.attempts);
        loop {
            ledger.attempts += 1;
            let mut number = ledger.attempts - self.before;
            // Choose: another endpoint than those tried, where there is one.
            let seats = self.entry.installed.seats(self.plan.service);
            let mut chosen = self.choose(&seats, &tried, at)?;
            metrics.attempt(&chosen);
            let attempted = match (hedging, &*head) {
                (Some(plan), Some(head)) => {
                    let race = Race {
                        attempts: self,
                        after: plan.after,
                        seats: &seats,
                        client: Rc::clone(ledger.connection()),
                        head,
                    };
                    // Boxed: every exchange would carry its size.
                    let run = race.run((chosen, at), &mut hedges_left, &mut tried, ledger);
                    let ended = Box::pin(run).await?;
                    (chosen, at) = (ended.chosen, ended.began);
                    number = ledger.attempts - self.before;
                    ended.attempted
                }
                _ => {
                    let attempt = self.attempt(&seats, &chosen, at, ledger)?;
                    attempt::attempt(&attempt, head).await
                }
            };
            if !is_unsent(&attempted) {
                self.sent.set(true);
            }
            let now = self.worker.clock.now();
            let mut grpc = None;
            let (outcome, answered) = match attempted {
                Attempted::Response(response, line) => {
                    let after = now.since(at);
                    ledger.upstream = Some(after);
                    metrics.response_start(after);
                    if self.plan.call.is_some() {
                        grpc = call::status(&response);
                    }
                    (
                        Outcome::Response {
                            status: response.status(),
                        },
                        Some((response, line)),
                    )
                }
                Attempted::Failed(outcome) => (outcome, None),
                Attempted::NoConnect => {
                    ledger.chosen = Some(chosen);
                    let refusal = Refusal::new(Code::UpgradeRefused)
                        .with_detail("the service takes no WebSocket in HTTP/2");
                    return Err((refusal, Termination::Refused));
                }
                Attempted::Client(fault) => return Err(of_client(fault, ledger)),
                Attempted::Total => {
                    ledger.chosen = Some(chosen);
                    return Err(self.late());
                }
            };
            if let Outcome::Failure { kind, .. } = outcome {
                metrics.failed(kind);
            }
            let (retry_after, time_left) = self.prospects(answered.as_ref(), now);
            // Judge: deliver, try again, or give up.
            let finished = pipeline::Attempt {
                chosen: &chosen,
                number,
                began: at,
                outcome,
                grpc,
                replayable: self.intake.is_none_or(|intake| intake.replayable()),
                retry_after,
                time_left,
            };
            let next = self.judge(ledger.method(), &finished, now);
            happenings::tell(self.entry.installed.snapshot.service(self.plan.service));
            match step(next, outcome, answered, head.is_some(), number) {
                Step::Deliver((response, line)) => return Ok((chosen, response, line)),
                Step::Refuse(refused) => {
                    ledger.chosen = Some(chosen);
                    return Err(refused);
                }
                Step::Again(pause) => {
                    metrics.retried(retry_label(outcome));
                    tried.0.push(Arc::clone(&chosen.member));
                    drop(chosen);
                    if !pause.is_zero() {
                        // Boxed: every exchange would carry its size.
                        Box::pin(tokio::time::sleep(pause)).await;
                    }
                    at = self.worker.clock.now();
                }
            }
        }
    }

    fn choose(&self, seats: &Seats, tried: &Tried, at: Moment) -> Result<Chosen, Refused> {
        let snapshot = &self.entry.installed.snapshot;
        let draw = self.worker.dice.draw();
        pipeline::choose(
            snapshot,
            self.plan,
            &seats.members,
            tried,
            draw,
            at,
            &mut (),
        )
        .map_err(|refusal| (refusal, Termination::Refused))
    }

    fn attempt<'b>(
        &'b self,
        seats: &'b Seats,
        chosen: &Chosen,
        at: Moment,
        ledger: &'b Ledger,
    ) -> Result<Try<'b>, Refused> {
        let lane = lane(seats, chosen)?;
        // A refused HTTP/2 stream may be tried again whatever the method.
        let replaceable = ledger.method().is_idempotent() || lane.http2;
        Ok(Try {
            keep_head: replaceable
                && (self.keep_head || ledger.attempts - self.before <= self.plan.retry.attempts),
            ..self.try_at(lane, ledger.connection(), at)
        })
    }

    /// An attempt that keeps no head.
    pub(super) fn try_at<'b>(
        &'b self,
        lane: &'b Rc<Lane>,
        client: &'b ClientConnection,
        at: Moment,
    ) -> Try<'b> {
        let installed = &self.entry.installed;
        Try {
            worker: self.worker,
            lane,
            plan: Plan::of(installed, self.plan.service, Some(client.ends())),
            intake: self.intake,
            deadlines: self.deadlines,
            began: at.nanos,
            keep_head: false,
            beside: false,
            relay: Some(self.relay),
        }
    }

    fn judge(&self, method: &Method, attempt: &pipeline::Attempt<'_>, now: Moment) -> Next {
        let snapshot = &self.entry.installed.snapshot;
        let draw = self.worker.dice.draw();
        pipeline::judge(snapshot, self.plan, method, attempt, now, draw, &mut ())
    }

    /// The exchange has taken all its time.
    fn late(&self) -> Refused {
        (self.plan.late().into(), Termination::TotalTimeout)
    }

    /// The pause that a response asks for before another attempt, and the time that is left for
    /// one; not looked at where the response is content.
    fn prospects(&self, answered: Option<&Answered>, now: Moment) -> (Option<Duration>, Duration) {
        let mut retry_after = None;
        if let Some((response, _)) = answered {
            if self.plan.call.is_none() && !self.plan.retry.retries_on(response.status()) {
                return (None, Duration::MAX);
            }
            retry_after = resilience::retry_after(response.headers(), now);
        }
        let intake = self.intake.map(|intake| &**intake);
        (retry_after, self.deadlines.left(now.nanos, intake))
    }
}

/// The way to an endpoint.
pub(super) fn lane<'a>(seats: &'a Seats, chosen: &Chosen) -> Result<&'a Rc<Lane>, Refused> {
    seats
        .lane(chosen)
        .ok_or_else(|| (Code::Internal.into(), Termination::Internal))
}

/// Whether provably nothing of the request reached an endpoint.
pub(super) fn is_unsent(attempted: &Attempted) -> bool {
    matches!(
        attempted,
        Attempted::Failed(Outcome::Failure { sent: false, .. })
    )
}

fn step(
    next: Next,
    outcome: Outcome,
    answered: Option<Answered>,
    has_head: bool,
    number: u32,
) -> Step {
    match (next, answered) {
        (Next::Deliver, Some(answered)) => Step::Deliver(answered),
        (Next::Retry { after }, _) if has_head => Step::Again(after),
        // What was sent cannot be sent again: the answer there is will do.
        (Next::Retry { .. }, Some(answered)) => Step::Deliver(answered),
        (Next::GiveUp(refusal), _) => Step::Refuse((refusal, ended(outcome, number))),
        (Next::Retry { .. } | Next::Deliver, None) => {
            let code = match outcome {
                Outcome::Failure { kind, .. } => kind.into(),
                Outcome::Response { .. } => Code::Internal,
            };
            Step::Refuse((code.into(), ended(outcome, number)))
        }
    }
}

fn ended(outcome: Outcome, number: u32) -> Termination {
    match outcome {
        Outcome::Failure { kind, .. } => outcome::termination(kind, number),
        Outcome::Response { .. } => Termination::RetriesExhausted,
    }
}

pub(super) fn of_client(fault: ClientFault, ledger: &Ledger) -> Refused {
    match fault {
        ClientFault::Broken => match ledger.connection().body_fault() {
            Some(fault) if fault.is_too_much() => (fault.into(), Termination::Refused),
            Some(fault) => (fault.into(), Termination::ClientInvalid),
            None => (Code::RequestTimeout.into(), Termination::ClientGoneSending),
        },
        ClientFault::Malformed => (Code::GrpcWebInvalid.into(), Termination::ClientInvalid),
        ClientFault::Silent => (Code::RequestTimeout.into(), Termination::ClientTimeout),
        ClientFault::Slow => (Code::BodyTooSlow.into(), Termination::ClientTimeout),
        ClientFault::TooLarge => (Code::BodyTooLarge.into(), Termination::Refused),
        ClientFault::Trailers(fault) => (fault.into(), Termination::Refused),
    }
}

fn retry_label(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Failure { kind, .. } => failure_label(kind),
        Outcome::Response { .. } => "status",
    }
}
