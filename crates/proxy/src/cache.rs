//! The response cache of the gateway (RFC 9111): keeps answers and serves them again, as
//! `weir_policy::cache` decides.
//!
//! For: holding what may be held within a bound of bytes, and the way of a request through it. Not
//! for: deciding. The one idea: a [`Visit`] follows one request of a route that stores, from before
//! an endpoint is chosen to the head of its answer, and the exchange asks it at three places:
//! [`errand`] and [`enter`] when it begins (a stored answer ends it there), [`Visit::wait`] before
//! the first attempt (another request may be fetching the same), [`Visit::received`] with the
//! answer. A request of a route that stores nothing has no visit and pays one comparison.
//!
//! All workers share one [`Cache`]: stored once, found by all. It is the exception to "no lock is
//! shared between workers": `docs/decisions/0007-response-cache.md` says why.

mod answer;
mod counts;
mod fill;
mod flights;
mod refresh;
mod shelf;
mod visit;

pub(crate) use answer::tell;
pub(crate) use counts::{Outcome, Told};
pub(crate) use fill::{Filling, start};
pub use shelf::{Cache, CacheStats, Purge};
pub(crate) use visit::{Entered, Errand, Received, Visit, enter, errand, is_failure, rescue};
