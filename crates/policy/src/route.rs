//! Which route a request takes.
//!
//! Precedence is total and does not depend on how the document is sorted, except between equals:
//!
//! 1. **Host**: exact, then the longest suffix (`*.shop.example`), then any. When no route of the
//!    more specific host takes the request, the less specific hosts are asked; so a route without
//!    `hosts` is a fallback for every host.
//! 2. **Path**: exact and whole templates first, compared segment by segment from the left, a
//!    literal before a parameter; then prefixes (templates that end in `/*` among them), the one
//!    with more segments first, again literals before parameters; then regular expressions.
//! 3. **Conditions**, compared in this order until two routes differ: one that names methods
//!    before one that takes any, and fewer methods before more; more header conditions before
//!    fewer, then query conditions, then cookies; more conditions on one exact value before fewer;
//!    the one whose widest client network is narrower.
//! 4. **File order.** `compile` warns where only this is left and one request can meet both.
//!
//! The same order stands for users in `docs/concepts/routing.md`. The first route in this order
//! whose conditions all hold takes the request. Those before it that failed are told to the
//! [`Note`](crate::note::Note) as `near-miss`, with the condition that failed.

mod cookie;
pub mod host;
mod matcher;
mod methods;
pub mod path;
mod table;
mod trie;
mod value;
mod version;

use smallvec::SmallVec;

pub use matcher::{MatchFault, Matcher, PathMatch, Unmet};
pub use methods::Methods;
pub use table::{Found, Miss, RouteTable, Wanted};
pub use value::ValueMatch;
pub use version::VersionPlan;

pub(crate) use cookie::cookie_values;
pub(crate) use matcher::{Rank, canonical};
pub(crate) use value::{anchored, query_values};

/// Path parameters: byte range in the normalised path for each parameter of the route's pattern, in
/// the pattern's order.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Params(pub SmallVec<[(u32, u32); 4]>);

impl Params {
    /// The text of one parameter; empty when there is none of this index.
    #[must_use]
    pub fn text<'p>(&self, path: &'p str, index: usize) -> &'p str {
        self.0
            .get(index)
            .and_then(|&(start, end)| path.get(start as usize..end as usize))
            .unwrap_or_default()
    }
}
