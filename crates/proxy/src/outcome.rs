//! What hyper's errors mean for a retry: which kind of failure, and whether any byte may have
//! reached the endpoint's application.

use std::error::Error;
use std::io;

use weir_policy::pipeline::{FailureKind, Outcome};
use weir_telemetry::termination::Termination;

/// The outcome of a request that hyper began to write and for which no response head came.
pub(crate) fn of(error: &hyper::Error) -> Outcome {
    if let Some(h2) = source::<h2::Error>(error) {
        return of_h2(h2);
    }
    let kind = if error.is_parse_too_large() {
        FailureKind::HeaderTooLarge
    } else if error.is_parse() || is_malformed(error) {
        FailureKind::Protocol
    } else {
        FailureKind::Reset
    };
    Outcome::Failure { kind, sent: true }
}

/// Whether what was received breaks the rules of HTTP/1.1, by what the wire or hyper's reader of
/// bodies says; an end that comes too early is none.
pub(crate) fn is_malformed(error: &hyper::Error) -> bool {
    let kind = source::<io::Error>(error).map(io::Error::kind);
    matches!(
        kind,
        Some(io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput)
    )
}

fn of_h2(error: &h2::Error) -> Outcome {
    match error.reason() {
        // RFC 9113, 8.7: a refused stream was not processed at all.
        Some(h2::Reason::REFUSED_STREAM) if error.is_remote() => Outcome::Failure {
            kind: FailureKind::Reset,
            sent: false,
        },
        Some(
            h2::Reason::PROTOCOL_ERROR
            | h2::Reason::COMPRESSION_ERROR
            | h2::Reason::FRAME_SIZE_ERROR
            | h2::Reason::FLOW_CONTROL_ERROR,
        ) => Outcome::Failure {
            kind: FailureKind::Protocol,
            sent: true,
        },
        _ => Outcome::Failure {
            kind: FailureKind::Reset,
            sent: true,
        },
    }
}

/// The first cause of an error that is of this type.
pub(crate) fn source<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let mut next = error.source();
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// How an exchange ended whose last attempt failed like this.
pub(crate) fn termination(kind: FailureKind, attempts: u32) -> Termination {
    if attempts > 1 {
        return Termination::RetriesExhausted;
    }
    match kind {
        FailureKind::Connect | FailureKind::ConnectTimeout => Termination::UpstreamConnect,
        FailureKind::HeaderTooLarge => Termination::UpstreamTooLarge,
        FailureKind::PendingOverflow | FailureKind::PendingTimeout => Termination::Refused,
        FailureKind::Protocol => Termination::UpstreamInvalid,
        FailureKind::Reset => Termination::UpstreamResetBeforeBytes,
        FailureKind::Stalled => Termination::UpstreamStalled,
        FailureKind::PerTry | FailureKind::Timeout => Termination::UpstreamTimeout,
        FailureKind::Tls => Termination::UpstreamTls,
    }
}
