//! One HTTP/1.1 connection: a request's bytes out, a verified response in.

use std::io;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::http1::{BodyDecoder, Framing, HEADERS_MAX, Inbox, Malformed};
use crate::load::connect::Io;
use crate::load::expectation::{Expectation, Verified};
use crate::load::tally::Failure;

/// An open connection.
#[derive(Debug)]
pub struct Http1 {
    io: Io,
    inbox: Inbox,
    may_reuse: bool,
}

impl Http1 {
    /// On a connection that nobody has used.
    #[must_use]
    pub fn new(io: Io) -> Self {
        Self {
            io,
            inbox: Inbox::default(),
            may_reuse: true,
        }
    }

    /// Whether another request may follow.
    #[must_use]
    pub fn may_reuse(&self) -> bool {
        self.may_reuse
    }

    /// Sends, and reads the response to its end.
    ///
    /// # Errors
    /// Whatever makes the request not count.
    pub async fn exchange(
        &mut self,
        request: &[u8],
        expectation: &Expectation,
    ) -> Result<Verified, Failure> {
        // Before the first byte of an answer a failure is the connection's end.
        send(&mut self.io, request).await.map_err(Failure::Closed)?;
        let head = loop {
            if let Some(head) = Head::parse(self.inbox.unread())? {
                self.inbox.consume(head.length);
                if head.status >= 200 || head.status == 101 {
                    break head;
                }
                continue;
            }
            let is_first = self.inbox.unread().is_empty();
            let received = self.inbox.fill(&mut self.io).await;
            match received {
                Ok(0) if is_first => return Err(Failure::Closed(ended())),
                Ok(0) => return Err(Failure::Io(ended())),
                Ok(_) => {}
                Err(error) if is_first => return Err(Failure::Closed(error)),
                Err(error) => return Err(Failure::Io(error)),
            }
        };
        self.may_reuse = head.may_reuse;

        let framing = if request.starts_with(b"HEAD ") {
            Framing::Length(0)
        } else {
            head.framing
        };
        let mut check = expectation.begin(head.status);
        let mut decoder = BodyDecoder::new(framing);
        if let Framing::Length(length) = framing {
            self.inbox.expect(length);
        }
        loop {
            let used = decoder.decode(self.inbox.unread(), |piece| check.feed(piece))?;
            self.inbox.consume(used);
            if decoder.is_done() {
                break;
            }
            if self.inbox.fill(&mut self.io).await.map_err(Failure::Io)? == 0 {
                if decoder.may_end() {
                    break;
                }
                return Err(Failure::Io(ended()));
            }
        }
        check.finish()
    }

    /// The connection and what was received past the last response.
    #[must_use]
    pub fn into_parts(self) -> (Io, Inbox) {
        (self.io, self.inbox)
    }

    /// Returns when the server has closed.
    pub async fn closed(self) {
        let Self { mut io, inbox, .. } = self;
        drop(inbox);
        let mut byte = [0];
        while let Ok(1) = io.read(&mut byte).await {}
    }
}

/// Writes all and lets TLS send it.
pub(crate) async fn send(io: &mut Io, bytes: &[u8]) -> io::Result<()> {
    io.write_all(bytes).await?;
    io.flush().await
}

/// What a response's head says about its connection and body.
struct Head {
    length: usize,
    status: u16,
    framing: Framing,
    may_reuse: bool,
}

impl Head {
    fn parse(bytes: &[u8]) -> Result<Option<Self>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed::Head),
        };
        let status = response.code.ok_or(Malformed::Head)?;
        let is_empty = status < 200 || status == 204 || status == 304;
        let framing = if is_empty {
            Framing::Length(0)
        } else {
            Framing::of(response.headers, Framing::UntilClose)?
        };
        let is_closing = response.headers.iter().any(|field| {
            field.name.eq_ignore_ascii_case("connection")
                && field.value.eq_ignore_ascii_case(b"close")
        });
        let may_reuse =
            !is_closing && framing != Framing::UntilClose && response.version == Some(1);
        Ok(Some(Self {
            length,
            status,
            framing,
            may_reuse,
        }))
    }
}

pub(crate) fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed")
}
