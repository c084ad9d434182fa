//! The host of a request: from the request target or the `Host` field, in one form.
//!
//! Two hosts in one request are how caches are poisoned and routes are bypassed, so a request with
//! more than one `Host`, or with one that contradicts its target, is refused.

use std::borrow::Cow;
use std::net::Ipv6Addr;

use http::{HeaderMap, Version, header};

use crate::refusal::{Code, Refusal};

/// Why a host was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum HostFault {
    /// `Host` says something else than the request target.
    #[error("`Host` differs from the host of the request target")]
    Disagrees,
    /// Not a host name, IPv4 address or bracketed IPv6 address with an optional port.
    #[error("it is not a host name or address with an optional port")]
    Malformed,
    /// HTTP/1.1 and later want one.
    #[error("the request names no host")]
    Missing,
    /// More than one `Host` field.
    #[error("the request has more than one `Host`")]
    Several,
}

impl From<HostFault> for Refusal {
    fn from(fault: HostFault) -> Refusal {
        let code = match fault {
            HostFault::Disagrees => Code::HostDisagrees,
            HostFault::Malformed | HostFault::Missing | HostFault::Several => Code::BadHost,
        };
        Refusal::new(code).with_detail(fault.to_string())
    }
}

/// A host without its port, in lower case and without a trailing dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host; IPv6 addresses in brackets.
    pub host: Cow<'a, str>,
    /// The port, where one was given.
    pub port: Option<u16>,
}

/// The host a request is for; `None` only before HTTP/1.1.
///
/// # Errors
/// Why the request cannot be believed.
pub fn of<'a>(
    authority: Option<&'a str>,
    headers: &'a HeaderMap,
    version: Version,
    secure: bool,
) -> Result<Option<Authority<'a>>, HostFault> {
    let mut fields = headers.get_all(header::HOST).iter();
    let field = fields.next();
    if fields.next().is_some() {
        return Err(HostFault::Several);
    }
    // RFC 9112, 3.2: whatever the target is, one `Host` stands in a request of HTTP/1.1.
    if version == Version::HTTP_11 && field.is_none() {
        return Err(HostFault::Missing);
    }
    let field = match field {
        // A bare `Host:` is what RFC 9112 wants beside a target without a host.
        Some(value) if value.is_empty() => None,
        Some(value) => Some(parse(value.to_str().map_err(|_| HostFault::Malformed)?)?),
        None => None,
    };
    let target = match authority {
        Some(text) if !text.is_empty() => Some(parse(text)?),
        _ => None,
    };
    match (target, field) {
        (Some(target), Some(field)) => {
            let default = if secure { 443 } else { 80 };
            let same_port = target.port.unwrap_or(default) == field.port.unwrap_or(default);
            if target.host == field.host && same_port {
                Ok(Some(target))
            } else {
                Err(HostFault::Disagrees)
            }
        }
        (Some(host), None) | (None, Some(host)) => Ok(Some(host)),
        (None, None) if version < Version::HTTP_11 => Ok(None),
        (None, None) => Err(HostFault::Missing),
    }
}

/// Takes `host[:port]` apart.
///
/// # Errors
/// It is not that.
pub fn parse(text: &str) -> Result<Authority<'_>, HostFault> {
    let (host, port) = split_port(text)?;
    if let Some(address) = host.strip_prefix('[') {
        let address = address.strip_suffix(']').ok_or(HostFault::Malformed)?;
        address
            .parse::<Ipv6Addr>()
            .map_err(|_| HostFault::Malformed)?;
        return Ok(Authority {
            host: lowercase(host),
            port,
        });
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if !is_name(name) {
        return Err(HostFault::Malformed);
    }
    Ok(Authority {
        host: lowercase(name),
        port,
    })
}

fn split_port(text: &str) -> Result<(&str, Option<u16>), HostFault> {
    // In `[::1]` the last colon belongs to the address.
    let bytes = text.as_bytes();
    let colon = bytes.iter().rposition(|byte| matches!(byte, b':' | b']'));
    let Some(colon) = colon.filter(|&at| bytes[at] == b':') else {
        return Ok((text, None));
    };
    let digits = &text[colon + 1..];
    if digits.is_empty() || digits.len() > 5 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(HostFault::Malformed);
    }
    let port = digits.parse().map_err(|_| HostFault::Malformed)?;
    Ok((&text[..colon], Some(port)))
}

/// Letters, digits, `-`, `_` (names in container networks have it) in non-empty labels.
fn is_name(name: &str) -> bool {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return false;
    }
    let (mut previous, mut fits) = (b'.', true);
    for byte in name.bytes() {
        fits &= NAME_BYTES[usize::from(byte)] & ((byte != b'.') | (previous != b'.'));
        previous = byte;
    }
    fits && previous != b'.'
}

fn lowercase(host: &str) -> Cow<'_, str> {
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// What a name is made of.
const NAME_BYTES: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte: u8 = 0;
    while byte < 0x80 {
        table[byte as usize] = byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        byte += 1;
    }
    table
};

/// Longest DNS name.
const NAME_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn host(
        authority: Option<&str>,
        fields: &[&str],
        version: Version,
    ) -> Result<String, HostFault> {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(header::HOST, field.parse().unwrap());
        }
        let found = of(authority, &headers, version, false)?;
        Ok(found
            .map(|authority| authority.host.into_owned())
            .unwrap_or_default())
    }

    #[test]
    fn one_form_of_a_host() {
        let table = [
            ("shop.example", "shop.example", None),
            ("Shop.EXAMPLE:8080", "shop.example", Some(8080)),
            ("shop.example.", "shop.example", None),
            ("shop.example.:80", "shop.example", Some(80)),
            ("order_service", "order_service", None),
            ("10.0.0.1:5000", "10.0.0.1", Some(5000)),
            ("[::1]", "[::1]", None),
            ("[2001:DB8::1]:443", "[2001:db8::1]", Some(443)),
        ];
        for (text, expected, port) in table {
            let parsed = parse(text).unwrap();
            assert_eq!(
                (parsed.host.as_ref(), parsed.port),
                (expected, port),
                "{text}"
            );
        }
        assert!(matches!(parse("a.b").unwrap().host, Cow::Borrowed(_)));
    }

    #[test]
    fn malformed_hosts_are_refused() {
        let long = "a".repeat(254);
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "a/b",
            "user@host",
            "a:",
            "a:b",
            "a:99999",
            "a:+80",
            "a:1:2",
            "::1",
            "[::1",
            "[nope]",
            "[::1]x",
            "a%2eb",
            "a,b",
            "h\u{e9}",
            "a\u{0}",
            &long,
        ] {
            assert_eq!(parse(text), Err(HostFault::Malformed), "{text:?}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let v11 = Version::HTTP_11;
        type Row = (
            Option<&'static str>,
            &'static [&'static str],
            Version,
            Expected,
        );
        type Expected = Result<&'static str, HostFault>;
        let table: [Row; 13] = [
            (None, &["a.example"], v11, Ok("a.example")),
            (Some("a.example"), &[], Version::HTTP_2, Ok("a.example")),
            (Some("a.example"), &[], v11, Err(HostFault::Missing)),
            (Some("a.example"), &[], Version::HTTP_10, Ok("a.example")),
            (Some("a.example"), &["A.example."], v11, Ok("a.example")),
            (Some("a.example:80"), &["a.example"], v11, Ok("a.example")),
            (
                Some("a.example:81"),
                &["a.example"],
                v11,
                Err(HostFault::Disagrees),
            ),
            (
                Some("a.example"),
                &["b.example"],
                v11,
                Err(HostFault::Disagrees),
            ),
            (
                None,
                &["a.example", "a.example"],
                v11,
                Err(HostFault::Several),
            ),
            (
                Some("a.example"),
                &["a.example", "b.example"],
                v11,
                Err(HostFault::Several),
            ),
            (None, &[], v11, Err(HostFault::Missing)),
            (None, &[""], v11, Err(HostFault::Missing)),
            (None, &[], Version::HTTP_10, Ok("")),
        ];
        for (authority, fields, version, expected) in table {
            assert_eq!(
                host(authority, fields, version)
                    .as_deref()
                    .map_err(|fault| *fault),
                expected,
                "{authority:?} {fields:?}"
            );
        }
    }
}
