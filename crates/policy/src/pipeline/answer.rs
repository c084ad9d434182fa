//! Answers that a route gives by itself: redirects and fixed responses.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response};

use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::rewrite::{Filled, NewHost, RedirectPlan, RespondPlan, Values};
use crate::route::host;
use crate::snapshot::Route;

/// The fixed response of a route.
pub(super) fn respond(
    route: &Route,
    respond: &RespondPlan,
    values: &Values<'_>,
    filled: Option<&Filled>,
) -> Response<Bytes> {
    let mut response = Response::new(respond.body(values));
    *response.status_mut() = respond.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, respond.content_type.clone());
    if respond.varies() {
        // Values were escaped for this type, so nobody may guess another.
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    }
    finish(route, filled, headers);
    response
}

/// A fixed response that does not depend on the request.
pub(crate) fn fixed(
    route: &Route,
    respond: &RespondPlan,
    filled: Option<&Filled>,
) -> Response<Bytes> {
    let mut response = Response::new(respond.fixed().unwrap_or_default());
    *response.status_mut() = respond.status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, respond.content_type.clone());
    finish(route, filled, headers);
    response
}

/// An answer that was made elsewhere, with what the route adds to all of them.
pub(super) fn made(
    route: &Route,
    mut response: Response<Bytes>,
    filled: Option<&Filled>,
) -> Response<Bytes> {
    finish(route, filled, response.headers_mut());
    response
}

/// The redirect of a route: what is not written stays as the request had it.
pub(super) fn redirect(
    route: &Route,
    redirect: &RedirectPlan,
    values: &Values<'_>,
    filled: Option<&Filled>,
) -> Result<Response<Bytes>, Refusal> {
    let location = location(route, redirect, values, filled)?;
    let location = HeaderValue::try_from(location)
        .map_err(|_| Refusal::new(Code::BadPath).with_detail("it cannot stand in `Location`"))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = redirect.status;
    response.headers_mut().insert(LOCATION, location);
    finish(route, filled, response.headers_mut());
    Ok(response)
}

fn location(
    route: &Route,
    redirect: &RedirectPlan,
    values: &Values<'_>,
    filled: Option<&Filled>,
) -> Result<Vec<u8>, Refusal> {
    let request = values.request;
    let mut location = Vec::with_capacity(64 + values.path.len());
    if redirect.scheme.is_some() || route.rewrite.host.is_some() {
        let current = if request.secure { "https" } else { "http" };
        let scheme = redirect.scheme.as_deref().unwrap_or(current);
        location.extend_from_slice(scheme.as_bytes());
        location.extend_from_slice(b"://");
        let varying = filled.and_then(|filled| filled.host.as_ref());
        match (&route.rewrite.host, varying) {
            (Some(NewHost::Fixed(host)), _) | (Some(_), Some(host)) => {
                location.extend_from_slice(host.as_bytes());
            }
            _ => push_host(request, scheme == current, &mut location)?,
        }
    }
    let new = filled.and_then(|filled| filled.path.as_deref());
    let target = new.unwrap_or(values.path);
    // `//x` would be another host to a browser.
    location.push(b'/');
    location.extend_from_slice(target.trim_start_matches('/').as_bytes());
    if let Some(query) = request.query.filter(|_| redirect.keeps_query) {
        location.push(b'?');
        location.extend_from_slice(query.as_bytes());
    }
    Ok(location)
}

/// The host the request asked for; its port only when the scheme stays, since the other scheme
/// listens elsewhere.
fn push_host(
    request: &RequestView<'_>,
    same_scheme: bool,
    location: &mut Vec<u8>,
) -> Result<(), Refusal> {
    let authority = host::of(
        request.authority,
        request.headers,
        request.version,
        request.secure,
    )?
    .ok_or(host::HostFault::Missing)?;
    location.extend_from_slice(authority.host.as_bytes());
    if let Some(port) = authority.port.filter(|_| same_scheme) {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    Ok(())
}

fn finish(route: &Route, filled: Option<&Filled>, headers: &mut HeaderMap) {
    let filled = filled.map_or(&[][..], |filled| &filled.response_headers);
    route.response_headers.apply(headers, filled);
}
