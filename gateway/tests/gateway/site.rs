//! A directory with a configuration, and gateways started on it.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;
use weir_testkit::client::Client;
use weir_testkit::ports::free_addr;
use weir_testkit::process::{Launch, Process, Ready};

pub const DEADLINE: Duration = Duration::from_secs(20);

/// Where a test's gateway listens and keeps its files.
pub struct Site {
    pub web: SocketAddr,
    pub admin: SocketAddr,
    directory: TempDir,
}

impl Site {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self {
            web: free_addr(),
            admin: free_addr(),
            directory,
        }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn config(&self) -> PathBuf {
        self.path().join("weir.yaml")
    }

    /// Replaces the configuration, as editors do.
    pub fn write(&self, text: &str) {
        let beside = self.path().join("weir.yaml.new");
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.config()).unwrap();
    }

    pub fn launch(&self) -> Launch {
        self.launch_with(&self.config())
    }

    pub fn launch_with(&self, config: &Path) -> Launch {
        Launch::program(env!("CARGO_BIN_EXE_weir-gateway"))
            .arg("--config")
            .arg(config)
            .args(["--admin", &self.admin.to_string(), "--workers", "2"])
            .arg("--state-dir")
            .arg(self.path().join("state"))
            .args(["--drain", "5s", "--access-log", "off"])
            .directory(self.path())
    }

    pub async fn start(&self) -> Process {
        let mut process = self.launch().start();
        process
            .wait_ready(&Ready::Url(self.admin_url("/readyz")), DEADLINE)
            .await;
        process
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.web)
    }

    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin)
    }

    /// The body and status of a GET through the gateway.
    pub async fn get(&self, path: &str) -> (u16, String) {
        let answer = Client::http1().get(&self.url(path)).await.unwrap();
        (answer.status.as_u16(), answer.text())
    }

    /// The value of a metric without labels.
    pub async fn metric(&self, name: &str) -> f64 {
        let text = Client::http1()
            .get(&self.admin_url("/metrics"))
            .await
            .unwrap()
            .text();
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name));
        let value = line.and_then(|line| line.split(' ').nth(1));
        value
            .unwrap_or_else(|| panic!("no {name} in\n{text}"))
            .parse()
            .unwrap()
    }
}
