//! The connections of one worker to one endpoint.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use smallvec::SmallVec;
use tokio::sync::Notify;
use weir_config::service::Protocol;

use super::line::{H1Line, H2Line, Line};
use crate::{clock, http1, http2};

/// What makes connections interchangeable.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct LaneKey {
    /// `host:port`.
    pub(crate) address: Box<str>,
    /// Changes with protocol and TLS settings of the service.
    pub(crate) class: u64,
    /// The SPIFFE id that must answer.
    pub(crate) identity: Option<Box<str>>,
    /// Whether HTTP/2 is spoken.
    pub(crate) http2: bool,
    /// Whether a connection belongs to one client, and so is never kept for the next request.
    pub(crate) single_use: bool,
}

impl LaneKey {
    pub(crate) fn speaks(protocol: Protocol) -> bool {
        matches!(protocol, Protocol::Http2)
    }
}

/// Connections to one endpoint.
#[derive(Debug)]
pub(crate) struct Lane {
    /// `host:port` as the endpoint has it.
    pub(crate) address: Box<str>,
    /// The endpoint's address where it is not a name.
    pub(crate) socket: Option<SocketAddr>,
    /// The SPIFFE id that must answer.
    pub(crate) identity: Option<Box<str>>,
    /// Whether HTTP/2 is spoken.
    pub(crate) http2: bool,
    /// Addresses the host name was last resolved to.
    pub(crate) resolved: RefCell<Option<Resolved>>,
    /// TLS configuration that expects [`Lane::identity`].
    pub(crate) mesh_tls: RefCell<Option<Arc<ClientConfig>>>,
    single_use: bool,
    idle: RefCell<Vec<Idle>>,
    watch: Watch,
    shared: RefCell<Vec<Rc<http2::Connection>>>,
    /// Connections open, idle ones included.
    open: Cell<u32>,
    /// Whether an HTTP/2 connection is being made: others wait for it instead of making their own.
    opening: Cell<bool>,
    /// No service uses this lane any more.
    retired: Cell<bool>,
    /// The last round in which it was in use.
    round: Cell<u64>,
    freed: Notify,
}

/// A host name's addresses and when they were looked up.
#[derive(Debug, Clone)]
pub(crate) struct Resolved {
    pub(crate) at: Instant,
    pub(crate) addresses: SmallVec<[SocketAddr; 4]>,
}

#[derive(Debug)]
struct Idle {
    connection: Rc<http1::Connection>,
    /// Nanoseconds.
    since: u64,
}

/// What an exchange may do now.
#[derive(Debug)]
pub(crate) enum Turn {
    /// Use this.
    Go(Line),
    /// Make a connection; the opening counts until it is dropped.
    Open(Opening),
    /// Wait until something changes.
    Wait(Wait),
}

/// What an exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As many connections as are allowed are open and in use.
    Full,
    /// An HTTP/2 connection is being made.
    Opening,
}

impl Lane {
    pub(super) fn new(key: &LaneKey) -> Self {
        Self {
            address: key.address.clone(),
            socket: key.address.parse().ok(),
            identity: key.identity.clone(),
            http2: key.http2,
            single_use: key.single_use,
            resolved: RefCell::default(),
            mesh_tls: RefCell::default(),
            idle: RefCell::default(),
            watch: Watch::new(),
            shared: RefCell::default(),
            open: Cell::new(0),
            opening: Cell::new(false),
            retired: Cell::new(false),
            round: Cell::new(0),
            freed: Notify::new(),
        }
    }

    /// Takes an idle connection or the permission to make one.
    pub(crate) fn turn(self: &Rc<Self>, connections_max: u32) -> Turn {
        if self.http2 {
            if let Some(line) = self.take_shared() {
                return Turn::Go(Line::H2(line));
            }
            if self.opening.get() {
                return Turn::Wait(Wait::Opening);
            }
            if self.open.get() >= connections_max {
                return Turn::Wait(Wait::Full);
            }
            return Turn::Open(Opening::new(Rc::clone(self)));
        }
        if let Some(line) = self.take_idle() {
            return Turn::Go(Line::H1(line));
        }
        if self.open.get() >= connections_max {
            return Turn::Wait(Wait::Full);
        }
        Turn::Open(Opening::new(Rc::clone(self)))
    }

    /// The permission to make a connection that is not for HTTP.
    pub(crate) fn enter(self: &Rc<Self>, connections_max: u32) -> Option<OpenConnection> {
        if self.open.get() >= connections_max {
            return None;
        }
        self.open.set(self.open.get() + 1);
        Some(OpenConnection {
            lane: Rc::clone(self),
        })
    }

    /// Waits until a connection comes back, is made, or closes.
    pub(crate) async fn changed(&self) {
        self.freed.notified().await;
    }

    /// Connections open or being made, idle ones included.
    pub(crate) fn open_now(&self) -> u32 {
        self.open.get()
    }

    /// Keeps a connection that falls idle `now` for the next exchange.
    pub(super) fn put_back(self: &Rc<Self>, connection: Rc<http1::Connection>, now: u64) {
        if self.single_use || self.retired.get() {
            return;
        }
        if !self.watch.due.replace(true) {
            self.watch.stir.0.notify_one();
        }
        if !self.watch.begun.replace(true) {
            tokio::task::spawn_local(watch(Rc::downgrade(self), Arc::clone(&self.watch.stir)));
        }
        let mut idle = self.idle.borrow_mut();
        let since = now;
        keep(&mut idle, Idle { connection, since });
        drop(idle);
        self.freed.notify_one();
    }

    /// Offers a new HTTP/2 connection to every exchange, unless it is for one alone.
    pub(crate) fn share(self: &Rc<Self>, connection: Rc<http2::Connection>) -> H2Line {
        let line = H2Line::new(Rc::clone(&connection), Rc::clone(self));
        if !self.single_use && !self.retired.get() {
            self.shared.borrow_mut().push(connection);
        }
        self.freed.notify_waiters();
        line
    }

    /// Lets one waiting exchange look again.
    pub(super) fn notify(&self) {
        self.freed.notify_one();
    }

    /// It is in use in this round.
    pub(super) fn mark(&self, round: u64) {
        self.round.set(round);
    }

    pub(super) fn is_marked(&self, round: u64) -> bool {
        self.round.get() == round
    }

    /// No service uses this lane any more: idle connections close now, others after their use.
    pub(super) fn retire(&self) {
        self.retired.set(true);
        self.idle.borrow_mut().clear();
        self.shared.borrow_mut().clear();
    }

    /// Closes what has been idle for too long. Says whether idle connections are left.
    pub(super) fn sweep(&self, now: u64) -> bool {
        let idle_max = clock::nanos(IDLE_TIME_MAX);
        let mut idle = self.idle.borrow_mut();
        idle.retain(|idle| {
            now.saturating_sub(idle.since) < idle_max && idle.connection.is_alive(&self.watch.waker)
        });
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| !shared.is_closed() && shared.idle_for(now) < idle_max);
        !idle.is_empty() || !shared.is_empty()
    }

    fn take_idle(self: &Rc<Self>) -> Option<H1Line> {
        let mut idle = self.idle.borrow_mut();
        while let Some(Idle { connection, .. }) = idle.pop() {
            if connection.is_alive(Waker::noop()) {
                return Some(H1Line::new(connection, Rc::clone(self)));
            }
        }
        None
    }

    fn take_shared(self: &Rc<Self>) -> Option<H2Line> {
        let mut shared = self.shared.borrow_mut();
        shared.retain(|shared| !shared.is_closed());
        let free = shared.iter().find(|shared| shared.has_room())?;
        Some(H2Line::new(Rc::clone(free), Rc::clone(self)))
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.watch.stir.0.notify_one();
    }
}

/// Finds out which idle connections their endpoint closes.
#[derive(Debug)]
struct Watch {
    stir: Arc<Stir>,
    /// Waked when there is something to read on one of them.
    waker: Waker,
    /// Whether somebody waits for that.
    begun: Cell<bool>,
    /// Whether connections have fallen idle that are to be watched.
    due: Cell<bool>,
}

impl Watch {
    fn new() -> Self {
        let stir = Arc::<Stir>::default();
        Self {
            waker: Waker::from(Arc::clone(&stir)),
            stir,
            begun: Cell::new(false),
            due: Cell::new(false),
        }
    }
}

/// Something happens on an idle connection, or their lane is gone.
#[derive(Debug, Default)]
struct Stir(Notify);

impl Wake for Stir {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}

/// Closes idle connections soon after their endpoint does. Under load they are idle for moments
/// only: watching begins a little later, with those that are idle still.
async fn watch(lane: Weak<Lane>, stir: Arc<Stir>) {
    loop {
        stir.0.notified().await;
        if lane.upgrade().is_some_and(|lane| lane.watch.due.get()) {
            tokio::time::sleep(WATCHED_AFTER).await;
        }
        let Some(lane) = lane.upgrade() else { return };
        lane.watch.due.set(false);
        let mut idle = lane.idle.borrow_mut();
        idle.retain(|idle| idle.connection.is_alive(&lane.watch.waker));
    }
}

/// A connection being made: counts as open, and holds others back from making an HTTP/2
/// connection, until it is dropped.
#[derive(Debug)]
pub(crate) struct Opening {
    lane: Rc<Lane>,
    /// The open connection took over the count.
    done: Cell<bool>,
}

impl Opening {
    fn new(lane: Rc<Lane>) -> Self {
        lane.open.set(lane.open.get() + 1);
        lane.opening.set(true);
        Self {
            lane,
            done: Cell::new(false),
        }
    }

    /// The connection stands: it counts until the returned guard is dropped. Others are held back
    /// until `self` is dropped, so that they find what this one shares.
    pub(crate) fn done(&self) -> OpenConnection {
        debug_assert!(!self.done.get(), "one connection per opening");
        self.done.set(true);
        OpenConnection {
            lane: Rc::clone(&self.lane),
        }
    }

    pub(crate) fn lane(&self) -> &Rc<Lane> {
        &self.lane
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        self.lane.opening.set(false);
        if !self.done.get() {
            self.lane.open.set(self.lane.open.get().saturating_sub(1));
        }
        self.lane.freed.notify_one();
    }
}

/// An open connection, held by the task that drives it.
#[derive(Debug)]
pub(crate) struct OpenConnection {
    lane: Rc<Lane>,
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.lane.open.set(self.lane.open.get().saturating_sub(1));
        self.lane.freed.notify_one();
    }
}

/// Keeps one more. Beyond the bound, the one that was idle for the longest goes.
fn keep<T>(idle: &mut Vec<T>, one: T) {
    if idle.len() >= IDLE_MAX {
        idle.remove(0);
    }
    idle.push(one);
}

/// Idle connections kept per endpoint and worker: as many as a burst may have needed. Fewer would
/// be made and closed again by every burst, as responses of HTTP/2 clients come in bursts.
const IDLE_MAX: usize = 1024;
/// How long a connection may stand idle: shorter than the keep-alive of most servers. Looked at by
/// the sweep alone, so it may last a sweep's interval longer.
const IDLE_TIME_MAX: Duration = Duration::from_secs(45);
/// When a connection has been idle for this long, at most, its endpoint's end is seen at once.
const WATCHED_AFTER: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::{IDLE_MAX, keep};

    #[test]
    fn the_longest_idle_goes_when_there_are_too_many() {
        let mut idle = Vec::new();
        for one in 0..IDLE_MAX + 3 {
            keep(&mut idle, one);
        }
        assert_eq!(idle.len(), IDLE_MAX);
        assert_eq!(idle.first(), Some(&3));
        assert_eq!(idle.last(), Some(&(IDLE_MAX + 2)));
    }
}
