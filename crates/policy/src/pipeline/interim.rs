//! Interim responses (1xx, RFC 9110, section 15.2): who gets them, and what is left of their heads.
//!
//! They are hints about a response that is still to come. So none of them is worth a failure: what
//! is too much is dropped, and nothing is added to the others but `Via`.

use http::header::{CONTENT_LENGTH, TRAILER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use weir_config::bounds::{INTERIM_HEADER_BYTES_MAX, RESPONSE_HEADER_COUNT_MAX};
use weir_config::edge_rules::InterimResponses;

use crate::rewrite::{add_via, strip_response};
use crate::snapshot::{ListenerId, RouteId, Snapshot};

/// Why a client does not get an interim response that it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// It has not taken what was sent to it before.
    ClientBusy,
    /// The header section is larger than [`INTERIM_HEADER_BYTES_MAX`] or has more fields than
    /// [`RESPONSE_HEADER_COUNT_MAX`].
    TooLarge,
    /// It got as many as one request may have.
    TooMany,
}

impl Dropped {
    /// Its label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Dropped::ClientBusy => "client-busy",
            Dropped::TooLarge => "too-large",
            Dropped::TooMany => "too-many",
        }
    }
}

/// Whether a client that speaks this version to this listener gets interim responses.
#[must_use]
pub fn reach(snapshot: &Snapshot, listener: ListenerId, version: Version) -> bool {
    match snapshot.listener(listener).interim {
        InterimResponses::Drop => false,
        // HTTP/1.0 has none.
        InterimResponses::Forward => version >= Version::HTTP_11,
        InterimResponses::Http2 => version >= Version::HTTP_2,
    }
}

/// Whether a response is an interim one that concerns the client. Weir says 100 by itself, and a
/// 101 is the end of HTTP.
#[must_use]
pub fn is_passed_on(status: StatusCode) -> bool {
    status.is_informational()
        && status != StatusCode::CONTINUE
        && status != StatusCode::SWITCHING_PROTOCOLS
}

/// Whether a header section is small enough.
#[must_use]
pub fn fits(headers: &HeaderMap) -> bool {
    let field = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    headers.len() <= RESPONSE_HEADER_COUNT_MAX
        && headers.iter().map(field).sum::<usize>() <= INTERIM_HEADER_BYTES_MAX
}

/// Turns the head of an endpoint's interim response into the one the client gets. What the route
/// takes out of its responses or writes itself is not in there.
pub fn settle(snapshot: &Snapshot, route: RouteId, received: Version, headers: &mut HeaderMap) {
    strip_response(headers);
    // An interim response has neither body nor trailers.
    headers.remove(CONTENT_LENGTH);
    headers.remove(TRAILER);
    snapshot.route(route).response_headers.conceal(headers);
    if snapshot.via {
        add_via(headers, received);
    }
}
