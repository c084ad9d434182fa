//! `Forwarded` (RFC 7239): who asked, for which host, over what.

use std::fmt::Write as _;
use std::net::IpAddr;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderValue};

use super::forwarding::{Origin, read};

/// Adds the element of this hop, behind those of trusted proxies.
pub(super) fn forward(headers: &mut HeaderMap, origin: &Origin<'_>) {
    let keep = !origin.edge || origin.trusted;
    let remote = origin.remote.address;
    let known = keep && headers.contains_key(FORWARDED);
    // In the mesh it is the gateway's; an application's own requests begin at its sidecar.
    if !origin.edge && (known || remote.is_loopback()) {
        return;
    }
    let mut text = String::new();
    if known {
        let before = headers.get_all(FORWARDED).iter();
        for value in before.filter_map(|value| value.to_str().ok()) {
            text.push_str(value);
            text.push_str(", ");
        }
    }
    // Writing to a String cannot fail.
    let _ = match remote {
        IpAddr::V4(address) => write!(text, "for={address}"),
        IpAddr::V6(address) => write!(text, "for=\"[{address}]\""),
    };
    if origin.edge {
        let host = origin.host.as_ref().and_then(|host| host.to_str().ok());
        // A quote would end the value; hosts that have one are refused before.
        if let Some(host) = host.filter(|host| !host.contains(['"', '\\'])) {
            let _ = write!(text, ";host=\"{host}\"");
        }
        text.push_str(if origin.secure {
            ";proto=https"
        } else {
            ";proto=http"
        });
    }
    if let Ok(value) = HeaderValue::try_from(text) {
        headers.insert(FORWARDED, value);
    }
}

/// The addresses after `for=`, the last first; one that cannot be read is `None`.
pub(super) fn addresses(headers: &HeaderMap) -> impl Iterator<Item = Option<IpAddr>> + '_ {
    let values = headers.get_all(FORWARDED).iter().rev();
    values.flat_map(|value| {
        let elements = split(value.as_bytes(), b',');
        elements.into_iter().rev().map(|element| {
            let parameters = split(element, b';');
            let named = parameters.into_iter().find_map(|parameter| {
                let (name, address) = parameter.trim_ascii().split_at_checked(4)?;
                name.eq_ignore_ascii_case(b"for=").then_some(address)
            });
            read(unquoted(named?))
        })
    })
}

fn unquoted(text: &[u8]) -> &[u8] {
    let inside = text
        .strip_prefix(b"\"")
        .and_then(|text| text.strip_suffix(b"\""));
    inside.unwrap_or(text)
}

/// The parts between separators that stand outside of quotes.
fn split(text: &[u8], separator: u8) -> Vec<&[u8]> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|&byte| {
        let was_escaped = escaped;
        escaped = quoted && byte == b'\\' && !was_escaped;
        if byte == b'"' && !was_escaped {
            quoted = !quoted;
        }
        byte == separator && !quoted
    })
    .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::document::Forwarded;

    use super::super::forwarding::Remote;
    use super::*;

    /// What a hop adds that is `edge` and `trusted`, or not.
    fn forwarded(remote: &str, (edge, trusted): (bool, bool), before: &[&'static str]) -> String {
        let origin = Origin {
            remote: &Remote::from(remote.parse::<IpAddr>().unwrap()),
            secure: true,
            host: Some(HeaderValue::from_static("shop.example:8443")),
            edge,
            trusted,
            fields: Forwarded::Rfc7239,
        };
        let mut headers = HeaderMap::new();
        for value in before {
            headers.append(FORWARDED, HeaderValue::from_static(value));
        }
        forward(&mut headers, &origin);
        let value = headers.get(FORWARDED);
        value.map_or_else(String::new, |value| value.to_str().unwrap().to_owned())
    }

    #[test]
    fn an_element_for_each_hop() {
        let own = "for=192.0.2.7;host=\"shop.example:8443\";proto=https";
        let (edge, trusted, mesh) = ((true, false), (true, true), (false, false));
        assert_eq!(forwarded("192.0.2.7", edge, &[]), own);
        assert_eq!(
            forwarded("192.0.2.7", trusted, &["for=10.1.1.1", "for=10.2.2.2"]),
            format!("for=10.1.1.1, for=10.2.2.2, {own}")
        );
        assert_eq!(
            forwarded("2001:db8::1", edge, &[]),
            "for=\"[2001:db8::1]\";host=\"shop.example:8443\";proto=https"
        );
        assert_eq!(forwarded("192.0.2.7", mesh, &[]), "for=192.0.2.7");
        let known = forwarded("192.0.2.7", mesh, &["for=1.1.1.1"]);
        assert_eq!(known, "for=1.1.1.1");
        assert_eq!(forwarded("127.0.0.1", mesh, &[]), "");
    }

    #[test]
    fn addresses_are_read_from_the_right() {
        let mut headers = HeaderMap::new();
        for value in [
            "for=192.0.2.1;by=\"a,b;for=9.9.9.9\", For=\"[2001:db8::1]:80\"",
            "proto=http;for=_hidden, by=x, for=\"192.0.2.3:1\";host=\"a\\\",b\"",
        ] {
            headers.append(FORWARDED, HeaderValue::from_static(value));
        }
        let read: Vec<_> = addresses(&headers)
            .map(|address| address.map(|address| address.to_string()))
            .collect();
        let expected = [
            Some("192.0.2.3"),
            None,
            None,
            Some("2001:db8::1"),
            Some("192.0.2.1"),
        ];
        assert_eq!(read, expected.map(|address| address.map(str::to_owned)));
    }
}
