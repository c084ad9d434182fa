//! All orders, in memory.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use serde::Serialize;
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One order.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Order {
    pub(super) id: u64,
    pub(super) item: String,
    pub(super) quantity: u32,
    pub(super) status: &'static str,
    /// RFC 3339, UTC.
    pub(super) placed_at: String,
}

/// The bound is reached.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("the shop takes no more than {ORDERS_MAX} orders")]
pub(super) struct BookFull;

/// All orders.
#[derive(Default)]
pub(super) struct Book(RwLock<Orders>);

#[derive(Default)]
struct Orders {
    /// By customer and order.
    by_id: BTreeMap<(u64, u64), Order>,
    last_id: u64,
}

impl Book {
    /// Places an order.
    pub(super) fn place(
        &self,
        customer_id: u64,
        item: String,
        quantity: u32,
    ) -> Result<Order, BookFull> {
        // A time between the years 0 and 9999 can always be written.
        let placed_at = OffsetDateTime::now_utc()
            .format(&Rfc3339)
            .unwrap_or_default();
        let mut orders = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if orders.by_id.len() >= ORDERS_MAX {
            return Err(BookFull);
        }
        orders.last_id += 1;
        let id = orders.last_id;
        let order = Order {
            id,
            item,
            quantity,
            status: "placed",
            placed_at,
        };
        orders.by_id.insert((customer_id, id), order.clone());
        Ok(order)
    }

    /// An order of that customer.
    pub(super) fn by_id(&self, customer_id: u64, id: u64) -> Option<Order> {
        self.read().by_id.get(&(customer_id, id)).cloned()
    }

    /// Up to `limit` orders of that customer with ids above `after`.
    pub(super) fn page(&self, customer_id: u64, after: u64, limit: usize) -> Vec<Order> {
        if after == u64::MAX {
            return Vec::new();
        }
        let of_customer = (
            Bound::Excluded((customer_id, after)),
            Bound::Included((customer_id, u64::MAX)),
        );
        self.read()
            .by_id
            .range(of_customer)
            .take(limit)
            .map(|(_, order)| order.clone())
            .collect()
    }

    /// No code that can panic runs while it is locked for writing.
    fn read(&self) -> RwLockReadGuard<'_, Orders> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At the bound no order is taken.
const ORDERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{Book, BookFull, ORDERS_MAX};

    #[test]
    fn customers_see_their_own_orders_only() {
        let book = Book::default();
        for customer in [1, 2, 1, u64::MAX] {
            book.place(customer, "item".to_owned(), 1).unwrap();
        }
        let ids = |customer, after| -> Vec<u64> {
            book.page(customer, after, 10)
                .iter()
                .map(|order| order.id)
                .collect()
        };
        assert_eq!(
            (ids(1, 0), ids(2, 0), ids(3, 0)),
            (vec![1, 3], vec![2], vec![])
        );
        assert_eq!(
            (ids(1, 1), ids(u64::MAX, 0), ids(1, u64::MAX)),
            (vec![3], vec![4], vec![])
        );
        assert!(book.by_id(1, 2).is_none());
        assert_eq!(book.by_id(2, 2).unwrap().item, "item");
    }

    #[test]
    fn the_book_is_bounded() {
        let book = Book::default();
        for _ in 0..ORDERS_MAX {
            book.place(1, "item".to_owned(), 1).unwrap();
        }
        assert_eq!(book.place(1, "item".to_owned(), 1).unwrap_err(), BookFull);
    }
}
