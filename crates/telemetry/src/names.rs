//! Every metric name, its help text and its labels.
//!
//! A name is `weir_<area>_<what>_<unit>[_total]`; `process_*` are the names that every Prometheus
//! dashboard already knows. Label values come from the configuration or from closed lists.

use std::fmt;
use std::marker::PhantomData;

use crate::sharded::{Counter, Gauge, Histogram};

/// Name, help text and label names of a metric, with its kind in the type.
pub struct Named<T> {
    /// The name in the exposition.
    pub name: &'static str,
    /// What it says, for the exposition and the reference page.
    pub help: &'static str,
    /// Label names, in the order in which values are given.
    pub labels: &'static [&'static str],
    kind: PhantomData<fn() -> T>,
}

impl<T> Named<T> {
    const fn new(name: &'static str, help: &'static str, labels: &'static [&'static str]) -> Self {
        Self {
            name,
            help,
            labels,
            kind: PhantomData,
        }
    }
}

impl<T> Clone for Named<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Named<T> {}

impl<T> fmt::Debug for Named<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A metric as the reference page lists it.
#[derive(Clone, Copy, Debug)]
pub struct Description {
    /// The name in the exposition.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// What it says.
    pub help: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
}

macro_rules! metrics {
    ($($constant:ident: $kind:ident = $name:literal [$($label:expr),*], $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $constant: Named<$kind> = Named::new($name, $help, &[$($label),*]);
        )*

        /// All metrics in the order of this file.
        pub const ALL: &[Description] = &[
            $(Description {
                name: $constant.name,
                kind: kind_name(stringify!($kind)),
                help: $constant.help,
                labels: $constant.labels,
            }),*
        ];
    };
}

/// Label: listener name.
pub const LISTENER: &str = "listener";
/// Label: route name.
pub const ROUTE: &str = "route";
/// Label: service name.
pub const SERVICE: &str = "service";
/// Label: status class (`1xx` … `5xx`, `none` when no status was sent).
pub const STATUS: &str = "status";
/// Label: criticality of a request.
pub const CLASS: &str = "class";
/// Label: key of a service's limit.
pub const LIMIT: &str = "limit";
/// Label: status of a gRPC call (`0` … `16`, `none` when none was sent).
pub const GRPC_STATUS: &str = "grpc_status";
/// Label: why, from a closed list.
pub const REASON: &str = "reason";
/// Label: what was done on purpose: `delay` or `abort`.
pub const FAULT: &str = "fault";
/// Label: reason code of a refusal.
pub const CODE: &str = "code";
/// Label: content coding.
pub const ENCODING: &str = "encoding";
/// Label: what became of it, from a closed list.
pub const OUTCOME: &str = "outcome";
/// Label: state, from a closed list.
pub const STATE: &str = "state";
/// Label: which certificate, by the name that the configuration gives it.
pub const CERTIFICATE: &str = "certificate";
/// Label: gateway, sidecar or control-plane.
pub const ROLE: &str = "role";
/// Label: version of an API, as the document names it.
pub const API_VERSION: &str = "api_version";
/// Label: version of the binary.
pub const VERSION: &str = "version";
/// Label: source revision that the binary was built from.
pub const SOURCE_REVISION: &str = "source_revision";

metrics! {
    // Requests.
    REQUESTS: Counter = "weir_http_requests_total" [LISTENER, ROUTE, SERVICE, STATUS],
        "Requests finished, by the class of the status that the client was sent.";
    REQUESTS_BY_VERSION: Counter = "weir_http_requests_by_version_total" [ROUTE, API_VERSION],
        "Requests finished on routes with versions of an API, by the version taken.";
    REQUEST_DURATION: Histogram = "weir_http_request_duration_seconds" [ROUTE, SERVICE],
        "Time from the head of the request to the end of the response.";
    REQUEST_BYTES: Counter = "weir_http_request_body_bytes_total" [ROUTE, SERVICE],
        "Body bytes received from clients.";
    COMPRESSION_INPUT_BYTES: Counter = "weir_http_compression_input_bytes_total" [ENCODING],
        "Body bytes of responses before they were compressed.";
    COMPRESSION_OUTPUT_BYTES: Counter = "weir_http_compression_output_bytes_total" [ENCODING],
        "Body bytes of responses after they were compressed.";
    RESPONSE_BYTES: Counter = "weir_http_response_body_bytes_total" [ROUTE, SERVICE],
        "Body bytes sent to clients.";
    REQUESTS_ACTIVE: Gauge = "weir_http_requests_active" [LISTENER],
        "Requests being served now.";
    REFUSALS: Counter = "weir_http_refusals_total" [CODE],
        "Answers that Weir gave by itself, by reason code.";
    REQUEST_ENDS: Counter = "weir_http_request_ends_total" [REASON],
        "Requests finished, by termination code.";
    FAULTS_INJECTED: Counter = "weir_http_faults_injected_total" [ROUTE, FAULT],
        "Requests that a route's `fault` delayed, or answered with an error.";
    FALLBACKS: Counter = "weir_http_fallbacks_total" [ROUTE, REASON],
        "Requests that fell back, by the reason code of the failure, or `status`.";
    OPENAPI_FAULTS: Counter = "weir_http_openapi_faults_total" [ROUTE, CODE, OUTCOME],
        "Requests that break the rules of their route's API, by reason code: refused or reported.";

    // Copies of requests.
    MIRROR_SENT: Counter = "weir_mirror_sent_total" [SERVICE],
        "Copies of requests sent to a service.";
    MIRROR_ANSWERS: Counter = "weir_mirror_answers_total" [SERVICE, STATUS],
        "Answers to copies, by the class of their status.";
    MIRROR_FAILED: Counter = "weir_mirror_failed_total" [SERVICE, REASON],
        "Copies without an answer, by reason.";
    MIRROR_DROPPED: Counter = "weir_mirror_dropped_total" [SERVICE, REASON],
        "Copies given up: busy, lag, memory, unfinished, or a reason code.";

    // Connections from clients.
    CONNECTIONS_ACTIVE: Gauge = "weir_listener_connections_active" [LISTENER],
        "Client connections open now.";
    CONNECTIONS_ASLEEP: Gauge = "weir_listener_connections_asleep" [LISTENER],
        "Client connections open now that have been silent for a second and hold no buffer.";
    CONNECTIONS_ACCEPTED: Counter = "weir_listener_connections_accepted_total" [LISTENER],
        "Client connections accepted.";
    CONNECTIONS_CLOSED: Counter = "weir_listener_connections_closed_total" [LISTENER, REASON],
        "Client connections closed, by reason.";
    CONNECTIONS_CLOSED_BY_CONFIG: Counter = "weir_connections_closed_by_config_total" [],
        "Connections closed because a configuration changed; unrelated changes keep it at 0.";
    TLS_HANDSHAKES_FAILED: Counter = "weir_listener_tls_handshakes_failed_total" [LISTENER, REASON],
        "TLS handshakes with clients that failed, by reason.";

    // Connections that are passed on byte by byte.
    TCP_CONNECTIONS: Counter = "weir_tcp_connections_total" [LISTENER, SERVICE, REASON],
        "Connections that were passed on and have ended, by termination code.";
    TCP_RECEIVED_BYTES: Counter = "weir_tcp_received_bytes_total" [LISTENER, SERVICE],
        "Bytes received from clients whose connections are passed on.";
    TCP_SENT_BYTES: Counter = "weir_tcp_sent_bytes_total" [LISTENER, SERVICE],
        "Bytes received from endpoints for clients whose connections are passed on.";

    // Towards services.
    UPSTREAM_ATTEMPTS: Counter = "weir_upstream_attempts_total" [SERVICE],
        "Requests sent to an endpoint, first tries and retries.";
    UPSTREAM_RETRIES: Counter = "weir_upstream_retries_total" [SERVICE, REASON],
        "Attempts after the first, by why the one before failed.";
    RETRIES_DENIED: Counter = "weir_upstream_retries_denied_total" [SERVICE, REASON],
        "Attempts after the first that were wanted and not made, by what stood in the way.";
    HEDGES: Counter = "weir_upstream_hedges_total" [SERVICE, OUTCOME],
        "Attempts made beside one under way: won, lost, failed, or abandoned with their request.";
    HEDGES_WITHHELD: Counter = "weir_upstream_hedges_withheld_total" [SERVICE, REASON],
        "Attempts that were due beside one under way and not made, by what stood in the way.";
    UPSTREAM_FAILURES: Counter = "weir_upstream_failures_total" [SERVICE, REASON],
        "Attempts that failed, by reason.";
    UPSTREAM_RESPONSE_START: Histogram = "weir_upstream_response_start_seconds" [SERVICE],
        "Time from the start of an attempt to the head of its response.";
    INTERIM_RESPONSES: Counter = "weir_upstream_interim_responses_total" [SERVICE, OUTCOME],
        "Interim responses (1xx) of endpoints: passed-on, or why their client did not get them.";
    UPSTREAM_GRPC_CALLS: Counter = "weir_upstream_grpc_calls_total" [SERVICE, GRPC_STATUS],
        "gRPC calls finished, by the status that the client was sent.";
    UPSTREAM_CONNECTIONS_OPEN: Gauge = "weir_upstream_connections_open" [SERVICE],
        "Connections to endpoints open now, idle ones included.";
    UPSTREAM_CONNECTIONS_CREATED: Counter = "weir_upstream_connections_created_total" [SERVICE],
        "Connections made to endpoints.";
    UPSTREAM_REQUESTS_ACTIVE: Gauge = "weir_upstream_requests_active" [SERVICE],
        "Requests in flight towards a service now, as `limits.requests` counts them.";
    UPSTREAM_REQUESTS_PENDING: Gauge = "weir_upstream_requests_pending" [SERVICE],
        "Requests that wait for a connection now, as `limits.pending` counts them.";
    LIMITS_NEARLY_FULL: Counter = "weir_upstream_limits_nearly_full_total" [SERVICE, LIMIT],
        "How often a limit of a service was found at least four fifths in use: the warning.";
    LIMITS_REACHED: Counter = "weir_upstream_limits_reached_total" [SERVICE, LIMIT],
        "How often a limit refused a request (requests, pending) or made it wait (connections).";
    BREAKER_STATE: Gauge = "weir_upstream_breaker_state" [SERVICE],
        "Circuit breaker of a whole service: 0 closed, 1 half open, 2 open.";
    BREAKERS_OPENED: Counter = "weir_upstream_breakers_opened_total" [SERVICE],
        "How often the circuit breaker of a service, or of one of its endpoints, opened.";
    ATTEMPTS_AWAY: Counter = "weir_upstream_attempts_away_total" [SERVICE, REASON],
        "Attempts at endpoints outside of the own zone (`zone`) or of a lower level (`level`).";
    SESSIONS_BROKEN: Counter = "weir_upstream_sessions_broken_total" [SERVICE],
        "Requests whose cookie named an endpoint that was gone, unfit or failed: another one took over.";
    HEALTH_CHECKS: Counter = "weir_upstream_health_checks_total" [SERVICE, OUTCOME],
        "Health checks of endpoints, passed and failed.";
    ENDPOINTS: Gauge = "weir_upstream_endpoints" [SERVICE, STATE],
        "Endpoints of a service by state: fit, ejected, failing health checks, or breaker-open.";
    EJECTIONS: Counter = "weir_upstream_ejections_total" [SERVICE, REASON],
        "Endpoints ejected, by what they did: consecutive or failure-share.";
    EJECTIONS_WITHHELD: Counter = "weir_upstream_ejections_withheld_total" [SERVICE],
        "Ejections that did not happen because of `outlier.share_max`.";
    ADAPTIVE_LIMIT: Gauge = "weir_upstream_adaptive_limit" [SERVICE],
        "Requests in flight that the adaptive limit of a service allows now.";
    SHED: Counter = "weir_upstream_shed_total" [SERVICE, CLASS],
        "Requests refused by the adaptive limit of a service, by criticality.";

    // Where endpoints come from.
    DISCOVERY_AGE: Gauge = "weir_discovery_age_seconds" [SERVICE],
        "Time since the source of a service's endpoints answered last; a file: since it was read.";
    DISCOVERY_FAILING: Gauge = "weir_discovery_failing" [SERVICE],
        "Whether the source of a service's endpoints fails: 1, and its last answer stays, or 0.";
    DISCOVERY_LOOKUPS: Counter = "weir_discovery_lookups_total" [SERVICE, OUTCOME],
        "Times that a source of endpoints was asked: answered, failed, or negative (there is nobody).";

    // The response cache.
    CACHE_REQUESTS: Counter = "weir_cache_requests_total" [OUTCOME],
        "Requests on routes with a cache: hit, stale, revalidated, collapsed, miss, bypass.";
    CACHE_STORED: Counter = "weir_cache_stored_total" [],
        "Answers stored or renewed.";
    CACHE_EVICTED: Counter = "weir_cache_evicted_total" [],
        "URLs whose answers went to make room.";
    CACHE_REMOVED: Counter = "weir_cache_removed_total" [],
        "URLs whose answers were purged or made invalid by an unsafe request.";
    CACHE_BYTES: Gauge = "weir_cache_bytes" [],
        "Bytes of stored answers, header fields included.";
    CACHE_URLS: Gauge = "weir_cache_urls" [],
        "URLs of which answers are stored.";

    // Configuration in this process.
    CONFIG_REVISION: Gauge = "weir_config_revision_number" [],
        "Revision of the configuration in force; 0 when it came from a file or there is none.";
    CONFIG_APPLIED: Counter = "weir_config_applied_total" [],
        "Configurations put in force.";
    CONFIG_REFUSED: Counter = "weir_config_refused_total" [],
        "Configurations refused; the one before stayed in force.";
    CONFIG_LAST_SUCCESS: Gauge = "weir_config_last_success_timestamp_seconds" [],
        "When a configuration was put in force the last time, in Unix time.";
    CERTIFICATE_NOT_AFTER: Gauge = "weir_certificate_not_after_timestamp_seconds" [CERTIFICATE],
        "When a certificate in use expires, in Unix time.";

    // The process.
    ACCESS_LOG_DROPPED: Counter = "weir_access_log_lines_dropped_total" [REASON],
        "Access-log lines lost: queue_full when the target is too slow, write_failed on errors.";
    BUILD_INFO: Gauge = "weir_build_info" [ROLE, VERSION, SOURCE_REVISION],
        "Always 1; the labels say what runs.";

    // The control plane.
    NODES_CONNECTED: Gauge = "weir_control_plane_nodes_connected" [ROLE],
        "Proxies with an open stream now.";
    ACKS: Counter = "weir_control_plane_acks_total" [],
        "Revisions that a proxy put in force.";
    PUSH_REFUSALS: Counter = "weir_control_plane_push_refusals_total" [],
        "Revisions that a proxy refused.";
    PUSH_CONVERGENCE: Histogram = "weir_control_plane_push_convergence_seconds" [],
        "Time from accepting a revision to the acknowledgement of the last connected proxy.";
    REVISION_LATEST: Gauge = "weir_control_plane_revision_number" [],
        "The newest accepted revision.";
    REVISIONS_ACCEPTED: Counter = "weir_control_plane_revisions_accepted_total" [],
        "Documents accepted as a new revision.";
    REVISIONS_REFUSED: Counter = "weir_control_plane_revisions_refused_total" [],
        "Documents refused, with nothing changed.";
    CERTIFICATES_ISSUED: Counter = "weir_control_plane_certificates_issued_total" [ROLE],
        "Certificates issued or renewed for proxies.";

    // What every Prometheus dashboard knows, read from /proc.
    PROCESS_CPU_SECONDS: Counter = "process_cpu_seconds_total" [],
        "Total user and system CPU time spent in seconds.";
    PROCESS_OPEN_FDS: Gauge = "process_open_fds" [],
        "Number of open file descriptors.";
    PROCESS_MAX_FDS: Gauge = "process_max_fds" [],
        "Maximum number of open file descriptors.";
    PROCESS_RESIDENT_MEMORY: Gauge = "process_resident_memory_bytes" [],
        "Resident memory size in bytes.";
    PROCESS_START_TIME: Gauge = "process_start_time_seconds" [],
        "Start time of the process since the Unix epoch in seconds.";
    PROCESS_THREADS: Gauge = "process_threads" [],
        "Number of operating-system threads in the process.";
}

/// The word for a kind in the exposition; the macro hands over the name of the Rust type.
const fn kind_name(rust_type: &'static str) -> &'static str {
    match rust_type.as_bytes() {
        b"Counter" => "counter",
        b"Gauge" => "gauge",
        _ => "histogram",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_follow_the_conventions() {
        let mut seen = BTreeSet::new();
        for metric in ALL {
            assert!(seen.insert(metric.name), "{} is there twice", metric.name);
            assert!(metric.name.starts_with("weir_") || metric.name.starts_with("process_"));
            assert!(
                metric
                    .name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b == b'_')
            );
            assert_eq!(
                metric.kind == "counter",
                metric.name.ends_with("_total"),
                "{}",
                metric.name
            );
            if metric.kind == "histogram" {
                assert!(metric.name.ends_with("_seconds"), "{}", metric.name);
            }
            assert!(metric.help.ends_with('.'), "{}", metric.name);
        }
    }
}
