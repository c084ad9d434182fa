//! One list of every limit in `bounds.rs`: what the language takes at the limit, and refuses one
//! past it, is tried here; for the others it says which test does. A limit that is not on the list
//! fails.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::LazyLock;
use std::time::Duration;

use weir_config::Document;
use weir_config::bounds::{
    BUFFERED_BODY_BYTES_MAX, CACHE_BYTES_MAX, CACHE_KEY_HEADERS_MAX, CACHE_OBJECT_BYTES_MAX,
    COMPRESS_BYTES_MIN_MAX, CONNECTIONS_MAX, DEPTH_MAX, DESTINATION_WEIGHT_MAX, DESTINATIONS_MAX,
    DOCUMENT_BYTES_MAX, DURATION_MAX, ENDPOINT_LABELS_MAX, ENDPOINT_WEIGHT_MAX, ENDPOINTS_MAX,
    ENTRIES_MAX, FAULT_DELAY_MAX, HEADER_BYTES_MAX, HEADER_COUNT_MAX, HEALTH_INTERVAL_MIN,
    HEALTH_STREAK_MAX, HEDGES_MAX, ISSUERS_MAX, LABEL_NAME_BYTES_MAX, LABEL_VALUE_BYTES_MAX,
    LEEWAY_MAX, LISTENERS_MAX, MAGLEV_TABLE_MAX, MIRROR_LAG_BYTES_MAX, MIRROR_TIMEOUT_MAX,
    MIRRORS_MAX, NAME_CHARS_MAX, NAME_SERVERS_MAX, NODES_MAX, PATH_PARAMETERS_MAX, POINTERS_MAX,
    PRIORITY_MAX, RATE_WINDOW_MAX, REGEX_BYTES_MAX, RESPOND_BODY_BYTES_MAX, RETRY_ATTEMPTS_MAX,
    RETRY_BODY_BYTES_MAX, ROUTES_MAX, SERVICES_MAX, TEXT_BYTES_MAX, URI_BYTES_MAX, VERSIONS_MAX,
};

/// A document whose value or number of things is this, in the unit of the limit.
type Written = Box<dyn Fn(u64) -> String>;

/// Limits that a document meets when it is read: the limit, and a document that has so much.
fn language() -> Vec<(&'static str, u64, Written)> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap();
    vec![
        (
            "ALIAS_BYTES_MAX",
            DOCUMENT_BYTES_MAX as u64,
            Box::new(aliased),
        ),
        (
            "BUFFERED_BODY_BYTES_MAX",
            BUFFERED_BODY_BYTES_MAX,
            route(|n| {
                format!("to: s, transform: {{ request: {{ remove: [/a], body_bytes_max: {n}B }} }}")
            }),
        ),
        (
            "CACHE_BYTES_MAX",
            CACHE_BYTES_MAX,
            top(|n| format!("cache: {{ bytes_max: {n}B }}")),
        ),
        (
            "CACHE_KEY_HEADERS_MAX",
            CACHE_KEY_HEADERS_MAX as u64,
            route(|n| {
                format!(
                    "to: s, cache: {{ headers: [{}] }}",
                    some(n, |at| format!("x-{at}"))
                )
            }),
        ),
        (
            "CACHE_OBJECT_BYTES_MAX",
            CACHE_OBJECT_BYTES_MAX,
            top(|n| format!("cache: {{ bytes_max: 1024GiB, object_bytes_max: {n}B }}")),
        ),
        (
            "COMPRESS_BYTES_MIN_MAX",
            COMPRESS_BYTES_MIN_MAX,
            listener(|n| format!("compress: {{ bytes_min: {n}B }}")),
        ),
        (
            "CONNECTIONS_MAX",
            u64::from(CONNECTIONS_MAX),
            listener(|n| format!("connections_max: {n}")),
        ),
        ("DEPTH_MAX", DEPTH_MAX as u64, Box::new(deep)),
        (
            "DESTINATIONS_MAX",
            DESTINATIONS_MAX as u64,
            route(|n| {
                format!(
                    "to: [{}]",
                    some(n, |at| format!("{{ service: s{at}, weight: 1 }}"))
                )
            }),
        ),
        (
            "DESTINATION_WEIGHT_MAX",
            u64::from(DESTINATION_WEIGHT_MAX),
            route(|n| format!("to: [{{ service: s, weight: {n} }}]")),
        ),
        (
            "DOCUMENT_BYTES_MAX",
            DOCUMENT_BYTES_MAX as u64,
            Box::new(|n| format!("{{}}{}", " ".repeat(usize::try_from(n).unwrap() - 2))),
        ),
        (
            "DURATION_MAX",
            millis(DURATION_MAX),
            listener(|n| format!("idle_timeout: {n}ms")),
        ),
        (
            "ENDPOINTS_MAX",
            ENDPOINTS_MAX as u64,
            top(|n| {
                let all = some(n, |at| format!("\"10.0.{}.{}:80\"", at / 256, at % 256));
                format!("services: {{ s: {{ endpoints: [{all}] }} }}")
            }),
        ),
        (
            "ENDPOINT_LABELS_MAX",
            ENDPOINT_LABELS_MAX as u64,
            endpoint(|n| format!("labels: {{ {} }}", some(n, |at| format!("l{at}: v")))),
        ),
        (
            "ENDPOINT_WEIGHT_MAX",
            u64::from(ENDPOINT_WEIGHT_MAX),
            endpoint(|n| format!("weight: {n}")),
        ),
        (
            "ENTRIES_MAX",
            ENTRIES_MAX as u64,
            route(|n| format!("to: s, hosts: [{}]", some(n, |at| format!("h{at}.example")))),
        ),
        (
            "FAULT_DELAY_MAX",
            millis(FAULT_DELAY_MAX),
            route(|n| format!("to: s, fault: {{ delay: {n}ms }}")),
        ),
        (
            "HEADER_BYTES_MAX",
            HEADER_BYTES_MAX,
            listener(|n| format!("header_bytes_max: {n}B")),
        ),
        (
            "HEADER_COUNT_MAX",
            u64::from(HEADER_COUNT_MAX),
            listener(|n| format!("header_count_max: {n}")),
        ),
        (
            "HEALTH_STREAK_MAX",
            u64::from(HEALTH_STREAK_MAX),
            service(|n| format!("health: {{ tcp: true, fall: {n} }}")),
        ),
        (
            "HEDGES_MAX",
            u64::from(HEDGES_MAX),
            service(|n| format!("retry: {{ hedge: {{ after: 50ms, attempts: {n} }} }}")),
        ),
        (
            "ISSUERS_MAX",
            ISSUERS_MAX as u64,
            top(|n| {
                let one =
                    |at| format!("i{at}: {{ issuer: a, audience: [b], jwks: {{ file: k.json }} }}");
                format!("issuers: {{ {} }}", some(n, one))
            }),
        ),
        (
            "LABEL_NAME_BYTES_MAX",
            LABEL_NAME_BYTES_MAX as u64,
            endpoint(|n| format!("labels: {{ {}: v }}", long(n))),
        ),
        (
            "LABEL_VALUE_BYTES_MAX",
            LABEL_VALUE_BYTES_MAX as u64,
            endpoint(|n| format!("labels: {{ l: {} }}", long(n))),
        ),
        (
            "LEEWAY_MAX",
            millis(LEEWAY_MAX),
            top(|n| {
                format!(
                    "issuers: {{ i: {{ issuer: a, audience: [b], jwks: {{ file: k.json }}, \
                     leeway: {n}ms }} }}"
                )
            }),
        ),
        (
            "LISTENERS_MAX",
            LISTENERS_MAX as u64,
            top(|n| {
                format!(
                    "listeners: {{ {} }}",
                    some(n, |at| format!("l{at}: {{ bind: \"[::]:{}\" }}", at + 1))
                )
            }),
        ),
        (
            "MAGLEV_TABLE_MAX",
            u64::from(MAGLEV_TABLE_MAX),
            service(|n| format!("balance: {{ maglev: {{ by: client, table: {n} }} }}")),
        ),
        (
            "MIRRORS_MAX",
            MIRRORS_MAX as u64,
            route(|n| {
                format!(
                    "to: s, mirror: [{}]",
                    some(n, |at| format!("{{ to: m{at} }}"))
                )
            }),
        ),
        (
            "MIRROR_LAG_BYTES_MAX",
            MIRROR_LAG_BYTES_MAX,
            route(|n| format!("to: s, mirror: [{{ to: m, lag_bytes_max: {n}B }}]")),
        ),
        (
            "MIRROR_TIMEOUT_MAX",
            millis(MIRROR_TIMEOUT_MAX),
            route(|n| format!("to: s, mirror: [{{ to: m, timeout: {n}ms }}]")),
        ),
        (
            "NAME_CHARS_MAX",
            NAME_CHARS_MAX as u64,
            top(|n| format!("services: {{ {}: {{ endpoints: [\"a:1\"] }} }}", long(n))),
        ),
        (
            "NAME_SERVERS_MAX",
            NAME_SERVERS_MAX as u64,
            top(|n| {
                let all = some(n, |at| format!("\"10.0.0.{at}:53\""));
                format!(
                    "services: {{ s: {{ dns: {{ address: \"a:80\", name_servers: [{all}] }} }} }}"
                )
            }),
        ),
        ("NODES_MAX", NODES_MAX as u64, Box::new(populous)),
        (
            "PATH_PARAMETERS_MAX",
            PATH_PARAMETERS_MAX as u64,
            top(|n| {
                let path: String = (0..n).map(|at| format!("/{{p{at}}}")).collect();
                format!("routes: [{{ path: \"{path}\", to: s }}]")
            }),
        ),
        (
            "POINTERS_MAX",
            POINTERS_MAX as u64,
            route(|n| {
                let all = some(n, |at| format!("/a{at}"));
                format!("to: s, transform: {{ request: {{ remove: [{all}] }} }}")
            }),
        ),
        (
            "PRIORITY_MAX",
            u64::from(PRIORITY_MAX),
            endpoint(|n| format!("priority: {n}")),
        ),
        (
            "RATE_WINDOW_MAX",
            millis(RATE_WINDOW_MAX),
            route(|n| format!("to: s, limit: {{ rate: 1/{n}ms }}")),
        ),
        ("REGEX_BYTES_MAX", REGEX_BYTES_MAX as u64, Box::new(needy)),
        (
            "RESPOND_BODY_BYTES_MAX",
            RESPOND_BODY_BYTES_MAX as u64,
            route(|n| format!("respond: {{ status: 200, body: {} }}", long(n))),
        ),
        (
            "RETRY_ATTEMPTS_MAX",
            u64::from(RETRY_ATTEMPTS_MAX),
            service(|n| format!("retry: {{ attempts: {n} }}")),
        ),
        (
            "RETRY_BODY_BYTES_MAX",
            RETRY_BODY_BYTES_MAX,
            service(|n| format!("retry: {{ body_bytes_max: {n}B }}")),
        ),
        (
            "ROUTES_MAX",
            ROUTES_MAX as u64,
            top(|n| {
                format!(
                    "routes: [{}]",
                    some(n, |at| format!("{{ path: /{at}, to: s }}"))
                )
            }),
        ),
        (
            "SERVICES_MAX",
            SERVICES_MAX as u64,
            top(|n| {
                format!(
                    "services: {{ {} }}",
                    some(n, |at| format!("s{at}: {{ endpoints: [\"a:1\"] }}"))
                )
            }),
        ),
        (
            "TEXT_BYTES_MAX",
            TEXT_BYTES_MAX as u64,
            route(|n| format!("to: s, request_headers: {{ set: {{ x-a: {} }} }}", long(n))),
        ),
        (
            "URI_BYTES_MAX",
            URI_BYTES_MAX,
            listener(|n| format!("uri_bytes_max: {n}B")),
        ),
        (
            "VERSIONS_MAX",
            VERSIONS_MAX as u64,
            route(|n| {
                format!(
                    "versions: {{ by: header.x-v, of: {{ {} }} }}",
                    some(n, |at| format!("{at}: s"))
                )
            }),
        ),
    ]
}

/// Limits that are met elsewhere: the file, and the test in it.
const ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "CACHE_TAGS_MAX",
        "crates/policy/src/cache/tests.rs",
        "tags_of_a_response",
    ),
    (
        "CACHE_VARIANTS_MAX",
        "e2e/tests/edge/cache.rs",
        "a_url_has_so_many_answers_and_the_oldest_makes_room",
    ),
    (
        "CACHE_WAITERS_MAX",
        "crates/proxy/src/cache/flights.rs",
        "so_many_wait_and_the_next_goes_alone",
    ),
    (
        "CLIENT_HELLO_BYTES_MAX",
        "e2e/tests/edge/sni.rs",
        "a_hello_may_be_so_long_and_no_byte_longer",
    ),
    (
        "ERRORS_MAX",
        "config/tests/errors.rs",
        "more_errors_than_are_shown",
    ),
    (
        "INTERIM_HEADER_BYTES_MAX",
        "crates/policy/tests/policy/rewriting.rs",
        "interim_responses_are_bounded_in_size_and_number_of_fields",
    ),
    (
        "INTERIM_RESPONSES_MAX",
        "e2e/tests/edge/interim.rs",
        "as_many_and_as_large_as_the_bounds_say",
    ),
    (
        "LIMIT_KEYS_MAX",
        "crates/policy/src/limit/table.rs",
        "a_full_set_overflows_and_has_room_again_when_time_has_passed",
    ),
    (
        "OPENAPI_DEPTH_MAX",
        "crates/policy/src/openapi/read.rs",
        "nesting_has_a_bound",
    ),
    (
        "POINTER_TOKENS_MAX",
        "config/src/pointer.rs",
        "pointers_are_read_and_written_as_rfc_6901_says",
    ),
    (
        "PROXY_HEADER_BYTES_MAX",
        "crates/policy/src/proxy_protocol/tests.rs",
        "a_binary_header_has_its_bound",
    ),
    (
        "RESPONSE_HEADER_BYTES_MAX",
        "e2e/tests/edge/deadlines.rs",
        "header_sections_of_responses_are_bounded",
    ),
    (
        "RESPONSE_HEADER_COUNT_MAX",
        "e2e/tests/edge/deadlines.rs",
        "header_sections_of_responses_are_bounded",
    ),
    (
        "SRV_TARGETS_MAX",
        "crates/discovery/src/dns/tests.rs",
        "targets_are_bounded",
    ),
    (
        "SUBSETS_MAX",
        "crates/policy/tests/policy/balancing.rs",
        "subsets_are_bounded",
    ),
    (
        "TEMPLATE_VARIABLES_MAX",
        "config/src/template.rs",
        "what_is_no_variable_is_refused_with_a_hint",
    ),
    (
        "TOKEN_BYTES_MAX",
        "crates/policy/src/auth/bearer.rs",
        "one_strict_header_is_read",
    ),
    (
        "TOKEN_CACHE_MAX",
        "crates/policy/src/auth/cache.rs",
        "it_is_bounded_and_keeps_what_is_used",
    ),
    (
        "OPENAPI_OPERATIONS_MAX",
        "crates/policy/src/openapi/tests.rs",
        "operations_are_bounded",
    ),
    (
        "TEMPLATE_VALUE_BYTES_MAX",
        "crates/policy/tests/policy/rewriting.rs",
        "a_value_that_is_too_long_for_its_place_counts_as_missing",
    ),
];

#[test]
fn what_is_at_a_limit_is_read_and_what_is_one_past_it_is_refused() {
    let mut wrong = Vec::new();
    for (name, limit, written) in language() {
        let at = written(limit);
        if let Err(errors) = Document::from_yaml(&at) {
            wrong.push(format!("{name} at {limit}: {}", errors.0[0].problem));
        }
        if Document::from_yaml(&written(limit + 1)).is_ok() {
            wrong.push(format!("{name} at {} is taken", limit + 1));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    // The one lower bound.
    let service = service(|n| format!("health: {{ tcp: true, interval: {n}ms, timeout: 50ms }}"));
    let limit = u64::try_from(HEALTH_INTERVAL_MIN.as_millis()).unwrap();
    assert!(Document::from_yaml(&service(limit)).is_ok());
    assert!(Document::from_yaml(&service(limit - 1)).is_err());
}

fn top(written: impl Fn(u64) -> String + 'static) -> Written {
    Box::new(written)
}

fn listener(more: impl Fn(u64) -> String + 'static) -> Written {
    top(move |n| format!("listeners: {{ web: {{ bind: \"[::]:80\", {} }} }}", more(n)))
}

fn route(more: impl Fn(u64) -> String + 'static) -> Written {
    top(move |n| format!("routes: [{{ path: /a, {} }}]", more(n)))
}

fn service(more: impl Fn(u64) -> String + 'static) -> Written {
    top(move |n| format!("services: {{ s: {{ endpoints: [\"a:1\"], {} }} }}", more(n)))
}

fn endpoint(more: impl Fn(u64) -> String + 'static) -> Written {
    top(move |n| {
        format!(
            "services: {{ s: {{ endpoints: [{{ address: \"a:1\", {} }}] }} }}",
            more(n)
        )
    })
}

/// So many of them, as in a list or map.
fn some(count: u64, one: impl Fn(u64) -> String) -> String {
    (0..count).map(one).collect::<Vec<_>>().join(", ")
}

/// A text of so many bytes.
fn long(bytes: u64) -> String {
    "x".repeat(usize::try_from(bytes).unwrap())
}

/// Lists in lists, so deep in all.
fn deep(depth: u64) -> String {
    let inner = usize::try_from(depth).unwrap() - 6;
    let value = format!("{}{}", "[".repeat(inner), "]".repeat(inner));
    format!(
        "routes: [{{ path: /a, to: s, transform: {{ request: {{ set: {{ /a: {value} }} }} }} }}]"
    )
}

/// So many keys and values. Most come by aliases, for those need not be read: a list of them counts
/// once where it stands, once where it is kept, and once more for each alias. Sixteen keys and
/// values stand around the whole.
fn populous(nodes: u64) -> String {
    const PIECE: u64 = 10_000;
    let list = |count: u64| "1,".repeat(usize::try_from(count).unwrap());
    let repeated = (nodes - 16 - 2 * (PIECE + 1)) / (PIECE + 2);
    let rest = nodes - 16 - 2 * (PIECE + 1) - repeated * (PIECE + 2);
    let aliases = "*a ,".repeat(usize::try_from(repeated).unwrap());
    let value = format!("&a [{}],{aliases}{}", list(PIECE), list(rest));
    format!(
        "routes: [{{ path: /a, to: s, transform: {{ request: {{ set: {{ /a: [{value}] }} }} }} }}]"
    )
}

/// The regular expression with the most repetitions that needs no more than this; one more byte is
/// one repetition more, for that is the least that can be added.
fn needy(bytes: u64) -> String {
    static TIMES: LazyLock<u64> = LazyLock::new(|| {
        let fits = |times: u64| {
            let mut builder = regex::RegexBuilder::new(&format!("^(?:a{{{times}}})$"));
            builder.size_limit(REGEX_BYTES_MAX).build().is_ok()
        };
        // A repetition needs 32 bytes.
        let guess = REGEX_BYTES_MAX as u64 / 32;
        let (mut fitting, mut past) = (guess - 100, guess + 100);
        assert!(fits(fitting) && !fits(past), "it needs more or less");
        while past - fitting > 1 {
            let middle = fitting.midpoint(past);
            match fits(middle) {
                true => fitting = middle,
                false => past = middle,
            }
        }
        fitting
    });
    let times = *TIMES + (bytes - REGEX_BYTES_MAX as u64);
    format!("routes: [{{ path: {{ regex: \"a{{{times}}}\" }}, to: s }}]")
}

/// Anchors and aliases that have so many bytes together.
fn aliased(bytes: u64) -> String {
    let piece = RESPOND_BODY_BYTES_MAX as u64;
    let mut text = "routes:\n".to_owned();
    let mut add = |value: &str| {
        let number = text.len();
        text.push_str(&format!(
            "- {{ path: /{number}, respond: {{ status: 200, body: {value} }} }}\n"
        ));
    };
    add(&format!("&a {}", long(piece)));
    (1..bytes / piece).for_each(|_| add("*a"));
    if !bytes.is_multiple_of(piece) {
        add(&format!("&b {}", long(bytes % piece)));
    }
    text
}

#[test]
fn every_limit_is_on_the_list_once_and_its_test_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let bounds = std::fs::read_to_string(root.join("config/src/bounds.rs")).unwrap();
    let named = bounds
        .lines()
        .filter_map(|line| Some(line.strip_prefix("pub const ")?.split_once(':')?.0));
    let named: BTreeSet<&str> = named.collect();
    let language = language();
    let listed = language.iter().map(|(name, ..)| *name);
    let listed = listed.chain(ELSEWHERE.iter().map(|(name, ..)| *name));
    let mut seen = BTreeSet::from(["HEALTH_INTERVAL_MIN"]);
    for name in listed {
        assert!(seen.insert(name), "{name} is listed twice");
    }
    let missing: Vec<_> = named.difference(&seen).collect();
    assert!(missing.is_empty(), "no test is named for {missing:?}");
    let gone: Vec<_> = seen.difference(&named).collect();
    assert!(gone.is_empty(), "there is no limit {gone:?}");
    for (name, file, test) in ELSEWHERE {
        let text = std::fs::read_to_string(root.join(file)).expect(file);
        assert!(
            text.contains(&format!("fn {test}(")),
            "{name}: no {test} in {file}"
        );
    }
}
