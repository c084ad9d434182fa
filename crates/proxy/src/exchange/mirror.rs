//! Copies of requests for other services.
//!
//! A copy is a task of its own on the worker of the request it was made of: one attempt on the
//! ordinary way to an endpoint, whose answer is read and thrown away. The request does not wait for
//! it. Everything is bounded: copies in flight and the bytes in their queues by worker, each copy
//! by its own time and the permit of its service; what goes over a bound is dropped and counted.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use http::header::EXPECT;
use http::{HeaderName, HeaderValue, Method, Response, request};
use http_body_util::BodyExt;
use weir_policy::balance::Tried;
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Attempt, Forward, Outcome};
use weir_policy::refusal::Code;
use weir_telemetry::request_metrics::StatusClass;

use super::Exchange;
use crate::attempt::{self, Attempted, Deadlines, Try};
use crate::body::{CopyFate, CopyFault, FromEndpoint, Inbound, Intake, Lag};
use crate::clock;
use crate::connect::Plan;
use crate::pace::Pace;
use crate::pool::Line;
use crate::record::failure_label;
use crate::worker::{Installed, Worker};

/// What the copies of a worker hold.
#[derive(Debug, Default)]
pub(crate) struct Copies {
    in_flight: Cell<u32>,
    lag: Rc<Lag>,
}

/// Sends the copies that policy draws of a request that is about to go on.
pub(super) fn send(exchange: &Exchange, at: Moment) {
    let worker = &exchange.connection.worker;
    let installed = &exchange.entry.installed;
    let draw = worker.dice.draw();
    let Some(head) = &exchange.head else { return };
    for plan in pipeline::copies(&installed.snapshot, &exchange.admitted, draw, &mut ()) {
        let metrics = installed.metrics(plan.service());
        let Some(place) = Place::take(&worker.copies) else {
            metrics.mirror_dropped("busy");
            continue;
        };
        let forward = match plan.enter(&installed.snapshot, at) {
            Ok(forward) => forward,
            Err(refusal) => {
                metrics.mirror_dropped(refusal.code.as_str());
                continue;
            }
        };
        let (intake, fate) = match &exchange.intake {
            None => (None, None),
            Some(original) => {
                let copied = original.copy(&worker.copies.lag, plan.lag_bytes_max);
                let fate = copied.fate();
                let clock = Rc::clone(&worker.clock);
                let body = Inbound::Copied(copied);
                let intake = Intake::new(body, clock, u64::MAX, 0, Pace::ANY);
                (Some(intake), Some(fate))
            }
        };
        let copy = Copy {
            worker: Rc::clone(worker),
            installed: Rc::clone(installed),
            forward,
            head: Some(marked(head, &plan.mark)),
            intake,
            fate,
            began: at,
            until: at.plus(plan.timeout).nanos,
            _place: place,
        };
        tokio::task::spawn_local(copy.run());
    }
}

fn marked(head: &request::Parts, mark: &HeaderValue) -> request::Parts {
    let mut head = head.clone();
    // Nobody would pass on a `100 Continue`.
    head.headers.remove(EXPECT);
    head.headers.insert(MIRRORED, mark.clone());
    head
}

/// One copy on its way.
struct Copy {
    worker: Rc<Worker>,
    installed: Rc<Installed>,
    forward: Forward,
    head: Option<request::Parts>,
    intake: Option<Rc<Intake>>,
    fate: Option<CopyFate>,
    began: Moment,
    /// When it must be over, nanoseconds.
    until: u64,
    _place: Place,
}

impl Copy {
    async fn run(mut self) {
        let metrics = Rc::clone(self.installed.metrics(self.forward.service));
        let seats = self.installed.seats(self.forward.service);
        let (snapshot, draw) = (&self.installed.snapshot, self.worker.dice.draw());
        let (members, tried) = (&seats.members, Tried::default());
        let chosen = pipeline::choose(
            snapshot,
            &self.forward,
            members,
            &tried,
            draw,
            self.began,
            &mut (),
        );
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(refusal) => return metrics.mirror_dropped(refusal.code.as_str()),
        };
        let Some(lane) = seats.lane(&chosen) else {
            return metrics.mirror_dropped(Code::Internal.as_str());
        };
        metrics.attempt(&chosen);
        metrics.mirror_sent();
        let mut head = self.head.take();
        let method = head
            .as_ref()
            .map_or(Method::GET, |head| head.method.clone());
        let attempt = Try {
            worker: &self.worker,
            lane,
            plan: Plan::of(&self.installed, self.forward.service, None),
            intake: self.intake.as_ref(),
            deadlines: &Deadlines {
                began: self.began.nanos,
                plan: self.forward.timeouts,
                total_until: Some(self.until),
                upgrade: false,
                call: false,
            },
            began: self.began.nanos,
            keep_head: false,
            beside: false,
            relay: None,
        };
        let attempted = attempt::attempt(&attempt, &mut head).await;
        let now = self.worker.clock.now();
        let (outcome, answer) = match attempted {
            Attempted::Response(response, line) => {
                let status = response.status();
                metrics.response_start(now.since(self.began));
                (Outcome::Response { status }, Some((response, line)))
            }
            Attempted::Failed(outcome) => (outcome, None),
            // Its own side of the body broke off: that is no fault of the service.
            Attempted::Client(_) => return metrics.mirror_dropped(self.fault_label()),
            // Upgrades are not copied, so no copy asks for a tunnel.
            Attempted::NoConnect => return metrics.mirror_failed("protocol"),
            Attempted::Total => return metrics.mirror_failed(TIMEOUT),
        };
        let finished = Attempt {
            chosen: &chosen,
            number: 1,
            began: self.began,
            outcome,
            grpc: None,
            replayable: false,
            retry_after: None,
            time_left: Duration::ZERO,
        };
        // Only for what breaker, ejection and latency learn of it: a copy is never sent again.
        let draw = self.worker.dice.draw();
        pipeline::judge(
            snapshot,
            &self.forward,
            &method,
            &finished,
            now,
            draw,
            &mut (),
        );
        match (outcome, answer) {
            (Outcome::Response { status }, Some((response, line))) => {
                metrics.mirror_answered(StatusClass::of(status.as_u16()));
                self.throw_away(response, line).await;
            }
            (Outcome::Failure { kind, .. }, _) => {
                metrics.failed(kind);
                metrics.mirror_failed(failure_label(kind));
            }
            (Outcome::Response { .. }, None) => {}
        }
    }

    /// Reads the answer, so that its connection can be used again; one that is long or slow costs
    /// the connection instead.
    async fn throw_away(&self, response: Response<FromEndpoint>, line: Line) {
        let mut body = response.into_body();
        let mut bytes = 0;
        let read = async {
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                bytes += frame.data_ref().map_or(0, bytes::Bytes::len);
                if bytes > ANSWER_BYTES_MAX {
                    return false;
                }
            }
            true
        };
        let until = tokio::time::Instant::from_std(clock::instant(self.until));
        let whole = tokio::time::timeout_at(until, read).await == Ok(true);
        let sent = self
            .intake
            .as_ref()
            .is_none_or(|intake| intake.is_complete());
        if whole && sent {
            line.finish(self.worker.clock.now().nanos);
            self.worker.sweep_later();
        }
    }

    fn fault_label(&self) -> &'static str {
        match self.fate.as_ref().and_then(CopyFate::fault) {
            Some(CopyFault::Lag) => "lag",
            Some(CopyFault::Memory) => "memory",
            Some(CopyFault::Unfinished) | None => "unfinished",
        }
    }
}

/// A place among the copies in flight.
struct Place(Rc<Copies>);

impl Place {
    fn take(copies: &Rc<Copies>) -> Option<Self> {
        let in_flight = copies.in_flight.get();
        (in_flight < COPIES_MAX).then(|| {
            copies.in_flight.set(in_flight + 1);
            Place(Rc::clone(copies))
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0
            .in_flight
            .set(self.0.in_flight.get().saturating_sub(1));
    }
}

/// Says which route a copy was made by. Like every `weir-` field, the edge takes it off requests
/// that come from outside.
const MIRRORED: HeaderName = HeaderName::from_static("weir-mirrored");
const TIMEOUT: &str = "timeout";
/// Copies in flight on one worker.
const COPIES_MAX: u32 = 1024;
/// Longest answer that is read to its end.
const ANSWER_BYTES_MAX: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_copies_are_in_flight_and_no_more() {
        let copies = Rc::new(Copies::default());
        let mut places: Vec<_> = (0..COPIES_MAX)
            .map_while(|_| Place::take(&copies))
            .collect();
        assert_eq!(places.len(), 1024, "at the bound");
        assert!(Place::take(&copies).is_none(), "one past it");
        places.pop();
        let last = Place::take(&copies);
        assert!(last.is_some(), "a place that was given back");
        assert!(Place::take(&copies).is_none());
        drop((places, last));
        assert_eq!(copies.in_flight.get(), 0);
    }
}
