//! Every hard limit of the configuration language, with unit and reason, and the relations between
//! them. What a document itself can set (a listener's header size, say) has its bound beside the
//! field and its ceiling here.

use std::time::Duration;

// --- the text ---------------------------------------------------------------------------------

/// Largest document, bytes. A route takes about 150, so this carries [`ROUTES_MAX`] of them; it
/// travels to every proxy in one piece.
pub const DOCUMENT_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Deepest nesting of lists and maps. The language itself needs eight.
pub const DEPTH_MAX: usize = 32;
/// Most keys and values of a document, those that aliases repeat included: the "billion laughs"
/// bound.
pub const NODES_MAX: usize = 2_000_000;
/// Most bytes of text that aliases may repeat in all, for the same reason.
pub const ALIAS_BYTES_MAX: usize = DOCUMENT_BYTES_MAX;
/// Most errors reported for one document; the rest are only counted.
pub const ERRORS_MAX: usize = 1_000;
/// Longest name of a listener, service or issuer, characters: a DNS label, since names of services
/// become host names and SPIFFE paths.
pub const NAME_CHARS_MAX: usize = 63;
/// Longest text value (a host, a path, a header value), bytes.
pub const TEXT_BYTES_MAX: usize = 8 * 1024;

// --- how many of each -------------------------------------------------------------------------

/// Most listeners of a document: each costs a socket per worker.
pub const LISTENERS_MAX: usize = 100;
/// Most routes of a document.
pub const ROUTES_MAX: usize = 50_000;
/// Most services of a document.
pub const SERVICES_MAX: usize = 10_000;
/// Most token issuers of a document: each keeps its keys fresh in the background.
pub const ISSUERS_MAX: usize = 100;
/// Most name servers of a service: as many as anybody has, and a look-up asks all in bad times.
pub const NAME_SERVERS_MAX: usize = 8;
/// Most hosts that the SRV records of a name may lead to: each may need two look-ups more.
pub const SRV_TARGETS_MAX: usize = 256;
/// Most endpoints of a service.
pub const ENDPOINTS_MAX: usize = 10_000;
/// Most labels of an endpoint, and bytes of their names and values: what Consul takes as metadata.
pub const ENDPOINT_LABELS_MAX: usize = 64;
/// Longest name of a label, bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 128;
/// Longest value of a label, bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 512;
/// Last level of endpoints: 0 is used first.
pub const PRIORITY_MAX: u8 = 15;
/// Most different label sets that the routes of a document ask of one service: each costs up to
/// eight bytes per endpoint and worker.
pub const SUBSETS_MAX: usize = 64;
/// Most versions of an API, and so values of the label `api_version` for each route.
pub const VERSIONS_MAX: usize = 100;
/// Most places of a Maglev table: 4 MiB per table, which all workers share.
pub const MAGLEV_TABLE_MAX: u32 = 1_000_003;
/// Most destinations of a route, or of a version.
pub const DESTINATIONS_MAX: usize = 100;
/// Most services that get copies of a route's requests: each copy is a request more.
pub const MIRRORS_MAX: usize = 4;
/// Most entries of any other list or map (hosts, methods, headers, claims, certificates, …).
pub const ENTRIES_MAX: usize = 1_000;

// --- values -----------------------------------------------------------------------------------

/// Longest duration that can be written.
pub const DURATION_MAX: Duration = Duration::from_secs(7 * 24 * 3600);
/// Longest window of a rate.
pub const RATE_WINDOW_MAX: Duration = Duration::from_secs(24 * 3600);
/// Largest weight of an endpoint.
pub const ENDPOINT_WEIGHT_MAX: u32 = 1_000;
/// Largest weight of a destination: a share can be as small as one in a million.
pub const DESTINATION_WEIGHT_MAX: u32 = 1_000_000;
/// Largest header section a listener can allow, bytes: it is held in memory for every request.
pub const HEADER_BYTES_MAX: u64 = 1024 * 1024;
/// Most header fields a listener can allow.
pub const HEADER_COUNT_MAX: u32 = 1_000;
/// Longest request URI a listener can allow, bytes: URIs longer than 65,534 are not representable.
pub const URI_BYTES_MAX: u64 = 60 * 1024;
/// Most connections a listener can allow.
pub const CONNECTIONS_MAX: u32 = 1_000_000;
/// Most retries of a request: more only multiplies the load of a service that already fails.
pub const RETRY_ATTEMPTS_MAX: u32 = 5;
/// Most attempts of `retry.hedge` beside the first: each multiplies the load of a slow service.
pub const HEDGES_MAX: u32 = 3;
/// Largest request body that can be kept for a retry, bytes.
pub const RETRY_BODY_BYTES_MAX: u64 = 1024 * 1024;
/// Largest `compress.bytes_min`, bytes: nobody means to compress only what is larger.
pub const COMPRESS_BYTES_MIN_MAX: u64 = 1024 * 1024 * 1024;
/// Largest header section of a response, bytes: twice what most servers can send.
pub const RESPONSE_HEADER_BYTES_MAX: usize = 64 * 1024;
/// Most header fields of a response, as most clients and proxies take.
pub const RESPONSE_HEADER_COUNT_MAX: usize = 100;
/// Most interim responses (1xx) of one request that are passed on. Servers send one or two; more
/// are dropped.
pub const INTERIM_RESPONSES_MAX: u32 = 16;
/// Largest header section of an interim response, bytes: they wait in memory for a client that does
/// not read. A larger one is dropped.
pub const INTERIM_HEADER_BYTES_MAX: usize = 8 * 1024;
/// Largest body of a fixed answer, bytes: it stands in the document.
pub const RESPOND_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest response cache that can be allowed, bytes: more than any machine has, so that a slip of
/// the unit is seen.
pub const CACHE_BYTES_MAX: u64 = 1 << 40;
/// Largest body that can be stored, bytes: it is held in memory in one piece.
pub const CACHE_OBJECT_BYTES_MAX: u64 = 1 << 30;
/// Most request headers that can be part of a cache key: each multiplies what is stored.
pub const CACHE_KEY_HEADERS_MAX: usize = 16;
/// Longest clock difference forgiven to a token: more makes expiry meaningless.
pub const LEEWAY_MAX: Duration = Duration::from_secs(5 * 60);
/// Longest delay that a fault injects: a delayed request holds its client's connection.
pub const FAULT_DELAY_MAX: Duration = Duration::from_secs(60);
/// Shortest interval between two health checks of an endpoint.
pub const HEALTH_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Most results in a row that a health check can ask for.
pub const HEALTH_STREAK_MAX: u32 = 100;
/// Furthest that the copy of a request's body can be allowed to lag behind, bytes: they lie in
/// memory.
pub const MIRROR_LAG_BYTES_MAX: u64 = 1024 * 1024;
/// Longest that the copy of a request can be allowed to take.
pub const MIRROR_TIMEOUT_MAX: Duration = Duration::from_secs(5 * 60);
/// Largest compiled regular expression, bytes.
pub const REGEX_BYTES_MAX: usize = 1024 * 1024;
/// Most parameters of a path template.
pub const PATH_PARAMETERS_MAX: usize = 16;
/// Largest body that can be held in memory to be checked or changed, bytes.
pub const BUFFERED_BODY_BYTES_MAX: u64 = 16 * 1024 * 1024;
/// Most changes of one kind to a JSON body.
pub const POINTERS_MAX: usize = 64;
/// Most names of a JSON Pointer: as deep as a document of the language itself can be.
pub const POINTER_TOKENS_MAX: usize = DEPTH_MAX;
/// Deepest nesting of an OpenAPI document: as deep as JSON is read anywhere in Weir.
pub const OPENAPI_DEPTH_MAX: usize = 100;
/// Most operations of an OpenAPI document: ten times those of the largest public ones.
pub const OPENAPI_OPERATIONS_MAX: usize = 10_000;
/// Most variables of a text that is filled from a request: each can bring
/// [`TEMPLATE_VALUE_BYTES_MAX`].
pub const TEMPLATE_VARIABLES_MAX: usize = 16;

// --- while running ----------------------------------------------------------------------------

/// Longest TLS client hello that is read for the name in it, bytes: the largest of TLS 1.2 records.
/// With post-quantum key shares they take about 2 KiB.
pub const CLIENT_HELLO_BYTES_MAX: usize = 16 * 1024;
/// Longest PROXY protocol header accepted, bytes. Addresses take 36; the rest is for what load
/// balancers add about TLS and themselves, which is not read.
pub const PROXY_HEADER_BYTES_MAX: usize = 4 * 1024;
/// Longest bearer token accepted, bytes: longer ones are refused before they are decoded.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// Longest value that fills one place of a template, bytes; a longer one counts as missing.
pub const TEMPLATE_VALUE_BYTES_MAX: usize = 8 * 1024;
/// Most distinct keys a limit remembers; past it, new keys share one overflow bucket.
pub const LIMIT_KEYS_MAX: usize = 65_536;
/// Most verified tokens each worker remembers.
pub const TOKEN_CACHE_MAX: usize = 4096;
/// Most stored responses of one URL (by `Vary` and by route); past it, the oldest goes.
pub const CACHE_VARIANTS_MAX: usize = 64;
/// Most tags of one stored response that purges can name it by; further ones are not seen.
pub const CACHE_TAGS_MAX: usize = 64;
/// Most requests that wait for one fetch of the same; further ones go to the service themselves.
pub const CACHE_WAITERS_MAX: usize = 1_000;

// --- relations --------------------------------------------------------------------------------

// A document at its bounds must be readable: forty keys and values for each route.
const _: () = assert!(NODES_MAX >= 40 * ROUTES_MAX);
// A route in its shortest form is at least 40 bytes of YAML.
const _: () = assert!(DOCUMENT_BYTES_MAX >= 40 * ROUTES_MAX);
const _: () = assert!(RESPOND_BODY_BYTES_MAX < DOCUMENT_BYTES_MAX);
const _: () = assert!(TEXT_BYTES_MAX <= RESPOND_BODY_BYTES_MAX);
const _: () = assert!(NAME_CHARS_MAX < TEXT_BYTES_MAX);
// A token travels in a header, so the largest header section must have room for it.
const _: () = assert!((TOKEN_BYTES_MAX as u64) < HEADER_BYTES_MAX);
const _: () = assert!(URI_BYTES_MAX < HEADER_BYTES_MAX);
// Weights are summed in 32 bits.
const _: () = assert!((ENDPOINT_WEIGHT_MAX as u64) * (ENDPOINTS_MAX as u64) <= u32::MAX as u64);
const _: () =
    assert!((DESTINATION_WEIGHT_MAX as u64) * (DESTINATIONS_MAX as u64) <= u32::MAX as u64);
const _: () = assert!(RATE_WINDOW_MAX.as_secs() <= DURATION_MAX.as_secs());
const _: () = assert!(LEEWAY_MAX.as_secs() < DURATION_MAX.as_secs());
