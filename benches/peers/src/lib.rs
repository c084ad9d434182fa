//! What the minimal proxies have in common: their arguments.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Where to listen, and where everything goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// The only upstream.
    pub upstream: SocketAddr,
    /// PEM files of certificate and key: TLS towards clients, HTTP/2 by ALPN.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// HTTP/2 with prior knowledge towards the upstream.
    pub is_http2_upstream: bool,
}

impl Arguments {
    /// Those of the process.
    ///
    /// # Errors
    /// How they are to be written.
    pub fn from_process() -> Result<Self, String> {
        let mut arguments = std::env::args();
        let program = arguments.next().unwrap_or_default();
        Self::parse(arguments).ok_or_else(|| {
            format!("{program} LISTEN UPSTREAM [--tls-cert FILE --tls-key FILE] [--http2-upstream]")
        })
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let listen = arguments.next()?.parse().ok()?;
        let upstream = arguments.next()?.parse().ok()?;
        let (mut certificate, mut key, mut is_http2_upstream) = (None, None, false);
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--tls-cert" => certificate = Some(PathBuf::from(arguments.next()?)),
                "--tls-key" => key = Some(PathBuf::from(arguments.next()?)),
                "--http2-upstream" => is_http2_upstream = true,
                _ => return None,
            }
        }
        let tls = match (certificate, key) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return None,
        };
        Some(Self {
            listen,
            upstream,
            tls,
            is_http2_upstream,
        })
    }
}

/// Idle connections to the upstream that are kept.
pub const POOL_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Option<Arguments> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn arguments_are_read() {
        assert!(parse("127.0.0.1:1 127.0.0.1:2").is_some_and(|got| got.tls.is_none()));
        let all = "127.0.0.1:1 127.0.0.1:2 --tls-key k --http2-upstream --tls-cert c";
        let all = parse(all);
        assert!(all.is_some_and(|got| got.tls == Some(("c".into(), "k".into()))));
        for wrong in [
            "127.0.0.1:1",
            "127.0.0.1:1 x",
            "127.0.0.1:1 127.0.0.1:2 --tls-cert c",
            "127.0.0.1:1 127.0.0.1:2 --other",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
