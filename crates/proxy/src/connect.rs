//! Making connections to endpoints: name, TCP, TLS, HTTP handshake, all under one deadline.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio_rustls::{TlsConnector, TlsStream};
use weir_identity::{Expect, Identity, SpiffeId};
use weir_policy::pipeline::FailureKind;
use weir_policy::snapshot::{Service, ServiceId};

use crate::clock;
use crate::happenings;
use crate::pool::{H1Line, Lane, Line, OpenConnection, Opening, Turn, Wait};
use crate::proxy_protocol::{self, Announcement, Ends};
use crate::record::ServiceMetrics;
use crate::wire::{Socket, Tcp};
use crate::worker::Installed;
use crate::{http1, http2};

mod dial;

pub(crate) use dial::reach;

/// What a connection to an endpoint needs beside its lane.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan<'a> {
    /// TLS of the service, for endpoints without a mesh identity.
    pub(crate) tls: Option<&'a Arc<ClientConfig>>,
    /// Name to verify instead of the endpoint's host.
    pub(crate) server_name: Option<&'a str>,
    /// Who we are in the mesh.
    pub(crate) identity: Option<&'a Arc<Identity>>,
    /// What the connection begins with.
    pub(crate) announcement: Option<Announcement<'a>>,
    /// The service, for its limits.
    pub(crate) service: &'a Service,
    /// Where connections are counted.
    pub(crate) metrics: &'a Rc<ServiceMetrics>,
}

impl<'a> Plan<'a> {
    /// For endpoints of a service, on behalf of a client or of Weir itself.
    pub(crate) fn of(installed: &'a Installed, id: ServiceId, client: Option<Ends<'a>>) -> Self {
        let service = installed.snapshot.service(id);
        let announcement = |version| Announcement { version, client };
        let tls = service.tls.as_ref();
        Self {
            tls: installed.tls(id),
            server_name: tls.and_then(|tls| tls.server_name.as_deref()),
            identity: installed.identity.as_ref(),
            announcement: service.proxy_protocol.map(announcement),
            service,
            metrics: installed.metrics(id),
        }
    }
}

/// Why there is no connection. Nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    /// The endpoint does not speak HTTP/2 although the service says so.
    #[error("the endpoint did not agree on HTTP/2")]
    Alpn,
    /// All connections are in use, and too many wait for one already.
    #[error("all connections are in use, and too many requests wait for one")]
    Full,
    /// All connections stayed in use until the deadline.
    #[error("no connection came free within {0:?}")]
    FullTimeout(Duration),
    /// The HTTP handshake failed.
    #[error("the HTTP handshake failed: {0}")]
    Handshake(#[from] h2::Error),
    /// The endpoint wants a mesh identity that cannot be checked: this process has none, or the
    /// id is malformed.
    #[error("the endpoint's identity {id:?} cannot be verified here")]
    Identity {
        /// The id that should answer.
        id: Box<str>,
    },
    /// The endpoint is in the mesh, where sidecars take HTTP only.
    #[error("the endpoint {id:?} is in the mesh, which carries HTTP only")]
    Mesh {
        /// The id that should answer.
        id: Box<str>,
    },
    /// The host name has no address.
    #[error("cannot resolve {host}: {source}")]
    Resolve {
        /// The name.
        host: Box<str>,
        /// What the resolver said.
        source: io::Error,
    },
    /// TCP failed.
    #[error("cannot connect: {0}")]
    Tcp(#[source] io::Error),
    /// The deadline passed.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// TLS failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(#[source] io::Error),
    /// The host is no name that TLS can verify.
    #[error("{host:?} is not a name that can be verified")]
    ServerName {
        /// The host.
        host: Box<str>,
    },
}

impl ConnectError {
    /// Whether the deadline passed.
    pub(crate) fn is_timeout(&self) -> bool {
        matches!(
            self,
            ConnectError::FullTimeout(_) | ConnectError::Timeout(_)
        )
    }

    /// What policy is told.
    pub(crate) fn kind(&self) -> FailureKind {
        match self {
            ConnectError::Alpn | ConnectError::Handshake(_) | ConnectError::Mesh { .. } => {
                FailureKind::Protocol
            }
            ConnectError::Full => FailureKind::PendingOverflow,
            ConnectError::FullTimeout(_) => FailureKind::PendingTimeout,
            ConnectError::Identity { .. }
            | ConnectError::ServerName { .. }
            | ConnectError::Tls(_) => FailureKind::Tls,
            ConnectError::Resolve { .. } | ConnectError::Tcp(_) => FailureKind::Connect,
            ConnectError::Timeout(_) => FailureKind::ConnectTimeout,
        }
    }
}

/// A line to the endpoint: an idle or shared connection where there is one, else a new one within
/// `timeout`.
pub(crate) async fn line(
    lane: &Rc<Lane>,
    plan: &Plan<'_>,
    timeout: Duration,
) -> Result<Line, ConnectError> {
    match lane.turn(plan.service.connections_max) {
        Turn::Go(line) => Ok(line),
        // Boxed: connections are made rarely, and every exchange would carry the size.
        first => Box::pin(slow_line(lane, plan, timeout, first)).await,
    }
}

async fn slow_line(
    lane: &Rc<Lane>,
    plan: &Plan<'_>,
    timeout: Duration,
    mut turn: Turn,
) -> Result<Line, ConnectError> {
    let service = plan.service;
    // The place among those who wait because all connections are in use.
    let mut place = None;
    let made = async {
        loop {
            match turn {
                Turn::Go(line) => return Ok(line),
                Turn::Open(opening) => {
                    place = None;
                    let open_now = lane.open_now();
                    service.live.connected(service, open_now, clock::now());
                    happenings::tell(service);
                    return open(opening, plan).await;
                }
                Turn::Wait(Wait::Opening) => place = None,
                Turn::Wait(Wait::Full) if place.is_none() => {
                    service.live.connections_reached();
                    let taken = service.live.wait(service, clock::now());
                    happenings::tell(service);
                    place = Some(taken.map_err(|_| ConnectError::Full)?);
                }
                Turn::Wait(Wait::Full) => {}
            }
            lane.changed().await;
            turn = lane.turn(service.connections_max);
        }
    };
    match tokio::time::timeout(timeout, made).await {
        Ok(result) => result,
        Err(_) if place.is_some() => Err(ConnectError::FullTimeout(timeout)),
        Err(_) => Err(ConnectError::Timeout(timeout)),
    }
}

/// An open connection that nothing is spoken on yet.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) socket: Socket,
    _counted: Counted,
}

/// A connection for bytes of any kind, as soon as the endpoint may have one more, within `timeout`.
pub(crate) async fn open_raw(
    lane: &Rc<Lane>,
    plan: &Plan<'_>,
    timeout: Duration,
) -> Result<Open, ConnectError> {
    if let Some(id) = &lane.identity {
        return Err(ConnectError::Mesh { id: id.clone() });
    }
    let service = plan.service;
    // The place among those who wait because all connections are in use.
    let mut place = None;
    let made = async {
        let connection = loop {
            if let Some(connection) = lane.enter(service.connections_max) {
                break connection;
            }
            if place.is_none() {
                service.live.connections_reached();
                let taken = service.live.wait(service, clock::now());
                happenings::tell(service);
                place = Some(taken.map_err(|_| ConnectError::Full)?);
            }
            lane.changed().await;
        };
        place = None;
        service
            .live
            .connected(service, lane.open_now(), clock::now());
        happenings::tell(service);
        let socket = socket(lane, plan).await?;
        let _counted = Counted::new(connection, plan);
        Ok(Open { socket, _counted })
    };
    match tokio::time::timeout(timeout, made).await {
        Ok(result) => result,
        Err(_) if place.is_some() => Err(ConnectError::FullTimeout(timeout)),
        Err(_) => Err(ConnectError::Timeout(timeout)),
    }
}

async fn open(opening: Opening, plan: &Plan<'_>) -> Result<Line, ConnectError> {
    let lane = Rc::clone(opening.lane());
    let socket = socket(&lane, plan).await?;
    if lane.http2
        && let Socket::Tls(stream) = &socket
        && stream.get_ref().1.alpn_protocol() != Some(b"h2")
    {
        return Err(ConnectError::Alpn);
    }
    let counted = Counted::new(opening.done(), plan);
    if lane.http2 {
        let connection = http2::Connection::start(socket, counted).await?;
        Ok(Line::H2(lane.share(connection)))
    } else {
        let connection = http1::Connection::new(socket, counted);
        Ok(Line::H1(H1Line::new(connection, lane)))
    }
}

/// Name, TCP, PROXY header, TLS.
async fn socket(lane: &Lane, plan: &Plan<'_>) -> Result<Socket, ConnectError> {
    let mut stream = dial::tcp(lane).await?;
    if let Some(announcement) = plan.announcement.filter(|_| lane.identity.is_none()) {
        let sent = proxy_protocol::send(&mut stream, announcement).await;
        sent.map_err(ConnectError::Tcp)?;
    }
    let Some((config, name)) = tls_of(lane, plan)? else {
        return Ok(Socket::Plain(stream));
    };
    let connected = TlsConnector::from(config).connect(name, Tcp(stream)).await;
    let stream = connected.map_err(ConnectError::Tls)?;
    Ok(Socket::Tls(Box::new(TlsStream::Client(stream))))
}

/// Held as long as a connection is open.
#[derive(Debug)]
pub(crate) struct Counted {
    _connection: OpenConnection,
    metrics: Rc<ServiceMetrics>,
}

impl Counted {
    fn new(connection: OpenConnection, plan: &Plan<'_>) -> Self {
        plan.metrics.opened();
        Self {
            _connection: connection,
            metrics: Rc::clone(plan.metrics),
        }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.metrics.closed();
    }
}

/// The TLS configuration and name for this endpoint; `None` for clear text.
fn tls_of(
    lane: &Lane,
    plan: &Plan<'_>,
) -> Result<Option<(Arc<ClientConfig>, ServerName<'static>)>, ConnectError> {
    if let Some(id) = &lane.identity {
        let config = mesh_tls(lane, id, plan)?;
        return Ok(Some((config, weir_identity::mesh_server_name())));
    }
    let Some(config) = plan.tls else {
        return Ok(None);
    };
    let host = plan.server_name.unwrap_or_else(|| host_of(&lane.address));
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| ConnectError::ServerName { host: host.into() })?;
    Ok(Some((Arc::clone(config), name)))
}

/// Made once per lane: the configuration follows our identity through renewals by itself.
fn mesh_tls(lane: &Lane, id: &str, plan: &Plan<'_>) -> Result<Arc<ClientConfig>, ConnectError> {
    if let Some(config) = &*lane.mesh_tls.borrow() {
        return Ok(Arc::clone(config));
    }
    let unknown = || ConnectError::Identity { id: id.into() };
    let identity = plan.identity.ok_or_else(unknown)?;
    let expected = SpiffeId::parse(id).map_err(|_| unknown())?;
    let alpn: &[&[u8]] = if lane.http2 { &[b"h2"] } else { &[b"http/1.1"] };
    let config = weir_identity::mesh_client_config(identity, Expect::Exactly(expected), alpn)
        .map_err(|_| unknown())?;
    lane.mesh_tls.replace(Some(Arc::clone(&config)));
    Ok(config)
}

/// The host of `host:port`, without the brackets of IPv6.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

#[cfg(test)]
mod tests {
    use super::host_of;

    #[test]
    fn hosts_lose_their_port_and_brackets() {
        assert_eq!(host_of("orders.internal:5000"), "orders.internal");
        assert_eq!(host_of("10.0.0.1:80"), "10.0.0.1");
        assert_eq!(host_of("[::1]:80"), "::1");
    }
}
