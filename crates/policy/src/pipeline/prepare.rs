//! The third phase: the received head becomes the one that leaves.

use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderValue, Uri, request};
use weir_config::criticality::Criticality;

use super::Admitted;
use crate::resilience::criticality::{CRITICALITY_HEADER, class_of};
use crate::rewrite::{self, NewHost, Origin, Remote};
use crate::route::host;
use crate::snapshot::{Route, Snapshot};

/// See [`super::prepare`].
pub(super) fn prepare(
    snapshot: &Snapshot,
    admitted: &Admitted,
    secure: bool,
    remote: &Remote,
    head: &mut request::Parts,
) {
    let route = snapshot.route(admitted.route);
    let edge = snapshot.listener(admitted.listener).edge;
    let trusted = edge && snapshot.trusts(remote.address);
    let host = asked_host(head);

    // In the mesh the field stays as it came, unless the route has something to say.
    let class = (edge || route.criticality.is_some())
        .then(|| class_of(route.criticality, &head.headers, !edge || trusted))
        .filter(|class| *class != Criticality::Default);

    // What spoke about the connection, and what nobody outside may say.
    let distrust = edge && !trusted;
    rewrite::strip_request(&mut head.headers, |name| {
        (distrust && rewrite::is_forgeable(name)) || (edge && name.starts_with("weir-"))
    });

    if let Some(class) = class {
        let value = HeaderValue::from_static(class.as_str());
        head.headers.insert(CRITICALITY_HEADER, value);
    }

    // Where it goes.
    let origin = Origin {
        remote,
        secure,
        host: host.clone(),
        edge,
        trusted,
        fields: snapshot.forwarded,
    };
    rewrite::forward(&mut head.headers, &origin);
    if snapshot.via {
        rewrite::add_via(&mut head.headers, head.version);
    }
    if let Some(target) = target(admitted, &head.uri) {
        head.uri = target;
    }
    set_host(route, admitted, host.as_ref(), head);

    if let Some(plan) = &route.content
        && admitted.upgrade.is_none()
    {
        plan.prepare(admitted.content.as_deref(), &mut head.headers);
    }

    // What the route says, last: it may change anything above.
    let filled = admitted.filled.as_deref();
    let values = filled.map_or(&[][..], |filled| &filled.request_headers);
    route.request_headers.apply(&mut head.headers, values);
    if let Some(protocol) = &admitted.upgrade {
        head.headers.insert(UPGRADE, protocol.clone());
        head.headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
}

/// The authority the request asked for, as sent.
fn asked_host(head: &request::Parts) -> Option<HeaderValue> {
    match head.uri.authority() {
        Some(authority) => HeaderValue::from_str(authority.as_str()).ok(),
        None => head.headers.get(HOST).cloned(),
    }
}

/// The new target; `None` when the received one is it.
fn target(admitted: &Admitted, asked: &Uri) -> Option<Uri> {
    let new = admitted.filled.as_ref();
    let new = new.and_then(|filled| filled.path.as_deref());
    if let Some(path) = new.or(admitted.path.as_deref()) {
        return Some(rewrite::origin_form(path, asked.query()));
    }
    asked.authority()?;
    // Nothing is copied: the parts of a URI share one buffer.
    asked
        .path_and_query()
        .map(|target| Uri::from(target.clone()))
}

/// The route's host, else the client's in normal form.
fn set_host(
    route: &Route,
    admitted: &Admitted,
    asked: Option<&HeaderValue>,
    head: &mut request::Parts,
) {
    let new = match &route.rewrite.host {
        Some(NewHost::Fixed(host)) => Some(host),
        Some(NewHost::Template(_)) => {
            let filled = admitted.filled.as_ref();
            filled.and_then(|filled| filled.host.as_ref())
        }
        None => None,
    };
    let host = match (new, asked) {
        (Some(new), _) => Some(new.clone()),
        (None, Some(asked)) => {
            let sent = || (head.headers.get(HOST) != Some(asked)).then(|| asked.clone());
            normal_host(asked).or_else(sent)
        }
        (None, None) => None,
    };
    if let Some(host) = host {
        head.headers.insert(HOST, host);
    }
}

/// The normal form of a host that is not in it. It was admitted, so that only capital letters and
/// a trailing dot can be amiss.
fn normal_host(asked: &HeaderValue) -> Option<HeaderValue> {
    let mut last = b'.';
    let mut normal = true;
    for &byte in asked.as_bytes() {
        normal &= !(byte.is_ascii_uppercase() || (byte == b':' && last == b'.'));
        last = byte;
    }
    if normal && last != b'.' {
        return None;
    }
    let authority = host::parse(asked.to_str().ok()?).ok()?;
    let port = authority
        .port
        .map(|port| format!(":{port}"))
        .unwrap_or_default();
    HeaderValue::try_from(format!("{}{port}", authority.host)).ok()
}
