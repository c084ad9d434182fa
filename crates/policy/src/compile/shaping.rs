//! What a route does to its traffic beyond sending it somewhere.

use weir_config::route::Route as Written;

use super::faults::Faults;
use crate::shaping::{FaultPlan, Shaping};

/// Compiles the shaping of a route; `None` when it asks for none.
pub(super) fn compile(
    index: usize,
    written: &Written,
    faults: &mut Faults,
) -> Option<Box<Shaping>> {
    let shaping = Shaping {
        fault: fault(index, written, faults),
    };
    shaping.fault.is_some().then(|| Box::new(shaping))
}

fn fault(index: usize, written: &Written, faults: &mut Faults) -> Option<FaultPlan> {
    let fault = written.fault.as_ref()?;
    match FaultPlan::compile(fault) {
        Ok(plan) => Some(plan),
        Err((name, error)) => {
            let path = format!("routes[{index}].fault.headers.{name}");
            faults.error(path, fault.at, error.to_string(), None);
            None
        }
    }
}
