//! A gateway alone with a file: its addresses, and short ways to ask it things.
//!
//! Every test writes the document it depends on. Where the document says nothing about listeners,
//! it gets one, `web`, on a free port of loopback.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tempfile::TempDir;
use weir_testkit::client::{Client, Response};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::Signal;

use crate::DEADLINE;
use crate::proxy::{Proxy, ProxyLaunch};

/// Where a gateway is going to live: what a document can refer to before the process runs.
pub struct Place {
    /// Address of the listener `web`.
    pub web: SocketAddr,
    /// A second free address, for a TLS listener.
    pub secure: SocketAddr,
    directory: TempDir,
    arguments: Vec<String>,
}

impl Default for Place {
    fn default() -> Self {
        Self::new()
    }
}

impl Place {
    /// Free ports and an empty directory.
    ///
    /// # Panics
    /// When the temporary directory is not writable.
    #[must_use]
    pub fn new() -> Self {
        Self {
            web: free_addr(),
            secure: free_addr(),
            directory: tempfile::tempdir().expect("the temporary directory is writable"),
            arguments: Vec::new(),
        }
    }

    /// One more argument for the gateway.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// A directory of the test's own, where the document lies as well.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The document's file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.directory().join("weir.yaml")
    }

    /// The document as it will be written: without indentation, and with a listener.
    #[must_use]
    pub fn document(&self, yaml: &str) -> String {
        let yaml = dedent(yaml);
        if yaml.lines().any(|line| line.starts_with("listeners:")) {
            return yaml;
        }
        format!("listeners: {{ web: {{ bind: \"{}\" }} }}\n{yaml}", self.web)
    }

    /// Starts the gateway with this document and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub async fn start(self, yaml: &str) -> Lone {
        let proxy = self.prepare(yaml).start().await;
        Lone { proxy, place: self }
    }

    /// Starts the gateway without waiting for anything.
    ///
    /// # Panics
    /// When the document cannot be written.
    #[must_use]
    pub fn launch(self, yaml: &str) -> Lone {
        let proxy = self.prepare(yaml).launch();
        Lone { proxy, place: self }
    }

    fn prepare(&self, yaml: &str) -> ProxyLaunch {
        fs::write(self.config(), self.document(yaml)).expect("it is ours");
        let state_dir = self.directory().join("state");
        let launch = ProxyLaunch::of("weir-gateway", "gateway", state_dir)
            .arg(format!("--config={}", self.config().display()));
        self.arguments.iter().fold(launch, ProxyLaunch::arg)
    }
}

/// A running gateway.
pub struct Lone {
    /// The process, and what any proxy can be asked.
    pub proxy: Proxy,
    place: Place,
}

impl Deref for Lone {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

impl Lone {
    /// A gateway with this document.
    ///
    /// # Panics
    /// When it is not ready within [`DEADLINE`].
    pub async fn start(yaml: &str) -> Self {
        Place::new().start(yaml).await
    }

    /// Where it lives.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Address of the listener `web`.
    #[must_use]
    pub fn web(&self) -> SocketAddr {
        self.place.web
    }

    /// A URL on the listener `web`; the path starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.place.web)
    }

    /// A URL on the TLS listener.
    #[must_use]
    pub fn secure_url(&self, path: &str) -> String {
        format!("https://{}{path}", self.place.secure)
    }

    /// GET on the listener `web`.
    ///
    /// # Panics
    /// Without an answer.
    pub async fn get(&self, path: &str) -> Response {
        self.get_with(path, &[]).await
    }

    /// GET with headers on the listener `web`.
    ///
    /// # Panics
    /// Without an answer.
    pub async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Response {
        let sent = Client::http1().get_with(&self.url(path), headers).await;
        sent.unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.process.tail()))
    }

    /// POST on the listener `web`.
    ///
    /// # Panics
    /// Without an answer.
    pub async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let sent = Client::http1()
            .post(&self.url(path), headers, body.to_owned())
            .await;
        sent.unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.process.tail()))
    }

    /// Replaces the document as careful editors do: written beside, then renamed.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, yaml: &str) {
        let beside = self.place.directory().join("weir.yaml.new");
        fs::write(&beside, self.place.document(yaml)).expect("it is ours");
        fs::rename(&beside, self.place.config()).expect("both are in one directory");
    }

    /// SIGHUP.
    pub fn hang_up(&self) {
        self.process.signal(Signal::SIGHUP);
    }

    /// How many documents it has put in force.
    pub async fn applied(&self) -> f64 {
        self.metrics().await.sum("weir_config_applied_total", &[])
    }

    /// The first access-log line with this path, as soon as it is written.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub async fn logged(&self, path: &str) -> Value {
        eventually(DEADLINE, async || {
            self.access_log()
                .into_iter()
                .find(|line| line["path"] == path)
        })
        .await
    }

    /// The answer is a refusal of that status and reason, told in every way that clients are
    /// promised, and the gateway can say more about it by its decision id. Returns what it says.
    ///
    /// # Panics
    /// When not, with the answer.
    pub async fn assert_refused(&self, answer: &Response, status: u16, code: &str) -> Value {
        assert_eq!(answer.status.as_u16(), status, "{answer}");
        assert_eq!(answer.header("weir-reason"), Some(code), "{answer}");
        let id = answer
            .header("weir-decision")
            .unwrap_or_else(|| panic!("no id in {answer}"));
        let proxy_status = answer.header("proxy-status").unwrap_or_default();
        assert!(proxy_status.starts_with("weir; error="), "{answer}");
        assert_eq!(
            answer.header("content-type"),
            Some("application/problem+json"),
            "{answer}"
        );
        let problem: Value = answer.json();
        assert_eq!(problem["status"], status, "{answer}");
        assert_eq!(problem["code"], code, "{answer}");
        assert_eq!(problem["decision_id"], id, "{answer}");
        assert!(
            problem["title"].is_string() && problem["type"].is_string(),
            "{answer}"
        );
        let said = self.admin(&format!("/decisions/{id}")).await;
        assert_eq!(said.status, 200, "{said}");
        let decision: Value = said.json();
        assert_eq!(decision["code"], code, "{decision}");
        decision
    }
}

/// Takes the common indentation off, so that documents stand in tests as they stand in files.
fn dedent(text: &str) -> String {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let filled = text.lines().filter(|line| !line.trim().is_empty());
    let common = filled.map(indent).min().unwrap_or(0);
    let lines = text
        .lines()
        .map(|line| line.get(common..).unwrap_or_default());
    let mut document = lines
        .collect::<Vec<_>>()
        .join("\n")
        .trim_start_matches('\n')
        .to_owned();
    document.push('\n');
    document
}

/// The repository's root.
///
/// # Panics
/// Never: this crate is one below it.
#[must_use]
pub fn repository() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("this crate is one below the root").to_owned()
}

/// A program of the peers that `scripts/install-test-deps.sh` installs, such as
/// `venv/bin/python`.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn peer_program(path: &str) -> PathBuf {
    let program = repository().join("target/test-peers").join(path);
    assert!(
        program.exists(),
        "{} is not there: run scripts/install-test-deps.sh first",
        program.display()
    );
    program
}

/// A file in `e2e/peers`.
#[must_use]
pub fn peer_file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("peers")
        .join(name)
}
