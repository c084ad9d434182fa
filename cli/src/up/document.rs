//! The document that `weir up` runs, with its listeners where the user wants them.

use std::net::SocketAddr;

use thiserror::Error;
use weir_config::{ConfigErrors, Document, Position};

/// The shop of the examples.
pub(super) const SHOP: &str = include_str!("../../../config/examples/shop.yaml");

/// The listeners that `--http` and `--https` speak of.
pub(super) const HTTP: &str = "web";
pub(super) const HTTPS: &str = "websecure";

/// Why a listener of a document cannot be put elsewhere.
#[derive(Debug, Error)]
pub(super) enum RebindError {
    /// It is not valid.
    #[error("{0}")]
    Invalid(ConfigErrors),
    /// It has no listener of this name.
    #[error("the document has no listener `{0}`, which this flag is for")]
    NoListener(&'static str),
    /// Its text says the address in a way that cannot be replaced.
    #[error("the document says listeners.{0}.bind in a way that only a person can change")]
    Unusual(&'static str),
}

/// The same text with another address for one listener.
pub(super) fn rebind(
    text: &str,
    listener: &'static str,
    address: SocketAddr,
) -> Result<String, RebindError> {
    let (before, at) = bind_of(text, listener)?;
    if before == address {
        return Ok(text.to_owned());
    }
    let from = offset(text, at).ok_or(RebindError::Unusual(listener))?;
    let written = before.to_string();
    let (head, tail) = text.split_at(from);
    let changed = format!("{head}{}", tail.replacen(&written, &address.to_string(), 1));
    // The first such text behind the listener's start is its own unless it was written otherwise.
    match bind_of(&changed, listener) {
        Ok((now, _)) if now == address => Ok(changed),
        _ => Err(RebindError::Unusual(listener)),
    }
}

fn bind_of(text: &str, listener: &'static str) -> Result<(SocketAddr, Position), RebindError> {
    let document = Document::from_yaml(text).map_err(RebindError::Invalid)?;
    let found = document
        .listeners
        .iter()
        .find(|(name, _)| name.value == listener);
    let (_, found) = found.ok_or(RebindError::NoListener(listener))?;
    Ok((found.bind, found.at))
}

/// Where a place of the text is, in bytes.
fn offset(text: &str, at: Position) -> Option<usize> {
    let line = usize::try_from(at.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let column = usize::try_from(at.column).ok()?.checked_sub(1)?;
    let in_line: usize = text
        .get(start..)?
        .chars()
        .take(column)
        .map(char::len_utf8)
        .sum();
    Some(start + in_line)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_config::Document;

    use super::{HTTP, HTTPS, RebindError, SHOP, rebind};

    #[test]
    fn the_shop_listens_where_it_is_told() {
        let text = rebind(SHOP, HTTP, "127.0.0.1:9080".parse().unwrap()).unwrap();
        let text = rebind(&text, HTTPS, "[::1]:9443".parse().unwrap()).unwrap();
        let document = Document::from_yaml(&text).unwrap();
        let binds: Vec<String> = document
            .listeners
            .iter()
            .map(|(_, it)| it.bind.to_string())
            .collect();
        assert_eq!(binds, ["127.0.0.1:9080", "[::1]:9443"]);
        // And back, to the very text.
        let text = rebind(&text, HTTP, "127.0.0.1:8080".parse().unwrap()).unwrap();
        assert_eq!(
            rebind(&text, HTTPS, "127.0.0.1:8443".parse().unwrap()).unwrap(),
            SHOP
        );
    }

    #[test]
    fn other_documents_may_not_have_it() {
        let address = "127.0.0.1:1".parse().unwrap();
        assert!(matches!(
            rebind("{}", HTTP, address),
            Err(RebindError::NoListener("web"))
        ));
        assert!(matches!(
            rebind("[", HTTP, address),
            Err(RebindError::Invalid(_))
        ));
        // Aliases: the value stands elsewhere.
        let text = "listeners:\n  a: { bind: &it \"0.0.0.0:1\" }\n  web: { bind: *it }\n";
        assert!(matches!(
            rebind(text, HTTP, address),
            Err(RebindError::Unusual("web"))
        ));
    }
}
