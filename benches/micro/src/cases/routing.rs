//! Looking a route up, by how its path is written.

use std::hint::black_box;

use weir_policy::route::Wanted;

use super::Work;
use crate::documents;
use crate::request::Asked;

/// What takes the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A route with an exact path.
    Exact,
    /// One with a regular expression.
    Expression,
    /// None.
    Miss,
    /// One with two parameters.
    Template,
}

/// Requests that follow each other.
const REQUESTS: usize = 64;

pub(super) fn lookup(kind: Kind, count: usize) -> Work {
    let snapshot = documents::gateway(&documents::routes(count));
    let path = match kind {
        Kind::Exact => "/api/items2",
        Kind::Expression => "/reports/sales-2026",
        Kind::Miss => "/api/none/of/these",
        Kind::Template => "/api/north/orders5/4711",
    };
    let requests: Vec<(String, Asked)> = (0..REQUESTS)
        .map(|nr| documents::host(count, nr, kind == Kind::Expression))
        .map(|host| (host.clone(), Asked::new(&host, path)))
        .collect();
    let mut next = 0;
    Box::new(move || {
        next = (next + 1) % REQUESTS;
        let (host, asked) = &requests[next];
        let view = asked.view();
        let wanted = Wanted {
            host,
            path: &asked.path,
            request: &view,
            client: asked.remote,
        };
        let table = &snapshot.listeners[0].table;
        let found = table.lookup(black_box(&wanted), &snapshot.routes, &mut ());
        assert_eq!(found.is_err(), kind == Kind::Miss);
        drop(black_box(found));
    })
}
