//! Changes of JSON bodies.

use weir_config::Position;
use weir_config::route::Route as Written;

use super::faults::Faults;
use super::routes::places_hint;
use crate::rewrite::{Scope as Places, TemplateFault};
use crate::transform::JsonPlan;

/// The changes of requests and of responses.
pub(super) type Changes = (Option<JsonPlan>, Option<JsonPlan>);

/// Compiles the changes of a route.
pub(super) fn compile(
    index: usize,
    written: &Written,
    places: Places<'_>,
    faults: &mut Faults,
) -> Changes {
    let Some(transform) = &written.transform else {
        return (None, None);
    };
    let mut fault = |key: &str, (at, fault): (Position, TemplateFault)| {
        let path = format!("routes[{index}].transform.{key}.set");
        faults.error(path, at, fault.to_string(), Some(places_hint(places)));
    };
    let mut plan = |key, changes| {
        let compiled = JsonPlan::compile(changes, places);
        compiled.map_err(|wrong| fault(key, wrong)).ok()
    };
    let request = transform.request.as_ref();
    let response = transform.response.as_ref();
    (
        request.and_then(|changes| plan("request", changes)),
        response.and_then(|changes| plan("response", changes)),
    )
}
