//! Trace headers of a client.
#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use weir_telemetry::trace_context::{Draw, TraceContext};

fuzz_target!(|data: (&[u8], &[u8])| {
    let mut headers = HeaderMap::new();
    for (name, value) in [("traceparent", data.0), ("tracestate", data.1)] {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.insert(name, value);
        }
    }
    let context = TraceContext::from_headers(
        &headers,
        Draw {
            trace: 1,
            span: 2,
            sampled: true,
        },
    );
    let mut out = HeaderMap::new();
    context.write(&mut out);
    assert!(out.contains_key("traceparent"));
});
