//! The floor: an HTTP/1.1 forwarder by hand on epoll, without any engine. It knows bodies with a
//! content length, and refuses everything else. With `--splice` the bodies of large responses go
//! from socket to socket through a pipe, without being copied to the program.
//!
//! One thread. Each client has at most one exchange, which owns a connection to the upstream from
//! the pool (the one used last is taken first) until its response has ended. Sockets are registered
//! once, edge-triggered; a side that cannot be written to stops the reading of the other side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::ExitCode;

use nix::fcntl::{FcntlArg, OFlag, SpliceFFlags, fcntl, splice};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use weir_bench_peers::heads::{HEAD_BYTES_MAX, RequestHead, ResponseHead, at_most};
use weir_bench_peers::slots::Slots;
use weir_bench_peers::{Arguments, POOL_MAX};

fn main() -> ExitCode {
    let served = Arguments::from_process()
        .and_then(Arguments::clear_text)
        .and_then(|arguments| serve(&arguments).map_err(|error| error.to_string()));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    let listener = TcpListener::bind(arguments.listen)?;
    listener.set_nonblocking(true)?;
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER))?;
    let mut proxy = Proxy {
        epoll,
        upstream: arguments.upstream,
        is_splicing: arguments.is_splicing,
        pipes: Vec::new(),
        clients: Slots::default(),
        links: Slots::default(),
        idle: Vec::new(),
        scratch: vec![0; SCRATCH_BYTES],
    };
    println!("ready");
    let mut events = [EpollEvent::empty(); 256];
    loop {
        let count = match proxy.epoll.wait(&mut events, EpollTimeout::NONE) {
            Ok(count) => count,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for event in &events[..count] {
            match (event.data(), place(event.data() >> 1)) {
                (LISTENER, _) => proxy.accept(&listener)?,
                // An event may be that of a socket which had the place before: a read finds out.
                (token, client) if token & 1 == 0 => {
                    if let Some(held) = proxy.clients.get(client) {
                        held.readable.note(event.events());
                        proxy.advance(client);
                    }
                }
                (_, link) => proxy.link_event(link, event.events()),
            }
        }
    }
}

/// A connection of a client.
struct Client {
    stream: TcpStream,
    /// Its address, as the added field has it.
    address: String,
    readable: Readable,
    /// Received and not yet forwarded.
    inbox: Vec<u8>,
    /// To be written when it can be.
    outbox: Vec<u8>,
    exchange: Option<Exchange>,
    is_last: bool,
}

/// A request under way.
struct Exchange {
    link: usize,
    request_left: u64,
    is_head: bool,
    /// Of the response's body; none before its head.
    response_left: Option<u64>,
    /// What the rest of the response's body goes through.
    pipe: Option<Pipe>,
}

/// Bytes on their way from a connection of the upstream to one of a client.
struct Pipe {
    from: OwnedFd,
    to: OwnedFd,
    held: usize,
}

/// A connection to the upstream.
struct Link {
    stream: TcpStream,
    readable: Readable,
    /// An unfinished head.
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    client: Option<usize>,
}

/// What a step came to.
enum Step {
    /// Something happened: go on.
    Moved,
    /// Nothing can be done until an event.
    Waits,
    /// The client's connection is over.
    Ends,
    /// The client gets this status, and its connection is over.
    Refuses(&'static str),
}

struct Proxy {
    epoll: Epoll,
    upstream: SocketAddr,
    is_splicing: bool,
    /// Empty ones, to be used again.
    pipes: Vec<Pipe>,
    clients: Slots<Client>,
    links: Slots<Link>,
    idle: Vec<usize>,
    scratch: Vec<u8>,
}

impl Proxy {
    fn accept(&mut self, listener: &TcpListener) -> io::Result<()> {
        loop {
            let (stream, address) = match listener.accept() {
                Ok(accepted) => accepted,
                // Out of descriptors, mostly: as the listener is level-triggered, it comes again.
                Err(_) => return Ok(()),
            };
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            let client = self.clients.insert(Client {
                stream,
                address: address.ip().to_string(),
                readable: Readable::default(),
                inbox: Vec::new(),
                outbox: Vec::new(),
                exchange: None,
                is_last: false,
            });
            if let Some(held) = self.clients.get(client) {
                self.epoll
                    .add(&held.stream, EpollEvent::new(EDGES, token(client, 0)))?;
            }
        }
    }

    fn link_event(&mut self, link: usize, events: EpollFlags) {
        let Some(held) = self.links.get(link) else {
            return;
        };
        held.readable.note(events);
        match held.client {
            Some(client) => self.advance(client),
            // The upstream has closed, or talks without being asked.
            None if held.readable.is_so => {
                self.idle.retain(|&idle| idle != link);
                self.links.remove(link);
            }
            None => {}
        }
    }

    /// Does all that can be done for a client.
    fn advance(&mut self, client: usize) {
        loop {
            let step = match self.clients.get(client) {
                None => return,
                Some(held) if held.exchange.is_some() => self.exchange(client),
                Some(_) => self.begin(client),
            };
            match step {
                Ok(Step::Moved) => {}
                Ok(Step::Waits) => return,
                Ok(Step::Refuses(status)) => {
                    if let Some(held) = self.clients.get(client) {
                        let answer = format!(
                            "HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                        );
                        // It may be gone already.
                        let _ = held.stream.write(answer.as_bytes());
                    }
                    return self.end(client);
                }
                Ok(Step::Ends) | Err(_) => return self.end(client),
            }
        }
    }

    fn end(&mut self, client: usize) {
        if let Some(Client {
            exchange: Some(exchange),
            ..
        }) = self.clients.remove(client)
        {
            self.links.remove(exchange.link);
        }
    }

    /// Between two requests: reads a head and takes a connection for it.
    fn begin(&mut self, client: usize) -> io::Result<Step> {
        let Some(held) = self.clients.get(client) else {
            return Ok(Step::Waits);
        };
        if !flush(&mut held.stream, &mut held.outbox)? {
            return Ok(Step::Waits);
        }
        if held.is_last {
            return Ok(Step::Ends);
        }
        let head = match RequestHead::parse(&held.inbox, &held.address) {
            Ok(Some(head)) => head,
            Ok(None) if held.inbox.len() > HEAD_BYTES_MAX => {
                return Ok(Step::Refuses("431 Request Header Fields Too Large"));
            }
            Ok(None) if held.readable.is_so => {
                let Some(count) = receive(&mut held.stream, &mut held.readable, &mut self.scratch)?
                else {
                    return Ok(Step::Waits);
                };
                held.inbox.extend_from_slice(&self.scratch[..count]);
                return Ok(if count == 0 { Step::Ends } else { Step::Moved });
            }
            Ok(None) => return Ok(Step::Waits),
            Err(status) => return Ok(Step::Refuses(status)),
        };
        held.inbox.drain(..head.length);
        held.is_last = head.is_last;
        let mut outgoing = head.outgoing;
        let in_hand = at_most(held.inbox.len(), head.body);
        outgoing.extend(held.inbox.drain(..in_hand));

        let Ok(link) = self.link(client) else {
            return Ok(Step::Refuses("502 Bad Gateway"));
        };
        let (Some(held), Some(to)) = (self.clients.get(client), self.links.get(link)) else {
            return Ok(Step::Ends);
        };
        held.exchange = Some(Exchange {
            link,
            request_left: head.body - in_hand as u64,
            is_head: head.is_head,
            response_left: None,
            pipe: None,
        });
        send(&mut to.stream, &mut to.outbox, &outgoing)?;
        Ok(Step::Moved)
    }

    /// A connection to the upstream for that client.
    fn link(&mut self, client: usize) -> io::Result<usize> {
        if let Some(link) = self.idle.pop()
            && let Some(held) = self.links.get(link)
        {
            held.client = Some(client);
            return Ok(link);
        }
        // Over loopback that is over at once.
        let stream = TcpStream::connect(self.upstream)?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        let link = self.links.insert(Link {
            stream,
            readable: Readable::default(),
            inbox: Vec::new(),
            outbox: Vec::new(),
            client: Some(client),
        });
        if let Some(held) = self.links.get(link) {
            self.epoll
                .add(&held.stream, EpollEvent::new(EDGES, token(link, 1)))?;
        }
        Ok(link)
    }

    /// Moves bytes in both directions until the response has ended.
    fn exchange(&mut self, client: usize) -> io::Result<Step> {
        let Some(held) = self.clients.get(client) else {
            return Ok(Step::Waits);
        };
        let Some(exchange) = &mut held.exchange else {
            return Ok(Step::Waits);
        };
        let Some(link) = self.links.get(exchange.link) else {
            return Ok(Step::Ends);
        };

        // The rest of the request's body.
        if flush(&mut link.stream, &mut link.outbox)?
            && exchange.request_left > 0
            && held.readable.is_so
        {
            let most = at_most(self.scratch.len(), exchange.request_left);
            if let Some(count) = receive(
                &mut held.stream,
                &mut held.readable,
                &mut self.scratch[..most],
            )? {
                exchange.request_left -= count as u64;
                send(&mut link.stream, &mut link.outbox, &self.scratch[..count])?;
                return Ok(if count == 0 { Step::Ends } else { Step::Moved });
            }
        }

        // The response, as fast as the client takes it.
        if !flush(&mut held.stream, &mut held.outbox)? {
            return Ok(Step::Waits);
        }
        if let (Some(pipe), Some(left)) = (&mut exchange.pipe, &mut exchange.response_left) {
            let step = pipe.carry(link, &held.stream, left)?;
            if pipe.held > 0 || *left > 0 {
                return Ok(step);
            }
            self.pipes.extend(exchange.pipe.take());
            return Ok(self.finish(client));
        }
        if !link.readable.is_so {
            return Ok(Step::Waits);
        }
        // What is to be spliced is not to be read with the head.
        let most = match exchange.response_left {
            None if self.is_splicing => SPLICED_HEAD_BYTES,
            _ => SCRATCH_BYTES,
        };
        let scratch = &mut self.scratch[..most];
        let Some(count) = receive(&mut link.stream, &mut link.readable, scratch)? else {
            return Ok(Step::Waits);
        };
        let received = &scratch[..count];
        if count == 0 {
            return Ok(match exchange.response_left {
                None => Step::Refuses("502 Bad Gateway"),
                Some(_) => Step::Ends,
            });
        }
        let (piece, of_body) = match exchange.response_left {
            Some(_) => (received, count),
            None => {
                link.inbox.extend_from_slice(received);
                match ResponseHead::parse(&link.inbox, exchange.is_head) {
                    Ok(Some(head)) => {
                        exchange.response_left = Some(head.body);
                        held.is_last |= head.is_last;
                        (&link.inbox[..], link.inbox.len() - head.length)
                    }
                    Ok(None) if link.inbox.len() <= HEAD_BYTES_MAX => return Ok(Step::Moved),
                    Ok(None) => return Ok(Step::Refuses("502 Bad Gateway")),
                    Err(status) => return Ok(Step::Refuses(status)),
                }
            }
        };
        let before = exchange.response_left.unwrap_or_default();
        let Some(left) = before.checked_sub(of_body as u64) else {
            return Ok(Step::Ends);
        };
        exchange.response_left = Some(left);
        send(&mut held.stream, &mut held.outbox, piece)?;
        link.inbox.clear();
        if self.is_splicing && left >= SPLICED_BYTES_MIN {
            exchange.pipe = Some(self.pipes.pop().map_or_else(Pipe::new, Ok)?);
        }
        if left > 0 {
            return Ok(Step::Moved);
        }
        Ok(self.finish(client))
    }

    /// The response has ended: gives the connection to the upstream back.
    fn finish(&mut self, client: usize) -> Step {
        let Some(held) = self.clients.get(client) else {
            return Step::Ends;
        };
        let Some(exchange) = held.exchange.take() else {
            return Step::Ends;
        };
        let Some(link) = self.links.get(exchange.link) else {
            return Step::Ends;
        };
        // An upstream that answers before it has the request gets another connection.
        let is_reusable = exchange.request_left == 0 && !held.is_last && link.outbox.is_empty();
        held.is_last |= exchange.request_left > 0;
        link.client = None;
        if is_reusable && self.idle.len() < POOL_MAX {
            self.idle.push(exchange.link);
        } else {
            self.links.remove(exchange.link);
        }
        Step::Moved
    }
}

impl Pipe {
    fn new() -> io::Result<Self> {
        let (from, to) = nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Who has many pipes already gets the usual size.
        let _ = fcntl(&to, FcntlArg::F_SETPIPE_SZ(PIPE_BYTES));
        Ok(Self { from, to, held: 0 })
    }

    /// Fills the pipe when it is empty, then empties it as far as the client takes it.
    fn carry(&mut self, link: &mut Link, client: &TcpStream, left: &mut u64) -> io::Result<Step> {
        let flags = SpliceFFlags::SPLICE_F_MOVE | SpliceFFlags::SPLICE_F_NONBLOCK;
        if self.held == 0 {
            if !link.readable.is_so {
                return Ok(Step::Waits);
            }
            let most = at_most(usize::MAX, *left);
            match splice(&link.stream, None, &self.to, None, most, flags) {
                Ok(0) => return Ok(Step::Ends),
                Ok(count) => {
                    self.held = count;
                    *left -= count as u64;
                }
                Err(nix::Error::EAGAIN) => {
                    link.readable.is_so = false;
                    return Ok(Step::Waits);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match splice(&self.from, None, client, None, self.held, flags) {
            Ok(count) => {
                self.held -= count;
                Ok(Step::Moved)
            }
            Err(nix::Error::EAGAIN) => Ok(Step::Waits),
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether a read would give something, as far as events and reads have told.
#[derive(Clone, Copy, Default)]
struct Readable {
    is_so: bool,
    /// The other side has closed: it stays readable until the end was read.
    is_ending: bool,
}

impl Readable {
    fn note(&mut self, events: EpollFlags) {
        let ends = EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        self.is_ending |= events.intersects(ends);
        self.is_so |= self.is_ending || events.contains(EpollFlags::EPOLLIN);
    }
}

/// Reads once: none when there is nothing, zero at the end.
fn receive(
    stream: &mut TcpStream,
    readable: &mut Readable,
    into: &mut [u8],
) -> io::Result<Option<usize>> {
    match stream.read(into) {
        Ok(count) => {
            // Less than was asked for is all there is; the next edge tells of more.
            readable.is_so = readable.is_ending || count == into.len() || count == 0;
            Ok(Some(count))
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            readable.is_so = false;
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Writes what it can and keeps the rest.
fn send(stream: &mut TcpStream, outbox: &mut Vec<u8>, bytes: &[u8]) -> io::Result<()> {
    let written = if outbox.is_empty() {
        match stream.write(bytes) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(error) => return Err(error),
        }
    } else {
        0
    };
    outbox.extend_from_slice(&bytes[written..]);
    Ok(())
}

/// Writes what was kept; true when nothing is left.
fn flush(stream: &mut TcpStream, outbox: &mut Vec<u8>) -> io::Result<bool> {
    while !outbox.is_empty() {
        match stream.write(outbox) {
            Ok(count) => drop(outbox.drain(..count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}

fn token(place: usize, side: u64) -> u64 {
    (place as u64) << 1 | side
}

fn place(token: u64) -> usize {
    usize::try_from(token).unwrap_or(usize::MAX)
}

const LISTENER: u64 = u64::MAX;
const EDGES: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLET);
const SCRATCH_BYTES: usize = 64 * 1024;
/// What is left of a body after what came with its head; less is not worth a pipe.
const SPLICED_BYTES_MIN: u64 = 16 * 1024;
const SPLICED_HEAD_BYTES: usize = 4 * 1024;
const PIPE_BYTES: i32 = 256 * 1024;
