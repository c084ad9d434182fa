//! Faults on purpose, carried out: the wait before a request goes on, and the count of both kinds.
//!
//! A request that waits holds its client's connection and its own head, and nothing of the service:
//! no permit, no connection, no byte of its body is read. A client that goes away drops the future,
//! and with it the wait.

use http::Response;
use weir_policy::pipeline::Then;
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use super::{Exchange, fallback};
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
    let snapshot = &exchange.entry.installed.snapshot;
    let resumed = delayed.resume(snapshot, &exchange.admitted, now, &mut ());
    if let Ok((_, Some(why))) = &resumed {
        fallback::divert(&mut exchange, *why);
    }
    match resumed.map(|(then, _)| then) {
        Ok(Then::Answer(mut response)) => {
            fallback::mark(response.headers_mut(), exchange.admitted.fallback);
            let answered = exchange.own_answer(|ledger| respond::full(ledger, *response));
            Err(Box::new(answered))
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
        Code::GrpcDeadline | Code::GrpcTimeout | Code::TotalTimeout => Termination::TotalTimeout,
        _ => Termination::Refused,
    };
    exchange.own_answer(|ledger| respond::refuse(ledger, refusal, termination))
}
