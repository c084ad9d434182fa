//! Everything a decision may look at of a request, borrowed.

use std::net::IpAddr;

use http::{HeaderMap, Method, Version};

use crate::snapshot::ListenerId;

/// A request as it was received, before any normalisation.
#[derive(Debug, Clone, Copy)]
pub struct RequestView<'a> {
    /// The listener it came in by.
    pub listener: ListenerId,
    /// Method.
    pub method: &'a Method,
    /// Whether it came over TLS.
    pub secure: bool,
    /// Authority of the request target (`:authority` or absolute form), where there was one.
    pub authority: Option<&'a str>,
    /// Raw path of the request target, without query; `*` for `OPTIONS *`.
    pub path: &'a str,
    /// Raw query, without `?`.
    pub query: Option<&'a str>,
    /// Header fields.
    pub headers: &'a HeaderMap,
    /// HTTP version.
    pub version: Version,
    /// Address of the connection's other side.
    pub remote: IpAddr,
    /// SPIFFE id of the mesh peer, where the connection is mTLS.
    pub peer: Option<&'a str>,
    /// Declared body length, where one was declared.
    pub body_bytes: Option<u64>,
}
