//! Foreign bytes: heads, chunks and frames.

use std::hint::black_box;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use weir_policy::framing::Bounds;
use weir_policy::framing::chunks::{Chunks, Read};
use weir_policy::framing::frames::Frames;
use weir_policy::framing::request;
use weir_policy::framing::response::HeadReader;

use super::Work;

/// The defaults of a listener.
const BOUNDS: Bounds = Bounds {
    head_bytes_max: 60 * 1024,
    fields_max: 100,
    target_bytes_max: 8 * 1024,
    trailer_bytes_max: 60 * 1024,
};

const REQUEST: &str = "GET /api/north/orders5/4711?page=2 HTTP/1.1\r\n\
    Host: shop.example\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) micro/1.0\r\n\
    Accept: application/json, text/plain;q=0.9, */*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    Connection: keep-alive\r\n\r\n";

/// What nginx sends with a file.
const RESPONSE: &str = "HTTP/1.1 200 OK\r\n\
    Server: nginx/1.29.3\r\n\
    Date: Sat, 21 Nov 2026 12:00:00 GMT\r\n\
    Content-Type: application/octet-stream\r\n\
    Content-Length: 1024\r\n\
    Last-Modified: Fri, 20 Nov 2026 08:15:42 GMT\r\n\
    Connection: keep-alive\r\n\
    ETag: \"691ed0fe-400\"\r\n\
    Accept-Ranges: bytes\r\n\r\n";

pub(super) fn request_head() -> Work {
    let mut headers = HeaderMap::new();
    Box::new(move || {
        let mut reader = request::HeadReader::default();
        let head = reader.find(black_box(REQUEST.as_bytes()), &BOUNDS);
        let head = head.expect("in order").expect("whole");
        let bytes = Bytes::copy_from_slice(&REQUEST.as_bytes()[..head.bytes]);
        let made = reader.request(&bytes, std::mem::take(&mut headers));
        let (mut made, _) = made.expect("within all bounds");
        assert_eq!(black_box(&made).headers().len(), 7);
        headers = std::mem::take(made.headers_mut());
        headers.clear();
    })
}

pub(super) fn response_head() -> Work {
    let mut headers = HeaderMap::new();
    Box::new(move || {
        let mut buffer = BytesMut::with_capacity(8 * 1024);
        buffer.extend_from_slice(black_box(RESPONSE.as_bytes()));
        let make = || std::mem::take(&mut headers);
        let head = HeadReader::default().read(&mut buffer, &BOUNDS, make);
        headers = head.expect("in order").expect("whole").headers;
        assert_eq!(black_box(&headers).len(), 7);
        headers.clear();
    })
}

/// Four chunks of 4 KiB.
pub(super) fn chunks() -> Work {
    let mut body = Vec::new();
    for _ in 0..4 {
        body.extend_from_slice(b"1000\r\n");
        body.extend_from_slice(&[b'x'; 0x1000]);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"0\r\n\r\n");
    Box::new(move || {
        let read = Chunks::default().read(black_box(&body), &BOUNDS);
        assert_eq!(black_box(read), Read::Whole(body.len()));
    })
}

/// A request without a body, as one HEADERS frame of 100 bytes.
pub(super) fn frames() -> Work {
    let mut frames = Frames::of_client(0);
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    frames.read(preface, || 0).expect("the preface");
    // Length 100, type 1, END_STREAM and END_HEADERS.
    let mut bytes = [0_u8; 109];
    bytes[2..5].copy_from_slice(&[100, 1, 5]);
    let (mut stream, mut now) = (1_u32, 0_u64);
    Box::new(move || {
        bytes[5..9].copy_from_slice(&stream.to_be_bytes());
        stream = (stream + 2) & 0x7fff_ffff;
        now += 1_000_000;
        black_box(frames.read(black_box(&bytes), || now)).expect("no abuse");
    })
}
