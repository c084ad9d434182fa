//! What the origin answers with, ready to be sent.

use std::collections::HashMap;
use std::time::SystemTime;

use bytes::Bytes;

use crate::load::{grpc_message, pattern};

/// Bodies by their names.
#[derive(Debug)]
pub struct Bodies {
    by_path: HashMap<String, Body>,
    other: Body,
}

/// One of them.
#[derive(Clone, Debug)]
pub struct Body {
    /// Content alone.
    pub content: Bytes,
    /// HTTP/1.1 head and content.
    pub http1: Bytes,
    /// Length of that head, bytes.
    pub http1_head: usize,
}

/// A name that is no size.
#[derive(Debug, thiserror::Error)]
#[error("body {0:?} is no size: use bytes, or kibibytes as in 100k, up to 16384k")]
pub struct SizeError(String);

impl Bodies {
    /// `1k` is 1,024 bytes at /1k.
    ///
    /// # Errors
    /// A name that is no size.
    pub fn new(names: &[String]) -> Result<Self, SizeError> {
        let by_path = names
            .iter()
            .map(|name| Ok((format!("/{name}"), Body::new(size(name)?))))
            .collect::<Result<_, SizeError>>()?;
        Ok(Self {
            by_path,
            other: Body::new(OTHER_BYTES),
        })
    }

    /// Content of that name.
    #[must_use]
    pub fn content(&self, name: &str) -> Bytes {
        self.at(&format!("/{name}")).content.clone()
    }

    /// What a path, with or without a query, gets.
    #[must_use]
    pub fn at(&self, target: &str) -> &Body {
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        self.by_path.get(path).unwrap_or(&self.other)
    }
}

impl Body {
    fn new(length: usize) -> Self {
        let content = Bytes::from(pattern(length));
        // As many fields as a file server sends; none that let anybody cache.
        let date = httpdate::fmt_http_date(SystemTime::now());
        let head = format!(
            "HTTP/1.1 200 OK\r\nserver: weir-bench-origin\r\ndate: {date}\r\n\
             content-type: text/plain\r\ncontent-length: {length}\r\n\
             cache-control: no-store\r\netag: \"{length}\"\r\n\r\n"
        );
        let http1_head = head.len();
        let mut http1 = head.into_bytes();
        http1.extend_from_slice(&content);
        Self {
            content,
            http1: http1.into(),
            http1_head,
        }
    }
}

/// The body of every answer to a gRPC call.
#[must_use]
pub fn grpc_reply() -> Bytes {
    grpc_message(&pattern(GRPC_BYTES))
}

fn size(name: &str) -> Result<usize, SizeError> {
    let (digits, unit) = match name.strip_suffix('k') {
        Some(digits) => (digits, 1024),
        None => (name, 1),
    };
    digits
        .parse::<usize>()
        .ok()
        .and_then(|count| count.checked_mul(unit))
        .filter(|&length| length <= BODY_BYTES_MAX)
        .ok_or_else(|| SizeError(name.to_owned()))
}

/// Of paths without a body of their own.
const OTHER_BYTES: usize = 1024;
/// The message of a gRPC answer.
const GRPC_BYTES: usize = 128;
const BODY_BYTES_MAX: usize = 16 << 20;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn paths_have_bodies_of_their_size() {
        let bodies = Bodies::new(&["1k".into(), "100k".into(), "7".into()]).unwrap();
        for (target, length) in [
            ("/1k", 1024),
            ("/100k?x=/7", 102_400),
            ("/7", 7),
            ("/else", 1024),
        ] {
            let body = bodies.at(target);
            assert_eq!(body.content.len(), length);
            assert_eq!(body.http1[body.http1_head..], body.content);
        }
        assert!(Bodies::new(&["16384k".into()]).is_ok());
        for name in ["16385k", "1m", "", "k"] {
            assert!(Bodies::new(&[name.into()]).is_err(), "{name}");
        }
    }
}
