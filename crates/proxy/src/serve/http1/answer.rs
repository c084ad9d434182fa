//! The head of a response as a client of HTTP/1 gets it: how long the body is, and whether the
//! connection goes on, is said here and nowhere else.

use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, Response, StatusCode, response};

use crate::http1::{Framing, decimal, field};

/// What the head of a response depends on beside itself.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    /// The request was in HTTP/1.0.
    pub(super) http10: bool,
    /// The request was a `HEAD`.
    pub(super) head: bool,
    /// The client takes trailers.
    pub(super) trailers: bool,
    /// Another request may follow, as far as the request says.
    pub(super) keeps: bool,
    /// HTTP ends with this response.
    pub(super) leaves: bool,
}

/// How long the body of a response is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Length {
    /// It has none.
    Nothing,
    Known(u64),
    Unknown,
}

/// What follows a head.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Follows {
    pub(super) framing: Framing,
    /// Whether another request may follow.
    pub(super) keeps: bool,
    /// The trailers that may be sent.
    pub(super) trailers: Vec<HeaderName>,
}

/// Writes a head.
pub(super) fn write(
    bytes: &mut Vec<u8>,
    head: &response::Parts,
    length: Length,
    asked: Asked,
    date: impl FnOnce() -> HeaderValue,
) -> Follows {
    bytes.reserve(HEAD_BYTES_USUAL);
    status_line(bytes, head.status, asked.http10);
    let has_length = has_length(head.status) && !asked.leaves;
    let has_body = has_length && !asked.head;
    let chunks = has_body && !asked.http10;
    let mut follows = Follows {
        framing: match length {
            Length::Nothing => Framing::Length(0),
            _ if !has_body => Framing::Length(0),
            Length::Known(count) => Framing::Length(count),
            Length::Unknown => match declared(&head.headers) {
                Some(count) => Framing::Length(count),
                None if chunks => Framing::Chunked,
                None => Framing::UntilClose,
            },
        },
        keeps: asked.keeps,
        trailers: Vec::new(),
    };
    let (mut dated, mut declares, mut keeps_alive) = (false, false, false);
    for (name, value) in &head.headers {
        match *name {
            // Of a response to HEAD it says what GET would have got.
            CONTENT_LENGTH => {
                if !asked.head || declares {
                    continue;
                }
                declares = true;
            }
            TRANSFER_ENCODING => continue,
            CONNECTION => {
                for option in value.as_bytes().split(|byte| *byte == b',') {
                    let option = option.trim_ascii();
                    follows.keeps &= !option.eq_ignore_ascii_case(b"close");
                    keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            DATE => dated = true,
            TRAILER => {
                if !chunks {
                    continue;
                }
                if asked.trailers && follows.framing == Framing::Chunked {
                    announced(value, &mut follows.trailers);
                }
            }
            _ => {}
        }
        field(bytes, name.as_str().as_bytes(), value.as_bytes());
    }
    match (follows.framing, length) {
        (Framing::Chunked, _) => bytes.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        (Framing::UntilClose, _) => follows.keeps = false,
        (Framing::Length(_), _) if declares || !has_length => {}
        (Framing::Length(_), Length::Known(count)) => content_length(bytes, count),
        (Framing::Length(count), _) if !asked.head => content_length(bytes, count),
        (Framing::Length(_), _) => {}
    }
    if asked.leaves {
        follows.keeps = false;
    } else if !follows.keeps {
        // One of HTTP/1.0 expects it.
        if !asked.http10 && !says_close(&head.headers) {
            bytes.extend_from_slice(b"connection: close\r\n");
        }
    } else if asked.http10 && !keeps_alive {
        bytes.extend_from_slice(b"connection: keep-alive\r\n");
    }
    if !dated {
        field(bytes, b"date", date().as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    follows
}

/// Writes a response that is not the last one to its request.
pub(super) fn write_interim(bytes: &mut Vec<u8>, response: &Response<()>) {
    status_line(bytes, response.status(), false);
    for (name, value) in response.headers() {
        field(bytes, name.as_str().as_bytes(), value.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
}

/// The trailers that may be sent, of those that there are.
pub(super) fn trailers(allowed: &[HeaderName], trailers: HeaderMap) -> HeaderMap {
    if allowed.is_empty() {
        return HeaderMap::new();
    }
    let mut name = None;
    let fields = trailers.into_iter().filter_map(|(next, value)| {
        name = next.or(name.take());
        let name = name.clone()?;
        allowed.contains(&name).then_some((name, value))
    });
    fields.collect()
}

fn status_line(bytes: &mut Vec<u8>, status: StatusCode, http10: bool) {
    if status == StatusCode::OK && !http10 {
        bytes.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
        return;
    }
    bytes.extend_from_slice(match http10 {
        true => b"HTTP/1.0 ",
        false => b"HTTP/1.1 ",
    });
    bytes.extend_from_slice(status.as_str().as_bytes());
    bytes.push(b' ');
    let reason = status.canonical_reason().unwrap_or("<none>");
    bytes.extend_from_slice(reason.as_bytes());
    bytes.extend_from_slice(b"\r\n");
}

fn content_length(bytes: &mut Vec<u8>, count: u64) {
    bytes.extend_from_slice(b"content-length: ");
    decimal(bytes, count);
    bytes.extend_from_slice(b"\r\n");
}

/// Whether a response with this status can say how long its body is (RFC 9110, section 8.6).
fn has_length(status: StatusCode) -> bool {
    !status.is_informational()
        && status != StatusCode::NO_CONTENT
        && status != StatusCode::NOT_MODIFIED
}

/// The length that the fields declare.
fn declared(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(CONTENT_LENGTH)?.as_bytes();
    let number = length.iter().all(u8::is_ascii_digit);
    let text = std::str::from_utf8(length).ok().filter(|_| number)?;
    text.parse().ok()
}

fn says_close(headers: &HeaderMap) -> bool {
    headers.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|byte| *byte == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"close"))
    })
}

/// The names in a `Trailer` that may stand behind a body.
fn announced(value: &HeaderValue, names: &mut Vec<HeaderName>) {
    for name in value.as_bytes().split(|byte| *byte == b',') {
        if let Ok(name) = HeaderName::from_bytes(name.trim_ascii())
            && !NO_TRAILERS.contains(&name)
        {
            names.push(name);
        }
    }
}

/// Fields that change what is made of a message, and must not come behind it (RFC 9110, 6.5.1).
const NO_TRAILERS: [HeaderName; 12] = [
    http::header::AUTHORIZATION,
    http::header::CACHE_CONTROL,
    http::header::CONTENT_ENCODING,
    CONTENT_LENGTH,
    http::header::CONTENT_RANGE,
    http::header::CONTENT_TYPE,
    http::header::HOST,
    http::header::MAX_FORWARDS,
    http::header::SET_COOKIE,
    http::header::TE,
    TRAILER,
    TRANSFER_ENCODING,
];
/// Most heads fit.
const HEAD_BYTES_USUAL: usize = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    const GET: Asked = Asked {
        http10: false,
        head: false,
        trailers: false,
        keeps: true,
        leaves: false,
    };
    const HEAD: Asked = Asked { head: true, ..GET };
    const OLD: Asked = Asked {
        http10: true,
        keeps: false,
        ..GET
    };

    /// The head of a response with these fields, without its date; and what follows.
    fn written(
        status: u16,
        fields: &[(&'static str, &'static str)],
        length: Length,
        asked: Asked,
    ) -> (String, Follows) {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::from_u16(status).unwrap();
        for (name, value) in fields {
            let name = HeaderName::from_static(name);
            let value = HeaderValue::from_static(value);
            response.headers_mut().append(name, value);
        }
        let (head, ()) = response.into_parts();
        let mut bytes = Vec::new();
        let date = || HeaderValue::from_static("now");
        let follows = write(&mut bytes, &head, length, asked, date);
        let text = String::from_utf8(bytes).unwrap();
        let (head, rest) = text.rsplit_once("date: now\r\n\r\n").unwrap();
        assert_eq!(rest, "");
        (head.to_owned(), follows)
    }

    #[test]
    fn the_length_of_a_body_is_said_once() {
        let length = ("content-length", "7");
        let chunked = ("transfer-encoding", "chunked");
        let ok = "HTTP/1.1 200 OK\r\n";
        let until = Framing::UntilClose;
        let of = Framing::Length;
        let known = Length::Known(7);
        let table = [
            (200, vec![], known, GET, "content-length: 7\r\n", of(7)),
            (
                200,
                vec![length],
                known,
                GET,
                "content-length: 7\r\n",
                of(7),
            ),
            (
                200,
                vec![length, chunked],
                known,
                GET,
                "content-length: 7\r\n",
                of(7),
            ),
            (
                200,
                vec![length],
                Length::Nothing,
                GET,
                "content-length: 0\r\n",
                of(0),
            ),
            (
                200,
                vec![],
                Length::Nothing,
                GET,
                "content-length: 0\r\n",
                of(0),
            ),
            (
                200,
                vec![],
                Length::Unknown,
                GET,
                "transfer-encoding: chunked\r\n",
                Framing::Chunked,
            ),
            (
                200,
                vec![length],
                Length::Unknown,
                GET,
                "content-length: 7\r\n",
                of(7),
            ),
            (
                200,
                vec![length],
                Length::Nothing,
                HEAD,
                "content-length: 7\r\n",
                of(0),
            ),
            (200, vec![], Length::Nothing, HEAD, "", of(0)),
            (200, vec![], known, HEAD, "content-length: 7\r\n", of(0)),
            (200, vec![], Length::Unknown, HEAD, "", of(0)),
            (
                200,
                vec![length],
                Length::Unknown,
                HEAD,
                "content-length: 7\r\n",
                of(0),
            ),
            (200, vec![], Length::Unknown, OLD, "", until),
            (200, vec![], known, OLD, "content-length: 7\r\n", of(7)),
            (204, vec![length], Length::Nothing, GET, "", of(0)),
            (304, vec![length], Length::Nothing, GET, "", of(0)),
            (304, vec![], Length::Unknown, GET, "", of(0)),
        ];
        for (status, fields, length, asked, expected, framing) in table {
            let (head, follows) = written(status, &fields, length, asked);
            let rest = head.split_once("\r\n").unwrap().1;
            assert_eq!(
                (rest, follows.framing),
                (expected, framing),
                "{status} {length:?} {asked:?}"
            );
            assert_eq!(follows.keeps, asked.keeps);
        }
        assert_eq!(
            written(200, &[], known, GET).0,
            format!("{ok}content-length: 7\r\n")
        );
        assert!(
            written(404, &[], known, OLD)
                .0
                .starts_with("HTTP/1.0 404 Not Found\r\n")
        );
        assert!(
            written(299, &[], known, GET)
                .0
                .starts_with("HTTP/1.1 299 <none>\r\n")
        );
    }

    #[test]
    fn whether_the_connection_goes_on_is_said_in_the_clients_version() {
        let last = Asked {
            keeps: false,
            ..GET
        };
        let kept = Asked { keeps: true, ..OLD };
        let close = &[("connection", "Close")][..];
        let upgrade = &[("connection", "upgrade")][..];
        let table = [
            (&[][..], GET, "", true),
            (&[], last, "connection: close\r\n", false),
            (close, GET, "connection: Close\r\n", false),
            (close, last, "connection: Close\r\n", false),
            (
                upgrade,
                last,
                "connection: upgrade\r\nconnection: close\r\n",
                false,
            ),
            (&[], OLD, "", false),
            (&[], kept, "connection: keep-alive\r\n", true),
            (close, kept, "connection: Close\r\n", false),
            (
                &[("connection", "Keep-Alive")],
                kept,
                "connection: Keep-Alive\r\n",
                true,
            ),
        ];
        for (fields, asked, expected, keeps) in table {
            let (head, follows) = written(204, fields, Length::Nothing, asked);
            let rest = head.split_once("\r\n").unwrap().1;
            assert_eq!(
                (rest, follows.keeps),
                (expected, keeps),
                "{fields:?} {asked:?}"
            );
        }
        let leaves = Asked {
            leaves: true,
            ..last
        };
        let (head, follows) = written(101, upgrade, Length::Nothing, leaves);
        assert_eq!(
            head,
            "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n"
        );
        assert!(!follows.keeps);
        let (tunnel, _) = written(200, &[], Length::Nothing, leaves);
        assert_eq!(tunnel, "HTTP/1.1 200 OK\r\n");
        let old = written(200, &[], Length::Unknown, kept).1;
        assert!(!old.keeps, "its end is the end of the connection");
    }

    #[test]
    fn a_date_is_kept() {
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert(DATE, HeaderValue::from_static("then"));
        let (head, ()) = response.into_parts();
        let mut bytes = Vec::new();
        let date = || HeaderValue::from_static("now");
        write(&mut bytes, &head, Length::Nothing, GET, date);
        assert_eq!(
            bytes,
            b"HTTP/1.1 200 OK\r\ndate: then\r\ncontent-length: 0\r\n\r\n"
        );
    }

    #[test]
    fn only_announced_trailers_are_sent_and_only_to_those_who_take_them() {
        let announced = &[("trailer", "X-Sum, content-length"), ("trailer", "x-other")][..];
        let takes = Asked {
            trailers: true,
            ..GET
        };
        let (head, follows) = written(200, announced, Length::Unknown, takes);
        assert!(
            head.contains("trailer: X-Sum, content-length\r\ntrailer: x-other\r\n"),
            "{head}"
        );
        assert_eq!(follows.trailers, ["x-sum", "x-other"]);
        assert!(
            written(200, announced, Length::Unknown, GET)
                .1
                .trailers
                .is_empty()
        );
        let (old, follows) = written(200, announced, Length::Unknown, OLD);
        assert!(!old.contains("trailer") && follows.trailers.is_empty());
        let fields = [("x-sum", "1"), ("x-sum", "2"), ("x-secret", "3")].map(|(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        });
        let sent = trailers(
            &[HeaderName::from_static("x-sum")],
            HeaderMap::from_iter(fields),
        );
        let sent = sent
            .iter()
            .map(|(name, value)| (name.as_str(), value.to_str().unwrap()));
        assert_eq!(sent.collect::<Vec<_>>(), [("x-sum", "1"), ("x-sum", "2")]);
    }

    #[test]
    fn interim_responses_are_heads() {
        let mut response = Response::new(());
        *response.status_mut() = StatusCode::EARLY_HINTS;
        response
            .headers_mut()
            .insert("link", HeaderValue::from_static("xx"));
        let mut bytes = Vec::new();
        write_interim(&mut bytes, &response);
        assert_eq!(bytes, b"HTTP/1.1 103 Early Hints\r\nlink: xx\r\n\r\n");
    }
}
