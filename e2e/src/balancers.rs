//! Other products' proxies, run as they are installed, in front of a gateway or behind it.

use std::fs;
use std::net::SocketAddr;

use tempfile::TempDir;
use weir_testkit::process::{Launch, Process, Ready};

use crate::DEADLINE;

/// A running proxy; its files go with it.
pub struct Balancer {
    /// The process.
    pub process: Process,
    _directory: TempDir,
}

/// HAProxy with these sections, ready when it accepts at `address`. What is common to all tests
/// (deadlines, HTTP by default) stands in front.
///
/// # Panics
/// When it is not installed, or not ready within [`DEADLINE`].
pub async fn haproxy(address: SocketAddr, sections: &str) -> Balancer {
    let common = "global\n  maxconn 200\n\
                  defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  \
                  timeout server 60s\n";
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let file = directory.path().join("haproxy.cfg");
    fs::write(&file, format!("{common}{sections}\n")).expect("it is ours");
    let launch = Launch::program("haproxy").args(["-db", "-f"]).arg(&file);
    started(launch, directory, address).await
}

/// nginx with these lines in its `http` block (or, with `stream`, beside it), ready when it accepts
/// at `address`.
///
/// # Panics
/// When it is not installed, or not ready within [`DEADLINE`].
pub async fn nginx(address: SocketAddr, http: &str) -> Balancer {
    let directory = tempfile::tempdir().expect("the temporary directory is writable");
    let file = directory.path().join("nginx.conf");
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("  {kind}_temp_path {kind};\n"))
        .concat();
    let text = format!(
        "daemon off;\npid nginx.pid;\nerror_log stderr;\nworker_processes 1;\n\
         events {{ worker_connections 256; }}\n\
         http {{\n  access_log off;\n{temporary}{http}\n}}\n"
    );
    fs::write(&file, text).expect("it is ours");
    let launch = Launch::program("nginx")
        .args(["-e", "stderr", "-p"])
        .arg(directory.path())
        .arg("-c")
        .arg(&file);
    started(launch, directory, address).await
}

async fn started(launch: Launch, directory: TempDir, address: SocketAddr) -> Balancer {
    let mut process = launch.start();
    process.wait_ready(&Ready::Tcp(address), DEADLINE).await;
    Balancer {
        process,
        _directory: directory,
    }
}
