//! Routes: every name resolved, every pattern and template compiled.

use std::collections::HashMap;
use std::sync::Arc;

use http::HeaderValue;
use weir_config::auth::Auth;
use weir_config::broken::{Doubts, Section};
use weir_config::give_way::give_way;
use weir_config::pattern::HostPattern;
use weir_config::resilience::{Retry, Timeouts};
use weir_config::route::{
    Action as WrittenAction, Destination as WrittenDestination, NewPath as WrittenPath,
    Route as Written,
};
use weir_config::template::Template as WrittenTemplate;
use weir_config::units::Size;
use weir_config::{Document, Position};

use super::faults::{Faults, did_you_mean};
use super::files::Files;
use super::openapi::Apis;
use super::{limits, openapi, subsets, transforms};
use crate::auth::RouteAuth;
use crate::cache::CachePlan;
use crate::compress::RouteCompress;
use crate::content::ContentPlan;
use crate::cors::CorsPlan;
use crate::live::Live;
use crate::resilience::{RetryPlan, TimeoutPlan};
use crate::rewrite::{
    HeaderPlan, NewHost, NewPath, RedirectPlan, RespondPlan, RewritePlan, Scope as Places, Template,
};
use crate::route::{Matcher, VersionPlan};
use crate::snapshot::{Action, Destination, IssuerId, Role, Route, Service, ServiceId};

/// Name of the outbound listener of every sidecar.
pub(super) const MESH: &str = "mesh";

/// What routes are resolved against.
pub(super) struct Scope<'d> {
    pub(super) document: &'d Document,
    pub(super) doubts: &'d Doubts,
    pub(super) role: &'d Role,
    pub(super) services: HashMap<&'d str, ServiceId>,
    pub(super) compiled: &'d [Service],
    pub(super) issuers: HashMap<&'d str, Option<IssuerId>>,
    pub(super) live: &'d Live,
    pub(super) files: &'d dyn Files,
    pub(super) apis: Apis,
    /// Whether any route stores its answers.
    pub(super) stores: bool,
}

/// What came of the routes.
pub(super) struct Compiled {
    /// Those that this role runs, in file order.
    pub(super) kept: Vec<Route>,
    /// Conditions of every route of the document, where they could be compiled.
    pub(super) matchers: Vec<Option<Matcher>>,
}

/// Whether a proxy of this role runs a route.
pub(super) fn is_attached(route: &Written, role: &Role) -> bool {
    match role {
        Role::Gateway => {
            route.listeners.is_empty()
                || route
                    .listeners
                    .iter()
                    .any(|listener| listener.value != MESH)
        }
        Role::Sidecar { .. } => route
            .listeners
            .iter()
            .any(|listener| listener.value == MESH),
    }
}

/// Compiles every route of the document; those of other roles are checked and dropped.
pub(super) fn compile(scope: &Scope<'_>, names: &[Arc<str>], faults: &mut Faults) -> Compiled {
    let mut compiled = Compiled {
        kept: Vec::with_capacity(scope.document.routes.len()),
        matchers: Vec::with_capacity(scope.document.routes.len()),
    };
    let mut shared = HashMap::new();
    for (index, (written, name)) in scope.document.routes.iter().zip(names).enumerate() {
        give_way();
        check_listeners(scope, index, written, faults);
        warn_stores_nowhere(index, written, faults);
        if scope.doubts.route(index) {
            // Names that it mentions are what they are; everything else may follow from its error.
            issuer(scope, index, written.auth.as_ref(), faults);
            action(scope, index, written, None, faults);
            super::shaping::compile(scope, index, name, written, None, faults);
            compiled.matchers.push(None);
            continue;
        }
        limits::check(index, written, &mut shared, faults);
        let matcher = match Matcher::compile(written) {
            Ok(matcher) => matcher,
            Err(list) => {
                for (key, fault) in list {
                    let path = format!("routes[{index}].{key}");
                    faults.error(path, written.path.at, fault.to_string(), None);
                }
                compiled.matchers.push(None);
                // Everything else of the route is still checked, against an empty pattern that
                // would only add false alarms about parameters; so this stops here.
                continue;
            }
        };
        warn_merged_slashes(index, written, faults);
        if let Some(route) = route(scope, index, name, matcher.clone(), faults) {
            compiled.kept.push(route);
        }
        compiled.matchers.push(Some(matcher));
    }
    compiled
}

/// A route that stands in no document: everything below its hosts goes to one service.
pub(super) fn built_in(
    name: Arc<str>,
    hosts: Vec<HostPattern>,
    service: ServiceId,
    (timeouts, retry): (TimeoutPlan, RetryPlan),
    at: Position,
) -> Route {
    let destination = Destination {
        service,
        subset: None,
        weight: 1,
        timeouts,
        retry,
        response_bytes_max: u64::MAX,
        at,
    };
    Route {
        name,
        matcher: Matcher {
            hosts,
            ..Matcher::default()
        },
        auth: None,
        limits: Vec::new(),
        action: Action::Forward(vec![destination]),
        versions: None,
        rewrite: RewritePlan::default(),
        request_headers: HeaderPlan::default(),
        response_headers: HeaderPlan::default(),
        cors: None,
        compress: RouteCompress::default(),
        body_bytes_max: u64::MAX,
        shaping: None,
        content: None,
        criticality: None,
        cache: None,
        invalidates: false,
        written: None,
        at,
    }
}

fn route(
    scope: &Scope<'_>,
    index: usize,
    name: &Arc<str>,
    matcher: Matcher,
    faults: &mut Faults,
) -> Option<Route> {
    let written = &scope.document.routes[index];
    let attached = is_attached(written, scope.role);
    let issuer = issuer(scope, index, written.auth.as_ref(), faults);
    let authenticated = written.auth.as_ref().is_some_and(|auth| auth.jwt.is_some());
    let places = Places {
        route: name,
        pattern: &matcher.path,
        authenticated,
        groups: None,
    };
    let rewrite = rewrite(index, written, places, faults);
    let mut plan = |key: &str, changes| {
        HeaderPlan::compile(changes, places, written.at, |(below, at, problem)| {
            let path = format!("routes[{index}].{key}.{below}");
            faults.error(path, at, problem, Some(places_hint(places)));
        })
    };
    let request_headers = plan("request_headers", &written.request_headers);
    let response_headers = plan("response_headers", &written.response_headers);
    let action = action(scope, index, written, Some(places), faults);
    let versions = versions(index, written, &matcher, faults);
    let shaping = super::shaping::compile(scope, index, name, written, Some(places), faults);
    let changes = transforms::compile(index, written, places, faults);
    warn_criticality(scope, index, &action, faults);
    if !attached {
        return None;
    }
    // Only here: files are those of the proxies that need them.
    let openapi = openapi::compile(scope, index, written, faults);
    let asks = |auth: &&Auth| auth.jwt.is_some() || !auth.claims.is_empty();
    let auth = written.auth.as_ref().filter(asks);
    // Sidecars store nothing: every caller has its own.
    let gateway = matches!(scope.role, Role::Gateway);
    let cache = written.cache.as_ref().filter(|_| gateway);
    Some(Route {
        cache: cache.map(|cache| CachePlan::compile(cache, auth.is_some())),
        invalidates: gateway && scope.stores,
        name: name.clone(),
        auth: auth.map(|auth| RouteAuth::compile(auth, issuer)),
        limits: limits::compile(written, name, scope.live),
        action,
        versions,
        rewrite,
        request_headers,
        response_headers,
        cors: written.cors.as_ref().map(CorsPlan::compile),
        compress: RouteCompress::compile(written.compress.as_ref()),
        body_bytes_max: body_bytes_max(written, scope.role),
        shaping,
        content: ContentPlan::of(openapi, changes).map(Box::new),
        criticality: written.criticality,
        matcher,
        written: Some(index),
        at: written.at,
    })
}

fn check_listeners(scope: &Scope<'_>, index: usize, written: &Written, faults: &mut Faults) {
    if scope.doubts.names(Section::Listeners) {
        return;
    }
    let known = || {
        scope
            .document
            .listeners
            .iter()
            .map(|(name, _)| name.value.as_str())
    };
    for (nr, listener) in written.listeners.iter().enumerate() {
        if listener.value != MESH && !known().any(|name| name == listener.value) {
            let names: Vec<_> = known().chain([MESH]).collect();
            let hint = did_you_mean(&listener.value, names.into_iter());
            let problem = format!("there is no listener `{}`", listener.value);
            faults.error(
                format!("routes[{index}].listeners[{nr}]"),
                listener.at,
                problem,
                hint,
            );
        }
    }
}

fn warn_stores_nowhere(index: usize, written: &Written, faults: &mut Faults) {
    if let Some(cache) = &written.cache
        && !is_attached(written, &Role::Gateway)
    {
        let problem = "only gateways store answers, and this route is not attached to one";
        faults.warn(format!("routes[{index}].cache"), cache.at, problem, None);
    }
}

fn warn_merged_slashes(index: usize, written: &Written, faults: &mut Faults) {
    use weir_config::pattern::PathPattern;
    let text = match &written.path.value {
        PathPattern::Exact(text) | PathPattern::Prefix(text) => text,
        PathPattern::Regex(_) | PathPattern::Template { .. } => return,
    };
    if text.contains("//") && is_attached(written, &Role::Gateway) {
        let problem = format!("`{text}` is never seen at the gateway: `//` is merged to `/`");
        faults.warn(
            format!("routes[{index}].path"),
            written.path.at,
            problem,
            None,
        );
    }
}

/// Nothing is shed where no limit is adaptive.
fn warn_criticality(scope: &Scope<'_>, index: usize, action: &Action, faults: &mut Faults) {
    let written = &scope.document.routes[index];
    let Some(class) = written.criticality else {
        return;
    };
    let adapts = |id: ServiceId| {
        let (_, service) = &scope.document.services[id.0 as usize];
        service.limits.adaptive.is_some()
    };
    let adaptive = match action {
        Action::Forward(destinations) => destinations.iter().any(|it| adapts(it.service)),
        Action::Mock | Action::Redirect(_) | Action::Respond(_) => false,
    };
    if !adaptive {
        let path = format!("routes[{index}].criticality");
        let problem = format!("`{}` changes nothing at this proxy", class.as_str());
        let hint = "requests are shed where a service has `limits: { adaptive: true }`";
        faults.warn(path, written.at, problem, Some(hint.to_owned()));
    }
}

fn issuer(
    scope: &Scope<'_>,
    index: usize,
    auth: Option<&Auth>,
    faults: &mut Faults,
) -> Option<IssuerId> {
    let auth = auth?;
    let Some(name) = &auth.jwt else {
        if let Some(rule) = auth.claims.first() {
            let hint = "add `jwt: <issuer>`".to_owned();
            let problem = "claims can only be asked of a token";
            faults.error(
                format!("routes[{index}].auth.claims"),
                rule.at,
                problem,
                Some(hint),
            );
        }
        return None;
    };
    if let Some(id) = scope.issuers.get(name.value.as_str()) {
        return *id;
    }
    if scope.doubts.names(Section::Issuers) {
        return None;
    }
    let known = scope
        .document
        .issuers
        .iter()
        .map(|(name, _)| name.value.as_str());
    let hint = did_you_mean(&name.value, known);
    let problem = format!("there is no issuer `{}`", name.value);
    faults.error(format!("routes[{index}].auth.jwt"), name.at, problem, hint);
    None
}

fn rewrite(
    index: usize,
    written: &Written,
    places: Places<'_>,
    faults: &mut Faults,
) -> RewritePlan {
    let (path, host, below) = match (&written.action, &written.rewrite) {
        (WrittenAction::Redirect(redirect), _) => (&redirect.path, &redirect.host, "redirect"),
        (_, Some(rewrite)) => (&rewrite.path, &rewrite.host, "rewrite"),
        (_, None) => return RewritePlan::default(),
    };
    let prefix = match &written.action {
        WrittenAction::Redirect(redirect) => redirect.prefix.as_ref(),
        WrittenAction::Mock(_)
        | WrittenAction::Respond(_)
        | WrittenAction::To(_)
        | WrittenAction::Versions(_) => None,
    };
    let prefix = prefix.map(|prefix| WrittenPath {
        regex: None,
        with: prefix.clone(),
        at: prefix.at,
    });
    // A rewrite of a `/*` path replaces the prefix; where a redirect does, it says so.
    let keeps_rest = below == "rewrite" || prefix.is_some();
    let mut fault = |key: &str, at: Position, problem: String| {
        let path = format!("routes[{index}].{below}.{key}");
        faults.error(path, at, problem, Some(places_hint(places)));
    };
    let mut plan = RewritePlan::default();
    let key = if prefix.is_some() { "prefix" } else { "path" };
    if let Some(new) = prefix.as_ref().or(path.as_ref()) {
        let keeps_rest = keeps_rest && new.regex.is_none();
        match NewPath::compile(new, places, keeps_rest) {
            Ok(new) => plan.path = Some(new),
            Err(problem) => fault(key, new.with.at, problem.to_string()),
        }
    }
    if let Some(new) = host {
        match new_host(new, places) {
            Ok(host) => plan.host = Some(host),
            Err(problem) => fault("host", new.at, problem),
        }
    }
    plan
}

fn new_host(written: &WrittenTemplate, places: Places<'_>) -> Result<NewHost, String> {
    let template = Template::compile(written, places).map_err(|fault| fault.to_string())?;
    let Some(text) = template.as_fixed() else {
        return Ok(NewHost::Template(template));
    };
    match (crate::route::host::parse(text), HeaderValue::from_str(text)) {
        (Ok(_), Ok(value)) => Ok(NewHost::Fixed(value)),
        _ => Err(format!("`{text}` is not a host with an optional port")),
    }
}

/// What the places of a route's texts can be.
pub(super) fn places_hint(places: Places<'_>) -> String {
    let parameters = places.pattern.parameters.iter();
    let parameters: Vec<_> = parameters
        .map(|(name, _)| format!("`{{{name}}}`"))
        .collect();
    let parameters = match parameters.as_slice() {
        [] => "the route's path has no parameters".to_owned(),
        names => format!("the parameters of its path are {}", names.join(", ")),
    };
    let claims = match places.authenticated {
        true => "",
        false => "; claims need `auth: { jwt: … }`",
    };
    format!("{parameters}{claims}; other variables have a dot, such as `{{client.address}}`")
}

/// What happens; without `places`, names are looked up and texts are not compiled.
fn action(
    scope: &Scope<'_>,
    index: usize,
    written: &Written,
    places: Option<Places<'_>>,
    faults: &mut Faults,
) -> Action {
    let compiled = match (&written.action, places) {
        (WrittenAction::To(_) | WrittenAction::Versions(_), _) => {
            return forward(scope, index, written, faults);
        }
        (WrittenAction::Mock(_), _) => return Action::Mock,
        (_, None) => return Action::Forward(Vec::new()),
        (WrittenAction::Redirect(redirect), Some(_)) => RedirectPlan::compile(redirect)
            .map(Action::Redirect)
            .map_err(|fault| ("redirect", redirect.at, fault)),
        (WrittenAction::Respond(respond), Some(places)) => RespondPlan::compile(respond, places)
            .map(Action::Respond)
            .map_err(|fault| ("respond", respond.at, fault)),
    };
    compiled.unwrap_or_else(|(key, at, fault)| {
        let hint = places.map(places_hint);
        faults.error(
            format!("routes[{index}].{key}"),
            at,
            fault.to_string(),
            hint,
        );
        Action::Forward(Vec::new())
    })
}

fn forward(scope: &Scope<'_>, index: usize, written: &Written, faults: &mut Faults) -> Action {
    let path = format!("routes[{index}]");
    let mut share = |key: &str, destinations: &[WrittenDestination]| {
        if let [only] = destinations
            && only.weight > 1
        {
            let problem = "a weight says nothing when there is one destination";
            faults.warn(format!("{path}.{key}[0].weight"), only.at, problem, None);
        }
        if destinations.iter().all(|it| it.weight == 0) {
            let problem = "no destination has a weight above 0, so nothing could be sent";
            let hint = "give at least one destination a weight".to_owned();
            faults.error(format!("{path}.{key}"), written.at, problem, Some(hint));
        }
    };
    match &written.action {
        WrittenAction::Mock(_) | WrittenAction::Redirect(_) | WrittenAction::Respond(_) => {}
        WrittenAction::To(destinations) => share("to", destinations),
        WrittenAction::Versions(versions) => {
            for (name, version) in &versions.of {
                share(&format!("versions.of.{}.to", name.value), &version.to);
            }
        }
    }
    let destinations = written.action.destinations();
    let overrides = Overrides {
        timeouts: &written.timeouts,
        retry: &written.retry,
        response_bytes_max: written.response_bytes_max,
    };
    let compiled = destinations.filter_map(|(key, destination)| {
        let path = format!("{path}.{key}.service");
        compiled_destination(scope, destination, overrides, path, faults)
    });
    let compiled: Vec<_> = compiled.collect();
    for destination in &compiled {
        late_hedge(scope, written, &path, destination, faults);
    }
    Action::Forward(compiled)
}

/// Hedging that waits longer than anybody waits for an answer.
fn late_hedge(
    scope: &Scope<'_>,
    written: &Written,
    path: &str,
    destination: &Destination,
    faults: &mut Faults,
) {
    let (_, service) = &scope.document.services[destination.service.0 as usize];
    let own = TimeoutPlan::resolve(&service.timeouts, &Timeouts::default());
    let plan = destination.retry.hedge;
    let Some(problem) = plan.and_then(|plan| plan.problem(&destination.timeouts)) else {
        return;
    };
    // What the service says by itself is reported there.
    if written.retry.hedge.is_none() && plan.is_some_and(|plan| plan.problem(&own).is_some()) {
        return;
    }
    let at = written.retry.hedge.map_or(written.timeouts.at, |it| it.at);
    let hint = "shorten `retry.hedge`, or write `hedge: false`".to_owned();
    faults.error(format!("{path}.retry.hedge"), at, problem, Some(hint));
}

fn versions(
    index: usize,
    written: &Written,
    matcher: &Matcher,
    faults: &mut Faults,
) -> Option<Box<VersionPlan>> {
    let WrittenAction::Versions(versions) = &written.action else {
        return None;
    };
    match VersionPlan::compile(versions, &matcher.path) {
        Ok(plan) => Some(Box::new(plan)),
        Err(fault) => {
            let path = format!("routes[{index}].versions");
            faults.error(path, versions.at, fault.to_string(), None);
            None
        }
    }
}

/// What a route says over its service.
#[derive(Clone, Copy)]
pub(super) struct Overrides<'a> {
    pub(super) timeouts: &'a Timeouts,
    pub(super) retry: &'a Retry,
    pub(super) response_bytes_max: Option<Size>,
}

/// Resolves a destination.
pub(super) fn compiled_destination(
    scope: &Scope<'_>,
    written: &WrittenDestination,
    Overrides {
        timeouts,
        retry,
        response_bytes_max,
    }: Overrides<'_>,
    path: String,
    faults: &mut Faults,
) -> Option<Destination> {
    let name = written.service.value.as_str();
    let Some(&id) = scope.services.get(name) else {
        if scope.doubts.names(Section::Services) {
            return None;
        }
        let known = scope
            .document
            .services
            .iter()
            .map(|(name, _)| name.value.as_str());
        let hint = did_you_mean(name, known);
        faults.error(
            path,
            written.service.at,
            format!("there is no service `{name}`"),
            hint,
        );
        return None;
    };
    let (_, service) = &scope.document.services[id.0 as usize];
    Some(Destination {
        service: id,
        subset: subsets::wanted(&scope.compiled[id.0 as usize].subsets, written),
        weight: written.weight,
        timeouts: TimeoutPlan::resolve(&service.timeouts, timeouts),
        retry: RetryPlan::resolve(&service.retry, retry),
        response_bytes_max: response_bytes_max
            .or(service.response_bytes_max)
            .map_or(u64::MAX, |Size(bytes)| bytes),
        at: written.at,
    })
}

fn body_bytes_max(written: &Written, role: &Role) -> u64 {
    let default = match role {
        Role::Gateway => EDGE_BODY_BYTES_DEFAULT,
        Role::Sidecar { .. } => u64::MAX,
    };
    written.body_bytes_max.map_or(default, |Size(bytes)| bytes)
}

/// Largest request body at the gateway unless told: 1 MiB (nginx) annoys, unlimited is unsafe.
const EDGE_BODY_BYTES_DEFAULT: u64 = 10 * 1024 * 1024;
