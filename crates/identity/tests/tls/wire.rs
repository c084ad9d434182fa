//! The wire between a client and a server connection: bytes carried until both fall silent.

use std::io::{Read as _, Write as _};
use std::sync::Arc;

use rustls::{ClientConfig, ClientConnection, HandshakeKind, ServerConfig, ServerConnection};
use rustls_pki_types::ServerName;
use weir_identity::{PeerError, SpiffeId, peer_id};

/// Which side gave a handshake up, and why.
#[derive(Debug)]
pub enum Failure {
    Client(rustls::Error),
    Server(rustls::Error),
}

impl Failure {
    /// The reason that our verifier on the client side gave.
    pub fn client_reason(&self) -> &PeerError {
        match self {
            Self::Client(error) => PeerError::of(error).expect("a reason of ours"),
            Self::Server(error) => panic!("the server refused: {error}"),
        }
    }

    /// The reason that our verifier on the server side gave.
    pub fn server_reason(&self) -> &PeerError {
        match self {
            Self::Server(error) => PeerError::of(error).expect("a reason of ours"),
            Self::Client(error) => panic!("the client refused: {error}"),
        }
    }

    /// The library's error of the client side.
    pub fn client_error(&self) -> &rustls::Error {
        match self {
            Self::Client(error) => error,
            Self::Server(error) => panic!("the server refused: {error}"),
        }
    }

    /// The library's error of the server side.
    pub fn server_error(&self) -> &rustls::Error {
        match self {
            Self::Server(error) => error,
            Self::Client(error) => panic!("the client refused: {error}"),
        }
    }
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub struct Connection {
    pub client: ClientConnection,
    pub server: ServerConnection,
}

/// Makes a handshake, to the end: a client's certificate is judged after the client believes to be
/// done.
pub fn connect(
    client: &Arc<ClientConfig>,
    server: &Arc<ServerConfig>,
    name: ServerName<'static>,
) -> Result<Connection, Failure> {
    let mut connection = Connection {
        client: ClientConnection::new(Arc::clone(client), name).map_err(Failure::Client)?,
        server: ServerConnection::new(Arc::clone(server)).map_err(Failure::Server)?,
    };
    connection.carry()?;
    assert!(!connection.client.is_handshaking() && !connection.server.is_handshaking());
    Ok(connection)
}

impl Connection {
    /// A word each way over the connection.
    pub fn talks(&mut self) -> bool {
        self.client.writer().write_all(b"ping").unwrap();
        self.server.writer().write_all(b"pong").unwrap();
        self.carry().unwrap();
        let (mut heard, mut answer) = ([0; 4], [0; 4]);
        self.server.reader().read_exact(&mut heard).unwrap();
        self.client.reader().read_exact(&mut answer).unwrap();
        (&heard, &answer) == (b"ping", b"pong")
    }

    pub fn server_id(&self) -> SpiffeId {
        peer_id(self.client.peer_certificates().unwrap_or_default()).unwrap()
    }

    pub fn client_id(&self) -> Result<SpiffeId, PeerError> {
        peer_id(self.server.peer_certificates().unwrap_or_default())
    }

    /// The leaf that the server presented.
    pub fn server_leaf(&self) -> Vec<u8> {
        self.client.peer_certificates().unwrap()[0].to_vec()
    }

    pub fn was_resumed(&self) -> bool {
        self.client.handshake_kind() == Some(HandshakeKind::Resumed)
    }

    fn carry(&mut self) -> Result<(), Failure> {
        loop {
            let mut sent = Vec::new();
            while self.client.wants_write() {
                self.client.write_tls(&mut sent).unwrap();
            }
            let mut answered = Vec::new();
            while self.server.wants_write() {
                self.server.write_tls(&mut answered).unwrap();
            }
            if sent.is_empty() && answered.is_empty() {
                return Ok(());
            }
            let mut rest = sent.as_slice();
            while !rest.is_empty() {
                self.server.read_tls(&mut rest).unwrap();
                self.server.process_new_packets().map_err(Failure::Server)?;
            }
            let mut rest = answered.as_slice();
            while !rest.is_empty() {
                self.client.read_tls(&mut rest).unwrap();
                self.client.process_new_packets().map_err(Failure::Client)?;
            }
        }
    }
}
