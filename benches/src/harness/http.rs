//! One HTTP/1.1 request at a time, for readiness and for seeing a reload in an answer.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Everything before the body.
    pub head: String,
}

impl Answer {
    /// The first value of that field.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

/// Sends a request in clear text on a connection of its own.
///
/// # Errors
/// When there is no answer within some seconds.
pub fn send(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &str,
) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    stream.set_write_timeout(Some(DEADLINE))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| *name == "host") {
        request += &format!("host: {address}\r\n");
    }
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += &format!("content-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer)?;
    parse(&answer)
}

fn parse(answer: &[u8]) -> Result<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, _) = text.split_once("\r\n\r\n").context("no whole answer")?;
    let status = head.split_whitespace().nth(1).context("no status")?;
    Ok(Answer {
        status: status.parse().context("no status")?,
        head: head.to_owned(),
    })
}

const DEADLINE: Duration = Duration::from_secs(20);
const ANSWER_BYTES_MAX: u64 = 1024 * 1024;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::parse;

    #[test]
    fn status_and_fields_are_read() {
        let answer = parse(b"HTTP/1.1 204 No Content\r\nX-Generation: 7\r\n\r\n").unwrap();
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("x-generation"), Some("7"));
        assert_eq!(answer.header("x-other"), None);
        assert!(parse(b"HTTP/1.1 200").is_err());
        assert!(parse(b"nothing\r\n\r\n").is_err());
    }
}
