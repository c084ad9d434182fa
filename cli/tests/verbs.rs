//! The verbs that need no other process, by the real binary: answers and exit codes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

const SHOP: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../config/examples/shop.yaml");

const BROKEN: &str = "listeners:\n  web: { bind: \"0.0.0.0:8080\" }\nservices:\n  \
                      users: { endpoint: [\"10.0.0.5:5000\"] }\nroutes:\n  \
                      - { path: /x, to: nobody, timeouts: { total: 5 } }\n";

const LONE: &str = "listeners:\n  web: { bind: \"127.0.0.1:8080\" }\nservices:\n  \
                    users: { endpoints: [\"10.0.0.5:5000\"] }\nroutes:\n  \
                    - { path: \"/user/*\", methods: [GET], to: users }\n  \
                    - { path: /in, auth: { jwt: shop }, to: users }\nissuers:\n  \
                    shop: { issuer: i, audience: a, jwks: { file: keys.json } }\n";

struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

fn weir(arguments: &[&str]) -> Ran {
    weir_with(arguments, "", &[])
}

fn weir_with(arguments: &[&str], stdin: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    for (variable, _) in std::env::vars_os() {
        if variable.to_string_lossy().starts_with("WEIR_") {
            command.env_remove(variable);
        }
    }
    let mut child = command
        .args(arguments)
        .envs(variables.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(stdin.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ran {
        code: output.status.code().unwrap(),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn the_shop_is_valid() {
    let ran = weir(&["check", SHOP]);
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    assert!(
        ran.stdout
            .contains("valid with 2 listeners, 6 routes and 3 services"),
        "{}",
        ran.stdout
    );
    // A self-signed certificate is for development; said, not refused.
    assert!(ran.stderr.contains("warning: "), "{}", ran.stderr);
}

#[test]
fn every_error_has_its_place_and_its_hint() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "broken.yaml", BROKEN);
    let ran = weir(&["check", &path]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "");
    let places: Vec<&str> = ran
        .stderr
        .lines()
        .filter_map(|line| line.strip_prefix(path.as_str()))
        .collect();
    assert!(
        places.iter().any(|place| place.starts_with(":4:")),
        "{}",
        ran.stderr
    );
    assert!(
        places.iter().any(|place| place.starts_with(":6:")),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("  4 |   users: { endpoint: "),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr
            .lines()
            .any(|line| line.trim_end().ends_with('^')),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("= hint: "), "{}", ran.stderr);
    assert!(!ran.stderr.contains('\x1b'), "no colour without a terminal");
}

#[test]
fn a_document_may_come_by_standard_input() {
    assert_eq!(weir_with(&["check", "-"], LONE, &[]).code, 0);
    let ran = weir_with(&["check", "-"], BROKEN, &[]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("<stdin>:4:"), "{}", ran.stderr);
}

#[test]
fn what_cannot_be_read_is_neither_valid_nor_invalid() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "broken.yaml", BROKEN);
    let ran = weir(&["check", "/no/such.yaml", &path, SHOP]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("cannot read /no/such.yaml"),
        "{}",
        ran.stderr
    );
    assert!(
        ran.stderr.contains("broken.yaml:4:"),
        "the others are checked all the same"
    );
    assert!(ran.stdout.contains("valid with"));
}

#[test]
fn a_check_as_json() {
    let ran = weir_with(&["check", "--json", "-"], BROKEN, &[]);
    assert_eq!(ran.code, 1);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["files"][0]["valid"], false);
    let error = &answer["files"][0]["errors"][0];
    assert!(error["line"].is_u64() && error["column"].is_u64() && error["path"].is_string());
}

#[test]
fn wrong_usage_is_2() {
    assert_eq!(weir(&["check"]).code, 2);
    assert_eq!(weir(&["nonsense"]).code, 2);
    assert_eq!(weir(&["explain", "GET", "/x", "-H", "no colon"]).code, 2);
    assert_eq!(weir(&["--help"]).code, 0);
    assert_eq!(weir(&["--version"]).code, 0);
}

#[test]
fn a_forwarded_request_is_explained_with_its_lines() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "weir.yaml", LONE);
    let ran = weir(&["explain", "GET", "http://shop/user/7", "--config", &path]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains(&format!("{path}:6")), "{}", ran.stdout);
    assert!(
        ran.stdout.contains("forwarded to `users` at 10.0.0.5:5000"),
        "{}",
        ran.stdout
    );
    for area in [
        "listener", "route", "service", "endpoint", "timeouts", "retry",
    ] {
        assert!(
            ran.stdout.lines().any(|line| line.trim().starts_with(area)),
            "{area}\n{}",
            ran.stdout
        );
    }
}

#[test]
fn a_refused_request_is_explained_with_its_reason() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "weir.yaml", LONE);
    let ran = weir(&["explain", "POST", "http://shop/user/7", "--config", &path]);
    assert_eq!(ran.code, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("near-miss"), "{}", ran.stdout);

    let ran = weir(&["explain", "GET", "/in", "--config", &path, "--json"]);
    assert_eq!(ran.code, 1);
    let answer: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(answer["answer"]["kind"], "refused");
    assert_eq!(answer["answer"]["status"], 401);

    let ran = weir(&[
        "explain", "GET", "/in", "--config", &path, "--claim", "sub=1",
    ]);
    assert_eq!(ran.code, 0, "{}{}", ran.stdout, ran.stderr);
}

#[test]
fn a_question_that_makes_no_sense_is_2() {
    let directory = tempfile::tempdir().unwrap();
    let path = file(directory.path(), "weir.yaml", LONE);
    let ran = weir(&[
        "explain",
        "GET",
        "/x",
        "--config",
        &path,
        "--listener",
        "none",
    ]);
    assert_eq!(ran.code, 2);
    assert!(
        ran.stderr.contains("there is no listener `none`"),
        "{}",
        ran.stderr
    );
    let broken = file(directory.path(), "broken.yaml", BROKEN);
    let ran = weir(&["explain", "GET", "/x", "--config", &broken]);
    assert_eq!(ran.code, 1);
    assert!(ran.stderr.contains("broken.yaml:4:"), "{}", ran.stderr);
}

#[test]
fn a_control_plane_that_is_not_there_is_2() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    for verb in [
        &["status"][..],
        &["history"],
        &["rollback"],
        &["diff", SHOP],
        &["apply", "--wait", SHOP],
        &["explain", "GET", "/x"],
    ] {
        let ran = weir(&[verb, &["--control-plane", &url]].concat());
        assert_eq!(ran.code, 2, "{verb:?}");
        let expected = format!(
            "cannot reach the control plane at {url}: connection refused; is it running? see \
             --control-plane"
        );
        assert!(ran.stderr.contains(&expected), "{verb:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "");
    }
    let ran = weir_with(&["status"], "", &[("WEIR_API_URL", &url)]);
    assert!(ran.stderr.contains(&url), "{}", ran.stderr);
}

const DEPLOYMENT: &str = "apiVersion: apps/v1\nkind: Deployment\nmetadata: { name: users }\nspec:\n  \
                          selector: { matchLabels: { app: users } }\n  template:\n    \
                          metadata: { labels: { app: users } }\n    spec:\n      \
                          containers:\n        - name: users\n          image: users:1\n          \
                          ports: [{ containerPort: 5000 }]\n";

#[test]
fn injection_is_written_to_stdout_and_twice_is_once() {
    let once = weir_with(&["inject", "-f", "-"], DEPLOYMENT, &[]);
    assert_eq!(once.code, 0, "{}", once.stderr);
    assert!(
        once.stdout.contains("name: weir-sidecar"),
        "{}",
        once.stdout
    );
    assert!(once.stderr.contains("sidecar injected"), "{}", once.stderr);
    let twice = weir_with(&["inject", "-f", "-"], &once.stdout, &[]);
    assert_eq!(twice.stdout, once.stdout);
}

#[test]
fn a_workload_without_a_port_is_not_injected() {
    let text = DEPLOYMENT.replace("          ports: [{ containerPort: 5000 }]\n", "");
    let ran = weir_with(&["inject", "-f", "-"], &text, &[]);
    assert_eq!(ran.code, 1);
    assert_eq!(ran.stdout, "");
    assert!(ran.stderr.contains("weir.mesh/port"), "{}", ran.stderr);
    assert_eq!(weir(&["inject", "-f", "/no/such"]).code, 2);
}

#[test]
fn the_schema_is_json_and_can_go_to_a_file() {
    let ran = weir(&["schema"]);
    assert_eq!(ran.code, 0);
    let schema: Value = serde_json::from_str(&ran.stdout).unwrap();
    assert!(schema["properties"]["routes"].is_object());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("weir.schema.json");
    assert_eq!(
        weir(&["schema", "--output", path.to_str().unwrap()]).code,
        0
    );
    assert_eq!(std::fs::read_to_string(&path).unwrap(), ran.stdout);
    assert_eq!(weir(&["schema", "--output", "/no/such/file"]).code, 2);
}

#[test]
fn up_names_every_port_that_is_taken_before_it_starts_anything() {
    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    let address = taken.to_string();
    let ran = weir(&[
        "up",
        "--http",
        &address,
        "--state-dir",
        state.to_str().unwrap(),
    ]);
    assert_eq!(ran.code, 2, "{}", ran.stderr);
    let expected = format!("port {} is taken", taken.port());
    assert!(ran.stderr.contains(&expected), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("choose another with --http ADDRESS"),
        "{}",
        ran.stderr
    );
    assert!(!state.join("control-plane").exists(), "nothing was started");
}
