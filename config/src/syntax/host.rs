//! Hosts and addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use super::text::Text;
use crate::decode::Complaint;
use crate::pattern::HostPattern;
use crate::shape::Accepts;
use crate::yaml::excerpt;

/// A pattern of hosts.
pub(crate) fn host_pattern() -> Text<HostPattern> {
    Text {
        what: "a host such as `shop.example` or `*.shop.example`",
        pattern: Some("^(\\*|(\\*\\.)?[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])$"),
        accepts: Accepts::Text,
        parse: parse_host_pattern,
        write: HostPattern::to_string,
    }
}

fn parse_host_pattern(text: &str) -> Result<HostPattern, Complaint> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    // Hosts are compared without regard to case, so there is one way to hold them.
    let host = text.to_ascii_lowercase();
    if let Some(suffix) = host.strip_prefix("*.") {
        check_dns_name(suffix).map_err(|rule| not_a_host(text, rule))?;
        return Ok(HostPattern::Suffix(suffix.to_owned()));
    }
    check_host_alone(&host).map_err(|rule| not_a_host(text, rule))?;
    Ok(HostPattern::Exact(host))
}

fn check_host_alone(host: &str) -> Result<(), &'static str> {
    match check_host(host) {
        Err(_) if host_and_port(host).is_ok() => Err("write it without the port"),
        result => result,
    }
}

fn not_a_host(text: &str, rule: &str) -> Complaint {
    Complaint::new(format!("`{}` is not a host", excerpt(text))).hint(rule)
}

/// A host name alone, for TLS.
pub(crate) fn host_name() -> Text<String> {
    Text {
        what: "a host such as `shop.example`",
        pattern: Some("^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])$"),
        accepts: Accepts::Text,
        parse: |text| {
            let host = text.to_ascii_lowercase();
            check_host_alone(&host).map_err(|rule| not_a_host(text, rule))?;
            Ok(host)
        },
        write: String::clone,
    }
}

/// A host with or without a port, as in the `Host` header.
pub(crate) fn authority() -> Text<String> {
    Text {
        what: "a host such as `shop.example` or `shop.example:8443`",
        pattern: Some("^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(:[0-9]{1,5})?$"),
        accepts: Accepts::Text,
        parse: |text| {
            let host = text.to_ascii_lowercase();
            match host_and_port(&host) {
                Ok(()) => Ok(host),
                Err(_) => match check_host(&host) {
                    Ok(()) => Ok(host),
                    Err(rule) => Err(not_a_host(text, rule)),
                },
            }
        },
        write: String::clone,
    }
}

/// `host:port`.
pub(crate) fn host_port() -> Text<String> {
    Text {
        what: "an address such as `10.0.0.5:5000` or `users.internal:5000`",
        pattern: Some("^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"),
        accepts: Accepts::Text,
        parse: |text| {
            let address = text.to_ascii_lowercase();
            match host_and_port(&address) {
                Ok(()) => Ok(address),
                Err(rule) => Err(Complaint::new(format!(
                    "`{}` is not an address with a port",
                    excerpt(text)
                ))
                .hint(rule)),
            }
        },
        write: String::clone,
    }
}

/// `host:port` to look up; a dot behind the host keeps search domains out.
pub(crate) fn dns_address() -> Text<String> {
    Text {
        what: "an address such as `users.internal:5000`",
        pattern: Some("^([A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]{1,5}$"),
        accepts: Accepts::Text,
        parse: |text| {
            let address = text.to_ascii_lowercase();
            let relative = address.replacen(".:", ":", 1);
            match host_and_port(&relative) {
                Ok(()) => Ok(address),
                Err(_) if address.starts_with('_') && !address.contains(':') => {
                    let problem = format!("`{}` has no port", excerpt(text));
                    let hint = format!("SRV records tell it: write `dns: {{ srv: {address} }}`");
                    Err(Complaint::new(problem).hint(hint))
                }
                Err(rule) => {
                    let problem = format!("`{}` is not an address with a port", excerpt(text));
                    Err(Complaint::new(problem).hint(rule))
                }
            }
        },
        write: String::clone,
    }
}

/// A name that has SRV records; a dot at the end keeps search domains out.
pub(crate) fn srv_name() -> Text<String> {
    Text {
        what: "a name such as `_http._tcp.users.internal`",
        pattern: Some("^[A-Za-z0-9._-]+$"),
        accepts: Accepts::Text,
        parse: |text| {
            let name = text.to_ascii_lowercase();
            let relative = name.strip_suffix('.').unwrap_or(&name);
            let rule = match check_dns_name(relative) {
                Ok(()) if relative.parse::<IpAddr>().is_ok() => "an IP address has no SRV records",
                Ok(()) => return Ok(name),
                Err(_) if host_and_port(relative).is_ok() => {
                    "SRV records tell the port: write the name without it"
                }
                Err(rule) => rule,
            };
            let problem = format!("`{}` is not a name with SRV records", excerpt(text));
            Err(Complaint::new(problem).hint(rule))
        },
        write: String::clone,
    }
}

/// Address and port of a name server.
pub(crate) fn name_server() -> Text<SocketAddr> {
    Text {
        what: "a name server such as `127.0.0.1:8600`",
        pattern: Some("^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5}$"),
        accepts: Accepts::Text,
        parse: |text| {
            let hint = match text.parse::<SocketAddr>() {
                Ok(address) if address.port() == 0 => PORT_RULE,
                Ok(address) => return Ok(address),
                Err(_) if text.parse::<IpAddr>().is_ok() => {
                    "add the port, 53 for most: `10.0.0.2:53` or `[2001:db8::2]:53`"
                }
                Err(_) => "write an IP address with a port such as `127.0.0.1:8600`",
            };
            let problem = format!("`{}` is not a name server", excerpt(text));
            Err(Complaint::new(problem).hint(hint))
        },
        write: SocketAddr::to_string,
    }
}

/// Address and port to listen on.
pub(crate) fn socket_address() -> Text<SocketAddr> {
    Text {
        what: "an address such as `0.0.0.0:8080`",
        pattern: Some("^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]{1,5}$"),
        accepts: Accepts::Text,
        parse: |text| {
            text.parse().map_err(|_| {
                Complaint::new(format!(
                    "`{}` is not an IP address with a port",
                    excerpt(text)
                ))
                .hint("write an address such as `0.0.0.0:8080`, `127.0.0.1:8080` or `[::]:8080`")
            })
        },
        write: SocketAddr::to_string,
    }
}

/// A network, or one address.
pub(crate) fn network() -> Text<IpNet> {
    Text {
        what: "a network such as `10.0.0.0/8`",
        pattern: Some("^[0-9A-Fa-f.:]+(/[0-9]{1,3})?$"),
        accepts: Accepts::Text,
        parse: parse_network,
        write: IpNet::to_string,
    }
}

fn parse_network(text: &str) -> Result<IpNet, Complaint> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let network: IpNet = text.parse().map_err(|_| {
        Complaint::new(format!("`{}` is not a network", excerpt(text)))
            .hint("write a network such as `10.0.0.0/8` or `fd00::/8`, or one address")
    })?;
    if network.trunc() != network {
        let problem = format!("`{}` has bits set outside its mask", excerpt(text));
        return Err(Complaint::new(problem).hint(format!("did you mean `{}`?", network.trunc())));
    }
    Ok(network)
}

/// A URL of signing keys: `https`, or `http` where nobody can be in between.
pub(crate) fn key_url() -> Text<String> {
    Text {
        what: "a URL such as `https://id.example/jwks.json`",
        pattern: Some("^https?://"),
        accepts: Accepts::Text,
        parse: parse_key_url,
        write: String::clone,
    }
}

fn parse_key_url(text: &str) -> Result<String, Complaint> {
    let bad = |hint: &str| {
        Complaint::new(format!(
            "`{}` is not a URL to fetch keys from",
            excerpt(text)
        ))
        .hint(hint)
    };
    let url: http::Uri = text
        .parse()
        .map_err(|_| bad("write a URL such as `https://id.example/jwks.json`"))?;
    let Some(authority) = url.authority() else {
        return Err(bad(
            "write a whole URL such as `https://id.example/jwks.json`",
        ));
    };
    if authority.as_str().contains('@') {
        // Errors are logged and stored; a password must not be.
        return Err(
            Complaint::new("the URL holds credentials").hint("keys are public: fetch them without")
        );
    }
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    match scheme {
        Some("https") => Ok(text.to_owned()),
        Some("http") if is_loopback(authority.host()) => Ok(text.to_owned()),
        Some("http") => Err(bad(
            "use `https`: who can change the keys can sign tokens (`http` on loopback only)",
        )),
        _ => Err(bad(
            "write a whole URL such as `https://id.example/jwks.json`",
        )),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A SPIFFE id.
pub(crate) fn spiffe_id() -> Text<String> {
    Text {
        what: "a SPIFFE id such as `spiffe://weir.internal/service/orders`",
        pattern: Some("^spiffe://[a-z0-9._-]+/[A-Za-z0-9._/-]+$"),
        accepts: Accepts::Text,
        parse: |text| {
            let parts = text
                .strip_prefix("spiffe://")
                .and_then(|rest| rest.split_once('/'));
            let good = parts.is_some_and(|(domain, path)| {
                check_dns_name(domain).is_ok()
                    && !domain.contains(|c: char| c.is_ascii_uppercase())
                    && path.split('/').all(|segment| {
                        !matches!(segment, "" | "." | "..")
                            && segment
                                .chars()
                                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
                    })
            });
            if good {
                return Ok(text.to_owned());
            }
            Err(
                Complaint::new(format!("`{}` is not a SPIFFE id", excerpt(text)))
                    .hint("write one such as `spiffe://weir.internal/service/orders`"),
            )
        },
        write: String::clone,
    }
}

/// Whether a lowercase text is a host and a port; the rule that it breaks if not.
fn host_and_port(text: &str) -> Result<(), &'static str> {
    const RULE: &str = "write `host:port`, IPv6 addresses in brackets: `[::1]:8080`";
    let (host, port) = text.rsplit_once(':').ok_or(RULE)?;
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    let port: u16 = if digits {
        port.parse().map_err(|_| PORT_RULE)?
    } else {
        return Err(RULE);
    };
    if port == 0 {
        return Err(PORT_RULE);
    }
    check_host(host)
}

const PORT_RULE: &str = "a port is a number from 1 to 65535";

/// Whether a lowercase text is an IP address (IPv6 in brackets) or a DNS name.
fn check_host(text: &str) -> Result<(), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let address = rest
            .strip_suffix(']')
            .ok_or("the bracket of the IPv6 address is open")?;
        return match address.parse::<Ipv6Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("what stands in brackets is an IPv6 address"),
        };
    }
    // Digits and dots alone look like an address to everybody, so they have to be one.
    if text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return match text.parse::<Ipv4Addr>() {
            Ok(_) => Ok(()),
            Err(_) => Err("an IPv4 address has four numbers from 0 to 255"),
        };
    }
    check_dns_name(text)
}

fn check_dns_name(text: &str) -> Result<(), &'static str> {
    let label_is_good = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    if text.contains("://") {
        return Err("write the host without `http://` or `https://`");
    }
    if text.contains('*') {
        return Err("`*` stands alone or as the whole first label: `*.shop.example`");
    }
    if text.len() <= 253 && text.split('.').all(label_is_good) {
        return Ok(());
    }
    Err("a host has labels of a-z, 0-9 and `-` with dots between; international names in punycode")
}
