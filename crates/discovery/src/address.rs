//! `host:port` taken apart.

/// Host (without brackets) and port of `host:port`; `None` when it is not that.
pub(crate) fn split_address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port != 0)?;
    let bare = match host.strip_prefix('[') {
        Some(rest) => {
            let inside = rest.strip_suffix(']')?;
            inside.parse::<std::net::Ipv6Addr>().ok()?;
            inside
        }
        None => host,
    };
    let named = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    let plain = host.starts_with('[') || bare.bytes().all(named);
    (plain && !bare.is_empty() && bare.len() <= 255).then_some((bare, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_split() {
        assert_eq!(
            split_address("users.internal:8080"),
            Some(("users.internal", 8080))
        );
        assert_eq!(
            split_address("[2001:db8::1]:443"),
            Some(("2001:db8::1", 443))
        );
        for text in [
            "a", ":80", "a:", "a:65536", "::1:80", "[::1:80", "[a]:80", "a b:80", "a:+1",
        ] {
            assert_eq!(split_address(text), None, "{text:?}");
        }
    }
}
