//! What a client's HTTP/1 connection and the body of its request share: the socket, and how far
//! what comes in was read.
//!
//! As long as a body is not read to its end, only who has it reads, from whatever task; at any
//! other time only the connection's own task does. The state is borrowed for single steps and never
//! while anything else is called that may want it.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::Request;
use tokio::io::{AsyncRead, ReadBuf};
use weir_policy::framing::request::{Body, Head, HeadReader, Said, stand_in};
use weir_policy::framing::{Bounds, Fault};

use crate::header_maps::HeaderMaps;
use crate::http1::{Chunked, Input};
use crate::serve::ClientConnection;
use crate::upgrade::{ClientIo, Handover, Remainder};
use crate::wire::Socket;
use crate::worker::Worker;

/// Shared by a connection and the body of its request.
pub(super) struct Link {
    pub(super) connection: Rc<ClientConnection>,
    pub(super) state: RefCell<State>,
    /// Whether nobody wants the rest of the body.
    pub(super) forsaken: Cell<bool>,
    /// Whether the client waits for `100 Continue`; then, whether it is to be told so.
    pub(super) expects: Cell<Expects>,
    /// Whether the connection's own task is running: it looks by itself afterwards.
    pub(super) driving: Cell<bool>,
}

/// `Expect: 100-continue` of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expects {
    /// It has none, or the client was told, or need not be.
    Nothing,
    /// The client may wait until somebody asks for its body.
    Continue,
    /// Somebody has.
    Asked,
}

/// The side of a connection that is read.
pub(super) struct State {
    /// `None` once the connection is over.
    pub(super) socket: Option<Socket>,
    pub(super) input: Input,
    /// Whether nobody has looked for a head in what was read.
    pub(super) unseen: bool,
    pub(super) incoming: Incoming,
    /// Who waits for the body.
    pub(super) reader: Option<Waker>,
}

/// What is missing of the body of the last request.
#[derive(Debug)]
pub(super) enum Incoming {
    Bytes(u64),
    Chunked(Box<Chunked>),
    /// Nothing: there is none, or it was read to its end.
    Nothing,
    /// It broke off, or what comes is no HTTP. Nothing more is read.
    Broken,
}

/// What is missing of the last request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rest {
    /// Something that is not going to be read.
    Lost,
    /// Nothing: another one may follow.
    Nothing,
    /// Something that somebody wants.
    Wanted,
}

/// What was read between requests.
pub(super) enum Found {
    Request(Request<()>, Said, Head),
    /// What came in the place of one, and what is wrong with it.
    Fault(Request<()>, Fault),
    /// The end.
    End,
}

impl Link {
    pub(super) fn new(connection: Rc<ClientConnection>, socket: Socket, prefix: Bytes) -> Rc<Self> {
        let mut input = Input::default();
        let unseen = !prefix.is_empty();
        if unseen {
            connection.meter.read();
            input.bytes = BytesMut::from(prefix);
        }
        Rc::new(Self {
            connection,
            state: RefCell::new(State {
                socket: Some(socket),
                input,
                unseen,
                incoming: Incoming::Nothing,
                reader: None,
            }),
            forsaken: Cell::new(false),
            expects: Cell::new(Expects::Nothing),
            driving: Cell::new(false),
        })
    }

    /// Lets the connection's own task look at what has changed.
    pub(super) fn changed(&self) {
        if !self.driving.get() {
            self.connection.wake();
        }
    }

    /// What the heads and trailers of requests may have.
    pub(super) fn bounds(&self) -> Bounds {
        self.connection.entry.bounds.framing()
    }

    /// Reads to the end of the next head.
    pub(super) fn poll_head(&self, cx: &mut Context<'_>) -> Poll<Found> {
        let bounds = &self.bounds();
        let maps = &self.connection.worker.header_maps;
        let state = &mut *self.state.borrow_mut();
        let mut reader = HeadReader::default();
        loop {
            if std::mem::take(&mut state.unseen) {
                let held = &mut state.input;
                match reader.find(&held.bytes, bounds) {
                    Ok(None) => {}
                    Ok(Some(head)) => {
                        let bytes = held.take(head.bytes);
                        held.release();
                        return Poll::Ready(state.found(&reader, &bytes, head, maps));
                    }
                    Err(refused) => {
                        let request = stand_in(&held.bytes, &refused);
                        return Poll::Ready(state.refused(request, refused.fault));
                    }
                }
            }
            let mut scratch = self.connection.worker.scratch();
            let mut read = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
            let Some(socket) = &mut state.socket else {
                return Poll::Ready(Found::End);
            };
            // Between requests it makes no difference how the client goes.
            let _ = ready!(Pin::new(socket).poll_read(cx, &mut read));
            let read = read.filled();
            if read.is_empty() {
                state.input.renew();
                return Poll::Ready(Found::End);
            }
            self.connection.meter.read();
            let held = &mut state.input;
            if !held.bytes.is_empty() {
                held.bytes.extend_from_slice(read);
                // Nothing is decided within a line, except that it is too long: drops of one byte
                // are not worth looking at everything again.
                state.unseen = read.contains(&b'\n') || held.bytes.len() >= bounds.target_bytes_max;
                continue;
            }
            match reader.find(read, bounds) {
                Ok(None) => held.bytes = BytesMut::from(read),
                Ok(Some(head)) => {
                    // What belongs to the request has a buffer of its own size; the rest waits.
                    let (bytes, rest) = read.split_at(head.bytes);
                    let bytes = Bytes::copy_from_slice(bytes);
                    if !rest.is_empty() {
                        held.bytes = BytesMut::from(rest);
                    }
                    return Poll::Ready(state.found(&reader, &bytes, head, maps));
                }
                Err(refused) => {
                    let request = stand_in(read, &refused);
                    return Poll::Ready(state.refused(request, refused.fault));
                }
            }
        }
    }

    /// Looks whether the client has gone while it is answered; what it says meanwhile is kept, some
    /// of it if it has `asked` to leave HTTP, else only what comes at once. Ready when it has gone.
    pub(super) fn poll_gone(&self, asked: bool, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let state = &mut *self.state.borrow_mut();
        let bytes_max = if asked { EARLY_BYTES_MAX } else { 1 };
        while matches!(state.incoming, Incoming::Nothing) && state.input.bytes.len() < bytes_max {
            let Some(socket) = &mut state.socket else {
                break;
            };
            let mut scratch = self.connection.worker.scratch();
            let mut read = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
            ready!(Pin::new(socket).poll_read(cx, &mut read))?;
            if read.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.connection.meter.read();
            state.input.bytes.extend_from_slice(read.filled());
            state.unseen = true;
        }
        // It is read again when the exchange has ended.
        Poll::Pending
    }

    /// What is missing of the last request. Of a body that nobody wants, what there is is read,
    /// once.
    pub(super) fn rest(&self, cx: &mut Context<'_>) -> Rest {
        let state = &mut *self.state.borrow_mut();
        match state.incoming {
            Incoming::Nothing => return Rest::Nothing,
            Incoming::Broken => return Rest::Lost,
            Incoming::Bytes(_) | Incoming::Chunked(_) if !self.forsaken.get() => {
                return Rest::Wanted;
            }
            Incoming::Bytes(_) | Incoming::Chunked(_) => {}
        }
        let bounds = self.bounds();
        state.forget(&bounds);
        if let (Incoming::Bytes(_) | Incoming::Chunked(_), Some(socket)) =
            (&state.incoming, &mut state.socket)
        {
            let mut scratch = self.connection.worker.scratch();
            let mut read = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
            let polled = Pin::new(socket).poll_read(cx, &mut read);
            if let (Poll::Ready(Ok(())), false) = (polled, read.filled().is_empty()) {
                self.connection.meter.read();
                state.input.bytes.extend_from_slice(read.filled());
                state.forget(&bounds);
            }
        }
        match state.incoming {
            Incoming::Nothing => Rest::Nothing,
            _ => Rest::Lost,
        }
    }

    /// The connection has left HTTP: gives it away.
    pub(super) fn hand_over(&self, handover: Handover) {
        let state = &mut *self.state.borrow_mut();
        if let Some(socket) = state.socket.take() {
            let unread = std::mem::take(&mut state.input.bytes).freeze();
            handover.complete(ClientIo::Connection(Remainder::new(socket, unread)));
        }
    }

    /// Whether the client may still be sending what nobody is going to read.
    pub(super) fn is_amid(&self) -> bool {
        let state = self.state.borrow();
        !matches!(state.incoming, Incoming::Nothing) || !state.input.bytes.is_empty()
    }

    /// The connection is over.
    pub(super) fn close(&self) {
        let state = &mut *self.state.borrow_mut();
        state.socket = None;
        if let Some(reader) = state.reader.take() {
            reader.wake();
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("id", &self.connection.id)
            .finish_non_exhaustive()
    }
}

impl State {
    fn found(
        &mut self,
        reader: &HeadReader,
        bytes: &Bytes,
        head: Head,
        maps: &HeaderMaps,
    ) -> Found {
        let (request, said) = match reader.request(bytes, maps.take()) {
            Ok(request) => request,
            Err(fault) => return self.refused(Request::new(()), fault),
        };
        self.unseen = !self.input.bytes.is_empty();
        self.incoming = match head.body {
            Body::Length(0) => Incoming::Nothing,
            Body::Length(bytes) => Incoming::Bytes(bytes),
            Body::Chunked => Incoming::Chunked(Box::default()),
        };
        Found::Request(request, said, head)
    }

    fn refused(&mut self, request: Request<()>, fault: Fault) -> Found {
        self.input.renew();
        self.incoming = Incoming::Broken;
        Found::Fault(request, fault)
    }

    /// Drops what was read of the body.
    fn forget(&mut self, bounds: &Bounds) {
        let held = &mut self.input;
        match &mut self.incoming {
            Incoming::Bytes(left) => {
                let here = usize::try_from(*left)
                    .map_or(held.bytes.len(), |left| left.min(held.bytes.len()));
                drop(held.take(here));
                *left -= here as u64;
                if *left == 0 {
                    self.incoming = Incoming::Nothing;
                }
            }
            Incoming::Chunked(chunked) => match chunked.forget(held, bounds) {
                Ok(false) => {}
                Ok(true) => self.incoming = Incoming::Nothing,
                Err(_) => self.incoming = Incoming::Broken,
            },
            Incoming::Nothing | Incoming::Broken => {}
        }
        self.unseen = !self.input.bytes.is_empty();
    }
}

/// Reads and forgets, up to the end of the stream.
pub(super) fn drain(
    worker: &Worker,
    socket: &mut Socket,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    let mut scratch = worker.scratch();
    // Shares the thread with others: what a client pours in without a pause waits its turn.
    for _ in 0..DRAIN_PIECES_MAX {
        let mut more = ReadBuf::new(&mut scratch[..HEAD_READ_BYTES]);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut more))?;
        if more.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Read at once where it is not known what comes.
const HEAD_READ_BYTES: usize = 16 * 1024;
/// What a client may send before it knows whether it has left HTTP; the last read may go beyond it.
const EARLY_BYTES_MAX: usize = 16 * 1024;
/// Forgotten in one go.
const DRAIN_PIECES_MAX: usize = 4;
