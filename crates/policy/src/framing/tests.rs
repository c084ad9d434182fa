//! What is taken for a request and what is not; and that another parser reads it alike.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use http::{HeaderMap, HeaderValue, Uri};
use proptest::prelude::*;

use super::chunks::{Chunks, Read};
use super::frames::{Abuse, Frames};
use super::head::{Body, inspect};
use super::{Bounds, Fault};
use crate::refusal::Code;

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 400,
    fields_max: 4,
    target_bytes_max: 64,
    trailer_bytes_max: 400,
};

#[test]
fn numbers_are_those_of_the_list() {
    for fault in Fault::ALL {
        assert_eq!(Fault::numbered(fault.number()), Some(fault));
    }
    assert_eq!(Fault::numbered(0), None);
    assert_eq!(Fault::numbered(31), None);
}

fn fault(head: &str) -> Option<Fault> {
    inspect(head.as_bytes(), &BOUNDS)
        .err()
        .map(|refused| refused.fault)
}

/// A request with these fields, each with its end of line.
fn with(fields: &str) -> String {
    format!("POST /a HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
}

#[test]
fn a_head_ends_at_its_empty_line_and_says_what_follows() {
    let table = [
        ("", Body::Length(0), false),
        ("Content-Length: 7\r\n", Body::Length(7), false),
        ("content-length:\t 0007 \t\r\n", Body::Length(7), false),
        (
            "Content-Length: 9223372036854775807\r\n",
            Body::Length(i64::MAX as u64),
            false,
        ),
        ("Transfer-Encoding: chunked\r\n", Body::Chunked, false),
        ("transfer-encoding: Chunked \r\n", Body::Chunked, false),
        ("Upgrade: WebSocket\r\n", Body::Length(0), true),
        ("Upgrade: h2c\r\n", Body::Length(0), false),
        (
            "X-Empty:\r\nX-Bytes: caf\u{e9} \u{1F600}\r\n",
            Body::Length(0),
            false,
        ),
    ];
    for (fields, body, leaves_http) in table {
        let head = with(fields);
        let found = inspect(format!("{head}GET /next").as_bytes(), &BOUNDS)
            .unwrap()
            .unwrap();
        assert_eq!((found.bytes, found.body), (head.len(), body), "{fields:?}");
        assert_eq!(found.leaves_http, leaves_http, "{fields:?}");
        for cut in 0..head.len() {
            assert_eq!(
                inspect(&head.as_bytes()[..cut], &BOUNDS),
                Ok(None),
                "{cut} of {head:?}"
            );
        }
    }
}

#[test]
fn request_lines_have_one_form() {
    for line in [
        "GET / HTTP/1.1",
        "\r\n\r\nGET / HTTP/1.0",
        "QUERY /a;b=c/%41\"{}?x={}|&y=/ HTTP/1.1",
        "OPTIONS * HTTP/1.1",
        "GET http://a:80/b?c HTTP/1.1",
        "CONNECT a:443 HTTP/1.1",
    ] {
        assert_eq!(fault(&format!("{line}\r\n\r\n")), None, "{line:?}");
    }
    let longest = "M".repeat(32);
    assert_eq!(fault(&format!("{longest} / HTTP/1.1\r\n\r\n")), None);
    let table = [
        ("GET /\r\n", Fault::Http09),
        ("GET /\n", Fault::Http09),
        ("\n", Fault::Method),
        ("GET\r\n", Fault::Method),
        (" GET / HTTP/1.1\r\n", Fault::Method),
        ("\u{16}\u{3}\u{1}", Fault::Method),
        ("G{T / HTTP/1.1\r\n", Fault::Method),
        ("THISMETHODISLONGERTHANANYMETHODIS ", Fault::MethodTooLong),
        ("GET  / HTTP/1.1\r\n", Fault::Target),
        ("GET a HTTP/1.1\r\n", Fault::Target),
        ("GET * HTTP/1.1\r\n", Fault::Target),
        ("GET ftp://a/ HTTP/1.1\r\n", Fault::Target),
        ("GET http:/// HTTP/1.1\r\n", Fault::Target),
        ("GET a:80 HTTP/1.1\r\n", Fault::Target),
        ("CONNECT /a HTTP/1.1\r\n", Fault::Target),
        ("CONNECT http://a/ HTTP/1.1\r\n", Fault::Target),
        ("GET /a#b HTTP/1.1\r\n", Fault::Target),
        ("GET /\u{e9} HTTP/1.1\r\n", Fault::Target),
        ("GET /\0 HTTP/1.1\r\n", Fault::Target),
        ("GET /a\tb HTTP/1.1\r\n", Fault::Target),
        ("GET /<a> HTTP/1.1\r\n", Fault::Target),
        ("GET /a b HTTP/1.1\r\n", Fault::RequestLine),
        ("GET /  HTTP/1.1\r\n", Fault::RequestLine),
        ("GET / http/1.1\r\n", Fault::RequestLine),
        ("GET / HTTP/1.1 \r\n", Fault::RequestLine),
        ("GET / HTTP/1.12\r\n", Fault::RequestLine),
        ("GET / HTTP/1.2\r\n", Fault::Version),
        ("GET / HTTP/2.0\r\n", Fault::Version),
        ("GET / HTTP/0.9\r\n", Fault::Version),
        ("PRI * HTTP/2.0\r\n", Fault::Version),
        ("GET / HTTP/1.1\n", Fault::BareLineFeed),
        ("GET / HTTP/1.1\rX", Fault::LoneCarriageReturn),
        ("\rGET / HTTP/1.1\r\n", Fault::LoneCarriageReturn),
    ];
    for (line, expected) in table {
        assert_eq!(fault(line), Some(expected), "{line:?}");
    }
}

#[test]
fn fields_have_one_form() {
    let table = [
        ("X: a\nY: b\r\n", Fault::BareLineFeed),
        ("X: a\n\r\n", Fault::BareLineFeed),
        ("\n", Fault::BareLineFeed),
        ("X\n", Fault::BareLineFeed),
        ("X: a\rY: b\r\n", Fault::LoneCarriageReturn),
        ("X: a\r\r\n", Fault::LoneCarriageReturn),
        ("X: a\r\n b\r\n", Fault::FoldedLine),
        ("X: a\r\n\tb\r\n", Fault::FoldedLine),
        ("X : a\r\n", Fault::SpaceBeforeColon),
        ("Content-Length\t: 5\r\n", Fault::SpaceBeforeColon),
        (": a\r\n", Fault::FieldName),
        ("X\r\n", Fault::FieldName),
        ("X(y): a\r\n", Fault::FieldName),
        ("X\0: a\r\n", Fault::FieldName),
        ("\u{e9}: a\r\n", Fault::FieldName),
        ("X: a\0\r\n", Fault::FieldValue),
        ("X: \u{7f}\r\n", Fault::FieldValue),
        (
            "X: 0123456789abcdef\u{1}0123456789abcdef\r\n",
            Fault::FieldValue,
        ),
        ("X: 1\r\nX: 2\r\nX: 3\r\nX: 4\r\n", Fault::TooManyFields),
    ];
    for (fields, expected) in table {
        assert_eq!(fault(&with(fields)), Some(expected), "{fields:?}");
    }
}

#[test]
fn lengths_are_said_once() {
    let table = [
        (
            "Content-Length: 5\r\nContent-Length: 5\r\n",
            Fault::LengthTwice,
        ),
        (
            "Content-Length: 5\r\nContent-Length: 6\r\n",
            Fault::LengthTwice,
        ),
        ("Content-Length: 5, 5\r\n", Fault::LengthInvalid),
        ("Content-Length:\r\n", Fault::LengthInvalid),
        ("Content-Length: +5\r\n", Fault::LengthInvalid),
        ("Content-Length: -5\r\n", Fault::LengthInvalid),
        ("Content-Length: 0x5\r\n", Fault::LengthInvalid),
        ("Content-Length: 5.0\r\n", Fault::LengthInvalid),
        ("Content-Length: 1 2\r\n", Fault::LengthInvalid),
        (
            "Content-Length: 10000000000000000000\r\n",
            Fault::LengthInvalid,
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n",
            Fault::LengthAndCoding,
        ),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
            Fault::CodingTwice,
        ),
        (
            "Transfer-Encoding: chunked, chunked\r\n",
            Fault::CodingUnknown,
        ),
        ("Transfer-Encoding: gzip, chunked\r\n", Fault::CodingUnknown),
        (
            "Transfer-Encoding: chunked, identity\r\n",
            Fault::CodingUnknown,
        ),
        ("Transfer-Encoding: identity\r\n", Fault::CodingUnknown),
        ("Transfer-Encoding: xchunked\r\n", Fault::CodingUnknown),
        ("Transfer-Encoding: chunked;a=b\r\n", Fault::CodingUnknown),
        ("Transfer-Encoding: \"chunked\"\r\n", Fault::CodingUnknown),
        ("Transfer-Encoding:\r\n", Fault::CodingUnknown),
    ];
    for (fields, expected) in table {
        assert_eq!(fault(&with(fields)), Some(expected), "{fields:?}");
    }
    let old = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_eq!(fault(old), Some(Fault::CodingInHttp10));
}

#[test]
fn what_is_at_its_bound_is_taken_and_what_is_past_it_is_not() {
    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(bytes - 1));
    assert_eq!(fault(&target(64)), None);
    assert_eq!(fault(&target(65)), Some(Fault::TargetTooLong));
    // It is not waited for the end of what is too long already.
    assert_eq!(fault(&target(65)[..70]), Some(Fault::TargetTooLong));
    let head = |bytes: usize| format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(bytes - 23));
    assert_eq!(head(400).len(), 400);
    assert_eq!(fault(&head(400)), None);
    assert_eq!(fault(&head(401)), Some(Fault::TooLarge));
    assert_eq!(fault(&head(500)[..400]), Some(Fault::TooLarge));
    assert_eq!(fault(&head(500)[..399]), None);
    assert_eq!(fault(&with("X: 1\r\nX: 2\r\nX: 3\r\n")), None);
}

#[test]
fn the_request_line_of_a_refused_head_is_known_when_it_was_in_order() {
    let refused = inspect(b"\r\nGET /x HTTP/1.1\r\nA : b\r\n", &BOUNDS).unwrap_err();
    assert_eq!(refused.request_line, Some((2, 19)));
    let refused = inspect(b"GET /x HTTP/9.1\r\nA : b\r\n", &BOUNDS).unwrap_err();
    assert_eq!(refused.request_line, None);
}

fn chunked(body: &str) -> Read {
    let whole = Chunks::default().read(body.as_bytes(), &BOUNDS);
    // Read byte by byte, it is the same.
    let mut chunks = Chunks::default();
    let mut parts = Read::All;
    for (index, byte) in body.bytes().enumerate() {
        parts = match chunks.read(&[byte], &BOUNDS) {
            Read::All => continue,
            Read::Whole(_) => Read::Whole(index + 1),
            Read::Broken(_, fault) => Read::Broken(index, fault),
        };
        break;
    }
    assert_eq!(whole, parts, "{body:?}");
    whole
}

#[test]
fn a_chunked_body_ends_after_its_last_line() {
    for body in [
        "0\r\n\r\n",
        "00000000000000a\r\n0123456789\r\n0\r\n\r\n",
        "A;x=y;\"z\"\r\n0123456789\r\n00\r\n\r\n",
        "1\r\n\n\r\n0\r\nX-Sum: 1\r\nEmpty:\r\n\r\n",
    ] {
        assert_eq!(chunked(body), Read::Whole(body.len()), "{body:?}");
        assert_eq!(
            chunked(&format!("{body}GET")),
            Read::Whole(body.len()),
            "{body:?}"
        );
        assert_eq!(chunked(&body[..body.len() - 1]), Read::All, "{body:?}");
    }
    let extension = |bytes: usize| format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(bytes));
    assert!(matches!(chunked(&extension(256)), Read::Whole(_)));
    assert_eq!(
        chunked(&extension(257)),
        Read::Broken(258, Fault::ChunkExtensionTooLong)
    );
    // A byte of data and 256 of its extension, of which it makes up for two.
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(256));
    let most = (16 * 1024 - 256) / 254;
    let body = |chunks: usize| format!("{}0\r\n\r\n", chunk.repeat(chunks));
    let whole = body(most + 1);
    assert_eq!(chunked(&whole), Read::Whole(whole.len()));
    let room = 16 * 1024 - (most + 1) * 254;
    assert_eq!(
        chunked(&body(most + 2)),
        Read::Broken(
            (most + 1) * chunk.len() + 2 + room,
            Fault::ChunkExtensionsTooLarge
        )
    );
    let upload = format!("4000;{}\r\n{}\r\n", "e".repeat(256), "x".repeat(0x4000)).repeat(200);
    assert_eq!(chunked(&upload), Read::All);
}

#[test]
fn chunks_have_one_form() {
    let table = [
        ("\r\n", 0, Fault::ChunkSize),
        (";x\r\n", 0, Fault::ChunkSize),
        ("+1\r\n", 0, Fault::ChunkSize),
        ("-1\r\n", 0, Fault::ChunkSize),
        (" 1\r\n", 0, Fault::ChunkSize),
        ("1 \r\n", 1, Fault::ChunkSize),
        ("1\t;x\r\n", 1, Fault::ChunkSize),
        ("0x1\r\n", 1, Fault::ChunkSize),
        ("1_0\r\n", 1, Fault::ChunkSize),
        ("g\r\n", 0, Fault::ChunkSize),
        ("1\n", 1, Fault::ChunkSize),
        ("10000000000000000\r\n", 16, Fault::ChunkSize),
        ("1\rx", 2, Fault::LoneCarriageReturn),
        ("1;a\nb\r\n", 3, Fault::ChunkExtension),
        ("1;a\0b\r\n", 3, Fault::ChunkExtension),
        ("1;a\rb\r\n", 4, Fault::LoneCarriageReturn),
        ("1\r\nab\r\n", 4, Fault::ChunkEnd),
        ("1\r\na\n", 4, Fault::ChunkEnd),
        ("1\r\na\rb", 5, Fault::ChunkEnd),
        ("0\r\n\n", 3, Fault::Trailer),
        ("0\r\n\rx", 4, Fault::Trailer),
        ("0\r\nGET / HTTP/1.1\r\n", 6, Fault::Trailer),
        ("0\r\nX : y\r\n", 4, Fault::Trailer),
        ("0\r\nX: y\n", 7, Fault::Trailer),
        ("0\r\nX: y\r\n z\r\n", 9, Fault::Trailer),
        (
            "0\r\nA:\r\nA:\r\nA:\r\nA:\r\nA:\r\n",
            19,
            Fault::TrailersTooMany,
        ),
    ];
    for (body, at, fault) in table {
        assert_eq!(chunked(body), Read::Broken(at, fault), "{body:?}");
    }
}

#[test]
fn trailers_are_bounded_like_heads() {
    // Lines of 100 bytes.
    let line = format!("X: {}\r\n", "y".repeat(95));
    let whole = format!("0\r\n{}\r\n", line.repeat(4));
    assert_eq!(chunked(&whole), Read::Whole(whole.len()));
    let larger = format!("0\r\n{}Xx: {}\r\n", line.repeat(3), "y".repeat(95));
    let at = 3 + 400;
    assert_eq!(chunked(&larger), Read::Broken(at, Fault::TrailersTooLarge));
    let more = format!("0\r\n{}A:\r\n", "A:\r\n".repeat(4));
    assert_eq!(chunked(&more), Read::Broken(19, Fault::TrailersTooMany));
}

#[test]
fn trailers_of_http2_are_bounded_alike() {
    let section = |lines: &[usize]| {
        let mut trailers = HeaderMap::new();
        for bytes in lines {
            let value = "y".repeat(bytes - 5);
            trailers.append("x", HeaderValue::from_str(&value).unwrap());
        }
        BOUNDS.trailers().exceeded_by(&trailers)
    };
    assert_eq!(section(&[100; 4]), None);
    assert_eq!(section(&[400]), None);
    assert_eq!(section(&[401]), Some(Fault::TrailersTooLarge));
    assert_eq!(section(&[100, 301]), Some(Fault::TrailersTooLarge));
    assert_eq!(section(&[5; 5]), Some(Fault::TrailersTooMany));
}

#[test]
fn faults_of_one_kind_have_one_code() {
    let code = |fault: Fault| fault.code();
    assert_eq!(code(Fault::LengthAndCoding), Code::BadFraming);
    assert_eq!(code(Fault::ChunkSize), Code::BadChunk);
    assert_eq!(code(Fault::Trailer), Code::BadTrailer);
    assert_eq!(code(Fault::FoldedLine), Code::BadHeader);
    assert_eq!(code(Fault::Http09), Code::BadRequestLine);
    assert_eq!(code(Fault::MethodTooLong).row().status, 501);
    assert_eq!(code(Fault::Version).row().status, 505);
    assert_eq!(code(Fault::TargetTooLong).row().status, 414);
    for (fault, own) in [
        (Fault::TooLarge, Code::HeaderTooLarge),
        (Fault::TooManyFields, Code::HeadersTooMany),
        (Fault::TrailersTooLarge, Code::TrailersTooLarge),
        (Fault::TrailersTooMany, Code::TrailersTooMany),
    ] {
        assert_eq!((code(fault), own.row().status.as_u16()), (own, 431));
    }
}

#[test]
fn a_response_whose_length_is_said_twice_is_not_certain() {
    let verdict = |fields: &[(&'static str, &'static str)]| {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        super::response::ambiguity(&headers).is_some()
    };
    let (length, coding) = ("content-length", "transfer-encoding");
    for certain in [
        &[][..],
        &[(length, "5")],
        &[(coding, "chunked")],
        &[(coding, "Chunked ")],
    ] {
        assert!(!verdict(certain), "{certain:?}");
    }
    for uncertain in [
        &[(length, "5"), (length, "5")][..],
        &[(length, "5"), (length, "6")],
        &[(length, "5, 5")],
        &[(length, "5"), (coding, "chunked")],
        &[(coding, "gzip")],
        &[(coding, "gzip, chunked")],
        &[(coding, "chunked"), (coding, "chunked")],
    ] {
        assert!(verdict(uncertain), "{uncertain:?}");
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: usize) -> Vec<u8> {
    let length = (payload as u32).to_be_bytes();
    let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head, vec![0; payload]].concat()
}

/// A client at time 0, after its preface, and then as many rounds as it survives.
fn survives(round: &[u8], rounds: usize, nanos_each: u64, written_each: usize) -> usize {
    let mut frames = Frames::of_client(0);
    frames.read(&[b'P'; 24], || 0).unwrap();
    for done in 0..rounds {
        if frames.read(round, || done as u64 * nanos_each).is_err() {
            return done;
        }
        frames.written(written_each);
    }
    rounds
}

const MILLISECOND: u64 = 1_000_000;

#[test]
fn floods_of_frames_end_soon() {
    let request = frame(1, 5, 1, 30);
    for (name, round, most) in [
        ("PING", frame(6, 0, 0, 8), 10_000),
        ("PRIORITY", frame(2, 0, 3, 5), 10_000),
        ("WINDOW_UPDATE", frame(8, 0, 0, 4), 10_000),
        ("unknown", frame(77, 0, 0, 100), 10_000),
        ("empty DATA", frame(0, 0, 1, 0), 10_000),
        ("SETTINGS", frame(4, 0, 0, 6), 1_000),
        ("RST_STREAM", frame(3, 0, 1, 4), 200),
        ("rapid reset", [request, frame(3, 0, 1, 4)].concat(), 399),
    ] {
        // In no time at all, with the answers that each gets.
        assert_eq!(survives(&round, 100_000, 0, 17), most, "{name}");
    }
}

#[test]
fn honest_clients_never_run_out() {
    let request = frame(1, 5, 1, 30);
    let windows = [frame(8, 0, 0, 4), frame(8, 0, 1, 4)].concat();
    let reset = frame(3, 0, 1, 4);
    for (name, round, nanos, written) in [
        ("requests", request.clone(), 0, 0),
        ("an upload", frame(0, 0, 1, 16_384), 0, 0),
        ("the end of an upload", frame(0, 1, 1, 0), 0, 0),
        (
            "a download with a window of 4 KiB",
            windows.clone(),
            0,
            4096,
        ),
        (
            "windows and a ping for each answer",
            [&request[..], &windows].concat(),
            0,
            0,
        ),
        (
            "a thousand pings a second",
            frame(6, 0, 0, 8),
            MILLISECOND,
            0,
        ),
        (
            "every second request taken back",
            [&request[..], &request, &reset].concat(),
            0,
            0,
        ),
        (
            "fifty requests a second taken back",
            reset,
            20 * MILLISECOND,
            0,
        ),
    ] {
        assert_eq!(survives(&round, 100_000, nanos, written), 100_000, "{name}");
    }
}

#[test]
fn frames_are_found_wherever_they_are_cut() {
    let bytes = [frame(1, 5, 7, 30), frame(6, 0, 0, 8), frame(0, 1, 7, 1000)].concat();
    for size in 1..40 {
        let mut frames = Frames::of_server();
        for piece in bytes.chunks(size) {
            assert!(frames.read(piece, || 0).is_ok());
        }
        assert!(frames.is_between(), "{size}");
        assert_eq!(frames.last_stream(), 7);
        frames.pass(&bytes[..size.min(9)], |_| panic!("no GOAWAY"));
        assert!(!frames.is_between(), "{size}");
    }
    let mut frames = Frames::of_server();
    for _ in 0..10_000 {
        frames.read(&frame(6, 0, 0, 8), || 0).unwrap();
    }
    assert_eq!(frames.read(&frame(6, 0, 0, 8), || 0), Err(Abuse::Ping));
}

#[test]
fn the_frame_that_finds_the_purse_empty_gives_the_word() {
    let table = [
        (0, 0, 10_000, "http2-data-flood"),
        (2, 5, 10_000, "http2-priority-flood"),
        (4, 6, 1_000, "http2-settings-flood"),
        (6, 8, 10_000, "http2-ping-flood"),
        (8, 4, 10_000, "http2-window-flood"),
        (9, 1, 10_000, "http2-continuation-flood"),
        (0xF0, 5, 10_000, "http2-unknown-flood"),
        (3, 4, 200, "http2-resets"),
    ];
    for (kind, bytes, most, word) in table {
        let mut frames = Frames::of_server();
        for number in 0..most {
            let read = frames.read(&frame(kind, 0, 1, bytes), || 0);
            assert_eq!(read, Ok(()), "{word}: {number}");
        }
        let abuse = frames.read(&frame(kind, 0, 1, bytes), || 0).unwrap_err();
        assert_eq!(abuse.reason(), word);
    }
}

#[test]
fn what_the_library_says_in_its_goodbye_is_understood() {
    let goodbye = |code: u32, words: &[u8]| {
        let payload = [&[0, 0, 0, 7], &code.to_be_bytes()[..], words].concat();
        let mut frame = frame(7, 0, 0, payload.len());
        frame.splice(9.., payload);
        [frame, self::frame(0, 0, 1, 30)].concat()
    };
    let heard = |bytes: &[u8], size: usize| {
        let (mut frames, mut payload) = (Frames::of_server(), Vec::new());
        for piece in bytes.chunks(size) {
            frames.pass(piece, |piece| payload.extend_from_slice(piece));
        }
        Abuse::of_goodbye(&payload).map(Abuse::reason)
    };
    for (code, words, reason) in [
        (
            11,
            "too_many_continuations",
            Some("http2-continuation-flood"),
        ),
        (11, "header_list_way_too_large", Some("http2-header-list")),
        (11, "too_many_data_frames", Some("http2-data-flood")),
        (11, "too_many_resets", Some("http2-resets")),
        (
            11,
            "too_many_internal_resets",
            Some("http2-provoked-resets"),
        ),
        (11, "", None),
        (11, "too_many_resets_", None),
        (1, "too_many_resets", None),
    ] {
        let bytes = goodbye(code, words.as_bytes());
        for size in 1..60 {
            assert_eq!(heard(&bytes, size), reason, "{code} {words:?} {size}");
        }
    }
    assert_eq!(Abuse::of_goodbye(&[0; 7]), None);
}

/// Heads that are nearly right: pieces of good and bad ones in any order.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(vec![
            "GET ", "POST ", "OPTIONS ", "CONNECT ", "/", "/a?b=c", "*", "a:80", "http://a/b",
            " HTTP/1.1\r\n", " HTTP/1.0\r\n", "Host: a\r\n", "X: y\r\n", "X:\r\n", "\r\n",
            "Content-Length: 5\r\n", "Transfer-Encoding: chunked\r\n", "Upgrade: websocket\r\n",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => prop::sample::select(vec!["\n", "\r", " ", "\t", ":", "\0", ",", "5", "\u{7f}", "<"])
            .prop_map(|text| text.as_bytes().to_vec()),
        1 => any::<u8>().prop_map(|byte| vec![byte]),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

fn ordered() -> impl Strategy<Value = Vec<u8>> {
    let line = prop::sample::select(vec!["GET / HTTP/1.1\r\n", "POST /a?{} HTTP/1.0\r\n"]);
    (line, nearly()).prop_map(|(line, rest)| [line.as_bytes(), &rest, b"\r\n"].concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    /// What is taken, httparse and `http::Uri` take too, and read alike.
    #[test]
    fn a_parser_agrees_with_what_is_taken(bytes in prop_oneof![nearly(), ordered()]) {
        let Ok(Some(head)) = inspect(&bytes, &BOUNDS) else { return Ok(()) };
        let mut fields = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(&bytes);
        prop_assert_eq!(parsed, Ok(httparse::Status::Complete(head.bytes)));
        prop_assert!(Uri::try_from(request.path.unwrap()).is_ok());
        let values = |name: &str| {
            let named = request.headers.iter();
            let named = named.filter(|field| field.name.eq_ignore_ascii_case(name));
            named.map(|field| field.value).collect::<Vec<_>>()
        };
        match head.body {
            Body::Chunked => {
                prop_assert!(values("content-length").is_empty());
                prop_assert_eq!(values("transfer-encoding").len(), 1);
            }
            Body::Length(length) => {
                prop_assert!(values("transfer-encoding").is_empty());
                let said = values("content-length");
                prop_assert!(said.len() <= 1);
                let said = said.first().map_or("0", |said| std::str::from_utf8(said).unwrap());
                prop_assert_eq!(said.parse::<u64>().unwrap(), length);
            }
        }
    }

    /// Wherever the bytes are cut, the verdict is the same, only later.
    #[test]
    fn cutting_changes_nothing(bytes in prop_oneof![nearly(), ordered()]) {
        let whole = inspect(&bytes, &BOUNDS);
        for cut in 0..bytes.len() {
            match inspect(&bytes[..cut], &BOUNDS) {
                Ok(None) => {}
                Ok(Some(head)) => prop_assert_eq!(whole, Ok(Some(head))),
                // Of two faults, the first is told.
                Err(_) => prop_assert!(whole.is_err()),
            }
        }
    }

    #[test]
    fn cutting_a_chunked_body_changes_nothing(
        bytes in "([0-9a-f]{1,2}(;x)?\r\n[a-c\r\n]{0,4}\r\n){0,3}(0\r\n)?(X: y\r\n)?(\r\n)?.{0,3}",
        cut in 0..40_usize,
    ) {
        let cut = cut.min(bytes.len());
        let whole = Chunks::default().read(bytes.as_bytes(), &BOUNDS);
        let mut chunks = Chunks::default();
        let parts = match chunks.read(&bytes.as_bytes()[..cut], &BOUNDS) {
            Read::All => match chunks.read(&bytes.as_bytes()[cut..], &BOUNDS) {
                Read::All => Read::All,
                Read::Whole(at) => Read::Whole(cut + at),
                Read::Broken(at, fault) => Read::Broken(cut + at, fault),
            },
            early => early,
        };
        prop_assert_eq!(whole, parts);
    }
}
