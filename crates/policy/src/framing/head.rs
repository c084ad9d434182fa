//! One header section, from the request line to the empty line.
//!
//! One pass over bytes that were just read. Everything is refused that two parsers could read in
//! two ways, so that what is accepted has one reading: fields end with CRLF, and the length of the
//! body is said once or not at all.

use std::ops::Range;

use http::Uri;

use super::field::Field;
use super::names::Usual;
use super::{Bounds, Fault, TOKEN, field};

/// How long the body of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It comes in chunks.
    Chunked,
    /// This many bytes, often none.
    Length(u64),
}

/// A whole header section.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bytes of it, with empty lines in front and the one at its end.
    pub bytes: usize,
    /// What follows.
    pub body: Body,
    /// Whether what follows an answer may be something else than HTTP: it asks for a WebSocket or
    /// a tunnel.
    pub leaves_http: bool,
}

/// A header section that is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// Why.
    pub fault: Fault,
    /// Where its request line begins and ends (the CRLF included), when that was in order.
    pub request_line: Option<(usize, usize)>,
}

/// Reads one header section; `None` when more bytes are needed to know.
///
/// # Errors
/// It is none, whatever comes.
pub fn inspect(bytes: &[u8], bounds: &Bounds) -> Result<Option<Head>, Refused> {
    outline(bytes, bounds, &mut Nothing)
}

/// Told where the parts of a header section stand, in their order.
pub(super) trait Notes {
    /// The bytes of the method and of the target, and whether the version is 1.0.
    fn line(&mut self, method: Range<usize>, target: Range<usize>, http10: bool);
    /// Where a field stands.
    fn field(&mut self, field: Field);
}

/// Who only wants to know whether it is in order.
struct Nothing;

impl Notes for Nothing {
    fn line(&mut self, _: Range<usize>, _: Range<usize>, _: bool) {}

    fn field(&mut self, _: Field) {}
}

/// The same, with notes of where everything stands; they are of no use unless there is a head.
pub(super) fn outline(
    bytes: &[u8],
    bounds: &Bounds,
    notes: &mut impl Notes,
) -> Result<Option<Head>, Refused> {
    let mut reader = Reader {
        bytes,
        at: 0,
        bounds,
        notes,
        http10: false,
        leaves_http: false,
        length: None,
        coding: false,
    };
    let mut line = None;
    match reader.head(&mut line) {
        Ok(End::Whole) => Ok(Some(Head {
            bytes: reader.at,
            body: match (reader.coding, reader.length) {
                (true, _) => Body::Chunked,
                (false, length) => Body::Length(length.unwrap_or(0)),
            },
            leaves_http: reader.leaves_http,
        })),
        Ok(End::Partial) if bytes.len() >= bounds.head_bytes_max => Err(Refused {
            fault: Fault::TooLarge,
            request_line: line,
        }),
        Ok(End::Partial) => Ok(None),
        Err(fault) => Err(Refused {
            fault,
            request_line: line,
        }),
    }
}

/// Whether there is all of it.
enum End {
    Whole,
    Partial,
}

/// What follows an item: the next one, or the end of the bytes.
macro_rules! or_partial {
    ($step:expr) => {
        match $step {
            Some(value) => value,
            None => return Ok(End::Partial),
        }
    };
}

struct Reader<'a, N> {
    bytes: &'a [u8],
    at: usize,
    bounds: &'a Bounds,
    notes: &'a mut N,
    http10: bool,
    leaves_http: bool,
    length: Option<u64>,
    coding: bool,
}

impl<N: Notes> Reader<'_, N> {
    fn head(&mut self, line: &mut Option<(usize, usize)>) -> Result<End, Fault> {
        // Empty lines before a request are the leavings of careless clients (section 2.2).
        while let Some(b'\r') = self.peek() {
            if !or_partial!(self.line_end()?) {
                return Err(Fault::Method);
            }
        }
        let begin = self.at;
        or_partial!(self.request_line()?);
        *line = Some((begin, self.at));
        let mut fields = 0;
        loop {
            match or_partial!(self.peek()) {
                b'\r' => {
                    or_partial!(self.line_end()?);
                    break;
                }
                b'\n' => return Err(Fault::BareLineFeed),
                b' ' | b'\t' => return Err(Fault::FoldedLine),
                _ => {}
            }
            or_partial!(self.field()?);
            fields += 1;
            if fields > self.bounds.fields_max {
                return Err(Fault::TooManyFields);
            }
        }
        if self.at > self.bounds.head_bytes_max {
            return Err(Fault::TooLarge);
        }
        if self.coding && self.length.is_some() {
            return Err(Fault::LengthAndCoding);
        }
        if self.coding && self.http10 {
            return Err(Fault::CodingInHttp10);
        }
        Ok(End::Whole)
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Takes CRLF; false when something else is there.
    fn line_end(&mut self) -> Result<Option<bool>, Fault> {
        match (self.peek(), self.bytes.get(self.at + 1)) {
            (Some(b'\r'), Some(b'\n')) => {
                self.at += 2;
                Ok(Some(true))
            }
            (Some(b'\r'), Some(_)) => Err(Fault::LoneCarriageReturn),
            (Some(b'\n'), _) => Err(Fault::BareLineFeed),
            (Some(b'\r'), None) | (None, _) => Ok(None),
            (Some(_), _) => Ok(Some(false)),
        }
    }

    fn request_line(&mut self) -> Result<Option<()>, Fault> {
        let begin = self.at;
        let Some(method) = self.until_space(Fault::Method, METHOD_BYTES_MAX, is_token)? else {
            return Ok(None);
        };
        if method.is_empty() {
            return Err(Fault::Method);
        }
        let method_end = begin + method.len();
        let tunnel = method == b"CONNECT";
        // `PRI` is how HTTP/2 begins; its version is refused below.
        let star = method == b"OPTIONS" || method == b"PRI";
        let mut kinds = PLAIN;
        let allowed = |byte: u8| {
            let kind = TARGET[usize::from(byte)];
            kinds |= kind;
            kind != FORBIDDEN
        };
        let bytes_max = self.bounds.target_bytes_max;
        let Some(target) = self.until_space(Fault::Target, bytes_max, allowed)? else {
            return Ok(None);
        };
        if !is_target(target, kinds & RARE != 0, tunnel, star) {
            return Err(Fault::Target);
        }
        let target = method_end + 1..method_end + 1 + target.len();
        self.leaves_http = tunnel;
        let rest = &self.bytes[self.at..];
        let known = rest.len().min(VERSION.len());
        if rest[..known] != VERSION[..known] {
            // `HTTP/2.0`, `HTTP/1.11`; everything else is no version at all.
            let other = rest.starts_with(b"HTTP/");
            return Err(if other {
                Fault::Version
            } else {
                Fault::RequestLine
            });
        }
        match rest.get(VERSION.len()) {
            None => return Ok(None),
            Some(b'0') => self.http10 = true,
            Some(b'1') => {}
            Some(_) => return Err(Fault::Version),
        }
        self.at += VERSION.len() + 1;
        match self.line_end()? {
            None => Ok(None),
            Some(true) => {
                self.notes.line(begin..method_end, target, self.http10);
                Ok(Some(()))
            }
            Some(false) => Err(Fault::RequestLine),
        }
    }

    /// Takes the bytes that are allowed and the space after them.
    fn until_space(
        &mut self,
        fault: Fault,
        bytes_max: usize,
        mut allowed: impl FnMut(u8) -> bool,
    ) -> Result<Option<&[u8]>, Fault> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|&byte| !allowed(byte));
        if end.unwrap_or(rest.len()) > bytes_max {
            return Err(match fault {
                Fault::Method => Fault::MethodTooLong,
                Fault::Target => Fault::TargetTooLong,
                other => other,
            });
        }
        let Some(end) = end else { return Ok(None) };
        match rest[end] {
            b' ' => {
                self.at += end + 1;
                Ok(Some(&rest[..end]))
            }
            b'\r' | b'\n' if fault == Fault::Target && end > 0 => Err(Fault::Http09),
            _ => Err(fault),
        }
    }

    fn field(&mut self) -> Result<Option<()>, Fault> {
        let Some((field, end)) = Field::at(self.bytes, self.at) else {
            return self.no_field().map(|()| None);
        };
        self.at = end;
        self.notes.field(field);
        match field.usual {
            Some(Usual::CONTENT_LENGTH) => self.content_length(field.value(self.bytes))?,
            Some(Usual::TRANSFER_ENCODING) => self.coding(field.value(self.bytes))?,
            Some(Usual::UPGRADE) => {
                let value = field.value(self.bytes);
                self.leaves_http |= value.eq_ignore_ascii_case(b"websocket");
            }
            _ => {}
        }
        Ok(Some(()))
    }

    /// Refuses a line that is no field, unless it may become one.
    fn no_field(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        let Some(end) = rest.iter().position(|&byte| !is_token(byte)) else {
            return Ok(());
        };
        match rest[end] {
            b':' if end > 0 => {}
            b' ' | b'\t' => return Err(Fault::SpaceBeforeColon),
            b'\n' => return Err(Fault::BareLineFeed),
            _ => return Err(Fault::FieldName),
        }
        let Some(length) = field::value_length(&rest[end + 1..]) else {
            return Ok(());
        };
        self.at += end + 1 + length;
        match self.line_end()? {
            None => Ok(()),
            Some(_) => Err(Fault::FieldValue),
        }
    }

    fn coding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.coding {
            return Err(Fault::CodingTwice);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::CodingUnknown);
        }
        self.coding = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::LengthTwice);
        }
        if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
            return Err(Fault::LengthInvalid);
        }
        let mut length: u64 = 0;
        for &digit in value {
            if !digit.is_ascii_digit() {
                return Err(Fault::LengthInvalid);
            }
            // Nineteen digits fit.
            length = length * 10 + u64::from(digit - b'0');
        }
        self.length = Some(length);
        Ok(())
    }
}

fn is_token(byte: u8) -> bool {
    TOKEN[usize::from(byte)]
}

/// Whether a target without forbidden bytes has one of the four forms (section 3.2).
fn is_target(target: &[u8], rare: bool, tunnel: bool, star: bool) -> bool {
    match target {
        [] => false,
        [b'/', ..] if !tunnel => !rare || Uri::try_from(target).is_ok(),
        b"*" => star,
        _ => Uri::try_from(target).is_ok_and(|uri| {
            let web = matches!(uri.scheme_str(), Some("http" | "https"));
            uri.authority().is_some() && web != tunnel
        }),
    }
}

/// What every version begins with.
const VERSION: &[u8; 7] = b"HTTP/1.";
/// Longest method: the registered ones have at most 17 bytes.
const METHOD_BYTES_MAX: usize = 32;
/// A number of 19 digits fits 64 bits; nobody sends more.
const LENGTH_DIGITS_MAX: usize = 19;

/// Stands in targets.
const PLAIN: u8 = 0;
/// May stand in some targets.
const RARE: u8 = 1;
/// Stands in no target: controls, space, `#`, and what is not ASCII.
const FORBIDDEN: u8 = 2;

const TARGET: [u8; 256] = targets();

const fn targets() -> [u8; 256] {
    let mut table = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        // The range check above the cast makes it lossless.
        table[byte] = match byte as u8 {
            0..=0x20 | 0x7F..=0xFF | b'#' => FORBIDDEN,
            b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'{' | b'|' | b'}' => RARE,
            _ => PLAIN,
        };
        byte += 1;
    }
    table
}
