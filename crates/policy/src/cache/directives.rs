//! `Cache-Control` of requests and responses, and `CDN-Cache-Control`, read as RFC 9110 section 5.6
//! writes lists: quoted strings are one value, names are in any case, what is malformed says
//! nothing good.

use http::HeaderMap;
use http::header::{CACHE_CONTROL, PRAGMA};

/// What a response says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Response {
    pub(super) max_age: Option<u64>,
    pub(super) s_maxage: Option<u64>,
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    pub(super) private: bool,
    pub(super) public: bool,
    pub(super) must_revalidate: bool,
    pub(super) proxy_revalidate: bool,
    pub(super) must_understand: bool,
    pub(super) stale_while_revalidate: Option<u64>,
    pub(super) stale_if_error: Option<u64>,
    /// It was said to caches like this one (RFC 9213), so `Expires` does not count either.
    pub(super) targeted: bool,
}

impl Response {
    pub(super) fn of(headers: &HeaderMap) -> Response {
        let targeted = headers.get_all(CDN_CACHE_CONTROL).iter();
        let targeted: Option<Vec<&str>> = targeted.map(|value| value.to_str().ok()).collect();
        let targeted = targeted.filter(|lines| !lines.is_empty()).map(|lines| {
            let text = lines.join(",");
            (is_dictionary(&text)).then(|| Response::read([text.as_str()]))
        });
        let targeted = targeted.flatten().or_else(|| Response::surrogate(headers));
        if let Some(said) = targeted {
            return Response {
                targeted: true,
                ..said
            };
        }
        let lines = headers.get_all(CACHE_CONTROL).iter();
        Response::read(lines.filter_map(|value| value.to_str().ok()))
    }

    /// `Surrogate-Control`, which `CDN-Cache-Control` replaces: what says something about storing,
    /// to no surrogate in particular.
    fn surrogate(headers: &HeaderMap) -> Option<Response> {
        let lines = headers.get_all(SURROGATE_CONTROL).iter();
        let lines: Vec<&str> = lines.filter_map(|value| value.to_str().ok()).collect();
        let members = lines.iter().flat_map(|line| split_unquoted(line));
        let said = Response::read(members.filter(|member| !member.contains(';')));
        (said.max_age.is_some() || said.no_store).then_some(said)
    }

    fn read<'a>(lines: impl IntoIterator<Item = &'a str>) -> Response {
        let mut said = Response::default();
        each(lines, |name, value| match name {
            "max-age" => shorter(&mut said.max_age, value),
            "s-maxage" => shorter(&mut said.s_maxage, value),
            // With field names they forbid only those; a cache may take that for all.
            "no-cache" => said.no_cache = true,
            "private" => said.private = true,
            "no-store" => said.no_store = true,
            "public" => said.public = true,
            "must-revalidate" => said.must_revalidate = true,
            "proxy-revalidate" => said.proxy_revalidate = true,
            "must-understand" => said.must_understand = true,
            "stale-while-revalidate" => shorter(&mut said.stale_while_revalidate, value),
            "stale-if-error" => shorter(&mut said.stale_if_error, value),
            _ => {}
        });
        said
    }
}

/// What a request says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) max_age: Option<u64>,
    pub(super) min_fresh: Option<u64>,
    /// Any staleness is `u64::MAX`.
    pub(super) max_stale: Option<u64>,
    pub(super) no_cache: bool,
    pub(super) no_store: bool,
    pub(super) only_if_cached: bool,
    pub(super) stale_if_error: Option<u64>,
}

impl Request {
    pub(super) fn of(headers: &HeaderMap) -> Request {
        let mut said = Request::default();
        let mut lines = headers.get_all(CACHE_CONTROL).iter().peekable();
        if lines.peek().is_none() {
            let pragma = headers.get_all(PRAGMA).iter();
            let pragma = pragma.filter_map(|value| value.to_str().ok());
            each(pragma, |name, _| said.no_cache |= name == "no-cache");
            return said;
        }
        let lines = lines.filter_map(|value| value.to_str().ok());
        each(lines, |name, value| match name {
            "max-age" => shorter(&mut said.max_age, value),
            "min-fresh" => said.min_fresh = Some(value.map_or(0, seconds)),
            "max-stale" => said.max_stale = Some(value.map_or(u64::MAX, seconds)),
            "no-cache" => said.no_cache = true,
            "no-store" => said.no_store = true,
            "only-if-cached" => said.only_if_cached = true,
            "stale-if-error" => said.stale_if_error = Some(value.map_or(0, seconds)),
            _ => {}
        });
        said
    }
}

/// Of two values the shorter time counts; what is no number is no time at all.
fn shorter(known: &mut Option<u64>, value: Option<&str>) {
    let said = value.map_or(0, seconds);
    *known = Some(known.map_or(said, |known| known.min(said)));
}

/// RFC 9111 section 1.2.2: digits; more than can be counted is a very long time.
pub(super) fn seconds(text: &str) -> u64 {
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return 0;
    }
    text.parse().unwrap_or(u64::MAX).min(SECONDS_MAX)
}

/// Calls `directive` with each name in lower case and its value without quotes.
fn each<'a>(
    lines: impl IntoIterator<Item = &'a str>,
    mut directive: impl FnMut(&str, Option<&str>),
) {
    for line in lines {
        for part in split_unquoted(line) {
            let part = part.trim_matches([' ', '\t']);
            if part.is_empty() {
                continue;
            }
            let (name, value) = match part.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (part, None),
            };
            let value = value.map(|value| {
                let quoted = value.strip_prefix('"');
                quoted
                    .and_then(|value| value.strip_suffix('"'))
                    .unwrap_or(value)
            });
            directive(&name.to_ascii_lowercase(), value);
        }
    }
}

/// The members of a list; commas in quoted strings do not part them.
pub(super) fn split_unquoted(text: &str) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |character| {
        if escaped {
            escaped = false;
            return false;
        }
        match character {
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' => return !quoted,
            _ => {}
        }
        false
    })
}

/// Whether a text is a dictionary of RFC 8941 as far as caching needs one: keys in lower case, each
/// with nothing, a token, a number or a string. What is not one must be ignored as a whole.
fn is_dictionary(text: &str) -> bool {
    split_unquoted(text).all(|member| {
        let member = member.trim_matches([' ', '\t']);
        let member = member.split(';').next().unwrap_or_default();
        let (key, value) = match member.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (member, None),
        };
        let key_is_good = key.starts_with(|first: char| first.is_ascii_lowercase() || first == '*')
            && key.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-.*".contains(&byte)
            });
        let value_is_good = value.is_none_or(|value| {
            let inner = value.strip_prefix('"').map(|rest| rest.strip_suffix('"'));
            match inner {
                Some(inner) => inner.is_some(),
                None => !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic()),
            }
        });
        key_is_good && value_is_good
    })
}

/// Times are cut here, so that sums of them cannot overflow: 2^31 seconds, as RFC 9111 says.
const SECONDS_MAX: u64 = 1 << 31;
const CDN_CACHE_CONTROL: &str = "cdn-cache-control";
const SURROGATE_CONTROL: &str = "surrogate-control";

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn response(lines: &[&str]) -> Response {
        Response::read(lines.iter().copied())
    }

    #[test]
    fn reads_directives_as_lists_are_written() {
        let said = response(&["No-Store, MAX-AGE=5", "s-maxage=\"7\""]);
        assert!(said.no_store);
        assert_eq!((said.max_age, said.s_maxage), (Some(5), Some(7)));
        let said = response(&["a=\"max-age=3600, private\", max-age=1"]);
        assert_eq!((said.max_age, said.private), (Some(1), false));
        let said = response(&["a=\"\\\"max-age=9\", max-age=2"]);
        assert_eq!(said.max_age, Some(2));
    }

    #[test]
    fn what_is_no_number_is_no_time() {
        for (text, seconds) in [
            ("max-age=", 0),
            ("max-age", 0),
            ("max-age=-1", 0),
            ("max-age='5'", 0),
            ("max-age=1.5", 0),
            ("max-age=003", 3),
            ("max-age=99999999999999999999999", SECONDS_MAX),
            ("max-age=5, max-age=1", 1),
        ] {
            assert_eq!(response(&[text]).max_age, Some(seconds), "{text}");
        }
    }

    #[test]
    fn a_targeted_field_is_a_dictionary_or_nothing() {
        let mut headers = HeaderMap::new();
        headers.insert("cache-control", "max-age=1".parse().unwrap());
        headers.insert(CDN_CACHE_CONTROL, "max-age=9".parse().unwrap());
        let said = Response::of(&headers);
        assert_eq!((said.max_age, said.targeted), (Some(9), true));
        for bad in ["max-age=9,", "Max-Age=9", "max-age=", "a=\"b", "max age=3"] {
            headers.insert(CDN_CACHE_CONTROL, bad.parse().unwrap());
            let said = Response::of(&headers);
            assert_eq!((said.max_age, said.targeted), (Some(1), false), "{bad}");
        }
    }

    #[test]
    fn pragma_counts_only_without_cache_control() {
        let mut headers = HeaderMap::new();
        headers.insert("pragma", "no-cache".parse().unwrap());
        assert!(Request::of(&headers).no_cache);
        headers.insert("cache-control", "max-stale, min-fresh=4".parse().unwrap());
        let said = Request::of(&headers);
        assert!(!said.no_cache);
        assert_eq!((said.max_stale, said.min_fresh), (Some(u64::MAX), Some(4)));
    }
}
