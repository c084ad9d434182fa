//! The sidecar comes into Kubernetes workloads the same way by command and by webhook.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use weir_e2e::command::{program, weir};
use weir_e2e::stand::Stand;
use weir_testkit::process::Launch;

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: orders, namespace: shop }
spec:
  replicas: 2
  selector: { matchLabels: { app: orders } }
  template:
    metadata: { labels: { app: orders } }
    spec:
      initContainers:
        - { name: migrate, image: "orders:1", command: [migrate] }
      containers:
        - name: orders
          image: "orders:1"
          ports: [{ containerPort: 8080 }]
          env: [{ name: LOG, value: debug }]
        - { name: exporter, image: "exporter:1" }
"#;

/// Injects the Deployment with `weir inject` and gives the file and its content.
async fn injected_by_command(stand: &Stand, file: &str) -> (String, Value) {
    let yaml = weir(&["inject", "-f", file]).await.fine();
    let path = stand.file("injected.yaml", &yaml);
    (path, serde_saphyr::from_str(&yaml).unwrap())
}

/// Sends a review to the webhook as the API server does: over TLS, by the service's name, trusting
/// the roots that the control plane's API tells (the `caBundle` of the webhook's configuration).
async fn reviewed(stand: &Stand, object: &Value) -> Value {
    let trust: Value = stand.get("/v1/trust").await.json();
    let roots = stand.file("roots.pem", trust["bundle_pem"].as_str().unwrap());
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": { "uid": "11-22", "operation": "CREATE", "object": object },
    });
    let body = stand.file("review.json", &review.to_string());
    let name = "weir-control-plane.weir-system.svc";
    let port = stand.mesh().port();
    let arguments = [
        "--silent",
        "--show-error",
        "--fail-with-body",
        "--cacert",
        &roots,
        "--resolve",
        &format!("{name}:{port}:127.0.0.1"),
        "--header",
        "content-type: application/json",
        "--data",
        &format!("@{body}"),
        &format!("https://{name}:{port}/inject"),
    ];
    let answer = program("curl", &arguments).await;
    let mut answer: Value = serde_json::from_str(&answer.fine()).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["response"]["uid"], "11-22");
    answer["response"].take()
}

/// The object after the answer's patch.
fn patched(object: &Value, response: &Value) -> Value {
    assert_eq!(response["allowed"], true, "{response}");
    let mut object = object.clone();
    if let Some(patch) = response["patch"].as_str() {
        assert_eq!(response["patchType"], "JSONPatch");
        let patch = STANDARD.decode(patch).unwrap();
        let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
        json_patch::patch(&mut object, &patch).unwrap();
    }
    object
}

#[tokio::test]
async fn command_and_webhook_make_the_same_pod() {
    let stand = Stand::start().await;
    let file = stand.file("deploy.yaml", DEPLOYMENT);
    let (_, by_command) = injected_by_command(&stand, &file).await;
    let deployment: Value = serde_saphyr::from_str(DEPLOYMENT).unwrap();

    let spec = &by_command["spec"]["template"]["spec"];
    let sidecar = &spec["initContainers"][0];
    assert_eq!(sidecar["name"], "weir-sidecar");
    assert_eq!(sidecar["restartPolicy"], "Always", "a native sidecar");
    assert_eq!(spec["initContainers"][1]["name"], "migrate");

    // The Deployment itself.
    let by_webhook = patched(&deployment, &reviewed(&stand, &deployment).await);
    assert_eq!(by_webhook, by_command);

    // What clusters really ask about: the pod that a controller made of the template.
    let mut pod = deployment["spec"]["template"].clone();
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["generateName"] = json!("orders-5d4f8-");
    pod["metadata"]["labels"]["pod-template-hash"] = json!("5d4f8");
    let pod = patched(&pod, &reviewed(&stand, &pod).await);
    assert_eq!(pod["spec"], *spec);
    assert_eq!(
        pod["metadata"]["annotations"],
        by_command["spec"]["template"]["metadata"]["annotations"]
    );
}

#[tokio::test]
async fn a_second_injection_changes_nothing() {
    let stand = Stand::start().await;
    let file = stand.file("deploy.yaml", DEPLOYMENT);
    let (injected, once) = injected_by_command(&stand, &file).await;
    let (_, twice) = injected_by_command(&stand, &injected).await;
    assert_eq!(twice, once);
    let response = reviewed(&stand, &once).await;
    assert_eq!(response["allowed"], true);
    assert_eq!(response.get("patch"), None, "{response}");
}

#[tokio::test]
async fn a_pod_without_a_port_is_refused_with_the_remedy() {
    let stand = Stand::start().await;
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "orders" },
        "spec": { "containers": [{ "name": "orders", "image": "orders:1" }] },
    });
    let response = reviewed(&stand, &pod).await;
    assert_eq!(response["allowed"], false);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains("weir.mesh/port"), "{message}");

    let file = stand.file("pod.json", &pod.to_string());
    let finished = weir(&["inject", "-f", &file]).await;
    assert_eq!(finished.code, Some(1), "{finished:#?}");
    assert!(finished.stdout.is_empty(), "{finished:#?}");
    assert!(finished.stderr.contains("weir.mesh/port"), "{finished:#?}");
}

#[tokio::test]
async fn the_injected_arguments_are_ones_that_the_sidecar_takes() {
    let stand = Stand::start().await;
    let file = stand.file("deploy.yaml", DEPLOYMENT);
    let (_, injected) = injected_by_command(&stand, &file).await;
    let sidecar = &injected["spec"]["template"]["spec"]["initContainers"][0];
    // The kubelet fills in `$(POD_IP)` and the labels; the token's file is not there, which is what
    // it must say.
    let arguments = sidecar["args"].as_array().unwrap().iter();
    let arguments = arguments.map(|argument| argument.as_str().unwrap().to_owned());
    let labels = stand.file("labels", "app=\"orders\"\nversion=\"v2\"\n");
    let moved = |argument: String| {
        let argument = argument.replace("$(POD_IP)", "127.0.0.1");
        let argument = argument.replace("/var/run/weir/pod/labels", &labels);
        argument.replace("/var/lib/weir", &stand.directory().display().to_string())
    };
    let launch = Launch::of("weir-sidecar").args(arguments.map(moved));
    let finished = weir_e2e::command::run(launch.env("WEIR_NODE", "orders-1")).await;
    assert_eq!(finished.code, Some(2), "{finished:#?}");
    let is_said = finished.stderr.contains("/var/run/weir/join/token");
    assert!(is_said, "{finished:#?}");
}
