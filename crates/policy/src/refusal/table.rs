//! The one table: reason code → status, title, RFC 9209 error type, gRPC status,
//! remedy.

use http::StatusCode;

use super::{Code, Row};
use crate::grpc;

/// Every code, in alphabetical order of the public name.
pub(super) const ALL: &[Code] = &[
    Code::ApiVersionGone,
    Code::ApiVersionMissing,
    Code::ApiVersionUnacceptable,
    Code::ApiVersionUnknown,
    Code::BadChunk,
    Code::BadFraming,
    Code::BadHeader,
    Code::BadHost,
    Code::BadPath,
    Code::BadRequestLine,
    Code::BadTrailer,
    Code::BodyTooLarge,
    Code::BodyTooSlow,
    Code::BreakerOpen,
    Code::ChunkExtensionTooLong,
    Code::ChunkExtensionsTooLarge,
    Code::ClaimDenied,
    Code::ConnectFailed,
    Code::ConnectRefused,
    Code::ConnectTimeout,
    Code::Draining,
    Code::FaultInjected,
    Code::GrpcDeadline,
    Code::GrpcTimeout,
    Code::GrpcTimeoutInvalid,
    Code::GrpcWebInvalid,
    Code::HeaderTooLarge,
    Code::HeadersTooMany,
    Code::HostDisagrees,
    Code::Internal,
    Code::KeysUnavailable,
    Code::MethodNotAllowed,
    Code::MethodTooLong,
    Code::MockNoExample,
    Code::MockUnacceptable,
    Code::NoEndpoint,
    Code::NoRoute,
    Code::NotCached,
    Code::OpenapiBody,
    Code::OpenapiBodyTooLarge,
    Code::OpenapiMediaType,
    Code::OpenapiMethod,
    Code::OpenapiParameter,
    Code::OpenapiPath,
    Code::OriginDenied,
    Code::PeerRequired,
    Code::PendingOverflow,
    Code::PendingTimeout,
    Code::PerTryTimeout,
    Code::RateLimited,
    Code::RequestTimeout,
    Code::ResponseHeaderTooLarge,
    Code::ResponseHeadersTooMany,
    Code::ResponseTooLarge,
    Code::RewriteFailed,
    Code::ServiceOverloaded,
    Code::Shed,
    Code::SniUnknown,
    Code::SubsetEmpty,
    Code::TlsFailed,
    Code::TokenExpired,
    Code::TokenInvalid,
    Code::TokenMissing,
    Code::TokenTooLong,
    Code::TotalTimeout,
    Code::TrailersTooLarge,
    Code::TrailersTooMany,
    Code::TransformEncoded,
    Code::TransformRequest,
    Code::TransformResponse,
    Code::TransformResponseTooLarge,
    Code::TransformTooLarge,
    Code::UpgradeRefused,
    Code::UpstreamProtocol,
    Code::UpstreamReset,
    Code::UpstreamStalled,
    Code::UpstreamTimeout,
    Code::UriTooLong,
    Code::VersionUnsupported,
];

const fn new(
    code: &'static str,
    status: StatusCode,
    proxy_status: &'static str,
    title: &'static str,
    remedy: &'static str,
) -> Row {
    Row {
        code,
        status,
        title,
        proxy_status,
        grpc: grpc::Status::of_http(status),
        remedy,
    }
}

impl Row {
    /// Another gRPC status than the one that its HTTP status stands for.
    const fn with_grpc(mut self, status: grpc::Status) -> Row {
        self.grpc = status;
        self
    }
}

/// The row of one code. Each arm is a constant, so nothing is looked up at run time.
#[rustfmt::skip]
#[expect(clippy::too_many_lines, reason = "one table, one row per line")]
pub(super) fn row(code: Code) -> &'static Row {
    match code {
        Code::ApiVersionGone => const { &new(
            "api-version-gone", StatusCode::GONE, "http_request_denied",
            "This version of the API is gone",
            "The version is past its `sunset` and has `after_sunset: refuse`. Ask for a newer one.",
        ) },
        Code::ApiVersionMissing => const { &new(
            "api-version-missing", StatusCode::BAD_REQUEST, "http_request_error",
            "The request names no version of the API",
            "Name one where `versions.by` of the route says, or give `versions` a `default`.",
        ) },
        Code::ApiVersionUnacceptable => const { &new(
            "api-version-unacceptable", StatusCode::NOT_ACCEPTABLE, "http_request_error",
            "No acceptable version of the API",
            "The media type names a version that `versions.of` of the route does not have.",
        ) },
        Code::ApiVersionUnknown => const { &new(
            "api-version-unknown", StatusCode::NOT_FOUND, "destination_not_found",
            "The API has no such version",
            "`versions.of` of the route does not have the version that was asked for.",
        ) },
        Code::BadChunk => const { &new(
            "bad-chunk", StatusCode::BAD_REQUEST, "http_request_error",
            "The chunked body of this request is malformed",
            "A chunk has a size other than 1 to 16 hexadecimal digits, a control byte in its \
             extension, or a line that does not end with CRLF. The connection is closed.",
        ) },
        Code::BadFraming => const { &new(
            "bad-framing", StatusCode::BAD_REQUEST, "http_request_error",
            "The length of this request's body is not certain",
            "`Content-Length` is malformed, sent twice, or sent beside `Transfer-Encoding`, or \
             that is not just `chunked`. The connection is closed.",
        ) },
        Code::BadHeader => const { &new(
            "bad-header", StatusCode::BAD_REQUEST, "http_request_error",
            "A header line of this request is malformed",
            "A line is folded, does not end with CRLF, has white space before its colon, or \
             holds a control byte. The connection is closed.",
        ) },
        Code::BadHost => const { &new(
            "bad-host", StatusCode::BAD_REQUEST, "http_request_error",
            "The host of this request cannot be used",
            "`Host` is missing, sent twice or malformed. Send one valid host.",
        ) },
        Code::BadPath => const { &new(
            "bad-path", StatusCode::BAD_REQUEST, "http_request_error",
            "The path of this request cannot be used",
            "The path has an invalid or dangerous escape (`%2F`, `%5C`, `%00`), leaves the \
             root, or holds a raw byte that no path may have.",
        ) },
        Code::BadRequestLine => const { &new(
            "bad-request-line", StatusCode::BAD_REQUEST, "http_request_error",
            "The request line is malformed",
            "It is `METHOD target HTTP/1.1`, with single spaces and nothing unescaped in the \
             target. The connection is closed. Does the client speak TLS to a listener without?",
        ) },
        Code::BadTrailer => const { &new(
            "bad-trailer", StatusCode::BAD_REQUEST, "http_request_error",
            "A trailer field of this request is malformed",
            "Behind the last chunk stands a line that is no header field, or that does not end \
             with CRLF. The connection is closed.",
        ) },
        Code::BodyTooLarge => const { &new(
            "body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied",
            "The request body is too large",
            "Raise `body_bytes_max` of the route, or send less.",
        ) },
        Code::BodyTooSlow => const { &new(
            "body-too-slow", StatusCode::REQUEST_TIMEOUT, "http_request_error",
            "The request body came too slowly",
            "It came more slowly than `client_rate_min` of the listener, after 10 s of grace.",
        ) },
        Code::BreakerOpen => const { &new(
            "breaker-open", StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable",
            "The service failed too often and is given a pause",
            "Look at what the service answered before; the breaker probes it by itself after \
             `breaker.open`.",
        ) },
        Code::ChunkExtensionTooLong => const { &new(
            "chunk-extension-too-long", StatusCode::BAD_REQUEST, "http_request_error",
            "A chunk extension of this request is too long",
            "Extensions of chunks are read over and may have 256 bytes each. The connection is \
             closed.",
        ) },
        Code::ChunkExtensionsTooLarge => const { &new(
            "chunk-extensions-too-large", StatusCode::BAD_REQUEST, "http_request_error",
            "The chunk extensions of this request are too large",
            "All extensions of a body may have 16 KiB beyond two bytes for each byte of data. The \
             connection is closed.",
        ) },
        Code::ClaimDenied => const { &new(
            "claim-denied", StatusCode::FORBIDDEN, "http_request_denied",
            "The token does not allow this request",
            "The token is valid, but a claim that the route's `auth.claims` asks for is missing \
             or has another value.",
        ) },
        Code::ConnectFailed => const { &new(
            "connect-failed", StatusCode::BAD_GATEWAY, "connection_refused",
            "No connection to the service could be made",
            "The endpoint refused or could not be reached: is the service running at that address?",
        ) },
        Code::ConnectRefused => const { &new(
            "connect-refused", StatusCode::METHOD_NOT_ALLOWED, "http_request_denied",
            "This is not a forward proxy",
            "`CONNECT` asks for a tunnel. There are those to services of which a route with \
             `methods: [CONNECT]` takes the host, and WebSockets (RFC 8441); it has no body.",
        ) },
        Code::ConnectTimeout => const { &new(
            "connect-timeout", StatusCode::GATEWAY_TIMEOUT, "connection_timeout",
            "Connecting to the service took too long",
            "Nothing answered within `timeouts.connect`: wrong address, or a firewall that \
             drops packets.",
        ).with_grpc(grpc::Status::UNAVAILABLE) },
        Code::Draining => const { &new(
            "draining", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response",
            "This proxy is shutting down",
            "Send the request again; another proxy or a new connection takes it.",
        ) },
        Code::FaultInjected => const { &new(
            "fault-injected", StatusCode::SERVICE_UNAVAILABLE, "proxy_internal_response",
            "This route fails on purpose",
            "The route's `fault.abort` answered, with the status written there, and the service \
             was not asked. Remove `fault`, or lower its `share`.",
        ) },
        Code::GrpcDeadline => const { &new(
            "grpc-deadline", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The gRPC call took longer than its deadline",
            "It did not end within the `grpc-timeout` that its client sent.",
        ) },
        Code::GrpcTimeout => const { &new(
            "grpc-timeout", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The gRPC call took longer than any call may",
            "Its client asked for more time than `timeouts.grpc`, and it did not end within that.",
        ) },
        Code::GrpcTimeoutInvalid => const { &new(
            "grpc-timeout-invalid", StatusCode::BAD_REQUEST, "http_request_error",
            "The deadline of this gRPC call cannot be read",
            "`grpc-timeout` is 1 to 8 digits and a unit: `H`, `M`, `S`, `m`, `u` or `n`.",
        ) },
        Code::GrpcWebInvalid => const { &new(
            "grpc-web-invalid", StatusCode::BAD_REQUEST, "http_request_error",
            "The body of this gRPC-Web call cannot be read",
            "A body of type `application/grpc-web-text` is Base64.",
        ) },
        Code::HeaderTooLarge => const { &new(
            "header-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error",
            "The header section of this request is too large",
            "Raise the listener's `header_bytes_max`, or send less.",
        ) },
        Code::HeadersTooMany => const { &new(
            "headers-too-many", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error",
            "The header section of this request has too many fields",
            "Raise the listener's `header_count_max`, or send fewer.",
        ) },
        Code::HostDisagrees => const { &new(
            "host-disagrees", StatusCode::BAD_REQUEST, "http_request_error",
            "This request names two hosts",
            "`Host` says another host or port than the request target, or than `:authority`. Send \
             the same, or only one.",
        ) },
        Code::Internal => const { &new(
            "internal", StatusCode::INTERNAL_SERVER_ERROR, "proxy_internal_error",
            "The proxy failed",
            "A fault of Weir itself; its log has the decision id.",
        ) },
        Code::KeysUnavailable => const { &new(
            "keys-unavailable", StatusCode::SERVICE_UNAVAILABLE, "proxy_configuration_error",
            "Tokens cannot be checked at the moment",
            "The issuer's `jwks` could not be fetched since this proxy started; its log says why.",
        ) },
        Code::MethodNotAllowed => const { &new(
            "method-not-allowed", StatusCode::METHOD_NOT_ALLOWED, "http_request_denied",
            "The method is not allowed here",
            "Routes have this path, but none has this method; `Allow` lists those that work.",
        ) },
        Code::MethodTooLong => const { &new(
            "method-too-long", StatusCode::NOT_IMPLEMENTED, "http_request_error",
            "The method of this request is too long",
            "Methods in HTTP/1 have at most 32 bytes. The connection is closed.",
        ) },
        Code::MockNoExample => const { &new(
            "mock-no-example", StatusCode::NOT_IMPLEMENTED, "proxy_internal_response",
            "There is no example to answer with",
            "The route has `mock`, and its OpenAPI document has no `example` for this response: \
             give it one, or ask for another response by `Prefer`.",
        ) },
        Code::MockUnacceptable => const { &new(
            "mock-unacceptable", StatusCode::NOT_ACCEPTABLE, "http_request_error",
            "There is no example of an acceptable type",
            "The OpenAPI document has this response in other media types than those of `Accept`.",
        ) },
        Code::NoEndpoint => const { &new(
            "no-endpoint", StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable",
            "The service has no endpoint",
            "Discovery knows no instance of the service: is one running and registered?",
        ) },
        Code::NoRoute => const { &new(
            "no-route", StatusCode::NOT_FOUND, "destination_not_found",
            "No route matches this request",
            "`weir explain METHOD URL` shows which routes came near and why they did not match.",
        ) },
        Code::NotCached => const { &new(
            "not-cached", StatusCode::GATEWAY_TIMEOUT, "http_request_denied",
            "No stored answer will do for this request",
            "The request says `Cache-Control: only-if-cached`, and no answer is stored that it may \
             have. Send it without.",
        ) },
        Code::OpenapiBody => const { &new(
            "openapi-body", StatusCode::BAD_REQUEST, "http_request_error",
            "The body is not as the API describes it",
            "`errors` of the problem document names the fields; the route's `openapi` document is \
             what they were held against.",
        ) },
        Code::OpenapiBodyTooLarge => const { &new(
            "openapi-body-too-large", StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied",
            "The body is too large to be checked",
            "Raise `openapi.body_bytes_max` of the route, or send less.",
        ) },
        Code::OpenapiMediaType => const { &new(
            "openapi-media-type", StatusCode::UNSUPPORTED_MEDIA_TYPE, "http_request_error",
            "The body is of a type that the API does not take",
            "The detail names the types that the route's `openapi` document has here. Bodies that \
             are compressed cannot be checked.",
        ) },
        Code::OpenapiMethod => const { &new(
            "openapi-method", StatusCode::METHOD_NOT_ALLOWED, "http_request_denied",
            "The API does not have this method here",
            "The route's `openapi` document has the path, but not the method; `Allow` lists those \
             that it has. `unknown: pass` lets others through.",
        ) },
        Code::OpenapiParameter => const { &new(
            "openapi-parameter", StatusCode::BAD_REQUEST, "http_request_error",
            "A parameter is not as the API describes it",
            "`errors` of the problem document names the parameters; the route's `openapi` document \
             is what they were held against.",
        ) },
        Code::OpenapiPath => const { &new(
            "openapi-path", StatusCode::NOT_FOUND, "destination_not_found",
            "The API does not have this path",
            "The route's `openapi` document does not have it, after what `base_path` or its \
             `servers` put before. `unknown: pass` lets it through.",
        ) },
        Code::OriginDenied => const { &new(
            "origin-denied", StatusCode::FORBIDDEN, "http_request_denied",
            "Pages of this origin may not send this request",
            "A browser asked for leave (a CORS preflight). Add the origin, the method or the header \
             to the route's `cors`.",
        ) },
        Code::PeerRequired => const { &new(
            "peer-required", StatusCode::FORBIDDEN, "http_request_denied",
            "This listener takes requests from mesh identities only",
            "Call through a sidecar or the gateway.",
        ) },
        Code::PendingOverflow => const { &new(
            "pending-overflow", StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached",
            "Too many requests wait for a connection to this service",
            "All of `limits.connections` are in use and `limits.pending` requests wait for one \
             already: the service answers too slowly, or the limits are too small.",
        ) },
        Code::PendingTimeout => const { &new(
            "pending-timeout", StatusCode::GATEWAY_TIMEOUT, "connection_limit_reached",
            "No connection to the service came free in time",
            "All of `limits.connections` stayed in use for `timeouts.connect`: the service \
             answers too slowly, or the limit is too small.",
        ) },
        Code::PerTryTimeout => const { &new(
            "per-try-timeout", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The service did not answer an attempt in time",
            "No response head within `timeouts.per_try`, and no further attempt was possible.",
        ) },
        Code::RateLimited => const { &new(
            "rate-limited", StatusCode::TOO_MANY_REQUESTS, "http_request_denied",
            "Too many requests",
            "A `limit` of the route is used up; `Retry-After` says when to come back.",
        ) },
        Code::RequestTimeout => const { &new(
            "request-timeout", StatusCode::REQUEST_TIMEOUT, "http_request_error",
            "The request took too long to arrive",
            "The client stopped sending before its request was complete.",
        ) },
        Code::ResponseHeaderTooLarge => const { &new(
            "response-header-too-large", StatusCode::BAD_GATEWAY, "http_response_header_section_size",
            "The service answered with too large a header section",
            "The response has more than 64 KiB of header fields.",
        ) },
        Code::ResponseHeadersTooMany => const { &new(
            "response-headers-too-many", StatusCode::BAD_GATEWAY, "http_response_header_section_size",
            "The service answered with too many header fields",
            "The response has more than 100 of them.",
        ) },
        Code::ResponseTooLarge => const { &new(
            "response-too-large", StatusCode::BAD_GATEWAY, "http_response_body_size",
            "The service answered with too large a body",
            "The response is larger than `response_bytes_max` of the route or service. One that \
             does not tell its length is cut off at the limit (`upstream-too-large` in the log).",
        ) },
        Code::RewriteFailed => const { &new(
            "rewrite-failed", StatusCode::BAD_REQUEST, "http_request_error",
            "The path or host to send on cannot be made from this request",
            "A variable in `rewrite` or `redirect` has no value in this request, or what it would \
             make of the path or host is none that can be sent.",
        ) },
        Code::ServiceOverloaded => const { &new(
            "service-overloaded", StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached",
            "Too many requests to this service are in flight",
            "The service answers more slowly than requests arrive; `limits.requests` of the \
             service is the bound.",
        ) },
        Code::SniUnknown => const { &new(
            "sni-unknown", StatusCode::MISDIRECTED_REQUEST, "tls_protocol_error",
            "Nobody here has the name that the client asks for",
            "No entry of the listener's `sni` has the name, and the listener has no `tls` to open \
             others. The client gets the TLS alert `unrecognized_name`, never a status.",
        ) },
        Code::SubsetEmpty => const { &new(
            "subset-empty", StatusCode::SERVICE_UNAVAILABLE, "destination_unavailable",
            "The service has no endpoint of the kind asked for",
            "Endpoints are there, but none has all the `labels` of the route's destination: is an \
             instance with them running and registered?",
        ) },
        Code::Shed => const { &new(
            "shed", StatusCode::SERVICE_UNAVAILABLE, "connection_limit_reached",
            "The service has more to do than it can",
            "Answers take longer than without a queue, so `limits.adaptive` of the service lets \
             fewer in flight, the least critical last: see `criticality` of the route.",
        ) },
        Code::TlsFailed => const { &new(
            "tls-failed", StatusCode::BAD_GATEWAY, "tls_protocol_error",
            "No trusted connection to the service could be made",
            "The endpoint's certificate or identity was not the expected one, or TLS failed: \
             see `tls` of the service.",
        ) },
        Code::TokenExpired => const { &new(
            "token-expired", StatusCode::UNAUTHORIZED, "http_request_denied",
            "The token has expired",
            "Get a new token and send the request again.",
        ) },
        Code::TokenInvalid => const { &new(
            "token-invalid", StatusCode::UNAUTHORIZED, "http_request_denied",
            "The token is not valid",
            "Signature, issuer, audience, algorithm or time of the token is wrong; the detail \
             says which.",
        ) },
        Code::TokenMissing => const { &new(
            "token-missing", StatusCode::UNAUTHORIZED, "http_request_denied",
            "A token is required",
            "Send `Authorization: Bearer <token>`.",
        ) },
        Code::TokenTooLong => const { &new(
            "token-too-long", StatusCode::UNAUTHORIZED, "http_request_denied",
            "The token is too long",
            "Tokens of more than 8 KiB are not read.",
        ) },
        Code::TotalTimeout => const { &new(
            "total-timeout", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The exchange took too long",
            "It did not end within `timeouts.total`.",
        ) },
        Code::TrailersTooLarge => const { &new(
            "trailers-too-large", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error",
            "The trailer section of this request is too large",
            "Raise the listener's `header_bytes_max`, which bounds trailers too, or send less.",
        ) },
        Code::TrailersTooMany => const { &new(
            "trailers-too-many", StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "http_request_error",
            "The trailer section of this request has too many fields",
            "Raise the listener's `header_count_max`, which bounds trailers too, or send fewer.",
        ) },
        Code::TransformEncoded => const { &new(
            "transform-encoded", StatusCode::UNSUPPORTED_MEDIA_TYPE, "http_request_error",
            "A compressed body cannot be changed",
            "The route has `transform.request`: send the JSON without `Content-Encoding`.",
        ) },
        Code::TransformRequest => const { &new(
            "transform-request", StatusCode::BAD_REQUEST, "http_request_error",
            "The body cannot be changed as it has to be",
            "It is no JSON, has a field twice, or has a text or number where `transform.request` of \
             the route needs an object.",
        ) },
        Code::TransformResponse => const { &new(
            "transform-response", StatusCode::BAD_GATEWAY, "http_protocol_error",
            "The service's answer cannot be changed as it has to be",
            "It is no JSON although it says so, compressed, a part of a whole, or has a text or number \
             where an object is needed.",
        ) },
        Code::TransformResponseTooLarge => const { &new(
            "transform-response-too-large", StatusCode::BAD_GATEWAY, "http_response_body_size",
            "The service's answer is too large to be changed",
            "Raise `transform.response.body_bytes_max` of the route; what is added counts as well.",
        ) },
        Code::TransformTooLarge => const { &new(
            "transform-too-large", StatusCode::PAYLOAD_TOO_LARGE, "http_request_denied",
            "The body is too large to be changed",
            "Raise `transform.request.body_bytes_max` of the route, or send less.",
        ) },
        Code::UpgradeRefused => const { &new(
            "upgrade-refused", StatusCode::BAD_REQUEST, "http_request_error",
            "This request cannot be upgraded",
            "A WebSocket starts with `GET` without a body in HTTP/1.1, or with an extended CONNECT \
             in HTTP/2; a service that speaks `http2` must take extended CONNECTs.",
        ) },
        Code::UpstreamProtocol => const { &new(
            "upstream-protocol", StatusCode::BAD_GATEWAY, "http_protocol_error",
            "The service did not answer in HTTP",
            "The endpoint broke the rules of HTTP: does it speak the service's `protocol`?",
        ) },
        Code::UpstreamReset => const { &new(
            "upstream-reset", StatusCode::BAD_GATEWAY, "connection_terminated",
            "The service closed the connection",
            "The endpoint hung up before it answered: it crashed, restarted, or closes idle \
             connections early.",
        ) },
        Code::UpstreamStalled => const { &new(
            "upstream-stalled", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The service stopped taking the request",
            "It took nothing more of the request's body for `timeouts.idle`.",
        ) },
        Code::UpstreamTimeout => const { &new(
            "upstream-timeout", StatusCode::GATEWAY_TIMEOUT, "http_response_timeout",
            "The service did not answer in time",
            "No response head within `timeouts.response`.",
        ) },
        Code::UriTooLong => const { &new(
            "uri-too-long", StatusCode::URI_TOO_LONG, "http_request_error",
            "The URI of this request is too long",
            "Raise the listener's `uri_bytes_max`, or send what is long in the body.",
        ) },
        Code::VersionUnsupported => const { &new(
            "version-unsupported", StatusCode::HTTP_VERSION_NOT_SUPPORTED, "http_request_error",
            "This HTTP version is not spoken here",
            "Weir speaks HTTP/1.0, HTTP/1.1 and HTTP/2. The connection is closed.",
        ) },
    }
}
