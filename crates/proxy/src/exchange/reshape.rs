//! Responses that are held until they have been changed: on routes that change JSON, and only
//! there.
//!
//! The head waits for the body, since only that tells whether there is an answer at all. What comes
//! too slowly, breaks off or cannot be changed becomes an answer of Weir's own.

use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use weir_policy::pipeline::{self, Then};
use weir_policy::refusal::{Code, Refusal};
use weir_telemetry::termination::Termination;

use super::Exchange;
use super::attempts::{Delivered, Refused};
use crate::body::FromEndpoint;
use crate::clock;
use crate::record::Ledger;

impl Exchange {
    /// Whether its responses are to be changed.
    pub(super) fn reshapes(&self) -> bool {
        let route = self.entry.installed.snapshot.route(self.admitted.route);
        route.content.as_ref().is_some_and(|plan| plan.reshapes())
    }
}

/// Holds a response and changes it; what came of it is in `exchange.reshaped`. A response that is
/// none of those to be changed is left as it is.
pub(super) async fn reshape(
    exchange: &mut Exchange,
    (chosen, answer, line): Delivered,
) -> Result<Delivered, Refused> {
    let installed = exchange.entry.installed.clone();
    let snapshot = &installed.snapshot;
    let (mut head, mut incoming) = answer.into_parts();
    let method = exchange.ledger.method();
    let held = match pipeline::reshapes(snapshot, &exchange.admitted, method, &mut head) {
        Ok(None) => Ok(None),
        Ok(Some(bytes_max)) => gather(exchange, &mut incoming, bytes_max).await.map(Some),
        Err(refusal) => Err((refusal, Termination::UpstreamInvalid)),
    };
    let changed = held.and_then(|held| {
        let change = |body: Bytes| pipeline::reshape(snapshot, &exchange.admitted, &body);
        let changed = held.map(change).transpose();
        let changed = changed.map(|body| body.map(Bytes::from));
        changed.map_err(|refusal| (refusal, Termination::UpstreamInvalid))
    });
    match changed {
        Ok(changed) => {
            exchange.reshaped = changed;
            Ok((chosen, http::Response::from_parts(head, incoming), line))
        }
        Err(refused) => {
            exchange.ledger.chosen = Some(chosen);
            Err(refused)
        }
    }
}

/// Reads a response to its end.
async fn gather(
    exchange: &Exchange,
    incoming: &mut FromEndpoint,
    bytes_max: u64,
) -> Result<Bytes, Refused> {
    let Then::Forward(plan) = &exchange.admitted.then else {
        return Err((Code::Internal.into(), Termination::Internal));
    };
    // The service's bound comes first: it says so in its own words.
    let own_max = plan.response_bytes_max;
    let too_large = |bytes: u64| match bytes > own_max {
        true => {
            let refusal = Refusal::new(Code::ResponseTooLarge)
                .with_detail(format!("at most {own_max} bytes are passed on"));
            Some((refusal, Termination::UpstreamTooLarge))
        }
        false => (bytes > bytes_max).then(|| {
            let refusal = pipeline::reshape_too_large(bytes_max);
            (refusal, Termination::UpstreamTooLarge)
        }),
    };
    if let Some(refused) = incoming.size_hint().exact().and_then(too_large) {
        return Err(refused);
    }
    let worker = &exchange.connection.worker;
    let mut body = BytesMut::new();
    loop {
        let silent = worker
            .clock
            .now()
            .nanos
            .saturating_add(clock::nanos(plan.timeouts.idle));
        let total = exchange
            .deadlines
            .total_until
            .filter(|total| *total < silent);
        let until = tokio::time::Instant::from_std(clock::instant(total.unwrap_or(silent)));
        let Ok(frame) = tokio::time::timeout_at(until, incoming.frame()).await else {
            return Err(match total {
                Some(_) => (Code::TotalTimeout.into(), Termination::TotalTimeout),
                None => (Code::UpstreamTimeout.into(), Termination::UpstreamStalled),
            });
        };
        match frame {
            None => return Ok(body.freeze()),
            Some(Err(error)) => {
                let ended = Ledger::broken_by(&error);
                return Err((Code::UpstreamReset.into(), ended));
            }
            // Trailers speak of another body.
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data() {
                    body.extend_from_slice(&data);
                }
            }
        }
        if let Some(refused) = too_large(body.len() as u64) {
            return Err(refused);
        }
    }
}
