//! What to tell people when a listening socket cannot be opened.

use std::io::{Error, ErrorKind};
use std::net::SocketAddr;

/// Says which address cannot be listened on, why, and how to choose another: by `flag`, such as
/// `--admin`, or by its environment variable. For a listener of the document, `flag` is its path
/// there, such as `listeners.web.bind`.
pub fn bind_error(addr: SocketAddr, error: &Error, flag: &str) -> String {
    let remedy = match flag.strip_prefix("--") {
        Some(name) => {
            let variable = name.to_uppercase().replace('-', "_");
            format!("choose another address with {flag} ADDRESS or WEIR_{variable}")
        }
        None => format!("choose another address in {flag}"),
    };
    let port = addr.port();
    match error.kind() {
        ErrorKind::AddrInUse => {
            format!("cannot listen on {addr}: port {port} is taken; stop what uses it, or {remedy}")
        }
        ErrorKind::AddrNotAvailable => {
            format!(
                "cannot listen on {addr}: this machine has no address {}; {remedy}",
                addr.ip()
            )
        }
        ErrorKind::PermissionDenied if port < PORT_UNPRIVILEGED_MIN => format!(
            "cannot listen on {addr}: ports below {PORT_UNPRIVILEGED_MIN} need the capability \
             CAP_NET_BIND_SERVICE; grant it, or {remedy}"
        ),
        _ => format!("cannot listen on {addr}: {error}; {remedy}"),
    }
}

/// The first port that everybody may use, unless the system was told otherwise.
const PORT_UNPRIVILEGED_MIN: u16 = 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_taken_port_is_named_with_the_way_out() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = holder.local_addr().unwrap();
        let error = TcpListener::bind(addr).unwrap_err();
        assert_eq!(
            bind_error(addr, &error, "--mesh-port"),
            format!(
                "cannot listen on {addr}: port {} is taken; stop what uses it, or choose another \
                 address with --mesh-port ADDRESS or WEIR_MESH_PORT",
                addr.port()
            )
        );
    }

    #[test]
    fn other_reasons_say_what_helps() {
        let addr = "10.0.0.1:80".parse().unwrap();
        let text = |kind: ErrorKind| bind_error(addr, &kind.into(), "listeners.web.bind");
        assert!(text(ErrorKind::PermissionDenied).contains("CAP_NET_BIND_SERVICE"));
        assert!(text(ErrorKind::AddrNotAvailable).contains("no address 10.0.0.1"));
        assert!(text(ErrorKind::OutOfMemory).ends_with("in listeners.web.bind"));
    }
}
