//! Gateways and sidecars that join a control plane, as processes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::Value;
use weir_testkit::client::{Client, Response};
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};

use crate::DEADLINE;
use crate::metrics::Metrics;

/// What to start.
pub struct ProxyLaunch {
    binary: &'static str,
    node: String,
    state_dir: PathBuf,
    join_token_file: Option<PathBuf>,
    admin: SocketAddr,
    inbound: Option<SocketAddr>,
    outbound: Option<SocketAddr>,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
}

impl ProxyLaunch {
    pub(crate) fn of(binary: &'static str, node: &str, state_dir: PathBuf) -> Self {
        Self {
            binary,
            node: node.to_owned(),
            state_dir,
            join_token_file: None,
            admin: free_addr(),
            inbound: None,
            outbound: None,
            arguments: Vec::new(),
            variables: Vec::new(),
        }
    }

    pub(crate) fn sidecar(mut self, service: &str, application: SocketAddr) -> Self {
        self.inbound = Some(free_addr());
        self.outbound = Some(free_addr());
        self.arg(format!("--service={service}"))
            .arg(format!("--application={application}"))
    }

    /// Where it keeps what outlives it. Two processes never share one at the same time.
    #[must_use]
    pub fn state_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.state_dir = directory.into();
        self
    }

    /// The file of the token that it joins with.
    #[must_use]
    pub fn join_token_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.join_token_file = Some(file.into());
        self
    }

    /// Where a sidecar takes requests of other proxies.
    #[must_use]
    pub fn inbound(mut self, address: SocketAddr) -> Self {
        self.inbound = Some(address);
        self
    }

    /// The number of worker threads.
    #[must_use]
    pub fn workers(self, count: usize) -> Self {
        self.arg(format!("--workers={count}"))
    }

    /// One more argument.
    #[must_use]
    pub fn arg(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// One more variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it without waiting for anything.
    #[must_use]
    pub fn launch(self) -> Proxy {
        let mut launch = Launch::of(self.binary)
            .arg(format!("--admin={}", self.admin))
            .arg(format!("--state-dir={}", self.state_dir.display()))
            .arg(format!("--node={}", self.node));
        if let Some(file) = self.join_token_file {
            launch = launch.arg(format!("--join-token-file={}", file.display()));
        }
        if let Some(inbound) = self.inbound {
            launch = launch
                .arg(format!("--inbound={inbound}"))
                .arg(format!("--advertise={inbound}"));
        }
        if let Some(outbound) = self.outbound {
            launch = launch.arg(format!("--outbound={outbound}"));
        }
        launch = launch.args(self.arguments);
        for (name, value) in self.variables {
            launch = launch.env(name, value);
        }
        Proxy {
            process: launch.start(),
            node: self.node,
            admin: self.admin,
            state_dir: self.state_dir,
            inbound: self.inbound,
            outbound: self.outbound,
        }
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub async fn start(self) -> Proxy {
        let mut proxy = self.launch();
        proxy.wait_ready().await;
        proxy
    }
}

/// A running gateway or sidecar.
pub struct Proxy {
    /// The process.
    pub process: Process,
    node: String,
    admin: SocketAddr,
    state_dir: PathBuf,
    inbound: Option<SocketAddr>,
    outbound: Option<SocketAddr>,
}

impl Proxy {
    /// Its node id.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.node
    }

    /// A URL of its admin server.
    #[must_use]
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// GET of a path of its admin server.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn admin(&self, path: &str) -> Response {
        let answer = Client::http1().get(&self.admin_url(path)).await;
        answer.unwrap_or_else(|error| panic!("{path}: {error}\n{}", self.process.tail()))
    }

    /// Where it keeps what outlives it.
    #[must_use]
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Where a sidecar takes requests of other proxies.
    ///
    /// # Panics
    /// When it is a gateway.
    #[must_use]
    pub fn inbound(&self) -> SocketAddr {
        self.inbound.expect("only a sidecar has inbound")
    }

    /// A URL of the listener where a sidecar takes requests of its application.
    ///
    /// # Panics
    /// When it is a gateway.
    #[must_use]
    pub fn outbound_url(&self, path: &str) -> String {
        let outbound = self.outbound.expect("only a sidecar has outbound");
        format!("http://{outbound}{path}")
    }

    /// Sends a GET as its application would: to the outbound listener, with this `Host`.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn call(&self, host: &str, path: &str) -> Response {
        let answer = Client::http1()
            .get_with(&self.outbound_url(path), &[("host", host)])
            .await;
        answer.unwrap_or_else(|error| panic!("{host}{path}: {error}\n{}", self.process.tail()))
    }

    /// Waits until it is ready.
    ///
    /// # Panics
    /// When it is not within [`DEADLINE`].
    pub async fn wait_ready(&mut self) {
        let ready = Ready::Url(self.admin_url("/readyz"));
        self.process.wait_ready(&ready, DEADLINE).await;
    }

    /// What it says about itself now.
    ///
    /// # Panics
    /// When it does not answer.
    pub async fn metrics(&self) -> Metrics {
        Metrics::scrape(&self.admin_url("/metrics")).await
    }

    /// The access log so far, one object per request.
    ///
    /// # Panics
    /// When a line is not JSON.
    #[must_use]
    pub fn access_log(&self) -> Vec<Value> {
        let text = self.process.stdout();
        // The last line may be half written.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let parse = |line: &str| {
            serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line:?}"))
        };
        whole.lines().map(parse).collect()
    }

    /// Everything it has written, for what must not be in it.
    #[must_use]
    pub fn output(&self) -> String {
        self.process.stdout() + &self.process.stderr()
    }
}

/// A name that no other node of this test has.
pub(crate) fn next_node(of: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{of}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}
