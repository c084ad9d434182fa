//! Interim responses on their way: from what reads an endpoint's answers ([`Interim`]) through the
//! exchange ([`Relay`]) to the client ([`Recipient`]), in order, before the head of the response.
//!
//! The reader is another task than the exchange, and must not wait for it: what it tells is kept
//! for a moment, in bounds, and the exchange passes it on while it waits for the head.

use std::cell::Cell;
use std::fmt::Write;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;

use futures_util::task::AtomicWaker;
use http::{HeaderMap, StatusCode, Version};
use weir_config::bounds::INTERIM_RESPONSES_MAX;
use weir_policy::pipeline::interim::{self, Dropped};
use weir_policy::snapshot::{RouteId, ServiceId};

use crate::serve::ClientConnection;
use crate::worker::Entry;

/// Takes the interim responses of one attempt from whoever reads them. Of one thread only; what it
/// is made of is for the `Send` that hyper asks of a callback.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interim(Arc<Mailbox>);

#[derive(Debug, Default)]
struct Mailbox {
    mail: Mutex<Mail>,
    /// Who passes it on.
    waker: AtomicWaker,
}

/// What has come and is not passed on yet.
#[derive(Debug, Default)]
struct Mail {
    heads: Vec<(StatusCode, HeaderMap)>,
    /// How many of the attempt were kept, and how many were not, for their size and their number.
    kept: u32,
    too_large: u32,
    too_many: u32,
}

impl Interim {
    /// A response that is not the last one has come.
    pub(crate) fn tell(&self, status: StatusCode, headers: &HeaderMap) {
        if !interim::is_passed_on(status) {
            return;
        }
        let mut mail = self.0.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if mail.kept >= INTERIM_RESPONSES_MAX {
            mail.too_many += 1;
        } else if interim::fits(headers) {
            mail.kept += 1;
            mail.heads.push((status, headers.clone()));
        } else {
            mail.too_large += 1;
        }
        drop(mail);
        self.0.waker.wake();
    }

    /// What has come since; wakes `waker` when more does.
    fn collect(&self, waker: &Waker) -> Option<Mail> {
        self.0.waker.register(waker);
        let mut mail = self.0.mail.lock().unwrap_or_else(PoisonError::into_inner);
        if mail.heads.is_empty() && mail.too_large == 0 && mail.too_many == 0 {
            return None;
        }
        let kept = mail.kept;
        Some(std::mem::replace(
            &mut *mail,
            Mail {
                kept,
                ..Mail::default()
            },
        ))
    }
}

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
            false if reached => Form::Http1,
            _ => Form::Nobody,
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
    /// What is to be given to the reader of an attempt's answer, where anybody wants to know.
    pub(crate) fn listen(&self) -> Option<Interim> {
        self.recipient.is_reached().then(Interim::default)
    }

    /// Passes on what has come; wakes `waker` when more does.
    pub(crate) fn pass_on(&self, from: &Interim, waker: &Waker) {
        let Some(mail) = from.collect(waker) else {
            return;
        };
        let metrics = self.entry.installed.metrics(self.service);
        metrics.interim(Dropped::TooLarge.as_str(), mail.too_large);
        metrics.interim(Dropped::TooMany.as_str(), mail.too_many);
        for (status, headers) in mail.heads {
            let outcome = match self.tell(status, headers) {
                Ok(()) => PASSED_ON,
                Err(dropped) => dropped.as_str(),
            };
            metrics.interim(outcome, 1);
        }
    }

    fn tell(&self, status: StatusCode, mut headers: HeaderMap) -> Result<(), Dropped> {
        // Attempts before this one may have had some.
        let told = self.recipient.told.get();
        if told >= INTERIM_RESPONSES_MAX {
            return Err(Dropped::TooMany);
        }
        self.recipient.told.set(told + 1);
        let snapshot = &self.entry.installed.snapshot;
        interim::settle(snapshot, self.route, Version::HTTP_11, &mut headers);
        let taken = match &self.recipient.form {
            Form::Http1 => self.connection.tell_between(&encoded(status, &headers)),
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
    use weir_config::bounds::INTERIM_HEADER_BYTES_MAX;

    use super::*;

    fn link(bytes: usize) -> HeaderMap {
        let value = HeaderValue::from_str(&"x".repeat(bytes)).unwrap_or(HeaderValue::from(0));
        HeaderMap::from_iter([(LINK, value)])
    }

    #[test]
    fn what_is_told_is_bounded_in_number_and_size() {
        let interim = Interim::default();
        let room = INTERIM_HEADER_BYTES_MAX - LINK.as_str().len() - 4;
        interim.tell(StatusCode::CONTINUE, &link(1));
        interim.tell(StatusCode::OK, &link(1));
        interim.tell(StatusCode::EARLY_HINTS, &link(room));
        interim.tell(StatusCode::EARLY_HINTS, &link(room + 1));
        let mail = interim.collect(Waker::noop()).unwrap_or_default();
        assert_eq!((mail.heads.len(), mail.too_large, mail.too_many), (1, 1, 0));
        assert!(interim.collect(Waker::noop()).is_none());
        for _ in 1..INTERIM_RESPONSES_MAX {
            interim.tell(StatusCode::PROCESSING, &HeaderMap::new());
        }
        let mail = interim.collect(Waker::noop()).unwrap_or_default();
        assert_eq!((mail.heads.len(), mail.too_many), (15, 0));
        interim.tell(StatusCode::PROCESSING, &HeaderMap::new());
        let mail = interim.collect(Waker::noop()).unwrap_or_default();
        assert_eq!((mail.heads.len(), mail.too_many), (0, 1));
    }

    #[test]
    fn heads_are_written_as_http_1_1() {
        let head = encoded(StatusCode::EARLY_HINTS, &link(2));
        assert_eq!(head, b"HTTP/1.1 103 Early Hints\r\nlink: xx\r\n\r\n");
    }
}
