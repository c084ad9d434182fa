//! The five phases. None waits, none reads a clock or draws a random number.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderMap, HeaderValue, request, response};
use weir_config::service::Protocol;

use weir_config::criticality::Criticality;

use crate::auth::{Claims, Local};
use crate::balance::{self, Chosen, Members, Tried};
use crate::compress::Coding;
use crate::content::Content;
use crate::grpc;
use crate::live::ServiceLive;
use crate::moment::Moment;
use crate::note::Note;
use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::resilience::{self, Consent, Hedged, RetryPlan, TimeoutPlan, Withheld};
use crate::rewrite::{Filled, Remote, add_via, is_forgeable, strip_response, strip_trailers};
use crate::route::Params;
use crate::shaping::{Delayed, GaveUp, Left, MirrorPlan, mirror};
use crate::snapshot::{ListenerId, RouteId, ServiceId, Snapshot};

pub(crate) mod admit;
pub(crate) mod answer;
pub(crate) mod asks;
mod client;
pub mod interim;
mod prepare;

/// A request that may go on, and what was learned about it.
#[derive(Debug)]
pub struct Admitted {
    /// Its route.
    pub route: RouteId,
    /// What happens now.
    pub then: Then,
    /// The normalised path; `None` when it is the raw one.
    pub path: Option<Box<str>>,
    /// Path parameters: ranges of the normalised path.
    pub params: Params,
    /// Claims of the verified token.
    pub claims: Option<Arc<Claims>>,
    /// The client's address, forwarding headers of trusted proxies considered.
    pub client: IpAddr,
    /// The listener it came in by.
    pub listener: ListenerId,
    /// What its response may be compressed with: the best that client and document agree on.
    pub coding: Option<Coding>,
    /// The version of the API it takes; `None` where the route has none.
    pub version: Option<u16>,
    /// What the route's templates became; `None` when it has none.
    pub filled: Option<Box<Filled>>,
    /// The protocol it wants to change to; what `prepare` sends on as `Upgrade`.
    pub upgrade: Option<HeaderValue>,
    /// Why it goes to the route's fallback, where it does.
    pub fallback: Option<GaveUp>,
    /// What is known of its content, on routes that look at it.
    pub content: Option<Box<Content>>,
}

/// Which page may read the answer to a request, if any.
#[derive(Debug, Clone)]
pub struct Grant(Option<HeaderValue>);

/// What happens to an admitted request.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "forwarding is the rule: a box would cost every request an allocation"
)]
pub enum Then {
    /// It goes to a service.
    Forward(Forward),
    /// Weir answers: a redirect or a fixed response.
    Answer(Box<http::Response<bytes::Bytes>>),
    /// It waits first, since a fault on purpose wants it so.
    Delayed(Box<Delayed>),
}

/// Where it goes and under which deadlines; holds the service's in-flight permit.
#[derive(Debug)]
pub struct Forward {
    /// The service.
    pub service: ServiceId,
    /// What it asks of its endpoint.
    pub asks: balance::Asks,
    /// Deadlines in force.
    pub timeouts: TimeoutPlan,
    /// Retries in force.
    pub retry: RetryPlan,
    /// Largest response body, bytes; `u64::MAX` for any.
    pub response_bytes_max: u64,
    /// Of a gRPC call: how it came in; its deadline is `timeouts.total`.
    pub call: Option<grpc::Flavour>,
    /// Returned when the exchange ends.
    pub permit: Permit,
}

impl Forward {
    /// Why it ends when it has taken all of `timeouts.total`.
    #[must_use]
    pub fn late(&self) -> Code {
        match self.call {
            Some(_) => grpc::late(self.timeouts.total, self.timeouts.grpc),
            None => Code::TotalTimeout,
        }
    }
}

/// One request in flight towards a service; returned on drop. Also carries the breaker's
/// permission (a half-open breaker admits a bounded number of probes).
#[derive(Debug)]
pub struct Permit {
    /// The service's live state.
    pub live: Arc<ServiceLive>,
    /// The consent of the service's breaker.
    pub(crate) consent: Consent,
}

/// How an attempt ended, as the engine saw it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A response head arrived.
    Response {
        /// Its status.
        status: http::StatusCode,
    },
    /// No response head.
    Failure {
        /// What went wrong.
        kind: FailureKind,
        /// Whether any byte of the request may have reached the endpoint's application. `false`
        /// only when provably not (connect failed, refused stream, closed idle connection before
        /// a byte was written).
        sent: bool,
    },
}

/// What went wrong with an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FailureKind {
    /// TCP connect refused, unreachable or failed.
    Connect,
    /// Connect deadline passed.
    ConnectTimeout,
    /// TLS failed, or the wrong identity answered.
    Tls,
    /// The response's header section is larger than Weir takes.
    HeaderTooLarge,
    /// The response's header section has more fields than Weir takes.
    HeadersTooMany,
    /// No connection was free, and too many requests wait for one already.
    PendingOverflow,
    /// No connection came free in time.
    PendingTimeout,
    /// The connection broke before the response head.
    Reset,
    /// The attempt's own deadline passed.
    PerTry,
    /// The response was not HTTP, or broke its rules.
    Protocol,
    /// The endpoint took nothing more of the request's body.
    Stalled,
    /// The response deadline passed.
    Timeout,
}

/// One finished attempt.
#[derive(Debug)]
pub struct Attempt<'a> {
    /// Where it went.
    pub chosen: &'a Chosen,
    /// 1 for the first.
    pub number: u32,
    /// When it began.
    pub began: Moment,
    /// How it ended.
    pub outcome: Outcome,
    /// Of a gRPC call: the status of a response without messages.
    pub grpc: Option<grpc::Status>,
    /// Whether the request's body can be sent again from its first byte.
    pub replayable: bool,
    /// The pause that a response to try again on asks for.
    pub retry_after: Option<Duration>,
    /// What is left until the first deadline that another attempt would have to meet.
    pub time_left: Duration,
}

impl Attempt<'_> {
    /// What it came to in the terms of gRPC; a broken connection is `UNAVAILABLE` as for any gRPC
    /// client.
    pub(crate) fn came_to(&self) -> grpc::Status {
        match (self.grpc, self.outcome) {
            (Some(status), _) => status,
            (None, Outcome::Failure { kind, .. }) => Code::from(kind).row().grpc,
            (None, Outcome::Response { status }) => match status.is_success() {
                true => grpc::Status::OK,
                false => grpc::Status::of_http(status),
            },
        }
    }
}

/// What to do after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Deliver the response.
    Deliver,
    /// No further attempt: answer this.
    GiveUp(Refusal),
    /// Try again after this pause.
    Retry {
        /// The pause.
        after: Duration,
    },
}

/// Decides whether and how a request may go on. The order is the security argument: normalise the
/// path → route → declared body size → peer and token → claims → specific limit before shared limit
/// → concurrency permit last (it must be returned).
///
/// # Errors
/// The refusal to answer with.
pub fn admit(
    snapshot: &Snapshot,
    local: &mut Local,
    request: &RequestView<'_>,
    at: Moment,
    draw: u64,
    note: &mut impl Note,
) -> Result<Admitted, Refusal> {
    admit::admit(snapshot, local, request, at, draw, None, note)
}

impl Forward {
    /// The form of a gRPC-Web call whose service speaks gRPC: its bodies are to be translated.
    #[must_use]
    pub fn web(&self, snapshot: &Snapshot) -> Option<grpc::Flavour> {
        let speaks = snapshot.service(self.service).protocol;
        self.call
            .filter(|call| call.is_web() && speaks == Protocol::Http2)
    }
}

/// How much of the body of an admitted request is to be held before it goes anywhere, bytes; `None`
/// where it streams.
#[must_use]
pub fn holds(snapshot: &Snapshot, admitted: &Admitted) -> Option<u64> {
    let plan = snapshot.route(admitted.route).content.as_ref()?;
    plan.holds(admitted.content.as_ref()?)
}

/// Judges the body that was held, `None` for one that went over what [`holds`] said, and gives the
/// one that leaves in its place, where it is changed.
///
/// # Errors
/// The refusal to answer with. Where there is none, a body over the bound streams on.
pub fn receive(
    snapshot: &Snapshot,
    admitted: &mut Admitted,
    body: Option<&[u8]>,
) -> Result<Option<Vec<u8>>, Refusal> {
    let filled = admitted.filled.as_deref();
    match (
        &snapshot.route(admitted.route).content,
        &mut admitted.content,
    ) {
        (Some(plan), Some(content)) => plan.receive(content, filled, body),
        _ => Ok(None),
    }
}

/// How much of a response is to be held and changed, bytes; `None` where it streams. Its head then
/// says nothing more about the body that came.
///
/// # Errors
/// It is to be changed and cannot be.
pub fn reshapes(
    snapshot: &Snapshot,
    admitted: &Admitted,
    method: &http::Method,
    head: &mut response::Parts,
) -> Result<Option<u64>, Refusal> {
    match &snapshot.route(admitted.route).content {
        Some(plan) => plan.reshapes_head(method, head),
        None => Ok(None),
    }
}

/// The body that leaves in the place of a response's.
///
/// # Errors
/// It cannot be made.
pub fn reshape(snapshot: &Snapshot, admitted: &Admitted, body: &[u8]) -> Result<Vec<u8>, Refusal> {
    let filled = admitted.filled.as_deref();
    match &snapshot.route(admitted.route).content {
        Some(plan) => plan.reshape(filled, body),
        None => Err(Code::Internal.into()),
    }
}

/// What a response is refused with that has more bytes than [`reshapes`] said.
#[must_use]
pub fn reshape_too_large(bytes_max: u64) -> Refusal {
    Refusal::new(Code::TransformResponseTooLarge)
        .with_detail(format!("at most {bytes_max} bytes are changed"))
}

/// Chooses an endpoint, another than those tried where there is one.
///
/// # Errors
/// `no-endpoint` when the service has none, `subset-empty` when none has the labels asked for.
pub fn choose(
    snapshot: &Snapshot,
    forward: &Forward,
    members: &Members,
    tried: &Tried,
    draw: u64,
    at: Moment,
    note: &mut impl Note,
) -> Result<Chosen, Refusal> {
    balance::pick(
        snapshot.service(forward.service),
        members,
        &forward.asks,
        tried,
        draw,
        at,
        note,
    )
}

/// Turns the received head into the one that leaves: path and host rewritten, hop-by-hop fields
/// out, forwarding fields in, header changes applied. The URI becomes origin-form; `Host` is set.
/// An admitted upgrade leaves with `Connection: upgrade` and its `Upgrade`.
pub fn prepare(
    snapshot: &Snapshot,
    admitted: &Admitted,
    secure: bool,
    remote: &Remote,
    head: &mut request::Parts,
) {
    prepare::prepare(snapshot, admitted, secure, remote, head);
}

/// Judges a finished attempt and tells breaker, outlier detection, latency and budget about it.
#[allow(
    clippy::too_many_arguments,
    reason = "time and chance are arguments of every phase"
)]
pub fn judge(
    snapshot: &Snapshot,
    forward: &Forward,
    method: &http::Method,
    attempt: &Attempt<'_>,
    at: Moment,
    draw: u64,
    note: &mut impl Note,
) -> Next {
    let service = snapshot.service(forward.service);
    resilience::judge(service, forward, method, attempt, at, draw, note)
}

/// Tells breaker, outlier detection and latency about an attempt that failed while others of its
/// request are under way: there is nothing to decide.
pub fn learn(snapshot: &Snapshot, forward: &Forward, attempt: &Attempt<'_>, at: Moment) {
    let service = snapshot.service(forward.service);
    resilience::learn(service, forward, attempt, at, &mut ());
}

/// Allows one more attempt beside those `tried`, which are under way or have failed: see
/// [`resilience::hedging`].
///
/// # Errors
/// Why not.
pub fn hedge(
    snapshot: &Snapshot,
    forward: &Forward,
    members: &Members,
    tried: &Tried,
    draw: u64,
    at: Moment,
) -> Result<Hedged, Withheld> {
    let service = snapshot.service(forward.service);
    resilience::hedge(service, forward, members, tried, draw, at)
}

/// Takes note of an attempt that was cancelled after so long, because one that began later has
/// answered.
pub fn overtaken(chosen: &Chosen, after: Duration, at: Moment) {
    resilience::overtaken(chosen, after, at);
}

/// Who may read the answer to a request on this route: `None` where the route leaves that to its
/// service. Asked of the request as it came.
#[must_use]
pub fn grant(snapshot: &Snapshot, route: RouteId, request: &HeaderMap) -> Option<Grant> {
    let plan = snapshot.route(route).cors.as_ref()?;
    Some(Grant(plan.grant(request)))
}

/// Says in the head of an answer who may read it. `own`: the answer is one of Weir's own, and not
/// that of a service, which has no say in it.
pub fn share(
    snapshot: &Snapshot,
    route: RouteId,
    Grant(origin): Grant,
    headers: &mut HeaderMap,
    own: bool,
) {
    if let Some(plan) = &snapshot.route(route).cors {
        plan.share(origin, headers, !own);
    }
}

/// Decides whether a response with this head and a body of `bytes` (`None`: not known yet) is
/// compressed, and writes what follows into the head. To be called once, after [`settle`].
#[must_use]
pub fn compress(
    snapshot: &Snapshot,
    (listener, route): (ListenerId, RouteId),
    wanted: Option<Coding>,
    head: &mut response::Parts,
    bytes: Option<u64>,
) -> Option<Coding> {
    let plan = snapshot.compression(listener, route)?;
    plan.decide(wanted, head.status, &mut head.headers, bytes)
}

/// The `Set-Cookie` that keeps the client at the endpoint that answered; `None` when the service is
/// not sticky, or the client named that endpoint itself.
pub fn stick(
    snapshot: &Snapshot,
    forward: &Forward,
    chosen: &Chosen,
    secure: bool,
) -> Option<HeaderValue> {
    asks::stick(snapshot, forward, chosen, secure)
}

/// The copies that are made of an admitted request of this draw; of an upgrade, none.
pub fn copies<'s>(
    snapshot: &'s Snapshot,
    admitted: &Admitted,
    draw: u64,
    note: &mut impl Note,
) -> impl Iterator<Item = &'s MirrorPlan> {
    mirror::copies(snapshot, admitted, draw, note)
}

/// What happens instead, now that the service gave a request up, if anything does. A request falls
/// back once. `sent` says whether an endpoint may have received it, `replayable` whether all of its
/// body is still there.
pub fn fall_back(
    snapshot: &Snapshot,
    admitted: &Admitted,
    method: &http::Method,
    why: GaveUp,
    (sent, replayable): (bool, bool),
    at: Moment,
) -> Option<Then> {
    let route = snapshot.route(admitted.route);
    let plan = route.shaping.as_ref()?.fallback.as_ref()?;
    if admitted.fallback.is_some() {
        return None;
    }
    let flavour = match &admitted.then {
        Then::Forward(forward) => forward.call,
        Then::Answer(_) | Then::Delayed(_) => None,
    };
    let left = Left {
        sendable: resilience::may_send_again(method, sent, replayable),
        brings: admit::Brings {
            asks: balance::Asks::default(),
            call: flavour.map(grpc::Call::elsewhere),
            class: Criticality::Default,
        },
        upgrade: admitted.upgrade.is_some(),
        filled: admitted.filled.as_deref(),
    };
    plan.instead(snapshot, route, why, left, at, &mut ())
}

/// Turns the endpoint's response head into the one the client gets: hop-by-hop fields out, header
/// changes applied with what admission filled in. A `101` keeps `Connection: upgrade` and
/// its `Upgrade`.
pub fn settle(
    snapshot: &Snapshot,
    route: RouteId,
    version: Option<u16>,
    filled: Option<&Filled>,
    head: &mut response::Parts,
) {
    let upgrade = match head.status {
        http::StatusCode::SWITCHING_PROTOCOLS => head.headers.get(UPGRADE).cloned(),
        _ => None,
    };
    strip_response(&mut head.headers);
    if snapshot.via {
        add_via(&mut head.headers, head.version);
    }
    let route = snapshot.route(route);
    if let (Some(plan), Some(version)) = (&route.versions, version) {
        plan.announce(version, &mut head.headers);
    }
    route.response_headers.apply(
        &mut head.headers,
        filled.map_or(&[], |filled| &filled.response_headers),
    );
    if let Some(protocol) = upgrade {
        head.headers.insert(UPGRADE, protocol);
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// Takes out of a request's trailers what has no place there, and what only Weir may say.
pub fn prepare_trailers(trailers: &mut HeaderMap) {
    strip_trailers(trailers, is_forgeable);
}

/// Takes out of a response's trailers what has no place there.
pub fn settle_trailers(trailers: &mut HeaderMap) {
    strip_trailers(trailers, |_| false);
}
