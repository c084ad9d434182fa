//! HTTP/2 frame by frame: for what no client library would send. Fields are HPACK literals without
//! Huffman coding and without a table, so that any byte can stand in them.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

/// DATA.
pub const DATA: u8 = 0;
/// HEADERS.
pub const HEADERS: u8 = 1;
/// PRIORITY.
pub const PRIORITY: u8 = 2;
/// RST_STREAM.
pub const RST_STREAM: u8 = 3;
/// SETTINGS.
pub const SETTINGS: u8 = 4;
/// PING.
pub const PING: u8 = 6;
/// GOAWAY.
pub const GOAWAY: u8 = 7;
/// WINDOW_UPDATE.
pub const WINDOW_UPDATE: u8 = 8;
/// CONTINUATION.
pub const CONTINUATION: u8 = 9;

/// END_STREAM of DATA and HEADERS; ACK of SETTINGS and PING.
pub const END_STREAM: u8 = 1;
/// END_HEADERS.
pub const END_HEADERS: u8 = 4;

/// The whole preface of a client with nothing to settle.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream; 0 for the connection.
    pub stream: u32,
    /// What it holds.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The error code of RST_STREAM or GOAWAY.
    #[must_use]
    pub fn error(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        let code = self.payload.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_be_bytes(code))
    }

    /// The status of a response's HEADERS, in the forms in which servers write it.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        if self.kind != HEADERS {
            return None;
        }
        let (first, rest) = self.payload.split_first()?;
        // Table sizes are told first.
        let (first, rest) = match first {
            0x20..=0x3F => rest.split_first()?,
            _ => (first, rest),
        };
        match first {
            0x88..=0x8E => [200, 204, 206, 304, 400, 404, 500]
                .get(usize::from(first - 0x88))
                .copied(),
            0x08 | 0x18 | 0x48 => {
                let (length, rest) = rest.split_first()?;
                let value = rest.get(..usize::from(length & 0x7F))?;
                if length & 0x80 == 0 {
                    return std::str::from_utf8(value).ok()?.parse().ok();
                }
                Some(digits(value))
            }
            _ => None,
        }
    }
}

/// Three digits in Huffman coding (RFC 7541, appendix B).
fn digits(coded: &[u8]) -> u16 {
    let bits = coded
        .iter()
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let mut left = coded.len() * 8;
    let mut number = 0;
    for _ in 0..3 {
        let five = left.checked_sub(5).map_or(0, |left| bits >> left & 31);
        let six = left.checked_sub(6).map_or(0, |left| bits >> left & 63);
        let (digit, used) = if five < 3 { (five, 5) } else { (six - 22, 6) };
        number = number * 10 + digit;
        left -= used;
    }
    number as u16
}

/// The bytes of a frame.
#[must_use]
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A block of fields.
#[must_use]
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in fields {
        bytes.push(0x00);
        for text in [name, value] {
            length(text.len(), &mut bytes);
            bytes.extend(text.as_bytes());
        }
    }
    bytes
}

/// A length with seven bits in its first byte (RFC 7541, section 5.1).
fn length(length: usize, bytes: &mut Vec<u8>) {
    if length < 127 {
        bytes.push(length as u8);
        return;
    }
    bytes.push(127);
    let mut rest = length - 127;
    while rest >= 128 {
        bytes.push((rest % 128) as u8 | 0x80);
        rest /= 128;
    }
    bytes.push(rest as u8);
}

/// HEADERS of a GET for `/`, and whatever fields beside.
#[must_use]
pub fn get(stream: u32, more: &[(&str, &str)]) -> Vec<u8> {
    let mut fields = vec![
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/"),
    ];
    fields.extend(more);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &block(&fields))
}

/// Sends the preface and these bytes on a new connection, and collects what comes back until the
/// other side ends the connection, `enough` says so, or the deadline passes.
///
/// # Panics
/// When nobody accepts the connection.
pub async fn exchange(
    address: SocketAddr,
    bytes: &[u8],
    deadline: Duration,
    enough: impl Fn(&[Frame]) -> bool,
) -> (Vec<Frame>, bool) {
    let end = Instant::now() + deadline;
    let stream = TcpStream::connect(address).await.expect("somebody listens");
    let (mut reader, mut writer) = stream.into_split();
    let mut frames = Vec::new();
    let receive = async {
        let mut buffer = Vec::new();
        while !enough(&frames) {
            match reader.read_buf(&mut buffer).await {
                Ok(0) | Err(_) => return true,
                Ok(_) => take_frames(&mut buffer, &mut frames),
            }
        }
        false
    };
    let send = async {
        // A server may have enough and close; its last words count.
        let _ = writer.write_all(PREFACE).await;
        let _ = writer.write_all(bytes).await;
        std::future::pending::<()>().await;
    };
    let ended = tokio::select! {
        ended = timeout_at(end, receive) => ended.unwrap_or(false),
        () = send => false,
    };
    (frames, ended)
}

fn take_frames(buffer: &mut Vec<u8>, frames: &mut Vec<Frame>) {
    while let [a, b, c, kind, flags, d, e, f, g, rest @ ..] = &buffer[..] {
        let bytes = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(payload) = rest.get(..bytes) else {
            return;
        };
        frames.push(Frame {
            kind: *kind,
            flags: *flags,
            stream: u32::from_be_bytes([*d, *e, *f, *g]),
            payload: payload.to_vec(),
        });
        buffer.drain(..9 + bytes);
    }
}
