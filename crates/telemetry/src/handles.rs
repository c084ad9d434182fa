//! Handles to metrics by their label values: made when a configuration compiles, kept across
//! reloads, bounded.
//!
//! The key is the whole list of values. (A hash alone, as the vectors of the prometheus crate use
//! it, would let `("ab", "c")` and `("a", "bc")` share one metric.) At the bound, handles that
//! nobody holds any more are forgotten; when all are held, new label values share one metric whose
//! labels are all `other`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The label value of everything that did not fit.
pub(crate) const OTHER: &str = "other";

/// Label values of one metric, in the order of its label names.
pub(crate) type Values = Box<[Box<str>]>;

#[derive(Debug)]
pub(crate) struct Handles<T> {
    held: Mutex<Held<T>>,
    labels: usize,
    capacity: usize,
}

#[derive(Debug)]
struct Held<T> {
    by_values: HashMap<Values, Arc<T>>,
    /// How many refusals to let pass before the table is searched for unused handles again; a
    /// configuration far over the bound would otherwise search the full table for each name.
    search_again_after: usize,
}

impl<T> Handles<T> {
    pub(crate) fn new(labels: usize, capacity: usize) -> Self {
        let held = Held {
            by_values: HashMap::new(),
            search_again_after: 0,
        };
        Self {
            held: Mutex::new(held),
            labels,
            capacity: capacity.max(1),
        }
    }

    /// The handle of these label values, made by `make` when there is none. Missing values are
    /// empty and surplus values are left out.
    pub(crate) fn with(&self, values: &[&str], make: impl FnOnce() -> T) -> Arc<T> {
        debug_assert_eq!(values.len(), self.labels, "as many values as label names");
        let key: Values = (0..self.labels)
            .map(|at| values.get(at).copied().unwrap_or("").into())
            .collect();
        let mut held = self.lock();
        if let Some(handle) = held.by_values.get(&key) {
            return Arc::clone(handle);
        }
        let key = if self.has_room(&mut held) {
            key
        } else {
            vec![OTHER.into(); self.labels].into()
        };
        Arc::clone(
            held.by_values
                .entry(key)
                .or_insert_with(|| Arc::new(make())),
        )
    }

    /// Calls `visit` with every handle, in no order.
    pub(crate) fn each(&self, mut visit: impl FnMut(&[Box<str>], &T)) {
        self.lock()
            .by_values
            .iter()
            .for_each(|(values, handle)| visit(values, handle));
    }

    fn has_room(&self, held: &mut Held<T>) -> bool {
        if held.by_values.len() < self.capacity {
            return true;
        }
        if held.search_again_after > 0 {
            held.search_again_after -= 1;
            return false;
        }
        held.by_values
            .retain(|_, handle| Arc::strong_count(handle) > 1);
        let room = held.by_values.len() < self.capacity;
        held.search_again_after = if room { 0 } else { self.capacity };
        room
    }

    fn lock(&self) -> MutexGuard<'_, Held<T>> {
        // A panic elsewhere cannot leave a map half changed that matters here.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_values_same_handle_and_concatenation_does_not_collide() {
        let handles: Handles<u8> = Handles::new(2, 10);
        let first = handles.with(&["ab", "c"], || 1);
        assert!(Arc::ptr_eq(&first, &handles.with(&["ab", "c"], || 2)));
        assert!(!Arc::ptr_eq(&first, &handles.with(&["a", "bc"], || 3)));
    }

    #[test]
    fn beyond_the_bound_new_values_share_other() {
        let handles: Handles<u32> = Handles::new(1, 2);
        let kept: Vec<_> = ["a", "b", "c", "d"]
            .map(|name| handles.with(&[name], || 0))
            .into_iter()
            .collect();
        assert!(Arc::ptr_eq(&kept[2], &kept[3]));
        let mut names = Vec::new();
        handles.each(|values, _| names.push(values[0].to_string()));
        names.sort();
        assert_eq!(names, ["a", "b", OTHER]);
        assert!(Arc::ptr_eq(&kept[0], &handles.with(&["a"], || 0)));
    }

    #[test]
    fn at_the_bound_handles_that_nobody_holds_make_room() {
        let handles: Handles<u32> = Handles::new(1, 2);
        let held = handles.with(&["a"], || 1);
        handles.with(&["gone"], || 2);
        assert_eq!(*handles.with(&["new"], || 3), 3);
        assert!(Arc::ptr_eq(&held, &handles.with(&["a"], || 9)));
    }
}
