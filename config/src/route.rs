//! Which requests go where, and under what rules.

use ipnet::IpNet;

use crate::auth::Auth;
use crate::bounds::{DESTINATION_WEIGHT_MAX, DESTINATIONS_MAX, MIRRORS_MAX};
use crate::cache::RouteCache;
use crate::compress::Compress;
use crate::cors::Cors;
use crate::criticality::Criticality;
use crate::declare::{
    by_key, defaulted, empty, object, optional, place, required, variants, words,
};
use crate::decode::{Complaint, Decoder};
use crate::fallback::Fallback;
use crate::fault::Fault;
use crate::limit::{Limit, LimitKey};
use crate::mirror::Mirror;
use crate::openapi::{Mock, Openapi};
use crate::pattern::{HostPattern, PathPattern, ValuePattern};
use crate::position::{Located, Position};
use crate::resilience::{Retry, Timeouts};
use crate::syntax::host::{host_pattern, network};
use crate::syntax::http::{
    changeable_header, content_type, cookie_name, header_name, method, scheme,
};
use crate::syntax::path::regex;
use crate::syntax::plain::{whole, word};
use crate::syntax::template::{BodyTemplate, header_template, new_host, new_path};
use crate::syntax::text::{labels, name, route_name, text};
use crate::syntax::unit::size;
use crate::syntax::{at, list, map, mapped, of, pairs};
use crate::template::Template;
use crate::transform::Transform;
use crate::units::Size;
use crate::version::{VersionBy, Versions};
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
        /// Methods. `GET` brings `HEAD`. `CONNECT` stands alone: such a route passes bytes on to
        /// its service, and a route without `methods` takes every method but `CONNECT`.
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
        /// Where it goes. Exactly one of `to`, `versions`, `respond`, `redirect`, `mock`.
        pub action: Action = by_key(),
        /// What is changed on the way to the service.
        pub rewrite: Option<Rewrite> = optional(of::<Rewrite>()),
        /// Changes to request headers.
        pub request_headers: HeaderChanges = empty(of::<HeaderChanges>()),
        /// Changes to response headers.
        pub response_headers: HeaderChanges = empty(of::<HeaderChanges>()),
        /// The OpenAPI document that requests are held against.
        pub openapi: Option<Openapi> = optional(of::<Openapi>()).note("none"),
        /// Changes to JSON bodies.
        pub transform: Option<Transform> = optional(of::<Transform>()).note("none"),
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
        /// How much its requests matter when the service sheds load (`limits.adaptive`). What a
        /// trusted proxy or the mesh says in `weir-criticality` goes before; a client cannot say
        /// it.
        pub criticality: Option<Criticality> =
            optional(word::<Criticality>()).note("`default`"),
        /// Stores answers and serves them again, at the gateway.
        pub cache: Option<RouteCache> = optional(of::<RouteCache>()).note("nothing is stored"),
        /// Copies of its requests for other services.
        pub mirrors: Vec<Mirror> as "mirror" = empty(list(of::<Mirror>()).at_most(MIRRORS_MAX)),
        /// What answers when its service gave up; absent: the failure is answered as it is.
        pub fallback: Option<Fallback> = optional(of::<Fallback>()).note("none"),
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
            openapi: None,
            transform: None,
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            cors: None,
            compress: None,
            body_bytes_max: None,
            response_bytes_max: None,
            fault: None,
            criticality: None,
            cache: None,
            mirrors: Vec::new(),
            fallback: None,
            at: Position::default(),
        }
    }

    /// For one that cannot be read: it names nothing and nobody.
    pub(crate) fn stand_in() -> Self {
        let respond = Respond {
            status: 503,
            body: Template::default(),
            content_type: String::new(),
            at: Position::default(),
        };
        let path = PathPattern::Exact("/".to_owned());
        Route::with_action(path, Action::Respond(respond))
    }

    /// What the fields say together.
    fn check(&self, _node: &Node, decoder: &mut Decoder) {
        if let Some(cache) = &self.cache
            && !matches!(self.action, Action::To(_))
        {
            let complaint = Complaint::new("nothing goes to a service, so nothing is stored")
                .hint("`cache` belongs to a route with `to`");
            decoder.in_key("cache", |decoder| decoder.report(cache.at, complaint));
        }
        self.check_shaping(decoder);
        if let Some(connect) = self.connect() {
            self.check_connect(connect, decoder);
        }
        self.check_content(decoder);
        if let Some(rewrite) = &self.rewrite {
            decoder.in_key("rewrite", |decoder| self.check_rewrite(rewrite, decoder));
        }
        if let Action::Versions(versions) = &self.action {
            decoder.in_key("versions", |decoder| self.check_versions(versions, decoder));
        }
        if let Action::Redirect(redirect) = &self.action {
            decoder.in_key("redirect", |decoder| self.check_redirect(redirect, decoder));
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

    /// Where it says that it takes CONNECT.
    pub fn connect(&self) -> Option<Position> {
        let mut methods = self.methods.iter();
        let connect = methods.find(|method| method.value == http::Method::CONNECT);
        connect.map(|method| method.at)
    }

    /// What goes through a tunnel is not read, so nothing about it can be said.
    fn check_connect(&self, at: Position, decoder: &mut Decoder) {
        if self.methods.len() > 1 {
            let complaint = Complaint::new("`CONNECT` stands with other methods")
                .hint("give the others a route of their own");
            decoder.in_key("methods", |decoder| decoder.report(at, complaint));
        }
        if self.path.value != PathPattern::Prefix(String::new()) {
            let complaint = Complaint::new("a CONNECT request has no path")
                .hint("write `path: \"/*\"`; `hosts` says which authorities are taken");
            decoder.in_key("path", |decoder| decoder.report(self.path.at, complaint));
        }
        if !matches!(self.action, Action::To(_)) {
            let complaint =
                Complaint::new("bytes of a CONNECT need a service to go to").hint("write `to`");
            decoder.in_key("methods", |decoder| decoder.report(at, complaint));
        }
        let written = [
            ("cache", self.cache.is_some()),
            ("compress", self.compress.is_some()),
            ("cors", self.cors.is_some()),
            ("fallback", self.fallback.is_some()),
            ("mirror", !self.mirrors.is_empty()),
            ("openapi", self.openapi.is_some()),
            ("query", !self.query.is_empty()),
            (
                "request_headers",
                self.request_headers != HeaderChanges::default(),
            ),
            ("rewrite", self.rewrite.is_some()),
            ("transform", self.transform.is_some()),
        ];
        for (key, _) in written.into_iter().filter(|(_, is_written)| *is_written) {
            let complaint = Complaint::new("what a CONNECT carries is not read as HTTP")
                .hint(format!("take `{key}` out of this route"));
            decoder.in_key(key, |decoder| decoder.report(at, complaint));
        }
        if let Some(hedge) = self.retry.hedge.filter(|hedge| hedge.attempts > 0) {
            let complaint = Complaint::new("a tunnel has one endpoint, and no answer to wait for")
                .hint("take `hedge` out of this route; that of its service does not hold for it");
            decoder.in_key("retry", |decoder| {
                decoder.in_key("hedge", |decoder| decoder.report(hedge.at, complaint));
            });
        }
    }

    /// What only makes sense where a service is asked.
    fn check_shaping(&self, decoder: &mut Decoder) {
        if matches!(self.action, Action::To(_) | Action::Versions(_)) {
            return;
        }
        let written = [
            ("mirror", self.mirrors.first().map(|mirror| mirror.at)),
            (
                "fallback",
                self.fallback.as_ref().map(|fallback| fallback.at),
            ),
        ];
        for (key, at) in written.into_iter().filter_map(|(key, at)| Some((key, at?))) {
            let complaint = Complaint::new("no service is asked, so this never happens").hint(
                format!("`{key}` belongs to a route with `to` or `versions`"),
            );
            decoder.in_key(key, |decoder| decoder.report(at, complaint));
        }
    }

    /// What is done with bodies, and with what document.
    fn check_content(&self, decoder: &mut Decoder) {
        if let (Action::Mock(mock), None) = (&self.action, &self.openapi) {
            let complaint = Complaint::new("there is no document to take examples from")
                .hint("give the route `openapi: { file: … }`");
            decoder.in_key("mock", |decoder| decoder.report(mock.at, complaint));
        }
        let Some(transform) = &self.transform else {
            return;
        };
        let mut refuse = |problem: &str, hint: &str| {
            let complaint = Complaint::new(problem).hint(hint);
            decoder.in_key("transform", |decoder| {
                decoder.report(transform.at, complaint);
            });
        };
        if !matches!(self.action, Action::To(_) | Action::Versions(_)) {
            refuse(
                "nothing goes to a service, so nothing is changed",
                "`transform` belongs to a route with `to` or `versions`",
            );
        }
        if self.cache.is_some() && transform.response.is_some() {
            refuse(
                "a stored answer is not changed",
                "a route has `cache` or `transform.response`, not both",
            );
        }
    }

    fn check_rewrite(&self, rewrite: &Rewrite, decoder: &mut Decoder) {
        if !matches!(self.action, Action::To(_) | Action::Versions(_)) {
            let complaint = Complaint::new("nothing goes to a service, so nothing is rewritten")
                .hint("`rewrite` belongs to a route with `to`");
            decoder.report(rewrite.at, complaint);
        }
    }

    fn check_versions(&self, versions: &Versions, decoder: &mut Decoder) {
        let VersionBy::Path(name) = &versions.by.value else {
            return;
        };
        if !self.path.parameters().any(|known| known == name) {
            let complaint = Complaint::new(format!("the route's path has no parameter `{name}`"))
                .hint(format!(
                    "write the version as a segment of the path: `/{{{name}}}/…`"
                ));
            decoder.in_key("by", |decoder| decoder.report(versions.by.at, complaint));
        }
    }

    fn check_redirect(&self, redirect: &Redirect, decoder: &mut Decoder) {
        let below = match &self.path.value {
            PathPattern::Prefix(_) => true,
            PathPattern::Template { below, .. } => *below,
            PathPattern::Exact(_) | PathPattern::Regex(_) => false,
        };
        if let (Some(prefix), false) = (&redirect.prefix, below) {
            let complaint = Complaint::new("nothing follows what this route's path matched")
                .hint("write `path`, or end the route's path in `/*`");
            decoder.in_key("prefix", |decoder| decoder.report(prefix.at, complaint));
        }
    }
}

variants! {
    /// What happens to a matched request.
    pub enum Action {
        /// `mock: true`: Weir answers from the examples of the route's OpenAPI document.
        Mock(Mock) = "mock", of::<Mock>() => Action::Mock,
        /// `redirect: { … }`: the client is sent elsewhere.
        Redirect(Redirect) = "redirect", of::<Redirect>() => Action::Redirect,
        /// `respond: { status: …, body: … }`: Weir answers by itself.
        Respond(Respond) = "respond", of::<Respond>() => Action::Respond,
        /// `to: users`, or a list of weighted services.
        To(Vec<Destination>) = "to", destinations() => Action::To,
        /// `versions: { by: …, of: … }`: to a service for each version of an API.
        Versions(Versions) = "versions", of::<Versions>() => Action::Versions,
    }
}

impl Action {
    /// Every destination that it may send to, with its key below the route.
    pub fn destinations(&self) -> impl Iterator<Item = (String, &Destination)> {
        let lists: Vec<(String, &[Destination])> = match self {
            Action::Mock(_) | Action::Redirect(_) | Action::Respond(_) => Vec::new(),
            Action::To(list) => vec![("to".to_owned(), list)],
            Action::Versions(versions) => {
                let key = |name: &str| format!("versions.of.{name}.to");
                let each = versions.of.iter();
                each.map(|(name, version)| (key(name), version.to.as_slice()))
                    .collect()
            }
        };
        lists.into_iter().flat_map(|(key, list)| {
            let keyed = move |(nr, it)| (format!("{key}[{nr}]"), it);
            list.iter().enumerate().map(keyed)
        })
    }
}

/// A service, or a list of weighted ones, of which at least one has a share.
pub(crate) fn destinations() -> impl crate::syntax::Syntax<Value = Vec<Destination>> {
    mapped(of::<Destinations>(), |Destinations(destinations)| {
        destinations
    })
}

/// The destinations of a route, of which at least one has a share.
pub(crate) struct Destinations(pub(crate) Vec<Destination>);

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
        /// Body, at most 64 KiB. [Variables](#variables) are escaped as the content type asks
        /// (JSON, HTML, XML, plain text; others can have none).
        pub body: Template = defaulted(BodyTemplate, Template::default()),
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
        short scheme() => |scheme, at| Redirect {
            scheme: Some(scheme),
            at,
            ..Redirect::default()
        };
        check Redirect::check;
        /// Status: 301, 302, 303, 307 or 308.
        pub status: u16 = defaulted(whole(301, 308), 308),
        /// `http` or `https`.
        pub scheme: Option<String> = optional(scheme()).note("as it was"),
        /// New host (and port).
        pub host: Option<Located<Template>> = optional(at(new_host())).note("as it was"),
        /// New path, with [variables](#variables).
        pub path: Option<NewPath> = optional(of::<NewPath>()).note("as it was"),
        /// Replaces what the route's `/*` path matched as a prefix; what follows it stays. Instead
        /// of `path`.
        pub prefix: Option<Located<Template>> =
            optional(at(new_path())).note("as it was"),
        /// Whether the query goes along.
        pub query: RedirectQuery = defaulted(word(), RedirectQuery::Keep),
        /// Where it was written.
        pub at: Position = place(),
    }
}

words! {
    /// What a redirect does with the query.
    pub enum RedirectQuery: Default {
        /// It goes along.
        Keep (default) = "keep",
        /// It is dropped.
        Drop = "drop",
    }
}

impl Redirect {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if ![301, 302, 303, 307, 308].contains(&self.status) {
            let complaint = Complaint::new(format!("{} is not a redirect", self.status))
                .hint("301, 302, 303, 307 or 308; 308 is permanent and keeps the method");
            decoder.in_key("status", |decoder| decoder.report(node.at, complaint));
        }
        let elsewhere = self.scheme.is_some() || self.host.is_some();
        if !elsewhere && self.path.is_none() && self.prefix.is_none() {
            let complaint = Complaint::new("redirects to where it came from")
                .hint("change at least one of `scheme`, `host`, `path` and `prefix`");
            decoder.report(node.at, complaint);
        }
        if let (Some(_), Some(prefix)) = (&self.path, &self.prefix) {
            let complaint = Complaint::new("`path` and `prefix` exclude each other")
                .hint("`path` is the whole new path; `prefix` keeps what follows it");
            decoder.in_key("prefix", |decoder| decoder.report(prefix.at, complaint));
        }
    }
}

object! {
    /// What is changed on the way to the service.
    pub default struct Rewrite {
        check Rewrite::check;
        /// Replaces what `path` matched as a prefix; for exact paths, templates and expressions,
        /// the whole path. With [variables](#variables). What comes out is checked like the path of
        /// a request.
        pub path: Option<NewPath> = optional(of::<NewPath>()).note("as it was"),
        /// Host sent to the service, with [variables](#variables).
        pub host: Option<Located<Template>> =
            optional(at(new_host())).note("the client's"),
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
    /// A new path: a text with [variables](#variables), or what an expression makes of the old
    /// path.
    pub struct NewPath {
        short at(new_path()) => |with, at| NewPath { regex: None, with, at };
        /// The whole old path must match this regular expression (anchored at both ends); another
        /// one stays as it is.
        pub regex: Option<String> = required(mapped(regex(), Some)),
        /// The new path. `$1` stands for the first group, `{name}` also for a named one, `$$` for
        /// `$`.
        pub with: Located<Template> = required(at(new_path())),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// Changes to headers, applied as remove, set, add. Values may have [variables](#variables):
    /// where one has no value, `set` removes the header and `add` adds none.
    pub default struct HeaderChanges {
        /// Replaced or inserted.
        pub set: Vec<(http::HeaderName, Located<Template>)> =
            empty(pairs(changeable_header(), at(header_template()))),
        /// Appended.
        pub add: Vec<(http::HeaderName, Located<Template>)> =
            empty(pairs(changeable_header(), at(header_template()))),
        /// Removed.
        pub remove: Vec<http::HeaderName> = empty(list(changeable_header())),
    }
}
