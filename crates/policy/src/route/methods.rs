//! A set of methods: one bit for each common one, a list for the rest.

use http::Method;

/// The methods a route takes; the empty set stands for any but CONNECT, which opens a tunnel and
/// has to be meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Methods {
    common: u16,
    others: Vec<Method>,
}

impl Methods {
    /// The set of these methods. `GET` brings `HEAD`, as every service that answers `GET` must.
    pub fn new<'m>(methods: impl IntoIterator<Item = &'m Method>) -> Methods {
        let mut set = Methods::default();
        for method in methods {
            set.insert(method);
        }
        set
    }

    fn insert(&mut self, method: &Method) {
        match bit(method) {
            Some(GET) => self.common |= GET | HEAD,
            Some(bit) => self.common |= bit,
            None if !self.others.contains(method) => self.others.push(method.clone()),
            None => {}
        }
    }

    /// Whether every method is allowed (but CONNECT).
    #[must_use]
    pub fn is_any(&self) -> bool {
        self.common == 0 && self.others.is_empty()
    }

    /// Whether this method is allowed.
    #[must_use]
    pub fn allows(&self, method: &Method) -> bool {
        match bit(method) {
            Some(bit) if self.common & bit != 0 => true,
            None if self.others.contains(method) => true,
            Some(CONNECT) => false,
            _ => self.is_any(),
        }
    }

    /// Whether no method is allowed by both.
    pub(crate) fn excludes(&self, other: &Methods) -> bool {
        let is_tunnel = |set: &Methods| set.common == CONNECT && set.others.is_empty();
        match (self.is_any(), other.is_any()) {
            (true, true) => return false,
            (true, false) => return is_tunnel(other),
            (false, true) => return is_tunnel(self),
            (false, false) => {}
        }
        let common = self.common & other.common != 0;
        !(common || self.others.iter().any(|it| other.others.contains(it)))
    }

    /// Adds the methods of another set.
    pub fn merge(&mut self, other: &Methods) {
        self.common |= other.common;
        for method in &other.others {
            if !self.others.contains(method) {
                self.others.push(method.clone());
            }
        }
    }

    /// The methods in a fixed order.
    pub fn iter(&self) -> impl Iterator<Item = &Method> {
        let common = COMMON.iter().filter(|(_, bit)| self.common & bit != 0);
        common.map(|(method, _)| method).chain(&self.others)
    }
}

impl std::fmt::Display for Methods {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, method) in self.iter().enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{method}")?;
        }
        Ok(())
    }
}

fn bit(method: &Method) -> Option<u16> {
    match *method {
        Method::GET => Some(GET),
        Method::HEAD => Some(HEAD),
        Method::POST => Some(1 << 2),
        Method::PUT => Some(1 << 3),
        Method::PATCH => Some(1 << 4),
        Method::DELETE => Some(1 << 5),
        Method::OPTIONS => Some(1 << 6),
        Method::TRACE => Some(1 << 7),
        Method::CONNECT => Some(CONNECT),
        _ => None,
    }
}

const GET: u16 = 1;
const HEAD: u16 = 1 << 1;
const CONNECT: u16 = 1 << 8;

const COMMON: [(Method, u16); 9] = [
    (Method::GET, GET),
    (Method::HEAD, HEAD),
    (Method::POST, 1 << 2),
    (Method::PUT, 1 << 3),
    (Method::PATCH, 1 << 4),
    (Method::DELETE, 1 << 5),
    (Method::OPTIONS, 1 << 6),
    (Method::TRACE, 1 << 7),
    (Method::CONNECT, CONNECT),
];

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn get_brings_head_and_nothing_means_any() {
        let get = Methods::new([&Method::GET]);
        assert!(get.allows(&Method::GET) && get.allows(&Method::HEAD));
        assert!(!get.allows(&Method::POST));
        assert_eq!(get.to_string(), "GET, HEAD");
        assert!(Methods::default().allows(&Method::from_bytes(b"PURGE").unwrap()));
    }

    #[test]
    fn a_tunnel_has_to_be_meant() {
        let (any, connect) = (Methods::default(), Methods::new([&Method::CONNECT]));
        assert!(!any.allows(&Method::CONNECT) && connect.allows(&Method::CONNECT));
        assert!(!connect.allows(&Method::GET));
        assert!(any.excludes(&connect) && connect.excludes(&any));
        assert!(!any.excludes(&any) && !connect.excludes(&connect));
        let both = Methods::new([&Method::CONNECT, &Method::GET]);
        assert!(!any.excludes(&both) && !both.excludes(&connect));
    }

    #[test]
    fn uncommon_methods_count() {
        let purge = Method::from_bytes(b"PURGE").unwrap();
        let set = Methods::new([&purge, &purge]);
        assert!(set.allows(&purge) && !set.allows(&Method::GET));
        assert!(!set.allows(&Method::from_bytes(b"BAN").unwrap()));
        assert_eq!(set.to_string(), "PURGE");
    }
}
