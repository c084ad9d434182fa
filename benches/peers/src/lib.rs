//! What the minimal proxies have in common: their arguments, and how those by hand read heads.

use std::net::SocketAddr;
use std::path::PathBuf;

pub mod heads;
pub mod slots;
pub mod uring;

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
    /// Bodies of responses stay in the kernel.
    pub is_splicing: bool,
}

/// How the arguments are written.
const USAGE: &str =
    "LISTEN UPSTREAM [--tls-cert FILE --tls-key FILE] [--http2-upstream] [--splice]";

impl Arguments {
    /// Those of the process.
    ///
    /// # Errors
    /// How they are to be written.
    pub fn from_process() -> Result<Self, String> {
        let mut arguments = std::env::args();
        let program = arguments.next().unwrap_or_default();
        Self::parse(arguments).ok_or_else(|| format!("{program} {USAGE}"))
    }

    fn parse(mut arguments: impl Iterator<Item = String>) -> Option<Self> {
        let listen = arguments.next()?.parse().ok()?;
        let upstream = arguments.next()?.parse().ok()?;
        let (mut certificate, mut key) = (None, None);
        let (mut is_http2_upstream, mut is_splicing) = (false, false);
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--tls-cert" => certificate = Some(PathBuf::from(arguments.next()?)),
                "--tls-key" => key = Some(PathBuf::from(arguments.next()?)),
                "--http2-upstream" => is_http2_upstream = true,
                "--splice" => is_splicing = true,
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
            is_splicing,
        })
    }

    /// Those of a program that knows HTTP/1.1 in clear text alone.
    ///
    /// # Errors
    /// More is asked for.
    pub fn clear_text(self) -> Result<Self, String> {
        if self.tls.is_some() || self.is_http2_upstream {
            return Err("this proxy knows HTTP/1.1 in clear text alone".to_owned());
        }
        Ok(self)
    }

    /// Those of a program that does not splice.
    ///
    /// # Errors
    /// It is asked to.
    pub fn copying(self) -> Result<Self, String> {
        if self.is_splicing {
            return Err("this proxy does not know --splice".to_owned());
        }
        Ok(self)
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
        let splicing = parse("127.0.0.1:1 127.0.0.1:2 --splice");
        assert!(splicing.is_some_and(|got| got.is_splicing && got.copying().is_err()));
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
