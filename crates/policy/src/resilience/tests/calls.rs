//! Judgement of gRPC calls: by their status.

use std::time::Duration;

use http::{HeaderValue, Method};
use weir_config::balance::Balance;
use weir_config::grpc::GrpcStatus;

use super::super::{BreakerState, judge};
use super::{AT_ONCE, PAUSED, choose, failure, first, gives_up, status};
use crate::grpc;
use crate::live::sample::{breaker, forward, members, moment, service};
use crate::pipeline::{Attempt, FailureKind, Next, Outcome};
use crate::refusal::Code;
use crate::snapshot::Service;

/// What follows the first attempt of a gRPC call that is retried on `unavailable`.
fn first_of_call(service: &Service, outcome: Outcome, status: Option<u8>) -> Next {
    let mut forward = forward(service, moment(0)).unwrap();
    forward.call = Some(grpc::Flavour::Grpc);
    forward.retry.grpc_statuses = [GrpcStatus::Unavailable].into_iter().collect();
    let members = members(service, &[1, 1]);
    let chosen = choose(service, &members, moment(0));
    let status = status.map(|status| {
        let fields = [(grpc::STATUS_HEADER, HeaderValue::from(u16::from(status)))];
        grpc::Status::of(&fields.into_iter().collect()).unwrap()
    });
    let attempt = Attempt {
        chosen: &chosen,
        number: 1,
        began: moment(0),
        outcome,
        grpc: status,
        replayable: true,
        retry_after: None,
        time_left: Duration::MAX,
    };
    judge(
        service,
        &forward,
        &Method::POST,
        &attempt,
        moment(10),
        u64::MAX,
        &mut (),
    )
}

#[test]
fn calls_are_tried_again_on_named_statuses_whatever_their_method() {
    use FailureKind::{Reset, Timeout};
    let table = [
        (status(200), Some(14), PAUSED),
        (status(200), Some(13), Next::Deliver),
        (status(200), Some(0), Next::Deliver),
        (status(200), None, Next::Deliver),
        (status(503), None, PAUSED),
        (failure(Reset, true), None, PAUSED),
        (
            failure(Timeout, true),
            None,
            gives_up(Code::UpstreamTimeout),
        ),
        (failure(Reset, false), None, AT_ONCE),
    ];
    for (outcome, grpc, expected) in table {
        let service = service(Balance::RoundRobin);
        let next = first_of_call(&service, outcome, grpc);
        assert_eq!(next, expected, "{outcome:?} {grpc:?}");
    }
    // The same outcome of what is no call.
    let service = service(Balance::RoundRobin);
    let forward = forward(&service, moment(0)).unwrap();
    let next = first(&service, &forward, Method::POST, failure(Reset, true));
    assert_eq!(next, gives_up(Code::UpstreamReset));
}

#[test]
fn only_unavailable_counts_against_an_endpoint_and_faults_against_a_service() {
    for (number, endpoint, breaks) in [
        (0, false, false),
        (2, false, true),
        (4, false, false),
        (5, false, false),
        (13, false, true),
        (14, true, true),
        (15, false, true),
    ] {
        let mut service = service(Balance::RoundRobin);
        service.breaker = Some(breaker());
        let members = members(&service, &[1, 1]);
        let chosen = choose(&service, &members, moment(0));
        for _ in 0..5 {
            let forward = forward(&service, moment(0)).unwrap();
            let fields = [(grpc::STATUS_HEADER, HeaderValue::from(number))];
            let attempt = Attempt {
                chosen: &chosen,
                number: 9,
                began: moment(0),
                outcome: status(200),
                grpc: grpc::Status::of(&fields.into_iter().collect()),
                replayable: true,
                retry_after: None,
                time_left: Duration::MAX,
            };
            let post = Method::POST;
            judge(&service, &forward, &post, &attempt, moment(1), 0, &mut ());
        }
        let ejected = chosen.member.live.is_ejected(moment(2));
        let open = service.live.breaker().state() == BreakerState::Open;
        assert_eq!((ejected, open), (endpoint, breaks), "{number}");
    }
}
