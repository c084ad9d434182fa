//! Injection by table: what goes in, what comes out, twice the same.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use base64::Engine as _;
use serde_json::{Value, json};

use super::manifest::{ManifestError, inject_manifest};
use super::review::{AdmissionReview, answer};
use super::{ANNOTATION_INJECTED, InjectError, InjectOptions, Outcome, Skip, inject};

const DEPLOYMENT: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: { name: orders }
spec:
  selector: { matchLabels: { app: orders } }
  template:
    metadata: { labels: { app: orders } }
    spec:
      initContainers:
        - { name: migrate, image: "orders:1" }
      containers:
        - name: orders
          image: orders:1
          env: [{ name: FLAG, value: "yes" }, { name: PORT, value: "8080" }]
          ports: [{ containerPort: 8080 }]
"#;

fn deployment() -> Value {
    serde_saphyr::from_str(DEPLOYMENT).unwrap()
}

fn injected(object: &Value) -> Value {
    match inject(object, &InjectOptions::default()).unwrap() {
        Outcome::Injected(value) => value,
        Outcome::Skipped(skip) => panic!("skipped: {skip:?}"),
    }
}

#[test]
fn sidecar_is_the_first_init_container_and_always_restarts() {
    let done = injected(&deployment());
    let init = done.pointer("/spec/template/spec/initContainers").unwrap();
    assert_eq!(init[0]["name"], "weir-sidecar");
    assert_eq!(init[0]["restartPolicy"], "Always");
    assert_eq!(init[1]["name"], "migrate");
    let args = init[0]["args"].as_array().unwrap();
    assert!(args.contains(&json!("--service=orders")));
    assert!(args.contains(&json!("--application=127.0.0.1:8080")));
    let env = done
        .pointer("/spec/template/spec/containers/0/env")
        .unwrap()
        .as_array()
        .unwrap();
    assert!(env.contains(&json!({ "name": "WEIR_OUTBOUND", "value": "http://127.0.0.1:15001" })));
}

#[test]
fn injecting_twice_changes_nothing() {
    let once = injected(&deployment());
    assert_eq!(injected(&once), once);
}

#[test]
fn other_options_replace_the_sidecar() {
    let once = injected(&deployment());
    let options = InjectOptions {
        image: "weir-sidecar:next".to_owned(),
        ..InjectOptions::default()
    };
    let Outcome::Injected(again) = inject(&once, &options).unwrap() else {
        panic!()
    };
    let init = again
        .pointer("/spec/template/spec/initContainers")
        .unwrap()
        .as_array()
        .unwrap();
    assert_eq!(
        init.iter().filter(|c| c["name"] == "weir-sidecar").count(),
        1
    );
    assert_eq!(init[0]["image"], "weir-sidecar:next");
    let annotation = format!(
        "/spec/template/metadata/annotations/{}",
        ANNOTATION_INJECTED.replace('/', "~1")
    );
    assert_ne!(again.pointer(&annotation), once.pointer(&annotation));
}

#[test]
fn a_pod_of_the_deployment_gets_the_same_sidecar_as_its_template() {
    let template = deployment().pointer("/spec/template").unwrap().clone();
    let mut pod = template;
    pod["apiVersion"] = json!("v1");
    pod["kind"] = json!("Pod");
    pod["metadata"]["generateName"] = json!("orders-7c9d8-");
    pod["metadata"]["labels"]["pod-template-hash"] = json!("7c9d8");
    let from_webhook = injected(&pod);
    let from_command = injected(&deployment());
    assert_eq!(
        from_webhook.pointer("/spec"),
        from_command.pointer("/spec/template/spec"),
        "webhook and command must inject identically"
    );
}

#[test]
fn service_falls_back_to_the_workload_without_the_template_hash() {
    let pod = json!({
        "kind": "Pod",
        "metadata": { "generateName": "web-5d4f-", "labels": { "pod-template-hash": "5d4f" } },
        "spec": { "containers": [{ "name": "web", "ports": [{ "containerPort": 80 }] }] },
    });
    let done = injected(&pod);
    let args = done
        .pointer("/spec/initContainers/0/args")
        .unwrap()
        .as_array()
        .unwrap();
    assert!(args.contains(&json!("--service=web")));
}

#[test]
fn opt_out_host_network_and_other_kinds_are_skipped() {
    let mut disabled = deployment();
    disabled["spec"]["template"]["metadata"]["annotations"] =
        json!({ "weir.mesh/inject": "disabled" });
    let mut host = deployment();
    host["spec"]["template"]["spec"]["hostNetwork"] = json!(true);
    let service = json!({ "kind": "Service", "metadata": { "name": "orders" } });
    for (object, skip) in [
        (disabled, Skip::Disabled),
        (host, Skip::HostNetwork),
        (service, Skip::NotAWorkload),
    ] {
        let outcome = inject(&object, &InjectOptions::default()).unwrap();
        assert_eq!(outcome, Outcome::Skipped(skip));
    }
}

#[test]
fn unknown_port_and_service_are_errors_with_a_remedy() {
    let mut no_port = deployment();
    no_port["spec"]["template"]["spec"]["containers"][0]["ports"] = json!([]);
    let error = inject(&no_port, &InjectOptions::default()).unwrap_err();
    assert!(matches!(error, InjectError::NoPort { .. }), "{error}");
    assert!(error.to_string().contains("weir.mesh/port"), "{error}");

    let mut bad = deployment();
    bad["spec"]["template"]["metadata"]["annotations"] = json!({ "weir.mesh/port": "http" });
    let error = inject(&bad, &InjectOptions::default()).unwrap_err();
    assert!(matches!(error, InjectError::BadPort { .. }), "{error}");

    let malformed =
        json!({ "kind": "Pod", "metadata": { "name": "x", "labels": { "app": "x" } }, "spec": 7 });
    assert!(inject(&malformed, &InjectOptions::default()).is_err());
}

#[test]
fn manifest_keeps_other_documents_and_strings_that_look_like_other_types() {
    let text =
        format!("{DEPLOYMENT}---\napiVersion: v1\nkind: Service\nmetadata: {{ name: orders }}\n");
    let done = inject_manifest(&text, &InjectOptions::default()).unwrap();
    assert_eq!(done.injected, 1);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&done.yaml).unwrap();
    assert_eq!(documents.len(), 2);
    // `yes` and `8080` must stay strings for YAML 1.1 readers too.
    assert!(
        done.yaml.contains("\"yes\"") || done.yaml.contains("'yes'"),
        "{}",
        done.yaml
    );
    assert!(
        done.yaml.contains("\"8080\"") || done.yaml.contains("'8080'"),
        "{}",
        done.yaml
    );
    let again = inject_manifest(&done.yaml, &InjectOptions::default()).unwrap();
    assert_eq!(again.yaml, done.yaml);
}

#[test]
fn manifest_names_every_workload_that_cannot_be_injected() {
    let text = "kind: Pod\nmetadata: {name: a}\nspec: {containers: []}\n---\nkind: Pod\nmetadata: {name: b}\nspec: {containers: []}\n";
    match inject_manifest(text, &InjectOptions::default()) {
        Err(ManifestError::Workloads(errors)) => assert_eq!(errors.len(), 2),
        other => panic!("{other:?}"),
    }
}

#[test]
fn webhook_patch_applied_gives_what_the_command_gives() {
    let mut pod = deployment().pointer("/spec/template").unwrap().clone();
    pod["kind"] = json!("Pod");
    let review: AdmissionReview = serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": { "uid": "u-1", "object": pod },
    }))
    .unwrap();
    let reply = answer(&review, &InjectOptions::default());
    assert_eq!(reply["response"]["uid"], "u-1");
    assert_eq!(reply["response"]["allowed"], true);
    assert_eq!(reply["response"]["patchType"], "JSONPatch");
    let patch = base64::engine::general_purpose::STANDARD
        .decode(reply["response"]["patch"].as_str().unwrap())
        .unwrap();
    let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &patch).unwrap();
    assert_eq!(patched, injected(&pod));
}

#[test]
fn webhook_refuses_what_it_cannot_inject_and_says_why() {
    let review: AdmissionReview = serde_json::from_value(json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": { "uid": "u-2", "object": { "kind": "Pod", "metadata": { "name": "p" }, "spec": {} } },
    }))
    .unwrap();
    let reply = answer(&review, &InjectOptions::default());
    assert_eq!(reply["response"]["allowed"], false);
    assert!(
        reply["response"]["status"]["message"]
            .as_str()
            .unwrap()
            .contains("weir.mesh/")
    );
}
