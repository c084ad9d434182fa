//! Host names of edge certificates: exact, or `*.` for exactly one label in front.

use std::collections::HashMap;

use rustls_pki_types::DnsName;

/// Reads a host of a certificate: lower case, without a final dot. Nothing if it is neither a DNS
/// name nor `*.` and a DNS name.
pub(super) fn normalized(host: &str) -> Option<String> {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    DnsName::try_from(name).is_ok().then_some(host)
}

/// Whether one of the patterns (in lower case) covers a host, which may be a pattern itself.
pub(super) fn covers(patterns: &[String], host: &str) -> bool {
    patterns
        .iter()
        .any(|pattern| pattern == host || wildcard_of(host).as_ref() == Some(pattern))
}

/// Looks a requested name up: exact names before wildcards.
pub(super) fn find<'a, V>(table: &'a HashMap<String, V>, name: &str) -> Option<&'a V> {
    let name = name.strip_suffix('.').unwrap_or(name);
    table.get(name).or_else(|| table.get(&wildcard_of(name)?))
}

/// `*.example.com` for `api.example.com`: the only wildcard that can cover a name.
fn wildcard_of(name: &str) -> Option<String> {
    let (_, parent) = name.split_once('.')?;
    Some(format!("*.{parent}"))
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{covers, find, normalized};

    #[test]
    fn hosts_are_read_strictly() {
        assert_eq!(
            normalized("API.Example.com."),
            Some("api.example.com".into())
        );
        assert_eq!(normalized("*.Example.com"), Some("*.example.com".into()));
        for odd in [
            "",
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "a b",
            "a/b",
            "\u{e9}.com",
            "**.a.b",
        ] {
            assert_eq!(normalized(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_wildcard_covers_one_label() {
        let entries = [("*.x.test", 1), ("a.x.test", 2), ("*.y.x.test", 3)];
        let table: HashMap<_, _> = entries.map(|(name, value)| (name.to_owned(), value)).into();
        assert_eq!(find(&table, "a.x.test"), Some(&2));
        assert_eq!(find(&table, "b.x.test"), Some(&1));
        assert_eq!(find(&table, "b.x.test."), Some(&1));
        assert_eq!(find(&table, "b.y.x.test"), Some(&3));
        assert_eq!(find(&table, "x.test"), None);
        assert_eq!(find(&table, "c.b.y.x.test"), None);
    }

    #[test]
    fn covering_follows_the_same_rule() {
        let patterns = ["*.x.test".to_owned()];
        assert!(covers(&patterns, "a.x.test") && covers(&patterns, "*.x.test"));
        assert!(!covers(&patterns, "x.test") && !covers(&patterns, "b.a.x.test"));
    }
}
