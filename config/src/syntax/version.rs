//! How a version is asked for, and where there is more to read about one.

use http::{HeaderValue, Uri};

use super::text::Text;
use crate::decode::{Complaint, unknown};
use crate::shape::Accepts;
use crate::version::VersionBy;
use crate::yaml::excerpt;

/// Where a request says which version it wants.
pub(crate) fn version_by() -> Text<VersionBy> {
    Text {
        what: "where a version is named, such as `path.version` or `header.api-version`",
        pattern: Some("^(media_type|(header|path|query)\\..+)$"),
        accepts: Accepts::Text,
        parse: |text| match text.split_once('.') {
            None if text == "media_type" => Ok(VersionBy::MediaType),
            Some(("header", name)) => {
                (super::http::header_name().parse)(name).map(VersionBy::Header)
            }
            Some(("path", name)) if !name.is_empty() => Ok(VersionBy::Path(name.to_owned())),
            Some(("query", name)) if !name.is_empty() => Ok(VersionBy::Query(name.to_owned())),
            _ => Err(unknown(
                "place of a version",
                text,
                &["header.NAME", "media_type", "path.NAME", "query.NAME"],
            )),
        },
        write: VersionBy::to_string,
    }
}

/// A page that a `Link` field can lead to.
pub(crate) fn link() -> Text<String> {
    Text {
        what: "a URL such as `https://shop.example/api/changes`",
        pattern: Some("^(https?:/)?/[^\\s<>\"]+$"),
        accepts: Accepts::Text,
        parse: |text| {
            let plain = !text.contains(['<', '>', '"']) && HeaderValue::from_str(text).is_ok();
            let known = |uri: Uri| match uri.scheme_str() {
                Some("http" | "https") => uri.host().is_some(),
                None => text.starts_with('/') && !text.starts_with("//"),
                Some(_) => false,
            };
            if plain && text.parse().is_ok_and(known) {
                return Ok(text.to_owned());
            }
            let complaint = Complaint::new(format!("`{}` is not a link", excerpt(text)));
            Err(complaint.hint("write a URL with `https://`, or a path"))
        },
        write: String::clone,
    }
}
