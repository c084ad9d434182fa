//! The head of a request on an HTTP/1 connection as a request: its bytes are inspected once, by
//! [`super::head`], and what was found is put together without copying the values.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Uri, Version};
use smallvec::SmallVec;
use std::ops::Range;

use super::field::{Field, Options};
use super::head::{self, Notes, Refused};
use super::names::Usual;
use super::{Bounds, Fault};

pub use super::head::{Body, Head};

/// What the fields of a request say of its connection and of its response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Said {
    /// Whether another request may follow (RFC 9112, section 9.3).
    pub keeps_alive: bool,
    /// Whether the client may wait for `100 Continue` before it sends the body. Never in HTTP/1.0.
    pub expects_continue: bool,
    /// Whether the client takes trailers of a response.
    pub takes_trailers: bool,
}

/// Reads heads of requests; of use for one after the other.
#[derive(Debug, Default)]
pub struct HeadReader {
    method: Range<usize>,
    target: Range<usize>,
    http10: bool,
    fields: SmallVec<[Field; FIELDS_USUAL]>,
}

impl Notes for HeadReader {
    fn line(&mut self, method: Range<usize>, target: Range<usize>, http10: bool) {
        (self.method, self.target, self.http10) = (method, target, http10);
    }

    fn field(&mut self, field: Field) {
        self.fields.push(field);
    }
}

impl HeadReader {
    /// Finds the head that some bytes begin with; `None` when more bytes are needed to know.
    ///
    /// # Errors
    /// It is none, whatever comes.
    pub fn find(&mut self, bytes: &[u8], bounds: &Bounds) -> Result<Option<Head>, Refused> {
        self.fields.clear();
        head::outline(bytes, bounds, self)
    }

    /// The request whose head was found last, in the same bytes. `headers` must be empty.
    ///
    /// # Errors
    /// The target, a name, or the number of fields is more than a request can have at all.
    pub fn request(
        &self,
        bytes: &Bytes,
        mut headers: HeaderMap,
    ) -> Result<(Request<()>, Said), Fault> {
        let mut request = Request::new(());
        let (method, target) = (&bytes[self.method.clone()], self.target.clone());
        *request.method_mut() = Method::from_bytes(method).map_err(|_| Fault::Method)?;
        *request.uri_mut() = match target.len() {
            0..=TARGET_BYTES_MAX => {
                Uri::from_maybe_shared(bytes.slice(target)).map_err(|_| Fault::Target)?
            }
            _ => return Err(Fault::TargetTooLong),
        };
        *request.version_mut() = match self.http10 {
            true => Version::HTTP_10,
            false => Version::HTTP_11,
        };
        headers
            .try_reserve(self.fields.len())
            .map_err(|_| Fault::TooManyFields)?;
        let mut notes = Noted::default();
        for field in &self.fields {
            notes.note(*field, bytes);
            field.append(bytes, &mut headers)?;
        }
        *request.headers_mut() = headers;
        let options = notes.options;
        let said = Said {
            keeps_alive: !options.closes && (!self.http10 || options.keeps_alive),
            expects_continue: notes.expects_continue && !self.http10,
            takes_trailers: notes.takes_trailers,
        };
        Ok((request, said))
    }
}

/// What is noted of the fields of a head as they are read.
#[derive(Debug, Default)]
struct Noted {
    options: Options,
    expects_continue: bool,
    takes_trailers: bool,
}

impl Noted {
    fn note(&mut self, field: Field, bytes: &[u8]) {
        match field.usual {
            Some(Usual::CONNECTION) => self.options.note(field.value(bytes)),
            Some(Usual::EXPECT) => {
                let value = field.value(bytes);
                self.expects_continue = value.eq_ignore_ascii_case(b"100-continue");
            }
            Some(Usual::TE) => {
                let mut codings = field.value(bytes).split(|byte| *byte == b',');
                self.takes_trailers |=
                    codings.any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"));
            }
            _ => {}
        }
    }
}

/// What stands for a request whose head is refused: its request line, where that was in order.
#[must_use]
pub fn stand_in(bytes: &[u8], refused: &Refused) -> Request<()> {
    let line = refused
        .request_line
        .and_then(|(from, to)| bytes.get(from..to));
    let line = line.and_then(|line| {
        let bytes = Bytes::from([line, b"\r\n"].concat());
        let bounds = Bounds {
            head_bytes_max: usize::MAX,
            fields_max: 0,
            target_bytes_max: usize::MAX,
            trailer_bytes_max: usize::MAX,
        };
        let mut reader = HeadReader::default();
        reader.find(&bytes, &bounds).ok()??;
        reader.request(&bytes, HeaderMap::new()).ok()
    });
    line.map_or_else(|| Request::new(()), |(request, _)| request)
}

/// Fields that need no allocation to be found.
const FIELDS_USUAL: usize = 24;
/// Longest target that [`Uri`] holds, bytes.
const TARGET_BYTES_MAX: usize = u16::MAX as usize - 1;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const BOUNDS: Bounds = Bounds {
        head_bytes_max: 200_000,
        fields_max: 40_000,
        target_bytes_max: 100_000,
        trailer_bytes_max: 200_000,
    };

    fn read(text: &str) -> (Request<()>, Said) {
        let bytes = Bytes::copy_from_slice(text.as_bytes());
        let mut reader = HeadReader::default();
        let head = reader.find(&bytes, &BOUNDS).unwrap().unwrap();
        assert_eq!(head.bytes, bytes.len());
        reader.request(&bytes, HeaderMap::new()).unwrap()
    }

    #[test]
    fn a_head_becomes_the_request_that_it_is() {
        let text =
            "\r\nPATCH /a?b=c HTTP/1.1\r\nHost: a\r\nx-Own:\t v w \t\r\nE:\r\nX-OWN:2\r\n\r\n";
        let (request, said) = read(text);
        assert_eq!(request.method(), "PATCH");
        assert_eq!(request.uri(), "/a?b=c");
        assert_eq!(request.version(), Version::HTTP_11);
        let fields = request.headers().iter();
        let fields = fields.map(|(name, value)| (name.as_str(), value.as_bytes()));
        let expected: [(&str, &[u8]); 4] = [
            ("host", b"a"),
            ("x-own", b"v w"),
            ("x-own", b"2"),
            ("e", b""),
        ];
        assert_eq!(fields.collect::<Vec<_>>(), expected);
        assert!(said.keeps_alive && !said.expects_continue && !said.takes_trailers);
        let (request, _) = read("CONNECT a:1 HTTP/1.1\r\n\r\n");
        assert_eq!(request.uri().authority().unwrap(), "a:1");
    }

    #[test]
    fn what_fields_say_of_the_connection_depends_on_the_version() {
        let said =
            |version: &str, fields: &str| read(&format!("GET / {version}\r\n{fields}\r\n")).1;
        let table = [
            ("HTTP/1.1", "", true),
            ("HTTP/1.1", "Connection: keep-alive, Close\r\n", false),
            (
                "HTTP/1.1",
                "Connection: close\r\nConnection: keep-alive\r\n",
                false,
            ),
            ("HTTP/1.0", "", false),
            ("HTTP/1.0", "Connection: x , Keep-Alive\r\n", true),
            (
                "HTTP/1.0",
                "Connection: keep-alive\r\nConnection: close\r\n",
                false,
            ),
        ];
        for (version, fields, keeps) in table {
            assert_eq!(
                said(version, fields).keeps_alive,
                keeps,
                "{version} {fields}"
            );
        }
        assert!(said("HTTP/1.1", "Expect: 100-Continue\r\n").expects_continue);
        assert!(!said("HTTP/1.1", "Expect: 200-ok\r\n").expects_continue);
        assert!(!said("HTTP/1.0", "Expect: 100-continue\r\n").expects_continue);
        assert!(said("HTTP/1.1", "TE: gzip, Trailers\r\n").takes_trailers);
        assert!(!said("HTTP/1.1", "TE: gzip\r\n").takes_trailers);
    }

    #[test]
    fn what_no_request_can_have_is_refused_and_no_panic() {
        let fault = |text: &str| {
            let bytes = Bytes::copy_from_slice(text.as_bytes());
            let mut reader = HeadReader::default();
            assert!(reader.find(&bytes, &BOUNDS).unwrap().is_some());
            reader.request(&bytes, HeaderMap::new()).err()
        };
        let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(bytes - 1));
        assert_eq!(fault(&target(TARGET_BYTES_MAX)), None);
        assert_eq!(
            fault(&target(TARGET_BYTES_MAX + 1)),
            Some(Fault::TargetTooLong)
        );
        let name = format!("GET / HTTP/1.1\r\n{}: x\r\n\r\n", "n".repeat(70_000));
        assert_eq!(fault(&name), Some(Fault::FieldName));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "a:\r\n".repeat(33_000));
        assert_eq!(fault(&many), Some(Fault::TooManyFields));
    }

    #[test]
    fn the_line_of_a_refused_head_stands_for_it() {
        let line_of = |text: &str| {
            let refused = HeadReader::default()
                .find(text.as_bytes(), &BOUNDS)
                .unwrap_err();
            stand_in(text.as_bytes(), &refused)
        };
        let known = line_of("\r\nPUT /x HTTP/1.0\r\nA : b\r\n\r\n");
        assert_eq!(
            (known.method().as_str(), known.uri().path(), known.version()),
            ("PUT", "/x", Version::HTTP_10)
        );
        let unknown = line_of("PUT /x HTTP/9.0\r\n");
        assert_eq!(
            (unknown.method().as_str(), unknown.uri().path()),
            ("GET", "/")
        );
    }
}
