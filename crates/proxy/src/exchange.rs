//! One exchange: from the head of a request to the head of its response, through the five phases of
//! policy. The body of the response goes on in [`crate::body::Reply`].
//!
//! This file drives it; what each phase does is in a file of its own: `admit`, `prepare`,
//! `attempts` (choose and judge), `settle`. Beside them is what only some exchanges meet:
//! `connect`, `hold`, `delay`, `fallback`, `mirror`, `reshape`, `stored`.

use std::cell::Cell;
use std::future::{Future, ready};
use std::rc::Rc;

use bytes::Bytes;
use futures_util::future::Either;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response, StatusCode, request};
use weir_policy::moment::Moment;
use weir_policy::pipeline::{Admitted, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use crate::attempt::Deadlines;
use crate::body::{Inbound, Intake, Never, Reply};
use crate::cache::Visit;
use crate::interim::{Recipient, Relay};
use crate::record::Ledger;
use crate::respond;
use crate::serve::ClientConnection;
use crate::upgrade::ClientSide;
use crate::websocket::WebSocket;
use crate::worker::Entry;

mod admit;
mod attempts;
mod connect;
mod delay;
mod fallback;
mod head;
mod hedge;
mod hold;
mod marks;
mod mirror;
mod prepare;
mod reshape;
mod settle;
mod stored;

use attempts::{Attempts, Delivered, Refused};
use fallback::Onward;
use marks::Marks;
use stored::Dress;

pub(crate) use mirror::Copies;

/// Serves one request. Everything up to the first wait happens at once, so that what is answered
/// without an endpoint needs no state, and the future of what is not stays small: each exchange
/// has room for it.
pub(crate) fn serve(
    connection: Rc<ClientConnection>,
    request: Request<Inbound>,
) -> impl Future<Output = Result<Response<Reply>, Never>> + 'static {
    match Exchange::begin(&connection, request) {
        Ok(exchange) => Either::Right(exchange.forward()),
        Err(response) => Either::Left(ready(Ok(last_words(&connection, response)))),
    }
}

/// Tells the client to leave when the connection is to end.
fn last_words(connection: &ClientConnection, mut response: Response<Reply>) -> Response<Reply> {
    let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if connection.is_leaving() && !connection.http2 && !switched {
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// An admitted request that goes to a service.
struct Exchange {
    connection: Rc<ClientConnection>,
    entry: Rc<Entry>,
    ledger: Box<Ledger>,
    admitted: Admitted,
    /// What leaves; the same for every attempt.
    head: Option<request::Parts>,
    intake: Option<Rc<Intake>>,
    deadlines: Deadlines,
    /// When it went on to its service.
    entered: Moment,
    /// Attempts made before that, at a service that gave up.
    before: u32,
    /// Whether it may be needed once more, whatever its retries.
    sends_again: bool,
    /// The body of a request that has to wait first.
    waiting: Option<Inbound>,
    /// How much of that body is to be held and judged before it goes anywhere.
    holds: Option<u64>,
    /// The body of its response, where that was changed.
    reshaped: Option<Bytes>,
    /// The client's connection, where it asked for an upgrade that policy allows.
    client: Option<ClientSide>,
    websocket: Option<WebSocket>,
    marks: Marks,
    /// Who gets interim responses.
    recipient: Recipient,
    /// On routes that store their answers.
    visit: Option<Box<Visit>>,
}

impl Exchange {
    /// Sends it on, as often as policy says, and answers.
    async fn forward(mut self: Box<Self>) -> Result<Response<Reply>, Never> {
        if let Some(bytes_max) = self.holds.take() {
            // Boxed: it is rare, and every exchange would carry its size.
            self = match Box::pin(hold::hold(self, bytes_max)).await {
                Ok(exchange) => exchange,
                Err(response) => return Ok(*response),
            };
        }
        if self.waiting.is_some() {
            // Boxed for the same reason.
            self = match Box::pin(delay::wait(self)).await {
                Ok(exchange) => exchange,
                Err(response) => return Ok(*response),
            };
        }
        if *self.ledger.method() == Method::CONNECT {
            // Boxed for the same reason.
            return Ok(Box::pin(connect::open(self)).await);
        }
        if self.visit.as_ref().is_some_and(|visit| visit.waits()) {
            // Boxed for the same reason.
            self = match Box::pin(stored::wait(self)).await {
                Ok(exchange) => exchange,
                Err(response) => return Ok(*response),
            };
        }
        self.depart();
        loop {
            let this = &mut *self;
            let Then::Forward(plan) = &this.admitted.then else {
                // `begin` has answered every other case.
                return Ok(respond::refuse(
                    self.ledger,
                    &Code::Internal.into(),
                    Termination::Internal,
                ));
            };
            let relay = Relay {
                connection: &this.connection,
                entry: &this.entry,
                route: this.admitted.route,
                service: plan.service,
                recipient: &this.recipient,
            };
            let attempts = Attempts {
                worker: &this.connection.worker,
                entry: &this.entry,
                plan,
                intake: this.intake.as_ref(),
                deadlines: &this.deadlines,
                began: this.entered,
                before: this.before,
                keep_head: this.sends_again,
                relay: &relay,
                sent: Cell::new(false),
            };
            let end = attempts.run(&mut this.ledger, &mut this.head).await;
            let sent = attempts.sent.get();
            // A service that gave up may have another one, or a fixed answer, to stand in for it.
            match fallback::after(self, &end, sent) {
                Onward::Again(exchange) => self = exchange,
                Onward::Answer(response) => return Ok(*response),
                Onward::Deliver(mut exchange) => {
                    let end = match end {
                        Ok(delivered) if exchange.reshapes() => {
                            // Boxed for the same reason.
                            Box::pin(reshape::reshape(&mut exchange, delivered)).await
                        }
                        end => end,
                    };
                    return Ok(exchange.answer(end));
                }
            }
        }
    }

    fn answer(self: Box<Self>, end: Result<Delivered, Refused>) -> Response<Reply> {
        let (connection, entry) = (Rc::clone(&self.connection), Rc::clone(&self.entry));
        let marks = self.marks.clone();
        let own = end.is_err();
        let response = match end {
            Ok(delivered) => self.deliver(delivered),
            Err((refusal, termination)) => self.failed(&refusal, termination),
        };
        last_words(&connection, marks.on(&entry, response, own))
    }

    /// No endpoint has answered: what is stored may have to do.
    fn failed(mut self: Box<Self>, refusal: &Refusal, termination: Termination) -> Response<Reply> {
        if let Some(visit) = self.visit.take()
            && refusal.code.row().status.is_server_error()
            && let Some(stale) = visit.failed(self.connection.worker.clock.now())
        {
            let filled = self.admitted.filled.as_deref();
            return Dress::of(&self.admitted).on_stored(self.ledger, filled, stale);
        }
        respond::refuse(self.ledger, refusal, termination)
    }

    /// Answers without an endpoint.
    fn own_answer(
        self: Box<Self>,
        answer: impl FnOnce(Box<Ledger>) -> Response<Reply>,
    ) -> Response<Reply> {
        let response = answer(self.ledger);
        last_words(&self.connection, self.marks.on(&self.entry, response, true))
    }
}

#[cfg(test)]
mod tests {
    use super::serve;

    fn size_of_future<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn the_future_that_every_connection_has_room_for_stays_small() {
        let bytes = size_of_future(serve);
        assert!(bytes <= 1600, "{bytes} bytes");
    }
}
