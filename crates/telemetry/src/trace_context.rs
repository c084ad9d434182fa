//! W3C Trace Context: which trace a request belongs to, and what to tell the next one.
//!
//! Weir takes part in a trace: it keeps the trace id, puts its own span in place of the parent and
//! leaves `tracestate` as it is. Whatever is not valid starts a new trace, as the recommendation
//! (level 1) says; nothing that a client sends here can make a request fail.

mod tracestate;

use std::fmt;

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::hex;

/// Identifies a trace; never zero.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TraceId(u128);

impl TraceId {
    /// The 32 hexadecimal digits.
    pub fn hex(self) -> [u8; 32] {
        hex::of_u128(self.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Identifies a span within a trace; never zero.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct SpanId(u64);

impl SpanId {
    /// The 16 hexadecimal digits.
    pub fn hex(self) -> [u8; 16] {
        hex::of_u64(self.0)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Chance for one request, drawn by the caller so that tests can repeat it.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// Becomes the trace id when a trace starts.
    pub trace: u128,
    /// Becomes the span id.
    pub span: u64,
    /// Whether a trace that starts here asks to be recorded.
    pub sampled: bool,
}

impl Draw {
    /// Draws from the generator of this thread.
    pub fn random(sampled: bool) -> Self {
        Self {
            trace: rand::random(),
            span: rand::random(),
            sampled,
        }
    }
}

/// The place of a request in a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// The trace, continued or started here.
    pub trace_id: TraceId,
    /// The span of the caller; `None` when the trace starts here.
    pub parent: Option<SpanId>,
    /// The span of this request in Weir: the parent of what comes next.
    pub span_id: SpanId,
    /// Flags that are passed on.
    flags: u8,
    keep_tracestate: bool,
}

impl TraceContext {
    /// Continues the trace of these headers, or starts one.
    pub fn from_headers(headers: &HeaderMap, draw: Draw) -> Self {
        // Zero is reserved; one value of 2^64 may be drawn twice as often.
        let span_id = SpanId(draw.span.max(1));
        match received(headers) {
            Some(received) => Self {
                trace_id: received.trace_id,
                parent: Some(received.parent),
                span_id,
                flags: received.flags & FLAGS_KNOWN,
                keep_tracestate: tracestate::is_valid(headers.get_all(TRACESTATE)),
            },
            None => Self {
                trace_id: TraceId(draw.trace.max(1)),
                parent: None,
                span_id,
                flags: FLAG_RANDOM | if draw.sampled { FLAG_SAMPLED } else { 0 },
                keep_tracestate: false,
            },
        }
    }

    /// Whether whoever started the trace asked for it to be recorded.
    pub fn sampled(&self) -> bool {
        self.flags & FLAG_SAMPLED != 0
    }

    /// The same place with another span, for instance one attempt of a request.
    #[must_use]
    pub fn with_span(self, draw: u64) -> Self {
        Self {
            parent: Some(self.span_id),
            span_id: SpanId(draw.max(1)),
            ..self
        }
    }

    /// Writes what goes upstream into headers that began as those of the request.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Ok(mut value) = HeaderValue::from_bytes(&self.traceparent()) {
            // No other request has it: HTTP/2 does not keep it in its table of fields.
            value.set_sensitive(true);
            headers.insert(TRACEPARENT, value);
        }
        if !self.keep_tracestate {
            headers.remove(TRACESTATE);
        }
    }

    /// The value of `traceparent` for what comes next.
    pub fn traceparent(&self) -> [u8; TRACEPARENT_BYTES] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        text[3..35].copy_from_slice(&self.trace_id.hex());
        text[36..52].copy_from_slice(&self.span_id.hex());
        text[53..55].copy_from_slice(&hex::of_u64(u64::from(self.flags))[14..]);
        text
    }
}

/// `traceparent` as a header name.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// `tracestate` as a header name.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Received {
    trace_id: TraceId,
    parent: SpanId,
    flags: u8,
}

/// The valid `traceparent` of a request. Two of them say nothing, even when they are equal.
fn received(headers: &HeaderMap) -> Option<Received> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    parse(value.as_bytes().trim_ascii())
}

fn parse(text: &[u8]) -> Option<Received> {
    let (head, rest) = text.split_first_chunk::<TRACEPARENT_BYTES>()?;
    if head[2] != b'-' || head[35] != b'-' || head[52] != b'-' {
        return None;
    }
    // Version 0 has nothing behind the flags. Later ones may, after another dash.
    let ends = match unhex(&head[..2])? {
        0 => rest.is_empty(),
        0xff => false,
        _ => rest.is_empty() || rest.starts_with(b"-"),
    };
    let trace_id = unhex(&head[3..35])?;
    let parent = u64::try_from(unhex(&head[36..52])?).ok()?;
    let flags = u8::try_from(unhex(&head[53..])?).ok()?;
    if !ends || trace_id == 0 || parent == 0 {
        return None;
    }
    Some(Received {
        trace_id: TraceId(trace_id),
        parent: SpanId(parent),
        flags,
    })
}

/// Reads lower-case hexadecimal digits, at most 32 of them.
fn unhex(digits: &[u8]) -> Option<u128> {
    debug_assert!(digits.len() <= 32);
    digits.iter().try_fold(0_u128, |value, digit| {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(nibble))
    })
}

/// Length of `traceparent` in version 0, and of the part that later versions share with it.
const TRACEPARENT_BYTES: usize = 55;

const FLAG_SAMPLED: u8 = 0b01;
/// The trace id was drawn at random (level 2); level 1 reads it as an unknown flag to ignore.
const FLAG_RANDOM: u8 = 0b10;
const FLAGS_KNOWN: u8 = FLAG_SAMPLED | FLAG_RANDOM;

#[cfg(test)]
mod tests;
