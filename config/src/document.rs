//! The root of the language.

use std::collections::HashMap;
use std::path::PathBuf;

use ipnet::IpNet;

use crate::auth::Issuer;
use crate::bounds::{ISSUERS_MAX, LISTENERS_MAX, ROUTES_MAX, SERVICES_MAX};
use crate::broken::Broken;
use crate::cache::CacheStore;
use crate::declare::{defaulted, empty, object, required, words};
use crate::decode::{Complaint, Decoder, Path};
use crate::error::ConfigErrors;
use crate::give_way::free_each;
use crate::listener::Listener;
use crate::position::{Located, Position};
use crate::route::Route;
use crate::service::Service;
use crate::shape::Shape;
use crate::syntax::host::network;
use crate::syntax::plain::{Boolean, word};
use crate::syntax::text::{file, listener_name, name};
use crate::syntax::{Declared, Syntax, list, map, of};
use crate::yaml::{Node, Value, excerpt};

object! {
    /// A whole document. Names are unique in their map and match
    /// `[a-z0-9]([a-z0-9._-]*[a-z0-9])?`, at most 63 characters.
    pub default struct Document {
        /// Listeners of the gateway by name. `mesh` is reserved.
        pub listeners: Vec<(Located<String>, Listener)> =
            empty(map(listener_name(), of::<Listener>()).at_most(LISTENERS_MAX)
                .standing_in(Listener::stand_in)),
        /// Services by name.
        pub services: Vec<(Located<String>, Service)> =
            empty(map(name(), of::<Service>()).at_most(SERVICES_MAX)
                .standing_in(Service::stand_in)),
        /// Routes.
        pub routes: Vec<Route> =
            empty(list(of::<Route>()).at_most(ROUTES_MAX).standing_in(Route::stand_in)),
        /// Token issuers by name.
        pub issuers: Vec<(Located<String>, Issuer)> =
            empty(map(name(), of::<Issuer>()).at_most(ISSUERS_MAX)
                .standing_in(Issuer::stand_in)),
        /// Access log of every proxy: `stdout`, `off` or `{ file: path }`.
        pub access_log: AccessLog = empty(of::<AccessLog>()).note("`stdout`"),
        /// What the response cache of a gateway may hold.
        pub cache: CacheStore = empty(of::<CacheStore>()).note("256MiB"),
        /// Addresses of proxies in front of the gateway whose forwarding fields are believed: the
        /// client is the rightmost address in them that is not one of these. Of anybody else they
        /// are removed.
        pub trusted_proxies: Vec<IpNet> = empty(list(network())).note("none"),
        /// Fields that tell services where a request came from, and trusted proxies tell Weir.
        pub forwarded: Forwarded = defaulted(word::<Forwarded>(), Forwarded::XForwarded),
        /// Whether requests and responses that are passed on say so in `Via` (RFC 9110, 7.6.3).
        pub via: bool = defaulted(Boolean, true),
    }
}

impl Document {
    /// Reads a document from YAML text.
    ///
    /// # Errors
    /// Every error of the text at once, in order of place.
    pub fn from_yaml(text: &str) -> Result<Document, ConfigErrors> {
        Document::read_yaml(text).map_err(|broken| broken.into_errors(Vec::new(), 0))
    }

    /// Reads a document from YAML text, and as much as can be read of a broken one.
    ///
    /// # Errors
    /// What could be read, and every error of the text.
    pub fn read_yaml(text: &str) -> Result<Document, Box<Broken>> {
        crate::broken::read(text)
    }

    /// Lets go of it piece by piece: a large document takes milliseconds.
    pub fn free(self) {
        free_each(self.routes);
        free_each(self.services);
    }

    pub(crate) fn decode(tree: &Node, decoder: &mut Decoder) -> Option<Document> {
        check_route_names(tree, decoder);
        Document::read(tree, decoder)
    }

    /// The service of that name.
    pub fn service(&self, name: &str) -> Option<&Service> {
        self.services
            .iter()
            .find(|(known, _)| known.value == name)
            .map(|(_, service)| service)
    }
}

words! {
    /// Forwarding fields.
    pub enum Forwarded: Default {
        /// `X-Forwarded-*` and `Forwarded`; of a trusted proxy the first are believed.
        Both = "both",
        /// None; what a trusted proxy sends is passed on.
        Off = "off",
        /// `Forwarded` with `for`, `host` and `proto` (RFC 7239).
        Rfc7239 = "rfc7239",
        /// `X-Forwarded-For`, `-Proto`, `-Host` and `-Port`.
        XForwarded (default) = "x-forwarded",
    }
}

/// Route names are unique. Looked up in the tree, so that a route with another error counts too.
fn check_route_names(document: &Node, decoder: &mut Decoder) {
    let Some(Value::List(routes)) = document.get("routes").map(|routes| &routes.value) else {
        return;
    };
    let mut seen: HashMap<&str, Position> = HashMap::new();
    for (index, route) in routes.iter().enumerate() {
        let Some(name) = route.get("name") else {
            continue;
        };
        let Value::Scalar { text, .. } = &name.value else {
            continue;
        };
        let first = *seen.entry(text.as_str()).or_insert(name.at);
        if first == name.at {
            continue;
        }
        let problem = format!(
            "the route name `{}` is already there, in line {}",
            excerpt(text),
            first.line
        );
        let complaint = Complaint::new(problem).hint("give each route its own name");
        let mut path = Path::default();
        path.push_key("routes");
        path.push_index(index);
        path.push_key("name");
        decoder.report_at_path(path, name.at, complaint);
    }
}

/// Where the access log goes.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AccessLog {
    /// `stdout` unless told.
    pub to: AccessLogTarget,
    /// Where it was written.
    pub at: Position,
}

/// Target of the access log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum AccessLogTarget {
    /// A file, appended to; reopened on SIGHUP.
    File(PathBuf),
    /// Not written.
    Off,
    /// Standard output.
    #[default]
    Stdout,
}

words! {
    /// Targets of the access log that need nothing more.
    enum AccessLogWord {
        /// Not written.
        Off = "off",
        /// Standard output.
        Stdout = "stdout",
    }
}

object! {
    /// A file for the access log.
    struct AccessLogFile {
        /// Appended to; reopened on SIGHUP.
        pub file: PathBuf = required(file()),
    }
}

impl Declared for AccessLog {
    fn read(node: &Node, decoder: &mut Decoder) -> Option<Self> {
        let to = if node.is_scalar() {
            match word::<AccessLogWord>().read(node, decoder)? {
                AccessLogWord::Off => AccessLogTarget::Off,
                AccessLogWord::Stdout => AccessLogTarget::Stdout,
            }
        } else {
            AccessLogTarget::File(AccessLogFile::read(node, decoder)?.file)
        };
        Some(AccessLog { to, at: node.at })
    }

    fn shape() -> Shape {
        Shape::AnyOf(vec![
            word::<AccessLogWord>().shape(),
            AccessLogFile::shape(),
        ])
    }
}
