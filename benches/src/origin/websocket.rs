//! The origin's WebSocket: every message comes back as it was.

use std::io;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http1::{HEADERS_MAX, Inbox};
use crate::websocket::{CLOSE, FrameHead, PING, PONG, accept, unmask, write_frame};

/// Serves a connection to its end.
pub async fn serve(mut stream: TcpStream) {
    // Whoever closes or breaks a connection knows it; nobody else is to be told.
    let _ = echo(&mut stream).await;
}

async fn echo(stream: &mut TcpStream) -> io::Result<()> {
    let mut inbox = Inbox::default();
    upgrade(stream, &mut inbox).await?;
    let (mut payload, mut out) = (Vec::new(), Vec::new());
    loop {
        while let Some(head) = FrameHead::parse(inbox.unread()) {
            let (Some(mask), true) = (head.mask, head.payload <= PAYLOAD_MAX) else {
                return Err(io::Error::other(
                    "a client's frame is masked and below 1 MiB",
                ));
            };
            inbox.consume(head.length);
            payload.clear();
            while (payload.len() as u64) < head.payload {
                let unread = inbox.unread();
                let wanted = usize::try_from(head.payload).map_err(io::Error::other)?;
                let count = unread.len().min(wanted - payload.len());
                payload.extend_from_slice(&unread[..count]);
                inbox.consume(count);
                if payload.len() < wanted && inbox.fill(stream).await? == 0 {
                    return Ok(());
                }
            }
            unmask(mask, 0, &mut payload);
            let opcode = if head.opcode == PING {
                PONG
            } else {
                head.opcode
            };
            if opcode != PONG || head.opcode == PING {
                let start = out.len();
                write_frame(opcode, None, &payload, &mut out);
                if !head.is_final {
                    out[start] &= 0x7f;
                }
            }
            if opcode == CLOSE {
                return stream.write_all(&out).await;
            }
        }
        stream.write_all(&out).await?;
        out.clear();
        if inbox.fill(stream).await? == 0 {
            return Ok(());
        }
    }
}

async fn upgrade(stream: &mut TcpStream, inbox: &mut Inbox) -> io::Result<()> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(inbox.unread()).map_err(io::Error::other)?;
        if let httparse::Status::Complete(length) = parsed {
            let key = request
                .headers
                .iter()
                .find(|field| field.name.eq_ignore_ascii_case("sec-websocket-key"));
            let Some(key) = key else {
                stream.write_all(NO_UPGRADE).await?;
                return Err(io::Error::other("no upgrade"));
            };
            let answer = format!(
                "HTTP/1.1 101 Switching Protocols\r\nconnection: Upgrade\r\n\
                 upgrade: websocket\r\nsec-websocket-accept: {}\r\n\r\n",
                accept(key.value)
            );
            inbox.consume(length);
            return stream.write_all(answer.as_bytes()).await;
        }
        if inbox.fill(stream).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Longest payload of a frame, bytes.
const PAYLOAD_MAX: u64 = 1 << 20;
const NO_UPGRADE: &[u8] =
    b"HTTP/1.1 426 Upgrade Required\r\nupgrade: websocket\r\ncontent-length: 0\r\n\r\n";
