//! Upgraded connections and streams (WebSocket), and those of CONNECT: once policy, endpoint and
//! client agree, both sides are joined byte by byte.
//!
//! A joined connection is pinned to nothing of the configuration; it counts as an exchange until it
//! ends, so that draining waits for it, and is ended with the drain.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use weir_telemetry::termination::Termination;

mod client_side;

pub(crate) use client_side::{ClientIo, ClientSide, Handover, Remainder, StreamIo};

use crate::connect::Open;
use crate::http1::Switched;
use crate::pool::Line;
use crate::record::Ledger;
use crate::tunnel::{End, both_ways};
use crate::worker::Worker;

/// What the endpoint's side of an upgrade is.
#[derive(Debug)]
pub(crate) enum EndpointSide {
    /// A connection that has left HTTP/1.1.
    Connection(Switched),
    /// A stream of HTTP/2.
    Stream(Box<StreamIo>),
}

/// Joins both sides once they have left HTTP.
pub(crate) fn join(
    client: ClientSide,
    endpoint: EndpointSide,
    line: Line,
    mut ledger: Box<Ledger>,
    idle: Duration,
) {
    tokio::task::spawn_local(async move {
        // A stream counts as one until its end.
        let _line = line;
        let client = match client.left().await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "upgrade came to nothing");
                return ledger.ended(Termination::ClientGoneBeforeResponse);
            }
        };
        let (termination, bytes) = match endpoint {
            EndpointSide::Connection(mut endpoint) => {
                tunnel(client, &mut endpoint, &ledger, idle).await
            }
            EndpointSide::Stream(mut endpoint) => {
                tunnel(client, &mut endpoint, &ledger, idle).await
            }
        };
        ledger.end(termination, bytes);
    });
}

/// Joins the client's side of a CONNECT with a connection to the endpoint.
pub(crate) fn pass_on(client: ClientSide, mut open: Open, mut ledger: Box<Ledger>, idle: Duration) {
    tokio::task::spawn_local(async move {
        let mut client = match client.left().await {
            Ok(client) => client,
            Err(error) => {
                tracing::debug!(%error, "a tunnel came to nothing");
                ledger.ended(Termination::ClientGoneBeforeResponse);
                return;
            }
        };
        let (mut received, mut sent) = (0, 0);
        let moved = |from_client, from_endpoint| (received, sent) = (from_client, from_endpoint);
        let worker = ledger.worker();
        let joined = both_ways(worker, &mut client, &mut open.socket, idle, moved);
        let termination = match until_drained(worker, joined).await {
            None => Termination::Drained,
            Some(End::Whole) => Termination::Upgraded,
            Some(End::Idle) => Termination::IdleTimeout,
            Some(End::Client) => {
                // It must not take what broke off for the end.
                open.socket.reset();
                Termination::ClientGoneDuringBody
            }
            Some(End::Endpoint { .. }) if sent == 0 => Termination::UpstreamResetBeforeBytes,
            Some(End::Endpoint { .. }) => Termination::UpstreamResetAfterBytes,
        };
        ledger.received(received);
        ledger.end(termination, sent);
    });
}

async fn tunnel<E: AsyncRead + AsyncWrite + Unpin>(
    mut client: ClientIo,
    endpoint: &mut E,
    ledger: &Ledger,
    idle: Duration,
) -> (Termination, u64) {
    let mut bytes = 0;
    let moved = |_, sent| bytes = sent;
    let worker = ledger.worker();
    let joined = both_ways(worker, &mut client, endpoint, idle, moved);
    let termination = match until_drained(worker, joined).await {
        None => Termination::Drained,
        Some(End::Whole | End::Endpoint { answered: true }) => Termination::Upgraded,
        Some(End::Client) => Termination::ClientGoneDuringBody,
        Some(End::Endpoint { answered: false }) => Termination::UpstreamResetAfterBytes,
        Some(End::Idle) => Termination::UpstreamStalled,
    };
    (termination, bytes)
}

/// How it ends; `None` when it is cut off at the end of a drain.
async fn until_drained(worker: &Worker, joined: impl Future<Output = End>) -> Option<End> {
    tokio::select! {
        biased;
        () = worker.tunnels_end.notified() => None,
        end = joined => Some(end),
    }
}
