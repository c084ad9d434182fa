//! What would happen to a request: the production phases with a recorder.
//!
//! For: `weir explain`, the control plane's `/v1/explain` and a proxy's `/explain`. Not for:
//! deciding anything; every verdict comes from [`pipeline`], and what is added here (where a
//! timeout was written, which routes of other hosts have the path) only helps to read it. The one
//! idea: nothing is spent. Limits are asked without counting, and the permit goes back at once.

mod connection;
mod display;
mod plan;
mod question;

use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_config::Position;
use weir_config::service::Source;

use crate::auth::{Claims, Local};
use crate::balance::{Asks, Members, Tried};
use crate::moment::Moment;
use crate::note::{Note, Recorder, Step};
use crate::pipeline::admit::{self, Rehearsal};
use crate::pipeline::{self, Admitted, Forward, Then};
use crate::refusal::{Code, Refusal};
use crate::resilience::BreakerState;
use crate::rewrite;
use crate::snapshot::{Role, Service, ServiceId, Snapshot};
use question::Question;

pub use question::ExplainFault;

/// The request to explain.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ExplainRequest {
    /// Method; `GET` when empty.
    pub method: String,
    /// `http://host:port/path?query`, or a path alone; for a connection that carries no HTTP,
    /// `tcp://host:port`, or `tls://name:port` where its client asks for that name.
    pub url: String,
    /// Header fields.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<(String, String)>,
    /// Address of the connection's other side; 127.0.0.1 unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Listener it comes in by; found by the URL's port and scheme unless told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listener: Option<String>,
    /// SPIFFE id of the mesh peer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peer: Option<String>,
    /// Declared length of its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_bytes: Option<u64>,
    /// Go on as if a valid token with these claims had been sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assume_claims: Option<serde_json::Map<String, serde_json::Value>>,
    /// The draw that decides between weighted destinations and endpoints.
    pub draw: u64,
}

/// What would happen, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The request, in one line.
    pub request: String,
    /// The revision that was asked.
    pub revision: String,
    /// The listener.
    pub listener: String,
    /// The route that takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Every decision, in order.
    pub steps: Vec<Explained>,
    /// The head that would leave towards the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Upstream>,
    /// How it ends.
    pub answer: Answer,
}

/// One decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explained {
    /// The phase or feature, as in [`Step::area`].
    pub area: String,
    /// What was decided.
    pub said: String,
    /// The place that decided; line 0 for a default.
    #[serde(flatten)]
    pub at: Position,
}

/// A request head that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upstream {
    /// Method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Header fields, `host` among them.
    pub headers: Vec<(String, String)>,
}

/// How it ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Answer {
    /// Weir answers with a redirect or a fixed response.
    Answered {
        /// Its status.
        status: u16,
        /// Where a redirect leads.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        location: Option<String>,
    },
    /// It goes to a service.
    Forwarded {
        /// The service.
        service: String,
        /// The endpoint; `None` when the endpoints are not known here.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
    },
    /// It is refused.
    Refused {
        /// Reason code.
        code: String,
        /// Status.
        status: u16,
        /// Title, and the detail where there is one.
        said: String,
    },
}

impl Explanation {
    /// Whether the request would be let through.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        !matches!(self.answer, Answer::Refused { .. })
    }
}

/// Explains a request. `members` gives the endpoints of a service where they are known; those that
/// stand in the document are known always.
///
/// # Errors
/// The question itself cannot be understood.
pub fn explain(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    members: impl Fn(ServiceId) -> Option<Arc<Members>>,
    at: Moment,
) -> Result<Explanation, ExplainFault> {
    if let Some(explained) = connection::explain(snapshot, request, &members, at) {
        return explained;
    }
    let mut question = Question::read(snapshot, request)?;
    let listener = snapshot.listener(question.listener);
    let mut recorder = Recorder::default();
    recorder.note(|| Step {
        area: "listener",
        said: question::listener_text(listener),
        at: listener.at,
    });

    let claims = request
        .assume_claims
        .clone()
        .map(|payload| Arc::new(Claims { payload }));
    let rehearsal = Rehearsal {
        assume_claims: claims,
    };
    let held = question.hold_to(listener.underscores, listener.at, &mut recorder);
    let view = question.view();
    let mut local = Local::default();
    let mut admitted = held.and_then(|()| {
        admit::admit(
            snapshot,
            &mut local,
            &view,
            at,
            request.draw,
            Some(&rehearsal),
            &mut recorder,
        )
    });

    // A delay is told, not waited for.
    if let Ok(it) = &mut admitted
        && let Then::Delayed(delayed) = &it.then
    {
        let later = at.plus(delayed.pause);
        match delayed.resume(snapshot, it, later, &mut recorder) {
            Ok((then, fallback)) => (it.then, it.fallback) = (then, fallback),
            Err(refusal) => admitted = Err(refusal),
        }
    }

    let mut route = None;
    let mut upstream = None;
    let answer = match &admitted {
        Err(refusal) => {
            question.note_elsewhere(snapshot, refusal, &mut recorder);
            refused(refusal)
        }
        Ok(admitted) => {
            route = Some(snapshot.route(admitted.route).name.to_string());
            question.note_equals(snapshot, admitted, &mut recorder);
            follow(
                snapshot,
                &question,
                admitted,
                members,
                at,
                &mut recorder,
                &mut upstream,
            )
        }
    };
    Ok(Explanation {
        request: question.text,
        revision: snapshot.revision.to_string(),
        listener: listener.name.to_string(),
        route,
        steps: recorder.steps.into_iter().map(explained).collect(),
        upstream,
        answer,
    })
}

fn explained(step: Step) -> Explained {
    Explained {
        area: step.area.into(),
        said: step.said,
        at: step.at,
    }
}

/// The phases after `admit`.
fn follow(
    snapshot: &Snapshot,
    question: &Question,
    admitted: &Admitted,
    members: impl Fn(ServiceId) -> Option<Arc<Members>>,
    at: Moment,
    recorder: &mut Recorder,
    upstream: &mut Option<Upstream>,
) -> Answer {
    let forward = match &admitted.then {
        Then::Forward(forward) => forward,
        // `explain` has gone past every delay.
        Then::Delayed(_) => return refused(&Code::Internal.into()),
        Then::Answer(response) => {
            let location = response.headers().get(http::header::LOCATION);
            return Answer::Answered {
                status: response.status().as_u16(),
                location: location
                    .and_then(|value| value.to_str().ok())
                    .map(str::to_owned),
            };
        }
    };
    let service = snapshot.service(forward.service);
    plan::note_shares(snapshot, admitted, recorder);
    plan::note_source(service, recorder);
    plan::note_announcement(service, recorder);
    plan::note_deadlines(snapshot, admitted, forward, &question.method, recorder);
    pipeline::copies(snapshot, admitted, question.draw, recorder).for_each(drop);
    let shaping = snapshot.route(admitted.route).shaping.as_ref();
    if let Some(fallback) = shaping.and_then(|shaping| shaping.fallback.as_ref()) {
        fallback.describe(snapshot, recorder);
    }
    // Of a tunnel's request nothing leaves.
    if question.method != http::Method::CONNECT {
        *upstream = Some(prepared(snapshot, question, admitted, recorder));
    }
    let known = known_members(service, members(forward.service), at);
    let Some(members) = known else {
        recorder.note(|| Step {
            area: "endpoint",
            said: "the endpoints are not known here; a running proxy knows them".to_owned(),
            at: service.at,
        });
        return Answer::Forwarded {
            service: service.name.to_string(),
            endpoint: None,
        };
    };
    note_endpoints(service, &members, &forward.asks, at, recorder);
    chosen(snapshot, question.draw, forward, &members, at, recorder)
}

/// The endpoints of a service, where they are told or stand in the document.
fn known_members(
    service: &Service,
    told: Option<Arc<Members>>,
    at: Moment,
) -> Option<Arc<Members>> {
    told.or_else(|| match &service.source {
        Source::Endpoints(list) => {
            let list: Vec<_> = list.iter().map(|endpoint| endpoint.value.clone()).collect();
            Some(Arc::new(Members::compile(service, &list, at)))
        }
        _ => None,
    })
}

fn chosen(
    snapshot: &Snapshot,
    draw: u64,
    forward: &Forward,
    members: &Members,
    at: Moment,
    recorder: &mut Recorder,
) -> Answer {
    let tried = Tried::default();
    match pipeline::choose(snapshot, forward, members, &tried, draw, at, recorder) {
        Ok(chosen) => Answer::Forwarded {
            service: snapshot.service(forward.service).name.to_string(),
            endpoint: Some(chosen.member.endpoint.address.clone()),
        },
        Err(refusal) => refused(&refusal),
    }
}

fn note_endpoints(
    service: &Service,
    members: &Members,
    asks: &Asks,
    at: Moment,
    recorder: &mut Recorder,
) {
    let place = service.at;
    for member in members.endpoints.iter().take(ENDPOINTS_SHOWN_MAX) {
        let (endpoint, live) = (&member.endpoint, &member.live);
        let state = match (endpoint.healthy, live.checked().is_fit()) {
            _ if member.is_fit(at) => "fit",
            (false, _) => "unhealthy",
            (true, false) => "unfit by its health checks",
            (true, true) => "ejected",
        };
        let breaker = member.live.breaker().map(|breaker| breaker.state());
        let breaker = match breaker {
            None | Some(BreakerState::Closed) => String::new(),
            Some(state) => format!(", its breaker is {}", state.as_str()),
        };
        let slow = match member.counts(service, at) {
            100 => String::new(),
            percent => format!(", and starts slowly: {percent} % of its weight"),
        };
        let said = format!("{} is {state}{breaker}{slow}", endpoint.address);
        recorder.note(|| Step {
            area: "endpoint",
            said,
            at: place,
        });
    }
    let more = members.endpoints.len().saturating_sub(ENDPOINTS_SHOWN_MAX);
    if more > 0 {
        recorder.note(|| Step {
            area: "endpoint",
            said: format!("and {more} more"),
            at: place,
        });
    }
    if let Some(said) = members.division(service, asks, at) {
        recorder.note(|| Step {
            area: "endpoint",
            said,
            at: place,
        });
    }
}

/// The head that leaves.
fn prepared(
    snapshot: &Snapshot,
    question: &Question,
    admitted: &Admitted,
    recorder: &mut Recorder,
) -> Upstream {
    let (mut head, ()) = http::Request::new(()).into_parts();
    head.method = question.method.clone();
    head.headers = question.headers.clone();
    let path = admitted.path.as_deref().unwrap_or(&question.path);
    head.uri = rewrite::origin_form(path, question.query.as_deref());
    pipeline::prepare(
        snapshot,
        admitted,
        question.secure,
        &question.remote.into(),
        &mut head,
    );
    let value = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, text)| (name.to_string(), value(text)))
        .collect();
    let host = head
        .headers
        .get(http::header::HOST)
        .map(value)
        .unwrap_or_default();
    recorder.note(|| Step {
        area: "rewrite",
        said: format!(
            "it leaves as {} {} for host `{host}`",
            head.method, head.uri
        ),
        at: plan::rewrite_place(snapshot, admitted),
    });
    Upstream {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers,
    }
}

fn refused(refusal: &Refusal) -> Answer {
    let row = refusal.code.row();
    let said = match &refusal.detail {
        Some(detail) => format!("{}: {detail}", row.title),
        None => row.title.to_owned(),
    };
    Answer::Refused {
        code: row.code.to_owned(),
        status: refusal.status().as_u16(),
        said,
    }
}

/// Whether the snapshot is a sidecar's.
fn is_sidecar(snapshot: &Snapshot) -> bool {
    matches!(snapshot.role, Role::Sidecar { .. })
}

/// Most endpoints that are listed.
const ENDPOINTS_SHOWN_MAX: usize = 20;
