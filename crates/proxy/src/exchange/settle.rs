//! The last phase: an endpoint's response becomes the client's.

use std::time::Duration;

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{Extensions, HeaderValue, Response, StatusCode, Version, response};
use http_body::Body;
use weir_policy::balance::Chosen;
use weir_policy::grpc::{self, Flavour, Status};
use weir_policy::pipeline::{self, Forward, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_policy::resilience::may_last;
use weir_telemetry::termination::Termination;

use super::attempts::Delivered;
use super::stored::{self, Dress};
use super::{Exchange, fallback};
use crate::body::{Download, FromEndpoint, Patience, Reply};
use crate::cache::{self, Received};
use crate::call::CallBody;
use crate::record::Ledger;
use crate::respond;
use crate::serve::ClientConnection;
use crate::upgrade::{self, ClientSide, EndpointSide};
use crate::websocket::WebSocket;
use crate::worker::Entry;

/// What the plan of a request says of its response.
struct Terms {
    idle: Duration,
    bytes_max: u64,
    /// The cookie that keeps the client at the endpoint.
    session: Option<HeaderValue>,
    /// How a call of gRPC came in, and why it ends when its time is over.
    call: Option<(Flavour, Code)>,
    /// The form of gRPC-Web that a call is translated to.
    web: Option<Flavour>,
}

/// Both sides of a connection that leaves HTTP.
struct Switch {
    client: ClientSide,
    endpoint: EndpointSide,
}

impl Exchange {
    /// Turns an endpoint's response into the client's.
    pub(super) fn deliver(
        mut self: Box<Self>,
        (chosen, answer, line): Delivered,
    ) -> Response<Reply> {
        let (mut head, mut incoming) = answer.into_parts();
        let terms = self.terms(&chosen);
        self.ledger.chosen = Some(chosen);
        if let Some(refusal) = too_large(&incoming, terms.bytes_max) {
            return self.failed(&refusal, Termination::UpstreamTooLarge);
        }
        // Receive: what the cache makes of it, where the route has one.
        let received = self.receive(&head, &incoming);
        let dress = Dress::of(&self.admitted);
        let Self {
            connection,
            entry,
            mut ledger,
            admitted,
            head: sent,
            intake,
            deadlines,
            client,
            websocket,
            reshaped,
            ..
        } = *self;
        if let Some(sent) = sent {
            connection.worker.header_maps.give_back(sent.headers);
        }
        if let Then::Forward(plan) = admitted.then {
            ledger.permit = Some(plan.permit);
        }
        // Switch: is this the end of HTTP on the connection, and was it asked for?
        let switch = match switched(websocket.as_ref(), client, &mut head, &mut incoming) {
            Ok(switch) => switch,
            Err(refusal) => return respond::refuse(ledger, &refusal, UPSTREAM_INVALID),
        };
        let filled = admitted.filled.as_deref();
        let (sink, told) = match received {
            Received::Answer(stored) => {
                stored::give_back(&connection.worker, &incoming, line);
                return dress.on_stored(ledger, filled, stored);
            }
            Received::Fill(to, instead) => (Some((to, instead)), None),
            Received::Pass(how) => (None, how),
            Received::Refuse(refusal) => {
                return respond::refuse(ledger, &refusal, UPSTREAM_INVALID);
            }
        };
        // Settle: what the client gets.
        let snapshot = &entry.installed.snapshot;
        let (route, version) = (admitted.route, admitted.version);
        pipeline::settle(snapshot, route, version, filled, &mut head);
        let call = terms.call_body(&mut head, &mut ledger);
        finish(&mut head, terms.session, told, websocket.as_ref());
        fallback::mark(&mut head.headers, admitted.fallback);
        ledger.status = head.status.as_u16();
        if let Some(intake) = &intake {
            intake.settle();
        }
        // Pass on: join both sides, or stream the body, stored meanwhile where it may be.
        if let Some(Switch { client, endpoint }) = switch {
            upgrade::join(client, endpoint, line, ledger, terms.idle);
            return Response::from_parts(head, Reply::full(Bytes::new(), None));
        }
        let lasts = call.is_none() && may_last(&head.headers);
        let patience = Patience {
            idle: terms.idle,
            total_until: deadlines.total_until.filter(|_| !lasts),
            bytes_max: terms.bytes_max,
        };
        let reply = match (sink, reshaped) {
            // It was read to its end already.
            (_, Some(body)) => {
                match &intake {
                    Some(intake) if !intake.is_complete() => intake.abandon(),
                    _ => stored::give_back(&connection.worker, &incoming, line),
                }
                Reply::full(body, Some(ledger))
            }
            (None, None) => {
                let download = Download::new(incoming, call, line, intake, ledger, patience);
                Reply::stream(download)
            }
            (Some((sink, instead)), None) => {
                cache::tell(&mut head.headers, sink.how());
                let permit = ledger.permit.take();
                let feeding = cache::start(sink, (incoming, line), patience, permit);
                if let Some(response) = instead {
                    feeding.leave();
                    return dress.on_stored(ledger, filled, response);
                }
                Reply::filling(feeding.body(ledger))
            }
        };
        dress.on(
            &entry,
            &connection.worker,
            Response::from_parts(head, reply),
        )
    }

    fn terms(&self, chosen: &Chosen) -> Terms {
        let Then::Forward(plan) = &self.admitted.then else {
            return Terms {
                idle: Duration::MAX,
                bytes_max: u64::MAX,
                session: None,
                call: None,
                web: None,
            };
        };
        Terms {
            idle: plan.timeouts.idle,
            bytes_max: plan.response_bytes_max,
            session: match self.admitted.fallback {
                // The client's session stays with the service that it came for.
                Some(_) => None,
                None => stick(&self.connection, &self.entry, plan, chosen),
            },
            call: plan.call.map(|flavour| (flavour, plan.late())),
            web: plan.web(&self.entry.installed.snapshot),
        }
    }

    fn receive(&mut self, head: &response::Parts, incoming: &FromEndpoint) -> Received {
        let Some(visit) = self.visit.take() else {
            return Received::Pass(None);
        };
        let now = self.connection.worker.clock.now();
        visit.received(head, incoming.size_hint().exact(), now)
    }
}

impl Terms {
    /// What the body of a call's response needs; its head is translated where it has to be.
    fn call_body(&self, head: &mut response::Parts, ledger: &mut Ledger) -> Option<Box<CallBody>> {
        let (flavour, late) = self.call?;
        ledger.grpc_status = Status::of(&head.headers);
        let first = head.extensions.remove();
        let web = self
            .web
            .filter(|web| grpc::response_to_web(*web, &mut head.headers));
        let http2 = ledger.connection().http2;
        Some(CallBody::new(flavour, web, first, http2, late))
    }
}

/// What is said in the head beside what policy says.
fn finish(
    head: &mut response::Parts,
    session: Option<HeaderValue>,
    told: Option<String>,
    websocket: Option<&WebSocket>,
) {
    if let Some(how) = told {
        cache::tell(&mut head.headers, &how);
    }
    if let Some(socket) = websocket {
        socket.settle(head);
    }
    if let Some(session) = session {
        head.headers.append(SET_COOKIE, session);
    }
    head.version = Version::HTTP_11;
    head.extensions = Extensions::new();
}

fn too_large(incoming: &FromEndpoint, bytes_max: u64) -> Option<Refusal> {
    let bytes = incoming.size_hint().exact().filter(|it| *it > bytes_max)?;
    let detail = format!("{bytes} bytes, at most {bytes_max} are passed on");
    Some(Refusal::new(Code::ResponseTooLarge).with_detail(detail))
}

/// Both sides where the endpoint leaves HTTP as the client has asked.
///
/// # Errors
/// It does so unasked, or not as it should.
fn switched(
    websocket: Option<&WebSocket>,
    client: Option<ClientSide>,
    head: &mut response::Parts,
    incoming: &mut FromEndpoint,
) -> Result<Option<Switch>, Refusal> {
    if let Some(socket) = websocket.filter(|_| incoming.is_http2()) {
        socket.received_extended(head);
    }
    let endpoint = incoming.take_switched();
    if websocket.is_some_and(|socket| !socket.is_plausible(head)) {
        return Err(Refusal::new(Code::UpstreamProtocol)
            .with_detail("the endpoint did not answer as a WebSocket does"));
    }
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return Ok(None);
    }
    match (client, endpoint) {
        (Some(client), Some(endpoint)) => Ok(Some(Switch { client, endpoint })),
        _ => Err(Refusal::new(Code::UpstreamProtocol)
            .with_detail("the endpoint switched protocols without being asked")),
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

const UPSTREAM_INVALID: Termination = Termination::UpstreamInvalid;
