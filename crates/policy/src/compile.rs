//! Document → [`Snapshot`], collecting every error: unknown services, issuers and listeners, equal
//! routes, bad regular expressions, weights that send nothing anywhere.
//!
//! For: everything that takes more than one place of the document to know. Not for: the form of
//! single values; `weir-config` refuses those while decoding. The one idea: the whole document is
//! checked for every role, and only then the part that the role runs is built, so that what one
//! proxy takes no other refuses. A document that `weir-config` refuses is checked too, as far as it
//! could be read, so that its author sees every error at once.

mod duplicates;
mod equals;
mod faults;
mod files;
mod issuers;
mod limits;
mod listeners;
mod names;
mod openapi;
mod routes;
mod services;
mod shaping;
mod subsets;
mod transforms;
mod tunnels;

use std::net::SocketAddr;
use std::sync::Arc;

use weir_config::broken::{Broken, Doubts};
use weir_config::{ConfigError, ConfigErrors, Document};

use crate::live::Live;
use crate::snapshot::{Issuer, Role, Service, Snapshot};
use faults::Faults;
use routes::Compiled;

pub use files::{Elsewhere, FileText, Files};
pub(crate) use openapi::ApiKey;

/// Reads and compiles a text for one role: the way of every document into a proxy. Handles into
/// `live` are taken for everything that a valid document names; call [`Live::retain`] once the
/// snapshot is installed.
///
/// # Errors
/// Every error at once, with path and place: those of the text, those that [`compile`] finds in
/// what could be read, and those of the files that it names.
pub fn read(
    text: &str,
    role: &Role,
    revision: &str,
    live: &Live,
    files: &dyn Files,
) -> Result<Snapshot, ConfigErrors> {
    match Document::read_yaml(text) {
        Ok(document) => compile_with(Arc::new(document), role, revision, live, files),
        Err(broken) => Err(refuse(*broken, std::slice::from_ref(role), files)),
    }
}

/// A document that every proxy takes.
#[derive(Debug)]
pub struct Checked {
    /// The document.
    pub document: Document,
    /// What is allowed but looks wrong.
    pub warnings: Vec<ConfigError>,
}

/// Checks a text as the gateway and every sidecar would.
///
/// # Errors
/// Every error of either at once, each once.
pub fn check(text: &str, files: &dyn Files) -> Result<Checked, ConfigErrors> {
    let roles = [Role::Gateway, any_sidecar()];
    let document = match Document::read_yaml(text) {
        Ok(document) => document,
        Err(broken) => return Err(refuse(*broken, &roles, files)),
    };
    let faults = find(&document, &Doubts::default(), &roles, files);
    let warnings = faults.finish()?;
    Ok(Checked { document, warnings })
}

/// A sidecar to check documents with: what it makes of one does not depend on its service, and no
/// request ever leaves it.
fn any_sidecar() -> Role {
    Role::Sidecar {
        service: "any".to_owned(),
        application: SocketAddr::from(([127, 0, 0, 1], 1)),
    }
}

/// Every error of a broken document, for some roles.
fn refuse(broken: Broken, roles: &[Role], files: &dyn Files) -> ConfigErrors {
    let Broken { rest, doubts, .. } = &broken;
    let found = find(rest, doubts, roles, files);
    broken.into_errors(found.errors, found.dropped)
}

/// What is wrong with a document, for some roles.
fn find(document: &Document, doubts: &Doubts, roles: &[Role], files: &dyn Files) -> Faults {
    let mut faults = Faults::default();
    for role in roles {
        // Nothing is kept: not a snapshot, and no state of a proxy that runs something else.
        let live = Live::default();
        resolve(document, doubts, role, (&live, files), &mut faults);
        if faults.dropped > 0 {
            // More than are shown: those of another role would only be counted twice.
            break;
        }
    }
    faults
}

/// Compiles a document for one role, without the files that it names. Handles into `live` are taken
/// for everything it names; call [`Live::retain`] once the snapshot is installed.
///
/// # Errors
/// Every error at once, with path and place.
pub fn compile(
    document: Arc<Document>,
    role: &Role,
    revision: &str,
    live: &Live,
) -> Result<Snapshot, ConfigErrors> {
    compile_with(document, role, revision, live, &Elsewhere)
}

/// The same with the files that it names.
///
/// # Errors
/// Every error at once, with path and place, those of the files among them.
pub fn compile_with(
    document: Arc<Document>,
    role: &Role,
    revision: &str,
    live: &Live,
    files: &dyn Files,
) -> Result<Snapshot, ConfigErrors> {
    let mut faults = Faults::default();
    let doubts = Doubts::default();
    let mut resolved = resolve(&document, &doubts, role, (live, files), &mut faults);
    let warnings = faults.finish()?;

    let (services, routes) = (&resolved.services, &mut resolved.routes);
    let listeners = listeners::build(&document, role, services, routes, live);
    Ok(Snapshot {
        revision: revision.into(),
        listeners,
        routes: resolved.routes.kept,
        services: resolved.services,
        issuers: resolved.issuers,
        trusted_proxies: document.trusted_proxies.clone(),
        forwarded: document.forwarded,
        via: document.via,
        access_log: document.access_log.clone(),
        document,
        role: role.clone(),
        warnings,
    })
}

/// A document with every name resolved.
struct Resolved {
    services: Vec<Service>,
    issuers: Vec<Issuer>,
    routes: Compiled,
}

/// Resolves a document, or what could be read of one: what is wrong with it goes to `faults`, and
/// nothing is concluded from what is in doubt.
fn resolve(
    document: &Document,
    doubts: &Doubts,
    role: &Role,
    (live, files): (&Live, &dyn Files),
    faults: &mut Faults,
) -> Resolved {
    listeners::check(document, doubts, role, faults);
    tunnels::check(document, doubts, faults);
    let services = services::compile(document, role, live, faults);
    let (issuers, issuer_ids) = issuers::compile(document, doubts, role, live, faults);
    let names = names::assign(document, doubts, faults);
    let scope = routes::Scope {
        document,
        doubts,
        role,
        services: services::by_name(document),
        compiled: &services,
        issuers: issuer_ids,
        live,
        files,
        apis: openapi::Apis::default(),
        stores: document.routes.iter().any(|route| route.cache.is_some()),
    };
    let routes = routes::compile(&scope, &names, faults);
    duplicates::check(document, &routes, faults);
    equals::check(document, &routes, faults);
    Resolved {
        services,
        issuers,
        routes,
    }
}
