//! What the ends of exchanges with endpoints mean for a retry: which kind of failure it was, and
//! whether any byte may have reached the application.

use std::error::Error;
use std::io;

use h2::Reason;
use weir_policy::framing::Fault;
use weir_policy::pipeline::{FailureKind, Outcome};
use weir_telemetry::termination::Termination;

use crate::body::EndpointError;

/// The outcome of a request of which something was written, and for which no response head came.
pub(crate) fn of(error: &EndpointError) -> Outcome {
    let kind = match error {
        EndpointError::Http2(error) => return of_h2(error),
        EndpointError::Malformed(Fault::TooLarge) => FailureKind::HeaderTooLarge,
        EndpointError::Malformed(Fault::TooManyFields) => FailureKind::HeadersTooMany,
        error if is_malformed(error) => FailureKind::Protocol,
        _ => FailureKind::Reset,
    };
    Outcome::Failure { kind, sent: true }
}

/// Whether what was received breaks the rules of its protocol; an end that comes too early does
/// not.
pub(crate) fn is_malformed(error: &EndpointError) -> bool {
    match error {
        EndpointError::Length(_) | EndpointError::Malformed(_) => true,
        // What the library says about the endpoint, not the endpoint itself.
        EndpointError::Http2(error) => error.is_library() && breaks_rules(error),
        // Records of TLS.
        EndpointError::Io(error) => error.kind() == io::ErrorKind::InvalidData,
        EndpointError::Closed | EndpointError::Upload(_) => false,
    }
}

fn of_h2(error: &h2::Error) -> Outcome {
    // RFC 9113, 8.7: a refused stream was not processed at all, and neither was one that a GOAWAY
    // leaves out (6.8); others are told of no GOAWAY by the library.
    let refused = error.reason() == Some(Reason::REFUSED_STREAM) || error.is_go_away();
    if refused && error.is_remote() {
        return Outcome::Failure {
            kind: FailureKind::Reset,
            sent: false,
        };
    }
    let kind = match breaks_rules(error) {
        true => FailureKind::Protocol,
        false => FailureKind::Reset,
    };
    Outcome::Failure { kind, sent: true }
}

fn breaks_rules(error: &h2::Error) -> bool {
    matches!(
        error.reason(),
        Some(
            Reason::PROTOCOL_ERROR
                | Reason::COMPRESSION_ERROR
                | Reason::FRAME_SIZE_ERROR
                | Reason::FLOW_CONTROL_ERROR
        )
    )
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
        FailureKind::HeaderTooLarge | FailureKind::HeadersTooMany => Termination::UpstreamTooLarge,
        FailureKind::PendingOverflow | FailureKind::PendingTimeout => Termination::Refused,
        FailureKind::Protocol => Termination::UpstreamInvalid,
        FailureKind::Reset => Termination::UpstreamResetBeforeBytes,
        FailureKind::Stalled => Termination::UpstreamStalled,
        FailureKind::PerTry | FailureKind::Timeout => Termination::UpstreamTimeout,
        FailureKind::Tls => Termination::UpstreamTls,
    }
}
