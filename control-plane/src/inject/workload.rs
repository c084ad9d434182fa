//! What injection reads of a workload: where its pod template is, which service it is, and on which
//! port its application listens.

use serde_json::Value;

use super::{ANNOTATION_PORT, ANNOTATION_SERVICE, CONTAINER, InjectError};

/// Kinds that have a pod template, and where it is; a `Pod` is its own.
pub const KINDS: &[(&str, &str)] = &[
    ("CronJob", "/spec/jobTemplate/spec/template"),
    ("DaemonSet", "/spec/template"),
    ("Deployment", "/spec/template"),
    ("Job", "/spec/template"),
    ("Pod", ""),
    ("ReplicaSet", "/spec/template"),
    ("ReplicationController", "/spec/template"),
    ("StatefulSet", "/spec/template"),
];

/// Longest name of a service.
const SERVICE_NAME_BYTES_MAX: usize = 63;

/// Kind and name for messages.
pub(super) fn shown(object: &Value) -> String {
    let kind = object
        .get("kind")
        .and_then(Value::as_str)
        .unwrap_or("object");
    let name = ["/metadata/name", "/metadata/generateName"]
        .iter()
        .find_map(|pointer| object.pointer(pointer).and_then(Value::as_str))
        .unwrap_or("without a name");
    format!("{kind} {name}")
}

/// The name of the workload: its own, or for a pod made by a controller the controller's (what is
/// left of `generateName` without the hash of the template).
pub(super) fn owner_name(object: &Value) -> Option<String> {
    if let Some(generated) = object
        .pointer("/metadata/generateName")
        .and_then(Value::as_str)
    {
        let base = generated.trim_end_matches('-');
        let hash = object
            .pointer("/metadata/labels/pod-template-hash")
            .and_then(Value::as_str);
        let base = match hash {
            Some(hash) => base
                .strip_suffix(hash)
                .unwrap_or(base)
                .trim_end_matches('-'),
            None => base,
        };
        return Some(base.to_owned());
    }
    object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .map(str::to_owned)
}

/// The pod template of a workload; a pod is its own.
pub(super) fn pod_template(object: &mut Value) -> Option<&mut Value> {
    let kind = object.get("kind").and_then(Value::as_str)?;
    let (_, pointer) = KINDS.iter().find(|(name, _)| *name == kind)?;
    object.pointer_mut(pointer)
}

/// An annotation of the pod.
pub(super) fn annotation<'a>(template: &'a Value, name: &str) -> Option<&'a str> {
    template
        .get("metadata")?
        .get("annotations")?
        .get(name)?
        .as_str()
}

/// What the sidecar must know of the application.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Application {
    /// Its service.
    pub(super) service: String,
    /// Its port.
    pub(super) port: u16,
}

impl Application {
    /// Reads it from the pod's annotations, labels and containers.
    pub(super) fn of(
        template: &Value,
        owner: Option<&str>,
        shown: &str,
    ) -> Result<Self, InjectError> {
        let object = || shown.to_owned();
        let service =
            service(template, owner).ok_or_else(|| InjectError::NoService { object: object() })?;
        let port = match annotation(template, ANNOTATION_PORT) {
            Some(value) => match value.parse() {
                Ok(port) if port != 0 => port,
                _ => {
                    return Err(InjectError::BadPort {
                        object: object(),
                        value: value.to_owned(),
                    });
                }
            },
            None => first_port(template).ok_or_else(|| InjectError::NoPort { object: object() })?,
        };
        Ok(Application { service, port })
    }
}

fn service(template: &Value, owner: Option<&str>) -> Option<String> {
    let label = |name: &str| template.get("metadata")?.get("labels")?.get(name)?.as_str();
    let name = annotation(template, ANNOTATION_SERVICE)
        .or_else(|| label("app.kubernetes.io/name"))
        .or_else(|| label("app"))
        .or(owner)?;
    let fits = !name.is_empty()
        && name.len() <= SERVICE_NAME_BYTES_MAX
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._".contains(&b));
    fits.then(|| name.to_owned())
}

/// The first TCP port that a container (not the sidecar's) declares.
fn first_port(template: &Value) -> Option<u16> {
    let containers = template.pointer("/spec/containers")?.as_array()?;
    containers
        .iter()
        .filter(|container| container.get("name").and_then(Value::as_str) != Some(CONTAINER))
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten()
        .filter(|port| {
            port.get("protocol")
                .and_then(Value::as_str)
                .unwrap_or("TCP")
                == "TCP"
        })
        .find_map(|port| u16::try_from(port.get("containerPort")?.as_u64()?).ok())
        .filter(|port| *port != 0)
}
