//! What an admitted request takes along to its service: its body, its deadlines, its copies.

use std::rc::Rc;

use http::header::CONTENT_TYPE;
use http::request;
use http_body::Body;
use weir_policy::grpc::{self, Flavour};
use weir_policy::moment::Moment;
use weir_policy::pipeline::Then;

use super::{Exchange, mirror};
use crate::attempt::Deadlines;
use crate::body::{Inbound, Intake};
use crate::happenings;
use crate::pace::Pace;
use crate::worker::Worker;

impl Exchange {
    /// It goes on to its service.
    pub(super) fn enter(&mut self, body: Inbound, at: Moment) {
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
        let keeps = self.sends_again || plan.retry.attempts > 0 || plan.retry.hedge.is_some();
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
    pub(super) fn depart(&mut self) {
        let snapshot = &self.entry.installed.snapshot;
        if snapshot.route(self.admitted.route).shaping.is_some() {
            mirror::send(self, self.connection.worker.clock.now());
        }
        if let (Some(visit), Some(head)) = (&mut self.visit, &mut self.head) {
            visit.depart(&mut head.headers);
        }
    }
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
