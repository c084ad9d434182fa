//! Heads of HTTP/1.1 as the proxies by hand read and write them: bodies have a content length, and
//! everything else is refused.

/// What a request's head means.
pub struct RequestHead {
    /// Bytes of the head.
    pub length: usize,
    /// Bytes of the body.
    pub body: u64,
    /// The response to it has no body.
    pub is_head: bool,
    /// The client's connection ends with it.
    pub is_last: bool,
    /// As it leaves.
    pub outgoing: Vec<u8>,
}

impl RequestHead {
    /// The head at the beginning of what was received from the client of that address; none while
    /// it has not ended.
    ///
    /// # Errors
    /// The status to refuse it with.
    pub fn parse(bytes: &[u8], client: &str) -> Result<Option<Self>, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut request = httparse::Request::new(&mut fields);
        let length = match request.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("400 Bad Request"),
        };
        let (Some(method), Some(path)) = (request.method, request.path) else {
            return Err("400 Bad Request");
        };
        if request.version != Some(1) || method == "CONNECT" {
            return Err("501 Not Implemented");
        }
        let mut outgoing = Vec::with_capacity(length + 64);
        for piece in [method, " ", path, " HTTP/1.1\r\n"] {
            outgoing.extend_from_slice(piece.as_bytes());
        }
        let (mut body, mut is_last) = (None, false);
        for field in request.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("connection") {
                is_last |= field.value.eq_ignore_ascii_case(b"close");
                continue;
            }
            if is("transfer-encoding") || is("upgrade") || is("expect") {
                return Err("501 Not Implemented");
            }
            if is("content-length") && body.replace(number(field.value)?).is_some() {
                return Err("400 Bad Request");
            }
            for piece in [field.name.as_bytes(), b": ", field.value, b"\r\n"] {
                outgoing.extend_from_slice(piece);
            }
        }
        for piece in ["x-forwarded-for: ", client, "\r\n\r\n"] {
            outgoing.extend_from_slice(piece.as_bytes());
        }
        Ok(Some(Self {
            length,
            body: body.unwrap_or(0),
            is_head: method == "HEAD",
            is_last,
            outgoing,
        }))
    }
}

/// What a response's head means; it is forwarded as it is.
pub struct ResponseHead {
    /// Bytes of the head.
    pub length: usize,
    /// Bytes of the body.
    pub body: u64,
    /// The upstream's connection ends with it.
    pub is_last: bool,
}

impl ResponseHead {
    /// The head at the beginning of what was received; none while it has not ended.
    ///
    /// # Errors
    /// The status to answer the client with.
    pub fn parse(bytes: &[u8], is_head: bool) -> Result<Option<Self>, &'static str> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(_) => return Err("502 Bad Gateway"),
        };
        let is_empty = is_head || matches!(response.code, Some(204 | 304));
        let (mut body, mut is_last) = (None, response.version != Some(1));
        for field in response.headers.iter() {
            let is = |name: &str| field.name.eq_ignore_ascii_case(name);
            if is("content-length") {
                body = Some(number(field.value)?);
            }
            is_last |= is("connection") && field.value.eq_ignore_ascii_case(b"close");
            if is("transfer-encoding") {
                return Err("501 Not Implemented");
            }
        }
        let body = if is_empty { Some(0) } else { body };
        let Some(body) = body.filter(|_| response.code.is_some_and(|code| code >= 200)) else {
            return Err("501 Not Implemented");
        };
        Ok(Some(Self {
            length,
            body,
            is_last,
        }))
    }
}

/// The smaller of the two.
pub fn at_most(count: usize, left: u64) -> usize {
    usize::try_from(left).map_or(count, |left| left.min(count))
}

fn number(value: &[u8]) -> Result<u64, &'static str> {
    let is_digits = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| is_digits)
        .and_then(|text| text.parse().ok())
        .ok_or("400 Bad Request")
}

/// Longest head, in bytes; a longer one is refused.
pub const HEAD_BYTES_MAX: usize = 16 * 1024;
const FIELDS_MAX: usize = 64;
