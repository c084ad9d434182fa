//! Why a client's connection was closed: the words of `weir_listener_connections_closed_total`.
//!
//! | reason | the client, or its connection |
//! |---|---|
//! | `client` | closed it in order |
//! | `client-full` | had as many as one client may have |
//! | `drained` | was idle, or had its last answer, when process or listener went away |
//! | `error` | was broken off by the network |
//! | `full` | came when the listener had as many as it may have |
//! | `header-timeout` | did not send a header section in time |
//! | `http2-flood` | sent too much that asks for nothing |
//! | `http2-protocol` | broke the rules of HTTP/2 |
//! | `http2-resets` | took back too many requests |
//! | `idle` | was silent for too long |
//! | `proxy-protocol` | did not begin with a PROXY header |
//! | `proxy-protocol-source` | came from where nobody may announce others |
//! | `refused` | sent what is not HTTP/1 |
//! | `slow` | took a response too slowly |
//! | `sni-unknown` | asked for a name that nobody has |
//! | `stalled` | took nothing of a response |
//! | `tls` | failed the TLS handshake |
//!
//! A connection that is passed on has the word of its [`Termination`] instead.

use crate::termination::Termination;

/// Every reason, alphabetically.
pub const ALL: [&str; 17] = [
    "client",
    "client-full",
    "drained",
    "error",
    "full",
    "header-timeout",
    "http2-flood",
    "http2-protocol",
    "http2-resets",
    "idle",
    "proxy-protocol",
    "proxy-protocol-source",
    "refused",
    "slow",
    "sni-unknown",
    "stalled",
    "tls",
];

/// Whether a connection can have been closed for this reason.
#[must_use]
pub fn is_known(reason: &str) -> bool {
    ALL.contains(&reason) || Termination::ALL.iter().any(|end| end.code() == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_module_is_the_list() {
        let source = include_str!("closing.rs");
        let rows = source
            .lines()
            .filter_map(|line| line.strip_prefix("//! | `"));
        let table: Vec<_> = rows
            .filter_map(|row| Some(row.split_once("` |")?.0))
            .collect();
        assert_eq!(table, ALL);
        assert!(is_known("idle-timeout") && !is_known("bored"));
    }
}
