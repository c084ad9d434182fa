//! Reading HTTP/1.1 requests without understanding more than their framing.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use super::record::{BODY_BYTES_KEPT, Recorded};
use super::serve::Transport;

/// A connection with what has been read too far.
pub(super) struct Reader<S> {
    pub(super) stream: S,
    pub(super) buffer: BytesMut,
}

impl<S: Transport> Reader<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            buffer: BytesMut::new(),
        }
    }

    /// The next head, or nothing at an orderly end between two requests.
    pub(super) async fn head(&mut self, connection: u64) -> io::Result<Option<Recorded>> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut request = httparse::Request::new(&mut headers);
            let parsed = request.parse(&self.buffer).map_err(invalid)?;
            if let httparse::Status::Complete(length) = parsed {
                let recorded = record(&request, connection);
                self.buffer.advance(length);
                return Ok(Some(recorded));
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("a head that never ends"));
            }
            if self.fill().await? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(cut_off())
                };
            }
        }
    }

    /// Reads the body of that head into the record.
    pub(super) async fn body(&mut self, request: &mut Recorded) -> io::Result<()> {
        let mut kept = BytesMut::new();
        if is_chunked(request) {
            loop {
                let line = self.line().await?;
                let size = line.split(';').next().unwrap_or_default().trim();
                let size = u64::from_str_radix(size, 16).map_err(invalid)?;
                if size == 0 {
                    break;
                }
                self.bytes(size, &mut kept, request).await?;
                if !self.line().await?.is_empty() {
                    return Err(invalid("a chunk longer than it said"));
                }
            }
            loop {
                let line = self.line().await?;
                if line.is_empty() {
                    break;
                }
                let (name, value) = line.split_once(':').ok_or_else(|| invalid("a trailer"))?;
                request
                    .trailers
                    .push((name.to_owned(), value.trim().to_owned()));
            }
        } else if let Some(length) = request.header("content-length") {
            let length = length.parse().map_err(invalid)?;
            self.bytes(length, &mut kept, request).await?;
        }
        request.body = kept.freeze();
        request.is_complete = true;
        Ok(())
    }

    /// Whether the head announces a body at all.
    pub(super) fn has_body(request: &Recorded) -> bool {
        is_chunked(request)
            || request
                .header("content-length")
                .is_some_and(|value| value != "0")
    }

    async fn bytes(
        &mut self,
        count: u64,
        kept: &mut BytesMut,
        request: &mut Recorded,
    ) -> io::Result<()> {
        let mut left = count;
        while left > 0 {
            if self.buffer.is_empty() && self.fill().await? == 0 {
                return Err(cut_off());
            }
            let here = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(self.buffer.len());
            let piece = self.buffer.split_to(here);
            let room = BODY_BYTES_KEPT.saturating_sub(kept.len());
            kept.extend_from_slice(&piece[..here.min(room)]);
            request.body_bytes += here as u64;
            left -= here as u64;
        }
        Ok(())
    }

    async fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\r\n") {
                let line: Bytes = self.buffer.split_to(end + 2).freeze();
                return Ok(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if self.buffer.len() > HEAD_BYTES_MAX {
                return Err(invalid("a line that never ends"));
            }
            if self.fill().await? == 0 {
                return Err(cut_off());
            }
        }
    }

    async fn fill(&mut self) -> io::Result<usize> {
        self.buffer.reserve(16 * 1024);
        self.stream.read_buf(&mut self.buffer).await
    }
}

fn record(request: &httparse::Request<'_, '_>, connection: u64) -> Recorded {
    let header = |header: &httparse::Header<'_>| {
        (
            header.name.to_owned(),
            String::from_utf8_lossy(header.value).into_owned(),
        )
    };
    Recorded {
        index: 0,
        connection,
        method: request.method.unwrap_or_default().to_owned(),
        path: request.path.unwrap_or_default().to_owned(),
        version: if request.version == Some(0) {
            "HTTP/1.0"
        } else {
            "HTTP/1.1"
        },
        headers: request.headers.iter().map(header).collect(),
        trailers: Vec::new(),
        body: Bytes::new(),
        body_bytes: 0,
        is_complete: false,
    }
}

fn is_chunked(request: &Recorded) -> bool {
    let encoding = request.header("transfer-encoding").unwrap_or_default();
    encoding.to_ascii_lowercase().ends_with("chunked")
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn cut_off() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

const HEADERS_MAX: usize = 256;
const HEAD_BYTES_MAX: usize = 1024 * 1024;
