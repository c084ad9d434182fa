//! The floor: an HTTP/1.1 forwarder by hand on epoll, without any engine. It knows bodies with a
//! content length, and refuses everything else.
//!
//! One thread. Each client has at most one exchange, which owns a connection to the upstream from
//! the pool (the one used last is taken first) until its response has ended. Sockets are registered
//! once, edge-triggered; a side that cannot be written to stops the reading of the other side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use weir_bench_peers::{Arguments, POOL_MAX};

fn main() -> ExitCode {
    let served = Arguments::from_process().and_then(|arguments| {
        if arguments.tls.is_some() || arguments.is_http2_upstream {
            return Err("peer-epoll speaks HTTP/1.1 in clear text only".to_owned());
        }
        serve(&arguments).map_err(|error| error.to_string())
    });
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
        if !flush(&mut held.stream, &mut held.outbox)? || !link.readable.is_so {
            return Ok(Step::Waits);
        }
        let Some(count) = receive(&mut link.stream, &mut link.readable, &mut self.scratch)? else {
            return Ok(Step::Waits);
        };
        let received = &self.scratch[..count];
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
        if left > 0 {
            return Ok(Step::Moved);
        }
        // An upstream that answers before it has the request gets another connection.
        let is_reusable = exchange.request_left == 0 && !held.is_last && link.outbox.is_empty();
        let place = exchange.link;
        held.is_last |= exchange.request_left > 0;
        held.exchange = None;
        link.client = None;
        if is_reusable && self.idle.len() < POOL_MAX {
            self.idle.push(place);
        } else {
            self.links.remove(place);
        }
        Ok(Step::Moved)
    }
}

/// What a request's head means.
struct RequestHead {
    length: usize,
    body: u64,
    is_head: bool,
    is_last: bool,
    /// As it leaves.
    outgoing: Vec<u8>,
}

impl RequestHead {
    fn parse(bytes: &[u8], client: &str) -> Result<Option<Self>, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("400 Bad Request"),
        };
        let (Some(method), Some(path)) = (request.method, request.path) else {
            return Err("400 Bad Request");
        };
        if request.version != Some(1) || method == "CONNECT" {
            return Err("501 Not Implemented");
        }
        let mut outgoing = Vec::with_capacity(length + 64);
        for piece in [method, " ", path, " HTTP/1.1\r\n"] {
            outgoing.extend_from_slice(piece.as_bytes());
        }
        let (mut body, mut is_last) = (None, false);
        for field in request.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("connection") {
                is_last |= field.value.eq_ignore_ascii_case(b"close");
                continue;
            }
            if is("transfer-encoding") || is("upgrade") || is("expect") {
                return Err("501 Not Implemented");
            }
            if is("content-length") && body.replace(number(field.value)?).is_some() {
                return Err("400 Bad Request");
            }
            for piece in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
                outgoing.extend_from_slice(piece);
            }
        }
        for piece in ["x-forwarded-for: ", client, "\r\n\r\n"] {
            outgoing.extend_from_slice(piece.as_bytes());
        }
        Ok(Some(Self {
            length,
            body: body.unwrap_or(0),
            is_head: method == "HEAD",
            is_last,
            outgoing,
        }))
    }
}

/// What a response's head means; it is forwarded as it is.
struct ResponseHead {
    length: usize,
    body: u64,
    is_last: bool,
}

impl ResponseHead {
    fn parse(bytes: &[u8], is_head: bool) -> Result<Option<Self>, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("502 Bad Gateway"),
        };
        let is_empty = is_head || matches!(response.code, Some(204 | 304));
        let (mut body, mut is_last) = (None, response.version != Some(1));
        for field in response.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                body = Some(number(field.value)?);
            }
            is_last |= is("connection") && field.value.eq_ignore_ascii_case(b"close");
            if is("transfer-encoding") {
                return Err("501 Not Implemented");
            }
        }
        let body = if is_empty { Some(0) } else { body };
        let Some(body) = body.filter(|_| response.code.is_some_and(|code| code >= 200)) else {
            return Err("501 Not Implemented");
        };
        Ok(Some(Self {
            length,
            body,
            is_last,
        }))
    }
}

/// Values in places that are used again.
struct Slots<T> {
    places: Vec<Option<T>>,
    free: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slots<T> {
    fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(place) => {
                self.places[place] = Some(value);
                place
            }
            None => {
                self.places.push(Some(value));
                self.places.len() - 1
            }
        }
    }

    fn get(&mut self, place: usize) -> Option<&mut T> {
        self.places.get_mut(place)?.as_mut()
    }

    fn remove(&mut self, place: usize) -> Option<T> {
        let removed = self.places.get_mut(place)?.take();
        if removed.is_some() {
            self.free.push(place);
        }
        removed
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

fn number(value: &[u8]) -> Result<u64, &'static str> {
    let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_digits)
        .and_then(|text| text.parse().ok())
        .ok_or("400 Bad Request")
}

fn at_most(count: usize, left: u64) -> usize {
    usize::try_from(left).map_or(count, |left| left.min(count))
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
const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;
