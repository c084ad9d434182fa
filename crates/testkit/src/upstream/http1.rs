//! HTTP/1.1 connections of an upstream, written byte by byte.

use std::io;
use std::time::Duration;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{Answer, End, Framing, Reply};
use super::message::Reader;
use super::record::{Journal, Recorded};
use super::serve::Transport;

/// Serves requests until the connection ends.
pub(super) async fn serve<S: Transport>(
    stream: S,
    journal: &Journal,
    connection: u64,
) -> io::Result<()> {
    let mut reader = Reader::new(stream);
    let mut served = 0;
    while served < journal.requests_per_connection_max() {
        let Some(mut request) = reader.head(connection).await? else {
            return Ok(());
        };
        served += 1;
        match journal.arrived(&mut request) {
            Answer::Close => break,
            Answer::Hang => return wait_for_the_other_side(&mut reader.stream).await,
            Answer::Raw(bytes) => {
                receive(&mut reader, &mut request, journal).await?;
                reader.stream.write_all(&bytes).await?;
                break;
            }
            Answer::Refuse | Answer::Reset => return reset(reader.stream).await,
            Answer::Reply(reply) => {
                if !answer(&mut reader, &mut request, &reply, journal).await? {
                    if let End::ResetAfter(_) = reply.end {
                        return reset_after_delivery(reader.stream).await;
                    }
                    break;
                }
            }
            Answer::WebSocketEcho => return echo_bytes(reader, &request).await,
        }
    }
    // Closing with unread bytes would make a reset of it.
    reader.stream.shutdown().await?;
    wait_for_the_other_side(&mut reader.stream).await
}

/// Whether the connection can take another request.
async fn answer<S: Transport>(
    reader: &mut Reader<S>,
    request: &mut Recorded,
    reply: &Reply,
    journal: &Journal,
) -> io::Result<bool> {
    if !reply.is_early {
        receive(reader, request, journal).await?;
    }
    let stream = &mut reader.stream;
    for (status, headers) in &reply.interim {
        stream.write_all(head(*status, headers).as_bytes()).await?;
        stream.flush().await?;
    }
    tokio::time::sleep(reply.delay).await;

    let content = reply.content_for(request);
    stream
        .write_all(final_head(reply, request, content.len()).as_bytes())
        .await?;
    let has_no_body = request.method == "HEAD" || matches!(reply.status, 204 | 304);
    if !has_no_body {
        send_body(stream, reply, &content).await?;
    }
    stream.flush().await?;
    match reply.end {
        End::Complete => {}
        End::StallAfter(_) => {
            wait_for_the_other_side(stream).await?;
            return Ok(false);
        }
        End::CloseAfter(_) | End::ResetAfter(_) => return Ok(false),
    }
    let asked_to_close = request
        .header("connection")
        .is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let ends_by_close = matches!(reply.framing, Framing::UntilClose);
    let is_readable = !reply.is_early || !Reader::<S>::has_body(request);
    Ok(!reply.is_last
        && !asked_to_close
        && !ends_by_close
        && is_readable
        && request.version == "HTTP/1.1")
}

/// Reads the body, after giving leave to send it when asked.
async fn receive<S: Transport>(
    reader: &mut Reader<S>,
    request: &mut Recorded,
    journal: &Journal,
) -> io::Result<()> {
    let expects = request.header("expect").unwrap_or_default();
    if expects.eq_ignore_ascii_case("100-continue") && Reader::<S>::has_body(request) {
        reader
            .stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")
            .await?;
        reader.stream.flush().await?;
    }
    let received = reader.body(request).await;
    journal.completed(request);
    received
}

async fn send_body<S: Transport>(stream: &mut S, reply: &Reply, content: &Bytes) -> io::Result<()> {
    let is_chunked = matches!(reply.framing, Framing::Chunked { .. });
    for piece in reply.pieces(content) {
        if is_chunked {
            stream
                .write_all(format!("{:x}\r\n", piece.len()).as_bytes())
                .await?;
            stream.write_all(&piece).await?;
            stream.write_all(b"\r\n").await?;
        } else {
            stream.write_all(&piece).await?;
        }
        if let Some((_, pause)) = reply.pace {
            stream.flush().await?;
            tokio::time::sleep(pause).await;
        }
    }
    if let (Framing::Chunked { trailers }, End::Complete) = (&reply.framing, reply.end) {
        let mut end = String::from("0\r\n");
        for (name, value) in trailers {
            end.push_str(&format!("{name}: {value}\r\n"));
        }
        end.push_str("\r\n");
        stream.write_all(end.as_bytes()).await?;
    }
    Ok(())
}

fn final_head(reply: &Reply, request: &Recorded, content_bytes: usize) -> String {
    let mut headers = reply.headers.clone();
    let says = |name: &str| {
        headers
            .iter()
            .any(|(given, _)| given.eq_ignore_ascii_case(name))
    };
    let is_framed = says("content-length") || says("transfer-encoding");
    let may_be_framed = !is_framed && !matches!(reply.status, 100..=199 | 204 | 304);
    match &reply.framing {
        Framing::Chunked { .. } if may_be_framed => {
            headers.push(("Transfer-Encoding".to_owned(), "chunked".to_owned()));
        }
        Framing::Length if may_be_framed => {
            headers.push(("Content-Length".to_owned(), content_bytes.to_string()));
        }
        _ => {}
    }
    if reply.is_last || (request.version == "HTTP/1.0") {
        headers.push(("Connection".to_owned(), "close".to_owned()));
    }
    head(reply.status, &headers)
}

fn head(status: u16, headers: &[(String, String)]) -> String {
    let reason = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason());
    let mut head = format!("HTTP/1.1 {status} {}\r\n", reason.unwrap_or("Scripted"));
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head
}

async fn echo_bytes<S: Transport>(reader: Reader<S>, request: &Recorded) -> io::Result<()> {
    let Reader { mut stream, buffer } = reader;
    let key = request.header("sec-websocket-key").unwrap_or_default();
    let accept = STANDARD.encode(digest(
        &SHA1_FOR_LEGACY_USE_ONLY,
        format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11").as_bytes(),
    ));
    let headers = [
        ("Upgrade".to_owned(), "websocket".to_owned()),
        ("Connection".to_owned(), "Upgrade".to_owned()),
        ("Sec-WebSocket-Accept".to_owned(), accept),
    ];
    stream.write_all(head(101, &headers).as_bytes()).await?;
    stream.write_all(&buffer).await?;
    stream.flush().await?;
    let mut piece = vec![0; 16 * 1024];
    loop {
        let count = stream.read(&mut piece).await?;
        if count == 0 {
            return stream.shutdown().await;
        }
        stream.write_all(&piece[..count]).await?;
        stream.flush().await?;
    }
}

/// Reads and drops until the other side closes.
async fn wait_for_the_other_side<S: Transport>(stream: &mut S) -> io::Result<()> {
    let mut piece = vec![0; 16 * 1024];
    while stream.read(&mut piece).await? > 0 {}
    Ok(())
}

async fn reset<S: Transport>(stream: S) -> io::Result<()> {
    stream.tcp().set_zero_linger()
}

/// A reset throws away what has been sent and not yet read; the pause lets the other side read.
async fn reset_after_delivery<S: Transport>(stream: S) -> io::Result<()> {
    tokio::time::sleep(Duration::from_millis(50)).await;
    reset(stream).await
}
