//! PROXY protocol headers on sockets: received from load balancers in front, sent to endpoints.
//! The bytes are `weir_policy::proxy_protocol`'s.

use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use weir_config::bounds::PROXY_HEADER_BYTES_MAX;
use weir_config::proxy_protocol::ProxyProtocol;
use weir_policy::proxy_protocol::{Addresses, Fault, Read, read, write};

use crate::peek::{Peek, PeekError};

/// What an endpoint is told about whose connection it gets.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Announcement<'a> {
    /// In which version.
    pub(crate) version: ProxyProtocol,
    /// The client; `None` for Weir itself.
    pub(crate) client: Option<Ends<'a>>,
}

/// Both ends of a client's connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ends<'a> {
    /// The client.
    pub(crate) client: &'a SocketAddr,
    /// Where it connected to.
    pub(crate) local: &'a SocketAddr,
}

impl<'a> Ends<'a> {
    /// Those of a connection.
    pub(crate) fn of(addresses: &'a Addresses) -> Self {
        Self {
            client: &addresses.source,
            local: &addresses.destination,
        }
    }
}

/// Why a connection has not said whose it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// It ended before.
    #[error(transparent)]
    Ended(#[from] PeekError),
    /// It begins with something else.
    #[error(transparent)]
    Malformed(#[from] Fault),
}

/// Takes the header from the beginning of a connection and nothing behind it. `None`: the
/// connection's own addresses hold.
pub(crate) async fn receive(stream: &mut TcpStream) -> Result<Option<Addresses>, ReceiveError> {
    let mut peek = Peek::new(stream, PROXY_HEADER_BYTES_MAX);
    let (mut left, addresses) = loop {
        match read(peek.more().await?)? {
            Read::Header { bytes, addresses } => break (bytes, addresses),
            Read::Incomplete => {}
        }
    };
    // It is there already: these reads do not wait.
    let mut taken = [0; 512];
    while left > 0 {
        let piece = left.min(taken.len());
        let read = stream.read_exact(&mut taken[..piece]).await;
        read.map_err(PeekError::Ended)?;
        left -= piece;
    }
    Ok(addresses)
}

/// Begins a connection to an endpoint.
pub(crate) async fn send(stream: &mut TcpStream, announcement: Announcement<'_>) -> io::Result<()> {
    let addresses = announcement.client.map(|client| Addresses {
        source: *client.client,
        destination: *client.local,
    });
    let header = write(announcement.version, addresses.as_ref());
    stream.write_all(&header).await
}

/// The address that a client connected to, as the socket has it.
pub(crate) fn local(stream: &TcpStream, gate: SocketAddr) -> SocketAddr {
    stream.local_addr().unwrap_or(gate)
}
