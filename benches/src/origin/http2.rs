//! The origin's HTTP/2 with prior knowledge: plain answers, and unary gRPC.

use std::rc::Rc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use tokio::net::TcpStream;
use tokio::task::spawn_local;

use crate::origin::bodies::{Bodies, grpc_reply};

/// Serves a connection to its end.
pub async fn serve(stream: TcpStream, bodies: Rc<Bodies>) {
    let handshake = h2::server::Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .handshake(stream)
        .await;
    let Ok(mut connection) = handshake else {
        return;
    };
    let reply = grpc_reply();
    while let Some(Ok((request, respond))) = connection.accept().await {
        spawn_local(answer(request, respond, Rc::clone(&bodies), reply.clone()));
    }
}

async fn answer(
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
    bodies: Rc<Bodies>,
    reply: Bytes,
) {
    // A stream that breaks is its client's to notice.
    let _ = try_answer(request, &mut respond, &bodies, reply).await;
}

async fn try_answer(
    request: Request<RecvStream>,
    respond: &mut SendResponse<Bytes>,
    bodies: &Bodies,
    reply: Bytes,
) -> Result<(), h2::Error> {
    let (head, mut body) = request.into_parts();
    while let Some(piece) = body.data().await {
        body.flow_control().release_capacity(piece?.len())?;
    }
    let is_grpc = head
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"application/grpc"));
    let mut response = Response::new(());
    let fields = response.headers_mut();
    if is_grpc {
        fields.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/grpc"),
        );
        let mut stream = respond.send_response(response, false)?;
        stream.send_data(reply, false)?;
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        return stream.send_trailers(trailers);
    }
    let content = bodies.at(head.uri.path()).content.clone();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    fields.insert(header::CONTENT_LENGTH, content.len().into());
    if head.method == http::Method::HEAD {
        respond.send_response(response, true)?;
        return Ok(());
    }
    let mut stream = respond.send_response(response, false)?;
    stream.send_data(content, true)
}

/// Window of each stream, bytes.
const STREAM_WINDOW: u32 = 1 << 20;
/// Window of the connection, bytes.
const CONNECTION_WINDOW: u32 = 16 << 20;
