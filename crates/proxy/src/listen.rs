//! Where connections come in: listening sockets, and one gate per address and worker that accepts
//! from its own socket.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::task::AbortHandle;

use crate::serve;
use crate::worker::{Entry, Leaving, Worker};

/// Where listening sockets come from. The gateway's are handed over between processes; everybody
/// else takes [`OwnSockets`].
pub trait Sockets: Send + Sync {
    /// A socket of `worker` (of so many) that listens on `address`, non-blocking. Sockets of
    /// different workers for one address share it (`SO_REUSEPORT`).
    ///
    /// # Errors
    /// Why the address cannot be listened on.
    fn listen(&self, address: SocketAddr, worker: usize, workers: usize)
    -> io::Result<TcpListener>;

    /// Nobody listens on this address any more.
    fn close(&self, address: SocketAddr) {
        let _ = address;
    }
}

/// Binds sockets itself.
#[derive(Debug, Clone, Copy, Default)]
pub struct OwnSockets;

impl Sockets for OwnSockets {
    fn listen(
        &self,
        address: SocketAddr,
        worker: usize,
        _workers: usize,
    ) -> io::Result<TcpListener> {
        if worker == 0 {
            // A shared bind would succeed beside another process of this user and take half of
            // its connections; this one fails.
            unused(address)?;
        }
        bind(address)
    }
}

/// Binds a listening socket that shares its address with other sockets of this user.
///
/// # Errors
/// Why the address cannot be listened on.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() && !address.ip().is_unspecified() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Fails when anybody listens on this address.
fn unused(address: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}

/// One address in one worker.
#[derive(Debug)]
pub(crate) struct Gate {
    /// The address as the binding has it.
    pub(crate) address: SocketAddr,
    entry: RefCell<Option<Rc<Entry>>>,
    leaving: Cell<Option<Leaving>>,
    accepting: RefCell<Option<AbortHandle>>,
}

impl Gate {
    /// Starts accepting. Connections wait until the gate has its entry.
    pub(crate) fn open(worker: &Rc<Worker>, address: SocketAddr, socket: tokio::net::TcpListener) {
        let gate = Rc::new(Self {
            address,
            entry: RefCell::default(),
            leaving: Cell::new(None),
            accepting: RefCell::default(),
        });
        let task = tokio::task::spawn_local(accept(Rc::clone(worker), Rc::clone(&gate), socket));
        gate.accepting.replace(Some(task.abort_handle()));
        worker.add_gate(gate);
    }

    /// A gate without a socket, for driving the engine in tests.
    pub(crate) fn unbound(address: SocketAddr, entry: Rc<Entry>) -> Rc<Self> {
        Rc::new(Self {
            address,
            entry: RefCell::new(Some(entry)),
            leaving: Cell::new(None),
            accepting: RefCell::default(),
        })
    }

    /// What requests run under from now on.
    pub(crate) fn enter(&self, entry: Rc<Entry>) {
        self.entry.replace(Some(entry));
    }

    /// What the next request runs under.
    pub(crate) fn entry(&self) -> Option<Rc<Entry>> {
        self.entry.borrow().clone()
    }

    /// Why its connections are to leave.
    pub(crate) fn leaving(&self) -> Option<Leaving> {
        self.leaving.get()
    }

    /// Stops accepting; its connections live on and leave politely.
    pub(crate) fn close(&self, leaving: Leaving) {
        self.leaving.set(Some(leaving));
        if let Some(task) = self.accepting.take() {
            task.abort();
        }
    }
}

async fn accept(worker: Rc<Worker>, gate: Rc<Gate>, socket: tokio::net::TcpListener) {
    let _drained = AcceptRest {
        worker: &worker,
        gate: &gate,
        socket: &socket,
    };
    loop {
        match socket.accept().await {
            Ok((stream, remote)) => serve::accepted(&worker, &gate, stream, remote),
            Err(error) if is_about_the_connection(&error) => {}
            Err(error) => {
                // Out of descriptors or memory: others may give some back.
                tracing::warn!(%error, address = %gate.address, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes what waits in the backlog when the socket is about to be closed: the kernel would reset
/// those connections.
struct AcceptRest<'a> {
    worker: &'a Rc<Worker>,
    gate: &'a Rc<Gate>,
    socket: &'a tokio::net::TcpListener,
}

impl Drop for AcceptRest<'_> {
    fn drop(&mut self) {
        if self.worker.stopping.get() {
            return;
        }
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        for _ in 0..BACKLOG {
            match self.socket.poll_accept(&mut context) {
                std::task::Poll::Ready(Ok((stream, remote))) => {
                    serve::accepted(self.worker, self.gate, stream, remote);
                }
                _ => break,
            }
        }
    }
}

fn is_about_the_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

/// Connections the kernel holds for a worker that is busy.
const BACKLOG: i32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
