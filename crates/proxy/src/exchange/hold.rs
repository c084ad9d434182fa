//! Bodies that are held until they have been judged: on routes that look into them, and only there.
//!
//! A held body lies in memory in one piece, at most as large as its route says, and costs a slow
//! client the same patience as one that streams: the listener's least rate, the silence and the
//! total deadline of the service. What is over the bound and may pass all the same streams on from
//! where it is.

use bytes::{Bytes, BytesMut};
use http::Response;
use http_body_util::BodyExt as _;
use weir_config::resilience::Timeouts;
use weir_policy::pipeline::{self, Admitted, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::resilience::TimeoutPlan;
use weir_policy::snapshot::Action;
use weir_telemetry::termination::Termination;

use super::attempts::{Refused, of_client};
use super::{Exchange, fallback};
use crate::attempt::ClientFault;
use crate::body::{Inbound, InboundError, Reply};
use crate::clock;
use crate::record::Ledger;
use crate::respond;

/// A body as far as it was held.
struct Held {
    bytes: Bytes,
    /// What comes behind it, where it went over the bound.
    rest: Option<Inbound>,
}

/// Holds the body and has it judged; the request goes on, or there is its answer.
pub(super) async fn hold(
    mut exchange: Box<Exchange>,
    bytes_max: u64,
) -> Result<Box<Exchange>, Box<Response<Reply>>> {
    let Some(body) = exchange.waiting.take() else {
        return Ok(exchange);
    };
    exchange.ledger.holding = true;
    let held = gather(&mut exchange, body, bytes_max).await;
    exchange.ledger.holding = false;
    let held = match held {
        Ok(held) => held,
        Err(refused) => return Err(Box::new(refuse(exchange, &refused))),
    };
    let installed = exchange.entry.installed.clone();
    let whole = held.rest.is_none().then_some(&held.bytes[..]);
    let judged = pipeline::receive(&installed.snapshot, &mut exchange.admitted, whole);
    note(&mut exchange.ledger, &exchange.admitted);
    let body = match (judged, held.rest) {
        (Err(refusal), _) => {
            return Err(Box::new(refuse(exchange, &(refusal, Termination::Refused))));
        }
        (Ok(Some(changed)), _) => Inbound::from(Bytes::from(changed)),
        (Ok(None), None) => Inbound::from(held.bytes),
        (Ok(None), Some(rest)) => rest.behind(held.bytes),
    };
    if let Then::Answer(response) = &mut exchange.admitted.then {
        let mut response = std::mem::take(&mut **response);
        fallback::mark(response.headers_mut(), exchange.admitted.fallback);
        let answered = exchange.own_answer(|ledger| respond::full(ledger, response));
        return Err(Box::new(answered));
    }
    if matches!(exchange.admitted.then, Then::Delayed(_)) {
        exchange.waiting = Some(body);
    } else {
        let now = exchange.connection.worker.clock.now();
        exchange.enter(body, now);
    }
    Ok(exchange)
}

/// Reads the body to its end, or to the bound.
async fn gather(
    exchange: &mut Exchange,
    mut body: Inbound,
    bytes_max: u64,
) -> Result<Held, Refused> {
    let worker = &exchange.connection.worker;
    let ledger = &mut exchange.ledger;
    let route = exchange
        .entry
        .installed
        .snapshot
        .route(exchange.admitted.route);
    let timeouts = match &exchange.admitted.then {
        Then::Forward(plan) => plan.timeouts,
        Then::Answer(_) | Then::Delayed(_) => {
            TimeoutPlan::resolve(&Timeouts::default(), &Timeouts::default())
        }
    };
    let pace = exchange.entry.bounds.client_rate_min;
    let total = timeouts.total.map(|total| ledger.began.plus(total).nanos);
    let began = worker.clock.now().nanos;
    let mut moved = began;
    let mut first = Bytes::new();
    let mut more = BytesMut::new();
    loop {
        let received = ledger.held_bytes;
        // Nothing but the client is waited for, so all of the time is its own.
        let slow = pace
            .patience(received)
            .map(|patience| began.saturating_add(patience));
        let silent = moved.saturating_add(clock::nanos(timeouts.idle));
        let deadlines = [
            (Some(silent), ClientFault::Silent),
            (slow, ClientFault::Slow),
        ];
        let known = deadlines
            .into_iter()
            .filter_map(|(at, fault)| Some((at?, Some(fault))));
        let next = known
            .chain(total.map(|at| (at, None)))
            .min_by_key(|(at, _)| *at);
        let (until, fault) = next.unwrap_or((silent, Some(ClientFault::Silent)));
        let until = tokio::time::Instant::from_std(clock::instant(until));
        let Ok(frame) = tokio::time::timeout_at(until, body.frame()).await else {
            return Err(match fault {
                Some(fault) => of_client(fault, ledger),
                None => (Code::TotalTimeout.into(), Termination::TotalTimeout),
            });
        };
        let data = match frame {
            None => break,
            Some(Err(InboundError::Trailers(fault))) => {
                return Err(of_client(ClientFault::Trailers(fault), ledger));
            }
            Some(Err(_)) => return Err(of_client(ClientFault::Broken, ledger)),
            // What stands behind a body is nothing that a schema speaks of.
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => data,
                Err(_trailers) => continue,
            },
        };
        moved = worker.clock.now().nanos;
        ledger.held_bytes += data.len() as u64;
        if ledger.held_bytes > route.body_bytes_max {
            return Err(of_client(ClientFault::TooLarge, ledger));
        }
        if first.is_empty() {
            first = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&first);
            }
            more.extend_from_slice(&data);
        }
        if ledger.held_bytes > bytes_max {
            return Ok(Held {
                bytes: joined(first, more),
                rest: Some(body),
            });
        }
    }
    Ok(Held {
        bytes: joined(first, more),
        rest: None,
    })
}

/// Most bodies come in one piece, which is not copied.
fn joined(first: Bytes, more: BytesMut) -> Bytes {
    match more.is_empty() {
        true => first,
        false => more.freeze(),
    }
}

/// Writes down what is special about the content of a request.
pub(super) fn note(ledger: &mut Ledger, admitted: &Admitted) {
    let Some(content) = &admitted.content else {
        return;
    };
    let mocked = {
        let snapshot = &ledger.entry().installed.snapshot;
        matches!(snapshot.route(admitted.route).action, Action::Mock)
    };
    if mocked {
        ledger.shaped().mock = true;
    }
    let Some(reported) = content.reported() else {
        return;
    };
    if ledger.shaped().reported.is_none() {
        count(ledger, reported, true);
        ledger.shaped().reported = Some(reported.to_string().into());
    }
}

/// Counts a request that breaks the rules of its route's API.
pub(super) fn count(ledger: &Ledger, refusal: &Refusal, is_reported: bool) {
    let Some(route) = ledger.route else { return };
    let worker = ledger.worker();
    let route = &ledger.entry().installed.snapshot.route(route).name;
    worker
        .metrics
        .openapi_fault(worker.index, route, refusal.code, is_reported);
}

fn refuse(exchange: Box<Exchange>, (refusal, termination): &Refused) -> Response<Reply> {
    if is_openapi(refusal.code) {
        count(&exchange.ledger, refusal, false);
    }
    exchange.own_answer(|ledger| respond::refuse(ledger, refusal, *termination))
}

/// Whether a route's OpenAPI document is the reason.
pub(super) fn is_openapi(code: Code) -> bool {
    matches!(
        code,
        Code::OpenapiBody
            | Code::OpenapiBodyTooLarge
            | Code::OpenapiMediaType
            | Code::OpenapiMethod
            | Code::OpenapiParameter
            | Code::OpenapiPath
    )
}
