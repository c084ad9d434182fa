//! A real Consul agent for one test: in memory, on free loopback ports, stopped by its own handle.

use std::net::{TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use weir_discovery::consul::{Consul, Settings, Token};

/// How long an agent may take to elect itself.
const START_DEADLINE: Duration = Duration::from_secs(30);
const ASK_EVERY: Duration = Duration::from_millis(20);

pub(crate) struct Agent {
    child: Option<Child>,
    ports: Ports,
    directory: tempfile::TempDir,
    secured: Option<String>,
}

struct Ports {
    http: u16,
    server: u16,
    serf_lan: u16,
    serf_wan: u16,
}

impl Agent {
    /// An agent that has a leader and knows its own node.
    pub(crate) async fn start() -> Agent {
        let mut agent = Agent::new(None);
        agent.restart().await;
        agent
    }

    /// An agent with TLS and access control, whose one token is `token`; and its roots.
    pub(crate) async fn start_secured(token: &str) -> (Agent, PathBuf) {
        let mut agent = Agent::new(Some(token.to_owned()));
        let (ca, issuer) = authority("weir test");
        let ca_path = agent.write("ca.pem", &ca);
        let key = KeyPair::generate().unwrap();
        let names = vec!["127.0.0.1".to_owned(), "server.dc1.consul".to_owned()];
        let leaf = CertificateParams::new(names)
            .unwrap()
            .signed_by(&key, &issuer)
            .unwrap();
        agent.write("cert.pem", &leaf.pem());
        agent.write("key.pem", &key.serialize_pem());
        agent.restart().await;
        (agent, ca_path)
    }

    pub(crate) fn address(&self) -> String {
        let scheme = if self.secured.is_some() {
            "https"
        } else {
            "http"
        };
        format!("{scheme}://127.0.0.1:{}", self.ports.http)
    }

    pub(crate) fn consul(&self) -> Consul {
        let ca = self.secured.is_some().then(|| self.path("ca.pem"));
        let token = self.secured.as_ref().map(Token::text);
        Consul::new(Settings {
            ca,
            token,
            ..Settings::new(self.address())
        })
        .unwrap()
    }

    /// Roots that did not sign the agent's certificate.
    pub(crate) fn foreign_ca(&self) -> PathBuf {
        self.write("foreign.pem", &authority("someone else").0)
    }

    /// Ends the agent without a farewell; all it knew is lost.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it (again), on the same ports.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = Some(self.command().spawn().unwrap_or_else(|error| {
            panic!("consul cannot be started ({error}); install it with `make test-deps`")
        }));
        let consul = self.consul();
        let deadline = Instant::now() + START_DEADLINE;
        // A leader is elected before the node is in the catalog, and health needs both.
        while !consul
            .health_service("consul", None, None)
            .await
            .is_ok_and(|reply| {
                reply
                    .value
                    .iter()
                    .any(|instance| !instance.checks.is_empty())
            })
        {
            let child = self.child.as_mut().unwrap();
            let ended = child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "{ended:?}: {}",
                self.log()
            );
            tokio::time::sleep(ASK_EVERY).await;
        }
    }

    fn new(secured: Option<String>) -> Agent {
        let directory = tempfile::tempdir().unwrap();
        Agent {
            child: None,
            ports: Ports::free(),
            directory,
            secured,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("consul");
        command
            .args([
                "agent",
                "-dev",
                "-bind",
                "127.0.0.1",
                "-client",
                "127.0.0.1",
            ])
            .args(["-node", "test", "-dns-port", "-1", "-grpc-port", "-1"])
            .args(["-server-port", &self.ports.server.to_string()])
            .args(["-serf-lan-port", &self.ports.serf_lan.to_string()])
            .args(["-serf-wan-port", &self.ports.serf_wan.to_string()]);
        match &self.secured {
            None => command.args(["-http-port", &self.ports.http.to_string()]),
            Some(token) => command
                .args(["-http-port", "-1"])
                .args(["-hcl", &self.security(token)]),
        };
        let log = std::fs::File::create(self.path("log")).unwrap();
        command
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(Stdio::null());
        command.current_dir(self.directory.path());
        command
    }

    fn security(&self, token: &str) -> String {
        format!(
            "ports {{ https = {} }} ca_file = \"ca.pem\" cert_file = \"cert.pem\" \
             key_file = \"key.pem\" acl {{ enabled = true default_policy = \"deny\" \
             tokens {{ master = \"{token}\" agent = \"{token}\" }} }}",
            self.ports.http
        )
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn log(&self) -> String {
        read_or_empty(&self.path("log"))
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of the agent\n{}", self.log());
        }
    }
}

impl Ports {
    /// Ports that were free a moment ago; gossip wants them for UDP as well.
    fn free() -> Ports {
        let held: Vec<_> = std::iter::repeat_with(|| {
            let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
            let address = tcp.local_addr().unwrap();
            UdpSocket::bind(address)
                .ok()
                .map(|udp| (address.port(), tcp, udp))
        })
        .flatten()
        .take(4)
        .collect();
        let port = |index: usize| held[index].0;
        Ports {
            http: port(0),
            server: port(1),
            serf_lan: port(2),
            serf_wan: port(3),
        }
    }
}

fn authority(name: &str) -> (String, Issuer<'static, KeyPair>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, Issuer::new(params, key))
}

fn read_or_empty(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}
