//! Fields that tell a service about the client's connection, and fields a client must not forge.
//!
//! At the edge they are what Weir saw, unless the other side is a trusted proxy: then what it says
//! is kept, and it is appended to the chain. In the mesh they come from the gateway and are kept.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};
use weir_config::document::Forwarded;

use super::rfc7239;

/// The other side of a client's connection. Its text is made once per connection.
#[derive(Debug, Clone)]
pub struct Remote {
    /// Its address; an IPv4 address mapped to IPv6 is that address.
    pub(crate) address: IpAddr,
    text: HeaderValue,
}

impl From<IpAddr> for Remote {
    fn from(address: IpAddr) -> Self {
        let address = address.to_canonical();
        // The text of an address is always a field value.
        let text = HeaderValue::try_from(address.to_string());
        Self {
            address,
            text: text.unwrap_or(HeaderValue::from_static("")),
        }
    }
}

/// How a request came in.
#[derive(Debug, Clone)]
pub(crate) struct Origin<'a> {
    pub(crate) remote: &'a Remote,
    /// Whether it was TLS.
    pub(crate) secure: bool,
    /// The authority it asked for, as sent.
    pub(crate) host: Option<HeaderValue>,
    /// The listener faces untrusted clients.
    pub(crate) edge: bool,
    /// The other side is a trusted proxy.
    pub(crate) trusted: bool,
    /// Which fields tell of it.
    pub(crate) fields: Forwarded,
}

/// The addresses that forwarding fields name, the last first; one that cannot be read is `None`.
pub(crate) fn hops(
    headers: &HeaderMap,
    fields: Forwarded,
) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let old = (fields != Forwarded::Rfc7239).then(|| headers.get_all(FOR).iter().rev());
    let old = old.into_iter().flatten();
    let old = old.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b',').map(read));
    let new = (fields == Forwarded::Rfc7239).then(|| rfc7239::addresses(headers));
    old.chain(new.into_iter().flatten())
}

/// An address with or without port, IPv6 with or without brackets.
pub(super) fn read(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|inside| inside.strip_suffix(']'))
        .unwrap_or(text);
    let plain = bare.parse::<IpAddr>().ok();
    let address = plain.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

/// Whether an untrusted client could pass this field off as Weir's or a proxy's. Some application
/// servers read `_` as `-`, so both count.
pub(crate) fn is_forgeable(name: &str) -> bool {
    match name.as_bytes() {
        [b'w', ..] => has_prefix(name, "weir-"),
        [b'x', ..] => has_prefix(name, "x-forwarded-") || is_same(name, "x-real-ip"),
        [b'f', ..] => name == "forwarded",
        _ => false,
    }
}

/// Says where a request came from. What a client could have forged is gone already.
pub(crate) fn forward(headers: &mut HeaderMap, origin: &Origin<'_>) {
    if matches!(origin.fields, Forwarded::Both | Forwarded::XForwarded) {
        forward_x(headers, origin);
    }
    if matches!(origin.fields, Forwarded::Both | Forwarded::Rfc7239) {
        rfc7239::forward(headers, origin);
    }
}

/// Sets `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
fn forward_x(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let keep = !origin.edge || origin.trusted;
    let Remote { address, text } = origin.remote;
    let known = keep && headers.contains_key(&FOR);
    if !known {
        // An application's own requests begin at its sidecar: nobody stands behind them.
        if origin.edge || !address.is_loopback() {
            headers.insert(FOR, text.clone());
        }
    } else if origin.edge {
        let chain = headers
            .get_all(&FOR)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let chain = chain.collect::<Vec<_>>().join(", ");
        insert(
            headers,
            FOR,
            HeaderValue::try_from(format!("{chain}, {address}")).ok(),
        );
    }
    if origin.edge && !(keep && headers.contains_key(&PROTO)) {
        let scheme = if origin.secure { "https" } else { "http" };
        headers.insert(PROTO, HeaderValue::from_static(scheme));
    }
    if origin.edge
        && !(keep && headers.contains_key(&HOST))
        && let Some(host) = &origin.host
    {
        headers.insert(HOST, host.clone());
    }
    if origin.edge && !(keep && headers.contains_key(&PORT)) {
        insert(headers, PORT, Some(port(origin)));
    }
}

/// The port that was asked for: a gateway behind a mapping of ports does not know another.
fn port(origin: &Origin<'_>) -> HeaderValue {
    let host = origin.host.as_ref().map_or(&b""[..], HeaderValue::as_bytes);
    let colon = host.iter().rposition(|byte| !byte.is_ascii_digit());
    let written = colon
        .filter(|at| host[*at] == b':' && *at > 0)
        .map(|at| &host[at + 1..])
        .filter(|digits| !digits.is_empty());
    let written = written.and_then(|digits| HeaderValue::from_bytes(digits).ok());
    written.unwrap_or(HeaderValue::from_static(match origin.secure {
        true => "443",
        false => "80",
    }))
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: Option<HeaderValue>) {
    if let Some(value) = value {
        headers.insert(name, value);
    }
}

fn is_same(name: &str, pattern: &str) -> bool {
    name.len() == pattern.len() && has_prefix(name, pattern)
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.len() >= prefix.len()
        && name
            .bytes()
            .zip(prefix.bytes())
            .all(|(have, want)| have == want || (have == b'_' && want == b'-'))
}

const FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const PORT: HeaderName = HeaderName::from_static("x-forwarded-port");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn forwarded(edge: bool, trusted: bool, fields: &[(&str, &str)]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name.parse::<HeaderName>().unwrap(), value.parse().unwrap());
        }
        let origin = Origin {
            remote: &Remote::from("192.0.2.7".parse::<IpAddr>().unwrap()),
            secure: true,
            host: Some(HeaderValue::from_static("shop.example")),
            edge,
            trusted,
            fields: Forwarded::XForwarded,
        };
        forward(&mut headers, &origin);
        let value = |(name, value): (&HeaderName, &HeaderValue)| {
            format!(
                "{}={}",
                name.as_str().trim_start_matches("x-forwarded-"),
                value.to_str().unwrap()
            )
        };
        let mut all: Vec<_> = headers.iter().map(value).collect();
        all.sort();
        all
    }

    #[test]
    fn edge_mesh_and_trusted_proxies() {
        let own = [
            "for=192.0.2.7",
            "host=shop.example",
            "port=443",
            "proto=https",
        ];
        assert_eq!(forwarded(true, false, &[]), own);
        let chain = [
            ("x-forwarded-for", "10.1.1.1"),
            ("x-forwarded-for", "10.2.2.2"),
        ];
        let kept = [
            "for=10.1.1.1, 10.2.2.2, 192.0.2.7",
            "host=shop.example",
            "port=443",
            "proto=https",
        ];
        assert_eq!(forwarded(true, true, &chain), kept);
        let proto = [
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "a.example"),
        ];
        assert_eq!(
            forwarded(true, true, &proto),
            ["for=192.0.2.7", "host=a.example", "port=443", "proto=http"]
        );
        assert_eq!(forwarded(false, false, &[]), ["for=192.0.2.7"]);
        assert_eq!(
            forwarded(false, false, &chain),
            ["for=10.1.1.1", "for=10.2.2.2"]
        );
    }

    #[test]
    fn addresses_as_proxies_write_them() {
        let table = [
            ("192.0.2.1", "192.0.2.1"),
            (" 192.0.2.1:4711 ", "192.0.2.1"),
            ("2001:db8::1", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            ("[2001:db8::1]:80", "2001:db8::1"),
            ("::ffff:192.0.2.1", "192.0.2.1"),
        ];
        for (text, expected) in table {
            assert_eq!(
                read(text.as_bytes()),
                Some(expected.parse().unwrap()),
                "{text}"
            );
        }
        for text in ["", "unknown", "_hidden", "1.2.3", "192.0.2.1, x"] {
            assert_eq!(read(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn the_port_is_that_of_the_host_or_the_scheme() {
        for (host, secure, expected) in [
            ("shop.example", false, "80"),
            ("shop.example", true, "443"),
            ("shop.example:8080", false, "8080"),
            ("[2001:db8::1]", false, "80"),
            ("[2001:db8::1]:81", false, "81"),
            ("192.0.2.1", true, "443"),
            ("shop.example:", true, "443"),
        ] {
            let origin = Origin {
                remote: &Remote::from("192.0.2.7".parse::<IpAddr>().unwrap()),
                secure,
                host: Some(HeaderValue::from_static(host)),
                edge: true,
                trusted: false,
                fields: Forwarded::XForwarded,
            };
            assert_eq!(port(&origin), expected, "{host}");
        }
    }

    #[test]
    fn forgeable_names_in_both_spellings() {
        for name in [
            "weir-reason",
            "weir_peer",
            "x-forwarded-for",
            "x_forwarded_for",
            "x-forwarded-prefix",
            "x-real-ip",
            "x_real_ip",
            "forwarded",
        ] {
            assert!(is_forgeable(name), "{name}");
        }
        for name in [
            "x-forwarded",
            "x-request-id",
            "weird",
            "accept",
            "x-real-ips",
        ] {
            assert!(!is_forgeable(name), "{name}");
        }
    }
}
