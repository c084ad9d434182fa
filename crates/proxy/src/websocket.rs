//! WebSocket between versions of HTTP: HTTP/1.1 asks with `Upgrade` (RFC 6455), HTTP/2 with an
//! extended CONNECT (RFC 8441). Policy and the exchange know the first form only; here the other
//! one is turned into it, and back.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use h2::ext::Protocol;
use http::header::{
    CONNECTION, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE,
};
use http::{Method, StatusCode, Version, request, response};

use crate::clock::Dice;

/// What a request for a WebSocket has to be answered with.
#[derive(Debug)]
pub(crate) struct WebSocket {
    /// What an HTTP/1.1 endpoint answers to the key that it is sent.
    accept: Option<HeaderValue>,
    /// The client asked in HTTP/2.
    extended: bool,
}

/// Turns an extended CONNECT for a WebSocket into the request that HTTP/1.1 would have. Says
/// whether it was one.
pub(crate) fn adopt(head: &mut request::Parts, dice: &Dice) -> bool {
    let wanted = head.method == Method::CONNECT
        && head.version == Version::HTTP_2
        && head
            .extensions
            .get::<Protocol>()
            .is_some_and(|protocol| protocol.as_str().eq_ignore_ascii_case(WEBSOCKET));
    if !wanted {
        return false;
    }
    head.method = Method::GET;
    let headers = &mut head.headers;
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    let key: u128 = (u128::from(dice.draw()) << 64) | u128::from(dice.draw());
    // Base64 always makes a header value.
    if let Ok(key) = HeaderValue::try_from(BASE64_STANDARD.encode(key.to_be_bytes())) {
        headers.insert(SEC_WEBSOCKET_KEY, key);
    }
    true
}

/// The request as an HTTP/2 endpoint wants it.
pub(crate) fn extend(head: &mut request::Parts) {
    head.method = Method::CONNECT;
    let headers = &mut head.headers;
    for name in [UPGRADE, CONNECTION, SEC_WEBSOCKET_KEY] {
        headers.remove(name);
    }
    head.extensions.insert(Protocol::from_static(WEBSOCKET));
}

impl WebSocket {
    /// Remembers what was asked for; `extended` for a request that was adopted.
    pub(crate) fn new(headers: &HeaderMap, extended: bool) -> Self {
        Self {
            accept: headers.get(SEC_WEBSOCKET_KEY).and_then(accept),
            extended,
        }
    }

    /// The response of an HTTP/2 endpoint becomes that of HTTP/1.1.
    pub(crate) fn received_extended(&self, head: &mut response::Parts) {
        if head.status.is_success() {
            head.status = StatusCode::SWITCHING_PROTOCOLS;
            head.headers
                .insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
            if let Some(accept) = &self.accept {
                head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept.clone());
            }
        }
    }

    /// Whether an endpoint may have answered so. Of the key that Weir made it must have read it;
    /// a client that sent its own looks for itself. Where the client has asked in HTTP/2, success
    /// without a switch would look like one to it.
    pub(crate) fn is_plausible(&self, head: &response::Parts) -> bool {
        if !self.extended {
            return true;
        }
        match head.status {
            StatusCode::SWITCHING_PROTOCOLS => {
                head.headers.get(SEC_WEBSOCKET_ACCEPT) == self.accept.as_ref()
            }
            status => !status.is_success(),
        }
    }

    /// What the client gets, in its own version.
    pub(crate) fn settle(&self, head: &mut response::Parts) {
        if self.extended && head.status == StatusCode::SWITCHING_PROTOCOLS {
            head.status = StatusCode::OK;
            for name in [UPGRADE, CONNECTION, SEC_WEBSOCKET_ACCEPT] {
                head.headers.remove(name);
            }
        }
    }
}

/// `Sec-WebSocket-Accept` for a key (RFC 6455, 4.2.2).
fn accept(key: &HeaderValue) -> Option<HeaderValue> {
    let text = [key.as_bytes(), ACCEPT_SUFFIX].concat();
    let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, &text);
    HeaderValue::try_from(BASE64_STANDARD.encode(hash)).ok()
}

const WEBSOCKET: &str = "websocket";
const ACCEPT_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use http::Request;

    use super::*;

    #[test]
    fn the_key_of_the_standard_is_accepted_as_there() {
        let key = HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept(&key).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_an_extended_connect_for_a_websocket_is_adopted() {
        let head = |method: Method, version, protocol: Option<&'static str>| {
            let mut request = Request::new(());
            *request.method_mut() = method;
            *request.version_mut() = version;
            if let Some(protocol) = protocol {
                request
                    .extensions_mut()
                    .insert(Protocol::from_static(protocol));
            }
            request.into_parts().0
        };
        let table = [
            (Method::CONNECT, Version::HTTP_2, Some("websocket"), true),
            (Method::CONNECT, Version::HTTP_2, Some("connect-udp"), false),
            (Method::CONNECT, Version::HTTP_2, None, false),
            (Method::CONNECT, Version::HTTP_11, Some("websocket"), false),
            (Method::GET, Version::HTTP_2, Some("websocket"), false),
        ];
        for (method, version, protocol, adopted) in table {
            let mut head = head(method.clone(), version, protocol);
            assert_eq!(
                adopt(&mut head, &Dice::new()),
                adopted,
                "{method} {protocol:?}"
            );
            assert_eq!(head.method == Method::GET, adopted || method == Method::GET);
        }
    }

    #[test]
    fn an_answer_to_another_key_is_not_believed() {
        let mut headers = HeaderMap::new();
        headers.insert(
            SEC_WEBSOCKET_KEY,
            HeaderValue::from_static("dGhlIHNhbXBsZSBub25jZQ=="),
        );
        let socket = WebSocket::new(&headers, true);
        let mut head = http::Response::new(()).into_parts().0;
        assert!(!socket.is_plausible(&head), "200 is no switch");
        head.status = StatusCode::FORBIDDEN;
        assert!(socket.is_plausible(&head));
        head.status = StatusCode::SWITCHING_PROTOCOLS;
        assert!(!socket.is_plausible(&head), "no key");
        let accept = HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        head.headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
        assert!(socket.is_plausible(&head));
        socket.settle(&mut head);
        assert_eq!(head.status, StatusCode::OK);
        assert!(head.headers.is_empty());
    }
}
