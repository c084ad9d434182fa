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
//! | `http2-continuation-flood` | sent too many CONTINUATION frames |
//! | `http2-data-flood` | sent too many DATA frames that are empty or tiny |
//! | `http2-header-list` | sent a header list far over its bounds |
//! | `http2-ping-flood` | sent too many PING frames |
//! | `http2-priority-flood` | sent too many PRIORITY frames |
//! | `http2-protocol` | broke the rules of HTTP/2 |
//! | `http2-provoked-resets` | made too many streams be reset or refused |
//! | `http2-resets` | took back too many requests |
//! | `http2-settings-flood` | sent too many SETTINGS frames |
//! | `http2-unknown-flood` | sent too many other frames that ask for nothing |
//! | `http2-window-flood` | sent too many WINDOW_UPDATE frames |
//! | `idle` | was silent for too long |
//! | `proxy-protocol` | did not begin with a PROXY header |
//! | `proxy-protocol-source` | came from where nobody may announce others |
//! | `proxy-protocol-timeout` | did not send a whole PROXY header in time |
//! | `proxy-protocol-too-large` | began with a PROXY header that is too long |
//! | `refused` | sent what is not HTTP/1 |
//! | `slow` | took a response too slowly |
//! | `sni-unknown` | asked for a name that nobody has |
//! | `stalled` | took nothing of a response |
//! | `tls` | failed the TLS handshake |
//!
//! A connection that is passed on has the word of its [`Termination`] instead.

use crate::termination::Termination;

/// Every reason, alphabetically.
pub const ALL: [&str; 27] = [
    "client",
    "client-full",
    "drained",
    "error",
    "full",
    "header-timeout",
    "http2-continuation-flood",
    "http2-data-flood",
    "http2-header-list",
    "http2-ping-flood",
    "http2-priority-flood",
    "http2-protocol",
    "http2-provoked-resets",
    "http2-resets",
    "http2-settings-flood",
    "http2-unknown-flood",
    "http2-window-flood",
    "idle",
    "proxy-protocol",
    "proxy-protocol-source",
    "proxy-protocol-timeout",
    "proxy-protocol-too-large",
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
