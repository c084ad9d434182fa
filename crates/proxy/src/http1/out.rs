//! A message as the bytes of its connection: head, body, and how the end of the body is told.
//!
//! Small pieces are copied one behind the other; large ones keep their place among them and leave
//! in the same system call.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, request};
use http_body::Frame;
use tokio::io::AsyncWrite;

use crate::body::EndpointError;

/// What is to be written.
#[derive(Debug, Default)]
pub(crate) struct Out {
    bytes: Vec<u8>,
    /// How much of that was written.
    at: usize,
    /// What was not copied, each before the byte of that place. Those before `next` were written.
    large: Vec<(usize, Bytes)>,
    next: usize,
    /// All that has come since nothing was left, bytes.
    taken: usize,
    framing: Framing,
    /// Whether something of this message was written.
    touched: bool,
}

/// How the end of a body is told.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    #[default]
    Chunked,
    /// So many bytes are to come.
    Length(u64),
    /// By the end of the connection.
    UntilClose,
}

/// A body is not as long as its head has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum WrongLength {
    #[error("the body is longer than was said")]
    Longer,
    #[error("the body is shorter than was said")]
    Shorter,
}

impl Out {
    /// Begins a request with a body of this length, if that is known. Its fields say what the body
    /// is, but how long it is, is said here.
    pub(super) fn begin(&mut self, head: &request::Parts, length: Option<u64>) {
        self.release();
        self.touched = false;
        let target = head
            .uri
            .path_and_query()
            .map_or("/", |target| target.as_str());
        let bytes = &mut self.bytes;
        bytes.reserve(HEAD_BYTES_USUAL + target.len());
        bytes.extend_from_slice(head.method.as_str().as_bytes());
        bytes.push(b' ');
        bytes.extend_from_slice(target.as_bytes());
        bytes.extend_from_slice(b" HTTP/1.1\r\n");
        let mut declared = false;
        for (name, value) in &head.headers {
            if name == CONTENT_LENGTH {
                declared = true;
            } else if name != TRANSFER_ENCODING {
                field(bytes, name.as_str().as_bytes(), value.as_bytes());
            }
        }
        self.framing = match length {
            None => {
                field(bytes, b"transfer-encoding", b"chunked");
                Framing::Chunked
            }
            Some(length) => {
                if length > 0 || declared || expects_length(&head.method) {
                    bytes.extend_from_slice(b"content-length: ");
                    decimal(bytes, length);
                    bytes.extend_from_slice(b"\r\n");
                }
                Framing::Length(length)
            }
        };
        bytes.extend_from_slice(b"\r\n");
    }

    /// Where heads are written, behind what is there already.
    pub(crate) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }

    /// How the body ends behind a head.
    pub(crate) fn frame(&mut self, framing: Framing) {
        self.framing = framing;
    }

    /// Whether one more piece of the body can be taken.
    pub(crate) fn has_room(&self) -> bool {
        self.large.len() < LARGE_MAX && self.taken < TAKEN_BYTES_MAX
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == self.bytes.len() && self.next == self.large.len()
    }

    /// Whether all of the body was taken that was said.
    pub(crate) fn is_whole(&self) -> bool {
        self.framing == Framing::Length(0)
    }

    /// Whether nothing of the request was written.
    pub(super) fn is_untouched(&self) -> bool {
        !self.touched
    }

    /// Lets go of its buffer, with all that is in it.
    pub(crate) fn release(&mut self) {
        (self.bytes, self.large) = (Vec::new(), Vec::new());
        (self.at, self.next, self.taken) = (0, 0, 0);
    }

    /// Takes a piece of the body; trailers end it, where there can be any.
    ///
    /// # Errors
    /// It is longer than was said.
    pub(crate) fn push(&mut self, frame: Frame<Bytes>) -> Result<(), WrongLength> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let (Framing::Chunked, Ok(trailers)) = (self.framing, frame.into_trailers()) {
                    self.finish_chunks(&trailers);
                }
                return Ok(());
            }
        };
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Length(left) => {
                let length = data.len() as u64;
                *left = left.checked_sub(length).ok_or(WrongLength::Longer)?;
            }
            Framing::Chunked => {
                hexadecimal(&mut self.bytes, data.len());
                self.bytes.extend_from_slice(b"\r\n");
            }
            Framing::UntilClose => {}
        }
        self.taken += data.len();
        if data.len() > COPIED_BYTES_MAX {
            self.large.push((self.bytes.len(), data));
        } else {
            self.bytes.extend_from_slice(&data);
        }
        if self.framing == Framing::Chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    /// It is shorter than was said.
    pub(crate) fn end(&mut self) -> Result<(), WrongLength> {
        match self.framing {
            Framing::Length(0) | Framing::UntilClose => Ok(()),
            Framing::Length(_) => Err(WrongLength::Shorter),
            Framing::Chunked => {
                self.finish_chunks(&HeaderMap::new());
                Ok(())
            }
        }
    }

    /// The last chunk; nothing may come after it.
    pub(crate) fn finish_chunks(&mut self, trailers: &HeaderMap) {
        let bytes = &mut self.bytes;
        bytes.extend_from_slice(b"0\r\n");
        for (name, value) in trailers {
            field(bytes, name.as_str().as_bytes(), value.as_bytes());
        }
        bytes.extend_from_slice(b"\r\n");
        self.framing = Framing::Length(0);
    }

    /// Writes once; how much.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let socket = Pin::new(socket);
        let count = if self.next == self.large.len() {
            ready!(socket.poll_write(cx, &self.bytes[self.at..]))?
        } else {
            let mut parts = [IoSlice::new(&[]); PARTS_MAX];
            let parts = self.parts(&mut parts);
            ready!(socket.poll_write_vectored(cx, parts))?
        };
        if count == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        self.touched = true;
        self.written(count);
        Poll::Ready(Ok(count))
    }

    /// What is to be written, in its order.
    fn parts<'a, 'b>(&'a self, parts: &'b mut [IoSlice<'a>; PARTS_MAX]) -> &'b [IoSlice<'a>] {
        let (mut count, mut from) = (0, self.at);
        let mut add = |part: &'a [u8]| {
            // There is room for all: each large one has at most one small one in front.
            if let (false, Some(place)) = (part.is_empty(), parts.get_mut(count)) {
                *place = IoSlice::new(part);
                count += 1;
            }
        };
        for (place, large) in &self.large[self.next..] {
            add(&self.bytes[from..*place]);
            add(large);
            from = *place;
        }
        add(&self.bytes[from..]);
        &parts[..count]
    }

    /// So many bytes of what was to be written were.
    fn written(&mut self, mut count: usize) {
        while let Some((place, large)) = self.large.get_mut(self.next) {
            let small = count.min(*place - self.at);
            self.at += small;
            count -= small;
            if self.at < *place {
                return;
            }
            let taken = count.min(large.len());
            large.advance(taken);
            count -= taken;
            if !large.is_empty() {
                return;
            }
            // Lets go of its memory.
            *large = Bytes::new();
            self.next += 1;
        }
        self.at += count;
        if self.at == self.bytes.len() {
            self.bytes.clear();
            self.large.clear();
            (self.at, self.next, self.taken) = (0, 0, 0);
        }
    }
}

impl From<WrongLength> for EndpointError {
    fn from(wrong: WrongLength) -> Self {
        EndpointError::Length(match wrong {
            WrongLength::Longer => TOO_LONG,
            WrongLength::Shorter => TOO_SHORT,
        })
    }
}

/// Methods whose endpoints want to know that there is no body (RFC 9110, section 8.6).
fn expects_length(method: &Method) -> bool {
    matches!(*method, Method::POST | Method::PUT | Method::PATCH)
}

/// Writes one field.
pub(crate) fn field(bytes: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    bytes.extend_from_slice(name);
    bytes.extend_from_slice(b": ");
    bytes.extend_from_slice(value);
    bytes.extend_from_slice(b"\r\n");
}

/// Writes a number.
pub(crate) fn decimal(bytes: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        // A digit.
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&digits[at..]);
}

fn hexadecimal(bytes: &mut Vec<u8>, number: usize) {
    let digits = (usize::BITS - (number | 1).leading_zeros()).div_ceil(4);
    for place in (0..digits).rev() {
        bytes.push(b"0123456789abcdef"[(number >> (place * 4)) & 0xf]);
    }
}

const TOO_LONG: &str = "the request's body is longer than was said";
const TOO_SHORT: &str = "the request's body is shorter than was said";
/// What a head usually has beside its target.
const HEAD_BYTES_USUAL: usize = 1024;
/// Longer pieces of a body are not copied behind what comes before them.
const COPIED_BYTES_MAX: usize = 4 * 1024;
/// Pieces that were not copied, before something has to be written: as many as fill what a socket
/// takes at once.
const LARGE_MAX: usize = 16;
const PARTS_MAX: usize = 2 * LARGE_MAX + 1;
/// Data taken before something has to be written, bytes; the last piece may go beyond it.
const TAKEN_BYTES_MAX: usize = 128 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::task::Waker;

    use http::Request;

    use super::*;

    /// Takes so many bytes at a time.
    struct Narrow(usize, Vec<u8>);

    impl AsyncWrite for Narrow {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let count = bytes.len().min(self.0);
            self.1.extend_from_slice(&bytes[..count]);
            Poll::Ready(Ok(count))
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            parts: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let mut room = self.0;
            for part in parts {
                let count = part.len().min(room);
                self.1.extend_from_slice(&part[..count]);
                room -= count;
            }
            Poll::Ready(Ok(self.0 - room))
        }

        fn is_write_vectored(&self) -> bool {
            true
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn drain(out: &mut Out, to: &mut Narrow) {
        let mut cx = Context::from_waker(Waker::noop());
        while !out.is_empty() {
            assert!(matches!(out.poll_write(to, &mut cx), Poll::Ready(Ok(_))));
        }
    }

    /// What is written of a request, however little is taken at once.
    fn written(
        request: request::Builder,
        length: Option<u64>,
        pieces: &[&[u8]],
        trailers: Option<HeaderMap>,
    ) -> String {
        let head = request.body(()).unwrap().into_parts().0;
        let mut results = [1, 2, 7, 4096, usize::MAX].map(|size| {
            let (mut out, mut to) = (Out::default(), Narrow(size, Vec::new()));
            out.begin(&head, length);
            for piece in pieces {
                while !out.has_room() {
                    drain(&mut out, &mut to);
                }
                out.push(Frame::data(Bytes::copy_from_slice(piece)))
                    .unwrap();
            }
            if let Some(trailers) = &trailers {
                out.push(Frame::trailers(trailers.clone())).unwrap();
            }
            out.end().unwrap();
            drain(&mut out, &mut to);
            String::from_utf8(to.1).unwrap()
        });
        let last = results.last_mut().map(std::mem::take).unwrap();
        assert!(
            results[..4].iter().all(|result| *result == last),
            "{results:?}"
        );
        last
    }

    #[test]
    fn the_length_of_a_body_is_said_here_and_nowhere_else() {
        let get = || Request::get("/a?b").header("a", "b");
        let none = written(get(), Some(0), &[], None);
        assert_eq!(none, "GET /a?b HTTP/1.1\r\na: b\r\n\r\n");
        let said = written(get().header("content-length", "00"), Some(0), &[], None);
        assert_eq!(
            said,
            "GET /a?b HTTP/1.1\r\na: b\r\ncontent-length: 0\r\n\r\n"
        );
        let put = written(Request::put("/"), Some(0), &[], None);
        assert_eq!(put, "PUT / HTTP/1.1\r\ncontent-length: 0\r\n\r\n");
        let lies = Request::put("/")
            .header("content-length", "7")
            .header("transfer-encoding", "gzip");
        let known = written(lies, Some(4), &[b"he", b"", b"re"], None);
        assert_eq!(known, "PUT / HTTP/1.1\r\ncontent-length: 4\r\n\r\nhere");
    }

    #[test]
    fn a_body_of_unknown_length_comes_in_chunks() {
        let head = "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
        let long = "x".repeat(COPIED_BYTES_MAX + 1);
        let pieces = [
            b"here".as_slice(),
            long.as_bytes(),
            b"",
            b"0123456789abcdefg",
        ];
        let chunked = written(Request::put("/"), None, &pieces, None);
        let expected =
            format!("{head}4\r\nhere\r\n1001\r\n{long}\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n");
        assert_eq!(chunked, expected);
        let mut trailers = HeaderMap::new();
        trailers.insert("a", "b".parse().unwrap());
        let pieces = [long.as_bytes()];
        let with = written(Request::put("/"), None, &pieces, Some(trailers));
        assert_eq!(with, format!("{head}1001\r\n{long}\r\n0\r\na: b\r\n\r\n"));
        let empty = written(Request::put("/"), None, &[], None);
        assert_eq!(empty, format!("{head}0\r\n\r\n"));
    }

    #[test]
    fn a_body_of_another_length_than_was_said_is_an_error() {
        let head = Request::put("/").body(()).unwrap().into_parts().0;
        let mut out = Out::default();
        out.begin(&head, Some(4));
        out.push(Frame::data(Bytes::from_static(b"here"))).unwrap();
        assert!(out.push(Frame::data(Bytes::from_static(b"!"))).is_err());
        out.begin(&head, Some(4));
        out.push(Frame::data(Bytes::from_static(b"her"))).unwrap();
        assert!(out.end().is_err());
    }
}
