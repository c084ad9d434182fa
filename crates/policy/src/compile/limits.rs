//! Rate limits of routes: what each counts by must be there, and shared ones must agree.

use std::collections::HashMap;

use weir_config::limit::LimitKey;
use weir_config::route::Route as Written;
use weir_config::units::Rate;

use super::faults::Faults;
use super::routes::is_attached;
use crate::limit::RouteLimit;
use crate::live::Live;
use crate::snapshot::Role;

/// The first use of a shared limit: its quota and the route.
pub(super) type Shared<'d> = HashMap<&'d str, (Rate, Option<u32>, usize)>;

/// Checks the limits of a route against its other settings and other routes.
pub(super) fn check<'d>(
    index: usize,
    written: &'d Written,
    shared: &mut Shared<'d>,
    faults: &mut Faults,
) {
    let authenticated = written.auth.as_ref().is_some_and(|auth| auth.jwt.is_some());
    for (nr, limit) in written.limits.iter().enumerate() {
        let path = format!("routes[{index}].limit[{nr}]");
        if limit.by == LimitKey::Peer {
            // The one listener with peers is a sidecar's inbound one, and no route of a document is
            // attached to that.
            let problem = "`by: peer` where no client has an identity in the mesh";
            let hint = match is_attached(written, &Role::Gateway) {
                true => "count by `client`, by a claim or by a header",
                false => "leave `by` out: every caller has its own sidecar, which counts it alone",
            };
            faults.error(path.clone(), limit.at, problem, Some(hint.to_owned()));
        }
        if let LimitKey::Claim(name) = &limit.by
            && !authenticated
        {
            let problem = format!("`by: claim.{name}` on a route that verifies no token");
            let hint = "add `auth: { jwt: <issuer> }`, or count by `client`".to_owned();
            faults.error(path.clone(), limit.at, problem, Some(hint));
        }
        let Some(name) = &limit.shared else { continue };
        let quota = (limit.rate.value, limit.burst, index);
        let first = *shared.entry(name).or_insert(quota);
        if (first.0, first.1) != (quota.0, quota.1) {
            let problem = format!("the shared limit `{name}` has another rate or burst elsewhere");
            let hint = format!("routes[{}] uses it too; both must say the same", first.2);
            faults.error(path, limit.at, problem, Some(hint));
        }
    }
}

/// The route's own limits before shared ones: a request that its own limit refuses must not use up
/// what others share.
pub(super) fn compile(written: &Written, name: &str, live: &Live) -> Vec<RouteLimit> {
    let own = written.limits.iter().filter(|limit| limit.shared.is_none());
    let shared = written.limits.iter().filter(|limit| limit.shared.is_some());
    own.chain(shared)
        .map(|limit| RouteLimit::compile(limit, name, live))
        .collect()
}
