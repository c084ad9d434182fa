//! Token issuers. Only those that a route of this role asks for are kept, so that a sidecar does
//! not fetch keys that it never needs.

use std::collections::HashMap;
use std::net::IpAddr;

use http::Uri;
use weir_config::auth::{Issuer as Written, Jwks};
use weir_config::broken::{Doubts, Section};
use weir_config::{Document, Located};

use super::faults::{Faults, did_you_mean};
use super::routes::is_attached;
use crate::live::Live;
use crate::snapshot::{Issuer, IssuerId, Role};

/// The issuers in use and where each stands. Names that are known but not in use map to `None`.
pub(super) fn compile<'d>(
    document: &'d Document,
    doubts: &Doubts,
    role: &Role,
    live: &Live,
    faults: &mut Faults,
) -> (Vec<Issuer>, HashMap<&'d str, Option<IssuerId>>) {
    let mut used: Vec<&str> = Vec::new();
    for route in document
        .routes
        .iter()
        .filter(|route| is_attached(route, role))
    {
        let issuer = route.auth.as_ref().and_then(|auth| auth.jwt.as_ref());
        if let Some(name) = issuer.map(|name| name.value.as_str())
            && !used.contains(&name)
        {
            used.push(name);
        }
    }
    let mut issuers = Vec::new();
    let mut ids = HashMap::new();
    for (name, written) in &document.issuers {
        check(document, doubts, &name.value, written, faults);
        let mut id = None;
        if used.contains(&name.value.as_str()) {
            id = u16::try_from(issuers.len()).ok().map(IssuerId);
            issuers.push(Issuer {
                name: name.value.as_str().into(),
                config: written.clone(),
                live: live.issuer(&name.value),
            });
        }
        ids.insert(name.value.as_str(), id);
    }
    (issuers, ids)
}

fn check(document: &Document, doubts: &Doubts, name: &str, written: &Written, faults: &mut Faults) {
    match &written.jwks {
        Jwks::File(_) => {}
        Jwks::Service { .. } if doubts.names(Section::Services) => {}
        Jwks::Service { service, .. } => {
            let known = document
                .services
                .iter()
                .map(|(name, _)| name.value.as_str());
            if !known.clone().any(|known| known == service.value) {
                let problem = format!("there is no service `{}`", service.value);
                let hint = did_you_mean(&service.value, known);
                faults.error(
                    format!("issuers.{name}.jwks.service"),
                    service.at,
                    problem,
                    hint,
                );
            }
        }
        Jwks::Url(url) => {
            if let Err((problem, hint)) = check_url(url) {
                faults.error(format!("issuers.{name}.jwks"), url.at, problem, Some(hint));
            }
        }
    }
}

/// Keys that anybody on the way could exchange are no keys.
fn check_url(url: &Located<String>) -> Result<(), (String, String)> {
    let example = || "write `https://id.example/.well-known/jwks.json`".to_owned();
    let not_url = |_| (format!("`{}` is not a URL", url.value), example());
    let uri: Uri = url.value.parse().map_err(not_url)?;
    match (uri.scheme_str(), uri.host()) {
        (Some("https"), Some(_)) => Ok(()),
        (Some("http"), Some(host)) if is_loopback(host) => Ok(()),
        (Some("http"), Some(host)) => Err((
            format!("keys must not travel in clear text from `{host}`"),
            "use `https`; `http` is for loopback addresses only".to_owned(),
        )),
        _ => Err((
            format!("`{}` is not an http or https URL", url.value),
            example(),
        )),
    }
}

fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
