//! The smallest proxy on pingora-proxy: one upstream, one field added, one thread.

use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use pingora_core::Result;
use pingora_core::listeners::tls::TlsSettings;
use pingora_core::server::Server;
use pingora_core::server::configuration::ServerConf;
use pingora_core::upstreams::peer::HttpPeer;
use pingora_http::RequestHeader;
use pingora_proxy::{ProxyHttp, Session, http_proxy_service};
use weir_bench_peers::{Arguments, POOL_MAX};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Peer {
    upstream: SocketAddr,
    is_http2: bool,
}

#[async_trait]
impl ProxyHttp for Peer {
    type CTX = ();

    fn new_ctx(&self) -> Self::CTX {}

    async fn upstream_peer(
        &self,
        _session: &mut Session,
        _context: &mut Self::CTX,
    ) -> Result<Box<HttpPeer>> {
        let mut peer = HttpPeer::new(self.upstream, false, String::new());
        if self.is_http2 {
            peer.options.set_http_version(2, 2);
            peer.options.max_h2_streams = STREAMS_MAX;
        }
        Ok(Box::new(peer))
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        request: &mut RequestHeader,
        _context: &mut Self::CTX,
    ) -> Result<()> {
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            request.insert_header("x-forwarded-for", client.ip().to_string())?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    match start() {
        Ok(never) => never,
        Err(text) => {
            eprintln!("peer-pingora: {text}");
            ExitCode::FAILURE
        }
    }
}

fn start() -> Result<ExitCode, String> {
    let arguments = Arguments::from_process()?.copying()?;
    let conf = ServerConf {
        threads: 1,
        work_stealing: false,
        upstream_keepalive_pool_size: POOL_MAX,
        // By default SIGTERM takes five minutes.
        grace_period_seconds: Some(0),
        graceful_shutdown_timeout_seconds: Some(0),
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let peer = Peer {
        upstream: arguments.upstream,
        is_http2: arguments.is_http2_upstream,
    };
    let mut service = http_proxy_service(&Arc::clone(&server.configuration), peer);
    let listen = arguments.listen.to_string();
    match &arguments.tls {
        None => service.add_tcp(&listen),
        Some((certificate, key)) => {
            let path = |path: &std::path::PathBuf| path.to_string_lossy().into_owned();
            let mut settings = TlsSettings::intermediate(&path(certificate), &path(key))
                .map_err(|error| error.to_string())?;
            settings.enable_h2();
            service.add_tls_with_settings(&listen, None, settings);
        }
    }
    server.add_service(service);
    thread::spawn(move || say_when_ready(arguments.listen));
    server.run_forever()
}

/// Pingora tells nobody when it listens.
fn say_when_ready(listen: SocketAddr) {
    while TcpStream::connect(listen).is_err() {
        thread::sleep(Duration::from_millis(10));
    }
    println!("ready");
}

/// Requests at a time on a connection to an HTTP/2 upstream.
const STREAMS_MAX: usize = 100;
