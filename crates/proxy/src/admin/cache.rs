//! The response cache in the admin server: what it holds, and purging.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Map, json as object};
use weir_policy::cache::key_of_url;
use weir_process::admin::problem;

use super::{Shown, ok};
use crate::cache::Purge;

/// What a purge names: exactly one of these.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    #[serde(default)]
    all: bool,
    prefix: Option<String>,
    tag: Option<String>,
    url: Option<String>,
}

pub(super) fn show(shown: &Shown, _request: &Request<Bytes>) -> Response<Bytes> {
    let stats = shown.engine.cache().stats();
    let requests = stats.requests.into_iter();
    let requests: Map<_, _> = requests
        .map(|(outcome, count)| (outcome.to_owned(), count.into()))
        .collect();
    ok(&object!({
        "bytes_max": stats.bytes_max,
        "bytes": stats.bytes,
        "urls": stats.urls,
        "requests": requests,
    }))
}

pub(super) fn purge(shown: &Shown, request: &Request<Bytes>) -> Response<Bytes> {
    match read(request.body()) {
        Ok(purge) => {
            let purged = shown.engine.cache().purge(&purge);
            tracing::info!(by = purge.kind(), purged, "response cache purged");
            ok(&object!({ "purged": purged }))
        }
        Err(detail) => problem(StatusCode::BAD_REQUEST, "nothing was purged", &detail),
    }
}

fn read(body: &[u8]) -> Result<Purge, String> {
    let named: Named = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let key = |url: &str| {
        let hint = "write it with scheme, host and path, as clients do: `http://shop.example/a`";
        key_of_url(url).ok_or_else(|| format!("`{url}` is not a URL; {hint}"))
    };
    match (named.all, named.url, named.prefix, named.tag) {
        (true, None, None, None) => Ok(Purge::All),
        (false, Some(url), None, None) => Ok(Purge::Url(key(&url)?)),
        (false, None, Some(prefix), None) => Ok(Purge::Prefix(key(&prefix)?)),
        (false, None, None, Some(tag)) => Ok(Purge::Tag(tag)),
        _ => Err("name exactly one of `url`, `prefix`, `tag` and `all: true`".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_exactly_one_name() {
        for (body, expected) in [
            (r#"{"all": true}"#, Some(Purge::All)),
            (
                r#"{"url": "http://A.b:80/x/../y?q"}"#,
                Some(Purge::Url("http://a.b/y?q".into())),
            ),
            (
                r#"{"prefix": "https://a.b"}"#,
                Some(Purge::Prefix("https://a.b/".into())),
            ),
            (r#"{"tag": "t"}"#, Some(Purge::Tag("t".into()))),
            (r#"{"all": false}"#, None),
            (r#"{"tag": "t", "all": true}"#, None),
            (r#"{"url": "/x"}"#, None),
            (r#"{"urls": []}"#, None),
            ("", None),
        ] {
            assert_eq!(read(body.as_bytes()).ok(), expected, "{body}");
        }
    }
}
