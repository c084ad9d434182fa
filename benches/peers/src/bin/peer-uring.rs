//! The same forwarder as `peer-epoll`, on io_uring: multishot accepts and receives, a ring of
//! provided buffers that are sent on as they are, registered descriptors, one `io_uring_enter` per
//! turn, no thread of the kernel that polls.

use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;

use weir_bench_peers::heads::{HEAD_BYTES_MAX, RequestHead, ResponseHead, at_most};
use weir_bench_peers::uring::{Event, Lent, Ring, WAITING_MAX};
use weir_bench_peers::{Arguments, POOL_MAX};

fn main() -> ExitCode {
    let served = Arguments::from_process()
        .and_then(Arguments::clear_text)
        .and_then(Arguments::copying)
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
    let mut uring = Ring::build()?;
    let mut proxy = Proxy {
        ring: Ring::new(&mut uring, TcpListener::bind(arguments.listen)?)?,
        upstream: arguments.upstream,
        sides: Vec::new(),
        idle: Vec::new(),
    };
    println!("ready");
    let mut events = Vec::new();
    loop {
        proxy.ring.turn(&mut events)?;
        for event in events.drain(..) {
            proxy.handle(event);
        }
    }
}

/// What a socket is.
#[derive(Default)]
enum Side {
    #[default]
    Neither,
    Client(Client),
    Link(Link),
}

/// A connection of a client.
struct Client {
    /// Its address, as the added field has it.
    address: String,
    /// Received and not yet forwarded.
    inbox: Vec<u8>,
    exchange: Option<Exchange>,
    is_last: bool,
    /// It sends no more.
    is_ended: bool,
    /// It is over when what waits for it has been sent.
    is_closing: bool,
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
    /// An unfinished head.
    inbox: Vec<u8>,
    client: Option<usize>,
}

struct Proxy<'a> {
    ring: Ring<'a>,
    upstream: SocketAddr,
    /// By socket.
    sides: Vec<Side>,
    idle: Vec<usize>,
}

impl Proxy<'_> {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Accepted { socket, address } => {
                self.set(socket, Side::Client(Client::new(address)))
            }
            Event::Received(socket, lent) => match self.sides.get(socket) {
                Some(Side::Client(_)) => self.client_bytes(socket, lent),
                Some(Side::Link(_)) => self.link_bytes(socket, lent),
                _ => self.ring.give_back(lent),
            },
            Event::Sent(socket) => self.sent(socket),
            Event::Ended(socket) => self.ended(socket),
            Event::Failed(socket) => match self.sides.get(socket) {
                Some(Side::Client(_)) => self.end(socket),
                _ => self.ended(socket),
            },
        }
    }

    /// Bytes of a client: of a request's body, of the next request's head, or of what comes later.
    fn client_bytes(&mut self, client: usize, mut lent: Lent) {
        let Some(held) = client_of(&mut self.sides, client) else {
            return self.ring.give_back(lent);
        };
        if held.is_closing {
            return self.ring.give_back(lent);
        }
        let Some(exchange) = &mut held.exchange else {
            let bytes = self.ring.bytes(&lent);
            let next = if held.inbox.is_empty() {
                // Mostly a whole head: it need not be copied.
                let head = RequestHead::parse(bytes, &held.address);
                let after = match &head {
                    Ok(Some(head)) => head.length,
                    _ => 0,
                };
                held.inbox.extend_from_slice(&bytes[after..]);
                head
            } else {
                held.inbox.extend_from_slice(bytes);
                held.next_head()
            };
            self.ring.give_back(lent);
            return self.begin(client, next);
        };
        let link = exchange.link;
        let of_body = at_most(self.ring.bytes(&lent).len(), exchange.request_left);
        exchange.request_left -= of_body as u64;
        let later = &self.ring.bytes(&lent)[of_body..];
        held.inbox.extend_from_slice(later);
        if held.inbox.len() > HEAD_BYTES_MAX {
            self.ring.pause(client);
        }
        if of_body == 0 {
            return self.ring.give_back(lent);
        }
        lent.keep(of_body);
        self.carry(client, link, lent);
    }

    /// Sends on what one side has sent, as fast as the other side takes it.
    fn carry(&mut self, from: usize, to: usize, lent: Lent) {
        self.ring.send(to, lent);
        if self.ring.waiting(to) >= WAITING_MAX {
            self.ring.pause(from);
            self.ring.tell_when_sent(to);
        }
    }

    /// Begins a client's next request, or receives more of it.
    fn begin(&mut self, client: usize, next: Result<Option<RequestHead>, &'static str>) {
        let Some(held) = client_of(&mut self.sides, client) else {
            return;
        };
        let head = match next {
            Ok(Some(head)) => head,
            Ok(None) if held.inbox.len() > HEAD_BYTES_MAX => {
                return self.refuse(client, "431 Request Header Fields Too Large");
            }
            Ok(None) if held.is_ended => return self.end_when_sent(client),
            Ok(None) => return self.ring.resume(client),
            Err(status) => return self.refuse(client, status),
        };
        held.is_last = head.is_last;
        let mut outgoing = head.outgoing;
        let in_hand = at_most(held.inbox.len(), head.body);
        outgoing.extend(held.inbox.drain(..in_hand));
        let request_left = head.body - in_hand as u64;
        if request_left > 0 && held.is_ended {
            return self.end(client);
        }
        let Ok(link) = self.link(client) else {
            return self.refuse(client, "502 Bad Gateway");
        };
        if let Some(held) = client_of(&mut self.sides, client) {
            held.exchange = Some(Exchange {
                link,
                request_left,
                is_head: head.is_head,
                response_left: None,
            });
        }
        if request_left > 0 {
            self.ring.resume(client);
        }
        self.ring.send_bytes(link, outgoing);
    }

    /// A connection to the upstream for that client.
    fn link(&mut self, client: usize) -> io::Result<usize> {
        if let Some(link) = self.idle.pop()
            && let Some(Side::Link(held)) = self.sides.get_mut(link)
        {
            held.client = Some(client);
            return Ok(link);
        }
        // Over loopback that is over at once.
        let stream = TcpStream::connect(self.upstream)?;
        stream.set_nodelay(true)?;
        let link = self.ring.insert(stream);
        let inbox = Vec::new();
        let client = Some(client);
        self.set(link, Side::Link(Link { inbox, client }));
        Ok(link)
    }

    /// Bytes of the upstream: of a response.
    fn link_bytes(&mut self, link: usize, lent: Lent) {
        let Some(client) = link_of(&mut self.sides, link).and_then(|held| held.client) else {
            // It talks without being asked.
            self.ring.give_back(lent);
            return self.drop_link(link);
        };
        let Some(exchange) = exchange_of(&mut self.sides, client) else {
            return self.ring.give_back(lent);
        };
        let (is_head, response_left) = (exchange.is_head, exchange.response_left);
        let Some(held) = link_of(&mut self.sides, link) else {
            return self.ring.give_back(lent);
        };
        let bytes = self.ring.bytes(&lent);
        let (left, of_body, is_last) = match response_left {
            Some(left) => (left, bytes.len(), false),
            None => {
                let is_first = held.inbox.is_empty();
                if !is_first {
                    held.inbox.extend_from_slice(bytes);
                }
                let so_far = if is_first { bytes } else { &held.inbox };
                let length = so_far.len();
                match ResponseHead::parse(so_far, is_head) {
                    Ok(Some(head)) => (head.body, length - head.length, head.is_last),
                    Ok(None) if length <= HEAD_BYTES_MAX => {
                        if is_first {
                            held.inbox.extend_from_slice(bytes);
                        }
                        return self.ring.give_back(lent);
                    }
                    Ok(None) => {
                        self.ring.give_back(lent);
                        return self.refuse(client, "502 Bad Gateway");
                    }
                    Err(status) => {
                        self.ring.give_back(lent);
                        return self.refuse(client, status);
                    }
                }
            }
        };
        let collected = std::mem::take(&mut held.inbox);
        let Some(left) = left.checked_sub(of_body as u64) else {
            self.ring.give_back(lent);
            return self.end(client);
        };
        if let Some(held) = client_of(&mut self.sides, client) {
            held.is_last |= is_last;
            if let Some(exchange) = &mut held.exchange {
                exchange.response_left = Some(left);
            }
        }
        if collected.is_empty() {
            self.carry(link, client, lent);
        } else {
            self.ring.give_back(lent);
            self.ring.send_bytes(client, collected);
        }
        if left == 0 {
            self.finish(client);
        }
    }

    /// The response has ended: gives the connection to the upstream back.
    fn finish(&mut self, client: usize) {
        let Some(held) = client_of(&mut self.sides, client) else {
            return;
        };
        let Some(exchange) = held.exchange.take() else {
            return;
        };
        // An upstream that answers before it has the request gets another connection.
        let is_sent = exchange.request_left == 0 && self.ring.waiting(exchange.link) == 0;
        if is_sent && !held.is_last && self.idle.len() < POOL_MAX {
            if let Some(held) = link_of(&mut self.sides, exchange.link) {
                held.client = None;
            }
            self.idle.push(exchange.link);
            // It tells when it is closed.
            self.ring.resume(exchange.link);
        } else {
            self.drop_link(exchange.link);
        }
        let Some(held) = client_of(&mut self.sides, client) else {
            return;
        };
        held.is_last |= exchange.request_left > 0;
        if held.is_last {
            return self.end_when_sent(client);
        }
        let next = held.next_head();
        self.begin(client, next);
    }

    fn sent(&mut self, socket: usize) {
        match self.sides.get(socket) {
            Some(Side::Client(held)) if held.is_closing => self.end(socket),
            Some(Side::Client(held)) => {
                if let Some(exchange) = &held.exchange {
                    self.ring.resume(exchange.link);
                }
            }
            Some(Side::Link(Link {
                client: Some(client),
                ..
            })) => {
                let client = *client;
                if client_of(&mut self.sides, client).is_some_and(|held| !held.is_ended) {
                    self.ring.resume(client);
                }
            }
            _ => {}
        }
    }

    fn ended(&mut self, socket: usize) {
        if let Some(held) = client_of(&mut self.sides, socket) {
            held.is_ended = true;
            match &held.exchange {
                Some(exchange) if exchange.request_left == 0 => {}
                None if held.is_closing => {}
                _ => self.end(socket),
            }
            return;
        }
        let client = link_of(&mut self.sides, socket).and_then(|held| held.client);
        let Some(client) = client else {
            return self.drop_link(socket);
        };
        match exchange_of(&mut self.sides, client).map(|exchange| exchange.response_left) {
            Some(None) => self.refuse(client, "502 Bad Gateway"),
            _ => self.end_when_sent(client),
        }
    }

    /// The client gets this status, and its connection is over.
    fn refuse(&mut self, client: usize, status: &str) {
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        self.ring.send_bytes(client, answer.into_bytes());
        self.end_when_sent(client);
    }

    fn end_when_sent(&mut self, client: usize) {
        if self.ring.waiting(client) == 0 {
            return self.end(client);
        }
        if let Some(held) = client_of(&mut self.sides, client) {
            held.is_closing = true;
            let exchange = held.exchange.take();
            self.ring.pause(client);
            self.ring.tell_when_sent(client);
            if let Some(exchange) = exchange {
                self.drop_link(exchange.link);
            }
        }
    }

    fn end(&mut self, client: usize) {
        let side = self.sides.get_mut(client).map(std::mem::take);
        self.ring.close(client);
        if let Some(Side::Client(Client {
            exchange: Some(exchange),
            ..
        })) = side
        {
            self.drop_link(exchange.link);
        }
    }

    fn drop_link(&mut self, link: usize) {
        self.idle.retain(|&idle| idle != link);
        self.set(link, Side::Neither);
        self.ring.close(link);
    }

    fn set(&mut self, socket: usize, side: Side) {
        if self.sides.len() <= socket {
            self.sides.resize_with(socket + 1, Side::default);
        }
        self.sides[socket] = side;
    }
}

impl Client {
    fn new(address: IpAddr) -> Self {
        Self {
            address: address.to_string(),
            inbox: Vec::new(),
            exchange: None,
            is_last: false,
            is_ended: false,
            is_closing: false,
        }
    }

    /// The head at the beginning of what was received.
    fn next_head(&mut self) -> Result<Option<RequestHead>, &'static str> {
        let head = RequestHead::parse(&self.inbox, &self.address)?;
        if let Some(head) = &head {
            self.inbox.drain(..head.length);
        }
        Ok(head)
    }
}

fn client_of(sides: &mut [Side], client: usize) -> Option<&mut Client> {
    match sides.get_mut(client) {
        Some(Side::Client(held)) => Some(held),
        _ => None,
    }
}

fn exchange_of(sides: &mut [Side], client: usize) -> Option<&mut Exchange> {
    client_of(sides, client)?.exchange.as_mut()
}

fn link_of(sides: &mut [Side], link: usize) -> Option<&mut Link> {
    match sides.get_mut(link) {
        Some(Side::Link(held)) => Some(held),
        _ => None,
    }
}
