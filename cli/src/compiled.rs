//! A document as the gateway would run it, or the sidecar of a service: to look at, not to run.

use std::net::{Ipv4Addr, SocketAddr};

use weir_config::ConfigErrors;
use weir_policy::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::{Role, Snapshot};

use crate::files::LocalFiles;

/// Compiles a text as the gateway, or as the sidecar of a service.
pub(crate) fn snapshot(
    text: &str,
    sidecar: Option<&str>,
    revision: &str,
) -> Result<Snapshot, ConfigErrors> {
    let role = sidecar.map_or(Role::Gateway, sidecar_of);
    compile::read(text, &role, revision, &Live::default(), &LocalFiles)
}

fn sidecar_of(service: &str) -> Role {
    // No request leaves a snapshot that is only looked at; the application's port is never used.
    let application = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    Role::Sidecar {
        service: service.to_owned(),
        application,
    }
}
