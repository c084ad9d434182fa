//! What stops a configuration outside its text, told as errors of the text where that can be.

use std::net::SocketAddr;

use weir_config::{ConfigError, ConfigErrors, Position};
use weir_policy::snapshot::Snapshot;
use weir_process::ports::bind_error;
use weir_telemetry::access_log::AccessLogError;

use crate::engine::InstallError;

/// An error that has no place in the document.
pub(super) fn one_error(problem: &str) -> ConfigErrors {
    at(String::new(), Position::default(), problem.to_owned())
}

/// An access log that cannot be written.
pub(super) fn access_log_error(error: &AccessLogError, snapshot: &Snapshot) -> ConfigErrors {
    at(
        "access_log".to_owned(),
        snapshot.access_log.at,
        error.to_string(),
    )
}

/// An installation that the engine refuses.
pub(super) fn install_error(error: &InstallError, snapshot: &Snapshot) -> ConfigErrors {
    match error {
        InstallError::Bind { address, source } => {
            let (path, position, flag) = place_of(*address, snapshot);
            at(path, position, bind_error(*address, source, &flag))
        }
        InstallError::Duplicate { address } => {
            let (path, position, _) = place_of(*address, snapshot);
            at(path, position, error.to_string())
        }
        InstallError::Stopped | InstallError::UnknownListener { .. } => {
            one_error(&error.to_string())
        }
    }
}

/// Path and place of the listener with this address, and how it is chosen.
fn place_of(address: SocketAddr, snapshot: &Snapshot) -> (String, Position, String) {
    let listener = snapshot.listeners.iter().find(|listener| {
        listener
            .config
            .as_ref()
            .is_some_and(|config| config.bind == address)
    });
    match listener {
        Some(listener) => {
            let path = format!("listeners.{}.bind", listener.name);
            (path.clone(), listener.at, path)
        }
        None => (
            String::new(),
            Position::default(),
            "--inbound or --outbound".to_owned(),
        ),
    }
}

fn at(path: String, at: Position, problem: String) -> ConfigErrors {
    ConfigErrors(vec![ConfigError {
        path,
        at,
        problem,
        hint: None,
    }])
}
