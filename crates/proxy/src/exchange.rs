//! One exchange: from the head of a request to the head of its response, through the five phases of
//! policy. The body of the response goes on in [`crate::body::Reply`].

use std::cell::Cell;
use std::future::{Future, ready};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::Either;
use http::header::{CONNECTION, CONTENT_TYPE, SET_COOKIE};
use http::{Extensions, HeaderMap, HeaderValue, Method, Request, Response};
use http::{StatusCode, Version, request, response};
use http_body::Body;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use weir_policy::balance::Chosen;
use weir_policy::grpc::{self, Flavour, Status};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{self, Admitted, Forward, Grant, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::request::RequestView;
use weir_policy::resilience::may_last;
use weir_policy::rewrite;
use weir_policy::snapshot::RouteId;
use weir_telemetry::termination::Termination;

use crate::attempt::Deadlines;
use crate::body::{Download, Inbound, Intake, Never, Patience, Reply};
use crate::cache::{self, Received, Visit};
use crate::call::CallBody;
use crate::happenings;
use crate::pace::Pace;
use crate::pool::Line;
use crate::record::Ledger;
use crate::respond;
use crate::serve::ClientConnection;
use crate::upgrade;
use crate::websocket::{self, WebSocket};
use crate::worker::{Entry, Worker};

mod attempts;
mod delay;
mod fallback;
mod head;
mod mirror;
mod stored;

use attempts::{Attempts, Delivered, Refused};
use fallback::Onward;
use head::{identified, join_cookies, tag};
use stored::Dress;

pub(crate) use mirror::Copies;

/// Serves one request. Everything up to the first wait happens at once, so that what is answered
/// without an endpoint needs no state, and the future of what is not stays small: hyper keeps room
/// for it in every connection.
pub(crate) fn serve(
    connection: Rc<ClientConnection>,
    request: Request<Inbound>,
) -> impl Future<Output = Result<Response<Reply>, Never>> + 'static {
    match Exchange::begin(&connection, request) {
        Ok(exchange) => Either::Right(exchange.forward()),
        Err(response) => Either::Left(ready(Ok(last_words(&connection, response)))),
    }
}

/// Tells the client to leave when the connection is to end.
fn last_words(connection: &ClientConnection, mut response: Response<Reply>) -> Response<Reply> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if connection.is_leaving() && !connection.http2 && !switched {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
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
    if head.method == Method::CONNECT {
        return Err(Code::ConnectRefused.into());
    }
    let view = RequestView {
        listener: entry.listener,
        method: &head.method,
        secure: connection.secure,
        authority: head.uri.authority().map(|authority| authority.as_str()),
        path: head.uri.path(),
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

/// An admitted request that goes to a service.
struct Exchange {
    connection: Rc<ClientConnection>,
    entry: Rc<Entry>,
    ledger: Box<Ledger>,
    admitted: Admitted,
    /// What leaves; the same for every attempt.
    head: Option<request::Parts>,
    intake: Option<Rc<Intake>>,
    deadlines: Deadlines,
    /// When it went on to its service.
    entered: Moment,
    /// Attempts made before that, at a service that gave up.
    before: u32,
    /// Whether it may be needed once more, whatever its retries.
    sends_again: bool,
    /// The body of a request that has to wait first.
    waiting: Option<Inbound>,
    /// The client's connection, where it asked for an upgrade that policy allows.
    client: Option<OnUpgrade>,
    websocket: Option<WebSocket>,
    request_id: HeaderValue,
    /// Which page may read the answer, where the route has a say in that.
    grant: Option<(RouteId, Grant)>,
    /// On routes that store their answers.
    visit: Option<Box<Visit>>,
}

impl Exchange {
    /// Admits and prepares a request; an error is the answer to one that goes nowhere.
    #[expect(
        clippy::result_large_err,
        reason = "an answer is not rare enough for an allocation"
    )]
    fn begin(
        connection: &Rc<ClientConnection>,
        request: Request<Inbound>,
    ) -> Result<Box<Self>, Response<Reply>> {
        let (entry, worker) = (connection.entry(), &connection.worker);
        let at = worker.clock.now();
        let (mut head, body) = request.into_parts();
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
        let grant = grant(&entry, &admitted, &head.headers);
        let admitted = match admitted {
            Ok(admitted) => admitted,
            Err(refusal) => {
                if refusal.code == Code::FaultInjected {
                    (ledger.route, ledger.service) = (refusal.known.route, refusal.known.service);
                    delay::count_abort(&ledger);
                }
                let bare = body.is_end_stream();
                let (mut response, own) = stored::refused(ledger, &head, bare, &refusal);
                share(&entry, grant, response.headers_mut(), own);
                return Err(identified(response, request_id));
            }
        };
        ledger.client = admitted.client;
        ledger.route = Some(admitted.route);
        ledger.api_version = admitted.version;
        if let Some(why) = admitted.fallback {
            let bare = body.is_end_stream();
            if let Some(stored) = stored::before_fallback(&ledger, &head, bare, why) {
                let mut response = respond::full(ledger, stored);
                share(&entry, grant, response.headers_mut(), false);
                return Err(identified(response, request_id));
            }
            fallback::happened(&mut ledger, why);
        }
        if let Then::Answer(mut response) = admitted.then {
            fallback::mark(response.headers_mut(), admitted.fallback);
            let mut response = respond::full(ledger, *response);
            share(&entry, grant, response.headers_mut(), true);
            return Err(identified(response, request_id));
        }
        // Prepare: what leaves is the same for every attempt.
        let snapshot = &entry.installed.snapshot;
        let errand = cache::errand(connection, &entry, &admitted, &head, body.is_end_stream());
        let asked = head.extensions.remove::<OnUpgrade>();
        let client = asked.filter(|_| admitted.upgrade.is_some());
        let websocket = client
            .as_ref()
            .map(|_| WebSocket::new(&head.headers, extended));
        let (secure, origin) = (connection.secure, &connection.origin);
        pipeline::prepare(snapshot, &admitted, secure, origin, &mut head);
        head.version = Version::HTTP_11;
        head.extensions = Extensions::new();
        let visit = match stored::enter(errand, connection, &entry, &admitted, &head, at) {
            Ok(visit) => visit,
            Err(answer) => {
                ledger.service = stored::service_of(&entry, &admitted);
                let own = answer.is_err();
                let mut response = match answer {
                    Ok(stored) => {
                        let filled = admitted.filled.as_deref();
                        Dress::of(&admitted).on_stored(ledger, filled, stored)
                    }
                    Err(refusal) => respond::refuse(ledger, &refusal, Termination::Refused),
                };
                share(&entry, grant, response.headers_mut(), own);
                return Err(identified(response, request_id));
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
            client,
            websocket,
            request_id,
            grant,
            visit,
        });
        if matches!(exchange.admitted.then, Then::Delayed(_)) {
            exchange.waiting = Some(body);
        } else {
            exchange.enter(body, at);
        }
        Ok(exchange)
    }

    /// It goes on to its service.
    fn enter(&mut self, body: Inbound, at: Moment) {
        let Then::Forward(plan) = &self.admitted.then else {
            return;
        };
        let snapshot = &self.entry.installed.snapshot;
        let web = plan.web(snapshot);
        if let (Some(_), Some(head)) = (web, &mut self.head) {
            grpc::request_from_web(&mut head.headers);
        }
        let body = match web {
            Some(Flavour::WebText) => body.decoded(),
            _ => body,
        };
        let route = snapshot.route(self.admitted.route);
        self.sends_again = route.shaping.as_ref().is_some_and(|it| it.sends_again());
        let keeps = self.sends_again || plan.retry.attempts > 0;
        let kept_bytes_max = if keeps { plan.retry.body_bytes_max } else { 0 };
        let worker = &self.connection.worker;
        let pace = || match self.head.as_ref().is_some_and(is_grpc) {
            // A call may be a stream that is silent for long: that is no slowness.
            true => Pace::ANY,
            false => self.entry.bounds.client_rate_min,
        };
        self.intake = intake(worker, route.body_bytes_max, kept_bytes_max, pace, body);
        self.ledger.service = Some(plan.service);
        happenings::tell(snapshot.service(plan.service));
        self.ledger.intake.clone_from(&self.intake);
        self.entered = at;
        self.deadlines = Deadlines {
            began: at.nanos,
            plan: plan.timeouts,
            total_until: plan
                .timeouts
                .total
                .map(|total| self.ledger.began.plus(total).nanos),
            upgrade: self.client.is_some(),
            call: plan.call.is_some(),
        };
    }

    /// It leaves for its service: nothing that is stored answers it. Copies come first, since the
    /// cache asks for what it can use.
    fn depart(&mut self) {
        let snapshot = &self.entry.installed.snapshot;
        if snapshot.route(self.admitted.route).shaping.is_some() {
            mirror::send(self, self.connection.worker.clock.now());
        }
        if let (Some(visit), Some(head)) = (&mut self.visit, &mut self.head) {
            visit.depart(&mut head.headers);
        }
    }

    /// Sends it on, as often as policy says, and answers.
    async fn forward(mut self: Box<Self>) -> Result<Response<Reply>, Never> {
        if self.waiting.is_some() {
            // Boxed: it is rare, and every exchange would carry its size.
            self = match Box::pin(delay::wait(self)).await {
                Ok(exchange) => exchange,
                Err(response) => return Ok(*response),
            };
        }
        if self.visit.as_ref().is_some_and(|visit| visit.waits()) {
            // Boxed for the same reason.
            self = match Box::pin(stored::wait(self)).await {
                Ok(exchange) => exchange,
                Err(response) => return Ok(*response),
            };
        }
        self.depart();
        loop {
            let this = &mut *self;
            let Then::Forward(plan) = &this.admitted.then else {
                // `begin` has answered every other case.
                return Ok(respond::refuse(
                    self.ledger,
                    &Code::Internal.into(),
                    Termination::Internal,
                ));
            };
            let attempts = Attempts {
                worker: &this.connection.worker,
                entry: &this.entry,
                plan,
                intake: this.intake.as_ref(),
                deadlines: &this.deadlines,
                began: this.entered,
                before: this.before,
                keep_head: this.sends_again,
                sent: Cell::new(false),
            };
            let end = attempts.run(&mut this.ledger, &mut this.head).await;
            let sent = attempts.sent.get();
            // A service that gave up may have another one, or a fixed answer, to stand in for it.
            match fallback::after(self, &end, sent) {
                Onward::Again(exchange) => self = exchange,
                Onward::Answer(response) => return Ok(*response),
                Onward::Deliver(exchange) => return Ok(exchange.answer(end)),
            }
        }
    }

    fn answer(self, end: Result<Delivered, Refused>) -> Response<Reply> {
        let connection = Rc::clone(&self.connection);
        let request_id = self.request_id.clone();
        let (entry, grant) = (Rc::clone(&self.entry), self.grant.clone());
        let own = end.is_err();
        let mut response = match end {
            Ok((chosen, answer, line)) => self.deliver(chosen, answer, line),
            Err((refusal, termination)) => self.failed(&refusal, termination),
        };
        share(&entry, grant, response.headers_mut(), own);
        last_words(&connection, identified(response, request_id))
    }

    /// No endpoint has answered: what is stored may have to do.
    fn failed(mut self, refusal: &Refusal, termination: Termination) -> Response<Reply> {
        if let Some(visit) = self.visit.take()
            && refusal.code.row().status.is_server_error()
            && let Some(stale) = visit.failed(self.connection.worker.clock.now())
        {
            let filled = self.admitted.filled.as_deref();
            return Dress::of(&self.admitted).on_stored(self.ledger, filled, stale);
        }
        respond::refuse(self.ledger, refusal, termination)
    }

    /// Answers without an endpoint.
    fn own_answer(self, answer: impl FnOnce(Box<Ledger>) -> Response<Reply>) -> Response<Reply> {
        let mut response = answer(self.ledger);
        share(&self.entry, self.grant, response.headers_mut(), true);
        last_words(&self.connection, identified(response, self.request_id))
    }

    /// Turns an endpoint's response into the client's.
    fn deliver(
        mut self,
        chosen: Chosen,
        answer: Response<Incoming>,
        line: Line,
    ) -> Response<Reply> {
        let (mut head, incoming) = answer.into_parts();
        let (route, dress) = (self.admitted.route, Dress::of(&self.admitted));
        let (idle, bytes_max, session) = match &self.admitted.then {
            Then::Forward(plan) => (
                plan.timeouts.idle,
                plan.response_bytes_max,
                match self.admitted.fallback {
                    // The client's session stays with the service that it came for.
                    Some(_) => None,
                    None => stick(&self.connection, &self.entry, plan, &chosen),
                },
            ),
            Then::Answer(_) | Then::Delayed(_) => (Duration::MAX, u64::MAX, None),
        };
        self.ledger.chosen = Some(chosen);
        if let Some(bytes) = incoming.size_hint().exact()
            && bytes > bytes_max
        {
            let refusal = Refusal::new(Code::ResponseTooLarge)
                .with_detail(format!("{bytes} bytes, at most {bytes_max} are passed on"));
            return self.failed(&refusal, Termination::UpstreamTooLarge);
        }
        // Receive: what the cache makes of it, where the route has one.
        let received = self.receive(&head, &incoming);
        let (mut call, mut web) = (None, None);
        if let Then::Forward(plan) = self.admitted.then {
            call = plan.call;
            web = plan.web(&self.entry.installed.snapshot);
            self.ledger.permit = Some(plan.permit);
        }
        if let (Some(socket), Line::H2(_)) = (&self.websocket, &line) {
            socket.received_extended(&mut head);
        }
        let switched = head.status == StatusCode::SWITCHING_PROTOCOLS;
        let endpoint = head.extensions.remove::<OnUpgrade>();
        if self
            .websocket
            .as_ref()
            .is_some_and(|socket| !socket.is_plausible(&head))
        {
            let refusal = Refusal::new(Code::UpstreamProtocol)
                .with_detail("the endpoint did not answer as a WebSocket does");
            return respond::refuse(self.ledger, &refusal, Termination::UpstreamInvalid);
        }
        if switched && (self.client.is_none() || endpoint.is_none()) {
            let refusal = Refusal::new(Code::UpstreamProtocol)
                .with_detail("the endpoint switched protocols without being asked");
            return respond::refuse(self.ledger, &refusal, Termination::UpstreamInvalid);
        }
        let (mut sink, mut told) = (None, None);
        match received {
            Received::Answer(stored) => {
                stored::give_back(&self.connection.worker, &incoming, line);
                let filled = self.admitted.filled.as_deref();
                return dress.on_stored(self.ledger, filled, stored);
            }
            Received::Fill(to, instead) => sink = Some((to, instead)),
            Received::Pass(how) => told = how,
            Received::Refuse(refusal) => {
                return respond::refuse(self.ledger, &refusal, Termination::UpstreamInvalid);
            }
        }
        // Settle: what the client gets.
        let filled = self.admitted.filled.as_deref();
        let version = self.admitted.version;
        let snapshot = &self.entry.installed.snapshot;
        pipeline::settle(snapshot, route, version, filled, &mut head);
        if let Some(how) = told {
            cache::tell(&mut head.headers, &how);
        }
        if let Some(socket) = &self.websocket {
            socket.settle(&mut head);
        }
        let call = call.map(|flavour| {
            self.ledger.grpc_status = Status::of(&head.headers);
            let first = head.extensions.remove();
            let web = web.filter(|web| grpc::response_to_web(*web, &mut head.headers));
            CallBody::new(flavour, web, first, self.connection.http2)
        });
        if let Some(session) = session {
            head.headers.append(SET_COOKIE, session);
        }
        fallback::mark(&mut head.headers, self.admitted.fallback);
        head.version = Version::HTTP_11;
        head.extensions = Extensions::new();
        self.ledger.status = head.status.as_u16();
        if let Some(intake) = &self.intake {
            intake.settle();
        }
        if let (Some(client), Some(endpoint), true) = (self.client, endpoint, switched) {
            if !self.connection.http2 {
                self.connection.leaves_http();
            }
            upgrade::join(client, endpoint, line, self.ledger, idle);
            return Response::from_parts(head, Reply::full(bytes::Bytes::new(), None));
        }
        let total_until = self.deadlines.total_until;
        let patience = Patience {
            idle,
            total_until: total_until.filter(|_| call.is_some() || !may_last(&head.headers)),
            bytes_max,
        };
        if let Some((sink, instead)) = sink {
            let permit = self.ledger.permit.take();
            cache::tell(&mut head.headers, sink.how());
            let feeding = cache::start(sink, (incoming, line), patience, permit);
            if let Some(response) = instead {
                feeding.leave();
                return dress.on_stored(self.ledger, filled, response);
            }
            let response = Response::from_parts(head, Reply::filling(feeding.body(self.ledger)));
            return dress.on(&self.entry, &self.connection.worker, response);
        }
        let download = Download::new(incoming, call, line, self.intake, self.ledger, patience);
        let response = Response::from_parts(head, Reply::stream(download));
        dress.on(&self.entry, &self.connection.worker, response)
    }

    fn receive(&mut self, head: &response::Parts, incoming: &Incoming) -> Received {
        let Some(visit) = self.visit.take() else {
            return Received::Pass(None);
        };
        let now = self.connection.worker.clock.now();
        visit.received(head, incoming.size_hint().exact(), now)
    }
}

/// Which page may read the answer to this request, where its route has a say in that.
fn grant(
    entry: &Entry,
    admitted: &Result<Admitted, Refusal>,
    headers: &HeaderMap,
) -> Option<(RouteId, Grant)> {
    let route = match admitted {
        Ok(admitted) => admitted.route,
        Err(refusal) => refusal.known.route?,
    };
    let grant = pipeline::grant(&entry.installed.snapshot, route, headers)?;
    Some((route, grant))
}

/// Says so in the answer; `own`: no service has written it.
fn share(entry: &Entry, grant: Option<(RouteId, Grant)>, headers: &mut HeaderMap, own: bool) {
    if let Some((route, grant)) = grant {
        pipeline::share(&entry.installed.snapshot, route, grant, headers, own);
    }
}

/// The cookie that names the endpoint which answered, where the client is to have it.
fn stick(
    connection: &ClientConnection,
    entry: &Entry,
    plan: &Forward,
    chosen: &Chosen,
) -> Option<HeaderValue> {
    let snapshot = &entry.installed.snapshot;
    let cookie = pipeline::stick(snapshot, plan, chosen, connection.secure)?;
    if plan.asks.session.is_some() {
        entry.installed.metrics(plan.service).session_broken();
    }
    Some(cookie)
}

fn intake(
    worker: &Worker,
    bytes_max: u64,
    kept_bytes_max: u64,
    pace: impl FnOnce() -> Pace,
    body: Inbound,
) -> Option<Rc<Intake>> {
    if body.is_end_stream() {
        return None;
    }
    Some(Intake::new(
        body,
        Rc::clone(&worker.clock),
        bytes_max,
        kept_bytes_max,
        pace(),
    ))
}

fn is_grpc(head: &request::Parts) -> bool {
    let kind = head.headers.get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"))
}

#[cfg(test)]
mod tests {
    use super::serve;

    fn size_of_future<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_that_every_connection_has_room_for_stays_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 1600, "{bytes} bytes");
    }
}
