//! Sockets on io_uring, for one thread: what is received comes in buffers that the kernel takes
//! from a ring of provided ones, and such a buffer is sent on as it is.
//!
//! Each socket has one multishot receive under way, and at most one send, of all that waits for it.
//! Submissions are gathered and handed over by the one `io_uring_enter` of a turn, which also
//! waits.

use std::collections::VecDeque;
use std::io;
use std::mem::ManuallyDrop;
use std::net::{IpAddr, Shutdown, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd};

use io_uring::types::Fd;
use io_uring::{CompletionQueue, IoUring, SubmissionQueue, Submitter, cqueue, opcode, squeue};

use crate::slots::Slots;

mod buffers;

pub use buffers::Lent;
use buffers::{BUFFERS, BUFFERS_GROUP, Buffers};

/// What a turn tells.
#[derive(Debug)]
pub enum Event {
    /// A connection of a client.
    Accepted {
        /// Its place.
        socket: usize,
        /// Of the client.
        address: IpAddr,
    },
    /// What waited to be sent has left, after [`Ring::tell_when_sent`].
    Sent(usize),
    /// Bytes: they go to [`Ring::send`] or [`Ring::give_back`].
    Received(usize, Lent),
    /// Nothing more is received: the other side has ended.
    Ended(usize),
    /// Nothing more is received or sent.
    Failed(usize),
}

/// Bytes to be sent.
enum Piece {
    Lent(Lent),
    Owned { bytes: Vec<u8>, from: usize },
}

/// A ring with its sockets.
pub struct Ring<'a> {
    submitter: Submitter<'a>,
    submissions: SubmissionQueue<'a>,
    completions: CompletionQueue<'a>,
    listener: TcpListener,
    buffers: Buffers,
    /// The kernel may read what is sent until the process ends.
    sockets: ManuallyDrop<Slots<Socket>>,
    /// Sockets with something to send that is not being sent.
    unsent: Vec<usize>,
    /// Sockets that are to be received from when there are buffers again.
    starved: Vec<usize>,
    /// Sockets closed since the last turn. What that turn told may still be spoken of, so their
    /// places are not free before the next one.
    closed: Vec<usize>,
}

struct Socket {
    stream: TcpStream,
    queue: VecDeque<Piece>,
    /// Of the queue's pieces, those that a send under way has.
    sending: usize,
    vector: Option<Box<Vector>>,
    receive: Receive,
    wants_bytes: bool,
    is_told_when_sent: bool,
    is_failed: bool,
    is_closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Receive {
    No,
    Armed,
    Cancelled,
}

/// What a send of several pieces points to.
struct Vector {
    message: libc::msghdr,
    pieces: [libc::iovec; PIECES_MAX],
}

impl<'a> Ring<'a> {
    /// Begins to accept.
    ///
    /// # Errors
    /// Those of the kernel when it is too old.
    pub fn new(uring: &'a mut IoUring, listener: TcpListener) -> io::Result<Self> {
        let (mut submitter, submissions, completions) = uring.split();
        submitter.register_ring_fd()?;
        let buffers = Buffers::new(&submitter)?;
        submitter.register_files_sparse(FILES)?;
        let mut ring = Self {
            submitter,
            submissions,
            completions,
            listener,
            buffers,
            sockets: ManuallyDrop::new(Slots::default()),
            unsent: Vec::new(),
            starved: Vec::new(),
            closed: Vec::new(),
        };
        ring.accept();
        Ok(ring)
    }

    /// With what [`Ring::new`] is to be called.
    ///
    /// # Errors
    /// Those of the kernel when it is too old.
    pub fn build() -> io::Result<IoUring> {
        IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_no_sqarray()
            .setup_submit_all()
            .setup_cqsize(8192)
            .build(2048)
    }

    /// Hands over what is to be done, waits until something has happened, and tells it.
    ///
    /// # Errors
    /// Those of the kernel.
    pub fn turn(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        while let Some(socket) = self.closed.pop() {
            self.remove_finished(socket);
        }
        while self.buffers.free > 0
            && let Some(socket) = self.starved.pop()
        {
            self.arm(socket);
        }
        while let Some(socket) = self.unsent.pop() {
            self.start_send(socket);
        }
        self.submissions.sync();
        match self.submitter.submit_and_wait(1) {
            Err(error) if !matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY)) => {
                return Err(error);
            }
            _ => {}
        }
        self.completions.sync();
        while let Some(entry) = self.completions.next() {
            self.complete(&entry, events);
        }
        Ok(())
    }

    /// Takes a connection, and receives from it.
    pub fn insert(&mut self, stream: TcpStream) -> usize {
        let descriptor = stream.as_raw_fd();
        let socket = self.sockets.insert(Socket {
            stream,
            queue: VecDeque::new(),
            sending: 0,
            vector: None,
            receive: Receive::No,
            wants_bytes: true,
            is_told_when_sent: false,
            is_failed: false,
            is_closed: false,
        });
        if let Some(file) = file(socket) {
            // A place that cannot be filled shows at the first operation, as a failed socket.
            let _ = self.submitter.register_files_update(file, &[descriptor]);
        }
        self.arm(socket);
        socket
    }

    /// What was received.
    #[must_use]
    pub fn bytes(&self, lent: &Lent) -> &[u8] {
        self.buffers.bytes(lent)
    }

    /// Ends the use of a buffer.
    pub fn give_back(&mut self, lent: Lent) {
        self.buffers.give_back(lent.buffer);
    }

    /// Sends what was received elsewhere.
    pub fn send(&mut self, to: usize, lent: Lent) {
        // A client that is slow must not keep the buffers of all.
        let is_short = self.buffers.free < BUFFERS_FREE_MIN;
        let waiting = self.waiting(to);
        if waiting >= 2 * WAITING_MAX || (is_short && waiting > 0) {
            let bytes = self.bytes(&lent).to_vec();
            self.give_back(lent);
            self.push(to, Piece::Owned { bytes, from: 0 });
        } else {
            self.push(to, Piece::Lent(lent));
        }
    }

    /// Sends bytes.
    pub fn send_bytes(&mut self, to: usize, bytes: Vec<u8>) {
        self.push(to, Piece::Owned { bytes, from: 0 });
    }

    /// Pieces that have not left yet.
    pub fn waiting(&mut self, socket: usize) -> usize {
        self.sockets.get(socket).map_or(0, |held| held.queue.len())
    }

    /// Asks for [`Event::Sent`].
    pub fn tell_when_sent(&mut self, socket: usize) {
        if let Some(held) = self.sockets.get(socket) {
            held.is_told_when_sent = true;
        }
    }

    /// Receives nothing until [`Ring::resume`], but for what was under way.
    pub fn pause(&mut self, socket: usize) {
        if let Some(held) = self.sockets.get(socket) {
            held.wants_bytes = false;
            if held.receive == Receive::Armed {
                held.receive = Receive::Cancelled;
                let cancel = opcode::AsyncCancel::new(token(socket, RECEIVE)).build();
                self.submit(cancel.user_data(token(socket, CANCEL)));
            }
        }
    }

    /// Receives again.
    pub fn resume(&mut self, socket: usize) {
        if let Some(held) = self.sockets.get(socket) {
            held.wants_bytes = true;
            self.arm(socket);
        }
    }

    /// Closes at once; the place is free when the kernel has finished.
    pub fn close(&mut self, socket: usize) {
        if let Some(held) = self.sockets.get(socket) {
            held.is_closed = true;
            // Ends what is under way.
            let _ = held.stream.shutdown(Shutdown::Both);
            self.closed.push(socket);
        }
    }

    fn push(&mut self, to: usize, piece: Piece) {
        match self.sockets.get(to) {
            Some(held) if !held.is_failed && !held.is_closed => {
                if held.sending == 0 && held.queue.is_empty() {
                    self.unsent.push(to);
                }
                held.queue.push_back(piece);
            }
            _ => self.drop_piece(piece),
        }
    }

    fn drop_piece(&mut self, piece: Piece) {
        if let Piece::Lent(lent) = piece {
            self.give_back(lent);
        }
    }

    fn accept(&mut self) {
        let accept = opcode::AcceptMulti::new(Fd(self.listener.as_raw_fd()));
        let entry = accept.flags(libc::SOCK_CLOEXEC).build();
        self.submit(entry.user_data(token(0, ACCEPT)));
    }

    fn arm(&mut self, socket: usize) {
        let Some(held) = self.sockets.get(socket) else {
            return;
        };
        let can = held.wants_bytes && !held.is_failed && !held.is_closed;
        if can && held.receive == Receive::No {
            held.receive = Receive::Armed;
            let (descriptor, flags) = target(socket, &held.stream);
            let entry = opcode::RecvMulti::new(descriptor, BUFFERS_GROUP).build();
            self.submit(entry.flags(flags).user_data(token(socket, RECEIVE)));
        }
    }

    fn start_send(&mut self, socket: usize) {
        let Some(held) = self.sockets.get(socket) else {
            return;
        };
        if held.sending > 0 || held.is_closed {
            return;
        }
        let (descriptor, to) = target(socket, &held.stream);
        let flags = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
        let entry = match held.queue.len() {
            0 => return,
            1 => {
                held.sending = 1;
                let bytes = held.queue[0].bytes(&self.buffers);
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                let send = opcode::Send::new(descriptor, bytes.as_ptr(), length);
                send.flags(flags).build()
            }
            count => {
                held.sending = count.min(PIECES_MAX);
                let vector = held.vector.get_or_insert_with(Vector::new);
                for (place, piece) in vector.pieces.iter_mut().zip(&held.queue) {
                    let bytes = piece.bytes(&self.buffers);
                    place.iov_base = bytes.as_ptr().cast_mut().cast();
                    place.iov_len = bytes.len();
                }
                vector.message.msg_iov = vector.pieces.as_mut_ptr();
                vector.message.msg_iovlen = held.sending;
                let send = opcode::SendMsg::new(descriptor, &raw const vector.message);
                send.flags(flags.cast_unsigned()).build()
            }
        };
        self.submit(entry.flags(to).user_data(token(socket, SEND)));
    }

    #[expect(unsafe_code, reason = "the kernel is told of memory")]
    fn submit(&mut self, entry: squeue::Entry) {
        loop {
            // SAFETY: what sends point to is in the queue of a socket, or in its vector, and stays
            // there until their completions; sockets are removed after those, and never dropped
            // with the ring. Receives use the buffers alone, which are never freed.
            if unsafe { self.submissions.push(&entry) }.is_ok() {
                return;
            }
            self.submissions.sync();
            // What fails here fails again when the turn ends.
            let _ = self.submitter.submit();
            self.submissions.sync();
        }
    }

    fn complete(&mut self, entry: &cqueue::Entry, events: &mut Vec<Event>) {
        let socket = usize::try_from(entry.user_data() >> 8).unwrap_or(usize::MAX);
        match entry.user_data() & 0xff {
            ACCEPT => self.accepted(entry, events),
            RECEIVE => self.received(socket, entry, events),
            SEND => self.sent(socket, entry.result(), events),
            _ => {}
        }
    }

    #[expect(unsafe_code, reason = "a descriptor becomes a stream")]
    fn accepted(&mut self, entry: &cqueue::Entry, events: &mut Vec<Event>) {
        if entry.result() >= 0 {
            // SAFETY: the kernel has just made the descriptor for us.
            let stream = unsafe { TcpStream::from_raw_fd(entry.result()) };
            let address = stream.set_nodelay(true).and_then(|()| stream.peer_addr());
            if let Ok(address) = address {
                let socket = self.insert(stream);
                let address = address.ip();
                events.push(Event::Accepted { socket, address });
            }
        }
        if !cqueue::more(entry.flags()) {
            self.accept();
        }
    }

    fn received(&mut self, socket: usize, entry: &cqueue::Entry, events: &mut Vec<Event>) {
        let count = usize::try_from(entry.result()).unwrap_or(0);
        let lent = cqueue::buffer_select(entry.flags()).map(|buffer| {
            self.buffers.free -= 1;
            Lent {
                buffer,
                from: 0,
                to: count,
            }
        });
        let Some(held) = self.sockets.get(socket) else {
            return lent.into_iter().for_each(|lent| self.give_back(lent));
        };
        if !cqueue::more(entry.flags()) {
            held.receive = Receive::No;
        }
        let is_closed = held.is_closed;
        match lent {
            Some(lent) if count > 0 && !is_closed => events.push(Event::Received(socket, lent)),
            Some(lent) => self.give_back(lent),
            None => {}
        }
        match -entry.result() {
            libc::ENOBUFS => self.starved.push(socket),
            0 if !is_closed => {
                self.pause(socket);
                events.push(Event::Ended(socket));
            }
            // Cancelled, and perhaps asked for again since; or the kernel has had enough of it.
            ..0 | libc::ECANCELED => self.arm(socket),
            _ => self.fail(socket, events),
        }
        self.remove_finished(socket);
    }

    fn sent(&mut self, socket: usize, result: i32, events: &mut Vec<Event>) {
        let Some(held) = self.sockets.get(socket) else {
            return;
        };
        let pieces = std::mem::take(&mut held.sending);
        let Ok(mut count) = usize::try_from(result) else {
            self.fail(socket, events);
            return self.remove_finished(socket);
        };
        for _ in 0..pieces {
            let Some(piece) = held.queue.front_mut() else {
                break;
            };
            let skipped = piece.skip(count);
            count -= skipped;
            if piece.is_empty() {
                if let Some(Piece::Lent(lent)) = held.queue.pop_front() {
                    self.buffers.give_back(lent.buffer);
                }
            } else {
                break;
            }
        }
        if held.queue.is_empty() {
            if std::mem::take(&mut held.is_told_when_sent) && !held.is_closed {
                events.push(Event::Sent(socket));
            }
        } else {
            self.unsent.push(socket);
        }
        self.remove_finished(socket);
    }

    fn fail(&mut self, socket: usize, events: &mut Vec<Event>) {
        if let Some(held) = self.sockets.get(socket)
            && !held.is_closed
            && !std::mem::replace(&mut held.is_failed, true)
        {
            events.push(Event::Failed(socket));
        }
    }

    fn remove_finished(&mut self, socket: usize) {
        let Some(held) = self.sockets.get(socket) else {
            return;
        };
        if !held.is_closed || held.sending > 0 || held.receive != Receive::No {
            return;
        }
        if let Some(file) = file(socket) {
            let _ = self.submitter.register_files_update(file, &[-1]);
        }
        if let Some(held) = self.sockets.remove(socket) {
            for piece in held.queue {
                self.drop_piece(piece);
            }
        }
    }
}

impl Piece {
    /// Leaves at most that many bytes out, and says how many.
    fn skip(&mut self, count: usize) -> usize {
        let (from, to) = match self {
            Self::Lent(lent) => (&mut lent.from, lent.to),
            Self::Owned { bytes, from } => (from, bytes.len()),
        };
        let skipped = count.min(to - *from);
        *from += skipped;
        skipped
    }

    fn bytes<'b>(&'b self, buffers: &'b Buffers) -> &'b [u8] {
        match self {
            Self::Lent(lent) => buffers.bytes(lent),
            Self::Owned { bytes, from } => &bytes[*from..],
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Self::Lent(lent) => lent.from == lent.to,
            Self::Owned { bytes, from } => *from == bytes.len(),
        }
    }
}

impl Vector {
    #[expect(unsafe_code, reason = "a structure of C")]
    fn new() -> Box<Self> {
        // SAFETY: its fields are integers and pointers, which may be zero.
        Box::new(unsafe { std::mem::zeroed() })
    }
}

/// What an operation on a socket names: its place in the table of files, or its descriptor.
fn target(socket: usize, stream: &TcpStream) -> (Fd, squeue::Flags) {
    match file(socket).and_then(|file| i32::try_from(file).ok()) {
        Some(file) => (Fd(file), squeue::Flags::FIXED_FILE),
        None => (Fd(stream.as_raw_fd()), squeue::Flags::empty()),
    }
}

fn file(socket: usize) -> Option<u32> {
    u32::try_from(socket).ok().filter(|&file| file < FILES)
}

fn token(socket: usize, operation: u64) -> u64 {
    (socket as u64) << 8 | operation
}

const ACCEPT: u64 = 0;
const RECEIVE: u64 = 1;
const SEND: u64 = 2;
const CANCEL: u64 = 3;

/// Sockets in the table of files.
const FILES: u32 = 512;

/// With fewer left to the kernel, a piece for a socket that is being sent to is copied.
const BUFFERS_FREE_MIN: u16 = BUFFERS / 4;
/// Pieces waiting at a socket from which on the other side is to be paused.
pub const WAITING_MAX: usize = 4;
/// Pieces in one send.
const PIECES_MAX: usize = 8;
