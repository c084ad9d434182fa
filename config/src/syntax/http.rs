//! Methods, header names and values, statuses.

use http::{HeaderName, HeaderValue, Method};

use super::text::Text;
use crate::cors::OriginPattern;
use crate::decode::{Complaint, unknown};
use crate::shape::Accepts;
use crate::yaml::excerpt;

/// A method.
pub(crate) fn method() -> Text<Method> {
    Text {
        what: "a method such as `GET`",
        pattern: Some("^[A-Z][A-Z_-]{0,31}$"),
        accepts: Accepts::Text,
        parse: parse_method,
        write: Method::to_string,
    }
}

fn parse_method(text: &str) -> Result<Method, Complaint> {
    let upper = |c: char| c.is_ascii_uppercase() || c == '-' || c == '_';
    let good = text.starts_with(|c: char| c.is_ascii_uppercase())
        && text.chars().all(upper)
        && text.len() <= 32;
    // Methods are case-sensitive (RFC 9110 §9.1), so `get` would silently never match.
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if good => Ok(method),
        _ => Err(unknown(
            "method",
            &text.to_uppercase(),
            &[
                "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE",
            ],
        )
        .problem(format!(
            "`{}` is not a method; methods are upper case",
            excerpt(text)
        ))),
    }
}

/// A header name.
pub(crate) fn header_name() -> Text<HeaderName> {
    Text {
        what: "a header name such as `x-api-key`",
        pattern: Some("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        accepts: Accepts::Text,
        parse: parse_header_name,
        write: |name| name.as_str().to_owned(),
    }
}

fn parse_header_name(text: &str) -> Result<HeaderName, Complaint> {
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| {
        Complaint::new(format!("`{}` is not a header name", excerpt(text)))
            .hint("a header name has letters, digits and `-`")
    })
}

/// The name of a cookie: a token, in the case that the client sends (RFC 6265 section 4.1.1).
pub(crate) fn cookie_name() -> Text<String> {
    Text {
        what: "a cookie name such as `session`",
        pattern: Some("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$"),
        accepts: Accepts::Text,
        parse: |text| {
            let inside = |byte: u8| byte.is_ascii_alphanumeric() || TOKEN.contains(&byte);
            if !text.is_empty() && text.bytes().all(inside) {
                return Ok(text.to_owned());
            }
            let complaint = Complaint::new(format!("`{}` is not a cookie name", excerpt(text)));
            Err(complaint.hint("a cookie name has letters, digits, `-` and `_`"))
        },
        write: String::clone,
    }
}

/// What a token may have beside letters and digits (RFC 9110 section 5.6.2).
const TOKEN: &[u8] = b"!#$%&'*+-.^_`|~";

/// A header that a route may change: not those by which the message itself is framed and routed.
pub(crate) fn changeable_header() -> Text<HeaderName> {
    Text {
        parse: |text| {
            let name = parse_header_name(text)?;
            let fixed = |hint: &str| {
                Complaint::new(format!("the header `{name}` cannot be changed")).hint(hint)
            };
            match name.as_str() {
                "host" => Err(fixed("write `rewrite: { host: … }`")),
                "connection" | "content-length" | "keep-alive" | "proxy-connection" | "te"
                | "trailer" | "transfer-encoding" | "upgrade" => Err(fixed(
                    "it frames the message and belongs to each connection alone",
                )),
                _ => Ok(name),
            }
        },
        ..header_name()
    }
}

/// The content type of a fixed answer.
pub(crate) fn content_type() -> Text<String> {
    Text {
        what: "a content type such as `application/json`",
        pattern: Some("^[^/\\s]+/[^/\\s]+.*$"),
        accepts: Accepts::Text,
        parse: |text| {
            let outside = |c: char| c.is_whitespace() || c == '/';
            let good = text.split_once('/').is_some_and(|(kind, rest)| {
                !kind.is_empty()
                    && !kind.contains(outside)
                    && rest.starts_with(|c: char| !outside(c))
            });
            if good && HeaderValue::from_str(text).is_ok() {
                return Ok(text.to_owned());
            }
            Err(
                Complaint::new(format!("`{}` is not a content type", excerpt(text)))
                    .hint("write one such as `text/plain; charset=utf-8`"),
            )
        },
        write: String::clone,
    }
}

/// A media type, or all with a beginning (`text/*`) or a suffix (`application/*+json`).
pub(crate) fn media_range() -> Text<String> {
    Text {
        what: "a media type such as `text/html`, `text/*` or `application/*+json`",
        pattern: Some("^[a-z0-9.+-]+/(\\*|(\\*\\+)?[a-z0-9.+-]+)$"),
        accepts: Accepts::Text,
        parse: |text| {
            let word = |text: &str| {
                let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
                !text.is_empty() && text.chars().all(|c| inside(c) || ".+-".contains(c))
            };
            let good = text.split_once('/').is_some_and(|(kind, rest)| {
                word(kind) && (rest == "*" || word(rest.strip_prefix("*+").unwrap_or(rest)))
            });
            if good {
                return Ok(text.to_owned());
            }
            Err(
                Complaint::new(format!("`{}` is not a media type", excerpt(text)))
                    .hint("write one in lower case and without parameters, such as `text/html`"),
            )
        },
        write: String::clone,
    }
}

/// An origin of the web, one with all below a domain (`https://*.shop.example`), or `*`.
pub(crate) fn origin() -> Text<OriginPattern> {
    Text {
        what: "an origin such as `https://shop.example`, `https://*.shop.example` or `*`",
        pattern: Some("^(\\*|https?://(\\*\\.)?[a-z0-9._-]+(:[0-9]{1,5})?)$"),
        accepts: Accepts::Text,
        parse: |text| {
            if text == "*" {
                return Ok(OriginPattern::Any);
            }
            let complaint = |hint: &str| {
                Complaint::new(format!("`{}` is not an origin", excerpt(text))).hint(hint)
            };
            let shape = "scheme, host and, where it is unusual, port, in lower case and without a \
                         path: `https://shop.example`";
            let (scheme, rest) = text
                .split_at_checked(text.find("://").map_or(0, |at| at + 3))
                .unwrap_or(("", text));
            let own_port = match scheme {
                "http://" => "80",
                "https://" => "443",
                _ => return Err(complaint(shape)),
            };
            let host = rest.strip_prefix("*.").unwrap_or(rest);
            let (name, port) = match host.split_once(':') {
                Some((name, port)) => (name, Some(port)),
                None => (host, None),
            };
            let inside = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            let is_name = !name.is_empty() && name.chars().all(|c| inside(c) || "._-".contains(c));
            let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0));
            if !is_name || !is_port {
                return Err(complaint(shape));
            }
            if port == Some(own_port) {
                return Err(complaint(
                    "browsers leave out the port that is the scheme's own",
                ));
            }
            Ok(match rest.strip_prefix('*') {
                Some(suffix) => OriginPattern::Below {
                    scheme: scheme.to_owned(),
                    suffix: suffix.to_owned(),
                },
                None => OriginPattern::Exact(text.to_owned()),
            })
        },
        write: |origin| match origin {
            OriginPattern::Any => "*".to_owned(),
            OriginPattern::Exact(origin) => origin.clone(),
            OriginPattern::Below { scheme, suffix } => format!("{scheme}*{suffix}"),
        },
    }
}

/// The scheme of a redirect.
pub(crate) fn scheme() -> Text<String> {
    Text {
        what: "`http` or `https`",
        pattern: Some("^https?$"),
        accepts: Accepts::Text,
        parse: |text| match text {
            "http" | "https" => Ok(text.to_owned()),
            _ => Err(
                Complaint::new(format!("`{}` is not a scheme", excerpt(text)))
                    .hint("write `http` or `https`"),
            ),
        },
        write: String::clone,
    }
}
