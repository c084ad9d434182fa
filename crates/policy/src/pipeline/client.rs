//! The client's address: the connection's other side, or what trusted proxies say was behind it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};

use crate::snapshot::Snapshot;

/// Walks `X-Forwarded-For` from the right while the address that vouches is trusted. The first
/// address that is not a trusted proxy is the client; what stands left of it is hearsay.
pub(super) fn client(snapshot: &Snapshot, remote: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = remote.to_canonical();
    if snapshot.trusted_proxies.is_empty() {
        return client;
    }
    let values = headers.get_all(FORWARDED_FOR).iter().rev();
    let mut hops = values.flat_map(|value| value.as_bytes().rsplit(|&byte| byte == b','));
    while snapshot.trusts(client) {
        let Some(hop) = hops.next().and_then(address) else {
            break;
        };
        client = hop;
    }
    client
}

/// An address with or without port, IPv6 with or without brackets.
fn address(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?.trim();
    let bare = text
        .strip_prefix('[')
        .and_then(|inside| inside.strip_suffix(']'))
        .unwrap_or(text);
    let plain = bare.parse::<IpAddr>().ok();
    let address = plain.or_else(|| text.parse::<SocketAddr>().ok().map(|socket| socket.ip()))?;
    Some(address.to_canonical())
}

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

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
                address(text.as_bytes()),
                Some(expected.parse().unwrap()),
                "{text}"
            );
        }
        for text in ["", "unknown", "_hidden", "1.2.3", "192.0.2.1, x"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
    }
}
