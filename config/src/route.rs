//! Which requests go where, and under what rules.

use ipnet::IpNet;

use crate::auth::Auth;
use crate::bounds::{DESTINATION_WEIGHT_MAX, DESTINATIONS_MAX};
use crate::compress::Compress;
use crate::cors::Cors;
use crate::declare::{by_key, defaulted, empty, object, optional, place, required, variants};
use crate::decode::{Complaint, Decoder};
use crate::fault::Fault;
use crate::limit::{Limit, LimitKey};
use crate::pattern::{HostPattern, PathPattern, ValuePattern};
use crate::position::{Located, Position};
use crate::resilience::{Retry, Timeouts};
use crate::syntax::host::{authority, host_pattern, network};
use crate::syntax::http::{
    changeable_header, content_type, cookie_name, header_name, header_value, method, scheme,
};
use crate::syntax::path::{rewritten_path, target_path};
use crate::syntax::plain::whole;
use crate::syntax::text::{Body, labels, name, route_name, text};
use crate::syntax::unit::size;
use crate::syntax::{at, list, map, of, pairs};
use crate::units::Size;
use crate::yaml::Node;

object! {
    /// One route. A request takes the most specific route that matches; file order decides only
    /// between equals.
    pub struct Route {
        check Route::check;
        /// Its name in logs, metrics and explanations. Unique.
        pub name: Option<Located<String>> =
            optional(at(route_name())).note("method and path"),
        /// Hosts it is for.
        pub hosts: Vec<Located<HostPattern>> =
            empty(list(at(host_pattern())).not_empty()).note("any"),
        /// Path pattern.
        pub path: Located<PathPattern> = required(at(of::<PathPattern>())),
        /// Methods. `GET` brings `HEAD`.
        pub methods: Vec<Located<http::Method>> =
            empty(list(at(method())).not_empty()).note("any"),
        /// Request headers that must match.
        pub headers: Vec<(Located<http::HeaderName>, ValuePattern)> =
            empty(map(header_name(), of::<ValuePattern>())),
        /// Query parameters that must match.
        pub query: Vec<(Located<String>, ValuePattern)> =
            empty(map(text(), of::<ValuePattern>())),
        /// Cookies that must match. Their names are case-sensitive.
        pub cookies: Vec<(Located<String>, ValuePattern)> =
            empty(map(cookie_name(), of::<ValuePattern>())),
        /// Client networks it is for.
        pub clients: Vec<IpNet> = empty(list(network()).not_empty()).note("any"),
        /// Listeners it is attached to. The name `mesh` is the outbound listener of every sidecar.
        pub listeners: Vec<Located<String>> =
            empty(list(at(name())).not_empty()).note("every listener of the gateway"),
        /// What is asked of callers.
        pub auth: Option<Auth> = optional(of::<Auth>()).note("nothing"),
        /// Rate limits, the specific ones before the shared ones.
        pub limits: Vec<Limit> as "limit" = empty(list(of::<Limit>())),
        /// Where it goes. Exactly one of `to`, `respond`, `redirect`.
        pub action: Action = by_key(),
        /// What is changed on the way to the service.
        pub rewrite: Option<Rewrite> = optional(of::<Rewrite>()),
        /// Changes to request headers.
        pub request_headers: HeaderChanges = empty(of::<HeaderChanges>()),
        /// Changes to response headers.
        pub response_headers: HeaderChanges = empty(of::<HeaderChanges>()),
        /// Overrides of the service's deadlines.
        pub timeouts: Timeouts = empty(of::<Timeouts>()),
        /// Overrides of the service's retries.
        pub retry: Retry = empty(of::<Retry>()),
        /// Which pages of other origins may read answers.
        pub cors: Option<Cors> = optional(of::<Cors>()).note("what the service says"),
        /// Compression of responses. `true` is all defaults.
        pub compress: Option<Compress> = optional(of::<Compress>()).note("the listener's"),
        /// Largest request body; more is refused with 413.
        pub body_bytes_max: Option<Size> =
            optional(size()).note("`10MiB` at the gateway, unlimited in the mesh"),
        /// Largest response body, in place of the service's.
        pub response_bytes_max: Option<Size> = optional(size()).note("the service's"),
        /// Faults injected on purpose.
        pub fault: Option<Fault> = optional(of::<Fault>()).note("none"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Route {
    /// A route from a path to a service, with all defaults.
    pub fn to(path: PathPattern, service: impl Into<String>) -> Self {
        let action = Action::To(vec![Destination::to(service)]);
        Route::with_action(path, action)
    }

    /// A route with all defaults.
    pub fn with_action(path: PathPattern, action: Action) -> Self {
        Route {
            name: None,
            hosts: Vec::new(),
            path: Located::unwritten(path),
            methods: Vec::new(),
            headers: Vec::new(),
            query: Vec::new(),
            cookies: Vec::new(),
            clients: Vec::new(),
            listeners: Vec::new(),
            auth: None,
            limits: Vec::new(),
            action,
            rewrite: None,
            request_headers: HeaderChanges::default(),
            response_headers: HeaderChanges::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            cors: None,
            compress: None,
            body_bytes_max: None,
            response_bytes_max: None,
            fault: None,
            at: Position::default(),
        }
    }

    /// For one that cannot be read: it names nothing and nobody.
    pub(crate) fn stand_in() -> Self {
        let respond = Respond {
            status: 503,
            body: String::new(),
            content_type: String::new(),
            at: Position::default(),
        };
        let path = PathPattern::Exact("/".to_owned());
        Route::with_action(path, Action::Respond(respond))
    }

    /// What the fields say together.
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if let Some(rewrite) = &self.rewrite {
            decoder.in_key("rewrite", |decoder| self.check_rewrite(rewrite, decoder));
        }
        for (index, limit) in self.limits.iter().enumerate() {
            let LimitKey::Claim(claim) = &limit.by else {
                continue;
            };
            if self.auth.is_none() {
                let complaint = Complaint::new(format!(
                    "counts by the claim `{claim}`, but this route asks for no token"
                ))
                .hint("add `auth: { jwt: … }` or count by `client`");
                decoder.in_key("limit", |decoder| match self.limits.len() {
                    1 => decoder.report(limit.at, complaint),
                    _ => decoder.in_item(index, |decoder| decoder.report(limit.at, complaint)),
                });
            }
        }
    }

    fn check_rewrite(&self, rewrite: &Rewrite, decoder: &mut Decoder) {
        if !matches!(self.action, Action::To(_)) {
            let complaint = Complaint::new("nothing goes to a service, so nothing is rewritten")
                .hint("`rewrite` belongs to a route with `to`");
            decoder.report(rewrite.at, complaint);
        }
        let Some(path) = &rewrite.path else { return };
        let known: Vec<&str> = self.path.parameters().collect();
        for name in path
            .split('{')
            .skip(1)
            .filter_map(|rest| rest.split('}').next())
        {
            if !known.contains(&name) {
                let problem = format!("`path` has no parameter `{name}`");
                let hint = match known.as_slice() {
                    [] => format!("write the route's path as a template: `/…/{{{name}}}`"),
                    _ => format!("its parameters: {}", known.join(", ")),
                };
                let complaint = Complaint::new(problem).hint(hint);
                decoder.in_key("path", |decoder| decoder.report(rewrite.at, complaint));
            }
        }
    }
}

variants! {
    /// What happens to a matched request.
    pub enum Action {
        /// `redirect: { … }`: the client is sent elsewhere.
        Redirect(Redirect) = "redirect", of::<Redirect>() => Action::Redirect,
        /// `respond: { status: …, body: … }`: Weir answers by itself.
        Respond(Respond) = "respond", of::<Respond>() => Action::Respond,
        /// `to: users`, or a list of weighted services.
        To(Vec<Destination>) = "to",
            of::<Destinations>() => |Destinations(destinations)| Action::To(destinations),
    }
}

/// The destinations of a route, of which at least one has a share.
struct Destinations(Vec<Destination>);

impl crate::syntax::Declared for Destinations {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        use crate::syntax::Syntax as _;
        let read = list(of::<Destination>())
            .not_empty()
            .at_most(DESTINATIONS_MAX);
        let destinations = read.read(node, decoder)?;
        if destinations
            .iter()
            .all(|destination| destination.weight == 0)
        {
            let complaint = Complaint::new("all weights are 0, so nobody would answer")
                .hint("give at least one destination a weight");
            decoder.report(node.at, complaint);
            return None;
        }
        Some(Destinations(destinations))
    }

    fn shape() -> crate::shape::Shape {
        use crate::syntax::Syntax as _;
        list(of::<Destination>())
            .not_empty()
            .at_most(DESTINATIONS_MAX)
            .shape()
    }
}

object! {
    /// One destination and its weight; the service's name alone says it too.
    pub struct Destination: Eq {
        short at(name()) => |service, at| Destination {
            service,
            weight: 1,
            labels: Vec::new(),
            at,
        };
        /// The service's name.
        pub service: Located<String> = required(at(name())),
        /// Its share relative to the others; 0 sends it nothing.
        pub weight: u32 = defaulted(whole(0, DESTINATION_WEIGHT_MAX), 1),
        /// Only endpoints with all of these labels; without any such endpoint the answer is 503
        /// with the code `subset-empty`.
        pub labels: Vec<(String, String)> = empty(labels()).note("every endpoint"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Destination {
    /// A destination of weight 1.
    pub fn to(service: impl Into<String>) -> Self {
        let service = Located::unwritten(service.into());
        Destination {
            service,
            weight: 1,
            labels: Vec::new(),
            at: Position::default(),
        }
    }
}

object! {
    /// A fixed answer.
    pub struct Respond {
        /// Status.
        pub status: u16 = required(whole(200, 599)),
        /// Body, at most 64 KiB.
        pub body: String = defaulted(Body, String::new()),
        /// Content type.
        pub content_type: String =
            defaulted(content_type(), "text/plain; charset=utf-8".to_owned()),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// A redirect: what is not written stays as the request had it.
    pub default struct Redirect {
        check Redirect::check;
        /// Status: 301, 302, 303, 307 or 308.
        pub status: u16 = defaulted(whole(301, 308), 308),
        /// `http` or `https`.
        pub scheme: Option<String> = optional(scheme()).note("as it was"),
        /// New host (and port).
        pub host: Option<String> = optional(authority()).note("as it was"),
        /// New path; keeps the query.
        pub path: Option<String> = optional(target_path()).note("as it was"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Redirect {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if ![301, 302, 303, 307, 308].contains(&self.status) {
            let complaint = Complaint::new(format!("{} is not a redirect", self.status))
                .hint("301, 302, 303, 307 or 308; 308 is permanent and keeps the method");
            decoder.in_key("status", |decoder| decoder.report(node.at, complaint));
        }
        if self.scheme.is_none() && self.host.is_none() && self.path.is_none() {
            let complaint = Complaint::new("redirects to where it came from")
                .hint("change at least one of `scheme`, `host` and `path`");
            decoder.report(node.at, complaint);
        }
    }
}

object! {
    /// What is changed on the way to the service.
    pub default struct Rewrite {
        check Rewrite::check;
        /// Replaces what `path` matched as a prefix; for exact paths and templates, the whole path.
        /// `{id}` stands for a path parameter.
        pub path: Option<String> = optional(rewritten_path()).note("as it was"),
        /// Host sent to the service.
        pub host: Option<String> = optional(authority()).note("the client's"),
        /// Where it was written.
        pub at: Position = place(),
    }
}

impl Rewrite {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if self.path.is_none() && self.host.is_none() {
            let complaint =
                Complaint::new("rewrites nothing").hint("give it `path` or `host`, or remove it");
            decoder.report(node.at, complaint);
        }
    }
}

object! {
    /// Changes to headers, applied as remove, set, add.
    pub default struct HeaderChanges {
        /// Replaced or inserted.
        pub set: Vec<(http::HeaderName, http::HeaderValue)> =
            empty(pairs(changeable_header(), header_value())),
        /// Appended.
        pub add: Vec<(http::HeaderName, http::HeaderValue)> =
            empty(pairs(changeable_header(), header_value())),
        /// Removed.
        pub remove: Vec<http::HeaderName> = empty(list(changeable_header())),
    }
}
