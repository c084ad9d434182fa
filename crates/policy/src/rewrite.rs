//! What leaves towards endpoint and client.
//!
//! For: compiled changes of path, host and headers, and the fields that a proxy itself must take
//! out and put in. Not for: deciding what a route changes; the document does. The one idea: what a
//! client sent can fill a place in a value, never add one: path parameters stay one segment, and
//! values stay one field.

mod answer;
mod filled;
mod forwarding;
mod headers;
mod hop;
mod new_path;
mod rfc7239;
mod template;
mod underscores;
mod via;

use http::uri::{PathAndQuery, Uri};

pub use answer::{RedirectPlan, RespondPlan};
pub use filled::{Filled, NewHost};
pub use forwarding::Remote;
pub use headers::HeaderPlan;
pub use new_path::NewPath;
pub use template::{Template, TemplateFault, Values};
pub use underscores::hold_to;

pub(crate) use filled::fill;
pub(crate) use forwarding::{Origin, forward, hops, is_forgeable};
pub(crate) use hop::{has_token, strip_request, strip_response, strip_trailers};
pub(crate) use template::{Goes, Scope};
pub(crate) use via::add_via;

/// Changes of path and host. Of a redirect, they are where it leads.
#[derive(Debug, Default)]
pub struct RewritePlan {
    /// The new path.
    pub path: Option<NewPath>,
    /// The new host.
    pub host: Option<NewHost>,
}

/// The target in origin form: the path and the query it had.
pub(crate) fn origin_form(path: &str, query: Option<&str>) -> Uri {
    let target = match query {
        Some(query) => {
            let mut target = String::with_capacity(path.len() + 1 + query.len());
            target.push_str(path);
            target.push('?');
            target.push_str(query);
            PathAndQuery::try_from(target)
        }
        None => PathAndQuery::try_from(path),
    };
    debug_assert!(
        target.is_ok(),
        "a normalised path is a valid target: {path}"
    );
    // Never reached with a normalised path; the root cannot expose what a rule was to protect.
    Uri::from(target.unwrap_or_else(|_| PathAndQuery::from_static("/")))
}
