//! Before the first request: whose connection it is (PROXY protocol), whether it is passed on
//! closed (SNI), then a TLS handshake, or a look at the first bytes, to know the protocol.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ipnet::IpNet;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsStream};
use weir_policy::clients::ClientPlace;
use weir_policy::proxy_protocol::{Addresses, Fault};
use weir_policy::refusal::Code;
use weir_telemetry::termination::Termination;

use super::hello::{self, HelloError};
use crate::peek::PeekError;
use crate::proxy_protocol::{self, ReceiveError};
use crate::record::TunnelLedger;
use crate::tunnel::Tunnel;
use crate::wire::{Socket, Tcp};
use crate::worker::{Entry, Worker};
use weir_config::service::Protocol;

/// What a connection turned out to be.
pub(super) enum Greeted {
    /// One that carries HTTP.
    Http(Http),
    /// One that is passed on.
    Tunnel(Tunnel),
}

/// What is known of a connection before its first request.
pub(super) struct Http {
    pub(super) addresses: Addresses,
    pub(super) socket: Socket,
    pub(super) prefix: Bytes,
    pub(super) secure: bool,
    pub(super) peer: Option<Box<str>>,
    pub(super) http2: bool,
}

/// Finds out what there is to know before the first request; `own` are the addresses of the
/// connection itself. A client that is known from its PROXY header alone gets its place here.
pub(super) async fn greet(
    worker: &Rc<Worker>,
    entry: &Entry,
    mut stream: TcpStream,
    own: Addresses,
    place: &mut Option<ClientPlace>,
) -> Result<Greeted, &'static str> {
    let _ = stream.set_nodelay(true);
    let addresses = match entry.announced_from() {
        None => own,
        // Boxed: rare, and every connection would carry its size.
        Some(networks) => {
            let addresses = Box::pin(announced(entry, &mut stream, own, networks)).await?;
            *place = entry.place_of(addresses.source.ip())?;
            addresses
        }
    };
    let tunnels = entry.tunnels();
    let tunnel = |socket, plan, server_name| {
        let (addresses, plan) = (addresses, plan);
        Ok(Greeted::Tunnel(Tunnel {
            socket,
            addresses,
            plan,
            server_name,
        }))
    };
    if tunnels.need_name() {
        let name = Box::pin(name_asked_for(worker, entry, &stream)).await?;
        if let Some(plan) = tunnels.passed(name.as_deref()) {
            return tunnel(Socket::Plain(stream), plan, name);
        }
        if entry.tls.is_none() {
            let ledger = TunnelLedger::new(worker, entry, addresses.source, false, name);
            hello::refuse(stream).await;
            ledger.refused(Code::SniUnknown, Termination::Refused);
            return Err("sni-unknown");
        }
    }
    if entry.tls.is_none()
        && let Some(plan) = tunnels.rest()
    {
        return tunnel(Socket::Plain(stream), plan, None);
    }
    let Some(tls) = &entry.tls else {
        let read =
            tokio::time::timeout(entry.bounds.header_timeout, first_bytes(&mut stream)).await;
        let (prefix, http2) = match read {
            Err(_) => return Err("header-timeout"),
            Ok(None) => return Err("client"),
            Ok(Some(first)) => first,
        };
        let socket = Socket::Plain(stream);
        return Ok(Greeted::Http(Http {
            addresses,
            socket,
            prefix,
            secure: false,
            peer: None,
            http2: speaks_http2(entry, http2),
        }));
    };
    let handshake = Box::pin(TlsAcceptor::from(Arc::clone(tls)).accept(Tcp(stream)));
    let stream = match tokio::time::timeout(TLS_TIMEOUT, handshake).await {
        Err(_) => {
            entry.metrics.handshake_failed(worker.index, "timeout");
            return Err("tls");
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake with a client failed");
            entry.metrics.handshake_failed(worker.index, "protocol");
            return Err("tls");
        }
        Ok(Ok(stream)) => stream,
    };
    let (_, session) = stream.get_ref();
    let http2 = speaks_http2(entry, session.alpn_protocol() == Some(b"h2"));
    let peer = if entry.mesh {
        let chain = session.peer_certificates().unwrap_or_default();
        match weir_identity::peer_id(chain) {
            Ok(id) => Some(id.as_str().into()),
            Err(error) => {
                tracing::debug!(%error, "mesh peer without an identity");
                entry.metrics.handshake_failed(worker.index, "identity");
                return Err("tls");
            }
        }
    } else {
        None
    };
    let socket = Socket::Tls(Box::new(TlsStream::Server(stream)));
    if let Some(plan) = tunnels.rest() {
        return tunnel(socket, plan, None);
    }
    Ok(Greeted::Http(Http {
        addresses,
        socket,
        prefix: Bytes::new(),
        secure: true,
        peer,
        http2,
    }))
}

/// The name that a TLS client asks for.
async fn name_asked_for(
    worker: &Worker,
    entry: &Entry,
    stream: &TcpStream,
) -> Result<Option<Box<str>>, &'static str> {
    let name = hello::name_asked_for(stream, entry.bounds.header_timeout).await;
    name.map_err(|error| {
        tracing::debug!(%error, "a client did not say what it asks for");
        match error {
            HelloError::Ended(PeekError::Ended(_)) => return "client",
            HelloError::Ended(PeekError::Full(_)) => {
                entry
                    .metrics
                    .handshake_failed(worker.index, "hello-too-large");
            }
            HelloError::Malformed(_) => entry.metrics.handshake_failed(worker.index, "protocol"),
            HelloError::Timeout(_) => entry
                .metrics
                .handshake_failed(worker.index, "hello-timeout"),
        }
        "tls"
    })
}

/// What is spoken, whatever the client seems to: the other protocol is not understood.
fn speaks_http2(entry: &Entry, seems: bool) -> bool {
    match entry.bounds.only {
        None => seems,
        Some(only) => only == Protocol::Http2,
    }
}

/// Whose connection it is, as the load balancer in front says.
async fn announced(
    entry: &Entry,
    stream: &mut TcpStream,
    own: Addresses,
    networks: &[IpNet],
) -> Result<Addresses, &'static str> {
    let from = own.source.ip().to_canonical();
    if !networks.iter().any(|network| network.contains(&from)) {
        return Err("proxy-protocol-source");
    }
    let header = proxy_protocol::receive(stream);
    match tokio::time::timeout(entry.bounds.header_timeout, header).await {
        Ok(Ok(addresses)) => Ok(addresses.unwrap_or(own)),
        Ok(Err(ReceiveError::Ended(_))) => Err("client"),
        Ok(Err(ReceiveError::Malformed(fault))) => {
            tracing::debug!(%fault, %from, "no PROXY header");
            match fault {
                Fault::TooLong => Err("proxy-protocol-too-large"),
                Fault::Absent | Fault::Binary | Fault::Line => Err("proxy-protocol"),
            }
        }
        Err(_) => Err("proxy-protocol-timeout"),
    }
}

/// Reads until the bytes are, or cannot become, the HTTP/2 preface. `None` at the end of the
/// stream.
async fn first_bytes(stream: &mut TcpStream) -> Option<(Bytes, bool)> {
    // Waiting without a buffer: most connections of a browser stand idle before their first byte.
    stream.readable().await.ok()?;
    let mut bytes = BytesMut::with_capacity(FIRST_READ_BYTES);
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let compared = bytes.len().min(H2_PREFACE.len());
        if bytes[..compared] != H2_PREFACE[..compared] {
            return Some((bytes.freeze(), false));
        }
        if compared == H2_PREFACE.len() {
            return Some((bytes.freeze(), true));
        }
    }
}

const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const FIRST_READ_BYTES: usize = 4096;
/// A client's TLS handshake may take this long.
const TLS_TIMEOUT: Duration = Duration::from_secs(10);
