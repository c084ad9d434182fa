//! One WebSocket connection: messages out, their echoes in.

use std::io;

use tokio::io::AsyncReadExt;

use crate::http1::Inbox;
use crate::load::connect::Io;
use crate::load::expectation::{Content, Expectation, Verified};
use crate::load::http1::{Http1, ended, send};
use crate::load::plan::Request;
use crate::load::tally::Failure;
use crate::websocket::{BINARY, CLOSE, CONTINUATION, FrameHead, PING, PONG, TEXT, write_frame};

/// An upgraded connection.
pub struct WebSocket {
    io: Io,
    inbox: Inbox,
}

impl WebSocket {
    /// Upgrades a connection that nobody has used: the answer must be 101.
    ///
    /// # Errors
    /// The upgrade's.
    pub async fn open(io: Io, request: &Request) -> Result<Self, Failure> {
        let Request::Message { upgrade, .. } = request else {
            unreachable!("a plan has the requests of its protocol");
        };
        let switching = Expectation {
            status: 101,
            tolerated: Vec::new(),
            bytes: Some(0),
            content: Content::Any,
        };
        let mut link = Http1::new(io);
        link.exchange(upgrade, &switching)
            .await
            .map_err(|failure| Failure::Connect(io::Error::other(failure.to_string())))?;
        let (io, inbox) = link.into_parts();
        Ok(Self { io, inbox })
    }

    /// Sends a frame and reads the message that answers it.
    ///
    /// # Errors
    /// Whatever makes it not count.
    pub async fn exchange(
        &mut self,
        frame: &[u8],
        expectation: &Expectation,
    ) -> Result<Verified, Failure> {
        send(&mut self.io, frame).await.map_err(Failure::Closed)?;
        let mut check = expectation.begin(expectation.status);
        loop {
            let head = self.head().await?;
            match head.opcode {
                BINARY | TEXT | CONTINUATION => {
                    self.payload(head, |piece| check.feed(piece)).await?;
                    if head.is_final {
                        return check.finish();
                    }
                }
                PING => {
                    let mut payload = Vec::new();
                    self.payload(head, |piece| payload.extend_from_slice(piece))
                        .await?;
                    let mut pong = Vec::new();
                    write_frame(PONG, Some([0; 4]), &payload, &mut pong);
                    send(&mut self.io, &pong).await.map_err(Failure::Io)?;
                }
                CLOSE => return Err(Failure::Closed(ended())),
                _ => self.payload(head, |_| ()).await?,
            }
        }
    }

    /// Returns when the server has closed.
    pub async fn closed(self) {
        let Self { mut io, inbox } = self;
        drop(inbox);
        let mut bytes = [0; 64];
        while matches!(io.read(&mut bytes).await, Ok(1..)) {}
    }

    async fn head(&mut self) -> Result<FrameHead, Failure> {
        loop {
            if let Some(head) = FrameHead::parse(self.inbox.unread()) {
                if head.mask.is_some() {
                    return Err(Failure::Io(io::Error::other("a server's frame is masked")));
                }
                self.inbox.consume(head.length);
                return Ok(head);
            }
            self.fill().await?;
        }
    }

    async fn payload(
        &mut self,
        head: FrameHead,
        mut data: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let mut left = head.payload;
        loop {
            let unread = self.inbox.unread();
            let count = usize::try_from(left).map_or(unread.len(), |left| left.min(unread.len()));
            data(&unread[..count]);
            self.inbox.consume(count);
            left -= count as u64;
            if left == 0 {
                return Ok(());
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Failure> {
        match self.inbox.fill(&mut self.io).await {
            Ok(0) => Err(Failure::Io(ended())),
            Ok(_) => Ok(()),
            Err(error) => Err(Failure::Io(error)),
        }
    }
}
