//! What load generator and origin both read of HTTP/1: bytes that wait to be read, and bodies in
//! their three framings. Heads are `httparse`'s.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes received and not yet read, in one buffer that is used again and again.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Inbox {
    fn default() -> Self {
        Self {
            bytes: vec![0; BYTES_FIRST],
            start: 0,
            end: 0,
        }
    }
}

impl Inbox {
    /// What was received and not consumed.
    #[must_use]
    pub fn unread(&self) -> &[u8] {
        &self.bytes[self.start..self.end]
    }

    /// So many of the unread bytes were read.
    pub fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start += count;
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Makes room for a body of that length, so that it needs fewer calls.
    pub fn expect(&mut self, length: u64) {
        let wanted = usize::try_from(length).map_or(BYTES_MAX, |length| length.min(BYTES_MAX));
        if self.bytes.len() < wanted {
            self.bytes.resize(wanted, 0);
        }
    }

    /// Receives once; zero at the end of the input.
    ///
    /// # Errors
    /// The connection's, and a buffer that is full of what nobody consumes.
    pub async fn fill<R: AsyncRead + Unpin>(&mut self, from: &mut R) -> io::Result<usize> {
        if self.end == self.bytes.len() {
            if self.start > 0 {
                self.bytes.copy_within(self.start..self.end, 0);
                self.end -= self.start;
                self.start = 0;
            } else if self.bytes.len() < BYTES_MAX {
                self.bytes.resize(BYTES_MAX, 0);
            } else {
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    "a head or frame is larger than the buffer",
                ));
            }
        }
        let count = from.read(&mut self.bytes[self.end..]).await?;
        self.end += count;
        Ok(count)
    }
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// By its last chunk.
    Chunked,
    /// After that many bytes.
    Length(u64),
    /// With the connection.
    UntilClose,
}

impl Framing {
    /// As the fields of a head say; `without` when they say nothing.
    ///
    /// # Errors
    /// A length that is no number, or a transfer coding other than `chunked`.
    pub fn of(headers: &[httparse::Header<'_>], without: Self) -> Result<Self, Malformed> {
        let mut framing = without;
        for header in headers {
            if header.name.eq_ignore_ascii_case("transfer-encoding") {
                if !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(Malformed::Coding);
                }
                return Ok(Self::Chunked);
            }
            if header.name.eq_ignore_ascii_case("content-length") {
                let length = std::str::from_utf8(header.value)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or(Malformed::Length)?;
                framing = Self::Length(length);
            }
        }
        Ok(framing)
    }
}

/// Takes a body out of the bytes it came in.
#[derive(Debug)]
pub struct BodyDecoder {
    state: State,
}

#[derive(Debug)]
enum State {
    /// Bytes that are left of the body.
    Counted(u64),
    /// Before the line with a chunk's size.
    ChunkSize,
    /// Bytes that are left of the chunk, its line end included.
    Chunk(u64),
    /// Before a line of the trailers.
    Trailers,
    UntilClose,
    Done,
}

impl BodyDecoder {
    /// At the beginning of a body.
    #[must_use]
    pub fn new(framing: Framing) -> Self {
        let state = match framing {
            Framing::Chunked => State::ChunkSize,
            Framing::Length(0) => State::Done,
            Framing::Length(length) => State::Counted(length),
            Framing::UntilClose => State::UntilClose,
        };
        Self { state }
    }

    /// The body is complete.
    #[must_use]
    pub fn is_done(&self) -> bool {
        matches!(self.state, State::Done)
    }

    /// The input has ended: whether the body may end with it.
    #[must_use]
    pub fn may_end(&self) -> bool {
        matches!(self.state, State::Done | State::UntilClose)
    }

    /// Hands the content in `input` to `data` and says how many bytes of the input were used. Zero:
    /// more are needed.
    ///
    /// # Errors
    /// Chunks that are malformed.
    pub fn decode(
        &mut self,
        input: &[u8],
        mut data: impl FnMut(&[u8]),
    ) -> Result<usize, Malformed> {
        let mut used = 0;
        loop {
            let rest = &input[used..];
            if rest.is_empty() {
                return Ok(used);
            }
            match self.state {
                State::Done => return Ok(used),
                State::UntilClose => {
                    data(rest);
                    return Ok(input.len());
                }
                State::Counted(left) => {
                    let count = at_most(rest.len(), left);
                    data(&rest[..count]);
                    used += count;
                    self.state = match left - count as u64 {
                        0 => State::Done,
                        left => State::Counted(left),
                    };
                }
                State::ChunkSize => match httparse::parse_chunk_size(rest) {
                    Ok(httparse::Status::Complete((line, 0))) => {
                        used += line;
                        self.state = State::Trailers;
                    }
                    Ok(httparse::Status::Complete((line, size))) => {
                        used += line;
                        let with_end = size.checked_add(2).ok_or(Malformed::Chunk)?;
                        self.state = State::Chunk(with_end);
                    }
                    Ok(httparse::Status::Partial) => return Ok(used),
                    Err(_) => return Err(Malformed::Chunk),
                },
                State::Chunk(left) => {
                    let count = at_most(rest.len(), left);
                    let content = at_most(count, left.saturating_sub(2));
                    if content > 0 {
                        data(&rest[..content]);
                    }
                    used += count;
                    self.state = match left - count as u64 {
                        0 => State::ChunkSize,
                        left => State::Chunk(left),
                    };
                }
                State::Trailers => {
                    let Some(end) = rest.iter().position(|&byte| byte == b'\n') else {
                        return Ok(used);
                    };
                    used += end + 1;
                    if rest[..end].trim_ascii().is_empty() {
                        self.state = State::Done;
                    }
                }
            }
        }
    }
}

/// What is wrong with a message; always the sender's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// A chunk's size is no number.
    #[error("malformed chunk")]
    Chunk,
    /// A transfer coding that nobody asked for.
    #[error("transfer coding other than chunked")]
    Coding,
    /// A head that is no HTTP/1.
    #[error("malformed head")]
    Head,
    /// A content length that is no number.
    #[error("malformed content length")]
    Length,
}

fn at_most(count: usize, left: u64) -> usize {
    usize::try_from(left).map_or(count, |left| left.min(count))
}

/// First size of a buffer, bytes.
const BYTES_FIRST: usize = 16 * 1024;
/// Largest size of a buffer, bytes; a head or control frame must fit.
const BYTES_MAX: usize = 128 * 1024;
/// Most fields of a head.
pub const HEADERS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    fn decode(framing: Framing, pieces: &[&[u8]]) -> (Vec<u8>, bool, usize) {
        let mut decoder = BodyDecoder::new(framing);
        let (mut body, mut waiting, mut used) = (Vec::new(), Vec::new(), 0);
        for piece in pieces {
            waiting.extend_from_slice(piece);
            let count = decoder
                .decode(&waiting, |data| body.extend_from_slice(data))
                .unwrap();
            waiting.drain(..count);
            used += count;
        }
        (body, decoder.is_done(), used)
    }

    #[test]
    fn counted_body_ends_at_its_length() {
        let got = decode(Framing::Length(5), &[b"he", b"lloHTTP"]);
        assert_eq!(got, (b"hello".to_vec(), true, 5));
        assert!(!decode(Framing::Length(5), &[b"hell"]).1);
        assert!(decode(Framing::Length(0), &[]).1);
    }

    #[test]
    fn chunked_body_ends_at_its_last_chunk_however_it_is_cut() {
        let whole = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nt: 1\r\n\r\nrest";
        let used = whole.len() - 4;
        assert_eq!(
            decode(Framing::Chunked, &[whole]),
            (b"abcde".to_vec(), true, used)
        );
        let single: Vec<&[u8]> = whole.chunks(1).collect();
        let (body, is_done, count) = decode(Framing::Chunked, &single);
        assert_eq!((body, is_done, count), (b"abcde".to_vec(), true, used));
        assert!(!decode(Framing::Chunked, &[b"3\r\nabc\r\n0\r\n"]).1);
        let refused = BodyDecoder::new(Framing::Chunked).decode(b"zz\r\n", |_| ());
        assert_eq!(refused, Err(Malformed::Chunk));
    }

    #[test]
    fn body_without_length_ends_with_the_connection() {
        let mut decoder = BodyDecoder::new(Framing::UntilClose);
        assert_eq!(decoder.decode(b"abc", |_| ()), Ok(3));
        assert!(!decoder.is_done());
        assert!(decoder.may_end());
    }
}
