//! Header maps that are used again. Every head that is read needs one, with room for its fields.

use std::cell::RefCell;

use http::HeaderMap;

/// The empty ones of a worker; who was last given back is used first.
#[derive(Debug, Default)]
pub(crate) struct HeaderMaps(RefCell<Vec<HeaderMap>>);

impl HeaderMaps {
    /// An empty one, mostly with room.
    pub(crate) fn take(&self) -> HeaderMap {
        self.0.borrow_mut().pop().unwrap_or_default()
    }

    /// Nobody needs this one any more, nor what is in it.
    pub(crate) fn give_back(&self, mut headers: HeaderMap) {
        let mut kept = self.0.borrow_mut();
        // Further values of one name have room of their own.
        let is_usual =
            (1..=FIELDS_USUAL).contains(&headers.capacity()) && headers.len() <= FIELDS_USUAL;
        if is_usual && kept.len() < KEPT_MAX {
            headers.clear();
            kept.push(headers);
        }
    }
}

/// A map with room for more is not kept, so that one odd request costs its memory only once.
const FIELDS_USUAL: usize = 48;

/// With room for as many fields each has some 6 KB, so all have 400 KB at most. Room for further
/// values of a field that was not passed on is not seen: 74 KB each, if a head had a thousand.
const KEPT_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::{ACCEPT, HeaderName};

    use super::*;

    fn filled(fields: usize) -> HeaderMap {
        let name = |number| HeaderName::try_from(format!("x-{number}"));
        let names = (0..fields).filter_map(|number| name(number).ok());
        names
            .map(|name| (name, HeaderValue::from_static("1")))
            .collect()
    }

    #[test]
    fn what_was_given_back_is_taken_empty_with_its_room() {
        let maps = HeaderMaps::default();
        assert_eq!(maps.take().capacity(), 0);
        let mut given = filled(10);
        given.append(ACCEPT, HeaderValue::from_static("a"));
        given.append(ACCEPT, HeaderValue::from_static("b"));
        let capacity = given.capacity();
        maps.give_back(given);
        let taken = maps.take();
        assert!(taken.is_empty() && !taken.contains_key(ACCEPT));
        assert_eq!(taken.capacity(), capacity);
        assert_eq!(maps.take().capacity(), 0);
    }

    #[test]
    fn large_ones_and_too_many_are_not_kept() {
        let maps = HeaderMaps::default();
        maps.give_back(filled(FIELDS_USUAL + 1));
        maps.give_back(HeaderMap::new());
        let mut repeated = HeaderMap::new();
        (0..=FIELDS_USUAL).for_each(|_| {
            repeated.append(ACCEPT, HeaderValue::from_static("a"));
        });
        maps.give_back(repeated);
        assert_eq!(maps.0.borrow().len(), 0);
        (0..=KEPT_MAX).for_each(|_| maps.give_back(filled(3)));
        assert_eq!(maps.0.borrow().len(), KEPT_MAX);
    }
}
