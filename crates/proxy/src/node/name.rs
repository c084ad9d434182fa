//! Names of a proxy: those that it is given, and those that it gives itself when it is given none.

use std::path::PathBuf;

use weir_config::bounds::LABEL_NAME_BYTES_MAX;

/// The name of this machine (in Kubernetes: of the pod), with every character that a node id may
/// not have replaced.
#[must_use]
pub fn host_name() -> String {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = kernel
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    match node_name(name.trim()) {
        name if name.is_empty() => "localhost".to_owned(),
        name => name,
    }
}

/// A text as part of a node id: `[A-Za-z0-9._-]`, bounded.
#[must_use]
pub fn node_name(text: &str) -> String {
    text.chars()
        .take(NAME_CHARS_MAX)
        .map(|c| if fits(c) { c } else { '-' })
        .collect()
}

/// Whether a text can be a node id.
#[must_use]
pub fn is_node_id(text: &str) -> bool {
    !text.is_empty() && text.len() <= NODE_ID_CHARS_MAX && text.chars().all(fits)
}

/// A text as the name of the zone that a proxy stands in, as endpoints have it too.
///
/// # Errors
/// What a zone is, when this is none.
pub fn zone(text: &str) -> Result<String, String> {
    match text.len() {
        1..=LABEL_NAME_BYTES_MAX if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("a zone has 1 to {LABEL_NAME_BYTES_MAX} bytes")),
    }
}

/// Where a node keeps its state when nobody says: in the user's state directory, else in the
/// system's.
#[must_use]
pub fn state_directory(node: &str) -> PathBuf {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = set("XDG_STATE_HOME").map(PathBuf::from);
    let base = base.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".local/state")));
    base.unwrap_or_else(|| PathBuf::from("/var/lib"))
        .join("weir")
        .join(node)
}

fn fits(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')
}

/// Room for a role, a service and a port beside it.
const NAME_CHARS_MAX: usize = 63;
const NODE_ID_CHARS_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_bounded() {
        assert_eq!(zone("eu-a"), Ok("eu-a".to_owned()));
        assert!(zone(&"a".repeat(LABEL_NAME_BYTES_MAX)).is_ok());
        for wrong in ["", "a\nb", &"a".repeat(LABEL_NAME_BYTES_MAX + 1)] {
            assert!(zone(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn names_have_only_what_a_node_id_may_have() {
        assert!(is_node_id(&host_name()));
        assert_eq!(node_name("a b/ä.c"), "a-b--.c");
        assert!(is_node_id("edge-1.example_2") && is_node_id(&"x".repeat(128)));
        for wrong in ["", "a b", "a/b", &"x".repeat(129)] {
            assert!(!is_node_id(wrong), "{wrong}");
        }
    }
}
