//! Faults on purpose, carried out: the wait before a request goes on, and the count of both kinds.
//!
//! A request that waits holds its client's connection and its own head, and nothing of the service:
//! no permit, no connection, no byte of its body is read. A client that goes away drops the future,
//! and with it the wait.

use std::rc::Rc;

use http::Response;
use weir_policy::pipeline::Then;
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use super::{Exchange, identified, last_words};
use crate::body::Reply;
use crate::record::{Fault, Ledger};
use crate::respond;

/// Waits as long as policy says; then the request goes on, or there is its answer.
pub(super) async fn wait(
    mut exchange: Box<Exchange>,
) -> Result<Box<Exchange>, Box<Response<Reply>>> {
    let Then::Delayed(delayed) = &exchange.admitted.then else {
        return Err(Box::new(refuse(exchange, &Code::Internal.into())));
    };
    let (pause, route) = (delayed.pause, exchange.admitted.route);
    let service = delayed.service(&exchange.entry.installed.snapshot, route);
    // Whoever goes away while waiting is counted under the service that it waited for.
    exchange.ledger.service = service;
    exchange.ledger.shaped().delayed = Some(pause);
    count(&exchange.ledger, Fault::Delay);
    tokio::time::sleep(pause).await;

    let now = exchange.connection.worker.clock.now();
    let Then::Delayed(delayed) = &exchange.admitted.then else {
        return Err(Box::new(refuse(exchange, &Code::Internal.into())));
    };
    let resumed = delayed.resume(&exchange.entry.installed.snapshot, route, now, &mut ());
    match resumed {
        Ok(Then::Answer(response)) => {
            let connection = Rc::clone(&exchange.connection);
            let response = respond::full(exchange.ledger, *response);
            let response = identified(response, exchange.request_id);
            Err(Box::new(last_words(&connection, response)))
        }
        Ok(then) => {
            exchange.admitted.then = then;
            if let Some(body) = exchange.waiting.take() {
                exchange.enter(body, now);
            }
            Ok(exchange)
        }
        Err(refusal) => {
            if refusal.code == Code::FaultInjected {
                count_abort(&exchange.ledger);
            }
            Err(Box::new(refuse(exchange, &refusal)))
        }
    }
}

/// Counts a request that a fault answered.
pub(super) fn count_abort(ledger: &Ledger) {
    count(ledger, Fault::Abort);
}

fn count(ledger: &Ledger, fault: Fault) {
    let Some(route) = ledger.route else { return };
    let snapshot = &ledger.entry().installed.snapshot;
    let worker = ledger.worker();
    worker
        .metrics
        .fault(worker.index, &snapshot.route(route).name, fault);
}

fn refuse(exchange: Box<Exchange>, refusal: &Refusal) -> Response<Reply> {
    let termination = match refusal.code {
        Code::Internal => Termination::Internal,
        Code::GrpcDeadline | Code::TotalTimeout => Termination::TotalTimeout,
        _ => Termination::Refused,
    };
    let connection = Rc::clone(&exchange.connection);
    let response = respond::refuse(exchange.ledger, refusal, termination);
    last_words(&connection, identified(response, exchange.request_id))
}
