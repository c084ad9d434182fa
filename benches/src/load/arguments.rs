//! The command line of `weir-load`, and the plan it means.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, ValueEnum};
use http::{HeaderName, HeaderValue, Method, header};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};

use crate::load::connect::tls_config;
use crate::load::expectation::{Content, Expectation};
use crate::load::plan::{Plan, Protocol, Request, Tls, Usage};
use crate::websocket::{self, write_frame};

/// Makes verified requests from one thread and prints one JSON object about them.
#[derive(Clone, Debug, Parser)]
#[command(name = "weir-load")]
pub struct Arguments {
    /// What to speak.
    #[arg(long, value_enum)]
    protocol: ProtocolName,
    /// Address and port to connect to.
    #[arg(long)]
    target: SocketAddr,
    /// TLS 1.3 with X25519 and AES-128-GCM, without resumption.
    #[arg(long)]
    tls: bool,
    /// PEM file of the authorities to trust; without it the system's.
    #[arg(long, requires = "tls")]
    ca: Option<PathBuf>,
    /// Name to ask for and to verify; without it that of --host, or the target's address.
    #[arg(long, requires = "tls")]
    server_name: Option<String>,
    /// How many connections.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    connections: u32,
    /// Requests at a time on each connection (h2).
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    streams: u32,
    /// Method; without it GET, with a body or --grpc POST.
    #[arg(long)]
    method: Option<Method>,
    /// Path.
    #[arg(long, default_value = "/")]
    path: String,
    /// File with one path per line, used in turn.
    #[arg(long, conflicts_with = "path")]
    paths_file: Option<PathBuf>,
    /// Host (h2: authority); without it the target.
    #[arg(long)]
    host: Option<String>,
    /// One more field, 'name: value', in place of a default one of that name; may be given again.
    #[arg(long = "header", value_parser = field)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// File with the body; with --grpc the message, which gets its prefix.
    #[arg(long)]
    body_file: Option<PathBuf>,
    /// A body of so many bytes; with --grpc a message of so many bytes.
    #[arg(long, conflicts_with = "body_file")]
    body_bytes: Option<u32>,
    /// Unary calls (h2): grpc-status must be 0.
    #[arg(long)]
    grpc: bool,
    /// A new connection for each request, with a full handshake.
    #[arg(long)]
    new_connection: bool,
    /// Length of the messages (ws), bytes.
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(..=1_048_576))]
    message_bytes: u32,
    /// Open all connections, make one request on each, hold them; --duration counts from then on.
    #[arg(long, conflicts_with_all = ["new_connection", "rate"])]
    idle: bool,
    /// Requests per second over all connections; latency counts from the intended moment.
    #[arg(long, value_parser = rate)]
    rate: Option<f64>,
    /// Seconds that count.
    #[arg(long, value_parser = seconds)]
    duration: Duration,
    /// Seconds before, of which errors alone count.
    #[arg(long, default_value = "0", value_parser = seconds)]
    warm_up: Duration,
    /// Seconds for one request, the opening of its connection included.
    #[arg(long, default_value = "10", value_parser = seconds)]
    timeout: Duration,
    /// The status of every response.
    #[arg(long, default_value_t = 200)]
    expect_status: u16,
    /// Length of every response's content.
    #[arg(long)]
    expect_bytes: Option<u64>,
    /// SHA-256 of every response's content, hexadecimal.
    #[arg(long, value_parser = sha256, conflicts_with = "expect_file")]
    expect_sha256: Option<[u8; 32]>,
    /// File with every response's content.
    #[arg(long)]
    expect_file: Option<PathBuf>,
    /// Another status that counts, with any content; may be given again.
    #[arg(long)]
    tolerate_status: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ProtocolName {
    H1,
    H2,
    Ws,
}

/// Why the arguments mean nothing; always the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum ArgumentError {
    /// Two that do not go together.
    #[error("{0}")]
    Conflict(&'static str),
    /// A file that cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Its path.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
    /// A host or path that HTTP does not allow.
    #[error("host {host:?} with path {path:?}: {error}")]
    Http {
        /// The host.
        host: String,
        /// The path.
        path: String,
        /// Why.
        error: http::Error,
    },
    /// Authorities that cannot be trusted.
    #[error("{0}; name a PEM file with --ca")]
    Trust(String),
    /// A name that is neither a DNS name nor an address.
    #[error("server name {0:?} is neither a DNS name nor an address; use --server-name")]
    ServerName(String),
}

impl Arguments {
    /// Reads the files and encodes the requests.
    ///
    /// # Errors
    /// What cannot be read or does not go together.
    pub fn plan(&self) -> Result<Plan, ArgumentError> {
        let protocol = match self.protocol {
            ProtocolName::H1 => Protocol::Http1,
            ProtocolName::H2 => Protocol::Http2 { is_grpc: self.grpc },
            ProtocolName::Ws => Protocol::WebSocket,
        };
        let is_http2 = self.protocol == ProtocolName::H2;
        let is_message = self.protocol == ProtocolName::Ws;
        for (is_wrong, text) in [
            (self.grpc && !is_http2, "--grpc needs --protocol h2"),
            (
                self.streams > 1 && !is_http2,
                "--streams needs --protocol h2",
            ),
            (
                is_message && self.new_connection,
                "--new-connection is for h1 and h2",
            ),
        ] {
            if is_wrong {
                return Err(ArgumentError::Conflict(text));
            }
        }
        let message = is_message.then(|| pattern(self.message_bytes as usize));
        Ok(Plan {
            protocol,
            target: self.target,
            tls: if self.tls {
                Some(self.tls(protocol)?)
            } else {
                None
            },
            connections: self.connections as usize,
            streams: self.streams as usize,
            requests: self.requests(message.as_deref())?,
            expectation: self.expectation(message)?,
            usage: match (self.idle, self.new_connection) {
                (true, _) => Usage::Idle,
                (false, true) => Usage::New,
                (false, false) => Usage::KeepAlive,
            },
            rate: self.rate,
            warm_up: self.warm_up,
            duration: self.duration,
            timeout: self.timeout,
        })
    }

    fn tls(&self, protocol: Protocol) -> Result<Tls, ArgumentError> {
        let roots = match &self.ca {
            Some(path) => CertificateDer::pem_slice_iter(&read(path)?)
                .collect::<Result<_, _>>()
                .map_err(|error| ArgumentError::Trust(format!("{}: {error}", path.display())))?,
            None => rustls_native_certs::load_native_certs().certs,
        };
        let config =
            tls_config(roots, protocol).map_err(|error| ArgumentError::Trust(error.to_string()))?;
        let name = match (&self.server_name, &self.host) {
            (Some(name), _) => name.clone(),
            (None, Some(host)) => host
                .rsplit_once(':')
                .map_or(host.as_str(), |(name, _)| name)
                .to_owned(),
            (None, None) => self.target.ip().to_string(),
        };
        Ok(Tls {
            config: Arc::new(config),
            name: ServerName::try_from(name.clone())
                .map_err(|_| ArgumentError::ServerName(name))?,
        })
    }

    fn requests(&self, message: Option<&[u8]>) -> Result<Vec<Request>, ArgumentError> {
        let paths = match &self.paths_file {
            None => vec![self.path.clone()],
            Some(path) => {
                let text = String::from_utf8_lossy(&read(path)?).into_owned();
                text.lines().map(str::to_owned).collect()
            }
        };
        if paths.is_empty() {
            return Err(ArgumentError::Conflict("--paths-file has no line"));
        }
        let body = self.body()?;
        paths
            .iter()
            .map(|path| match (self.protocol, message) {
                (ProtocolName::Ws, Some(message)) => {
                    let mut frame = Vec::new();
                    write_frame(websocket::BINARY, Some(MASK), message, &mut frame);
                    Ok(Request::Message {
                        upgrade: self.http1_request(path, &[])?,
                        frame: frame.into(),
                    })
                }
                (ProtocolName::H2, _) => self.http2_request(path, body.clone()),
                (ProtocolName::H1 | ProtocolName::Ws, _) => {
                    self.http1_request(path, &body).map(Request::Bytes)
                }
            })
            .collect()
    }

    fn body(&self) -> Result<Bytes, ArgumentError> {
        let content = match (&self.body_file, self.body_bytes) {
            (Some(path), _) => read(path)?,
            (None, Some(length)) => pattern(length as usize),
            (None, None) => Vec::new(),
        };
        Ok(if self.grpc {
            grpc_message(&content)
        } else {
            content.into()
        })
    }

    fn host(&self) -> String {
        self.host.clone().unwrap_or_else(|| self.target.to_string())
    }

    fn method(&self, has_body: bool) -> Method {
        let without = if has_body { Method::POST } else { Method::GET };
        self.method.clone().unwrap_or(without)
    }

    /// All but the host; a field of the command line takes the place of ours.
    fn fields(&self, body_bytes: usize) -> Vec<(HeaderName, HeaderValue)> {
        let mut fields = vec![
            (header::USER_AGENT, HeaderValue::from_static("weir-load")),
            (header::ACCEPT, HeaderValue::from_static("*/*")),
        ];
        let mut add = |name, value| fields.push((name, HeaderValue::from_static(value)));
        if self.grpc {
            add(header::CONTENT_TYPE, "application/grpc");
            add(header::TE, "trailers");
        }
        if self.protocol == ProtocolName::Ws {
            add(header::CONNECTION, "Upgrade");
            add(header::UPGRADE, "websocket");
            add(header::SEC_WEBSOCKET_VERSION, "13");
            add(header::SEC_WEBSOCKET_KEY, websocket::KEY);
        }
        if self.new_connection && self.protocol == ProtocolName::H1 {
            add(header::CONNECTION, "close");
        }
        if body_bytes > 0 && !self.grpc {
            fields.push((header::CONTENT_LENGTH, body_bytes.into()));
        }
        fields.retain(|(name, _)| self.headers.iter().all(|(given, _)| given != name));
        fields.extend(self.headers.iter().cloned());
        fields
    }

    fn http1_request(&self, path: &str, body: &[u8]) -> Result<Bytes, ArgumentError> {
        // What cannot be said in HTTP is found the same way as in HTTP/2.
        self.http2_request(path, Bytes::new())?;
        let mut bytes = format!(
            "{} {path} HTTP/1.1\r\nhost: {}\r\n",
            self.method(!body.is_empty()),
            self.host(),
        )
        .into_bytes();
        for (name, value) in self.fields(body.len()) {
            bytes.extend_from_slice(name.as_str().as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(value.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b"\r\n");
        bytes.extend_from_slice(body);
        Ok(bytes.into())
    }

    fn http2_request(&self, path: &str, body: Bytes) -> Result<Request, ArgumentError> {
        let scheme = if self.tls { "https" } else { "http" };
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(self.host())
            .path_and_query(path)
            .build();
        let mut builder = uri
            .map(|uri| http::Request::builder().uri(uri))
            .map_err(|error| ArgumentError::Http {
                host: self.host(),
                path: path.to_owned(),
                error,
            })?
            .method(self.method(!body.is_empty()));
        for (name, value) in self.fields(body.len()) {
            builder = builder.header(name, value);
        }
        let head = builder.body(()).map_err(|error| ArgumentError::Http {
            host: self.host(),
            path: path.to_owned(),
            error,
        })?;
        Ok(Request::Http2(head, body))
    }

    fn expectation(&self, message: Option<Vec<u8>>) -> Result<Expectation, ArgumentError> {
        let content = match (message, &self.expect_file, self.expect_sha256) {
            (Some(message), _, _) => Content::Exactly(message.into()),
            (None, Some(path), _) => Content::Exactly(read(path)?.into()),
            (None, None, Some(hash)) => Content::Sha256(hash),
            (None, None, None) => Content::Any,
        };
        Ok(Expectation {
            status: self.expect_status,
            tolerated: self.tolerate_status.clone(),
            bytes: self.expect_bytes,
            content,
        })
    }
}

/// A message with gRPC's prefix: uncompressed, and its length.
#[must_use]
pub fn grpc_message(content: &[u8]) -> Bytes {
    let length = u32::try_from(content.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(5 + content.len());
    bytes.push(0);
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(content);
    bytes.into()
}

/// Text of that length in which no two neighbouring pieces are alike: a byte in the wrong place
/// shows, and compression gains little.
#[must_use]
pub fn pattern(length: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    (0..length)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            LETTERS[usize::from(state.to_le_bytes()[0] & 63)]
        })
        .collect()
}

fn read(path: &Path) -> Result<Vec<u8>, ArgumentError> {
    std::fs::read(path).map_err(|error| ArgumentError::File {
        path: path.to_owned(),
        error,
    })
}

fn field(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text
        .split_once(':')
        .ok_or("a field is 'name: value'".to_owned())?;
    let name = name.trim().parse().map_err(|error| format!("{error}"))?;
    let value = HeaderValue::from_str(value.trim()).map_err(|error| error.to_string())?;
    Ok((name, value))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.0..=86_400.0).contains(&number) {
        return Err("between 0 and 86400 seconds".to_owned());
    }
    Ok(Duration::from_secs_f64(number))
}

fn rate(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if !(0.001..=10_000_000.0).contains(&number) {
        return Err("between 0.001 and 10000000 requests per second".to_owned());
    }
    Ok(number)
}

fn sha256(text: &str) -> Result<[u8; 32], String> {
    let wrong = || "64 hexadecimal digits".to_owned();
    if text.len() != 64 || !text.is_ascii() {
        return Err(wrong());
    }
    let mut hash = [0; 32];
    for (byte, at) in hash.iter_mut().zip((0..64).step_by(2)) {
        *byte = u8::from_str_radix(&text[at..at + 2], 16).map_err(|_| wrong())?;
    }
    Ok(hash)
}

/// Any mask does; a peer must not skip the work.
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];
