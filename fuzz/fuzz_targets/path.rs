//! Paths of a client: what is accepted is in one form, and normalising it again changes nothing.
//! A path without escapes or dots means what it said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_policy::route::path::{Rules, normalise};

fuzz_target!(|raw: &str| {
    for rules in [Rules::MESH, Rules::EDGE] {
        let Ok(path) = normalise(raw, rules) else {
            continue;
        };
        assert!(path.starts_with('/') && path.is_ascii(), "{path:?}");
        assert_eq!(normalise(&path, rules).as_deref(), Ok(&*path), "of {raw:?}");
        let lower = path.to_ascii_lowercase();
        for gone in [
            "/../", "/./", "%2e", "%2f", "%5c", "%00", "\\", "?", "#", " ",
        ] {
            assert!(!lower.contains(gone), "{gone} in {path:?} of {raw:?}");
        }
        assert!(
            !path.ends_with("/..") && !path.ends_with("/."),
            "{path:?} of {raw:?}"
        );
        assert!(
            rules == Rules::MESH || !path.contains("//"),
            "{path:?} of {raw:?}"
        );
        if !raw.contains(['%', '.']) && !raw.contains("//") {
            let plain = |text: &str| text.chars().filter(char::is_ascii_alphanumeric).count();
            assert!(plain(&path) >= plain(raw), "{path:?} of {raw:?}");
        }
    }
});
