//! The head of a response on an HTTP/1 connection, read strictly, and the length of what follows
//! (RFC 9112, sections 4 to 6).
//!
//! A parser that settles contradictions by itself settles them for us only: a cache or proxy in
//! front may settle otherwise, and what one takes for a body is the next response for the other.
//! A line feed alone ends a line for some and not for others, so that a value with one in it is a
//! field that the service never wrote.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Method, StatusCode, Version};
use smallvec::SmallVec;

use super::field::{Field, LINE_END, NAME_BYTES_MAX, Options};
use super::names::Usual;
use super::{Bounds, Fault, TOKEN, is_value};

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
    /// In the order they came in. Not among them: `Connection: keep-alive` and `close`, which are
    /// noted and mean nothing to anybody else.
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
    connection: Options,
}

impl Said {
    /// Says whether there is more to the field than what is noted.
    fn note(&mut self, field: Field, head: &[u8]) -> bool {
        match field.usual {
            Some(Usual::CONTENT_LENGTH) => {
                self.lengths += 1;
                self.length = number(field.value(head));
            }
            Some(Usual::TRANSFER_ENCODING) => self.codings += 1,
            Some(Usual::CONNECTION) => {
                let value = field.value(head);
                self.connection.note(value);
                return !Options::is_single(value);
            }
            _ => {}
        }
        true
    }
}

impl Head {
    /// Whether another response may follow on the same connection, as far as the head says (RFC
    /// 9112, section 9.3).
    #[must_use]
    pub fn keeps_alive(&self) -> bool {
        let said = &self.said.connection;
        match self.version {
            Version::HTTP_11 => !said.closes,
            _ => said.keeps_alive && !said.closes,
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
    status: Option<StatusLine>,
    /// Where the first line begins that was not read.
    at: usize,
    /// The lines after the status line, up to the most that there may be; an empty field for one
    /// that is none.
    fields: SmallVec<[Field; FIELDS_USUAL]>,
    /// What is wrong with the lines that were read. It counts when all of the head is there: where
    /// lines do not end as they must, that is said first.
    fault: Option<Fault>,
}

/// What the first line says.
#[derive(Debug, Clone, Copy)]
struct StatusLine {
    version: Version,
    status: StatusCode,
    /// Its bytes, with the end of the line.
    bytes: usize,
}

impl HeadReader {
    /// Takes a head off the front of a buffer; `None` when more bytes are needed. Its fields come
    /// into the map that `make` has, which must be empty.
    ///
    /// # Errors
    /// It is none, or too large, whatever comes. The buffer is of no use afterwards.
    pub fn read(
        &mut self,
        buffer: &mut BytesMut,
        bounds: &Bounds,
        make: impl FnOnce() -> HeaderMap,
    ) -> Result<Option<Head>, Fault> {
        let Some(first) = self.status_line(buffer)? else {
            return Ok(None);
        };
        // And the empty line.
        let bytes_max = first.bytes + bounds.head_bytes_max + LINE_END.len();
        loop {
            if let Some((field, end)) = Field::at(buffer, self.at)
                && field.can_be_named()
            {
                if end > bytes_max {
                    return Err(Fault::TooLarge);
                }
                self.push(field, bounds);
                self.at = end;
                continue;
            }
            let Some(end) = line_end(buffer, self.at, bytes_max)? else {
                return Ok(None);
            };
            let line = &buffer[self.at..end - LINE_END.len()];
            if line.is_empty() {
                let bytes = buffer.split_to(end).freeze();
                return self.head(first, &bytes, make).map(Some);
            }
            self.fault = self.fault.or(Some(fault_of(line)));
            self.push(Field::default(), bounds);
            self.at = end;
        }
    }

    fn push(&mut self, field: Field, bounds: &Bounds) {
        match self.fields.len() < bounds.fields_max {
            true => self.fields.push(field),
            false => self.fault = Some(Fault::TooManyFields),
        }
    }

    fn status_line(&mut self, buffer: &[u8]) -> Result<Option<StatusLine>, Fault> {
        if self.status.is_none()
            && let Some(bytes) = line_end(buffer, 0, STATUS_LINE_BYTES_MAX)?
        {
            let (version, status) = status_line(&buffer[..bytes - LINE_END.len()])?;
            self.status = Some(StatusLine {
                version,
                status,
                bytes,
            });
            self.at = bytes;
        }
        Ok(self.status)
    }

    /// A head that is there whole; the next one comes after it.
    fn head(
        &mut self,
        first: StatusLine,
        bytes: &Bytes,
        make: impl FnOnce() -> HeaderMap,
    ) -> Result<Head, Fault> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        let mut headers = make();
        headers.reserve(self.fields.len());
        let mut said = Said::default();
        for field in &self.fields {
            if said.note(*field, bytes) {
                field.append(bytes, &mut headers)?;
            }
        }
        (self.status, self.at) = (None, 0);
        self.fields.clear();
        Ok(Head {
            version: first.version,
            status: first.status,
            headers,
            said,
        })
    }
}

/// Where the line ends that begins at a place; `None` when it is not there whole.
fn line_end(bytes: &[u8], begin: usize, bytes_max: usize) -> Result<Option<usize>, Fault> {
    let rest = &bytes[begin..];
    if rest.starts_with(LINE_END) && begin + LINE_END.len() <= bytes_max {
        return Ok(Some(begin + LINE_END.len()));
    }
    let Some(length) = memchr::memchr(b'\n', rest) else {
        return match bytes.len() > bytes_max {
            true => Err(Fault::TooLarge),
            false => Ok(None),
        };
    };
    let end = begin + length + 1;
    if length == 0 || bytes[end - 2] != b'\r' {
        return Err(Fault::BareLineFeed);
    }
    match end > bytes_max {
        true => Err(Fault::TooLarge),
        false => Ok(Some(end)),
    }
}

/// What is wrong with a line, its end aside, that is no field.
fn fault_of(line: &[u8]) -> Fault {
    let Some(colon) = memchr::memchr(b':', line) else {
        return Fault::FieldName;
    };
    let name = &line[..colon];
    let is_name = name.iter().all(|byte| TOKEN[usize::from(*byte)])
        && (1..=NAME_BYTES_MAX).contains(&name.len());
    match name {
        _ if is_name => Fault::FieldValue,
        [b' ' | b'\t', ..] => Fault::FoldedLine,
        [.., b' ' | b'\t'] => Fault::SpaceBeforeColon,
        _ => Fault::FieldName,
    }
}

/// The fields of a trailer section, the empty line at its end included.
///
/// # Errors
/// It is none.
pub fn trailers(bytes: &Bytes) -> Result<HeaderMap, Fault> {
    let mut trailers = HeaderMap::new();
    let mut begin = 0;
    loop {
        if let Some((field, end)) = Field::at(bytes, begin) {
            field.append(bytes, &mut trailers)?;
            begin = end;
            continue;
        }
        let Some(end) = line_end(bytes, begin, usize::MAX)? else {
            return Ok(trailers);
        };
        let line = &bytes[begin..end - LINE_END.len()];
        if !line.is_empty() {
            return Err(fault_of(line));
        }
        begin = end;
    }
}

/// The reason phrase is not kept: HTTP/2 has none, and nobody may decide by it.
fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let (version, rest) = line
        .split_at_checked(VERSION_BYTES)
        .ok_or(Fault::StatusLine)?;
    let version = match version {
        _ if version == b"HTTP/1.1" => Version::HTTP_11,
        _ if version == b"HTTP/1.0" => Version::HTTP_10,
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
/// Longest status line, bytes.
const STATUS_LINE_BYTES_MAX: usize = 8 * 1024;
/// Fields that need no allocation to be found.
const FIELDS_USUAL: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use http::header::CONNECTION;

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
                if let Some(head) = reader.read(&mut buffer, &BOUNDS, HeaderMap::new)? {
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
        let whole = HeadReader::default().read(&mut endless.clone(), &BOUNDS, HeaderMap::new);
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
        // What is noted is not told; what names other fields is.
        let answer = "HTTP/1.1 200 OK\r\nConnection: CLOSE\r\nConnection: a, close\r\n\r\n";
        let head = head(answer);
        let told: Vec<_> = head.headers.get_all(CONNECTION).iter().collect();
        assert_eq!(told, ["a, close"]);
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
