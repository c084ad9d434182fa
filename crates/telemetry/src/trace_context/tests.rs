//! The cases of the W3C recommendation and of its validation suite, as tables.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use proptest::prelude::{any, prop, proptest};

use super::*;

const DRAW: Draw = Draw {
    trace: 0xabc,
    span: 0xdef,
    sampled: true,
};
const TRACE: &str = "12345678901234567890123456789012";
const PARENT: &str = "1234567890123456";

fn headers(lines: &[(&'static str, &str)]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in lines {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

fn continues(traceparent: &str) -> bool {
    let context = TraceContext::from_headers(&headers(&[("traceparent", traceparent)]), DRAW);
    assert_eq!(context.parent.is_some(), context.trace_id != TraceId(0xabc));
    context.parent.is_some()
}

#[test]
fn valid_traceparents_are_continued() {
    for traceparent in [
        format!("00-{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}-00"),
        format!("00-{TRACE}-{PARENT}-ff"),
        format!(" 00-{TRACE}-{PARENT}-01\t"),
        format!("cc-{TRACE}-{PARENT}-01"),
        format!("cc-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
        format!("01-{TRACE}-{PARENT}-01-"),
        format!("fe-{TRACE}-{PARENT}-01"),
    ] {
        assert!(continues(&traceparent), "{traceparent}");
    }
}

#[test]
fn invalid_traceparents_start_a_trace() {
    for traceparent in [
        String::new(),
        "00".to_owned(),
        format!("00-{TRACE}-{PARENT}-01."),
        format!("00-{TRACE}-{PARENT}-01-what-the-future-will-be-like"),
        format!("cc-{TRACE}-{PARENT}-01.what-the-future-will-not-be-like"),
        format!("ff-{TRACE}-{PARENT}-01"),
        format!(".0-{TRACE}-{PARENT}-01"),
        format!("0.-{TRACE}-{PARENT}-01"),
        format!("000-{TRACE}-{PARENT}-01"),
        format!("0-{TRACE}-{PARENT}-01"),
        format!("00-00000000000000000000000000000000-{PARENT}-01"),
        format!("00-.2345678901234567890123456789012-{PARENT}-01"),
        format!("00-1234567890123456789012345678901.-{PARENT}-01"),
        format!("00-1234567890123456789012345678901A-{PARENT}-01"),
        format!("00-{TRACE}3-{PARENT}-01"),
        format!("00-1234567890123456789012345678901-{PARENT}-01"),
        format!("00-{TRACE}-0000000000000000-01"),
        format!("00-{TRACE}-.234567890123456-01"),
        format!("00-{TRACE}-123456789012345A-01"),
        format!("00-{TRACE}-{PARENT}7-01"),
        format!("00-{TRACE}-123456789012345-01"),
        format!("00-{TRACE}-{PARENT}-.0"),
        format!("00-{TRACE}-{PARENT}-0."),
        format!("00-{TRACE}-{PARENT}-001"),
        format!("00-{TRACE}-{PARENT}-1"),
        format!("00_{TRACE}-{PARENT}-01"),
        format!("00-{TRACE}_{PARENT}-01"),
        format!("00-{TRACE}-{PARENT}_01"),
    ] {
        assert!(!continues(&traceparent), "{traceparent}");
    }
}

#[test]
fn two_traceparents_start_a_trace_and_drop_tracestate() {
    let value = format!("00-{TRACE}-{PARENT}-01");
    let mut headers = headers(&[
        ("traceparent", &value),
        ("traceparent", &value),
        ("tracestate", "foo=1"),
    ]);
    let context = TraceContext::from_headers(&headers, DRAW);
    context.write(&mut headers);
    assert_eq!(headers.get_all(TRACEPARENT).iter().count(), 1);
    assert_eq!(
        headers[TRACEPARENT],
        format!("00-{:032x}-{:016x}-03", 0xabc, 0xdef)
    );
    assert!(!headers.contains_key(TRACESTATE));
}

#[test]
fn what_goes_upstream_keeps_the_trace_and_carries_our_span() {
    let value = format!("cc-{TRACE}-{PARENT}-fd-more");
    let mut headers = headers(&[("traceparent", &value), ("tracestate", "foo=1,bar=2")]);
    let context = TraceContext::from_headers(&headers, DRAW);
    assert_eq!(context.trace_id.to_string(), TRACE);
    assert_eq!(context.parent.unwrap().to_string(), PARENT);
    assert!(context.sampled());
    context.write(&mut headers);
    // Written as version 0, so flags that it does not know are cleared.
    assert_eq!(
        headers[TRACEPARENT],
        format!("00-{TRACE}-0000000000000def-01")
    );
    assert_eq!(headers[TRACESTATE], "foo=1,bar=2");

    let attempt = context.with_span(0x77);
    assert_eq!(attempt.parent, Some(context.span_id));
    assert_eq!(attempt.trace_id, context.trace_id);
    assert_eq!(attempt.traceparent()[36..52], *b"0000000000000077");
}

#[test]
fn a_draw_of_zero_still_makes_valid_ids() {
    let draw = Draw {
        trace: 0,
        span: 0,
        sampled: false,
    };
    let context = TraceContext::from_headers(&HeaderMap::new(), draw);
    let text = context.traceparent();
    assert!(parse(&text).is_some(), "{}", String::from_utf8_lossy(&text));
    assert!(!context.sampled());
}

#[test]
fn tracestate_is_passed_on_when_valid() {
    let many = |count: usize| {
        (0..count)
            .map(|n| format!("bar{n:02}=1"))
            .collect::<Vec<_>>()
            .join(",")
    };
    let (key_256, key_257) = ("t".repeat(256), "t".repeat(257));
    let (value_256, value_257) = ("v".repeat(256), "v".repeat(257));
    let tenant = "t".repeat(241);
    for (tracestate, kept) in [
        (String::new(), true),
        ("foo=1".to_owned(), true),
        ("foo=1,bar=2".to_owned(), true),
        ("foo=1 \t , \t bar=2, \t baz=3".to_owned(), true),
        ("foo=1,".to_owned(), true),
        ("foo=1,,,bar=2".to_owned(), true),
        ("foo=1,foo=2".to_owned(), true),
        ("0x@v=1,foo*/-_@vendor-1=a b".to_owned(), true),
        (format!("{key_256}=1"), true),
        (format!("{tenant}@vvvvvvvvvvvvvv=1"), true),
        (format!("foo={value_256}"), true),
        (many(32), true),
        (many(33), false),
        (format!("{key_257}=1"), false),
        (format!("{tenant}t@v=1"), false),
        ("t@vvvvvvvvvvvvvvv=1".to_owned(), false),
        (format!("foo={value_257}"), false),
        ("foo".to_owned(), false),
        ("foo =1".to_owned(), false),
        ("FOO=1".to_owned(), false),
        ("foo.bar=1".to_owned(), false),
        ("0foo=1".to_owned(), false),
        ("foo@=1,bar=2".to_owned(), false),
        ("@foo=1,bar=2".to_owned(), false),
        ("foo@@bar=1,bar=2".to_owned(), false),
        ("foo@bar@baz=1,bar=2".to_owned(), false),
        ("foo=bar=baz".to_owned(), false),
        ("foo=,bar=3".to_owned(), false),
        ("=1".to_owned(), false),
    ] {
        let parent = format!("00-{TRACE}-{PARENT}-01");
        let mut headers = headers(&[("traceparent", &parent), ("tracestate", &tracestate)]);
        TraceContext::from_headers(&headers, DRAW).write(&mut headers);
        assert_eq!(headers.contains_key(TRACESTATE), kept, "{tracestate:?}");
    }
}

#[test]
fn several_tracestate_lines_count_as_one_list() {
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let mut lines = vec![("traceparent", parent.as_str()), ("tracestate", "foo=1")];
    lines.push(("tracestate", "bar=2"));
    let mut kept = headers(&lines);
    TraceContext::from_headers(&kept, DRAW).write(&mut kept);
    assert_eq!(
        kept.get_all(TRACESTATE).iter().collect::<Vec<_>>(),
        ["foo=1", "bar=2"]
    );

    lines.push(("tracestate", "BAD=2"));
    let mut dropped = headers(&lines);
    TraceContext::from_headers(&dropped, DRAW).write(&mut dropped);
    assert!(!dropped.contains_key(TRACESTATE));

    let mut alone = headers(&[("tracestate", "foo=1")]);
    TraceContext::from_headers(&alone, DRAW).write(&mut alone);
    assert!(
        !alone.contains_key(TRACESTATE),
        "without a traceparent it means nothing"
    );
}

proptest! {
    #[test]
    fn whatever_comes_in_what_goes_out_is_valid(
        parents in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..70), 0..3),
        state in "[ -~]{0,200}",
        trace in any::<u128>(),
        span in any::<u64>(),
    ) {
        let mut headers = headers(&[("tracestate", &state)]);
        for parent in parents {
            if let Ok(value) = HeaderValue::from_bytes(&parent) {
                headers.append(TRACEPARENT, value);
            }
        }
        let context = TraceContext::from_headers(&headers, Draw { trace, span, sampled: true });
        context.write(&mut headers);
        let next = received(&headers).unwrap();
        assert_eq!((next.trace_id, next.parent), (context.trace_id, context.span_id));
    }
}
