//! CONNECT: once a connection to an endpoint of the route's service stands, the client's connection
//! or stream is joined with it, byte by byte. Where the client wants to go is the route's question
//! (by its authority); where bytes go is the document's answer, never the client's.

use bytes::Bytes;
use h2::ext::Protocol;
use http::header::CONTENT_LENGTH;
use http::{Response, Version, request};
use http_body::Body;
use weir_policy::pipeline::{self, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use super::{Exchange, last_words};
use crate::body::{Inbound, Reply};
use crate::respond;
use crate::tunnel::{self, Missed, Reached};
use crate::upgrade;

/// What keeps a CONNECT from being a tunnel, whatever the routes say.
pub(super) fn problem(head: &request::Parts, body: &Inbound) -> Option<&'static str> {
    if head.extensions.get::<Protocol>().is_some() {
        return Some("of the protocols that CONNECT can ask for, only WebSocket is taken");
    }
    // A body ends and a tunnel does not: what one side takes for the one is the other elsewhere.
    // A stream with a length never becomes a tunnel, however long it is.
    let has_length = head.version == Version::HTTP_2 && head.headers.contains_key(CONTENT_LENGTH);
    (has_length || !body.is_end_stream()).then_some("a CONNECT request has no body")
}

/// Connects, and answers.
pub(super) async fn open(mut exchange: Box<Exchange>) -> Response<Reply> {
    let this = &mut *exchange;
    let (Then::Forward(forward), Some(client)) = (&this.admitted.then, this.client.take()) else {
        // Nothing else is admitted, and there is always a connection.
        return refuse(exchange, &Code::Internal.into(), Termination::Internal);
    };
    let idle = forward.timeouts.idle;
    let (worker, ends) = (&this.connection.worker, this.connection.ends());
    let attempts = &mut this.ledger.attempts;
    let reached = tunnel::reach(worker, &this.entry, forward, ends, this.entered, attempts).await;
    let Reached { open, chosen, took } = match reached {
        Ok(reached) => reached,
        Err(Missed {
            refusal,
            termination,
            chosen,
        }) => {
            this.ledger.chosen = chosen;
            return refuse(exchange, &refusal, termination);
        }
    };
    let Exchange {
        entry,
        mut ledger,
        admitted,
        marks,
        ..
    } = *exchange;
    ledger.chosen = Some(chosen);
    ledger.upstream = Some(took);
    let (mut head, ()) = Response::new(()).into_parts();
    let (snapshot, filled) = (&entry.installed.snapshot, admitted.filled.as_deref());
    pipeline::settle(snapshot, admitted.route, None, filled, &mut head);
    ledger.status = head.status.as_u16();
    if let Then::Forward(forward) = admitted.then {
        ledger.permit = Some(forward.permit);
    }
    upgrade::pass_on(client, open, ledger, idle);
    let response = Response::from_parts(head, Reply::full(Bytes::new(), None));
    marks.on(&entry, response, true)
}

fn refuse(exchange: Box<Exchange>, refusal: &Refusal, termination: Termination) -> Response<Reply> {
    let Exchange {
        connection,
        entry,
        ledger,
        marks,
        ..
    } = *exchange;
    let response = respond::refuse(ledger, refusal, termination);
    last_words(&connection, marks.on(&entry, response, true))
}
