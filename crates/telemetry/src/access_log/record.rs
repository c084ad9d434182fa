//! What is known about a finished request, and the line it becomes.

use std::net::IpAddr;

use super::json::{JsonLine, key};
use crate::termination::Termination;
use crate::trace_context::TraceId;

/// A finished request, borrowed from wherever its parts live. Bytes that came from a client or an
/// upstream may be anything; the line is valid JSON all the same.
#[derive(Clone, Copy, Debug)]
pub struct AccessRecord<'a> {
    /// When the head of the request was complete, in milliseconds since the Unix epoch.
    pub time_unix_ms: u64,
    /// Name of the listener, as configuration has names: nothing in it needs an escape.
    pub listener: &'a str,
    /// Address of the client, after trusted forwarding headers were applied.
    pub client: IpAddr,
    /// Port of the client; 0 leaves it out (it is unknown behind another proxy).
    pub client_port: u16,
    /// Method: a token of RFC 9110, so that nothing in it needs an escape.
    pub method: &'a str,
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Host that was asked for.
    pub host: &'a [u8],
    /// Path as it was received. A query is cut off: it may carry secrets.
    pub path: &'a [u8],
    /// Version of HTTP between the client and Weir.
    pub protocol: http::Version,
    /// Status sent to the client; 0 when none was.
    pub status: u16,
    /// Status of a gRPC call, where one was sent.
    pub grpc_status: Option<u8>,
    /// How the request ended.
    pub termination: Termination,
    /// Reason code of a refusal.
    pub reason: Option<&'a str>,
    /// Decision id of a refusal.
    pub decision_id: Option<&'a str>,
    /// Name of the route.
    pub route: Option<&'a str>,
    /// Version of the API.
    pub api_version: Option<&'a str>,
    /// Name of the service, as configuration has names: nothing in it needs an escape.
    pub service: Option<&'a str>,
    /// Address of the endpoint of the last attempt, as configuration or discovery has it.
    pub endpoint: Option<&'a str>,
    /// Attempts made.
    pub attempts: u32,
    /// Body bytes received from the client.
    pub request_bytes: u64,
    /// Body bytes sent to the client.
    pub response_bytes: u64,
    /// From the head of the request to the end of the response, in microseconds.
    pub duration_us: u64,
    /// From the start of the last attempt to the head of its response, in microseconds.
    pub upstream_us: Option<u64>,
    /// For how long a fault on purpose held it back, in microseconds.
    pub fault_delay_us: Option<u64>,
    /// Why it went to its route's fallback.
    pub fallback: Option<&'a str>,
    /// What the response cache made of it: the outcome that the cache's metric has.
    pub cache: Option<&'a str>,
    /// What came of attempts beside the first: `won` when one of them answered, else `lost`.
    pub hedge: Option<&'a str>,
    /// Whether it was answered from an example.
    pub mock: bool,
    /// Why it would have been refused, where its route only reports that.
    pub openapi_report: Option<&'a str>,
    /// The trace that the request belongs to.
    pub trace_id: Option<TraceId>,
    /// `user-agent` header.
    pub user_agent: Option<&'a [u8]>,
    /// Identity of the mTLS peer.
    pub peer: Option<&'a str>,
    /// Revision of the configuration that decided.
    pub revision: u64,
}

impl AccessRecord<'_> {
    /// Appends the line, with its end.
    pub(super) fn write(&self, time: &[u8; super::buffer::TIME_BYTES], out: &mut Vec<u8>) {
        let mut line = JsonLine::begin(out);
        line.raw_text(key!("time"), time);
        line.raw_text(key!("listener"), self.listener.as_bytes());
        line.address(key!("client"), self.client);
        if self.client_port != 0 {
            line.number(key!("client_port"), u64::from(self.client_port));
        }
        line.raw_text(key!("method"), self.method.as_bytes());
        line.raw_text(key!("scheme"), self.scheme.as_bytes());
        line.text(key!("host"), self.host);
        line.text(key!("path"), without_query(self.path));
        line.raw_text(key!("protocol"), protocol_name(self.protocol));
        line.number(key!("status"), u64::from(self.status));
        if let Some(grpc_status) = self.grpc_status {
            line.number(key!("grpc_status"), u64::from(grpc_status));
        }
        line.raw_text(key!("termination"), self.termination.code().as_bytes());
        line.optional_text(key!("reason"), self.reason.map(str::as_bytes));
        line.optional_text(key!("decision_id"), self.decision_id.map(str::as_bytes));
        line.optional_text(key!("route"), self.route.map(str::as_bytes));
        line.optional_text(key!("api_version"), self.api_version.map(str::as_bytes));
        if let Some(service) = self.service {
            line.raw_text(key!("service"), service.as_bytes());
        }
        line.optional_text(key!("endpoint"), self.endpoint.map(str::as_bytes));
        line.number(key!("attempts"), u64::from(self.attempts));
        line.number(key!("request_bytes"), self.request_bytes);
        line.number(key!("response_bytes"), self.response_bytes);
        line.number(key!("duration_us"), self.duration_us);
        if let Some(upstream_us) = self.upstream_us {
            line.number(key!("upstream_us"), upstream_us);
        }
        if let Some(fault_delay_us) = self.fault_delay_us {
            line.number(key!("fault_delay_us"), fault_delay_us);
        }
        line.optional_text(key!("fallback"), self.fallback.map(str::as_bytes));
        line.optional_text(key!("cache"), self.cache.map(str::as_bytes));
        line.optional_text(key!("hedge"), self.hedge.map(str::as_bytes));
        if self.mock {
            line.number(key!("mock"), 1);
        }
        line.optional_text(
            key!("openapi_report"),
            self.openapi_report.map(str::as_bytes),
        );
        if let Some(trace_id) = self.trace_id {
            line.raw_text(key!("trace_id"), &trace_id.hex());
        }
        line.optional_text(key!("user_agent"), self.user_agent);
        line.optional_text(key!("peer"), self.peer.map(str::as_bytes));
        line.number(key!("revision"), self.revision);
        line.end();
    }
}

fn without_query(path: &[u8]) -> &[u8] {
    path.split(|byte| matches!(byte, b'?' | b'#'))
        .next()
        .unwrap_or_default()
}

fn protocol_name(version: http::Version) -> &'static [u8] {
    match version {
        http::Version::HTTP_09 => b"HTTP/0.9",
        http::Version::HTTP_10 => b"HTTP/1.0",
        http::Version::HTTP_2 => b"HTTP/2",
        http::Version::HTTP_3 => b"HTTP/3",
        _ => b"HTTP/1.1",
    }
}
