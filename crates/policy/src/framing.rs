//! Where one HTTP/1 request ends and the next begins, read strictly (RFC 9112, sections 2 to 7).
//!
//! Request smuggling is two parties reading one stream of bytes in two ways. A parser that repairs
//! what it reads (a lone line feed, a folded line, a length said twice) is one of the two. So every
//! byte that arrives is read strictly: heads by [`request::HeadReader`], chunked bodies by
//! [`chunks::Chunks`]. What has two readings is refused, with a [`Fault`] that says why.
//! Not for: what the fields of a well-formed head mean; the phases of policy decide that.

pub mod chunks;
mod field;
pub mod frames;
pub mod head;
mod names;
pub mod request;
pub mod response;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::refusal::{Code, Refusal};

/// Why a stream of bytes is not a sequence of requests, or of responses. Always the fault of who
/// sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Fault {
    /// A line ends with a line feed alone.
    BareLineFeed = 1,
    /// The data of a chunk is not followed by CRLF.
    ChunkEnd,
    /// The extension of a chunk holds a byte that no line may hold.
    ChunkExtension,
    /// The extension of a chunk is longer than any is taken.
    ChunkExtensionTooLong,
    /// The extensions of all chunks are much more than their data.
    ChunkExtensionsTooLarge,
    /// The size of a chunk is not 1 to 16 hexadecimal digits, alone on its line.
    ChunkSize,
    /// A transfer coding other than `chunked`, or after it.
    CodingUnknown,
    /// `Transfer-Encoding` in an HTTP/1.0 request.
    CodingInHttp10,
    /// More than one `Transfer-Encoding`.
    CodingTwice,
    /// The name of a field is empty or holds a byte that no name may hold.
    FieldName,
    /// The value of a field holds a control byte.
    FieldValue,
    /// A line begins with white space: the obsolete folding of the one before.
    FoldedLine,
    /// A request line without a version, as HTTP/0.9 had it.
    Http09,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthAndCoding,
    /// `Content-Length` is not a number in decimal digits.
    LengthInvalid,
    /// More than one `Content-Length`.
    LengthTwice,
    /// A carriage return without a line feed.
    LoneCarriageReturn,
    /// The method is empty or holds a byte that no method may hold.
    Method,
    /// The method is longer than any is taken.
    MethodTooLong,
    /// The request line does not end after its version.
    RequestLine,
    /// White space between the name of a field and its colon.
    SpaceBeforeColon,
    /// The first line of a response is no status line.
    StatusLine,
    /// The request target holds a byte that no target may hold, or has no known form.
    Target,
    /// The request target is longer than the listener takes.
    TargetTooLong,
    /// The header section is longer than the listener takes.
    TooLarge,
    /// The header section has more fields than the listener takes.
    TooManyFields,
    /// A trailer field is malformed.
    Trailer,
    /// The trailer section is longer than the listener takes.
    TrailersTooLarge,
    /// The trailer section has more fields than the listener takes.
    TrailersTooMany,
    /// A version other than HTTP/1.0 and HTTP/1.1.
    Version,
}

impl Fault {
    /// Every fault, alphabetically.
    pub const ALL: [Fault; 30] = [
        Fault::BareLineFeed,
        Fault::ChunkEnd,
        Fault::ChunkExtension,
        Fault::ChunkExtensionTooLong,
        Fault::ChunkExtensionsTooLarge,
        Fault::ChunkSize,
        Fault::CodingUnknown,
        Fault::CodingInHttp10,
        Fault::CodingTwice,
        Fault::FieldName,
        Fault::FieldValue,
        Fault::FoldedLine,
        Fault::Http09,
        Fault::LengthAndCoding,
        Fault::LengthInvalid,
        Fault::LengthTwice,
        Fault::LoneCarriageReturn,
        Fault::Method,
        Fault::MethodTooLong,
        Fault::RequestLine,
        Fault::SpaceBeforeColon,
        Fault::StatusLine,
        Fault::Target,
        Fault::TargetTooLong,
        Fault::TooLarge,
        Fault::TooManyFields,
        Fault::Trailer,
        Fault::TrailersTooLarge,
        Fault::TrailersTooMany,
        Fault::Version,
    ];

    /// Its number; never 0.
    #[must_use]
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The fault with this number.
    #[must_use]
    pub fn numbered(number: u8) -> Option<Fault> {
        let index = usize::from(number).checked_sub(1)?;
        Fault::ALL.get(index).copied()
    }

    /// The reason code it is refused with.
    #[must_use]
    pub fn code(self) -> Code {
        match self {
            Fault::BareLineFeed
            | Fault::FieldName
            | Fault::FieldValue
            | Fault::FoldedLine
            | Fault::LoneCarriageReturn
            | Fault::SpaceBeforeColon => Code::BadHeader,
            Fault::ChunkEnd | Fault::ChunkExtension | Fault::ChunkSize => Code::BadChunk,
            Fault::ChunkExtensionTooLong => Code::ChunkExtensionTooLong,
            Fault::ChunkExtensionsTooLarge => Code::ChunkExtensionsTooLarge,
            Fault::CodingUnknown
            | Fault::CodingInHttp10
            | Fault::CodingTwice
            | Fault::LengthAndCoding
            | Fault::LengthInvalid
            | Fault::LengthTwice => Code::BadFraming,
            Fault::Http09 | Fault::Method | Fault::RequestLine | Fault::Target => {
                Code::BadRequestLine
            }
            Fault::MethodTooLong => Code::MethodTooLong,
            Fault::StatusLine => Code::UpstreamProtocol,
            Fault::TargetTooLong => Code::UriTooLong,
            Fault::TooLarge => Code::HeaderTooLarge,
            Fault::TooManyFields => Code::HeadersTooMany,
            Fault::Trailer => Code::BadTrailer,
            Fault::TrailersTooLarge => Code::TrailersTooLarge,
            Fault::TrailersTooMany => Code::TrailersTooMany,
            Fault::Version => Code::VersionUnsupported,
        }
    }

    /// Whether there is only too much of something that is in order.
    #[must_use]
    pub fn is_too_much(self) -> bool {
        matches!(
            self,
            Fault::ChunkExtensionTooLong
                | Fault::ChunkExtensionsTooLarge
                | Fault::MethodTooLong
                | Fault::TargetTooLong
                | Fault::TooLarge
                | Fault::TooManyFields
                | Fault::TrailersTooLarge
                | Fault::TrailersTooMany
        )
    }

    /// What the client is told beside the code.
    #[must_use]
    pub fn detail(self) -> &'static str {
        match self {
            Fault::BareLineFeed => "a line ends with a line feed alone",
            Fault::ChunkEnd => "the data of a chunk is not followed by CRLF",
            Fault::ChunkExtension => "a chunk extension holds a byte that it may not",
            Fault::ChunkExtensionTooLong => "a chunk extension is longer than 256 bytes",
            Fault::ChunkExtensionsTooLarge => "the chunk extensions are much more than the data",
            Fault::ChunkSize => "a chunk size is not 1 to 16 hexadecimal digits alone on its line",
            Fault::CodingUnknown => "a transfer coding other than `chunked`",
            Fault::CodingInHttp10 => "`Transfer-Encoding` in an HTTP/1.0 request",
            Fault::CodingTwice => "more than one `Transfer-Encoding`",
            Fault::FieldName => "the name of a header field holds a byte that it may not",
            Fault::FieldValue => "the value of a header field holds a control byte",
            Fault::FoldedLine => "a header line begins with white space",
            Fault::Http09 => "the request line has no version",
            Fault::LengthAndCoding => "both `Content-Length` and `Transfer-Encoding`",
            Fault::LengthInvalid => "`Content-Length` is not a decimal number",
            Fault::LengthTwice => "more than one `Content-Length`",
            Fault::LoneCarriageReturn => "a carriage return without a line feed",
            Fault::Method => "the method is not a token",
            Fault::MethodTooLong => "the method is longer than 32 bytes",
            Fault::RequestLine => "the request line does not end after its version",
            Fault::SpaceBeforeColon => "white space before the colon of a header field",
            Fault::StatusLine => "the first line of a response is no status line",
            Fault::Target => "the request target is malformed",
            Fault::TargetTooLong => "the request target is too long",
            Fault::TooLarge => "the header section is too long",
            Fault::TooManyFields => "too many header fields",
            Fault::Trailer => "a trailer field is malformed",
            Fault::TrailersTooLarge => "the trailer section is too long",
            Fault::TrailersTooMany => "too many trailer fields",
            Fault::Version => "this listener speaks HTTP/1.0, HTTP/1.1 and HTTP/2",
        }
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Refusal {
        Refusal::new(fault.code()).with_detail(fault.detail())
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.detail())
    }
}

impl std::error::Error for Fault {}

/// How much of it a listener takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// Longest header section, request line included, bytes.
    pub head_bytes_max: usize,
    /// Most fields of a header or trailer section.
    pub fields_max: usize,
    /// Longest request target, bytes.
    pub target_bytes_max: usize,
    /// Longest trailer section, bytes: its lines with their ends.
    pub trailer_bytes_max: usize,
}

impl Bounds {
    /// Those of a trailer section that comes in another form than HTTP/1.
    #[must_use]
    pub fn trailers(&self) -> TrailerBounds {
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        TrailerBounds {
            bytes_max: narrow(self.trailer_bytes_max),
            fields_max: narrow(self.fields_max),
        }
    }
}

/// How much of a trailer section is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TrailerBounds {
    bytes_max: u32,
    fields_max: u32,
}

impl TrailerBounds {
    /// Which bound a trailer section is over; its bytes count as HTTP/1.1 writes them:
    /// `name: value`, and an end for each line.
    #[must_use]
    pub fn exceeded_by(self, trailers: &HeaderMap) -> Option<Fault> {
        if trailers.len() > self.fields_max as usize {
            return Some(Fault::TrailersTooMany);
        }
        let field =
            |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
        let bytes = trailers.iter().map(field).sum::<usize>();
        (bytes > self.bytes_max as usize).then_some(Fault::TrailersTooLarge)
    }
}

/// Bytes of a token (RFC 9110, section 5.6.2): methods and names of fields.
pub(crate) const TOKEN: [bool; 256] = tokens();

const fn tokens() -> [bool; 256] {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        // The range check above the cast makes it lossless.
        table[byte] = matches!(
            byte as u8,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'!' | b'#' | b'$' | b'%' | b'&' | b'\''
                | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
        byte += 1;
    }
    table
}

/// One in each of eight bytes.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Whether a byte may stand in the value of a field: not a control byte, except the tab.
pub(crate) fn is_value(byte: u8) -> bool {
    byte == b'\t' || (byte >= 0x20 && byte != 0x7F)
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
