//! Where each deadline, retry setting and share was written.

use std::time::Duration;

use http::Method;
use weir_config::Position;
use weir_config::hedge::Hedge;
use weir_config::resilience::{Retry, Timeouts};
use weir_config::service::Source;
use weir_config::units::{Percent, Size};

use crate::note::{Note, Recorder, Step};
use crate::pipeline::{Admitted, Forward};
use crate::resilience::hedging;
use crate::snapshot::{Action, Service, Snapshot};

/// Says how requests are divided, where there is more than one destination.
pub(super) fn note_shares(snapshot: &Snapshot, admitted: &Admitted, recorder: &mut Recorder) {
    let route = snapshot.route(admitted.route);
    let Action::Forward(destinations) = &route.action else {
        return;
    };
    let destinations = &destinations[route.own_destinations(admitted.version)];
    if destinations.len() < 2 {
        return;
    }
    let total: u64 = destinations
        .iter()
        .map(|destination| u64::from(destination.weight))
        .sum();
    for destination in destinations {
        let share = 100.0 * f64::from(destination.weight) / total.max(1) as f64;
        let service = snapshot.service(destination.service);
        let (name, with) = (&service.name, service.labels_text(destination.subset));
        let said = format!("`{name}`{with} gets {share:.4} % of the requests");
        recorder.note(|| Step {
            area: "service",
            said,
            at: destination.at,
        });
    }
}

/// Says what connections to the service begin with, where that is not HTTP.
pub(super) fn note_announcement(service: &Service, recorder: &mut Recorder) {
    let Some(version) = service.proxy_protocol else {
        return;
    };
    recorder.note(|| Step {
        area: "service",
        said: format!(
            "its connections begin with a PROXY {} header and carry one request",
            version.as_str()
        ),
        at: service.at,
    });
}

/// Says where the endpoints come from, unless they stand in the document.
pub(super) fn note_source(service: &Service, recorder: &mut Recorder) {
    if matches!(service.source, Source::Endpoints(_)) {
        return;
    }
    recorder.note(|| Step {
        area: "service",
        said: format!("its endpoints come from {}", service.source),
        at: service.at,
    });
}

/// Says which deadlines and retries are in force, and who said so.
pub(super) fn note_deadlines(
    snapshot: &Snapshot,
    admitted: &Admitted,
    forward: &Forward,
    method: &Method,
    recorder: &mut Recorder,
) {
    let written = snapshot.route(admitted.route).written;
    let route = written.and_then(|index| snapshot.document.routes.get(index));
    let service = snapshot.document.services.get(forward.service.0 as usize);
    let service = service.map(|(_, service)| service);
    let none = (Timeouts::default(), Retry::default());
    let (of_route, route_retry) =
        route.map_or((&none.0, &none.1), |route| (&route.timeouts, &route.retry));
    let (of_service, service_retry) = service.map_or((&none.0, &none.1), |service| {
        (&service.timeouts, &service.retry)
    });

    let mut say = |area, said: String, by_route: bool, by_service: bool, places: [Position; 2]| {
        let (who, at) = match (by_route, by_service) {
            (true, _) => ("the route says so", places[0]),
            (false, true) => ("the service says so", places[1]),
            (false, false) => ("by default", Position::default()),
        };
        recorder.note(|| Step {
            area,
            said: format!("{said}, {who}"),
            at,
        });
    };

    let plan = &forward.timeouts;
    let places = [of_route.at, of_service.at];
    let mut deadline =
        |name: &str, value: Option<Duration>, field: fn(&Timeouts) -> Option<Duration>| {
            let text = value.map_or_else(|| "none".to_owned(), |value| format!("{value:?}"));
            let (route, service) = (field(of_route).is_some(), field(of_service).is_some());
            say("timeouts", format!("{name} {text}"), route, service, places);
        };
    deadline("connect", Some(plan.connect), |it| it.connect);
    let is_call = forward.call.is_some();
    if !is_call {
        deadline("response", Some(plan.response), |it| it.response);
    }
    deadline("per try", plan.per_try, |it| it.per_try);
    deadline("idle", Some(plan.idle), |it| it.idle);
    match is_call {
        true => deadline("longest call", plan.grpc, |it| it.grpc),
        false => deadline("total", plan.total, |it| it.total),
    }

    if forward.response_bytes_max != u64::MAX {
        let by_route = route.is_some_and(|route| route.response_bytes_max.is_some());
        let said = format!("response bodies up to {}", Size(forward.response_bytes_max));
        let places = [
            route.map(|route| route.at).unwrap_or_default(),
            service.map(|service| service.at).unwrap_or_default(),
        ];
        say("body", said, by_route, true, places);
    }

    let plan = &forward.retry;
    let places = [route_retry.at, service_retry.at];
    let mut retry = |said: String, field: fn(&Retry) -> bool| {
        say(
            "retry",
            said,
            field(route_retry),
            field(service_retry),
            places,
        );
    };
    retry(format!("{} more attempts", plan.attempts), |it| {
        it.attempts.is_some()
    });
    if plan.attempts > 0 {
        let statuses = match plan.statuses.is_empty() {
            true => "on no status".to_owned(),
            false => format!("on status {:?}", plan.statuses),
        };
        retry(statuses, |it| it.statuses.is_some());
        if is_call && !plan.grpc_statuses.is_empty() {
            let said = format!("on gRPC status {}", plan.grpc_statuses);
            retry(said, |it| it.grpc_statuses.is_some());
        }
        retry(format!("first pause {:?}", plan.backoff), |it| {
            it.backoff.is_some()
        });
        retry(
            format!(
                "`Retry-After` up to {:?} is waited out",
                plan.retry_after_max
            ),
            |it| it.retry_after_max.is_some(),
        );
    }
    if plan.attempts > 0 || plan.hedge.is_some() {
        let kept = Size(plan.body_bytes_max);
        retry(format!("bodies up to {kept} are kept"), |it| {
            it.body_bytes_max.is_some()
        });
        retry(format!("budget {}", Percent(plan.budget)), |it| {
            it.budget.is_some()
        });
    }
    if let Some(hedge) = plan.hedge {
        let said = match hedging(forward, method, admitted.upgrade.is_some()) {
            None => {
                "not hedged: it may be a stream, or sending it twice may do something twice".into()
            }
            Some(_) => format!(
                "up to {} more attempts at other endpoints, each after {:?} without an answer",
                hedge.attempts, hedge.after
            ),
        };
        let (route, service) = (route_retry.hedge, service_retry.hedge);
        let place = |hedge: Option<Hedge>| hedge.map(|hedge| hedge.at).unwrap_or_default();
        let places = [place(route), place(service)];
        say("hedge", said, route.is_some(), service.is_some(), places);
    }
}

/// Where the route's rewrite was written, else the route.
pub(super) fn rewrite_place(snapshot: &Snapshot, admitted: &Admitted) -> Position {
    let route = snapshot.route(admitted.route);
    let written = route
        .written
        .and_then(|index| snapshot.document.routes.get(index));
    let rewrite = written.and_then(|written| written.rewrite.as_ref());
    rewrite.map_or(route.at, |rewrite| rewrite.at)
}
