//! gRPC as far as a proxy has to know it: which requests are calls, their deadline and their
//! status.
//!
//! For: recognising calls, reading and writing `grpc-timeout`, reading `grpc-status`, and what a
//! status says about an endpoint. Not for: messages; those pass as they are. The protocol is
//! written down in `PROTOCOL-HTTP2.md` and `PROTOCOL-WEB.md` of github.com/grpc/grpc.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use weir_config::grpc::GrpcStatus;

use crate::refusal::{Code, Refusal};
use crate::request::RequestView;

/// How a call comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flavour {
    /// gRPC: messages in the body, the status in trailers.
    Grpc,
    /// gRPC-Web: messages and trailers in the body, for clients that see no trailers.
    Web,
    /// gRPC-Web with the body in Base64, for clients that take text only.
    WebText,
}

impl Flavour {
    /// The flavour of a request; `None` for what is no gRPC call.
    #[must_use]
    pub fn of(method: &Method, headers: &HeaderMap) -> Option<Flavour> {
        // Most requests are not asked further.
        if *method != Method::POST {
            return None;
        }
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let (name, rest) = kind.split_at_checked(PREFIX.len())?;
        if !name.eq_ignore_ascii_case(PREFIX) {
            return None;
        }
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b'+' | b';' | b' '));
        match &rest[..end.unwrap_or(rest.len())] {
            b"" => Some(Flavour::Grpc),
            web if web.eq_ignore_ascii_case(b"-web") => Some(Flavour::Web),
            text if text.eq_ignore_ascii_case(b"-web-text") => Some(Flavour::WebText),
            _ => None,
        }
    }

    /// Whether it is one of the two forms of gRPC-Web.
    #[must_use]
    pub fn is_web(self) -> bool {
        self != Flavour::Grpc
    }

    /// The type of an answer that has no messages.
    #[must_use]
    pub fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Flavour::Grpc => "application/grpc",
            Flavour::Web => "application/grpc-web+proto",
            Flavour::WebText => "application/grpc-web-text+proto",
        })
    }
}

/// What a call says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) flavour: Flavour,
    /// How long its client waits.
    timeout: Option<Duration>,
}

impl Call {
    /// The call that a request is.
    ///
    /// # Errors
    /// `grpc-timeout-invalid`.
    pub(crate) fn of(request: &RequestView<'_>) -> Result<Option<Call>, Refusal> {
        let Some(flavour) = Flavour::of(request.method, request.headers) else {
            return Ok(None);
        };
        let timeout = timeout(request.headers).map_err(|fault| {
            Refusal::new(Code::GrpcTimeoutInvalid).with_detail(fault.to_string())
        })?;
        Ok(Some(Call { flavour, timeout }))
    }

    /// A call that goes on at another service. How long its client waits is known to whoever sends
    /// it on.
    pub(crate) fn elsewhere(flavour: Flavour) -> Call {
        Call {
            flavour,
            timeout: None,
        }
    }

    /// How long it may take: what its client asks for, at most what the route grants.
    pub(crate) fn deadline(self, granted: Option<Duration>) -> Option<Duration> {
        let asked = self.timeout?;
        Some(granted.map_or(asked, |granted| asked.min(granted)))
    }
}

/// What a call is refused with that has taken all of `deadline`, where calls are granted so much:
/// it tells whether the client's own time is over.
pub(crate) fn late(deadline: Option<Duration>, granted: Option<Duration>) -> Code {
    match granted.is_some() && deadline >= granted {
        true => Code::GrpcTimeout,
        false => Code::GrpcDeadline,
    }
}

/// A status, 0 to 16.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Status(u8);

impl Status {
    /// The call succeeded.
    pub const OK: Status = Status(0);
    /// The client gave up.
    pub const CANCELLED: Status = Status(1);
    /// Nobody knows; also what is made of a status that is none.
    pub const UNKNOWN: Status = Status(2);
    /// The deadline passed.
    pub const DEADLINE_EXCEEDED: Status = Status(4);
    /// The client may not.
    pub const PERMISSION_DENIED: Status = Status(7);
    /// A limit is used up.
    pub const RESOURCE_EXHAUSTED: Status = Status(8);
    /// There is no such method.
    pub const UNIMPLEMENTED: Status = Status(12);
    /// Something is broken, or against the protocol.
    pub const INTERNAL: Status = Status(13);
    /// Not now.
    pub const UNAVAILABLE: Status = Status(14);
    /// Data was lost.
    pub const DATA_LOSS: Status = Status(15);
    /// The client is not known.
    pub const UNAUTHENTICATED: Status = Status(16);
    /// How many there are.
    pub const COUNT: usize = 17;

    /// The status in the trailers of a response, or in its head where it has nothing else.
    #[must_use]
    pub fn of(fields: &HeaderMap) -> Option<Status> {
        let value = fields.get(STATUS_HEADER)?.as_bytes();
        Some(match value {
            [one @ b'0'..=b'9'] => Status(one - b'0'),
            [b'1', two @ b'0'..=b'6'] => Status(10 + two - b'0'),
            _ => Status::UNKNOWN,
        })
    }

    /// What a client has to make of an HTTP status where there is no `grpc-status`
    /// (`http-grpc-status-mapping.md`), with three statuses more: 408 and 504 are deadlines, 413,
    /// 429 and 431 are limits, and 405 is a method that there is not.
    pub(crate) const fn of_http(status: StatusCode) -> Status {
        match status.as_u16() {
            400 | 500 => Status::INTERNAL,
            401 => Status::UNAUTHENTICATED,
            403 => Status::PERMISSION_DENIED,
            404 | 405 | 501 => Status::UNIMPLEMENTED,
            408 | 504 => Status::DEADLINE_EXCEEDED,
            413 | 429 | 431 => Status::RESOURCE_EXHAUSTED,
            502 | 503 => Status::UNAVAILABLE,
            _ => Status::UNKNOWN,
        }
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> u8 {
        self.0
    }

    /// Its number as text, also the label of metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        NUMBERS[usize::from(self.0)]
    }

    /// Whether it speaks against the endpoint, as 503 does. A deadline does not: the client chose
    /// it.
    pub(crate) fn fails_endpoint(self) -> bool {
        self == Status::UNAVAILABLE
    }

    /// Whether it speaks against the service, as any 5xx does.
    pub(crate) fn fails_service(self) -> bool {
        matches!(
            self,
            Status::UNKNOWN | Status::INTERNAL | Status::UNAVAILABLE | Status::DATA_LOSS
        )
    }
}

/// A set of statuses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statuses(u32);

impl Statuses {
    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, status: Status) -> bool {
        self.0 & (1 << status.0) != 0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<GrpcStatus> for Statuses {
    fn from_iter<I: IntoIterator<Item = GrpcStatus>>(statuses: I) -> Self {
        let bits = statuses.into_iter().map(|status| 1 << status.number());
        Statuses(bits.fold(0, |all, bit: u32| all | bit))
    }
}

impl std::fmt::Display for Statuses {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut between = "";
        for (number, text) in NUMBERS.iter().enumerate() {
            if self.0 & (1 << number) != 0 {
                write!(f, "{between}{text}")?;
                between = ", ";
            }
        }
        Ok(())
    }
}

/// A `grpc-timeout` that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("`grpc-timeout` must be 1 to 8 digits and one of H, M, S, m, u, n")]
pub struct BadTimeout;

/// How long a call may take, as its client says.
///
/// # Errors
/// When it says something else.
pub fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, BadTimeout> {
    let Some(value) = headers.get(TIMEOUT_HEADER) else {
        return Ok(None);
    };
    let Some((unit, digits @ [_, ..])) = value.as_bytes().split_last() else {
        return Err(BadTimeout);
    };
    if digits.len() > TIMEOUT_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return Err(BadTimeout);
    }
    let fold = |number, digit: &u8| number * 10 + u64::from(digit - b'0');
    let number = digits.iter().fold(0_u64, fold);
    Ok(Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return Err(BadTimeout),
    }))
}

/// A duration as `grpc-timeout`: in the finest unit that has room for it, cut to that unit, never
/// nothing.
#[must_use]
pub fn timeout_value(left: Duration) -> HeaderValue {
    let units = [
        (left.as_nanos(), 'n'),
        (left.as_micros(), 'u'),
        (left.as_millis(), 'm'),
        (u128::from(left.as_secs()), 'S'),
        (u128::from(left.as_secs() / 3600), 'H'),
    ];
    let fits = units
        .into_iter()
        .find(|(number, _)| *number <= TIMEOUT_NUMBER_MAX);
    let (number, unit) = fits.unwrap_or((TIMEOUT_NUMBER_MAX, 'H'));
    // Digits and a letter always make a header value.
    HeaderValue::try_from(format!("{}{unit}", number.max(1)))
        .unwrap_or(HeaderValue::from_static("1n"))
}

/// The head of a gRPC-Web request becomes that of gRPC.
pub fn request_from_web(headers: &mut HeaderMap) {
    swap_type(headers, b"application/grpc");
    headers.insert(TE, HeaderValue::from_static("trailers"));
    // They speak about the form, or count its bytes.
    for name in [
        ACCEPT,
        CONTENT_LENGTH,
        HeaderName::from_static("x-grpc-web"),
    ] {
        headers.remove(name);
    }
}

/// The head of a gRPC response becomes that of this form of gRPC-Web. Says whether it was one:
/// whatever else a service answers is passed on as it is.
#[must_use]
pub fn response_to_web(flavour: Flavour, headers: &mut HeaderMap) -> bool {
    let is_grpc = |kind: &HeaderValue| kind.as_bytes().starts_with(PREFIX);
    if !headers.get(CONTENT_TYPE).is_some_and(is_grpc) {
        return false;
    }
    swap_type(
        headers,
        match flavour {
            Flavour::WebText => b"application/grpc-web-text",
            Flavour::Grpc | Flavour::Web => b"application/grpc-web",
        },
    );
    headers.remove(CONTENT_LENGTH);
    true
}

/// Another name before the `+proto` of a type; `+proto` is said where nothing is.
fn swap_type(headers: &mut HeaderMap, name: &[u8]) {
    let kind = headers
        .get(CONTENT_TYPE)
        .map_or(&b""[..], HeaderValue::as_bytes);
    let suffix = kind.iter().position(|byte| *byte == b'+');
    let suffix = suffix.map_or(&b"+proto"[..], |at| &kind[at..]);
    if let Ok(kind) = HeaderValue::from_bytes(&[name, suffix].concat()) {
        headers.insert(CONTENT_TYPE, kind);
    }
}

/// Where the status of a call stands.
pub const STATUS_HEADER: HeaderName = HeaderName::from_static("grpc-status");
/// What the status means in this case, percent-encoded.
pub const MESSAGE_HEADER: HeaderName = HeaderName::from_static("grpc-message");
/// How long a call may take.
pub const TIMEOUT_HEADER: HeaderName = HeaderName::from_static("grpc-timeout");
/// Milliseconds after which another attempt makes sense.
pub const PUSHBACK_HEADER: HeaderName = HeaderName::from_static("grpc-retry-pushback-ms");

const PREFIX: &[u8] = b"application/grpc";
const TIMEOUT_DIGITS_MAX: usize = 8;
const TIMEOUT_NUMBER_MAX: u128 = 99_999_999;
const NUMBERS: [&str; Status::COUNT] = [
    "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16",
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn fields(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn calls_are_known_by_method_and_type() {
        let table = [
            ("application/grpc", Some(Flavour::Grpc)),
            ("application/grpc+proto", Some(Flavour::Grpc)),
            ("Application/gRPC;x=1", Some(Flavour::Grpc)),
            ("application/grpc-web", Some(Flavour::Web)),
            ("application/grpc-web+json", Some(Flavour::Web)),
            ("application/grpc-web-text+proto", Some(Flavour::WebText)),
            ("application/grpcx", None),
            ("application/grpc-webby", None),
            ("application/json", None),
            ("app", None),
        ];
        for (kind, expected) in table {
            let headers = fields(CONTENT_TYPE, kind);
            assert_eq!(Flavour::of(&Method::POST, &headers), expected, "{kind}");
            assert_eq!(Flavour::of(&Method::GET, &headers), None, "{kind}");
        }
        assert_eq!(Flavour::of(&Method::POST, &HeaderMap::new()), None);
    }

    #[test]
    fn heads_change_their_form() {
        for (web, grpc) in [
            ("application/grpc-web", "application/grpc+proto"),
            ("application/grpc-web-text+json", "application/grpc+json"),
        ] {
            let mut headers = fields(CONTENT_TYPE, web);
            headers.insert(CONTENT_LENGTH, HeaderValue::from(7));
            headers.insert("x-grpc-web", HeaderValue::from(1));
            request_from_web(&mut headers);
            assert_eq!(headers[CONTENT_TYPE], grpc);
            assert_eq!(headers["te"], "trailers");
            assert_eq!(headers.len(), 2);
        }
        for (flavour, expected) in [
            (Flavour::Web, "application/grpc-web+proto"),
            (Flavour::WebText, "application/grpc-web-text+proto"),
        ] {
            let mut headers = fields(CONTENT_TYPE, "application/grpc");
            assert!(response_to_web(flavour, &mut headers));
            assert_eq!(headers[CONTENT_TYPE], expected);
        }
        let mut page = fields(CONTENT_TYPE, "text/html");
        assert!(!response_to_web(Flavour::Web, &mut page));
        assert_eq!(page[CONTENT_TYPE], "text/html");
    }

    #[test]
    fn statuses_are_0_to_16_and_anything_else_is_unknown() {
        for number in 0..17_u8 {
            let status = Status::of(&fields(STATUS_HEADER, &number.to_string())).unwrap();
            assert_eq!(
                (status.number(), status.as_str()),
                (number, &*number.to_string())
            );
        }
        for text in ["17", "-1", "", "00", "x"] {
            let status = Status::of(&fields(STATUS_HEADER, text));
            assert_eq!(status, Some(Status::UNKNOWN), "{text}");
        }
        assert_eq!(Status::of(&HeaderMap::new()), None);
    }

    #[test]
    fn the_numbers_of_the_language_are_those_of_the_protocol() {
        let statuses: Statuses = [GrpcStatus::Unavailable, GrpcStatus::Cancelled]
            .into_iter()
            .collect();
        assert!(statuses.contains(Status::UNAVAILABLE) && statuses.contains(Status::CANCELLED));
        assert!(!statuses.contains(Status::INTERNAL) && !statuses.contains(Status::OK));
        assert_eq!(statuses.to_string(), "1, 14");
        assert_eq!(GrpcStatus::Unauthenticated.number(), 16);
    }

    #[test]
    fn timeouts_are_read_and_written() {
        let table = [
            ("5S", Duration::from_secs(5), "5000000u"),
            ("1H", Duration::from_secs(3600), "3600000m"),
            ("250m", Duration::from_millis(250), "250000u"),
            ("99999999n", Duration::from_nanos(99_999_999), "99999999n"),
            ("100000000", Duration::ZERO, ""),
            (
                "99999999H",
                Duration::from_secs(99_999_999 * 3600),
                "99999999H",
            ),
            ("99999999S", Duration::from_secs(99_999_999), "99999999S"),
            ("0n", Duration::ZERO, "1n"),
        ];
        for (text, expected, written) in table {
            let read = timeout(&fields(TIMEOUT_HEADER, text));
            if written.is_empty() {
                assert_eq!(read, Err(BadTimeout), "{text}");
                continue;
            }
            assert_eq!(read, Ok(Some(expected)), "{text}");
            assert_eq!(timeout_value(expected), written, "{text}");
        }
        for text in ["", "S", "5", "5s", "-5S", "5.0S", "123456789S", " 5S"] {
            assert_eq!(
                timeout(&fields(TIMEOUT_HEADER, text)),
                Err(BadTimeout),
                "{text}"
            );
        }
        assert_eq!(timeout(&HeaderMap::new()), Ok(None));
    }
}
