//! The head of a response on an HTTP/1 connection, read strictly, and the length of what follows
//! (RFC 9112, sections 4 to 6).
//!
//! A parser that settles contradictions by itself settles them for us only: a cache or proxy in
//! front may settle otherwise, and what one takes for a body is the next response for the other.
//! A line feed alone ends a line for some and not for others, so that a value with one in it is a
//! field that the service never wrote.

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};
use smallvec::SmallVec;

use super::{Bounds, Fault, is_value};

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

/// The head of a response.
#[derive(Debug)]
pub struct Head {
    /// HTTP/1.0 or HTTP/1.1.
    pub version: Version,
    /// 100 to 999.
    pub status: StatusCode,
    /// In the order they came in.
    pub headers: HeaderMap,
    /// What they say of lengths and of the connection.
    said: Said,
}

/// What is noted of the fields of a head as they are read.
#[derive(Debug, Default, Clone, Copy)]
struct Said {
    /// How many `Content-Length` and `Transfer-Encoding` there are.
    lengths: u32,
    codings: u32,
    /// The last length, where it is a number.
    length: Option<u64>,
    /// `Connection: close`, and `keep-alive`.
    closes: bool,
    keeps_alive: bool,
}

impl Said {
    fn note(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONTENT_LENGTH {
            self.lengths += 1;
            self.length = number(value.as_bytes());
        } else if *name == TRANSFER_ENCODING {
            self.codings += 1;
        } else if *name == CONNECTION {
            for option in value.as_bytes().split(|byte| *byte == b',') {
                let option = option.trim_ascii();
                self.closes |= option.eq_ignore_ascii_case(b"close");
                self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
            }
        }
    }
}

impl Head {
    /// Whether another response may follow on the same connection, as far as the head says (RFC
    /// 9112, section 9.3).
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        match self.version {
            Version::HTTP_11 => !self.said.closes,
            _ => self.said.keeps_alive && !self.said.closes,
        }
    }

    /// How long the body is that follows, in answer to `method`.
    ///
    /// # Errors
    /// Two readers may see two lengths; says why.
    pub fn length(&self, method: &Method) -> Result<Length, &'static str> {
        let said = &self.said;
        let coded = said.codings > 0;
        if (coded || said.lengths > 1)
            && let Some(what) = ambiguity(&self.headers)
        {
            return Err(what);
        }
        if coded && self.version != Version::HTTP_11 {
            return Err("the response has a `Transfer-Encoding` in HTTP/1.0");
        }
        let declared = match said.lengths {
            0 => None,
            _ => Some(said.length.ok_or(NO_NUMBER)?),
        };
        let none = [StatusCode::NO_CONTENT, StatusCode::NOT_MODIFIED];
        if method == Method::HEAD || self.status.is_informational() || none.contains(&self.status) {
            return Ok(Length::Bytes(0));
        }
        Ok(match (coded, declared) {
            (true, _) => Length::Chunked,
            (false, Some(bytes)) => Length::Bytes(bytes),
            (false, None) => Length::UntilClose,
        })
    }
}

/// How long the body of a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// So many bytes, often none.
    Bytes(u64),
    /// It comes in chunks.
    Chunked,
    /// All that comes until the connection is closed.
    UntilClose,
}

/// Reads heads of responses, as the bytes of one HTTP/1 connection come in any pieces.
#[derive(Debug, Default)]
pub struct HeadReader {
    /// What the first line says.
    status: Option<(Version, StatusCode)>,
    /// Where each line ends that is complete.
    ends: SmallVec<[u32; 24]>,
}

impl HeadReader {
    /// Takes a head off the front of a buffer; `None` when more bytes are needed.
    ///
    /// # Errors
    /// It is none, or too large, whatever comes. The buffer is of no use afterwards.
    pub fn read(&mut self, buffer: &mut BytesMut, bounds: &Bounds) -> Result<Option<Head>, Fault> {
        loop {
            let begin = self.ends.last().map_or(0, |end| *end as usize);
            let Some(length) = memchr::memchr(b'\n', &buffer[begin..]) else {
                return match buffer.len() > self.bytes_max(bounds) {
                    true => Err(Fault::TooLarge),
                    false => Ok(None),
                };
            };
            let end = begin + length + 1;
            if length == 0 || buffer[end - 2] != b'\r' {
                return Err(Fault::BareLineFeed);
            }
            if end > self.bytes_max(bounds) {
                return Err(Fault::TooLarge);
            }
            if self.status.is_none() {
                self.status = Some(status_line(&buffer[..end - LINE_END_BYTES])?);
            } else if length == 1 {
                let bytes = buffer.split_to(end).freeze();
                return std::mem::take(self).head(&bytes, bounds).map(Some);
            }
            // The bound is far below.
            self.ends.push(u32::try_from(end).unwrap_or(u32::MAX));
        }
    }

    /// A head that is there whole. Each line has more than its CRLF.
    fn head(self, bytes: &Bytes, bounds: &Bounds) -> Result<Head, Fault> {
        let (Some((version, status)), Some((first, fields))) =
            (self.status, self.ends.split_first())
        else {
            return Err(Fault::StatusLine);
        };
        if fields.len() > bounds.fields_max {
            return Err(Fault::TooManyFields);
        }
        let mut headers = HeaderMap::with_capacity(fields.len());
        let mut said = Said::default();
        let mut begin = *first as usize;
        for end in fields {
            let end = *end as usize;
            let (name, value) = field(bytes, begin, end - LINE_END_BYTES)?;
            said.note(&name, &value);
            headers.append(name, value);
            begin = end;
        }
        Ok(Head {
            version,
            status,
            headers,
            said,
        })
    }

    /// Most bytes of what is read now: the status line, then all of the head.
    fn bytes_max(&self, bounds: &Bounds) -> usize {
        match self.ends.first() {
            None => STATUS_LINE_BYTES_MAX,
            Some(status) => *status as usize + bounds.head_bytes_max + LINE_END_BYTES,
        }
    }
}

/// The fields of a trailer section, the empty line at its end included.
///
/// # Errors
/// It is none.
pub fn trailers(bytes: &Bytes) -> Result<HeaderMap, Fault> {
    let mut trailers = HeaderMap::new();
    let mut begin = 0;
    for feed in memchr::memchr_iter(b'\n', bytes) {
        let Some(end) = feed.checked_sub(1).filter(|end| bytes[*end] == b'\r') else {
            return Err(Fault::BareLineFeed);
        };
        if end > begin {
            let (name, value) = field(bytes, begin, end)?;
            trailers.append(name, value);
        }
        begin = feed + 1;
    }
    Ok(trailers)
}

/// One field, without the end of its line.
fn field(bytes: &Bytes, begin: usize, end: usize) -> Result<(HeaderName, HeaderValue), Fault> {
    let line = &bytes[begin..end];
    let colon = memchr::memchr(b':', line).ok_or(Fault::FieldName)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| match line {
        [b' ' | b'\t', ..] => Fault::FoldedLine,
        _ if colon > 0 && matches!(line[colon - 1], b' ' | b'\t') => Fault::SpaceBeforeColon,
        _ => Fault::FieldName,
    })?;
    let white = |at: usize| matches!(line[at], b' ' | b'\t');
    let (mut first, mut last) = (colon + 1, line.len());
    while first < last && white(first) {
        first += 1;
    }
    while first < last && white(last - 1) {
        last -= 1;
    }
    let value = bytes.slice(begin + first..begin + last);
    let value = HeaderValue::from_maybe_shared(value).map_err(|_| Fault::FieldValue)?;
    Ok((name, value))
}

/// The reason phrase is not kept: HTTP/2 has none, and nobody may decide by it.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let (version, rest) = line
        .split_at_checked(VERSION_BYTES)
        .ok_or(Fault::StatusLine)?;
    let version = match version {
        b"HTTP/1.1" => Version::HTTP_11,
        b"HTTP/1.0" => Version::HTTP_10,
        _ if version.starts_with(b"HTTP/") => return Err(Fault::Version),
        _ => return Err(Fault::StatusLine),
    };
    let (code, reason) = match rest {
        [b' ', code @ ..] => code.split_at_checked(STATUS_DIGITS),
        _ => None,
    }
    .ok_or(Fault::StatusLine)?;
    let reasonable = match reason {
        [] => true,
        [b' ', text @ ..] => text.iter().all(|byte| is_value(*byte)),
        _ => false,
    };
    match StatusCode::from_bytes(code) {
        Ok(status) if reasonable => Ok((version, status)),
        _ => Err(Fault::StatusLine),
    }
}

/// A number of decimal digits and nothing else.
fn number(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    value.iter().try_fold(0, |number: u64, byte| {
        // Nineteen digits fit.
        byte.is_ascii_digit()
            .then(|| number * 10 + u64::from(byte - b'0'))
    })
}

const NO_NUMBER: &str = "the response has a `Content-Length` that is no number";
const LENGTH_DIGITS_MAX: usize = 19;
const VERSION_BYTES: usize = "HTTP/1.1".len();
const STATUS_DIGITS: usize = 3;
const LINE_END_BYTES: usize = 2;
/// Longest status line, bytes.
const STATUS_LINE_BYTES_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_bytes_max: 100,
        fields_max: 3,
        target_bytes_max: 0,
        trailer_bytes_max: 100,
    };

    /// What becomes of some bytes, which come in pieces of every size; and what is left of them.
    fn read(answer: &str) -> Result<Option<(Head, usize)>, Fault> {
        let mut results = (1..=answer.len()).map(|size| {
            let mut reader = HeadReader::default();
            let mut buffer = BytesMut::new();
            let mut come = 0;
            for piece in answer.as_bytes().chunks(size) {
                buffer.extend_from_slice(piece);
                come += piece.len();
                if let Some(head) = reader.read(&mut buffer, &BOUNDS)? {
                    return Ok(Some((head, buffer.len() + answer.len() - come)));
                }
            }
            Ok(None)
        });
        let last = results.next_back().unwrap();
        for result in results {
            let same = |(head, left): &(Head, usize)| {
                format!(
                    "{:?} {:?} {:?} {left}",
                    head.version, head.status, head.headers
                )
            };
            let (result, last) = (&result, &last);
            match (result, last) {
                (Ok(one), Ok(other)) => {
                    assert_eq!(
                        one.as_ref().map(same),
                        other.as_ref().map(same),
                        "{answer:?}"
                    );
                }
                _ => assert_eq!(result.as_ref().err(), last.as_ref().err(), "{answer:?}"),
            }
        }
        last
    }

    fn head(answer: &str) -> Head {
        read(answer).unwrap().unwrap().0
    }

    #[test]
    fn a_head_ends_at_its_empty_line() {
        let answer = "HTTP/1.1 200 OK\r\nA: b \t\r\nc:\r\na:\td: e\r\n\r\nbody\n";
        let (head, left) = read(answer).unwrap().unwrap();
        assert_eq!(
            (head.version, head.status.as_u16(), left),
            (Version::HTTP_11, 200, 5)
        );
        let fields = head
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_bytes()));
        let expected: [(&str, &[u8]); 3] = [("a", b"b"), ("a", b"d: e"), ("c", b"")];
        assert_eq!(fields.collect::<Vec<_>>(), expected);
        for line in [
            "HTTP/1.1 200",
            "HTTP/1.1 200 ",
            "HTTP/1.0 200 caf\u{e9} au lait",
        ] {
            assert_eq!(self::head(&format!("{line}\r\n\r\n")).status, 200, "{line}");
        }
        assert!(read("HTTP/1.1 200 OK\r\na: b\r\n\r").unwrap().is_none());
    }

    #[test]
    fn what_has_two_readings_is_none() {
        let table = [
            ("HTTP/1.1 200 OK\na: b\r\n\r\n", Fault::BareLineFeed),
            ("HTTP/1.1 200 OK\r\na: b\nc: d\r\n\r\n", Fault::BareLineFeed),
            ("HTTP/1.1 200 OK\r\na: b\r\n\n", Fault::BareLineFeed),
            ("\nHTTP/1.1 200 OK\r\n\r\n", Fault::BareLineFeed),
            ("\r\nHTTP/1.1 200 OK\r\n\r\n", Fault::StatusLine),
            ("HTTP/1.1 200 OK\r\na: b\rc: d\r\n\r\n", Fault::FieldValue),
            ("HTTP/1.1 200 OK\r\na: \0\r\n\r\n", Fault::FieldValue),
            ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", Fault::FieldName),
            (
                "HTTP/1.1 200 OK\r\na: b\r\n c: d\r\n\r\n",
                Fault::FoldedLine,
            ),
            ("HTTP/1.1 200 OK\r\na : b\r\n\r\n", Fault::SpaceBeforeColon),
            ("HTTP/1.1 200 OK\r\n: b\r\n\r\n", Fault::FieldName),
            ("HTTP/1.1 200 OK\r\na\r\n\r\n", Fault::FieldName),
            ("HTTP/1.1 200 O\rK\r\n\r\n", Fault::StatusLine),
            ("HTTP/1.1 2000\r\n\r\n", Fault::StatusLine),
            ("HTTP/1.1  200\r\n\r\n", Fault::StatusLine),
            ("HTTP/1.1 099\r\n\r\n", Fault::StatusLine),
            ("HTTP/1.1\r\n\r\n", Fault::StatusLine),
            ("ICY 200 OK\r\n\r\n", Fault::StatusLine),
            ("HTTP/2.0 200 OK\r\n\r\n", Fault::Version),
        ];
        for (answer, fault) in table {
            assert_eq!(read(answer).err(), Some(fault), "{answer:?}");
        }
    }

    #[test]
    fn a_first_line_that_is_none_needs_no_second_one() {
        assert_eq!(
            read("SSH-2.0-OpenSSH_9.2\r\n").err(),
            Some(Fault::StatusLine)
        );
    }

    #[test]
    fn heads_are_bounded() {
        let of = |bytes: usize| format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(bytes));
        assert!(read(&of(95)).unwrap().is_some());
        assert_eq!(read(&of(96)).err(), Some(Fault::TooLarge));
        let of = |count: usize| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
        assert!(read(&of(3)).unwrap().is_some());
        assert_eq!(read(&of(4)).err(), Some(Fault::TooManyFields));
        let endless = BytesMut::from(&[b'x'; STATUS_LINE_BYTES_MAX + 1][..]);
        let whole = HeadReader::default().read(&mut endless.clone(), &BOUNDS);
        assert_eq!(whole.err(), Some(Fault::TooLarge));
    }

    #[test]
    fn the_length_is_said_once_or_not_at_all() {
        let get = |fields: &str| {
            let head = head(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"));
            head.length(&Method::GET).ok()
        };
        assert_eq!(get(""), Some(Length::UntilClose));
        assert_eq!(get("Content-Length: 7\r\n"), Some(Length::Bytes(7)));
        assert_eq!(get("Transfer-Encoding: Chunked\r\n"), Some(Length::Chunked));
        for fields in [
            "Content-Length: 7\r\nContent-Length: 7\r\n",
            "Content-Length: 7, 7\r\n",
            "Content-Length: +7\r\n",
            "Content-Length: -7\r\n",
            "Content-Length: 0x7\r\n",
            "Content-Length:\r\n",
            "Content-Length: 18446744073709551616\r\n",
            "Content-Length: 7\r\nTransfer-Encoding: chunked\r\n",
            "Transfer-Encoding: gzip, chunked\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
        ] {
            assert_eq!(get(fields), None, "{fields}");
        }
        let old = head("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert!(old.length(&Method::GET).is_err());
        let bare = head("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n");
        assert_eq!(bare.length(&Method::HEAD), Ok(Length::Bytes(0)));
        for status in ["103", "204", "304"] {
            let bare = head(&format!("HTTP/1.1 {status} x\r\nContent-Length: 7\r\n\r\n"));
            assert_eq!(bare.length(&Method::GET), Ok(Length::Bytes(0)), "{status}");
        }
    }

    #[test]
    fn connections_are_kept_as_their_version_says() {
        let table = [
            ("HTTP/1.1 200 OK\r\n\r\n", true),
            ("HTTP/1.1 200 OK\r\nConnection: x, Close\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\n\r\n", false),
            ("HTTP/1.0 200 OK\r\nConnection: Keep-Alive\r\n\r\n", true),
        ];
        for (answer, keeps) in table {
            assert_eq!(head(answer).keeps_alive(), keeps, "{answer:?}");
        }
    }

    #[test]
    fn trailers_are_fields() {
        let read = |text: &'static str| trailers(&Bytes::from_static(text.as_bytes()));
        assert!(read("\r\n").unwrap().is_empty());
        let two = read("a: b\r\nC:d\r\n\r\n").unwrap();
        assert_eq!(
            (two.len(), &two["a"], &two["c"]),
            (2, &"b".parse().unwrap(), &"d".parse().unwrap())
        );
        assert_eq!(read("a: b\n\r\n").err(), Some(Fault::BareLineFeed));
        assert_eq!(read("a b\r\n\r\n").err(), Some(Fault::FieldName));
    }
}
