//! Requests of Weir itself to services of the document (keys of an issuer, for instance), through
//! the same pools, identities and deadlines as those of clients.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::HOST;
use http::{HeaderValue, Request, Response, Version, request};
use http_body_util::BodyExt;
use weir_policy::balance::Member;
use weir_policy::pipeline::Outcome;
use weir_policy::resilience::TimeoutPlan;
use weir_policy::snapshot::ServiceId;

use crate::attempt::{self, Attempted, Deadlines, Try};
use crate::body::{EndpointError, Inbound, Intake};
use crate::connect::Plan;
use crate::membership::Seats;
use crate::pace::Pace;
use crate::worker::{Installed, Worker};

/// Why a request of Weir's own has no answer.
#[derive(Debug, thiserror::Error)]
pub enum OwnError {
    /// The answer is larger than Weir takes.
    #[error("the answer is larger than {OWN_BYTES_MAX} bytes")]
    AnswerTooLarge,
    /// The answer broke off.
    #[error("the answer broke off: {0}")]
    Broken(#[source] EndpointError),
    /// No endpoint answered.
    #[error("no endpoint of {service} answered")]
    Failed {
        /// The service.
        service: String,
    },
    /// The service has no endpoint now.
    #[error("service {service} has no endpoint")]
    NoEndpoint {
        /// The service.
        service: String,
    },
    /// The document in force has no such service.
    #[error("there is no service {service}")]
    NoService {
        /// The name asked for.
        service: String,
    },
    /// The engine has stopped.
    #[error("the engine has stopped")]
    Stopped,
    /// No answer in time.
    #[error("no answer within {OWN_TIMEOUT:?}")]
    Timeout,
}

/// Sends a request to a service and collects the answer, trying another endpoint once.
pub(crate) async fn request(
    worker: &Rc<Worker>,
    service: &str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, OwnError> {
    let answer = tokio::time::timeout(OWN_TIMEOUT, answered(worker, service, request));
    answer.await.map_err(|_| OwnError::Timeout)?
}

async fn answered(
    worker: &Rc<Worker>,
    name: &str,
    request: Request<Bytes>,
) -> Result<Response<Bytes>, OwnError> {
    let unknown = || OwnError::NoService {
        service: name.to_owned(),
    };
    let installed = worker.installed().ok_or_else(unknown)?;
    let index = installed
        .snapshot
        .services
        .iter()
        .position(|service| &*service.name == name);
    let id = index
        .and_then(|index| u32::try_from(index).ok())
        .map(ServiceId);
    let id = id.ok_or_else(unknown)?;
    let seats = installed.seats(id);
    let (mut head, body) = request.into_parts();
    head.version = Version::HTTP_11;
    if !head.headers.contains_key(HOST)
        && let Ok(host) = HeaderValue::from_str(head.uri.host().unwrap_or(name))
    {
        head.headers.insert(HOST, host);
    }
    if seats.members.endpoints.is_empty() {
        return Err(OwnError::NoEndpoint {
            service: name.to_owned(),
        });
    }
    match sent(worker, &installed, id, head, body).await {
        Some(answer) => collected(worker, answer).await,
        None => Err(OwnError::Failed {
            service: name.to_owned(),
        }),
    }
}

/// Sends a request without a body, as it is, to a service, trying another endpoint once; `None`
/// when none answers.
pub(crate) async fn fetch(
    worker: &Rc<Worker>,
    installed: &Installed,
    service: ServiceId,
    head: request::Parts,
) -> Option<Answer> {
    sent(worker, installed, service, head, Bytes::new()).await
}

async fn sent(
    worker: &Rc<Worker>,
    installed: &Installed,
    id: ServiceId,
    head: request::Parts,
    body: Bytes,
) -> Option<Answer> {
    let seats = installed.seats(id);
    let members = in_turn(&seats, worker.dice.draw());
    for member in members.into_iter().take(OWN_ATTEMPTS_MAX) {
        let (head, body) = (head.clone(), body.clone());
        let answer = send(worker, installed, id, &seats, &member, head, body).await;
        if answer.is_some() {
            return answer;
        }
    }
    None
}

/// Healthy members first, beginning anywhere.
fn in_turn(seats: &Seats, draw: u64) -> Vec<Arc<Member>> {
    let mut members = seats.members.endpoints.clone();
    if !members.is_empty() {
        let first = usize::try_from(draw % members.len() as u64).unwrap_or(0);
        members.rotate_left(first);
        members.sort_by_key(|member| !member.endpoint.healthy);
    }
    members
}

/// A response, and on what its body comes.
pub(crate) type Answer = (Response<crate::body::FromEndpoint>, crate::pool::Line);

async fn send(
    worker: &Rc<Worker>,
    installed: &Installed,
    id: ServiceId,
    seats: &Seats,
    member: &Arc<Member>,
    head: request::Parts,
    body: Bytes,
) -> Option<Answer> {
    let service = installed.snapshot.service(id);
    let lane = seats.lane_of(member)?;
    let timeouts = TimeoutPlan {
        total: None,
        ..service.timeouts
    };
    let body = Inbound::from(body);
    let intake = (!http_body::Body::is_end_stream(&body))
        .then(|| Intake::new(body, Rc::clone(&worker.clock), u64::MAX, 0, Pace::ANY));
    let began = worker.clock.now().nanos;
    let attempt = Try {
        worker,
        lane,
        plan: Plan::of(installed, id, None),
        intake: intake.as_ref(),
        deadlines: &Deadlines {
            began,
            plan: timeouts,
            total_until: None,
            upgrade: false,
            call: false,
        },
        began,
        keep_head: false,
        beside: false,
        relay: None,
    };
    match attempt::attempt(&attempt, &mut Some(head)).await {
        Attempted::Response(response, line) => Some((response, line)),
        Attempted::Failed(Outcome::Failure { kind, .. }) => {
            tracing::debug!(service = %service.name, ?kind, "own request failed");
            None
        }
        Attempted::Failed(_) | Attempted::Client(_) | Attempted::NoConnect | Attempted::Total => {
            None
        }
    }
}

async fn collected(
    worker: &Rc<Worker>,
    (response, line): Answer,
) -> Result<Response<Bytes>, OwnError> {
    let (head, mut body) = response.into_parts();
    let mut bytes = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(OwnError::Broken)?;
        if let Some(data) = frame.data_ref() {
            if bytes.len() + data.len() > OWN_BYTES_MAX {
                return Err(OwnError::AnswerTooLarge);
            }
            bytes.extend_from_slice(data);
        }
    }
    line.finish(worker.clock.now().nanos);
    worker.sweep_later();
    Ok(Response::from_parts(head, bytes.freeze()))
}

/// Largest answer taken.
const OWN_BYTES_MAX: usize = 1024 * 1024;
/// How long a request of Weir's own may take, all attempts together.
const OWN_TIMEOUT: Duration = Duration::from_secs(5);
const OWN_ATTEMPTS_MAX: usize = 2;
