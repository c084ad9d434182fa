//! Connections of clients: TLS, recognising the protocol, driving it, and closing what stands
//! idle, is slow, or is asked to leave.
//!
//! A connection is in one of four phases: *busy* (an exchange is under way), *idle* (nothing of the
//! next request has come), *head* (a part of it has), *lingering* (its last answer is sent, but not
//! everything the client sends was read). The watch over it tells them apart by its meter. An
//! HTTP/1 connection that has been idle for a moment *sleeps*: it has no buffers until the client
//! speaks again.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use ::http::Response;
use bytes::Bytes;
use tokio::net::TcpStream;
use weir_policy::clients::ClientPlace;
use weir_policy::framing::Fault;
use weir_policy::moment::Moment;
use weir_policy::proxy_protocol::Addresses;
use weir_policy::rewrite::Remote;
use weir_process::memory;

use crate::listen::Gate;
use crate::proxy_protocol::{self, Ends};
use crate::tunnel;
use crate::wire::{Meter, Socket, Wire};
use crate::worker::{Entry, Leaving, Worker, WorkerStats};

mod greet;
mod hello;
mod http;
mod http1;
mod http2;
mod service;
mod streams;
mod watch;

pub(crate) use http1::{RequestBody, RequestBodyError};
pub(crate) use service::ConnectionService;
pub(crate) use watch::LEAVE_IDLE_AFTER;

use self::http::Http;
use greet::{Greeted, greet};
use service::Answer;
use watch::{Verdict, Watch};

/// One connection of a client.
#[derive(Debug)]
pub(crate) struct ClientConnection {
    pub(crate) id: u64,
    pub(crate) worker: Rc<Worker>,
    pub(crate) gate: Rc<Gate>,
    /// The client, as a PROXY header has it where one is expected.
    pub(crate) remote: SocketAddr,
    /// Its address as it is told to services.
    pub(crate) origin: Remote,
    /// Where it connected to.
    pub(crate) local: SocketAddr,
    pub(crate) secure: bool,
    /// SPIFFE id of the mesh peer.
    pub(crate) peer: Option<Box<str>>,
    pub(crate) http2: bool,
    /// Metrics of the listener it came in by.
    entry: Rc<Entry>,
    meter: Rc<Meter>,
    in_flight: Cell<u32>,
    /// Exchanges begun.
    exchanges: Cell<u64>,
    idle_since: Cell<u64>,
    /// What the meter said when it fell idle: more reads mean that a request is coming.
    idle_reads: Cell<u64>,
    leaving: Cell<Option<(Leaving, u64)>>,
    /// It was waited for long enough.
    cut_off: Cell<bool>,
    /// Its client takes nothing, or too little.
    too_slow: Cell<bool>,
    driver: RefCell<Option<Waker>>,
}

/// Who is at the other side.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) remote: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) secure: bool,
    pub(crate) peer: Option<Box<str>>,
    pub(crate) http2: bool,
}

impl ClientConnection {
    pub(crate) fn new(
        worker: &Rc<Worker>,
        gate: &Rc<Gate>,
        entry: Rc<Entry>,
        client: Client,
    ) -> Rc<Self> {
        let connection = Rc::new(Self {
            id: worker.connection_id(),
            worker: Rc::clone(worker),
            gate: Rc::clone(gate),
            remote: client.remote,
            origin: client.remote.ip().into(),
            local: client.local,
            secure: client.secure,
            peer: client.peer,
            http2: client.http2,
            entry,
            meter: Rc::default(),
            in_flight: Cell::new(0),
            exchanges: Cell::new(0),
            idle_since: Cell::new(worker.clock.now().nanos),
            idle_reads: Cell::new(0),
            leaving: Cell::new(None),
            cut_off: Cell::new(false),
            too_slow: Cell::new(false),
            driver: RefCell::default(),
        });
        worker.connected(&connection);
        connection
    }

    /// An exchange begins.
    pub(crate) fn began(&self) {
        self.in_flight.set(self.in_flight.get() + 1);
        self.exchanges.set(self.exchanges.get() + 1);
        WorkerStats::add(&self.worker.stats.in_flight, 1);
        WorkerStats::add(&self.worker.stats.exchanges, 1);
    }

    /// What is wrong with the head that the last exchange was begun for.
    pub(crate) fn head_fault(&self) -> Option<Fault> {
        self.meter.head_fault()
    }

    /// What is wrong with what the client sent last.
    pub(crate) fn body_fault(&self) -> Option<Fault> {
        self.meter.fault()
    }

    /// Sends the client this message before the response to the request whose exchange is asking.
    /// `false`: it does not take what was sent before.
    pub(crate) fn tell(&self, message: Response<()>) -> bool {
        let told = self.meter.blocked_since().is_none();
        if told {
            self.worker.interim.borrow_mut().push(message);
        }
        told
    }

    /// Lets its own task look at it.
    fn wake(&self) {
        if let Some(driver) = &*self.driver.borrow() {
            driver.wake_by_ref();
        }
    }

    /// An exchange has ended.
    pub(crate) fn ended(&self, now: Moment) {
        self.in_flight.set(self.in_flight.get().saturating_sub(1));
        if self.in_flight.get() == 0 {
            self.meter.idle();
        }
        self.idle_since.set(now.nanos);
        self.idle_reads.set(self.meter.reads());
        WorkerStats::add(&self.worker.stats.in_flight, -1);
    }

    /// Who it is between.
    pub(crate) fn ends(&self) -> Ends<'_> {
        Ends {
            client: &self.remote,
            local: &self.local,
        }
    }

    /// What the next request runs under.
    pub(crate) fn entry(&self) -> Rc<Entry> {
        self.gate.entry().unwrap_or_else(|| Rc::clone(&self.entry))
    }

    /// Asks it to leave as soon as that hurts nobody.
    pub(crate) fn leave(&self, leaving: Leaving) {
        self.leaving
            .set(Some((leaving, self.worker.clock.now().nanos)));
        self.wake();
    }

    /// Ends it, whatever is under way.
    pub(crate) fn cut_off(&self) {
        self.cut_off.set(true);
        self.wake();
    }

    /// Whether what ends on it now is cut off by the end of the process.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.cut_off.get() || self.worker.stopping.get()
    }

    /// Whether what ends on it now ends because its client is too slow.
    pub(crate) fn is_too_slow(&self) -> bool {
        self.too_slow.get()
    }

    /// Whether its next response is its last.
    pub(crate) fn is_leaving(&self) -> bool {
        self.leaving.get().is_some()
    }

    fn phase(&self) -> Phase {
        if let Some(since) = self.meter.lingers_since() {
            Phase::Lingering(since)
        } else if self.in_flight.get() > 0 {
            Phase::Busy
        } else if self.meter.reads() > self.idle_reads.get() && !self.http2 {
            Phase::Head
        } else {
            Phase::Idle
        }
    }
}

impl Drop for ClientConnection {
    fn drop(&mut self) {
        self.worker.disconnected(self.id);
        self.entry.metrics.connections.add(self.worker.index, -1);
        memory::give_back_soon();
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Busy,
    Head,
    Idle,
    /// Everything is said; it is only waited for the client to hear it, since then.
    Lingering(u64),
}

/// A connection was accepted.
pub(crate) fn accepted(
    worker: &Rc<Worker>,
    gate: &Rc<Gate>,
    stream: TcpStream,
    remote: SocketAddr,
) {
    // A gate gets its entry in the same turn of the loop that opens it.
    let Some(entry) = gate.entry() else { return };
    let connections = &entry.metrics.connections;
    if connections.value() >= i64::try_from(entry.bounds.connections_max).unwrap_or(i64::MAX) {
        entry.metrics.closed(worker.index, "full");
        return;
    }
    // Behind a PROXY header the client is not known yet.
    let place = match entry.announced_from() {
        None => entry.place_of(remote.ip()),
        Some(_) => Ok(None),
    };
    let place = match place {
        Ok(place) => place,
        Err(reason) => {
            entry.metrics.closed(worker.index, reason);
            return;
        }
    };
    entry.metrics.accepted.add(worker.index, 1);
    connections.add(worker.index, 1);
    let local = proxy_protocol::local(&stream, gate.address);
    let (worker, gate) = (Rc::clone(worker), Rc::clone(gate));
    worker.greeting(1);
    let own = Addresses {
        source: remote,
        destination: local,
    };
    // On the heap, each stage of its own size: room for the greeting is needed for a moment only,
    // and the connection's for long.
    let greeting = Box::pin(greeted(worker, gate, entry, stream, own, place));
    tokio::task::spawn_local(async move {
        if let Some(life) = greeting.await {
            life.await;
        }
    });
}

/// The rest of a connection's life, from its first request.
type Life = Pin<Box<dyn Future<Output = ()>>>;

/// Greets a client; `place` is held to the end of its connection.
async fn greeted(
    worker: Rc<Worker>,
    gate: Rc<Gate>,
    entry: Rc<Entry>,
    stream: TcpStream,
    own: Addresses,
    mut place: Option<ClientPlace>,
) -> Option<Life> {
    let held = Held {
        worker: &worker,
        entry: &entry,
        kept: Cell::new(true),
    };
    let life: Life = match greet(&worker, &entry, stream, own, &mut place).await {
        Ok(Greeted::Http(greeted)) => {
            let client = Client {
                remote: greeted.addresses.source,
                local: greeted.addresses.destination,
                secure: greeted.secure,
                peer: greeted.peer,
                http2: greeted.http2,
            };
            let connection = ClientConnection::new(&worker, &gate, Rc::clone(&entry), client);
            serve(connection, greeted.socket, greeted.prefix, place)
        }
        Ok(Greeted::Tunnel(tunnel)) => {
            let (worker, entry) = (Rc::clone(&worker), Rc::clone(&entry));
            Box::pin(async move {
                let (index, metrics) = (worker.index, entry.metrics.clone());
                // It lives on without what it was accepted under.
                let reason = tunnel::serve(worker, entry, tunnel).await;
                metrics.connections.add(index, -1);
                metrics.closed(index, reason);
                drop(place);
                memory::give_back_soon();
            })
        }
        Err(reason) => {
            entry.metrics.closed(worker.index, reason);
            return None;
        }
    };
    held.kept.set(false);
    Some(life)
}

/// Counts a connection that is not yet a [`ClientConnection`].
struct Held<'a> {
    worker: &'a Worker,
    entry: &'a Entry,
    kept: Cell<bool>,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.worker.greeting(-1);
        if self.kept.get() {
            self.entry.metrics.connections.add(self.worker.index, -1);
        }
    }
}

/// Serves a connection of HTTP to its end.
fn serve(
    connection: Rc<ClientConnection>,
    socket: Socket,
    prefix: Bytes,
    place: Option<ClientPlace>,
) -> Life {
    let service = ConnectionService::new(Rc::clone(&connection));
    if let Some(leaving) = connection.gate.leaving() {
        connection.leave(leaving);
    }
    let http = if connection.http2 {
        let wire = Wire::new(socket, Rc::clone(&connection.meter))
            .with_prefix(prefix)
            .guarded();
        Http::h2(&connection.worker, wire, service, connection.entry.bounds)
    } else {
        Http::h1(socket, prefix, service)
    };
    Box::pin(Served {
        http,
        watch: Watch::new(connection),
        _place: place,
    })
}

/// A connection that is being served, until it ends by itself or its phase has lasted too long.
struct Served<A: Answer> {
    http: Http<A>,
    watch: Watch,
    _place: Option<ClientPlace>,
}

impl<A: Answer> Served<A> {
    /// Ready with why it ended.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<&'static str> {
        let Self { http, watch, .. } = self;
        watch.register(cx);
        if watch.connection.cut_off.get() {
            return Poll::Ready("drained");
        }
        if watch.goes_away() {
            http.shut_down();
        }
        loop {
            if let Poll::Ready(result) = http.poll(cx) {
                return Poll::Ready(watch.reason(result.err().as_ref()));
            }
            watch.asleep(http.is_asleep());
            match watch.poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Verdict::Abort(reason)) => return Poll::Ready(reason),
                Poll::Ready(Verdict::ShutDown) => http.shut_down(),
                Poll::Ready(Verdict::Sleep) => watch.sleeps(http.sleep()),
            }
        }
    }
}

// Nothing in it is pinned in place.
impl<A: Answer> Unpin for Served<A> {}

impl<A: Answer> Future for Served<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        let reason = ready!(this.poll_end(cx));
        let connection = &this.watch.connection;
        let (index, metrics) = (connection.worker.index, &connection.entry.metrics);
        metrics.closed(index, reason);
        if let Some((Leaving::Listener, _)) = connection.leaving.get() {
            metrics.closed_by_config(index);
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size_of_served<A: Answer>(_: fn(Rc<ClientConnection>) -> ConnectionService<A>) -> usize {
        size_of::<Served<A>>()
    }

    #[test]
    fn what_an_idle_connection_holds_stays_small() {
        let served = size_of_served(ConnectionService::new);
        assert!(served <= 320, "{served} bytes");
        let connection = size_of::<ClientConnection>();
        assert!(connection <= 256, "{connection} bytes");
    }
}
