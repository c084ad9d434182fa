//! Requests over many keep-alive connections, some of them at once, every response verified.
//!
//! Blocking and in rounds: so many requests are written, each on a connection of its own, then
//! their responses are read in the same order. That is all it takes to keep a proxy busy, and it
//! asks nothing of the proxy but HTTP/1.1.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use super::origin::BODY_BYTES;

/// Open connections to one address.
#[derive(Debug)]
pub struct Connections {
    open: Vec<TcpStream>,
    next: usize,
    received: Vec<u8>,
}

/// How many requests are under way at once.
const AT_ONCE: usize = 32;
/// A response that takes longer is a failure. Below callgrind everything takes fifty times as long.
const RESPONSE_TIMEOUT: Duration = Duration::from_secs(60);

impl Connections {
    /// Opens so many.
    ///
    /// # Errors
    /// One cannot be opened.
    pub fn open(address: SocketAddr, count: usize) -> io::Result<Connections> {
        let mut open = Vec::new();
        for _ in 0..count {
            let connection = TcpStream::connect(address)?;
            connection.set_nodelay(true)?;
            connection.set_read_timeout(Some(RESPONSE_TIMEOUT))?;
            open.push(connection);
        }
        Ok(Connections {
            open,
            next: 0,
            received: Vec::with_capacity(16 * 1024),
        })
    }

    /// Sends so many requests, the given ones in turn.
    ///
    /// # Errors
    /// A response that is not the expected one, or none.
    pub fn send(&mut self, requests: &[String], count: usize) -> io::Result<()> {
        let at_once = AT_ONCE.min(self.open.len());
        let mut sent = 0;
        while sent < count {
            let now = at_once.min(count - sent);
            for nr in 0..now {
                let request = &requests[(sent + nr) % requests.len()];
                let index = (self.next + nr) % self.open.len();
                self.open[index].write_all(request.as_bytes())?;
            }
            for nr in 0..now {
                let index = (self.next + nr) % self.open.len();
                self.receive(index)?;
            }
            self.next = (self.next + now) % self.open.len();
            sent += now;
        }
        Ok(())
    }

    fn receive(&mut self, index: usize) -> io::Result<()> {
        self.received.clear();
        let mut piece = [0; 16 * 1024];
        loop {
            match self.open[index].read(&mut piece)? {
                0 => return Err(wrong("closed", &self.received)),
                read => self.received.extend_from_slice(&piece[..read]),
            }
            let Some(head) = head_bytes(&self.received) else {
                continue;
            };
            if !self.received.starts_with(b"HTTP/1.1 200 ") {
                return Err(wrong("not the expected answer", &self.received));
            }
            match self.received.len().cmp(&(head + BODY_BYTES)) {
                std::cmp::Ordering::Less => {}
                std::cmp::Ordering::Equal => return Ok(()),
                std::cmp::Ordering::Greater => return Err(wrong("too long", &self.received)),
            }
        }
    }
}

/// `GET` of this path on this host, with what clients usually send.
#[must_use]
pub fn get(host: &str, path: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: weir-scale\r\n\
         Accept: application/json, text/plain;q=0.9, */*;q=0.8\r\n\r\n"
    )
}

fn head_bytes(received: &[u8]) -> Option<usize> {
    let end = received.windows(4).position(|it| it == b"\r\n\r\n")?;
    Some(end + 4)
}

fn wrong(what: &str, received: &[u8]) -> io::Error {
    let shown: String = String::from_utf8_lossy(received)
        .chars()
        .take(300)
        .collect();
    io::Error::other(format!("{what}: {shown:?}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::scale::origin;

    #[test]
    fn responses_are_verified() {
        let addresses = origin::start(1).unwrap();
        let mut connections = Connections::open(addresses[0], 3).unwrap();
        let requests = [get("a.example", "/"), get("b.example", "/x")];
        connections.send(&requests, 10).unwrap();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut piece = [0; 1024];
            let _ = connection.read(&mut piece).unwrap();
            connection
                .write_all(b"HTTP/1.1 404 Not Found\r\n\r\n")
                .unwrap();
        });
        let mut connections = Connections::open(address, 1).unwrap();
        let error = connections.send(&requests, 1).unwrap_err();
        assert!(error.to_string().contains("404"), "{error}");
    }
}
