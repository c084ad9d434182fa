//! Hosts of a client: from the request target, from `Host`, or from both. What is accepted has one
//! form, is read again as itself, and never hides a second host.
#![no_main]

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version};
use libfuzzer_sys::fuzz_target;
use weir_policy::route::host::{of, parse};

fuzz_target!(|data: (&str, Option<&[u8]>, Option<&[u8]>)| {
    let (text, first, second) = data;
    if let Ok(authority) = parse(text) {
        let host = authority.host.to_string();
        assert_eq!(host, host.to_ascii_lowercase(), "of {text:?}");
        assert!(
            !host.is_empty() && !host.ends_with('.'),
            "{host:?} of {text:?}"
        );
        assert!(
            !host.contains(['/', '@', '?', '#', '%', ' ', ',']),
            "{host:?} of {text:?}"
        );
        let again = parse(&host).expect("an accepted host is a host");
        assert_eq!((&*again.host, again.port), (&*host, None), "of {text:?}");
    }
    let mut headers = HeaderMap::new();
    for value in [first, second].into_iter().flatten() {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            headers.append(HOST, value);
        }
    }
    for (version, secure) in [(Version::HTTP_10, false), (Version::HTTP_11, true)] {
        let found = of(Some(text), &headers, version, secure);
        if headers.get_all(HOST).iter().count() > 1 {
            assert!(found.is_err(), "two hosts: {headers:?}");
        }
        if let Ok(None) = found {
            assert!(version < Version::HTTP_11, "a host is missing: {headers:?}");
        }
    }
});
