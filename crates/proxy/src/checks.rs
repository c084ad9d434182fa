//! Active health checks: asks endpoints at intervals and tells policy what came of it.
//!
//! The first worker checks for all: what it finds out is in the endpoint's live state, which every
//! worker reads. There is one task for each endpoint of a service with `health`; it follows
//! configuration and membership by looking both up when it checks. Each check makes a connection of
//! its own, so that it proves that clients could connect and takes no place of theirs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, HOST, TE, USER_AGENT};
use http::{HeaderValue, Method, Request, Response, request};
use http_body_util::BodyExt;
use tokio::task::AbortHandle;
use weir_config::health::Probe;
use weir_policy::balance::Member;
use weir_policy::health::{CheckState, HealthPlan};
use weir_policy::live::EndpointLive;
use weir_policy::resilience::TimeoutPlan;
use weir_policy::snapshot::ServiceId;

use crate::attempt::{self, Attempted, Deadlines, Try};
use crate::body::{FromEndpoint, Intake};
use crate::connect::{self, Plan};
use crate::pace::Pace;
use crate::pool::{Lane, LaneKey, Line};
use crate::worker::{Installed, Worker};

/// The checks that run.
#[derive(Debug, Default)]
pub(crate) struct Checks(RefCell<HashMap<Target, Running>>);

/// Service and address.
type Target = (Arc<str>, Box<str>);

#[derive(Debug)]
struct Running {
    plan: Arc<HealthPlan>,
    live: Arc<EndpointLive>,
    task: AbortHandle,
}

impl Checks {
    /// Starts what is to be checked now and stops what is not any more.
    pub(crate) fn follow(&self, worker: &Rc<Worker>, installed: &Installed) {
        if worker.index != 0 {
            return;
        }
        let mut wanted = HashMap::new();
        for (index, service) in installed.snapshot.services.iter().enumerate() {
            let Some(plan) = &service.health else {
                continue;
            };
            let seats = installed.seats(ServiceId(index as u32));
            for member in &seats.members.endpoints {
                let address = member.endpoint.address.as_str().into();
                let target = (Arc::clone(&service.name), address);
                wanted.insert(target, (plan, Arc::clone(&member.live)));
            }
        }
        let mut running = self.0.borrow_mut();
        running.retain(|target, check| {
            let same = match wanted.get(target) {
                Some((plan, live)) => **plan == check.plan && Arc::ptr_eq(live, &check.live),
                None => {
                    check.live.checked().forget();
                    false
                }
            };
            if !same {
                check.task.abort();
            }
            same
        });
        for (target, (plan, live)) in wanted {
            running.entry(target).or_insert_with_key(|target| {
                let check = Check {
                    worker: Rc::clone(worker),
                    target: target.clone(),
                    plan: Arc::clone(plan),
                    live: Arc::clone(&live),
                };
                Running {
                    plan: Arc::clone(plan),
                    live,
                    task: tokio::task::spawn_local(check.run()).abort_handle(),
                }
            });
        }
    }
}

/// The checks of one endpoint.
struct Check {
    worker: Rc<Worker>,
    target: Target,
    plan: Arc<HealthPlan>,
    live: Arc<EndpointLive>,
}

impl Check {
    async fn run(self) {
        // Not all at once when a configuration is installed, and none late.
        let mut pause = self
            .plan
            .interval
            .min(FIRST_WITHIN)
            .mul_f64(self.fraction());
        loop {
            tokio::time::sleep(pause).await;
            let passed = tokio::time::timeout(self.plan.timeout, self.passes()).await;
            self.record(passed.unwrap_or(Err("no answer in time")));
            pause = self.plan.interval.mul_f64(0.9 + 0.2 * self.fraction());
        }
    }

    /// Between 0 and 1.
    fn fraction(&self) -> f64 {
        (self.worker.dice.draw() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn record(&self, passed: Result<(), &'static str>) {
        let (service, endpoint) = (&*self.target.0, &*self.target.1);
        let result = if passed.is_ok() { "passed" } else { "failed" };
        let worker = &self.worker;
        worker.metrics.checked(worker.index, service, result);
        match self
            .live
            .check(passed.is_ok(), &self.plan, worker.clock.now())
        {
            Some(CheckState::Unfit) => {
                let reason = passed.err().unwrap_or_default();
                tracing::warn!(
                    service,
                    endpoint,
                    reason,
                    "endpoint fails its health checks"
                );
            }
            Some(_) => tracing::info!(service, endpoint, "endpoint passes its health checks"),
            None => {}
        }
    }

    /// One check; an error says why it failed.
    async fn passes(&self) -> Result<(), &'static str> {
        let (installed, id, member) = self.found().ok_or("the endpoint is gone")?;
        let lane = self.lane(&installed, id, &member);
        match &self.plan.probe {
            Probe::Tcp(()) => match connect::reach(&lane).await {
                Ok(()) => Ok(()),
                Err(_) => Err("no connection"),
            },
            Probe::Http(path) => {
                let head = self.head(Method::GET, path)?;
                let (response, _line) = self.asked(&installed, id, &lane, head, None).await?;
                match self.plan.passes(response.status()) {
                    true => Ok(()),
                    false => Err("a status that does not pass"),
                }
            }
            Probe::Grpc(service) => {
                let mut head = self.head(Method::POST, "/grpc.health.v1.Health/Check")?;
                let grpc = HeaderValue::from_static("application/grpc");
                head.headers.insert(CONTENT_TYPE, grpc);
                head.headers
                    .insert(TE, HeaderValue::from_static("trailers"));
                let body = Some(health_request(service));
                let (response, _line) = self.asked(&installed, id, &lane, head, body).await?;
                serving(response).await
            }
        }
    }

    /// Where the endpoint is in what is in force now.
    fn found(&self) -> Option<(Rc<Installed>, ServiceId, Arc<Member>)> {
        let installed = self.worker.installed()?;
        let services = &installed.snapshot.services;
        let index = services
            .iter()
            .position(|service| service.name == self.target.0)?;
        let id = ServiceId(u32::try_from(index).ok()?);
        let seats = installed.seats(id);
        let member = seats
            .members
            .endpoints
            .iter()
            .find(|member| Arc::ptr_eq(&member.live, &self.live))?;
        let member = Arc::clone(member);
        Some((installed, id, member))
    }

    /// A lane of the check's own; its connections serve one request each.
    fn lane(&self, installed: &Installed, id: ServiceId, member: &Member) -> Rc<Lane> {
        let service = installed.snapshot.service(id);
        self.worker.pool.lane(LaneKey {
            address: member.endpoint.address.as_str().into(),
            class: service.connection_class,
            identity: member.endpoint.identity.as_deref().map(Into::into),
            http2: LaneKey::speaks(service.protocol),
            single_use: true,
        })
    }

    fn head(&self, method: Method, path: &str) -> Result<request::Parts, &'static str> {
        let host = self.plan.host.as_deref().unwrap_or(&self.target.1);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header(USER_AGENT, "weir-health-check")
            .body(());
        match request {
            Ok(request) => Ok(request.into_parts().0),
            Err(_) => Err("the host or path cannot be sent"),
        }
    }

    async fn asked(
        &self,
        installed: &Installed,
        id: ServiceId,
        lane: &Rc<Lane>,
        head: request::Parts,
        body: Option<Bytes>,
    ) -> Result<(Response<FromEndpoint>, Line), &'static str> {
        let clock = &self.worker.clock;
        let intake =
            body.map(|body| Intake::new(body.into(), Rc::clone(clock), u64::MAX, 0, Pace::ANY));
        let began = clock.now().nanos;
        let attempt = Try {
            worker: &self.worker,
            lane,
            plan: Plan::of(installed, id, None),
            intake: intake.as_ref(),
            deadlines: &Deadlines {
                began,
                plan: TimeoutPlan {
                    connect: self.plan.timeout,
                    response: self.plan.timeout,
                    ..installed.snapshot.service(id).timeouts
                },
                ..Deadlines::default()
            },
            began,
            keep_head: false,
            beside: false,
            relay: None,
        };
        match attempt::attempt(&attempt, &mut Some(head)).await {
            Attempted::Response(response, line) => Ok((response, line)),
            Attempted::Client(_)
            | Attempted::Failed(_)
            | Attempted::NoConnect
            | Attempted::Total => Err("no response"),
        }
    }
}

/// A `grpc.health.v1.HealthCheckRequest` in its frame: field 1, the service's name.
fn health_request(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8((length as u8 & 0x7f) | 0x80);
            length >>= 7;
        }
        message.put_u8(length as u8);
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put(message);
    frame.freeze()
}

/// Whether a response is a `HealthCheckResponse` that says SERVING (field 1 is 1).
async fn serving(response: Response<FromEndpoint>) -> Result<(), &'static str> {
    if !response.status().is_success() {
        return Err("not an answer of gRPC");
    }
    let body = http_body_util::Limited::new(response.into_body(), HEALTH_RESPONSE_BYTES_MAX);
    let collected = body.collect().await.map_err(|_| "the answer broke off")?;
    let status = collected
        .trailers()
        .and_then(|trailers| trailers.get("grpc-status"))
        .cloned();
    if status.is_none_or(|status| status != "0") {
        return Err("the call failed");
    }
    match &collected.to_bytes()[..] {
        [0, 0, 0, 0, 2, 0x08, 1] => Ok(()),
        _ => Err("it says that it is not serving"),
    }
}

/// The first check of an endpoint comes within this time, or within the interval if that is less.
const FIRST_WITHIN: std::time::Duration = std::time::Duration::from_secs(1);
const HEALTH_RESPONSE_BYTES_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::health_request;

    #[test]
    fn a_health_request_is_what_protobuf_writes() {
        assert_eq!(health_request("")[..], [0, 0, 0, 0, 0]);
        let expected = [0, 0, 0, 0, 6, 0x0a, 4, b's', b'h', b'o', b'p'];
        assert_eq!(health_request("shop")[..], expected);
        let long = health_request(&"x".repeat(200));
        assert_eq!(long[..8], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1]);
    }
}
