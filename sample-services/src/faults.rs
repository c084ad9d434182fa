//! Faults on demand, for showing what the proxy makes of them. Only with `--faults`.
//!
//! Headers of a request make that one request fail (`faults::knobs`); `/faults` makes `/flaky` fail
//! until further notice (`faults::flaky`).

use axum::Router;

mod flaky;
mod knobs;

/// Adds `/flaky` and `/faults` to the routes, and obedience to `x-fault-…` to all but `/faults`.
pub fn add(routes: Router) -> Router {
    let state = flaky::Flaky::default();
    routes
        .merge(flaky::victim(state.clone()))
        .layer(axum::middleware::from_fn(knobs::obey))
        .merge(flaky::switch(state))
}
