//! Whether the length of a response is certain (RFC 9112, section 6.3), and whether the lines of
//! its head are.
//!
//! A parser that settles contradictions by itself settles them for us only: a cache or proxy in
//! front may settle otherwise, and what one takes for a body is the next response for the other.
//! A line feed alone ends a line for some and not for others, so that a value with one in it is a
//! field that the service never wrote.

use http::HeaderMap;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};

use super::Fault;

/// What is contradictory about the length of a response with these fields.
#[must_use]
pub fn ambiguity(headers: &HeaderMap) -> Option<&'static str> {
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let length = lengths.next();
    if lengths.next().is_some() {
        return Some("the response has more than one `Content-Length`");
    }
    if length.is_some_and(|length| length.as_bytes().contains(&b',')) {
        return Some("the response has a list for a `Content-Length`");
    }
    let coding = coding?;
    if length.is_some() {
        return Some("the response has both `Content-Length` and `Transfer-Encoding`");
    }
    let chunked = coding
        .as_bytes()
        .trim_ascii()
        .eq_ignore_ascii_case(b"chunked");
    (!chunked || codings.next().is_some())
        .then_some("the response has a transfer coding other than `chunked`")
}

/// The lines of response heads on one HTTP/1 connection, as its bytes come in any pieces. Bodies
/// are not looked at: whoever sends a request says that a head is to come.
#[derive(Debug, Default)]
pub struct HeadLines {
    is_head: bool,
    /// Whether the status line is complete.
    has_status: bool,
    status: [u8; 3],
    /// Bytes of the line so far, and the last of them.
    length: usize,
    last: u8,
}

impl HeadLines {
    /// What comes next is a head.
    pub fn expect(&mut self) {
        *self = Self {
            is_head: true,
            ..Self::default()
        };
    }

    /// Reads on.
    ///
    /// # Errors
    /// A line ends with a line feed alone.
    pub fn read(&mut self, mut bytes: &[u8]) -> Result<(), Fault> {
        while self.is_head && !bytes.is_empty() {
            let end = memchr::memchr(b'\n', bytes);
            let line = &bytes[..end.unwrap_or(bytes.len())];
            if !self.has_status {
                self.read_status(line);
            }
            self.length += line.len();
            self.last = line.last().copied().unwrap_or(self.last);
            let Some(end) = end else { return Ok(()) };
            if self.length == 0 || self.last != b'\r' {
                return Err(Fault::BareLineFeed);
            }
            let is_empty = self.length == 1;
            if is_empty && self.has_status {
                // Interim responses come before the one that is waited for; a 101 is that one.
                match self.status {
                    [b'1', b'0', b'1'] => self.is_head = false,
                    [b'1', ..] => self.expect(),
                    _ => self.is_head = false,
                }
            } else {
                self.has_status |= !is_empty;
                self.length = 0;
            }
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    fn read_status(&mut self, line: &[u8]) {
        for (place, digit) in self.status.iter_mut().enumerate() {
            let at = (STATUS_AT + place).checked_sub(self.length);
            if let Some(byte) = at.and_then(|at| line.get(at)) {
                *digit = *byte;
            }
        }
    }
}

/// Where the status stands in its line.
const STATUS_AT: usize = "HTTP/1.1 ".len();

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the connection goes on; read whole, and in pieces of every size.
    fn check(answer: &str, expected: Result<(), Fault>) {
        for size in 1..=answer.len() {
            let mut lines = HeadLines::default();
            lines.expect();
            let mut pieces = answer.as_bytes().chunks(size);
            let read = pieces.try_for_each(|piece| lines.read(piece));
            assert_eq!(read, expected, "{answer:?} by {size}");
        }
    }

    #[test]
    fn only_heads_are_looked_at_and_all_of_them() {
        let bare = Err(Fault::BareLineFeed);
        check("HTTP/1.1 200 OK\r\na: b\r\n\r\na\nb\n\n", Ok(()));
        check("\r\nHTTP/1.1 200 OK\r\n\r\n\n", Ok(()));
        check("HTTP/1.1 200 OK\na: b\r\n\r\n", bare);
        check("HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n", bare);
        check("HTTP/1.1 200 OK\r\na: b\r\n\n", bare);
        check("\nHTTP/1.1 200 OK\r\n\r\n", bare);
        check(
            "HTTP/1.1 103 Early\r\na: b\r\n\r\nHTTP/1.1 200 OK\r\na: b\n\r\n",
            bare,
        );
        check("HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 204 No\r\n\r\n\n", Ok(()));
        check("HTTP/1.1 101 Go\r\nupgrade: x\r\n\r\n\n", Ok(()));
    }

    #[test]
    fn what_comes_unasked_is_not_judged() {
        let mut lines = HeadLines::default();
        assert_eq!(lines.read(b"\n"), Ok(()));
    }
}
