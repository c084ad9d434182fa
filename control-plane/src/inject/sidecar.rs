//! The sidecar's container and its volumes, as they are put into a pod.

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::workload::Application;
use super::{CONTAINER, InjectOptions};

/// Where applications reach the mesh from inside the pod.
pub(super) const OUTBOUND_URL: &str = "http://127.0.0.1:15001";
/// The sidecar's mTLS port.
const INBOUND_PORT: u16 = 15008;
/// Health alone, for the kubelet's probes; the admin port stays on loopback.
const HEALTH_PORT: u16 = 15021;
/// User of the sidecar, kept apart from applications for interception rules.
const USER: u32 = 2102;

/// Volume that holds the join token.
const JOIN_VOLUME: &str = "weir-join";
/// Volume with the pod's labels: which of them say where and what the instance is, the sidecar
/// knows. The zone is among them where Kubernetes writes it to pods.
const LABELS_VOLUME: &str = "weir-labels";
/// Volume for the last good copy of the configuration; gone with the pod.
const STATE_VOLUME: &str = "weir-state";

/// The container for this application.
pub(super) fn container(application: &Application, options: &InjectOptions) -> Value {
    let probe = |seconds: u32, failures: u32| {
        json!({
            "httpGet": { "path": "/readyz", "port": HEALTH_PORT },
            "periodSeconds": seconds,
            "failureThreshold": failures,
        })
    };
    json!({
        "name": CONTAINER,
        "image": options.image,
        "imagePullPolicy": "IfNotPresent",
        "restartPolicy": "Always",
        "args": [
            format!("--service={}", application.service),
            format!("--application=127.0.0.1:{}", application.port),
            format!("--control-plane={}", options.control_plane),
            format!("--inbound=0.0.0.0:{INBOUND_PORT}"),
            format!("--advertise=$(POD_IP):{INBOUND_PORT}"),
            "--outbound=127.0.0.1:15001",
            format!("--health=0.0.0.0:{HEALTH_PORT}"),
            "--join-token-file=/var/run/weir/join/token",
            "--labels-file=/var/run/weir/pod/labels",
            "--state-dir=/var/lib/weir",
        ],
        "env": [
            { "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } },
            { "name": "WEIR_NODE", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
        ],
        "ports": [
            { "name": "weir-inbound", "containerPort": INBOUND_PORT, "protocol": "TCP" },
            { "name": "weir-health", "containerPort": HEALTH_PORT, "protocol": "TCP" },
        ],
        // One second a try for two minutes: the application waits until the mesh is ready.
        "startupProbe": probe(1, 120),
        "readinessProbe": probe(5, 2),
        "resources": {
            "requests": { "cpu": "10m", "memory": "16Mi" },
            "limits": { "memory": "128Mi" },
        },
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            "runAsNonRoot": true,
            "runAsUser": USER,
            "seccompProfile": { "type": "RuntimeDefault" },
        },
        "volumeMounts": [
            { "name": JOIN_VOLUME, "mountPath": "/var/run/weir/join", "readOnly": true },
            { "name": LABELS_VOLUME, "mountPath": "/var/run/weir/pod", "readOnly": true },
            { "name": STATE_VOLUME, "mountPath": "/var/lib/weir" },
        ],
    })
}

/// The volumes that the container mounts.
pub(super) fn volumes(options: &InjectOptions) -> [Value; 3] {
    [
        json!({
            "name": JOIN_VOLUME,
            "secret": { "secretName": options.join_secret, "items": [{ "key": "token", "path": "token" }] },
        }),
        json!({
            "name": LABELS_VOLUME,
            "downwardAPI": {
                "items": [{ "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } }],
            },
        }),
        json!({ "name": STATE_VOLUME, "emptyDir": { "sizeLimit": "64Mi" } }),
    ]
}

/// Digest of a container, the value of the `weir.mesh/injected` annotation.
pub(super) fn digest(container: &Value) -> String {
    let hash = Sha256::digest(container.to_string().as_bytes());
    hash.iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}
