//! Injection: turns an ordinary Kubernetes workload into one with the sidecar.
//!
//! One function serves `weir inject` and the admission webhook, so both give the same result. It is
//! idempotent: injecting what was injected changes nothing, injecting with other options replaces
//! the sidecar. The sidecar is a *native sidecar container*: an init container with
//! `restartPolicy: Always`, first in the list, so that it is ready before the other containers
//! start and outlives them (Kubernetes 1.29 and later).

use serde_json::{Map, Value, json};

pub mod manifest;
pub mod review;
mod sidecar;
mod workload;

pub use workload::KINDS;

/// `enabled` (the default where injection is asked for) or `disabled`; annotation of the pod.
pub const ANNOTATION_INJECT: &str = "weir.mesh/inject";
/// The service the pod belongs to; annotation of the pod.
pub const ANNOTATION_SERVICE: &str = "weir.mesh/service";
/// The port on which the application listens; annotation of the pod.
pub const ANNOTATION_PORT: &str = "weir.mesh/port";
/// Digest of what was injected; written by injection.
pub const ANNOTATION_INJECTED: &str = "weir.mesh/injected";
/// Name of the sidecar's container.
pub const CONTAINER: &str = "weir-sidecar";

/// What is injected.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct InjectOptions {
    /// Image of the sidecar.
    #[arg(long, env = "WEIR_SIDECAR_IMAGE", default_value = concat!("weir-sidecar:", env!("CARGO_PKG_VERSION")))]
    pub image: String,
    /// Mesh port of the control plane, as pods reach it.
    #[arg(
        long = "inject-control-plane",
        env = "WEIR_INJECT_CONTROL_PLANE",
        default_value = "https://weir-control-plane.weir-system.svc:9902"
    )]
    pub control_plane: String,
    /// Secret (key `token`) that holds the join token, in the namespace of the pod.
    #[arg(long, env = "WEIR_JOIN_SECRET", default_value = "weir-join-token")]
    pub join_secret: String,
}

impl Default for InjectOptions {
    fn default() -> Self {
        InjectOptions {
            image: concat!("weir-sidecar:", env!("CARGO_PKG_VERSION")).to_owned(),
            control_plane: "https://weir-control-plane.weir-system.svc:9902".to_owned(),
            join_secret: "weir-join-token".to_owned(),
        }
    }
}

/// What injection did with one object.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The object with the sidecar (equal to the input when it was there already).
    Injected(Value),
    /// The object stays as it is, and why.
    Skipped(Skip),
}

/// Why an object stays as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// The pod says `weir.mesh/inject: disabled`.
    Disabled,
    /// The pod uses the host's network, where the sidecar's ports would collide.
    HostNetwork,
    /// It is not a workload.
    NotAWorkload,
}

impl Skip {
    /// The reason in words.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Skip::Disabled => "its annotation weir.mesh/inject says disabled",
            Skip::HostNetwork => "it uses the host's network",
            Skip::NotAWorkload => "it is not a workload",
        }
    }
}

/// Why a workload cannot be injected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InjectError {
    /// The object lacks a part that every workload has.
    #[error("{object}: {part} is missing or of the wrong type")]
    Malformed {
        /// Kind and name.
        object: String,
        /// The missing part.
        part: &'static str,
    },
    /// The application's port is not known.
    #[error(
        "{object}: the application's port is not known: no container declares a TCP containerPort; \
         set the pod annotation weir.mesh/port, or weir.mesh/inject: disabled"
    )]
    NoPort {
        /// Kind and name.
        object: String,
    },
    /// The port annotation is not a port.
    #[error("{object}: annotation weir.mesh/port must be a port from 1 to 65535, not {value:?}")]
    BadPort {
        /// Kind and name.
        object: String,
        /// What it says.
        value: String,
    },
    /// The service's name cannot be told.
    #[error(
        "{object}: the service's name is not known: set the pod annotation weir.mesh/service or the \
         label app.kubernetes.io/name"
    )]
    NoService {
        /// Kind and name.
        object: String,
    },
}

/// Injects the sidecar into one Kubernetes object.
///
/// # Errors
/// A workload from which port or service cannot be told, or which is malformed.
pub fn inject(object: &Value, options: &InjectOptions) -> Result<Outcome, InjectError> {
    let mut object = object.clone();
    let shown = workload::shown(&object);
    let owner = workload::owner_name(&object);
    let Some(template) = workload::pod_template(&mut object) else {
        return Ok(Outcome::Skipped(Skip::NotAWorkload));
    };
    if workload::annotation(template, ANNOTATION_INJECT) == Some("disabled") {
        return Ok(Outcome::Skipped(Skip::Disabled));
    }
    if template.pointer("/spec/hostNetwork") == Some(&Value::Bool(true)) {
        return Ok(Outcome::Skipped(Skip::HostNetwork));
    }
    let application = workload::Application::of(template, owner.as_deref(), &shown)?;
    let container = sidecar::container(&application, options);
    install(template, container, options, &shown)?;
    Ok(Outcome::Injected(object))
}

/// Puts container, volumes, environment and annotation into the pod template.
fn install(
    template: &mut Value,
    container: Value,
    options: &InjectOptions,
    shown: &str,
) -> Result<(), InjectError> {
    let malformed = |part| InjectError::Malformed {
        object: shown.to_owned(),
        part,
    };
    let digest = sidecar::digest(&container);

    let spec = template
        .get_mut("spec")
        .and_then(Value::as_object_mut)
        .ok_or_else(|| malformed("the pod's spec"))?;
    let init = list(spec, "initContainers").ok_or_else(|| malformed("initContainers"))?;
    init.retain(|other| other.get("name").and_then(Value::as_str) != Some(CONTAINER));
    init.insert(0, container);

    let volumes = list(spec, "volumes").ok_or_else(|| malformed("volumes"))?;
    for volume in sidecar::volumes(options) {
        put_named(volumes, volume);
    }
    let containers = list(spec, "containers").ok_or_else(|| malformed("containers"))?;
    for container in containers.iter_mut().filter_map(Value::as_object_mut) {
        let environment = list(container, "env").ok_or_else(|| malformed("a container's env"))?;
        put_named(
            environment,
            json!({ "name": "WEIR_OUTBOUND", "value": sidecar::OUTBOUND_URL }),
        );
    }

    let metadata = object(template, "metadata").ok_or_else(|| malformed("the pod's metadata"))?;
    let annotations = object_in(metadata, "annotations").ok_or_else(|| malformed("annotations"))?;
    annotations.insert(ANNOTATION_INJECTED.to_owned(), Value::String(digest));
    Ok(())
}

/// Replaces the entry of the same `name`, or appends.
fn put_named(entries: &mut Vec<Value>, entry: Value) {
    let same = |other: &&mut Value| other.get("name") == entry.get("name");
    match entries.iter_mut().find(same) {
        Some(found) => *found = entry,
        None => entries.push(entry),
    }
}

/// The list under `key`, made when absent or null; `None` when something else stands there.
fn list<'a>(parent: &'a mut Map<String, Value>, key: &str) -> Option<&'a mut Vec<Value>> {
    let entry = parent.entry(key).or_insert_with(|| json!([]));
    if entry.is_null() {
        *entry = json!([]);
    }
    entry.as_array_mut()
}

fn object<'a>(parent: &'a mut Value, key: &str) -> Option<&'a mut Map<String, Value>> {
    object_in(parent.as_object_mut()?, key)
}

/// The object under `key`, made when absent or null; `None` when something else stands there.
fn object_in<'a>(
    parent: &'a mut Map<String, Value>,
    key: &str,
) -> Option<&'a mut Map<String, Value>> {
    let entry = parent.entry(key).or_insert_with(|| json!({}));
    if entry.is_null() {
        *entry = json!({});
    }
    entry.as_object_mut()
}

#[cfg(test)]
mod tests;
