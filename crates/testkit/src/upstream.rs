//! HTTP servers on loopback that answer by script and remember what they saw.
//!
//! HTTP/1.1 is spoken at the byte level, so that an upstream can also do what no library lets it:
//! stop in the middle of a body, reset, answer garbage. Each upstream runs on a thread and runtime
//! of its own, so a test that blocks does not stop the world it tests.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use crate::client::Protocol;
use crate::eventually::eventually;
use crate::ports::free_port;

mod answer;
mod http1;
mod http2;
mod message;
mod record;
mod serve;

pub use answer::{Answer, Reply, Script};
pub use record::Recorded;

use record::Journal;

/// A running scripted upstream. Dropping it stops it and closes all its connections.
pub struct Upstream {
    address: SocketAddr,
    scheme: &'static str,
    journal: Arc<Journal>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Upstream {
    /// An HTTP/1.1 upstream on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the port cannot be bound.
    #[must_use]
    pub fn start(script: impl Into<Script>) -> Self {
        Self::builder(script).start()
    }

    /// An upstream with more to say about.
    #[must_use]
    pub fn builder(script: impl Into<Script>) -> Builder {
        Builder {
            script: script.into(),
            protocol: Protocol::Http1,
            tls: None,
            bind: None,
            requests_per_connection_max: usize::MAX,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.address
    }

    /// The port it listens on.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// A URL of it; the path starts with a slash.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.scheme, self.address)
    }

    /// Answers by another script from the next request on.
    pub fn set_script(&self, script: impl Into<Script>) {
        self.journal.set_script(script.into());
    }

    /// The requests so far, oldest first; of more than 10,000 the newest.
    #[must_use]
    pub fn requests(&self) -> Vec<Recorded> {
        self.journal.requests()
    }

    /// The newest request.
    ///
    /// # Panics
    /// When there was none.
    #[must_use]
    pub fn last_request(&self) -> Recorded {
        self.requests()
            .pop()
            .expect("the upstream was sent a request")
    }

    /// Forgets the recorded requests; the counters go on.
    pub fn forget_requests(&self) {
        self.journal.forget();
    }

    /// How many request heads have arrived.
    #[must_use]
    pub fn request_count(&self) -> u64 {
        self.journal.request_count()
    }

    /// How many connections have been accepted.
    #[must_use]
    pub fn connection_count(&self) -> u64 {
        self.journal.connection_count()
    }

    /// How many connections are open now.
    #[must_use]
    pub fn open_connections(&self) -> u64 {
        self.journal.open_connections()
    }

    /// Waits until that many requests have arrived since the start.
    ///
    /// # Panics
    /// At the deadline.
    #[track_caller]
    pub fn wait_for_requests(&self, count: u64, deadline: Duration) -> impl Future<Output = ()> {
        let journal = Arc::clone(&self.journal);
        eventually(deadline, move || {
            let seen = journal.request_count();
            async move {
                if seen >= count {
                    Ok(())
                } else {
                    Err(format!("{seen} requests"))
                }
            }
        })
    }

    /// Stops listening and closes every connection; returns when that is done.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let failed = thread.join().is_err();
            assert!(
                !failed || std::thread::panicking(),
                "the upstream's thread panicked"
            );
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.shut_down();
    }
}

/// What kind of upstream to start.
pub struct Builder {
    script: Script,
    protocol: Protocol,
    tls: Option<ServerConfig>,
    bind: Option<SocketAddr>,
    requests_per_connection_max: usize,
}

impl Builder {
    /// HTTP/2: by prior knowledge in clear text, by ALPN over TLS.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.protocol = Protocol::Http2;
        self
    }

    /// Over TLS; ALPN is set to the protocol.
    #[must_use]
    pub fn tls(mut self, config: ServerConfig) -> Self {
        self.tls = Some(config);
        self
    }

    /// On this address, for instance that of an upstream that was stopped.
    #[must_use]
    pub fn bind(mut self, address: SocketAddr) -> Self {
        self.bind = Some(address);
        self
    }

    /// Closes an HTTP/1.1 connection in order after that many requests, without announcing it:
    /// what a server with a keep-alive limit or a short idle timeout does.
    #[must_use]
    pub fn requests_per_connection_max(mut self, count: usize) -> Self {
        self.requests_per_connection_max = count;
        self
    }

    /// Starts it.
    ///
    /// # Panics
    /// When the address cannot be bound.
    #[must_use]
    pub fn start(self) -> Upstream {
        let listener = match self.bind {
            Some(address) => bind_within(address, Duration::from_secs(5)),
            None => bind_within((Ipv4Addr::LOCALHOST, free_port()).into(), Duration::ZERO),
        };
        listener
            .set_nonblocking(true)
            .expect("a listener can be switched");
        let address = listener
            .local_addr()
            .expect("a bound listener has an address");
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        let journal = Arc::new(Journal::new(self.script, self.requests_per_connection_max));
        let acceptor = self.tls.map(|mut config| {
            config.alpn_protocols = match self.protocol {
                Protocol::Http1 => vec![b"http/1.1".to_vec()],
                Protocol::Http2 => vec![b"h2".to_vec()],
            };
            TlsAcceptor::from(Arc::new(config))
        });
        let (stop, stopped) = oneshot::channel();
        let of_thread = Arc::clone(&journal);
        let thread = std::thread::Builder::new()
            .name(format!("upstream-{}", address.port()))
            .spawn(move || {
                serve::run(listener, self.protocol, acceptor, of_thread, stopped);
            })
            .expect("a thread can be started");
        Upstream {
            address,
            scheme,
            journal,
            running: Some((stop, thread)),
        }
    }
}

/// Connections of a predecessor may still be closing.
fn bind_within(address: SocketAddr, deadline: Duration) -> TcpListener {
    let end = Instant::now() + deadline;
    loop {
        match TcpListener::bind(address) {
            Ok(listener) => return listener,
            Err(error) if Instant::now() >= end => panic!("cannot listen on {address}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
