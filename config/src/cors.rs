//! Cross-origin resource sharing (the CORS protocol of the Fetch standard).

use std::time::Duration;

use crate::declare::{defaulted, empty, object, place, required};
use crate::decode::{Complaint, Decoder};
use crate::position::Position;
use crate::syntax::http::{header_name, method, origin};
use crate::syntax::list;
use crate::syntax::plain::Boolean;
use crate::syntax::unit::duration;
use crate::yaml::Node;

object! {
    /// Which pages of other origins may read the answers of a route. Weir answers preflights by
    /// itself, before tokens and limits are asked for, and what the service says about CORS is
    /// replaced. A list of origins is this with all defaults.
    pub struct Cors: Eq {
        short list(origin()).not_empty() => |origins, at| Cors { at, ..Cors::of(origins) };
        check Cors::check;
        /// Origins: `https://shop.example`, `https://*.shop.example`, or `*` for every page.
        pub origins: Vec<OriginPattern> = required(list(origin()).not_empty()),
        /// Methods that pages may use.
        pub methods: Vec<http::Method> =
            defaulted(list(method()).not_empty(), methods_default()),
        /// Request headers that pages may send.
        pub headers: Vec<http::HeaderName> =
            empty(list(header_name()).not_empty()).note("those that they ask for"),
        /// Response headers that pages may read, beside the few that they always may.
        pub expose: Vec<http::HeaderName> = empty(list(header_name()).not_empty()),
        /// Whether requests carry cookies and HTTP authentication. Not together with `*`.
        pub credentials: bool = defaulted(Boolean, false),
        /// How long a browser remembers the answer to a preflight.
        // Chromium forgets after two hours whatever it is told.
        pub max_age: Duration = defaulted(duration(), MAX_AGE),
        /// Where it was written.
        pub at: Position = place(),
    }
}

const MAX_AGE: Duration = Duration::from_secs(600);

/// An origin as a document writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OriginPattern {
    /// `*`.
    Any,
    /// `https://shop.example`: scheme, host and port, where it is not the scheme's own.
    Exact(String),
    /// `https://*.shop.example`: one or more labels before.
    Below {
        /// `http://` or `https://`.
        scheme: String,
        /// `.shop.example`, with the port where there is one.
        suffix: String,
    },
}

impl Cors {
    /// With all defaults for these origins.
    pub fn of(origins: Vec<OriginPattern>) -> Self {
        Cors {
            origins,
            methods: methods_default(),
            headers: Vec::new(),
            expose: Vec::new(),
            credentials: false,
            max_age: MAX_AGE,
            at: Position::default(),
        }
    }

    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if self.credentials && self.origins.contains(&OriginPattern::Any) {
            let complaint = Complaint::new("every page on the web could act as its visitor")
                .hint("with `credentials`, list the origins instead of `*`");
            decoder.in_key("origins", |decoder| decoder.report(node.at, complaint));
        }
    }
}

fn methods_default() -> Vec<http::Method> {
    use http::Method;
    vec![
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
    ]
}
