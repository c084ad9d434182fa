//! Where an exchange meets the cache: stored answers on their way to the client.

use std::rc::Rc;

use bytes::Bytes;
use http::{Response, request};
use http_body::Body as _;
use weir_policy::compress::Coding;
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Admitted, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::rewrite::Filled;
use weir_policy::shaping::GaveUp;
use weir_policy::snapshot::{ListenerId, RouteId, ServiceId};
use weir_telemetry::termination::Termination;

use super::{Exchange, last_words};
use crate::body::{FromEndpoint, Reply};
use crate::cache::{self, Entered, Errand, Visit};
use crate::pool::Line;
use crate::record::Ledger;
use crate::respond;
use crate::serve::ClientConnection;
use crate::worker::{Entry, Worker};

/// How the responses of an exchange may be compressed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dress {
    place: (ListenerId, RouteId),
    coding: Option<Coding>,
    version: Option<u16>,
}

impl Dress {
    pub(super) fn of(admitted: &Admitted) -> Self {
        Self {
            place: (admitted.listener, admitted.route),
            coding: admitted.coding,
            version: admitted.version,
        }
    }

    /// A settled response as it leaves.
    pub(super) fn on(
        self,
        entry: &Entry,
        worker: &Rc<Worker>,
        response: Response<Reply>,
    ) -> Response<Reply> {
        let snapshot = &entry.installed.snapshot;
        let (mut head, body) = response.into_parts();
        let bytes = body.size_hint().exact();
        match pipeline::compress(snapshot, self.place, self.coding, &mut head, bytes) {
            Some(coding) => Response::from_parts(head, body.compressed(coding, worker)),
            None => Response::from_parts(head, body),
        }
    }

    /// A stored answer as it leaves; `filled` is what the templates of its route became.
    pub(super) fn on_stored(
        self,
        ledger: Box<Ledger>,
        filled: Option<&Filled>,
        stored: Response<Bytes>,
    ) -> Response<Reply> {
        let (entry, worker) = (Rc::clone(ledger.entry()), Rc::clone(ledger.worker()));
        let stored = settled(&entry, (self.place.1, self.version), filled, stored);
        self.on(&entry, &worker, respond::full(ledger, stored))
    }
}

fn settled(
    entry: &Entry,
    (route, version): (RouteId, Option<u16>),
    filled: Option<&Filled>,
    stored: Response<Bytes>,
) -> Response<Bytes> {
    let (mut head, body) = stored.into_parts();
    pipeline::settle(&entry.installed.snapshot, route, version, filled, &mut head);
    Response::from_parts(head, body)
}

/// Enters the cache, where the route has one.
///
/// # Errors
/// What the request got there, or why it got nothing and goes nowhere.
#[expect(
    clippy::result_large_err,
    reason = "an answer is not rare enough for an allocation"
)]
pub(super) fn enter(
    errand: Option<Errand>,
    connection: &ClientConnection,
    entry: &Entry,
    admitted: &Admitted,
    head: &request::Parts,
    at: Moment,
) -> Result<Option<Box<Visit>>, Result<Response<Bytes>, Refusal>> {
    let (Some(errand), Some(service)) = (errand, service_of(entry, admitted)) else {
        return Ok(None);
    };
    let to = (admitted.route, service);
    match cache::enter(errand, &connection.worker, entry, to, head, at) {
        Entered::Answer(response) => Err(Ok(response)),
        Entered::Go(visit) => Ok(Some(visit)),
        Entered::Refuse(refusal) => Err(Err(refusal)),
    }
}

/// The service that a request goes to, at once or after a delay.
pub(super) fn service_of(entry: &Entry, admitted: &Admitted) -> Option<ServiceId> {
    match &admitted.then {
        Then::Forward(plan) => Some(plan.service),
        Then::Delayed(delayed) => delayed.service(&entry.installed.snapshot, admitted.route),
        Then::Answer(_) => None,
    }
}

/// The answer to a request that was not admitted, and whether it is Weir's own: the refusal, or
/// what is stored where that may be.
pub(super) fn refused(
    mut ledger: Box<Ledger>,
    head: &request::Parts,
    bare: bool,
    refusal: &Refusal,
) -> (Response<Reply>, bool) {
    ledger.client = refusal.known.client.unwrap_or(ledger.client);
    (ledger.route, ledger.service) = (refusal.known.route, refusal.known.service);
    ledger.api_version = refusal.known.version;
    // Only a request that has a service may have something stored.
    let route = ledger.service.and(ledger.route);
    let stored = route.and_then(|route| rescued(&mut ledger, head, bare, (refusal.code, route)));
    match stored {
        Some(stored) => (respond::full(ledger, stored), false),
        None => {
            let response = respond::refuse(ledger, refusal, Termination::Refused);
            (response, true)
        }
    }
}

/// What is stored for an admitted request whose service could not take it: it goes before the
/// fallback, since the service itself has said it.
pub(super) fn before_fallback(
    ledger: &mut Ledger,
    head: &request::Parts,
    bare: bool,
    why: GaveUp,
) -> Option<Response<Bytes>> {
    match why {
        GaveUp::Refused(code) => rescued(ledger, head, bare, (code, ledger.route?)),
        GaveUp::Status(_) => None,
    }
}

/// Without what only an admitted request has: values of templates, a coding.
fn rescued(
    ledger: &mut Ledger,
    head: &request::Parts,
    bare: bool,
    (code, route): (Code, RouteId),
) -> Option<Response<Bytes>> {
    let (connection, entry) = (ledger.connection(), ledger.entry());
    let (stored, told) = cache::rescue(connection, entry, head, bare, (code, route), ledger.began)?;
    let stored = settled(entry, (route, ledger.api_version), None, stored);
    ledger.cache = Some(told);
    Some(stored)
}

/// Waits for another request that fetches the same; the request goes on, or there is its answer.
pub(super) async fn wait(
    mut exchange: Box<Exchange>,
) -> Result<Box<Exchange>, Box<Response<Reply>>> {
    let shared = match &mut exchange.visit {
        Some(visit) => visit.wait().await,
        None => None,
    };
    let Some(stored) = shared else {
        return Ok(exchange);
    };
    let filled = exchange.admitted.filled.as_deref();
    let dress = Dress::of(&exchange.admitted);
    let response = dress.on_stored(exchange.ledger, filled, stored);
    let response = exchange.marks.on(&exchange.entry, response, false);
    Err(Box::new(last_words(&exchange.connection, response)))
}

/// Gives the connection back on which an answer came that is not passed on.
pub(super) fn give_back(worker: &Rc<Worker>, incoming: &FromEndpoint, line: Line) {
    if incoming.is_end_stream() {
        line.finish(worker.clock.recent());
        worker.sweep_later();
    }
}
