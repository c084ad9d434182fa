//! Interim responses on their way: from where an endpoint's answers are read, through the exchange
//! ([`Relay`]), to the client ([`Recipient`]), in order, before the head of the response.

use std::cell::Cell;
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
    /// Whether it gets any.
    reached: bool,
    told: Cell<u32>,
}

impl Recipient {
    /// The client of a request that came by a connection of this listener, in this version.
    pub(crate) fn of(entry: &Entry, version: Version) -> Self {
        let snapshot = &entry.installed.snapshot;
        Self {
            reached: interim::reach(snapshot, entry.listener, version),
            told: Cell::new(0),
        }
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
        if !self.recipient.reached || !interim::is_passed_on(status) {
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
        let mut response = Response::new(());
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        let taken = self.connection.tell(response);
        if taken {
            Ok(())
        } else {
            Err(Dropped::ClientBusy)
        }
    }
}

/// Label of those that a client gets.
const PASSED_ON: &str = "passed-on";
