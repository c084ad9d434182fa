//! Interim responses on their way: from where an endpoint's answers are read, through the exchange
//! ([`Relay`]), to the client ([`Recipient`]), in order, before the head of the response.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;

use http::{HeaderMap, Response, StatusCode, Version};
use weir_config::bounds::INTERIM_RESPONSES_MAX;
use weir_policy::pipeline::interim::{self, Dropped};
use weir_policy::snapshot::{RouteId, ServiceId};

use crate::serve::ClientConnection;
use crate::worker::Entry;

/// How the client of one exchange gets interim responses, and how many it got.
#[derive(Debug, Default)]
pub(crate) struct Recipient {
    form: Form,
    told: Cell<u32>,
}

#[derive(Debug, Default)]
enum Form {
    /// Between the bytes of its HTTP/1 connection.
    Http1,
    /// On its HTTP/2 stream.
    Http2,
    /// Not at all.
    #[default]
    Nobody,
}

impl Recipient {
    /// The client of a request that came by this connection, in this version.
    pub(crate) fn of(connection: &ClientConnection, entry: &Entry, version: Version) -> Self {
        let snapshot = &entry.installed.snapshot;
        let reached = interim::reach(snapshot, entry.listener, version);
        let form = match connection.http2 {
            _ if !reached => Form::Nobody,
            false => Form::Http1,
            true => Form::Http2,
        };
        Self {
            form,
            told: Cell::new(0),
        }
    }

    /// Whether it makes sense to listen for interim responses.
    fn is_reached(&self) -> bool {
        !matches!(self.form, Form::Nobody)
    }
}

/// What passes on the interim responses of an exchange.
#[derive(Debug)]
pub(crate) struct Relay<'a> {
    pub(crate) connection: &'a Rc<ClientConnection>,
    pub(crate) entry: &'a Entry,
    pub(crate) route: RouteId,
    pub(crate) service: ServiceId,
    pub(crate) recipient: &'a Recipient,
}

impl Relay<'_> {
    /// A response that is not the last one has come.
    pub(crate) fn hear(&self, status: StatusCode, version: Version, headers: HeaderMap) {
        if !self.recipient.is_reached() || !interim::is_passed_on(status) {
            return;
        }
        let outcome = match self.tell(status, version, headers) {
            Ok(()) => PASSED_ON,
            Err(dropped) => dropped.as_str(),
        };
        let metrics = self.entry.installed.metrics(self.service);
        metrics.interim(outcome, 1);
    }

    fn tell(
        &self,
        status: StatusCode,
        version: Version,
        mut headers: HeaderMap,
    ) -> Result<(), Dropped> {
        if !interim::fits(&headers) {
            return Err(Dropped::TooLarge);
        }
        // Attempts before this one may have had some.
        let told = self.recipient.told.get();
        if told >= INTERIM_RESPONSES_MAX {
            return Err(Dropped::TooMany);
        }
        self.recipient.told.set(told + 1);
        let snapshot = &self.entry.installed.snapshot;
        interim::settle(snapshot, self.route, version, &mut headers);
        let taken = match &self.recipient.form {
            Form::Http1 => self.connection.tell_between(&encoded(status, &headers)),
            Form::Http2 => {
                let mut response = Response::new(());
                *response.status_mut() = status;
                *response.headers_mut() = headers;
                self.connection.tell_stream(response)
            }
            Form::Nobody => false,
        };
        if taken {
            Ok(())
        } else {
            Err(Dropped::ClientBusy)
        }
    }
}

/// The head as HTTP/1.1 writes it.
fn encoded(status: StatusCode, headers: &HeaderMap) -> Vec<u8> {
    let mut line = String::with_capacity(LINE_BYTES);
    let reason = status.canonical_reason().unwrap_or_default();
    // Writing into a text cannot fail.
    let _ = write!(line, "HTTP/1.1 {} {reason}\r\n", status.as_u16());
    let mut head = line.into_bytes();
    for (name, value) in headers {
        head.extend_from_slice(name.as_str().as_bytes());
        head.extend_from_slice(b": ");
        head.extend_from_slice(value.as_bytes());
        head.extend_from_slice(b"\r\n");
    }
    head.extend_from_slice(b"\r\n");
    head
}

/// Label of those that a client gets.
const PASSED_ON: &str = "passed-on";
/// Room for the head of one link.
const LINE_BYTES: usize = 256;

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use http::header::LINK;

    use super::*;

    fn link(bytes: usize) -> HeaderMap {
        let value = HeaderValue::from_str(&"x".repeat(bytes)).unwrap_or(HeaderValue::from(0));
        HeaderMap::from_iter([(LINK, value)])
    }

    #[test]
    fn heads_are_written_as_http_1_1() {
        let head = encoded(StatusCode::EARLY_HINTS, &link(2));
        assert_eq!(head, b"HTTP/1.1 103 Early Hints\r\nlink: xx\r\n\r\n");
    }
}
