//! What a route's templates become for one request: made once it is admitted, used when it leaves
//! and when its response does.

use http::{HeaderName, HeaderValue};
use weir_config::Position;

use super::headers::HeaderPlan;
use super::new_path::failed;
use super::template::{Goes, Template, Values};
use crate::note::{Note, Step};
use crate::refusal::Refusal;
use crate::route::host;
use crate::route::path::Rules;
use crate::snapshot::Route;
use crate::transform::FilledJson;

/// A host that is the same for every request, or made from it.
#[derive(Debug)]
pub enum NewHost {
    /// The same for every request.
    Fixed(HeaderValue),
    /// Made from it.
    Template(Template),
}

/// The filled templates of a route.
#[derive(Debug, Default)]
pub struct Filled {
    /// The path that leaves, or where a redirect leads; `None` where it stays.
    pub path: Option<String>,
    /// The host that leaves, or that a redirect leads to; `None` where no template gives it.
    pub host: Option<HeaderValue>,
    /// Values of request headers, in the order of the plan's templates.
    pub request_headers: Vec<Option<HeaderValue>>,
    /// Values of response headers, in the order of the plan's templates.
    pub response_headers: Vec<Option<HeaderValue>>,
    /// Values of fields of the request's body.
    pub(crate) request_json: FilledJson,
    /// Values of fields of the response's body.
    pub(crate) response_json: FilledJson,
}

/// Fills the templates of a route; `None` when it has none.
///
/// # Errors
/// `rewrite-failed`: path or host cannot be made from this request.
pub(crate) fn fill(
    route: &Route,
    values: &Values<'_>,
    rules: Rules,
    note: &mut impl Note,
) -> Result<Option<Box<Filled>>, Refusal> {
    let rewrite = &route.rewrite;
    let host_varies = matches!(rewrite.host, Some(NewHost::Template(_)));
    let varies = rewrite.path.is_some()
        || host_varies
        || route.request_headers.varies()
        || route.response_headers.varies()
        || route.content.as_ref().is_some_and(|plan| plan.varies());
    if !varies {
        return Ok(None);
    }
    let path = match &rewrite.path {
        Some(path) => path.make(&route.matcher.path, values, rules)?,
        None => None,
    };
    let host = match &rewrite.host {
        Some(NewHost::Template(template)) => Some(filled_host(template, values)?),
        Some(NewHost::Fixed(_)) | None => None,
    };
    let mut headers = |plan: &HeaderPlan, kind: &str| -> Vec<Option<HeaderValue>> {
        let templates = plan.templates();
        let value = |(name, template): (&HeaderName, &Template)| {
            let value = filled_header(template, values);
            if let Err(why) = &value {
                left_out(kind, name, why, route.at, note);
            }
            value.ok()
        };
        templates.map(value).collect()
    };
    let request_headers = headers(&route.request_headers, "request");
    let response_headers = headers(&route.response_headers, "response");
    let (request_json, response_json) = match &route.content {
        Some(plan) => plan.fill(values),
        None => Default::default(),
    };
    Ok(Some(Box::new(Filled {
        path,
        host,
        request_headers,
        response_headers,
        request_json,
        response_json,
    })))
}

fn filled_host(template: &Template, values: &Values<'_>) -> Result<HeaderValue, Refusal> {
    let filled = template.fill(values, None, Goes::Host);
    let filled =
        filled.map_err(|unfilled| failed(format!("`{unfilled}` has no value for the new host")))?;
    let unfit = || failed("what would be the new host is none".to_owned());
    let text = String::from_utf8(filled).map_err(|_| unfit())?;
    let authority = host::parse(&text).map_err(|_| unfit())?;
    let port = authority.port.map(|port| format!(":{port}"));
    let normal = format!("{}{}", authority.host, port.unwrap_or_default());
    HeaderValue::try_from(normal).map_err(|_| unfit())
}

/// The value of a field, or why there is none.
fn filled_header(template: &Template, values: &Values<'_>) -> Result<HeaderValue, String> {
    let filled = template.fill(values, None, Goes::Header);
    let filled = filled.map_err(|unfilled| format!("`{unfilled}` has no value"))?;
    // A line break, for one, is refused here.
    HeaderValue::try_from(filled).map_err(|_| "no field can hold what would be its value".into())
}

fn left_out(kind: &str, name: &HeaderName, why: &str, at: Position, note: &mut impl Note) {
    note.note(|| Step {
        area: "rewrite",
        said: format!("the {kind} header `{name}` is left out: {why}"),
        at,
    });
}
