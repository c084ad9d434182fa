//! Answers that a route gives by itself: redirects and fixed responses.

use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use weir_config::route::{Redirect, Respond};

use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::route::{Params, host};
use crate::snapshot::Route;

/// The fixed response of a route.
pub(super) fn respond(route: &Route, respond: &Respond) -> Result<Response<Bytes>, Refusal> {
    let mut response = Response::new(Bytes::copy_from_slice(respond.body.as_bytes()));
    *response.status_mut() = status(respond.status)?;
    let content_type = HeaderValue::from_str(&respond.content_type);
    if let Ok(content_type) = content_type {
        response.headers_mut().insert(CONTENT_TYPE, content_type);
    }
    finish(route, response.headers_mut());
    Ok(response)
}

/// The redirect of a route: what is not written stays as the request had it.
pub(super) fn redirect(
    route: &Route,
    redirect: &Redirect,
    request: &RequestView<'_>,
    path: &str,
    params: &Params,
) -> Result<Response<Bytes>, Refusal> {
    let location = location(route, redirect, request, path, params)?;
    let location = HeaderValue::try_from(location)
        .map_err(|_| Refusal::new(Code::BadPath).with_detail("it cannot stand in `Location`"))?;
    let mut response = Response::new(Bytes::new());
    *response.status_mut() = status(redirect.status)?;
    response.headers_mut().insert(LOCATION, location);
    finish(route, response.headers_mut());
    Ok(response)
}

fn location(
    route: &Route,
    redirect: &Redirect,
    request: &RequestView<'_>,
    path: &str,
    params: &Params,
) -> Result<String, Refusal> {
    let mut location = String::with_capacity(64 + path.len());
    if redirect.scheme.is_some() || redirect.host.is_some() {
        let current = if request.secure { "https" } else { "http" };
        let scheme = redirect.scheme.as_deref().unwrap_or(current);
        location.push_str(scheme);
        location.push_str("://");
        match &redirect.host {
            Some(host) => location.push_str(host),
            None => push_host(request, scheme == current, &mut location)?,
        }
    }
    let new = route
        .rewrite
        .path
        .as_ref()
        .map(|template| template.expand(path, params));
    let target = new.as_deref().unwrap_or(path);
    // `//x` would be another host to a browser.
    location.push('/');
    location.push_str(target.trim_start_matches('/'));
    if let Some(query) = request.query {
        location.push('?');
        location.push_str(query);
    }
    Ok(location)
}

/// The host the request asked for; its port only when the scheme stays, since the other scheme
/// listens elsewhere.
fn push_host(
    request: &RequestView<'_>,
    same_scheme: bool,
    location: &mut String,
) -> Result<(), Refusal> {
    let bad = |fault: host::HostFault| Refusal::new(Code::BadHost).with_detail(fault.to_string());
    let authority = host::of(
        request.authority,
        request.headers,
        request.version,
        request.secure,
    )
    .map_err(bad)?
    .ok_or_else(|| bad(host::HostFault::Missing))?;
    location.push_str(&authority.host);
    if let Some(port) = authority.port.filter(|_| same_scheme) {
        location.push(':');
        location.push_str(&port.to_string());
    }
    Ok(())
}

fn status(status: u16) -> Result<StatusCode, Refusal> {
    StatusCode::from_u16(status).map_err(|_| Refusal::new(Code::Internal))
}

fn finish(route: &Route, headers: &mut HeaderMap) {
    route.response_headers.apply(headers, None);
}
