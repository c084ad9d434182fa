//! `Retry-After` (RFC 9110 §10.2.3) as a time to wait from now on.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use crate::moment::Moment;

/// How long the answer asks to wait; `None` where it does not say, or not in a way that the RFC
/// knows. A date that has passed asks for no wait.
#[must_use]
pub fn retry_after(headers: &HeaderMap, at: Moment) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than a number of seconds has: as good as never.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let since_epoch = date.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since_epoch.saturating_sub(Duration::from_secs(at.unix_seconds)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn seconds_and_dates_are_read_and_nothing_else() {
        let at = Moment {
            nanos: 0,
            // Sun, 06 Nov 1994 08:49:37 GMT.
            unix_seconds: 784_111_777,
        };
        for (text, expected) in [
            ("0", Some(0)),
            ("2", Some(2)),
            (" 120 ", Some(120)),
            ("99999999999999999999999", Some(u64::MAX)),
            ("Sun, 06 Nov 1994 08:49:40 GMT", Some(3)),
            ("Sun, 06 Nov 1994 08:49:30 GMT", Some(0)),
            ("Sunday, 06-Nov-94 08:49:40 GMT", Some(3)),
            ("-1", None),
            ("1.5", None),
            ("", None),
            ("soon", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, text.parse().unwrap());
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(&headers, at), expected, "{text:?}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), at), None);
    }
}
