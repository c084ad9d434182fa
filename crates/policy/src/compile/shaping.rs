//! What a route does to its traffic beyond sending it somewhere.

use weir_config::Located;
use weir_config::fallback::Instead as WrittenInstead;
use weir_config::resilience::{Retry, Timeouts};
use weir_config::route::{Destination as WrittenDestination, Respond, Route as Written};

use super::faults::Faults;
use super::routes::{Overrides, Scope, compiled_destination};
use crate::rewrite::{RespondPlan, Scope as Places};
use crate::shaping::{FallbackPlan, FaultPlan, Instead, MirrorPlan, Shaping};
use crate::snapshot::Destination;

/// Compiles the shaping of a route; `None` when it asks for none.
pub(super) fn compile(
    scope: &Scope<'_>,
    index: usize,
    name: &str,
    written: &Written,
    places: Option<Places<'_>>,
    faults: &mut Faults,
) -> Option<Box<Shaping>> {
    let fault = fault(index, written, faults);
    let mut mirrors = Vec::new();
    for (nr, mirror) in written.mirrors.iter().enumerate() {
        let path = format!("routes[{index}].mirror[{nr}].to");
        let once = Retry {
            attempts: Some(0),
            ..Retry::default()
        };
        let destination = destination(scope, &mirror.service, &once, path, faults);
        mirrors.extend(destination.map(|to| MirrorPlan::new(mirror, to, name)));
    }
    let fallback = written.fallback.as_ref().and_then(|fallback| {
        let instead = match &fallback.instead {
            WrittenInstead::Respond(respond) => {
                Instead::Respond(fixed(index, respond, places?, faults)?)
            }
            WrittenInstead::To(service) => {
                let path = format!("routes[{index}].fallback.to");
                let own = Retry::default();
                Instead::To(destination(scope, service, &own, path, faults)?)
            }
        };
        Some(FallbackPlan::new(fallback, instead))
    });
    let none = fault.is_none() && mirrors.is_empty() && fallback.is_none();
    (!none).then(|| {
        Box::new(Shaping {
            fault,
            mirrors,
            fallback,
        })
    })
}

/// Another service than the route's: its own deadlines hold, not those that the route sets.
fn destination(
    scope: &Scope<'_>,
    service: &Located<String>,
    retry: &Retry,
    path: String,
    faults: &mut Faults,
) -> Option<Destination> {
    let written = WrittenDestination {
        service: service.clone(),
        at: service.at,
        ..WrittenDestination::to("")
    };
    let own = Overrides {
        timeouts: &Timeouts::default(),
        retry,
        response_bytes_max: None,
    };
    compiled_destination(scope, &written, own, path, faults)
}

/// A fallback's answer: one that needs nothing of the request, which is gone by then.
fn fixed(
    index: usize,
    respond: &Respond,
    places: Places<'_>,
    faults: &mut Faults,
) -> Option<RespondPlan> {
    let problem = match RespondPlan::compile(respond, places) {
        Ok(plan) if plan.fixed().is_some() => return Some(plan),
        Ok(_) => "the answer of a fallback can have no variables".to_owned(),
        Err(fault) => fault.to_string(),
    };
    faults.error(
        format!("routes[{index}].fallback.respond"),
        respond.at,
        problem,
        None,
    );
    None
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
