//! What is remembered of an exchange and where it is written when it ends: metrics, access log.
//!
//! A [`Ledger`] follows one exchange from its head to the last byte of its response. Dropping it
//! records the exchange, so that one which was cancelled half-way is recorded too.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::header::{HOST, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};
use weir_policy::balance::Chosen;
use weir_policy::grpc::{Flavour, Status};
use weir_policy::moment::Moment;
use weir_policy::pipeline::Permit;
use weir_policy::refusal::Code;
use weir_policy::snapshot::{RouteId, ServiceId};
use weir_telemetry::access_log::{AccessRecord, LogBuffer};
use weir_telemetry::request_metrics::StatusClass;
use weir_telemetry::termination::Termination;
use weir_telemetry::trace_context::TraceId;

use crate::body::EndpointError;
use crate::body::{Intake, IntakeEnd};
use crate::cache::{Outcome, Told};
use crate::clock::ID_BYTES;
use crate::outcome;
use crate::serve::ClientConnection;
use crate::worker::{Entry, Worker};

mod log;
mod metrics;
mod shaped;
mod tunnel;

pub(crate) use log::LogState;
pub(crate) use metrics::{ListenerMetrics, ServiceMetrics, WorkerMetrics, failure_label};
pub(crate) use shaped::{Fault, HedgeEnd, Shaped};
pub(crate) use tunnel::TunnelLedger;

/// One exchange.
#[derive(Debug)]
pub(crate) struct Ledger {
    connection: Rc<ClientConnection>,
    entry: Rc<Entry>,
    pub(crate) began: Moment,
    method: Method,
    uri: Uri,
    host: Option<HeaderValue>,
    user_agent: Option<HeaderValue>,
    version: Version,
    pub(crate) client: IpAddr,
    pub(crate) route: Option<RouteId>,
    /// The version of the route's API.
    pub(crate) api_version: Option<u16>,
    pub(crate) service: Option<ServiceId>,
    pub(crate) attempts: u32,
    pub(crate) status: u16,
    pub(crate) upstream: Option<Duration>,
    pub(crate) trace: Option<TraceId>,
    pub(crate) refused: Option<(Code, [u8; ID_BYTES])>,
    /// Of a gRPC call: how it came in.
    pub(crate) call: Option<Flavour>,
    /// Of a gRPC call: how it ended, once that is known.
    pub(crate) grpc_status: Option<Status>,
    /// The request's body, for its length.
    pub(crate) intake: Option<Rc<Intake>>,
    /// Whether its body is being held until it is judged.
    pub(crate) holding: bool,
    /// Bytes of its body that were held, where it had to be judged first.
    pub(crate) held_bytes: u64,
    /// Held until the end: the service's permit.
    pub(crate) permit: Option<Permit>,
    /// Held until the end: the endpoint's request in flight.
    pub(crate) chosen: Option<Chosen>,
    /// What shaping did to it, where it did anything.
    shaped: Option<Box<Shaped>>,
    /// What the cache made of it, where its route has one.
    pub(crate) cache: Option<Told>,
    termination: Option<Termination>,
    response_bytes: u64,
    /// Bytes received where they are no body.
    tunnel_bytes: u64,
}

impl Ledger {
    /// Opens the ledger of an exchange; it counts as active from here on.
    pub(crate) fn new(
        connection: &Rc<ClientConnection>,
        entry: &Rc<Entry>,
        head: &http::request::Parts,
        began: Moment,
    ) -> Box<Self> {
        let worker = &connection.worker;
        connection.began();
        entry.metrics.active.add(worker.index, 1);
        let logged = worker.log.enabled();
        Box::new(Self {
            connection: Rc::clone(connection),
            entry: Rc::clone(entry),
            began,
            method: head.method.clone(),
            uri: head.uri.clone(),
            host: head.headers.get(HOST).cloned(),
            user_agent: head.headers.get(USER_AGENT).filter(|_| logged).cloned(),
            version: head.version,
            client: connection.remote.ip(),
            route: None,
            api_version: None,
            service: None,
            attempts: 0,
            status: 0,
            upstream: None,
            trace: None,
            refused: None,
            call: Flavour::of(&head.method, &head.headers),
            grpc_status: None,
            intake: None,
            holding: false,
            held_bytes: 0,
            permit: None,
            chosen: None,
            shaped: None,
            cache: None,
            termination: None,
            response_bytes: 0,
            tunnel_bytes: 0,
        })
    }

    pub(crate) fn worker(&self) -> &Rc<Worker> {
        &self.connection.worker
    }

    pub(crate) fn connection(&self) -> &Rc<ClientConnection> {
        &self.connection
    }

    pub(crate) fn method(&self) -> &Method {
        &self.method
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.uri
    }

    pub(crate) fn entry(&self) -> &Rc<Entry> {
        &self.entry
    }

    /// The host that was asked for.
    pub(crate) fn host(&self) -> &str {
        std::str::from_utf8(self.host_bytes()).unwrap_or_default()
    }

    fn host_bytes(&self) -> &[u8] {
        match (&self.host, self.uri.authority()) {
            (_, Some(authority)) => authority.as_str().as_bytes(),
            (Some(host), None) => host.as_bytes(),
            (None, None) => b"",
        }
    }

    /// Where to write down what shaping does to it.
    pub(crate) fn shaped(&mut self) -> &mut Shaped {
        self.shaped.get_or_insert_default()
    }

    /// Says how it ended, unless that was said before.
    pub(crate) fn ended(&mut self, termination: Termination) {
        self.termination.get_or_insert(termination);
    }

    /// Says how many bytes of the response were passed on.
    pub(crate) fn sent(&mut self, response_bytes: u64) {
        self.response_bytes = response_bytes;
    }

    /// Says how many bytes of a tunnel came from the client.
    pub(crate) fn received(&mut self, bytes: u64) {
        self.tunnel_bytes = bytes;
    }

    fn request_bytes(&self) -> u64 {
        let intake = self.intake.as_ref();
        let without = self.tunnel_bytes.max(self.held_bytes);
        intake.map_or(without, |intake| intake.received())
    }

    /// Ends it.
    pub(crate) fn end(mut self: Box<Self>, termination: Termination, response_bytes: u64) {
        self.ended(termination);
        self.sent(response_bytes);
    }

    /// The endpoint's body broke off.
    pub(crate) fn broke(&mut self, error: &EndpointError) {
        self.ended(Self::broken_by(error));
    }

    /// How an exchange ends whose endpoint's body broke off with this.
    pub(crate) fn broken_by(error: &EndpointError) -> Termination {
        match error {
            EndpointError::Malformed(fault) if fault.is_too_much() => Termination::UpstreamTooLarge,
            error if outcome::is_malformed(error) => Termination::UpstreamInvalid,
            _ => Termination::UpstreamResetAfterBytes,
        }
    }

    /// How it ended when nobody said so: it was dropped on the way.
    fn dropped(&self) -> Termination {
        if self.connection.is_cut_off() {
            return Termination::Drained;
        }
        if self.connection.is_too_slow() {
            return Termination::ClientTimeout;
        }
        if let Some(termination) = self.worker().ends_as.get() {
            return termination;
        }
        let unfinished = |intake: &Rc<Intake>| !intake.is_complete();
        let sending = self.holding || self.intake.as_ref().is_some_and(unfinished);
        match (self.status, sending) {
            (0, true) => Termination::ClientGoneSending,
            (0, false) => Termination::ClientGoneBeforeResponse,
            _ => Termination::ClientGoneDuringBody,
        }
    }

    fn log(&self, termination: Termination, duration: Duration, log: &mut LogBuffer) {
        let snapshot = &self.entry.installed.snapshot;
        let worker = self.worker();
        let host = self.host_bytes();
        let through_proxy = self.client != self.connection.remote.ip();
        log.write(&AccessRecord {
            time_unix_ms: worker.clock.unix_nanos(self.began.nanos) / 1_000_000,
            listener: &self.entry.name,
            client: self.client,
            client_port: if through_proxy {
                0
            } else {
                self.connection.remote.port()
            },
            method: self.method.as_str(),
            scheme: if self.connection.secure {
                "https"
            } else {
                "http"
            },
            host,
            path: self.uri.path().as_bytes(),
            protocol: self.version,
            status: self.status,
            termination,
            reason: self.refused.as_ref().map(|(code, _)| code.as_str()),
            decision_id: self
                .refused
                .as_ref()
                .and_then(|(_, id)| std::str::from_utf8(id).ok()),
            route: self.route.map(|route| &*snapshot.route(route).name),
            api_version: self.route.zip(self.api_version).map(|(route, version)| {
                let plan = snapshot.route(route).versions.as_ref();
                plan.map_or("", |plan| plan.name(version))
            }),
            service: self.service.map(|service| &*snapshot.service(service).name),
            endpoint: self
                .chosen
                .as_ref()
                .map(|chosen| &*chosen.member.endpoint.address),
            attempts: self.attempts,
            request_bytes: self.request_bytes(),
            response_bytes: self.response_bytes,
            grpc_status: self.grpc_status.map(Status::number),
            duration_us: micros(duration),
            upstream_us: self.upstream.map(micros),
            fault_delay_us: self
                .shaped
                .as_ref()
                .and_then(|shaped| shaped.delayed)
                .map(micros),
            fallback: self.shaped.as_ref().and_then(|shaped| shaped.fallback),
            hedge: self.shaped.as_ref().and_then(|shaped| shaped.hedge),
            cache: self
                .cache
                .as_ref()
                .and_then(|told| told.get())
                .map(Outcome::label),
            mock: self.shaped.as_ref().is_some_and(|shaped| shaped.mock),
            openapi_report: self
                .shaped
                .as_ref()
                .and_then(|shaped| shaped.reported.as_deref()),
            trace_id: self.trace,
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            peer: self.connection.peer.as_deref(),
            revision: self.entry.installed.revision,
        });
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let worker = Rc::clone(self.worker());
        let now = worker.clock.now();
        let duration = now.since(self.began);
        let mut termination = self.termination.unwrap_or_else(|| self.dropped());
        if let Some(intake) = &self.intake
            && termination == Termination::UpstreamResetAfterBytes
            && intake.end() == IntakeEnd::Broken
        {
            termination = Termination::ClientGoneSending;
        }
        let received = self.request_bytes();
        self.entry.metrics(self.route, self.service).record(
            worker.index,
            StatusClass::of(self.status),
            micros(duration),
            received,
            self.response_bytes,
        );
        if self.call.is_some()
            && let Some(service) = self.service
        {
            self.entry
                .installed
                .metrics(service)
                .called(self.grpc_status);
        }
        if let (Some(route), Some(version)) = (self.route, self.api_version) {
            self.entry
                .version_counter(route, version)
                .add(worker.index, 1);
        }
        worker.metrics.end(worker.index, termination);
        self.entry.metrics.active.add(worker.index, -1);
        if worker.log.write(|log| self.log(termination, duration, log)) {
            worker.flush_log_later();
        }
        self.connection.ended(now);
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
