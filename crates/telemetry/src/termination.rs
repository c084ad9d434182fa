//! How a request ended: who ended it and when, in one word of the access log.
//!
//! | code | ended by | when |
//! |---|---|---|
//! | `ok` | – | the response was sent to its end |
//! | `upgraded` | – | the connection was handed over (WebSocket, CONNECT) and then closed in order |
//! | `refused` | Weir | Weir answered by itself; the reason code says why |
//! | `client-invalid` | client | the request broke the protocol while its body was read |
//! | `client-timeout` | client | the client was too slow sending its body or reading the response |
//! | `client-gone-sending` | client | it went away before its request was complete |
//! | `client-gone-before-response` | client | it went away while waiting for the response |
//! | `client-gone-during-body` | client | it went away while the response was sent |
//! | `upstream-connect` | upstream | no connection could be made to an endpoint |
//! | `upstream-tls` | upstream | the TLS handshake or the endpoint's identity was not accepted |
//! | `upstream-reset-before-bytes` | upstream | the endpoint closed before any byte of the response |
//! | `upstream-reset-after-bytes` | upstream | the endpoint closed in the middle of the response |
//! | `upstream-invalid` | upstream | the response broke the protocol |
//! | `upstream-timeout` | upstream | no response head within the attempt's time |
//! | `upstream-stalled` | upstream | the request's or response's body made no progress |
//! | `upstream-too-large` | upstream | the response or its header section went over its limit |
//! | `retries-exhausted` | upstream | the last allowed attempt failed too |
//! | `total-timeout` | Weir | the request's whole time was over |
//! | `idle-timeout` | Weir | nothing moved for too long on a connection that is passed on |
//! | `drained` | Weir | the process ended before the request did |
//! | `internal` | Weir | a fault of Weir itself |

use std::fmt;

/// Who ended a request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Side {
    /// The client.
    Client,
    /// Nobody: it came to its end.
    Nobody,
    /// The endpoint, or the way to it.
    Upstream,
    /// Weir.
    Weir,
}

/// How a request ended. The table of this module says what each means.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Termination {
    /// The response was sent to its end.
    Ok,
    /// The connection was handed over and closed in order.
    Upgraded,
    /// Weir answered by itself.
    Refused,
    /// The request broke the protocol while its body was read.
    ClientInvalid,
    /// The client was too slow.
    ClientTimeout,
    /// The client went away before its request was complete.
    ClientGoneSending,
    /// The client went away while waiting for the response.
    ClientGoneBeforeResponse,
    /// The client went away while the response was sent.
    ClientGoneDuringBody,
    /// No connection could be made to an endpoint.
    UpstreamConnect,
    /// The TLS handshake or the endpoint's identity was not accepted.
    UpstreamTls,
    /// The endpoint closed before any byte of the response.
    UpstreamResetBeforeBytes,
    /// The endpoint closed in the middle of the response.
    UpstreamResetAfterBytes,
    /// The response broke the protocol.
    UpstreamInvalid,
    /// No response head within the attempt's time.
    UpstreamTimeout,
    /// The request's or response's body made no progress.
    UpstreamStalled,
    /// The response or its header section went over its limit.
    UpstreamTooLarge,
    /// The last allowed attempt failed too.
    RetriesExhausted,
    /// The request's whole time was over.
    TotalTimeout,
    /// Nothing moved for too long on a connection that is passed on.
    IdleTimeout,
    /// The process ended before the request did.
    Drained,
    /// A fault of Weir itself.
    Internal,
}

impl Termination {
    /// All codes in the order of the table.
    pub const ALL: [Self; 21] = [
        Self::Ok,
        Self::Upgraded,
        Self::Refused,
        Self::ClientInvalid,
        Self::ClientTimeout,
        Self::ClientGoneSending,
        Self::ClientGoneBeforeResponse,
        Self::ClientGoneDuringBody,
        Self::UpstreamConnect,
        Self::UpstreamTls,
        Self::UpstreamResetBeforeBytes,
        Self::UpstreamResetAfterBytes,
        Self::UpstreamInvalid,
        Self::UpstreamTimeout,
        Self::UpstreamStalled,
        Self::UpstreamTooLarge,
        Self::RetriesExhausted,
        Self::TotalTimeout,
        Self::IdleTimeout,
        Self::Drained,
        Self::Internal,
    ];

    /// The word in the access log and in metric labels.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Upgraded => "upgraded",
            Self::Refused => "refused",
            Self::ClientInvalid => "client-invalid",
            Self::ClientTimeout => "client-timeout",
            Self::ClientGoneSending => "client-gone-sending",
            Self::ClientGoneBeforeResponse => "client-gone-before-response",
            Self::ClientGoneDuringBody => "client-gone-during-body",
            Self::UpstreamConnect => "upstream-connect",
            Self::UpstreamTls => "upstream-tls",
            Self::UpstreamResetBeforeBytes => "upstream-reset-before-bytes",
            Self::UpstreamResetAfterBytes => "upstream-reset-after-bytes",
            Self::UpstreamInvalid => "upstream-invalid",
            Self::UpstreamTimeout => "upstream-timeout",
            Self::UpstreamStalled => "upstream-stalled",
            Self::UpstreamTooLarge => "upstream-too-large",
            Self::RetriesExhausted => "retries-exhausted",
            Self::TotalTimeout => "total-timeout",
            Self::IdleTimeout => "idle-timeout",
            Self::Drained => "drained",
            Self::Internal => "internal",
        }
    }

    /// Who ended the request.
    pub const fn side(self) -> Side {
        match self {
            Self::Ok | Self::Upgraded => Side::Nobody,
            Self::ClientInvalid
            | Self::ClientTimeout
            | Self::ClientGoneSending
            | Self::ClientGoneBeforeResponse
            | Self::ClientGoneDuringBody => Side::Client,
            Self::UpstreamConnect
            | Self::UpstreamTls
            | Self::UpstreamResetBeforeBytes
            | Self::UpstreamResetAfterBytes
            | Self::UpstreamInvalid
            | Self::UpstreamTimeout
            | Self::UpstreamStalled
            | Self::UpstreamTooLarge
            | Self::RetriesExhausted => Side::Upstream,
            Self::Refused
            | Self::TotalTimeout
            | Self::IdleTimeout
            | Self::Drained
            | Self::Internal => Side::Weir,
        }
    }
}

impl fmt::Display for Termination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_module_is_the_code() {
        let source = include_str!("termination.rs");
        let rows = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"));
        let table: Vec<(&str, &str)> = rows
            .filter_map(|row| row.split_once("` | "))
            .filter_map(|(code, rest)| Some((code, rest.split_once(" |")?.0)))
            .collect();
        let side = |termination: &Termination| match termination.side() {
            Side::Client => "client",
            Side::Nobody => "–",
            Side::Upstream => "upstream",
            Side::Weir => "Weir",
        };
        let code: Vec<_> = Termination::ALL
            .iter()
            .map(|end| (end.code(), side(end)))
            .collect();
        assert_eq!(table, code);
    }
}
