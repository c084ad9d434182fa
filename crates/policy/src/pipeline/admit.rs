//! The first phase: whether and how a request may go on.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Version};
use weir_config::criticality::Criticality;
use weir_config::limit::LimitKey;
use weir_config::resilience::BreakerScope;
use weir_config::service::Protocol;

use super::asks::asks;
use super::{Admitted, Forward, Then, answer, client};
use crate::auth::{self, Claims, Local};
use crate::balance::Asks;
use crate::cache;
use crate::cors;
use crate::grpc::Call;
use crate::key::{self, KeyInputs};
use crate::limit::RouteLimit;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::refusal::{Code, Known, Refusal};
use crate::request::RequestView;
use crate::resilience::AdaptivePlan;
use crate::resilience::criticality::{class_of, within};
use crate::rewrite::{self, Values, has_token};
use crate::route::{Found, Miss, Wanted, host, path};
use crate::shaping::fallback::enter_service;
use crate::shaping::fault::Injected;
use crate::shaping::{Delayed, Left};
use crate::snapshot::{Action, Destination, Listener, Route, Service, Snapshot};

/// What a rehearsal does otherwise than a request: limits are asked without spending anything, and
/// a token may be assumed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rehearsal {
    /// Claims to go on with as if a token with them had been verified.
    pub(crate) assume_claims: Option<Arc<Claims>>,
}

/// See [`super::admit`]; with a rehearsal, nothing is spent.
pub(crate) fn admit(
    snapshot: &Snapshot,
    local: &mut Local,
    request: &RequestView<'_>,
    at: Moment,
    draw: u64,
    rehearsal: Option<&Rehearsal>,
    note: &mut impl Note,
) -> Result<Admitted, Refusal> {
    let mut known = Known::default();
    let admitted = decide(
        snapshot, local, request, at, draw, rehearsal, note, &mut known,
    );
    admitted.map_err(|refusal| Refusal { known, ..refusal })
}

#[expect(
    clippy::too_many_arguments,
    reason = "`admit`, and where to put what it finds out"
)]
fn decide(
    snapshot: &Snapshot,
    local: &mut Local,
    request: &RequestView<'_>,
    at: Moment,
    draw: u64,
    rehearsal: Option<&Rehearsal>,
    note: &mut impl Note,
    known: &mut Known,
) -> Result<Admitted, Refusal> {
    // What is asked for, in the one form that policy and service see. Failing here is the client's
    // fault: 400.
    let listener = snapshot.listener(request.listener);
    let path = normal_path(listener, request, note)?;
    let authority = host::of(
        request.authority,
        request.headers,
        request.version,
        request.secure,
    )?;
    let host = authority.as_ref().map_or("", |authority| &authority.host);
    let client = client::client(snapshot, request.remote, request.headers);
    known.client = Some(client);

    let wanted = Wanted {
        host,
        path: &path,
        request,
        client,
    };
    if let Some(asked) = cors::preflight_of(request)
        && let Some(answered) = preflight(snapshot, listener, &wanted, &asked, known, note)?
    {
        return Ok(answered);
    }

    // Which route it takes: 404, or 405 where only the method is wrong.
    let found = listener.table.lookup(&wanted, &snapshot.routes, note);
    let Found { route: id, params } = found.map_err(|miss| match *request.method {
        // Whatever other methods there are: a tunnel is nothing that one of them could be for.
        Method::CONNECT => Refusal::new(Code::ConnectRefused)
            .with_detail(format!("no route takes CONNECT to {host}")),
        _ => missed(&miss, host, &path),
    })?;
    let route = snapshot.route(id);
    known.route = Some(id);
    note.note(|| Step {
        area: "route",
        said: format!("`{}` matches {}", route.name, route.matcher.path),
        at: route.at,
    });

    // Which version of it: 400, 404, 406 or 410 where there is none.
    let version = match &route.versions {
        Some(plan) => Some(plan.choose(request, &path, &params, at, note)?),
        None => None,
    };
    known.version = version;

    // Whether it may take it, cheapest question first.
    within_body_bound(route, request, note)?;
    if listener.peer_required && request.peer.is_none() {
        return Err(Refusal::new(Code::PeerRequired));
    }
    let claims = authenticate(snapshot, route, local, request, at, rehearsal, note)?;
    let inputs = KeyInputs {
        route: &route.name,
        client,
        path: &path,
        query: request.query,
        headers: request.headers,
        claims: claims.as_deref(),
        peer: request.peer,
    };
    within_limits(route, &inputs, at, rehearsal, note)?;
    // What it says: after everything that keeps strangers out, since judging it costs the most.
    let content = match &route.content {
        Some(plan) => Some(Box::new(plan.examine(request, &path, note)?)),
        None => None,
    };

    let coding = snapshot
        .compression(request.listener, id)
        .and_then(|plan| plan.negotiate(request.headers));
    if let Some(coding) = coding {
        note.note(|| Step {
            area: "compress",
            said: format!("a response may leave as {}", coding.encoding.as_str()),
            at: route.at,
        });
    }
    // What leaves in the place of what came: 400 where that cannot be made.
    let values = Values {
        request,
        host,
        path: &path,
        params: &params,
        claims: claims.as_deref(),
        client,
    };
    let filled = rewrite::fill(route, &values, listener.paths, note)?;

    // Faults on purpose: after everything that protects, before a place at the service is taken.
    let mut injected = injected(route, request, draw, note);
    if injected.delay.is_none()
        && let Some(refusal) = injected.abort.take()
    {
        return Err(refusal);
    }

    // What happens to it. The permit is last, so that nothing after it can fail.
    let (mut upgrade, mut fallback) = (None, None);
    let then = match &route.action {
        Action::Forward(destinations) => {
            let own = route.own_destinations(version);
            let (index, destination) = drawn(&destinations[own.clone()], draw);
            let index = own.start + index;
            known.service = Some(destination.service);
            upgrade = wanted_upgrade(request)?;
            note_tunnel(request, destination, note);
            note_cache(route, request, &path, note);
            let service = snapshot.service(destination.service);
            let brings = Brings {
                asks: asks(service, destination.subset, &inputs, note),
                call: Call::of(request)?,
                class: class(snapshot, destination, listener, route, request),
            };
            match injected.delay {
                None => {
                    let left = Left {
                        sendable: true,
                        brings,
                        upgrade: upgrade.is_some(),
                        filled: filled.as_deref(),
                    };
                    let entered = enter_service(snapshot, route, destination, left, at, note)?;
                    fallback = entered.fallback;
                    entered.then
                }
                Some(pause) => {
                    let delayed = Delayed::entering(index, destination, pause, brings);
                    Then::Delayed(Box::new(delayed))
                }
            }
        }
        Action::Mock => {
            let plan = route.content.as_ref().zip(content.as_ref());
            let (plan, content) = plan.ok_or(Code::MockNoExample)?;
            let response = plan.mock(content, request)?;
            Then::Answer(Box::new(answer::made(route, response, filled.as_deref())))
        }
        Action::Redirect(redirect) => {
            let response = answer::redirect(route, redirect, &values, filled.as_deref())?;
            Then::Answer(Box::new(response))
        }
        Action::Respond(respond) => {
            let response = answer::respond(route, respond, &values, filled.as_deref());
            Then::Answer(Box::new(response))
        }
    };
    let path = match path {
        Cow::Borrowed(_) => None,
        Cow::Owned(path) => Some(path.into_boxed_str()),
    };
    Ok(Admitted {
        route: id,
        then: injected.apply(then),
        path,
        params,
        claims,
        client,
        listener: request.listener,
        coding,
        version,
        filled,
        upgrade,
        fallback,
        content,
    })
}

/// The answer to a browser that asks for leave on behalf of a page, for the route that the request
/// itself would take; before anything is asked that only the request itself brings. `None` where
/// that route says nothing of CORS.
fn preflight(
    snapshot: &Snapshot,
    listener: &Listener,
    wanted: &Wanted<'_>,
    asked: &Method,
    known: &mut Known,
    note: &mut impl Note,
) -> Result<Option<Admitted>, Refusal> {
    let request = &RequestView {
        method: asked,
        ..*wanted.request
    };
    let wanted = Wanted { request, ..*wanted };
    let Ok(found) = listener.table.lookup(&wanted, &snapshot.routes, note) else {
        return Ok(None);
    };
    let route = snapshot.route(found.route);
    let Some(plan) = &route.cors else {
        return Ok(None);
    };
    known.route = Some(found.route);
    note.note(|| Step {
        area: "cors",
        said: format!("asks whether a page may {asked} on `{}`", route.name),
        at: route.at,
    });
    let answer = plan.preflight(asked, request.headers)?;
    Ok(Some(Admitted {
        route: found.route,
        then: Then::Answer(Box::new(answer)),
        path: None,
        params: found.params,
        claims: None,
        client: wanted.client,
        listener: request.listener,
        coding: None,
        version: None,
        filled: None,
        upgrade: None,
        fallback: None,
        content: None,
    }))
}

fn note_tunnel(request: &RequestView<'_>, destination: &Destination, note: &mut impl Note) {
    if request.method == Method::CONNECT {
        note.note(|| Step {
            area: "connect",
            said: format!(
                "once a connection stands, bytes are passed on; closed after {:?} without one",
                destination.timeouts.idle
            ),
            at: destination.at,
        });
    }
}

/// What the cache would be asked; what it holds is not known here.
fn note_cache(route: &Route, request: &RequestView<'_>, path: &str, note: &mut impl Note) {
    if let Some(plan) = &route.cache {
        note.note(|| Step {
            area: "cache",
            said: cache::explained(plan, request, path),
            at: route.at,
        });
    }
}

fn normal_path<'a>(
    listener: &Listener,
    request: &RequestView<'a>,
    note: &mut impl Note,
) -> Result<Cow<'a, str>, Refusal> {
    let path = path::normalise(request.path, listener.paths)
        .map_err(|fault| Refusal::new(Code::BadPath).with_detail(fault.to_string()))?;
    note.note(|| Step {
        area: "path",
        said: match &path {
            Cow::Borrowed(path) => format!("{path} is in normal form"),
            Cow::Owned(path) => format!("{} becomes {path}", request.path),
        },
        at: listener.at,
    });
    Ok(path)
}

fn missed(miss: &Miss, host: &str, path: &str) -> Refusal {
    match &miss.allow {
        Some(allow) => Refusal::new(Code::MethodNotAllowed).with_allow(allow.to_string()),
        None => Refusal::new(Code::NoRoute).with_detail(format!("no route for {host}{path}")),
    }
}

fn within_body_bound(
    route: &Route,
    request: &RequestView<'_>,
    note: &mut impl Note,
) -> Result<(), Refusal> {
    let Some(bytes) = request.body_bytes.filter(|bytes| *bytes > 0) else {
        return Ok(());
    };
    note.note(|| Step {
        area: "body",
        said: match route.body_bytes_max {
            u64::MAX => format!("{bytes} bytes; any size is taken"),
            max => format!("{bytes} bytes of at most {max}"),
        },
        at: route.at,
    });
    if bytes > route.body_bytes_max {
        let detail = format!("{bytes} bytes, at most {} are taken", route.body_bytes_max);
        return Err(Refusal::new(Code::BodyTooLarge).with_detail(detail));
    }
    Ok(())
}

fn authenticate(
    snapshot: &Snapshot,
    route: &Route,
    local: &mut Local,
    request: &RequestView<'_>,
    at: Moment,
    rehearsal: Option<&Rehearsal>,
    note: &mut impl Note,
) -> Result<Option<Arc<Claims>>, Refusal> {
    let Some(auth) = &route.auth else {
        note.note(|| Step {
            area: "auth",
            said: "no token is asked for".to_owned(),
            at: route.at,
        });
        return Ok(None);
    };
    if let Some(claims) = rehearsal.and_then(|rehearsal| rehearsal.assume_claims.clone()) {
        note.note(|| Step {
            area: "auth",
            said: "a valid token is assumed, its signature was not checked".to_owned(),
            at: route.at,
        });
        auth.allows(&claims)?;
        return Ok(Some(claims));
    }
    auth::check(auth, &snapshot.issuers, request.headers, local, at, note)
}

fn within_limits(
    route: &Route,
    inputs: &KeyInputs<'_>,
    at: Moment,
    rehearsal: Option<&Rehearsal>,
    note: &mut impl Note,
) -> Result<(), Refusal> {
    for limit in &route.limits {
        let verdict = match rehearsal {
            None => limit.check(inputs, at),
            Some(_) => limit.peek(inputs, at),
        };
        note.note(|| Step {
            area: "limit",
            said: match verdict {
                Ok(()) => format!("{}: there is room", limit_text(limit, inputs)),
                Err(after) => {
                    format!("{}: used up for {after:?}", limit_text(limit, inputs))
                }
            },
            at: limit.config.at,
        });
        verdict.map_err(|after| {
            Refusal::new(Code::RateLimited)
                .with_detail(rate_text(limit))
                .with_retry_after(after)
        })?;
    }
    Ok(())
}

fn rate_text(limit: &RouteLimit) -> String {
    limit.config.rate.value.to_string()
}

/// The limit with the key that this request is counted by.
fn limit_text(limit: &RouteLimit, inputs: &KeyInputs<'_>) -> String {
    match &limit.config.by {
        LimitKey::Route => format!("{}, everybody together", rate_text(limit)),
        key => format!("{} by {}", rate_text(limit), key::shown(key, inputs)),
    }
}

/// The destination of this draw. A compiled route has at least one, and a total above zero.
pub(crate) fn drawn(destinations: &[Destination], draw: u64) -> (usize, &Destination) {
    if let [only] = destinations {
        return (0, only);
    }
    let total: u64 = destinations
        .iter()
        .map(|destination| u64::from(destination.weight))
        .sum();
    let mut left = draw % total.max(1);
    for (index, destination) in destinations.iter().enumerate() {
        let weight = u64::from(destination.weight);
        if left < weight {
            return (index, destination);
        }
        left -= weight;
    }
    (0, &destinations[0])
}

fn injected(route: &Route, request: &RequestView<'_>, draw: u64, note: &mut impl Note) -> Injected {
    match route
        .shaping
        .as_ref()
        .and_then(|shaping| shaping.fault.as_ref())
    {
        None => Injected::default(),
        Some(fault) => fault.inject(request.headers, draw, note),
    }
}

/// What a request brings to the service that it enters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brings {
    /// What it asks of its endpoint.
    pub(crate) asks: Asks,
    /// What it is, where it is a gRPC call.
    pub(crate) call: Option<Call>,
    /// How much it matters.
    pub(crate) class: Criticality,
}

/// How much a request matters, where its service may shed it.
fn class(
    snapshot: &Snapshot,
    destination: &Destination,
    listener: &Listener,
    route: &Route,
    request: &RequestView<'_>,
) -> Criticality {
    if snapshot.service(destination.service).adaptive.is_none() {
        return Criticality::Default;
    }
    let trusted = !listener.edge || snapshot.trusts(request.remote.to_canonical());
    class_of(route.criticality, request.headers, trusted)
}

fn adaptive_text(service: &Service, plan: AdaptivePlan, class: Criticality) -> String {
    let limit = service.live.adaptive().limit(plan);
    let share = within(class, limit);
    let class = class.as_str();
    format!("the service can have {limit} in flight now, {share} of them with `{class}`")
}

/// Takes a place at the service of a destination.
pub(crate) fn enter(
    snapshot: &Snapshot,
    destination: &Destination,
    Brings { asks, call, class }: Brings,
    at: Moment,
    note: &mut impl Note,
) -> Result<Forward, Refusal> {
    let service = snapshot.service(destination.service);
    note.note(|| Step {
        area: "service",
        said: format!("it goes to `{}`", service.name),
        at: destination.at,
    });
    note.note(|| Step {
        area: "limits",
        said: format!(
            "{} of {} requests are in flight, {} of {} wait for a connection",
            service.live.in_flight(),
            service.requests_max,
            service.live.limits().waiting(),
            service.pending_max,
        ),
        at: service.at,
    });
    let mut timeouts = destination.timeouts;
    if let Some(call) = call {
        // A call waits for its head as long as for anything: many servers send it with the first
        // message of a stream. The whole of it takes as long as its client allows.
        timeouts.response = timeouts.idle;
        timeouts.total = call.deadline(timeouts.grpc);
        note.note(|| Step {
            area: "grpc",
            said: {
                let web = match call.flavour.is_web() && service.protocol == Protocol::Http2 {
                    true => "a gRPC-Web call, translated to gRPC,",
                    false => "a gRPC call",
                };
                match timeouts.total {
                    Some(deadline) => format!("{web} that may take {deadline:?}"),
                    None => format!("{web} without a deadline"),
                }
            },
            at: destination.at,
        });
    }
    if let Some(plan) = service.adaptive {
        note.note(|| Step {
            area: "limits",
            said: adaptive_text(service, plan, class),
            at: service.at,
        });
    }
    if service.breaker_of(BreakerScope::Service).is_some() {
        note.note(|| Step {
            area: "breaker",
            said: format!("the breaker is {}", service.live.breaker().state().as_str()),
            at: service.at,
        });
    }
    let permit = service.live.enter(service, class, at)?;
    Ok(Forward {
        service: destination.service,
        asks,
        timeouts,
        retry: destination.retry.clone(),
        response_bytes_max: destination.response_bytes_max,
        call: call.map(|call| call.flavour),
        permit,
    })
}

/// The protocol to upgrade to. Only WebSocket is: other protocols (`h2c` above all, which would
/// carry requests past every rule) are not offered to the service, as RFC 9110 allows.
fn wanted_upgrade(request: &RequestView<'_>) -> Result<Option<HeaderValue>, Refusal> {
    let Some(wanted) = request.headers.get(UPGRADE) else {
        return Ok(None);
    };
    if request.method == Method::CONNECT {
        // It leaves HTTP in its own way, and `Upgrade` says nothing about that.
        return Ok(None);
    }
    // In HTTP/2 the engine puts this in the place of an extended CONNECT.
    let asked = matches!(request.version, Version::HTTP_11 | Version::HTTP_2)
        && wanted.as_bytes().eq_ignore_ascii_case(b"websocket")
        && has_token(request.headers, &CONNECTION, "upgrade");
    if !asked {
        return Ok(None);
    }
    let refuse = |why: &str| Err(Refusal::new(Code::UpgradeRefused).with_detail(why));
    if request.method != Method::GET {
        return refuse("a WebSocket starts with GET");
    }
    if request.body_bytes.is_some_and(|bytes| bytes > 0) {
        return refuse("a WebSocket starts without a body");
    }
    Ok(Some(HeaderValue::from_static("websocket")))
}
