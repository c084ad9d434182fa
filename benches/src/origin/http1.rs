//! The origin's HTTP/1.1: one write per answer.

use std::io;
use std::rc::Rc;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::http1::{BodyDecoder, Framing, HEADERS_MAX, Inbox, Malformed};
use crate::origin::bodies::Bodies;

/// Serves a connection to its end.
pub async fn serve(mut stream: TcpStream, bodies: Rc<Bodies>) {
    let mut inbox = Inbox::default();
    // Whoever closes or breaks a connection knows it; nobody else is to be told.
    while let Ok(true) = answer(&mut stream, &mut inbox, &bodies).await {}
}

/// One request; true when another may follow.
async fn answer(stream: &mut TcpStream, inbox: &mut Inbox, bodies: &Bodies) -> io::Result<bool> {
    let request = loop {
        match Request::parse(inbox.unread(), bodies) {
            Ok(Some(request)) => break request,
            Ok(None) => {}
            Err(_) => {
                stream.write_all(BAD_REQUEST).await?;
                return Ok(false);
            }
        }
        if inbox.fill(stream).await? == 0 {
            return Ok(false);
        }
    };
    inbox.consume(request.length);
    if request.expects_continue {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    let mut decoder = BodyDecoder::new(request.framing);
    loop {
        let used = decoder
            .decode(inbox.unread(), |_| ())
            .map_err(io::Error::other)?;
        inbox.consume(used);
        if decoder.is_done() {
            break;
        }
        if inbox.fill(stream).await? == 0 {
            return Ok(false);
        }
    }
    stream.write_all(request.answer).await?;
    Ok(request.is_kept)
}

struct Request<'a> {
    length: usize,
    framing: Framing,
    answer: &'a [u8],
    expects_continue: bool,
    is_kept: bool,
}

impl<'a> Request<'a> {
    fn parse(bytes: &[u8], bodies: &'a Bodies) -> Result<Option<Self>, Malformed> {
        let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err(Malformed::Head),
        };
        let body = bodies.at(request.path.unwrap_or_default());
        let answer = match request.method {
            Some("HEAD") => &body.http1[..body.http1_head],
            _ => &body.http1[..],
        };
        let has = |name: &str, value: &[u8]| {
            request.headers.iter().any(|field| {
                field.name.eq_ignore_ascii_case(name) && field.value.eq_ignore_ascii_case(value)
            })
        };
        Ok(Some(Self {
            length,
            framing: Framing::of(request.headers, Framing::Length(0))?,
            answer,
            expects_continue: has("expect", b"100-continue"),
            is_kept: request.version == Some(1) && !has("connection", b"close"),
        }))
    }
}

const BAD_REQUEST: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
