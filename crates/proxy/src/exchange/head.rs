//! What is done to the head of a request before anybody reads it: its cookies are joined, it gets
//! its place in a trace and its id.

use http::header::COOKIE;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use weir_telemetry::trace_context::{Draw, TraceContext};

use crate::body::Reply;
use crate::record::Ledger;
use crate::worker::Worker;

/// Gives the request its place in a trace and an id, and remembers both.
pub(super) fn tag(worker: &Worker, ledger: &mut Ledger, headers: &mut HeaderMap) -> HeaderValue {
    let dice = &worker.dice;
    let trace = (u128::from(dice.draw()) << 64) | u128::from(dice.draw());
    let draw = Draw {
        trace,
        span: dice.draw(),
        sampled: false,
    };
    let context = TraceContext::from_headers(headers, draw);
    context.write(headers);
    ledger.trace = Some(context.trace_id);
    if let Some(id) = headers.get(REQUEST_ID)
        && id.len() <= REQUEST_ID_BYTES_MAX
    {
        return unrepeated(id.clone());
    }
    // Hexadecimal digits always make a header value.
    let id = HeaderValue::from_bytes(&dice.id()).unwrap_or(HeaderValue::from_static("none"));
    let id = unrepeated(id);
    headers.insert(REQUEST_ID, id.clone());
    id
}

/// A value that no other message has: HTTP/2 does not keep it in its table of fields, where it
/// would take the place of those that come again (RFC 7541, 6.2.3).
fn unrepeated(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Tells the client the id of its request, unless the endpoint has done so.
pub(super) fn identified(
    mut response: Response<Reply>,
    request_id: HeaderValue,
) -> Response<Reply> {
    let headers = response.headers_mut();
    headers.entry(REQUEST_ID).or_insert(request_id);
    response
}

/// HTTP/2 may split `cookie` into many fields; everything else expects one (RFC 9113, 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let mut crumbs = headers.get_all(COOKIE).iter();
    if crumbs.next().is_none() || crumbs.next().is_none() {
        return;
    }
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// A longer id from a client is replaced.
const REQUEST_ID_BYTES_MAX: usize = 128;
