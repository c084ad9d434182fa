//! Claims, and what a limit is counted by.

use super::text::Text;
use crate::decode::{Complaint, unknown};
use crate::limit::LimitKey;
use crate::shape::Accepts;
use crate::yaml::excerpt;

/// The name of a claim; dots go into objects.
pub(crate) fn claim() -> Text<String> {
    Text {
        what: "a claim such as `sub` or `realm_access.roles`",
        pattern: Some("^[^.\\s]+(\\.[^.\\s]+)*$"),
        accepts: Accepts::Text,
        parse: |text| check_claim(text).map(|()| text.to_owned()),
        write: String::clone,
    }
}

fn check_claim(text: &str) -> Result<(), Complaint> {
    let good = text.split('.').all(|part| {
        !part.is_empty() && !part.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    // A claim that is named by a URL (as OpenID Connect allows) has dots that go nowhere; it
    // cannot be asked for.
    if good {
        return Ok(());
    }
    Err(
        Complaint::new(format!("`{}` is not the name of a claim", excerpt(text)))
            .hint("a claim is named like `sub`; dots go into objects: `realm_access.roles`"),
    )
}

/// What a limit is counted by.
pub(crate) fn limit_key() -> Text<LimitKey> {
    Text {
        what: "what to count by, such as `client` or `claim.sub`",
        pattern: Some("^(client|path|peer|route|(claim|cookie|header|query)\\..+)$"),
        accepts: Accepts::Text,
        parse: parse_limit_key,
        write: LimitKey::to_string,
    }
}

/// What of a request consistent hashing chooses by.
pub(crate) fn hash_key() -> Text<LimitKey> {
    Text {
        what: "a key of the request, such as `client` or `header.x-user`",
        pattern: Some("^(client|path|(claim|cookie|header|query)\\..+)$"),
        parse: |text| match text {
            "peer" | "route" => {
                let problem = format!("`{text}` does not tell requests apart here");
                Err(Complaint::new(problem).hint("choose by `client`, `path` or a header"))
            }
            _ => parse_limit_key(text),
        },
        ..limit_key()
    }
}

const KEYS: [&str; 8] = [
    "claim.NAME",
    "client",
    "cookie.NAME",
    "header.NAME",
    "path",
    "peer",
    "query.NAME",
    "route",
];

fn parse_limit_key(text: &str) -> Result<LimitKey, Complaint> {
    match text {
        "client" => return Ok(LimitKey::Client),
        "path" => return Ok(LimitKey::Path),
        "peer" => return Ok(LimitKey::Peer),
        "route" => return Ok(LimitKey::Route),
        _ => {}
    }
    if let Some(claim) = text.strip_prefix("claim.") {
        return check_claim(claim).map(|()| LimitKey::Claim(claim.to_owned()));
    }
    if let Some(header) = text.strip_prefix("header.") {
        let name = (super::http::header_name().parse)(header)?;
        return Ok(LimitKey::Header(name.as_str().to_owned()));
    }
    if let Some(cookie) = text.strip_prefix("cookie.") {
        return (super::http::cookie_name().parse)(cookie).map(LimitKey::Cookie);
    }
    if let Some(name) = text.strip_prefix("query.").filter(|name| !name.is_empty()) {
        return Ok(LimitKey::Query(name.to_owned()));
    }
    Err(unknown("key", text, &KEYS))
}
