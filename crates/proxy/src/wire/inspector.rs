//! Between the socket of a client and hyper: every byte of HTTP/1 is inspected before hyper reads
//! it, and what has two readings never gets there.
//!
//! hyper answers what it does not like by itself, without a reason, a log line or a metric, and it
//! likes more than a proxy may. So it only ever gets whole, well-formed heads. In place of a bad
//! one it gets a stand-in, which the exchange recognises ([`Meter::fault`]) and refuses like any
//! other request: in its turn, after the answers to the requests before it. A fault in a body is an
//! error of the body. After either, nothing more is read.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, ReadBuf};
use weir_policy::framing::chunks::{Chunks, Read};
use weir_policy::framing::head::{self, Body, Head, Refused};
use weir_policy::framing::{Bounds, Fault};

use super::{Leave, Meter, Socket};

/// Inspects what one client sends.
#[derive(Debug)]
pub(super) struct Inspector {
    bounds: Bounds,
    state: State,
    /// Not handed over yet: a part of a head, or what came before it may be understood.
    held: BytesMut,
    /// Whether nobody has looked at what is held.
    unseen: bool,
    /// Handed over before anything else.
    ready: Bytes,
    /// Heads handed over.
    heads: u64,
}

#[derive(Debug)]
enum State {
    /// Between requests, or in a head.
    Head,
    /// So many bytes of a body are missing.
    Length(u64),
    Chunked(Chunks),
    /// The last request asked to leave HTTP and is not answered yet.
    Undecided,
    /// Not HTTP any more.
    Tunnel,
    /// The body is broken: hyper is told instead of getting more.
    Broken(Fault),
    /// The head was refused; this comes in its place.
    Refused(Bytes),
}

impl Inspector {
    /// For a connection of which these bytes were read already.
    pub(super) fn new(bounds: Bounds, read: &[u8]) -> Self {
        Self {
            bounds,
            state: State::Head,
            held: BytesMut::from(read),
            unseen: !read.is_empty(),
            ready: Bytes::new(),
            heads: 0,
        }
    }

    /// Reads for hyper.
    pub(super) fn poll_read(
        &mut self,
        socket: &mut Socket,
        meter: &Meter,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            if !self.ready.is_empty() {
                let taken = self.ready.len().min(buf.remaining());
                buf.put_slice(&self.ready[..taken]);
                self.ready.advance(taken);
                return Poll::Ready(Ok(()));
            }
            match &mut self.state {
                State::Tunnel => return Pin::new(&mut *socket).poll_read(cx, buf),
                State::Broken(fault) => {
                    let error = io::Error::new(io::ErrorKind::InvalidData, *fault);
                    return Poll::Ready(Err(error));
                }
                // Its answer ends the connection; what comes meanwhile is of no interest.
                State::Refused(stand_in) if stand_in.is_empty() => {
                    ready!(drain(socket, cx))?;
                    return Poll::Pending;
                }
                State::Refused(stand_in) => {
                    self.ready = std::mem::take(stand_in);
                    continue;
                }
                State::Undecided => match meter.leave() {
                    Leave::Asked => return self.poll_early(socket, cx),
                    Leave::Stays => self.state = State::Head,
                    Leave::Left => {
                        self.state = State::Tunnel;
                        self.ready = std::mem::take(&mut self.held).freeze();
                        continue;
                    }
                },
                State::Head | State::Length(_) | State::Chunked(_) => {}
            }
            if self.held.is_empty() {
                let before = buf.filled().len();
                ready!(Pin::new(&mut *socket).poll_read(cx, buf))?;
                if buf.filled().len() == before {
                    return Poll::Ready(Ok(()));
                }
                meter.read();
                let passed = self.inspect(&buf.filled()[before..], meter);
                buf.set_filled(before + passed);
                if passed > 0 {
                    return Poll::Ready(Ok(()));
                }
            } else if ready!(self.poll_held(socket, meter, cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Reads more of a head that has not come whole; 0 at the end of the stream.
    fn poll_held(
        &mut self,
        socket: &mut Socket,
        meter: &Meter,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if !std::mem::take(&mut self.unseen) {
            let mut piece = [0; PIECE_BYTES];
            let mut more = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut more))?;
            let more = more.filled();
            if more.is_empty() {
                return Poll::Ready(Ok(0));
            }
            meter.read();
            self.held.extend_from_slice(more);
            // Nothing is decided within a line, except that it is too long: drops of one byte are
            // not worth looking at everything again.
            if !more.contains(&b'\n') && self.held.len() < self.bounds.target_bytes_max {
                return Poll::Ready(Ok(more.len()));
            }
        }
        let held = std::mem::take(&mut self.held).freeze();
        let passed = self.inspect(&held, meter);
        if passed > 0 {
            self.ready = held.slice(..passed);
        }
        Poll::Ready(Ok(held.len()))
    }

    /// The client should be silent until it is answered; some are not, and want to know anyway
    /// when it goes.
    fn poll_early(&mut self, socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.held.len() < EARLY_BYTES_MAX {
            let mut piece = [0; PIECE_BYTES];
            let mut more = ReadBuf::new(&mut piece);
            ready!(Pin::new(&mut *socket).poll_read(cx, &mut more))?;
            if more.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.held.extend_from_slice(more.filled());
            self.unseen = true;
        }
        // hyper reads again when the exchange has ended.
        Poll::Pending
    }

    /// How many of these bytes may be handed over now; the others are held, or refused.
    fn inspect(&mut self, bytes: &[u8], meter: &Meter) -> usize {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            match &mut self.state {
                State::Head => match head::inspect(rest, &self.bounds) {
                    Ok(Some(head)) => {
                        at += head.bytes;
                        self.heads += 1;
                        self.begin(head, meter);
                    }
                    Ok(None) => {
                        self.held.extend_from_slice(rest);
                        return at;
                    }
                    Err(refused) => {
                        self.refuse(rest, refused, meter);
                        return at;
                    }
                },
                State::Length(left) => {
                    let taken = (rest.len() as u64).min(*left);
                    *left -= taken;
                    // Not more than there are bytes.
                    at += taken as usize;
                    if *left == 0 {
                        self.state = State::Head;
                    }
                }
                State::Chunked(chunks) => match chunks.read(rest, &self.bounds) {
                    Read::All => at = bytes.len(),
                    Read::Whole(read) => {
                        at += read;
                        self.state = State::Head;
                    }
                    Read::Broken(read, fault) => {
                        meter.faulted(fault, self.heads);
                        self.state = State::Broken(fault);
                        return at + read;
                    }
                },
                State::Undecided => {
                    self.held.extend_from_slice(rest);
                    self.unseen = true;
                    return at;
                }
                State::Tunnel | State::Broken(_) | State::Refused(_) => return at,
            }
        }
        at
    }

    fn begin(&mut self, head: Head, meter: &Meter) {
        match head.body {
            Body::Chunked => self.state = State::Chunked(Chunks::default()),
            Body::Length(0) if head.leaves_http => {
                meter.asked_to_leave();
                self.state = State::Undecided;
            }
            Body::Length(0) => {}
            Body::Length(bytes) => self.state = State::Length(bytes),
        }
    }

    /// Puts a stand-in where the head was, with its request line where that was in order.
    fn refuse(&mut self, head: &[u8], refused: Refused, meter: &Meter) {
        let line = refused
            .request_line
            .and_then(|(from, to)| head.get(from..to));
        let line = line.unwrap_or(b"GET / HTTP/1.1\r\n");
        let stand_in = [line, b"Connection: close\r\n\r\n"].concat();
        meter.faulted(refused.fault, self.heads);
        self.state = State::Refused(stand_in.into());
    }

    /// Whether it is between requests and has handed over everything.
    pub(super) fn is_quiet(&self) -> bool {
        matches!(self.state, State::Head) && self.held.is_empty() && self.ready.is_empty()
    }

    /// Hands these over again, before anything else, and keeps no buffer for nothing.
    pub(super) fn unread(&mut self, bytes: Bytes) {
        // Bytes that are empty may still hold a buffer.
        if !bytes.is_empty() {
            self.ready = [bytes, std::mem::take(&mut self.ready)].concat().into();
        }
        if self.ready.is_empty() {
            self.ready = Bytes::new();
        }
        if self.held.is_empty() {
            self.held = BytesMut::new();
        }
    }

    /// Whether the client may still be sending what nobody is going to read.
    pub(super) fn is_amid(&self) -> bool {
        match self.state {
            State::Length(_) | State::Chunked(_) | State::Broken(_) | State::Refused(_) => true,
            State::Head | State::Undecided | State::Tunnel => false,
        }
    }
}

/// Reads and forgets, up to the end of the stream.
pub(super) fn drain(socket: &mut Socket, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
    // Shares the thread with others: what a client pours in without a pause waits its turn.
    for _ in 0..DRAIN_PIECES_MAX {
        let mut piece = [0; PIECE_BYTES];
        let mut more = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut *socket).poll_read(cx, &mut more))?;
        if more.filled().is_empty() {
            return Poll::Ready(Ok(()));
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}

/// Read at once where hyper's buffer is not used.
const PIECE_BYTES: usize = 4096;
/// What a client may send before it knows whether it has left HTTP.
const EARLY_BYTES_MAX: usize = 16 * 1024;
/// Forgotten in one go.
const DRAIN_PIECES_MAX: usize = 16;
