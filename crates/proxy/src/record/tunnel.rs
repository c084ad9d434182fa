//! What is remembered of a connection that is passed on, and where it is written when it ends.
//!
//! Dropping a [`TunnelLedger`] records the connection, so that one which was cut off is recorded
//! too. It holds names and counters, never the configuration that they came from.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use weir_policy::balance::Chosen;
use weir_policy::moment::Moment;
use weir_policy::pipeline::Permit;
use weir_policy::refusal::Code;
use weir_policy::snapshot::ServiceId;
use weir_telemetry::access_log::{LogBuffer, TunnelRecord};
use weir_telemetry::sharded::Counter;
use weir_telemetry::termination::Termination;
use weir_telemetry::{Registry, names};

use super::micros;
use crate::worker::{Entry, Worker};

/// One connection that is passed on; it counts as active until it is dropped.
#[derive(Debug)]
pub(crate) struct TunnelLedger {
    worker: Rc<Worker>,
    pub(crate) began: Moment,
    client: SocketAddr,
    secure: bool,
    server_name: Option<Box<str>>,
    listener: Arc<str>,
    service: Option<Arc<str>>,
    revision: u64,
    registry: Registry,
    counters: Option<[Arc<Counter>; 2]>,
    pub(crate) attempts: u32,
    refused: Option<Code>,
    /// How long the last attempt took to connect.
    pub(crate) connect: Option<Duration>,
    endpoint: Option<Box<str>>,
    /// Held until the end: the place at the service, and the endpoint's connection in flight.
    held: Option<(Permit, Chosen)>,
    received_bytes: Cell<u64>,
    sent_bytes: Cell<u64>,
    termination: Termination,
}

impl TunnelLedger {
    /// Opens the ledger of a connection.
    pub(crate) fn new(
        worker: &Rc<Worker>,
        entry: &Entry,
        client: SocketAddr,
        secure: bool,
        server_name: Option<Box<str>>,
    ) -> Self {
        worker.tunnels(1);
        Self {
            worker: Rc::clone(worker),
            began: worker.clock.now(),
            client,
            secure,
            server_name,
            listener: Arc::clone(&entry.name),
            service: None,
            revision: entry.installed.revision,
            registry: entry.registry().clone(),
            counters: None,
            attempts: 0,
            refused: None,
            connect: None,
            endpoint: None,
            held: None,
            received_bytes: Cell::new(0),
            sent_bytes: Cell::new(0),
            // What happens when nobody says otherwise: the worker dropped it.
            termination: Termination::Drained,
        }
    }

    /// It goes to this service.
    pub(crate) fn to(&mut self, entry: &Entry, service: ServiceId) {
        let name = &entry.installed.snapshot.service(service).name;
        let counter = |named| {
            let labels = [&*self.listener, &**name];
            self.registry.family(named).with(&labels)
        };
        self.counters = Some([
            counter(&names::TCP_RECEIVED_BYTES),
            counter(&names::TCP_SENT_BYTES),
        ]);
        self.service = Some(Arc::clone(name));
    }

    /// The endpoint that was tried last.
    pub(crate) fn endpoint(&mut self, chosen: &Chosen) {
        self.endpoint = Some(chosen.member.endpoint.address.as_str().into());
    }

    /// It is connected.
    pub(crate) fn joined(&mut self, permit: Permit, chosen: Chosen) {
        self.endpoint(&chosen);
        self.held = Some((permit, chosen));
    }

    /// So many bytes have come from the client, and from the endpoint, in all.
    pub(crate) fn moved(&self, received: u64, sent: u64) {
        let received_before = self.received_bytes.replace(received);
        let sent_before = self.sent_bytes.replace(sent);
        if let Some([received_bytes, sent_bytes]) = &self.counters {
            received_bytes.add(self.worker.index, received - received_before);
            sent_bytes.add(self.worker.index, sent - sent_before);
        }
    }

    /// How it ends when the endpoint breaks it off.
    pub(crate) fn endpoint_broke(&self) -> Termination {
        match self.sent_bytes.get() {
            0 => Termination::UpstreamResetBeforeBytes,
            _ => Termination::UpstreamResetAfterBytes,
        }
    }

    /// Ends it before it stood.
    pub(crate) fn refused(mut self, code: Code, termination: Termination) -> &'static str {
        self.refused = Some(code);
        self.ended(termination)
    }

    /// Ends it; gives the word for how.
    pub(crate) fn ended(mut self, termination: Termination) -> &'static str {
        self.termination = termination;
        termination.code()
    }

    fn log(&self, duration: Duration, log: &mut LogBuffer) {
        log.write_tunnel(&TunnelRecord {
            time_unix_ms: self.worker.clock.unix_nanos(self.began.nanos) / 1_000_000,
            listener: &self.listener,
            client: self.client,
            secure: self.secure,
            server_name: self.server_name.as_deref(),
            termination: self.termination,
            reason: self.refused.map(Code::as_str),
            service: self.service.as_deref(),
            endpoint: self.endpoint.as_deref(),
            attempts: self.attempts,
            request_bytes: self.received_bytes.get(),
            response_bytes: self.sent_bytes.get(),
            duration_us: micros(duration),
            connect_us: self.connect.map(micros),
            revision: self.revision,
        });
    }
}

impl Drop for TunnelLedger {
    fn drop(&mut self) {
        let duration = self.worker.clock.now().since(self.began);
        let service = self.service.as_deref().unwrap_or_default();
        let labels = [&*self.listener, service, self.termination.code()];
        let ends = self.registry.family(&names::TCP_CONNECTIONS);
        ends.with(&labels).add(self.worker.index, 1);
        if self.worker.log.write(|log| self.log(duration, log)) {
            self.worker.flush_log_later();
        }
        self.worker.tunnels(-1);
    }
}
