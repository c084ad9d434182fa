//! What is known about a finished connection that was passed on, and the line it becomes. What a
//! request's line has too is called the same.

use std::net::SocketAddr;

use super::json::{JsonLine, key};
use crate::termination::Termination;

/// A finished connection that was passed on byte by byte.
#[derive(Clone, Copy, Debug)]
pub struct TunnelRecord<'a> {
    /// When it was accepted and had said whose it is, in milliseconds since the Unix epoch.
    pub time_unix_ms: u64,
    /// Name of the listener.
    pub listener: &'a str,
    /// The client, as a PROXY header has it where one is expected.
    pub client: SocketAddr,
    /// Whether TLS was opened here.
    pub secure: bool,
    /// The name that a TLS client asked for, where it was passed on closed.
    pub server_name: Option<&'a str>,
    /// How it ended.
    pub termination: Termination,
    /// Reason code of a refusal.
    pub reason: Option<&'a str>,
    /// Name of the service.
    pub service: Option<&'a str>,
    /// Address of the endpoint of the last attempt, as configuration or discovery has it.
    pub endpoint: Option<&'a str>,
    /// Attempts to connect.
    pub attempts: u32,
    /// Bytes received from the client.
    pub request_bytes: u64,
    /// Bytes received from the endpoint.
    pub response_bytes: u64,
    /// How long it lasted, in microseconds.
    pub duration_us: u64,
    /// How long the attempt to connect took that succeeded, in microseconds.
    pub connect_us: Option<u64>,
    /// Revision of the configuration that decided.
    pub revision: u64,
}

impl TunnelRecord<'_> {
    /// Appends the line, with its end.
    pub(super) fn write(&self, time: &[u8; super::buffer::TIME_BYTES], out: &mut Vec<u8>) {
        let mut line = JsonLine::begin(out);
        line.raw_text(key!("time"), time);
        line.text(key!("listener"), self.listener.as_bytes());
        line.address(key!("client"), self.client.ip().to_canonical());
        line.number(key!("client_port"), u64::from(self.client.port()));
        let scheme: &[u8] = if self.secure { b"tls" } else { b"tcp" };
        line.raw_text(key!("scheme"), scheme);
        line.optional_text(key!("server_name"), self.server_name.map(str::as_bytes));
        line.raw_text(key!("protocol"), b"TCP");
        line.raw_text(key!("termination"), self.termination.code().as_bytes());
        line.optional_text(key!("reason"), self.reason.map(str::as_bytes));
        line.optional_text(key!("service"), self.service.map(str::as_bytes));
        line.optional_text(key!("endpoint"), self.endpoint.map(str::as_bytes));
        line.number(key!("attempts"), u64::from(self.attempts));
        line.number(key!("request_bytes"), self.request_bytes);
        line.number(key!("response_bytes"), self.response_bytes);
        line.number(key!("duration_us"), self.duration_us);
        if let Some(connect_us) = self.connect_us {
            line.number(key!("connect_us"), connect_us);
        }
        line.number(key!("revision"), self.revision);
        line.end();
    }
}
