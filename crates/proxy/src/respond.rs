//! Answers that Weir gives by itself, and the memory of them: the last refusals of the process can
//! be asked for by their decision id.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Response};
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use crate::body::Reply;
use crate::record::Ledger;

/// A remembered refusal.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Its id, as the client was told.
    pub id: String,
    /// When, milliseconds since 1970.
    pub unix_ms: u64,
    /// Reason.
    pub code: Code,
    /// What exactly, as the client was told.
    pub detail: Option<Box<str>>,
    /// Method of the request.
    pub method: String,
    /// Host that was asked for.
    pub host: String,
    /// Path that was asked for, without query.
    pub path: String,
    /// The client's address.
    pub client: IpAddr,
    /// The listener's name.
    pub listener: String,
    /// The route, where one was found.
    pub route: Option<String>,
    /// The service, where one was chosen.
    pub service: Option<String>,
    /// Label of the revision that decided.
    pub revision: String,
}

/// The last refusals of the process: a ring of 4,096.
#[derive(Debug, Default)]
pub struct Decisions(Mutex<VecDeque<Decision>>);

impl Decisions {
    /// The refusal with this id, if it is still remembered.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<Decision> {
        self.lock()
            .iter()
            .rev()
            .find(|decision| decision.id == id)
            .cloned()
    }

    /// The newest refusals, newest first.
    #[must_use]
    pub fn latest(&self, count: usize) -> Vec<Decision> {
        self.lock().iter().rev().take(count).cloned().collect()
    }

    fn remember(&self, decision: Decision) {
        let mut ring = self.lock();
        if ring.len() >= DECISIONS_MAX {
            ring.pop_front();
        }
        ring.push_back(decision);
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Decision>> {
        // Nothing under this lock can leave the ring half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers with a refusal.
pub(crate) fn refuse(
    mut ledger: Box<Ledger>,
    refusal: &Refusal,
    termination: Termination,
) -> Response<Reply> {
    let worker = ledger.worker();
    let id = worker.dice.id();
    worker.metrics.refused(worker.index, refusal.code);
    // The id is made of hexadecimal digits.
    let text = std::str::from_utf8(&id).unwrap_or_default();
    remember(&ledger, refusal, text);
    let mut response = match ledger.call {
        None => refusal.response(text),
        Some(flavour) => {
            ledger.grpc_status = Some(refusal.call_status());
            refusal.call_response(flavour, text)
        }
    };
    let closes = closes(refusal.code) || *ledger.method() == Method::CONNECT;
    if closes && !ledger.connection().http2 {
        // What is left of the request's body is not worth reading; and what follows a CONNECT may
        // be meant for the tunnel, not for us.
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    ledger.refused = Some((refusal.code, id));
    ledger.ended(termination);
    full(ledger, response)
}

/// Answers with something given whole.
pub(crate) fn full(mut ledger: Box<Ledger>, response: Response<Bytes>) -> Response<Reply> {
    ledger.status = response.status().as_u16();
    let (head, body) = response.into_parts();
    Response::from_parts(head, Reply::full(body, Some(ledger)))
}

fn closes(code: Code) -> bool {
    matches!(
        code,
        Code::BadChunk
            | Code::BadTrailer
            | Code::BodyTooLarge
            | Code::BodyTooSlow
            | Code::ChunkExtensionTooLong
            | Code::ChunkExtensionsTooLarge
            | Code::OpenapiBodyTooLarge
            | Code::TrailersTooLarge
            | Code::TrailersTooMany
            | Code::TransformTooLarge
            | Code::RequestTimeout
            | Code::Draining
    )
}

fn remember(ledger: &Ledger, refusal: &Refusal, id: &str) {
    let worker = ledger.worker();
    let snapshot = &ledger.entry().installed.snapshot;
    worker.decisions.remember(Decision {
        id: id.to_owned(),
        unix_ms: worker.clock.unix_nanos(ledger.began.nanos) / 1_000_000,
        code: refusal.code,
        detail: refusal.detail.clone(),
        method: ledger.method().to_string(),
        host: bounded(ledger.host()),
        path: bounded(ledger.uri().path()),
        client: ledger.client,
        listener: ledger.entry().name.to_string(),
        route: ledger
            .route
            .map(|route| snapshot.route(route).name.to_string()),
        service: ledger
            .service
            .map(|service| snapshot.service(service).name.to_string()),
        revision: snapshot.revision.to_string(),
    });
}

fn bounded(text: &str) -> String {
    text.chars().take(TEXT_CHARS_MAX).collect()
}

/// Refusals remembered.
const DECISIONS_MAX: usize = 4096;
/// Characters kept of what came from a client.
const TEXT_CHARS_MAX: usize = 512;
