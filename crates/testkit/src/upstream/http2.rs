//! HTTP/2 connections of an upstream.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};

use super::answer::{Answer, End, Framing, Reply};
use super::record::{BODY_BYTES_KEPT, Journal, Recorded};
use super::serve::Transport;

/// Serves streams until the connection ends.
pub(super) async fn serve<S: Transport>(
    stream: S,
    journal: &Arc<Journal>,
    number: u64,
) -> Result<(), h2::Error> {
    let mut connection = h2::server::handshake(stream).await?;
    let mut streams = tokio::task::JoinSet::new();
    while let Some(accepted) = connection.accept().await {
        let (request, respond) = accepted?;
        streams.spawn(exchange(request, respond, Arc::clone(journal), number));
        // Ended streams leave nothing that anybody asks for.
        while streams.try_join_next().is_some() {}
    }
    Ok(())
}

/// A stream that fails is the other side's doing.
async fn exchange(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    journal: Arc<Journal>,
    connection: u64,
) {
    let (mut recorded, mut body) = record(request, connection);
    let reason = match journal.arrived(&mut recorded) {
        Answer::Close | Answer::Raw(_) | Answer::WebSocketEcho => Reason::CANCEL,
        Answer::Refuse => Reason::REFUSED_STREAM,
        Answer::Reset => Reason::INTERNAL_ERROR,
        Answer::Hang => {
            let _ = poll_fn(|context| respond.poll_reset(context)).await;
            return;
        }
        Answer::Reply(reply) => {
            if !reply.is_early {
                let received = receive(&mut body, &mut recorded).await;
                journal.completed(&recorded);
                if received.is_err() {
                    return;
                }
            }
            let _ = answer(&mut respond, &recorded, &reply).await;
            return;
        }
    };
    respond.send_reset(reason);
}

async fn answer(
    respond: &mut SendResponse<Bytes>,
    request: &Recorded,
    reply: &Reply,
) -> Result<(), h2::Error> {
    for (status, headers) in &reply.interim {
        respond.send_informational(head(*status, headers))?;
    }
    tokio::time::sleep(reply.delay).await;

    let content = reply.content_for(request);
    let pieces = reply.pieces(&content);
    let trailers = match &reply.framing {
        Framing::Chunked { trailers } if !trailers.is_empty() => Some(fields(trailers)),
        _ => None,
    };
    let has_no_body = request.method == "HEAD" || matches!(reply.status, 204 | 304);
    let ends_with_head = has_no_body
        || (content.is_empty() && trailers.is_none() && matches!(reply.end, End::Complete));
    let mut stream = respond.send_response(head(reply.status, &reply.headers), ends_with_head)?;
    if ends_with_head {
        return Ok(());
    }
    for piece in pieces {
        send(&mut stream, piece).await?;
        if let Some((_, pause)) = reply.pace {
            tokio::time::sleep(pause).await;
        }
    }
    match (reply.end, trailers) {
        (End::Complete, Some(trailers)) => stream.send_trailers(trailers)?,
        (End::Complete, None) => stream.send_data(Bytes::new(), true)?,
        (End::StallAfter(_), _) => {
            poll_fn(|context| stream.poll_reset(context)).await?;
        }
        (End::CloseAfter(_) | End::ResetAfter(_), _) => {
            // A reset overtakes data that has been queued and not written yet.
            tokio::time::sleep(Duration::from_millis(50)).await;
            let is_close = matches!(reply.end, End::CloseAfter(_));
            stream.send_reset(if is_close {
                Reason::CANCEL
            } else {
                Reason::INTERNAL_ERROR
            });
        }
    }
    Ok(())
}

/// Sends a piece as the other side's window allows.
async fn send(stream: &mut SendStream<Bytes>, mut piece: Bytes) -> Result<(), h2::Error> {
    while !piece.is_empty() {
        stream.reserve_capacity(piece.len());
        let granted = match poll_fn(|context| stream.poll_capacity(context)).await {
            Some(granted) => granted?,
            None => return Err(Reason::CANCEL.into()),
        };
        let now = piece.split_to(granted.min(piece.len()));
        stream.send_data(now, false)?;
    }
    Ok(())
}

async fn receive(body: &mut RecvStream, request: &mut Recorded) -> Result<(), h2::Error> {
    let mut kept = BytesMut::new();
    while let Some(piece) = body.data().await {
        let piece = piece?;
        body.flow_control().release_capacity(piece.len())?;
        let room = BODY_BYTES_KEPT.saturating_sub(kept.len());
        kept.extend_from_slice(&piece[..piece.len().min(room)]);
        request.body_bytes += piece.len() as u64;
    }
    if let Some(trailers) = body.trailers().await? {
        request.trailers = trailers.iter().map(text).collect();
    }
    request.body = kept.freeze();
    request.is_complete = true;
    Ok(())
}

fn record(request: Request<RecvStream>, connection: u64) -> (Recorded, RecvStream) {
    let (head, body) = request.into_parts();
    let authority = head.uri.authority().map(|authority| authority.to_string());
    let mut headers: Vec<_> = authority
        .into_iter()
        .map(|value| (":authority".to_owned(), value))
        .collect();
    headers.extend(head.headers.iter().map(text));
    let recorded = Recorded {
        index: 0,
        connection,
        method: head.method.to_string(),
        path: head
            .uri
            .path_and_query()
            .map_or_else(String::new, ToString::to_string),
        version: "HTTP/2",
        headers,
        trailers: Vec::new(),
        body: Bytes::new(),
        body_bytes: 0,
        is_complete: false,
    };
    (recorded, body)
}

fn text((name, value): (&HeaderName, &HeaderValue)) -> (String, String) {
    (
        name.to_string(),
        String::from_utf8_lossy(value.as_bytes()).into_owned(),
    )
}

fn head(status: u16, headers: &[(String, String)]) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = status.try_into().expect("a script gives valid statuses");
    *response.headers_mut() = fields(headers);
    response
}

fn fields(headers: &[(String, String)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        let name: HeaderName = name.parse().expect("a script gives valid header names");
        map.append(
            name,
            value.parse().expect("a script gives valid header values"),
        );
    }
    map
}
