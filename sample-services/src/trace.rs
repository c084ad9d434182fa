//! Which request this is: W3C trace context and request id, taken in, passed on and logged.

use std::fmt::Write;
use std::time::Instant;

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

/// What a service passes on with the calls that it makes for a request.
#[derive(Clone, Debug)]
pub struct TraceContext {
    traceparent: HeaderValue,
    tracestate: Option<HeaderValue>,
    request_id: HeaderValue,
}

impl TraceContext {
    /// From the headers of a request; what is missing or malformed is made anew.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let received = headers
            .get(TRACEPARENT)
            .filter(|value| is_traceparent(value.as_bytes()));
        let request_id = headers
            .get(REQUEST_ID)
            .filter(|value| is_request_id(value.as_bytes()));
        Self {
            // A state belongs to its parent.
            tracestate: received.and_then(|_| headers.get(TRACESTATE).cloned()),
            traceparent: received.cloned().unwrap_or_else(|| {
                value(&format!(
                    "00-{}-{}-01",
                    random_hex::<16>(),
                    random_hex::<8>()
                ))
            }),
            request_id: request_id
                .cloned()
                .unwrap_or_else(|| value(&random_hex::<16>())),
        }
    }

    /// Adds it to the headers of a call.
    pub fn pass_on(&self, headers: &mut HeaderMap) {
        headers.insert(TRACEPARENT, self.traceparent.clone());
        headers.insert(REQUEST_ID, self.request_id.clone());
        if let Some(state) = &self.tracestate {
            headers.insert(TRACESTATE, state.clone());
        }
    }

    /// The id of the whole trace.
    #[must_use]
    pub fn trace_id(&self) -> &str {
        self.traceparent
            .to_str()
            .ok()
            .and_then(|text| text.get(3..35))
            .unwrap_or_default()
    }

    /// The id of this request.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_id.to_str().unwrap_or_default()
    }
}

/// Puts the [`TraceContext`] into the request's extensions, the request id into the answer, and one
/// line into the log.
pub async fn trace(mut request: Request, next: Next) -> Response {
    let start = Instant::now();
    let context = TraceContext::of(request.headers());
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(context.clone());
    let mut response = next.run(request).await;
    response
        .headers_mut()
        .insert(REQUEST_ID, context.request_id.clone());
    let duration_us = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
    tracing::info!(
        %method,
        path,
        status = response.status().as_u16(),
        duration_us,
        trace_id = context.trace_id(),
        request_id = context.request_id(),
        "request"
    );
    response
}

/// `00-<32 hex>-<16 hex>-<2 hex>` in lower case, ids not all zero; later versions may be longer.
fn is_traceparent(bytes: &[u8]) -> bool {
    let is_hex = |part: &[u8]| {
        part.iter()
            .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let is_id = |part: &[u8]| is_hex(part) && part.iter().any(|&byte| byte != b'0');
    let Some((parent, rest)) = bytes.split_at_checked(TRACEPARENT_BYTES) else {
        return false;
    };
    let version = &parent[..2];
    let is_whole = rest.is_empty() || (version != b"00" && rest[0] == b'-');
    is_whole
        && parent[2] == b'-'
        && parent[35] == b'-'
        && parent[52] == b'-'
        && is_hex(version)
        && version != b"ff"
        && is_id(&parent[3..35])
        && is_id(&parent[36..52])
        && is_hex(&parent[53..])
}

fn is_request_id(bytes: &[u8]) -> bool {
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

fn random_hex<const N: usize>() -> String {
    let mut bytes = [0; N];
    // Without randomness the ids are useless, and so is everything else here that is random; a
    // request is not worth failing for it.
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    bytes
        .iter()
        .fold(String::with_capacity(2 * N), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Hex digits and dashes are always a valid value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT_BYTES: usize = 55;
const REQUEST_ID_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::{TraceContext, is_traceparent};
    use axum::http::{HeaderMap, HeaderValue};

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn what_came_is_passed_on() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static(PARENT));
        headers.insert("tracestate", HeaderValue::from_static("a=b"));
        headers.insert("x-request-id", HeaderValue::from_static("abc"));
        let context = TraceContext::of(&headers);
        let mut sent = HeaderMap::new();
        context.pass_on(&mut sent);
        assert_eq!(sent, headers);
        assert_eq!(context.trace_id(), "4bf92f3577b34da6a3ce929d0e0e4736");
    }

    #[test]
    fn what_is_missing_or_wrong_is_made_anew() {
        let mut headers = HeaderMap::new();
        headers.insert("traceparent", HeaderValue::from_static("00-abc"));
        headers.insert("tracestate", HeaderValue::from_static("a=b"));
        headers.insert("x-request-id", HeaderValue::from_static("two words"));
        let context = TraceContext::of(&headers);
        let mut sent = HeaderMap::new();
        context.pass_on(&mut sent);
        assert!(is_traceparent(sent["traceparent"].as_bytes()));
        assert!(!sent.contains_key("tracestate"));
        assert_eq!(sent["x-request-id"].len(), 32);
    }

    #[test]
    fn a_traceparent_is_checked_to_the_letter() {
        assert!(is_traceparent(PARENT.as_bytes()));
        let later = format!("cc{}-what-comes", &PARENT[2..]);
        assert!(is_traceparent(later.as_bytes()));
        let zero = PARENT.replace("00f067aa0ba902b7", "0000000000000000");
        let wrong = [
            PARENT.to_uppercase(),
            format!("{PARENT}-more"),
            format!("ff{}", &PARENT[2..]),
            zero,
            PARENT.replace('-', "_"),
        ];
        for wrong in wrong {
            assert!(!is_traceparent(wrong.as_bytes()), "{wrong}");
        }
    }
}
