//! A control plane and what joins it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::Method;
use serde_json::Value;
use tempfile::TempDir;
use weir_testkit::client::{Client, Response, request};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};

use crate::DEADLINE;
use crate::command::{self, Finished, program};
use crate::consul::Agent;
use crate::proxy::{ProxyLaunch, next_node};

/// A running control plane with a temporary directory for itself and every proxy that joins it.
pub struct Stand {
    options: Options,
    api: SocketAddr,
    mesh: SocketAddr,
    process: Option<Process>,
    // After the process: it writes there until it is gone.
    directory: TempDir,
}

/// How the control plane is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    consul: Option<String>,
    arguments: Vec<String>,
}

impl Options {
    /// On the embedded store, with every default.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// On this Consul.
    #[must_use]
    pub fn consul(mut self, agent: &Agent) -> Self {
        self.consul = Some(agent.url());
        self
    }

    /// How long the certificates of proxies live.
    #[must_use]
    pub fn certificate_life(self, life: Duration) -> Self {
        self.arg(format!("--certificate-seconds={}", life.as_secs()))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub async fn start(self) -> Stand {
        let mut stand = Stand {
            options: self,
            api: free_addr(),
            mesh: free_addr(),
            process: None,
            directory: tempfile::tempdir().expect("the temporary directory is writable"),
        };
        stand.start_control_plane().await;
        stand
    }
}

impl Stand {
    /// On the embedded store, with every default.
    ///
    /// # Panics
    /// When it is not ready within [`DEADLINE`].
    pub async fn start() -> Self {
        Options::new().start().await
    }

    /// A URL of the API.
    #[must_use]
    pub fn api_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.api)
    }

    /// The mesh port's address.
    #[must_use]
    pub fn mesh(&self) -> SocketAddr {
        self.mesh
    }

    /// A directory for whatever the test needs.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The file of the token that proxies join with.
    #[must_use]
    pub fn join_token_file(&self) -> PathBuf {
        self.data_dir().join("join-token")
    }

    /// The part of the join token that nobody else may see.
    ///
    /// # Panics
    /// When there is none yet.
    #[must_use]
    pub fn join_secret(&self) -> String {
        let token = std::fs::read_to_string(self.join_token_file()).expect("it has started");
        let secret = token.trim().rsplit('.').next();
        secret.expect("a token has three parts").to_owned()
    }

    /// The control plane's process.
    ///
    /// # Panics
    /// When it was killed.
    #[must_use]
    pub fn control_plane(&mut self) -> &mut Process {
        self.process.as_mut().expect("the control plane runs")
    }

    /// Ends the control plane without a farewell.
    pub fn kill_control_plane(&mut self) {
        self.process = None;
    }

    /// Starts the control plane (again) with the same ports and directory.
    ///
    /// # Panics
    /// When it is not ready within [`DEADLINE`].
    pub async fn start_control_plane(&mut self) {
        let mut launch = Launch::of("weir-control-plane")
            .arg(format!("--api={}", self.api))
            .arg(format!("--mesh={}", self.mesh))
            .arg(format!("--data-dir={}", self.data_dir().display()))
            .args(self.options.arguments.clone());
        if let Some(consul) = &self.options.consul {
            launch = launch.arg(format!("--consul={consul}"));
        }
        let mut process = launch.start();
        let ready = Ready::Url(self.api_url("/readyz"));
        process.wait_ready(&ready, DEADLINE).await;
        self.process = Some(process);
    }

    /// A gateway that joins. It becomes ready when it runs a document, so apply one first.
    #[must_use]
    pub fn gateway(&self) -> ProxyLaunch {
        self.gateway_named(&next_node("gateway"))
    }

    /// A gateway with this node id; another one of the same id after it gets the same state
    /// directory.
    #[must_use]
    pub fn gateway_named(&self, node: &str) -> ProxyLaunch {
        self.joining("weir-gateway", node)
    }

    /// The sidecar of an instance of a service whose application listens there.
    #[must_use]
    pub fn sidecar(&self, service: &str, application: SocketAddr) -> ProxyLaunch {
        self.sidecar_named(&next_node(service), service, application)
    }

    /// A sidecar with this node id; another one of the same id after it gets the same state
    /// directory.
    #[must_use]
    pub fn sidecar_named(&self, node: &str, service: &str, application: SocketAddr) -> ProxyLaunch {
        self.joining("weir-sidecar", node)
            .sidecar(service, application)
    }

    fn joining(&self, binary: &'static str, node: &str) -> ProxyLaunch {
        let state_dir = self.directory().join(node);
        ProxyLaunch::of(binary, node, state_dir)
            .join_token_file(self.join_token_file())
            .arg(format!("--control-plane=https://{}", self.mesh))
    }

    /// GET of a path of the API.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn get(&self, path: &str) -> Response {
        let answer = Client::http1().get(&self.api_url(path)).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Any request to the API.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Response {
        let request = request(method, &self.api_url(path), headers, body.into());
        let request = request.expect("the test gives a valid path");
        let client = Client::http1().deadline(Duration::from_secs(30));
        let answer = client.send(request).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Makes a document the next revision and waits until every connected proxy runs it.
    ///
    /// # Panics
    /// When it is refused, by the control plane or by a proxy.
    #[track_caller]
    pub fn apply(&self, yaml: &str) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            let path = "/v1/config?wait=10s";
            let answer = self.send(Method::PUT, path, &[], yaml.to_owned()).await;
            assert_eq!(answer.status, 200, "at {caller}: {answer}");
            let written: Value = answer.json();
            let converged = &written["convergence"]["converged"];
            assert_eq!(converged, true, "at {caller}: {written:#}");
            written
        }
    }

    /// Every proxy as the control plane knows it.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn nodes(&self) -> Vec<Value> {
        let mut answer: Value = self.get("/v1/nodes").await.json();
        match answer["nodes"].take() {
            Value::Array(nodes) => nodes,
            other => panic!("not a list of nodes: {other}"),
        }
    }

    /// The endpoints of a service as the control plane knows them; empty for a service it does not
    /// follow.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn endpoints(&self, service: &str) -> Vec<Value> {
        let answer: Value = self.get("/v1/services").await.json();
        let services = answer["services"].as_array().expect("a list of services");
        let found = services.iter().find(|known| known["service"] == service);
        let endpoints = found.and_then(|found| found["endpoints"].as_array());
        endpoints.cloned().unwrap_or_default()
    }

    /// Waits until a service has exactly so many healthy endpoints.
    ///
    /// # Panics
    /// When it has not within [`DEADLINE`].
    #[track_caller]
    pub fn wait_for_healthy(&self, service: &str, count: usize) -> impl Future<Output = ()> {
        eventually(DEADLINE, move || async move {
            let endpoints = self.endpoints(service).await;
            let healthy = endpoints.iter().filter(|it| it["healthy"] == true).count();
            if healthy == count {
                Ok(())
            } else {
                Err(format!("{service} is served by {endpoints:?}"))
            }
        })
    }

    /// Waits until so many proxies are connected and all run the newest revision.
    ///
    /// # Panics
    /// When they do not within [`DEADLINE`].
    #[track_caller]
    pub fn converged(&self, count: usize) -> impl Future<Output = ()> {
        eventually(DEADLINE, move || async move {
            let answer: Value = self.get("/v1/nodes").await.json();
            let nodes = answer["nodes"].as_array().expect("a list of nodes");
            let connected = nodes
                .iter()
                .filter(|node| node["connected"] == true)
                .count();
            if connected == count && answer["converged"] == true {
                Ok(())
            } else {
                Err(format!("{answer:#}"))
            }
        })
    }

    /// Runs a verb of `weir` against this control plane.
    ///
    /// # Panics
    /// When it does not end.
    pub async fn weir(&self, arguments: &[&str]) -> Finished {
        let launch = Launch::of("weir").args(arguments);
        command::run(launch.env("WEIR_API_URL", self.api_url(""))).await
    }

    /// Writes a file below [`Stand::directory`] and gives its path.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.directory().join(name);
        std::fs::write(&path, text).expect("it is ours");
        path.display().to_string()
    }

    /// A certificate of this mesh for an instance of a service, asked for with openssl and curl:
    /// the files of chain and key.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn certificate(&self, service: &str) -> (String, String) {
        let key = self.directory().join("client.key").display().to_string();
        let subject = ["-subj", "/", "-nodes", "-newkey", "ec"];
        let mut arguments = vec!["req", "-new", "-keyout", &key];
        arguments.extend(subject);
        arguments.extend(["-pkeyopt", "ec_paramgen_curve:P-256"]);
        let csr_pem = program("openssl", &arguments).await.fine();
        let body = serde_json::json!({
            "csr_pem": csr_pem, "node": "curl", "role": "sidecar", "service": service,
        });
        let url = format!("https://{}/v1/identity/issue", self.mesh);
        let bearer = format!("Bearer {}", self.join_secret());
        let headers = [("authorization", bearer.as_str()), JSON];
        let answer = Client::http1().post(&url, &headers, body.to_string()).await;
        let answer = answer.expect("the mesh port answers");
        assert_eq!(answer.status, 200, "{answer}");
        let issued: Value = answer.json();
        let chain = issued["chain_pem"].as_str().expect("a chain");
        (self.file("client.pem", chain), key)
    }

    fn data_dir(&self) -> PathBuf {
        self.directory().join("control-plane")
    }
}

const JSON: (&str, &str) = ("content-type", "application/json");
