//! Falling back: when the service of a route gave a request up, another one or a fixed answer
//! stands in for it, as policy says, once.
//!
//! The place at the first service is given back before the request goes to the second; its answer,
//! where it had one, is dropped unread.

use std::rc::Rc;

use http::{HeaderMap, HeaderName, HeaderValue, Response};
use weir_policy::pipeline::{self, Then};
use weir_policy::shaping::GaveUp;

use super::Exchange;
use super::attempts::{Delivered, Refused};
use crate::attempt::Deadlines;
use crate::body::Reply;
use crate::record::Ledger;
use crate::{cache, happenings, respond};

/// What follows from the end of the attempts.
pub(super) enum Onward {
    /// It goes to another service.
    Again(Box<Exchange>),
    /// This is its answer.
    Answer(Box<Response<Reply>>),
    /// The end is the end.
    Deliver(Box<Exchange>),
}

/// Asks policy what happens now; `sent` says whether an endpoint may have received the request.
pub(super) fn after(
    mut exchange: Box<Exchange>,
    end: &Result<Delivered, Refused>,
    sent: bool,
) -> Onward {
    let installed = Rc::clone(&exchange.entry.installed);
    let route = installed.snapshot.route(exchange.admitted.route);
    if route.shaping.is_none() {
        return Onward::Deliver(exchange);
    }
    let why = match end {
        Ok((_, response, _)) => GaveUp::Status(response.status()),
        Err((refusal, _)) => GaveUp::Refused(refusal.code),
    };
    let body = exchange.intake.as_ref();
    let replayable = exchange.head.is_some() && body.is_none_or(|intake| intake.replayable());
    let now = exchange.connection.worker.clock.now();
    let failed = match why {
        GaveUp::Status(status) => cache::is_failure(status),
        GaveUp::Refused(code) => code.row().status.is_server_error(),
    };
    // What is stored goes before: the service itself has said it.
    if failed && exchange.visit.as_ref().is_some_and(|it| it.stands_in(now)) {
        return Onward::Deliver(exchange);
    }
    let (snapshot, admitted) = (&installed.snapshot, &exchange.admitted);
    let method = exchange.ledger.method();
    let then = pipeline::fall_back(snapshot, admitted, method, why, (sent, replayable), now);
    let Some(then) = then else {
        return Onward::Deliver(exchange);
    };
    exchange.ledger.chosen = None;
    divert(&mut exchange, why);
    match then {
        Then::Forward(forward) => {
            happenings::tell(snapshot.service(forward.service));
            let own = forward.timeouts.total.map(|total| now.plus(total).nanos);
            let first = exchange.deadlines.total_until;
            exchange.deadlines = Deadlines {
                began: now.nanos,
                plan: forward.timeouts,
                // Both services together have no more time than the first one alone.
                total_until: first.into_iter().chain(own).min(),
                upgrade: exchange.deadlines.upgrade,
                call: exchange.deadlines.call,
            };
            exchange.entered = now;
            exchange.before = exchange.ledger.attempts;
            exchange.ledger.service = Some(forward.service);
            exchange.admitted.then = Then::Forward(forward);
            Onward::Again(exchange)
        }
        Then::Answer(mut response) => {
            mark(response.headers_mut(), Some(why));
            Onward::Answer(Box::new(
                exchange.own_answer(|ledger| respond::full(ledger, *response)),
            ))
        }
        // Only a request that was just admitted waits.
        Then::Delayed(_) => Onward::Deliver(exchange),
    }
}

/// The request is no longer one for its service.
pub(super) fn divert(exchange: &mut Exchange, why: GaveUp) {
    exchange.admitted.fallback = Some(why);
    happened(&mut exchange.ledger, why);
    if let Some(visit) = exchange.visit.take() {
        exchange.visit = visit.divert(exchange.head.as_mut().map(|head| &mut head.headers));
    }
}

/// Writes down and counts that a request fell back.
pub(super) fn happened(ledger: &mut Ledger, why: GaveUp) {
    ledger.shaped().fallback = Some(why.label());
    let Some(route) = ledger.route else { return };
    let snapshot = &ledger.entry().installed.snapshot;
    let worker = ledger.worker();
    let name = &snapshot.route(route).name;
    worker.metrics.fell_back(worker.index, name, why.label());
}

/// Tells the client that this is not what it asked for, and why.
pub(super) fn mark(headers: &mut HeaderMap, fallback: Option<GaveUp>) {
    if let Some(why) = fallback {
        headers.insert(FALLBACK, HeaderValue::from_static(why.label()));
    }
}

const FALLBACK: HeaderName = HeaderName::from_static("weir-fallback");
