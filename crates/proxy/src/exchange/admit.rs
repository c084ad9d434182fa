//! The first phase: whether a request may go on, and the answer to one that goes nowhere.

use std::rc::Rc;

use bytes::Bytes;
use http::{Extensions, Method, Request, Response, Version, request};
use http_body::Body;
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Admitted, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::request::RequestView;
use weir_policy::rewrite;
use weir_telemetry::termination::Termination;

use super::head::{join_cookies, tag};
use super::stored::{self, Dress};
use super::{Exchange, Marks, connect, delay, fallback, hold};
use crate::attempt::Deadlines;
use crate::body::{Inbound, Reply};
use crate::cache;
use crate::interim::Recipient;
use crate::record::Ledger;
use crate::respond;
use crate::serve::ClientConnection;
use crate::upgrade::ClientSide;
use crate::websocket::{self, WebSocket};
use crate::worker::Entry;

/// An answer without an endpoint, and whether Weir has written it by itself.
type Answer = (Response<Reply>, bool);

impl Exchange {
    /// Admits and prepares a request; an error is the answer to one that goes nowhere.
    #[expect(
        clippy::result_large_err,
        reason = "an answer is not rare enough for an allocation"
    )]
    pub(super) fn begin(
        connection: &Rc<ClientConnection>,
        request: Request<Inbound>,
    ) -> Result<Box<Self>, Response<Reply>> {
        let (entry, worker) = (connection.entry(), &connection.worker);
        let at = worker.clock.now();
        let (mut head, body) = request.into_parts();
        let recipient = Recipient::of(&entry, head.version);
        if head.version == Version::HTTP_2 {
            join_cookies(&mut head.headers);
        }
        let extended = head.method == Method::CONNECT && websocket::adopt(&mut head, &worker.dice);
        let mut ledger = Ledger::new(connection, &entry, &head, at);
        // Admit: may this request go on at all? A refusal ends it here.
        let listener = entry.installed.snapshot.listener(entry.listener);
        let measured = measure(&entry, &head)
            .and_then(|()| rewrite::hold_to(listener.underscores, &mut head.headers));
        let request_id = tag(worker, &mut ledger, &mut head.headers);
        let admitted = measured.and_then(|()| admit(connection, &entry, &head, &body, at));
        let marks = Marks::new(&entry, &admitted, &head.headers, request_id);
        let bare = body.is_end_stream();
        let mut admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                let (response, own) = refused(ledger, &head, bare, &refusal);
                return Err(marks.on(&entry, response, own));
            }
        };
        let holds = pipeline::holds(&entry.installed.snapshot, &admitted);
        let holds = holds.filter(|_| !bare);
        let mut ledger =
            match without_service(ledger, &head, (bare, holds.is_some()), &mut admitted) {
                Ok(ledger) => ledger,
                Err((response, own)) => return Err(marks.on(&entry, response, own)),
            };
        // Prepare: what leaves is the same for every attempt.
        let snapshot = &entry.installed.snapshot;
        let errand = cache::errand(connection, &entry, &admitted, &head, bare);
        ledger.cache = errand.as_ref().map(|errand| Rc::clone(&errand.told));
        let asked = head.extensions.remove::<ClientSide>();
        let connects = head.method == Method::CONNECT;
        let upgrades = admitted.upgrade.is_some();
        let client = asked.filter(|_| upgrades || connects);
        let websocket = upgrades.then(|| WebSocket::new(&head.headers, extended));
        let websocket = websocket.filter(|_| client.is_some());
        if !connects {
            let (secure, origin) = (connection.secure, &connection.origin);
            pipeline::prepare(snapshot, &admitted, secure, origin, &mut head);
        }
        head.version = Version::HTTP_11;
        head.extensions = Extensions::new();
        // Look: what is stored may be the answer.
        let visit = match stored::enter(errand, connection, &entry, &admitted, &head, at) {
            Ok(visit) => visit,
            Err(answer) => {
                let (response, own) = looked_up(ledger, &admitted, answer);
                return Err(marks.on(&entry, response, own));
            }
        };
        let mut exchange = Box::new(Self {
            connection: Rc::clone(connection),
            entry,
            ledger,
            admitted,
            head: Some(head),
            intake: None,
            deadlines: Deadlines::default(),
            entered: at,
            before: 0,
            sends_again: false,
            waiting: None,
            holds,
            reshaped: None,
            client,
            websocket,
            marks,
            recipient,
            visit,
        });
        if holds.is_some() || matches!(exchange.admitted.then, Then::Delayed(_)) {
            exchange.waiting = Some(body);
        } else {
            exchange.enter(body, at);
        }
        Ok(exchange)
    }
}

/// What was received is measured before anything is added to it.
fn measure(entry: &Entry, head: &request::Parts) -> Result<(), Refusal> {
    match entry.bounds.exceeded_by(head) {
        Some(fault) => Err(fault.into()),
        None => Ok(()),
    }
}

fn admit(
    connection: &ClientConnection,
    entry: &Entry,
    head: &request::Parts,
    body: &Inbound,
    at: Moment,
) -> Result<Admitted, Refusal> {
    if let Some(fault) = connection.head_fault() {
        return Err(fault.into());
    }
    let connects = head.method == Method::CONNECT;
    if connects && let Some(why) = connect::problem(head, body) {
        return Err(Refusal::new(Code::ConnectRefused).with_detail(why));
    }
    let view = RequestView {
        listener: entry.listener,
        method: &head.method,
        secure: connection.secure,
        authority: head.uri.authority().map(|authority| authority.as_str()),
        // An authority alone has no path.
        path: if connects { "/" } else { head.uri.path() },
        query: head.uri.query(),
        headers: &head.headers,
        version: head.version,
        remote: connection.remote.ip(),
        peer: connection.peer.as_deref(),
        body_bytes: body.size_hint().exact(),
    };
    let worker = &connection.worker;
    let (draw, mut local) = (worker.dice.draw(), worker.local.borrow_mut());
    pipeline::admit(
        &entry.installed.snapshot,
        &mut local,
        &view,
        at,
        draw,
        &mut (),
    )
}

/// The answer to a request that may not go on.
fn refused(
    mut ledger: Box<Ledger>,
    head: &request::Parts,
    bare: bool,
    refusal: &Refusal,
) -> Answer {
    if refusal.code == Code::FaultInjected {
        (ledger.route, ledger.service) = (refusal.known.route, refusal.known.service);
        delay::count_abort(&ledger);
    }
    if hold::is_openapi(refusal.code) {
        ledger.route = refusal.known.route;
        hold::count(&ledger, refusal, false);
    }
    stored::refused(ledger, head, bare, refusal)
}

/// Writes down what is known of an admitted request; an error is the answer where no service is
/// asked for one.
#[expect(
    clippy::result_large_err,
    reason = "an answer is not rare enough for an allocation"
)]
fn without_service(
    mut ledger: Box<Ledger>,
    head: &request::Parts,
    (bare, holds): (bool, bool),
    admitted: &mut Admitted,
) -> Result<Box<Ledger>, Answer> {
    ledger.client = admitted.client;
    ledger.route = Some(admitted.route);
    ledger.api_version = admitted.version;
    if let Some(why) = admitted.fallback {
        if let Some(stored) = stored::before_fallback(&mut ledger, head, bare, why) {
            return Err((respond::full(ledger, stored), false));
        }
        fallback::happened(&mut ledger, why);
    }
    hold::note(&mut ledger, admitted);
    if !holds && let Then::Answer(response) = &mut admitted.then {
        let mut response = std::mem::take(&mut **response);
        fallback::mark(response.headers_mut(), admitted.fallback);
        return Err((respond::full(ledger, response), true));
    }
    Ok(ledger)
}

/// The answer that the cache has to a request, or why it has none.
fn looked_up(
    mut ledger: Box<Ledger>,
    admitted: &Admitted,
    answer: Result<Response<Bytes>, Refusal>,
) -> Answer {
    ledger.service = stored::service_of(ledger.entry(), admitted);
    match answer {
        Ok(stored) => {
            let filled = admitted.filled.as_deref();
            let dress = Dress::of(admitted);
            (dress.on_stored(ledger, filled, stored), false)
        }
        Err(refusal) => {
            let response = respond::refuse(ledger, &refusal, Termination::Refused);
            (response, true)
        }
    }
}
