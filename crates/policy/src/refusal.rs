//! The closed list of answers that Weir gives by itself, and how each is told to the client.
//!
//! For: the reason codes, their one table (in `refusal/table.rs`), and the header fields and
//! problem document made from a row, so that gateway, sidecar, `explain` and the reference page say
//! the same. Not for: deciding when to refuse; the phases do that.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{Response, StatusCode};
use smallvec::SmallVec;

use crate::grpc;
use crate::pipeline::FailureKind;
use crate::snapshot::{RouteId, ServiceId};

mod call;
mod field;
mod table;

pub use field::{FieldFault, FieldPlace};

/// Name of the field that carries the reason code.
pub const REASON_HEADER: HeaderName = HeaderName::from_static("weir-reason");
/// Name of the field that carries the decision id.
pub const DECISION_HEADER: HeaderName = HeaderName::from_static("weir-decision");
/// Name of the RFC 9209 field.
pub const PROXY_STATUS_HEADER: HeaderName = HeaderName::from_static("proxy-status");

/// Why Weir answered by itself. The kebab-case form of the name is the public reason code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Code {
    /// The version of the API that was asked for is past its sunset.
    ApiVersionGone,
    /// The request names no version of the API where it has to.
    ApiVersionMissing,
    /// No media type that was asked for names a version of the API that there is.
    ApiVersionUnacceptable,
    /// The API has no such version.
    ApiVersionUnknown,
    /// A chunked body breaks the rules of chunks.
    BadChunk,
    /// The length of the body is malformed, doubled or contradictory.
    BadFraming,
    /// A header line breaks the rules of header lines.
    BadHeader,
    /// The host is missing, doubled or malformed.
    BadHost,
    /// The path is malformed or tries to say one thing to Weir and another to the service.
    BadPath,
    /// The request line breaks the rules of request lines.
    BadRequestLine,
    /// A trailer field breaks the rules of header lines.
    BadTrailer,
    /// The request body is larger than its route takes.
    BodyTooLarge,
    /// The client sends its body more slowly than the listener accepts.
    BodyTooSlow,
    /// The service's circuit breaker is open.
    BreakerOpen,
    /// The extension of a chunk is longer than any is taken.
    ChunkExtensionTooLong,
    /// The extensions of all chunks are much more than their data.
    ChunkExtensionsTooLarge,
    /// A claim of the token does not allow this.
    ClaimDenied,
    /// No connection to an endpoint could be made.
    ConnectFailed,
    /// A tunnel to anywhere was asked for.
    ConnectRefused,
    /// No connection to an endpoint came about in time.
    ConnectTimeout,
    /// This proxy is going away.
    Draining,
    /// The route injects this fault on purpose.
    FaultInjected,
    /// The gRPC call took longer than its deadline.
    GrpcDeadline,
    /// The gRPC call took longer than any call may.
    GrpcTimeout,
    /// The deadline of the gRPC call cannot be read.
    GrpcTimeoutInvalid,
    /// The body of a gRPC-Web call is not what its type says.
    GrpcWebInvalid,
    /// The header section is larger than the listener takes.
    HeaderTooLarge,
    /// The header section has more fields than the listener takes.
    HeadersTooMany,
    /// `Host` says another host than the request target.
    HostDisagrees,
    /// Weir itself failed.
    Internal,
    /// The keys of the token's issuer have not been fetched.
    KeysUnavailable,
    /// A route has this path, but not this method.
    MethodNotAllowed,
    /// The method is longer than any is taken.
    MethodTooLong,
    /// The OpenAPI document has no example to answer with.
    MockNoExample,
    /// The OpenAPI document has no example of a type that the client accepts.
    MockUnacceptable,
    /// The service has no endpoint.
    NoEndpoint,
    /// The document gives no route for this request.
    NoRoute,
    /// The client wants a stored answer or none, and none is stored.
    NotCached,
    /// The body is not what the route's OpenAPI document says.
    OpenapiBody,
    /// The body is larger than one that is held against the OpenAPI document.
    OpenapiBodyTooLarge,
    /// The body is of a type that the OpenAPI document does not have here.
    OpenapiMediaType,
    /// The OpenAPI document has this path, but not this method.
    OpenapiMethod,
    /// A parameter is not what the OpenAPI document says.
    OpenapiParameter,
    /// The OpenAPI document does not have this path.
    OpenapiPath,
    /// Too many requests wait for a connection to the service.
    PendingOverflow,
    /// No connection to the service came free in time.
    PendingTimeout,
    /// A page of another origin may not send this request.
    OriginDenied,
    /// The listener wants a mesh identity and the connection has none.
    PeerRequired,
    /// An attempt took longer than its `per_try` timeout.
    PerTryTimeout,
    /// A rate limit is used up.
    RateLimited,
    /// The client took too long to send its request.
    RequestTimeout,
    /// The response's header section is larger than Weir takes.
    ResponseHeaderTooLarge,
    /// The response's header section has more fields than Weir takes.
    ResponseHeadersTooMany,
    /// The response is larger than its route or service allows.
    ResponseTooLarge,
    /// The path or host that a route wants to send cannot be made from this request.
    RewriteFailed,
    /// Too many requests to the service are in flight.
    ServiceOverloaded,
    /// The TLS client asks for a name that the listener neither opens nor passes on.
    SniUnknown,
    /// No endpoint of the service has the labels that the route asks for.
    SubsetEmpty,
    /// The service has more to do than it can, and others matter more.
    Shed,
    /// TLS with the endpoint failed, or the wrong identity answered.
    TlsFailed,
    /// The token's time is over.
    TokenExpired,
    /// The token cannot be believed.
    TokenInvalid,
    /// The route wants a token and there is none.
    TokenMissing,
    /// The token is longer than any is read.
    TokenTooLong,
    /// The whole exchange took longer than its `total` timeout.
    TotalTimeout,
    /// The trailer section is larger than the listener takes.
    TrailersTooLarge,
    /// The trailer section has more fields than the listener takes.
    TrailersTooMany,
    /// The body to change is compressed.
    TransformEncoded,
    /// The request's body cannot be changed as its route says.
    TransformRequest,
    /// The response's body cannot be changed as its route says.
    TransformResponse,
    /// The response's body is larger than one that is changed.
    TransformResponseTooLarge,
    /// The request's body is larger than one that is changed.
    TransformTooLarge,
    /// The endpoint's answer was not HTTP or broke its rules.
    UpstreamProtocol,
    /// The endpoint closed the connection before it answered.
    UpstreamReset,
    /// The endpoint stopped taking the request's body.
    UpstreamStalled,
    /// The endpoint did not answer in time.
    UpstreamTimeout,
    /// This request cannot be upgraded to another protocol.
    UpgradeRefused,
    /// The request target is longer than the listener takes.
    UriTooLong,
    /// The request is of a version that is not spoken here.
    VersionUnsupported,
}

/// A refusal: the reason, and what the client is told beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub code: Code,
    /// When trying again makes sense; becomes `Retry-After`, rounded up to seconds.
    pub retry_after: Option<Duration>,
    /// What exactly; safe to show to the client.
    pub detail: Option<Box<str>>,
    /// Status to answer with instead of the table's.
    pub status: Option<StatusCode>,
    /// Methods that would be allowed; becomes `Allow`.
    pub allow: Option<Box<str>>,
    /// Which fields of the request are wrong; told in the problem document.
    pub fields: Box<[FieldFault]>,
    /// What was known by then; for logs and metrics, not for the client.
    pub known: Known,
}

/// What was known of a request when it was refused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Known {
    /// Its client, once trusted proxies were looked through.
    pub client: Option<IpAddr>,
    /// Its route, once it had one.
    pub route: Option<RouteId>,
    /// Its service, once one was drawn.
    pub service: Option<ServiceId>,
    /// The version of the API it asked for.
    pub version: Option<u16>,
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Public reason code, also the metric label.
    pub code: &'static str,
    /// Status sent to the client.
    pub status: StatusCode,
    /// Title of the problem document.
    pub title: &'static str,
    /// Error type of the `proxy-status` field (RFC 9209).
    pub proxy_status: &'static str,
    /// What a gRPC client is told instead of the HTTP status.
    pub grpc: grpc::Status,
    /// When it happens and what to do about it, for the reference page.
    pub remedy: &'static str,
}

impl Code {
    /// Every code, in alphabetical order.
    pub const ALL: &'static [Code] = table::ALL;

    /// Its row in the table.
    #[must_use]
    pub fn row(self) -> &'static Row {
        table::row(self)
    }

    /// The public reason code.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.row().code
    }

    /// The code with this public name.
    #[must_use]
    pub fn named(name: &str) -> Option<Code> {
        Code::ALL.iter().copied().find(|code| code.as_str() == name)
    }

    /// Challenge of `WWW-Authenticate` (RFC 6750), where the answer carries one.
    fn challenge(self) -> Option<&'static str> {
        match self {
            Code::TokenMissing => Some("Bearer"),
            Code::TokenInvalid | Code::TokenTooLong => Some("Bearer error=\"invalid_token\""),
            Code::TokenExpired => {
                Some("Bearer error=\"invalid_token\", error_description=\"the token has expired\"")
            }
            Code::ClaimDenied => Some("Bearer error=\"insufficient_scope\""),
            _ => None,
        }
    }
}

impl std::fmt::Display for Code {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<FailureKind> for Code {
    fn from(kind: FailureKind) -> Code {
        match kind {
            FailureKind::Connect => Code::ConnectFailed,
            FailureKind::ConnectTimeout => Code::ConnectTimeout,
            FailureKind::HeaderTooLarge => Code::ResponseHeaderTooLarge,
            FailureKind::HeadersTooMany => Code::ResponseHeadersTooMany,
            FailureKind::PendingOverflow => Code::PendingOverflow,
            FailureKind::PendingTimeout => Code::PendingTimeout,
            FailureKind::PerTry => Code::PerTryTimeout,
            FailureKind::Protocol => Code::UpstreamProtocol,
            FailureKind::Reset => Code::UpstreamReset,
            FailureKind::Stalled => Code::UpstreamStalled,
            FailureKind::Timeout => Code::UpstreamTimeout,
            FailureKind::Tls => Code::TlsFailed,
        }
    }
}

impl From<Code> for Refusal {
    fn from(code: Code) -> Refusal {
        Refusal::new(code)
    }
}

impl Refusal {
    /// A refusal with nothing but its reason.
    #[must_use]
    pub fn new(code: Code) -> Refusal {
        let known = Known::default();
        Refusal {
            code,
            retry_after: None,
            detail: None,
            status: None,
            allow: None,
            fields: Box::default(),
            known,
        }
    }

    /// Says what exactly; must be safe to show to the client.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Box<str>>) -> Refusal {
        self.detail = Some(detail.into());
        self
    }

    /// Says when trying again makes sense.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Refusal {
        self.retry_after = Some(after);
        self
    }

    /// Answers with this status instead of the table's.
    #[must_use]
    pub fn with_status(mut self, status: StatusCode) -> Refusal {
        self.status = Some(status);
        self
    }

    /// Says which methods would be allowed.
    #[must_use]
    pub fn with_allow(mut self, methods: impl Into<Box<str>>) -> Refusal {
        self.allow = Some(methods.into());
        self
    }

    /// Says which fields of the request are wrong; the first is the detail.
    #[must_use]
    pub fn with_fields(mut self, fields: Vec<FieldFault>) -> Refusal {
        self.detail = match fields.as_slice() {
            [] => None,
            [only] => Some(only.to_string().into()),
            [first, rest @ ..] => Some(format!("{first}; and {} more", rest.len()).into()),
        };
        self.fields = fields.into();
        self
    }

    /// Status sent to the client.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status.unwrap_or(self.code.row().status)
    }

    /// Every header field of the answer except its length.
    #[must_use]
    pub fn headers(&self, decision_id: &str) -> SmallVec<[(HeaderName, HeaderValue); 8]> {
        let row = self.code.row();
        let mut fields = SmallVec::new();
        fields.push((
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        ));
        fields.push((CACHE_CONTROL, HeaderValue::from_static("no-store")));
        fields.push((REASON_HEADER, HeaderValue::from_static(row.code)));
        if let Ok(id) = HeaderValue::from_str(decision_id) {
            fields.push((DECISION_HEADER, id));
        }
        if let Ok(status) = HeaderValue::from_str(&format!("weir; error={}", row.proxy_status)) {
            fields.push((PROXY_STATUS_HEADER, status));
        }
        if let Some(after) = self.retry_after {
            fields.push((RETRY_AFTER, HeaderValue::from(seconds_up(after))));
        }
        if let Some(challenge) = self.code.challenge() {
            fields.push((WWW_AUTHENTICATE, HeaderValue::from_static(challenge)));
        }
        if let Some(Ok(allow)) = self.allow.as_deref().map(HeaderValue::from_str) {
            fields.push((ALLOW, allow));
        }
        fields
    }

    /// The body: an RFC 9457 problem document.
    #[must_use]
    pub fn problem_json(&self, decision_id: &str) -> Vec<u8> {
        let row = self.code.row();
        let mut problem = serde_json::Map::new();
        problem.insert(
            "type".into(),
            format!("urn:weir:refusal:{}", row.code).into(),
        );
        problem.insert("title".into(), row.title.into());
        problem.insert("status".into(), self.status().as_u16().into());
        if let Some(detail) = &self.detail {
            problem.insert("detail".into(), detail.as_ref().into());
        }
        if !self.fields.is_empty() {
            let fields: Vec<_> = self.fields.iter().map(FieldFault::json).collect();
            problem.insert("errors".into(), fields.into());
        }
        problem.insert("code".into(), row.code.into());
        problem.insert("decision_id".into(), decision_id.into());
        let mut body = serde_json::Value::Object(problem).to_string().into_bytes();
        body.push(b'\n');
        body
    }

    /// The whole answer: status, fields and body.
    #[must_use]
    pub fn response(&self, decision_id: &str) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.problem_json(decision_id)));
        *response.status_mut() = self.status();
        for (name, value) in self.headers(decision_id) {
            response.headers_mut().insert(name, value);
        }
        response
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let row = self.code.row();
        write!(f, "{} ({})", row.code, self.status().as_u16())?;
        match &self.detail {
            Some(detail) => write!(f, ": {detail}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Refusal {}

/// The reference page of all reason codes, in Markdown.
#[must_use]
pub fn reference_markdown() -> String {
    let mut page = String::from(
        "| reason code | status | gRPC | `proxy-status` error | title | when, and what to do |\n\
         |---|---|---|---|---|---|\n",
    );
    for code in Code::ALL {
        let row = code.row();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | `{}` | {} | {} |",
            row.code,
            row.status.as_u16(),
            row.grpc.number(),
            row.proxy_status,
            row.title,
            row.remedy
        );
    }
    page
}

/// Whole seconds, rounded up, at least one: `Retry-After: 0` would invite a stampede.
fn seconds_up(after: Duration) -> u64 {
    let whole = after.as_secs() + u64::from(after.subsec_nanos() > 0);
    whole.max(1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn every_code_has_one_row_and_a_name_that_finds_it() {
        for code in Code::ALL {
            assert_eq!(Code::named(code.as_str()), Some(*code));
        }
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        let count = names.len();
        assert!(names.is_sorted(), "the table is in alphabetical order");
        names.dedup();
        assert_eq!(names.len(), count);
        assert_eq!(reference_markdown().lines().count(), count + 2);
    }

    #[test]
    fn an_answer_carries_reason_decision_and_retry_time() {
        let refusal = Refusal::new(Code::RateLimited)
            .with_detail("limit \"100/s\" by client")
            .with_retry_after(Duration::from_millis(1200));
        let response = refusal.response("d-1");
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()["retry-after"], "2");
        assert_eq!(response.headers()["weir-reason"], "rate-limited");
        assert_eq!(response.headers()["weir-decision"], "d-1");
        assert_eq!(
            response.headers()["proxy-status"],
            "weir; error=http_request_denied"
        );
        assert_eq!(response.headers()["cache-control"], "no-store");
        let body: serde_json::Value = serde_json::from_slice(response.body()).unwrap();
        assert_eq!(body["code"], "rate-limited");
        assert_eq!(body["status"], 429);
        assert_eq!(body["detail"], "limit \"100/s\" by client");
    }

    #[test]
    fn tokens_are_challenged_as_rfc_6750_says() {
        let challenge = |code| {
            let response = Refusal::new(code).response("d");
            response.headers()["www-authenticate"]
                .to_str()
                .unwrap()
                .to_owned()
        };
        assert_eq!(challenge(Code::TokenMissing), "Bearer");
        assert_eq!(
            challenge(Code::TokenInvalid),
            "Bearer error=\"invalid_token\""
        );
        assert_eq!(
            challenge(Code::ClaimDenied),
            "Bearer error=\"insufficient_scope\""
        );
    }
}
