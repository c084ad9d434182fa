//! A real Consul agent for one test: a server of its own on free loopback ports.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use weir_testkit::client::{Client, Response, request};
use weir_testkit::eventually::eventually;
use weir_testkit::ports::{free_addr, free_ports};
use weir_testkit::process::{Launch, Process};

/// A running agent. What it knows is on disk, so it outlives [`Agent::restart`].
pub struct Agent {
    http: SocketAddr,
    dns: SocketAddr,
    arguments: Vec<String>,
    process: Option<Process>,
    // After the process: it writes there until it is gone.
    directory: TempDir,
}

/// Starts an agent and waits until it has a leader.
///
/// # Panics
/// When Consul is not installed, or does not come up.
pub async fn consul_agent() -> Agent {
    let (http, dns) = (free_addr(), free_addr());
    let [server, serf_lan, serf_wan] = free_ports();
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let flags = format!(
        "agent -server -bootstrap-expect=1 -node=test -bind=127.0.0.1 -client=127.0.0.1 \
         -data-dir={} -http-port={} -dns-port={} -grpc-port=-1 -server-port={server} \
         -serf-lan-port={serf_lan} -serf-wan-port={serf_wan} -log-level=warn",
        directory.path().join("data").display(),
        http.port(),
        dns.port(),
    );
    let mut arguments: Vec<String> = flags.split_whitespace().map(str::to_owned).collect();
    // Elections as fast as the tests are; checks for updates leave this machine.
    arguments
        .push("-hcl=performance { raft_multiplier = 1 } disable_update_check = true".to_owned());
    let mut agent = Agent {
        http,
        dns,
        arguments,
        process: None,
        directory,
    };
    agent.start().await;
    agent
}

impl Agent {
    /// Its HTTP API, as `--consul` wants it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.http)
    }

    /// Its name server.
    #[must_use]
    pub fn dns(&self) -> SocketAddr {
        self.dns
    }

    /// Ends it without a farewell.
    pub fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it on the same ports with what it knew, and waits until it has a leader.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(&mut self) {
        assert!(
            is_installed(),
            "there is no `consul` in PATH; install it with `make test-deps`"
        );
        let launch = Launch::program("consul").args(self.arguments.clone());
        self.process = Some(launch.directory(self.directory.path()).start());
        // A leader is elected before the node is in the catalog, and health needs both.
        eventually(START_DEADLINE, async || {
            let nodes = self.get("/v1/health/service/consul").await?;
            let nodes: Value = nodes.json();
            match nodes[0]["Checks"].as_array() {
                Some(checks) if !checks.is_empty() => Ok(()),
                _ => Err(format!("no leader yet: {nodes}")),
            }
        })
        .await;
    }

    /// GET of a path of Consul's API, when it answers 200.
    ///
    /// # Errors
    /// What came instead.
    pub async fn get(&self, path: &str) -> Result<Response, String> {
        let url = format!("{}{path}", self.url());
        let answer = Client::http1().get(&url).await;
        let answer = answer.map_err(|error| error.to_string())?;
        if answer.status == 200 {
            Ok(answer)
        } else {
            Err(answer.to_string())
        }
    }

    /// PUT to a path of Consul's API, as a user does with curl.
    ///
    /// # Panics
    /// When it does not answer 200.
    pub async fn put(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.url());
        let request = request(http::Method::PUT, &url, &[], body.to_string().into());
        let request = request.expect("the test gives a valid path");
        let answer = Client::http1().send(request).await.expect("consul answers");
        assert_eq!(answer.status, 200, "{url}: {answer}");
    }

    /// Registers an instance of a service with an HTTP check, as a user does with curl.
    ///
    /// # Panics
    /// When Consul refuses.
    pub async fn register(&self, service: &str, id: &str, address: SocketAddr, health: &str) {
        let none = json!({});
        self.register_with(service, id, address, health, &none)
            .await;
    }

    /// The same with metadata, in place of a registration with the same id.
    ///
    /// # Panics
    /// When Consul refuses.
    pub async fn register_with(
        &self,
        service: &str,
        id: &str,
        address: SocketAddr,
        health: &str,
        meta: &Value,
    ) {
        let body = json!({
            "ID": id,
            "Name": service,
            "Address": address.ip().to_string(),
            "Port": address.port(),
            "Meta": meta,
            "Check": { "HTTP": health, "Interval": "1s", "Timeout": "1s" },
        });
        self.put("/v1/agent/service/register", &body).await;
    }
}

fn is_installed() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&paths).any(|directory| directory.join("consul").is_file())
}

const START_DEADLINE: Duration = Duration::from_secs(30);
