//! Closes connections whose phase has lasted too long.

use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::http::HttpError;
use super::{ClientConnection, Phase};
use crate::alarm::Alarm;
use crate::clock;
use crate::worker::{Bounds, Leaving};

/// What is to be done about a connection.
pub(super) enum Verdict {
    /// Drop it now.
    Abort(&'static str),
    /// Let it end in order.
    ShutDown,
    /// Let it sleep, if it can.
    Sleep,
}

/// Watches the phases of one connection.
pub(super) struct Watch {
    pub(super) connection: Rc<ClientConnection>,
    alarm: Option<Alarm>,
    head_since: Option<u64>,
    /// When a busy connection was last looked at.
    looked: u64,
    asleep: bool,
    /// Since when it had been idle when it was last put to sleep.
    slept: Option<u64>,
    /// It could not sleep, and is not asked to before.
    sleeps_again: u64,
    /// Why the connection was told to end, and until when it may take.
    closing: Option<(&'static str, u64)>,
}

impl Watch {
    pub(super) fn new(connection: Rc<ClientConnection>) -> Self {
        Self {
            connection,
            alarm: None,
            head_since: None,
            looked: 0,
            asleep: false,
            slept: None,
            sleeps_again: 0,
            closing: None,
        }
    }

    fn bounds(&self) -> &Bounds {
        &self.connection.entry.bounds
    }

    pub(super) fn register(&self, cx: &Context<'_>) {
        let mut driver = self.connection.driver.borrow_mut();
        if driver
            .as_ref()
            .is_none_or(|waker| !waker.will_wake(cx.waker()))
        {
            *driver = Some(cx.waker().clone());
        }
    }

    /// Whether an HTTP/2 connection is to say GOAWAY now. HTTP/1.1 says it with its next response,
    /// or when it has been idle for a moment: a request may be on its way already.
    pub(super) fn goes_away(&mut self) -> bool {
        let leaving = self.connection.http2 && self.closing.is_none();
        match self.connection.leaving.get().filter(|_| leaving) {
            Some(_) => {
                self.closing = Some(("drained", u64::MAX));
                true
            }
            None => false,
        }
    }

    pub(super) fn reason(&self, error: Option<&HttpError>) -> &'static str {
        if let Some(abuse) = self.connection.meter.abuse() {
            return abuse.reason();
        }
        match (self.closing, error) {
            (Some((reason, _)), _) => reason,
            (None, _) if self.connection.body_fault().is_some() => "refused",
            (None, _) if self.connection.is_leaving() => "drained",
            (None, Some(error)) => of_error(error),
            (None, None) => "client",
        }
    }

    /// The connection was told to sleep, and does so, or could not.
    pub(super) fn sleeps(&mut self, asleep: bool) {
        if asleep {
            self.connection.worker.slept();
            self.slept = Some(self.connection.idle_since.get());
        } else {
            let now = self.connection.worker.clock.now().nanos;
            self.sleeps_again = now + clock::nanos(SLEEP_AFTER);
        }
    }

    /// Counts the connection among those that sleep, or not.
    pub(super) fn asleep(&mut self, asleep: bool) {
        if self.asleep != asleep {
            self.asleep = asleep;
            let connection = &self.connection;
            let change = if asleep { 1 } else { -1 };
            let gauge = &connection.entry.metrics.asleep;
            gauge.add(connection.worker.index, change);
        }
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Verdict> {
        loop {
            let phase = self.connection.phase();
            let until = self.until(phase);
            let when = clock::instant(until);
            let worker = &self.connection.worker;
            let alarm = self.alarm.get_or_insert_with(|| worker.alarms.take(when));
            std::task::ready!(alarm.poll_same_task(when, cx));
            let now = worker.clock.now().nanos;
            if let Some((reason, _)) = self.closing {
                return Poll::Ready(Verdict::Abort(reason));
            }
            match phase {
                Phase::Busy => {
                    let blocked = self.connection.meter.blocked_since();
                    let idle = clock::nanos(self.bounds().idle_timeout);
                    if blocked.is_some_and(|since| now.saturating_sub(since) >= idle) {
                        self.connection.too_slow.set(true);
                        return Poll::Ready(Verdict::Abort("stalled"));
                    }
                    let slow_at = self
                        .connection
                        .meter
                        .too_slow_at(self.bounds().client_rate_min);
                    if slow_at.is_some_and(|at| now >= at) {
                        self.connection.too_slow.set(true);
                        return Poll::Ready(Verdict::Abort("slow"));
                    }
                    self.looked = now;
                }
                Phase::Lingering(_) => return Poll::Ready(Verdict::Abort(self.reason(None))),
                Phase::Head => return Poll::Ready(Verdict::Abort("header-timeout")),
                Phase::Idle if now >= self.sleeps_at() && now < self.idle_until() => {
                    return Poll::Ready(Verdict::Sleep);
                }
                Phase::Idle => {
                    let reason = if self.connection.is_leaving() {
                        "drained"
                    } else if self.connection.exchanges.get() == 0 {
                        "header-timeout"
                    } else {
                        "idle"
                    };
                    self.closing = Some((reason, now + clock::nanos(SHUT_DOWN_TIME_MAX)));
                    return Poll::Ready(Verdict::ShutDown);
                }
            }
        }
    }

    /// When this phase has lasted too long.
    fn until(&mut self, phase: Phase) -> u64 {
        let connection = &self.connection;
        if let Some((_, until)) = self.closing
            && until != u64::MAX
        {
            return until;
        }
        let idle = clock::nanos(self.bounds().idle_timeout);
        match phase {
            Phase::Busy => {
                self.head_since = None;
                match connection.meter.blocked_since() {
                    Some(since) => {
                        let slow_at = connection.meter.too_slow_at(self.bounds().client_rate_min);
                        since.saturating_add(idle).min(slow_at.unwrap_or(u64::MAX))
                    }
                    // Any far time will do: it is looked at again when the alarm rings.
                    None => connection
                        .idle_since
                        .get()
                        .max(self.looked)
                        .saturating_add(idle),
                }
            }
            Phase::Lingering(since) => since.saturating_add(clock::nanos(LINGER_TIME_MAX)),
            Phase::Head => {
                let worker = &connection.worker;
                let since = *self
                    .head_since
                    .get_or_insert_with(|| worker.clock.now().nanos);
                since.saturating_add(clock::nanos(self.bounds().header_timeout))
            }
            Phase::Idle => {
                self.head_since = None;
                self.idle_until().min(self.sleeps_at())
            }
        }
    }

    fn idle_until(&self) -> u64 {
        let connection = &self.connection;
        let since = connection.idle_since.get();
        match connection.leaving.get() {
            Some((Leaving::Process, at)) => {
                since.max(at).saturating_add(clock::nanos(LEAVE_IDLE_AFTER))
            }
            // Whoever connects has something to ask.
            _ if connection.exchanges.get() == 0 => {
                since.saturating_add(clock::nanos(self.bounds().header_timeout))
            }
            _ => since.saturating_add(clock::nanos(self.bounds().idle_timeout)),
        }
    }

    /// When an idle connection may sleep.
    fn sleeps_at(&self) -> u64 {
        let connection = &self.connection;
        let since = connection.idle_since.get();
        let fit = !connection.http2
            && self.closing.is_none()
            && self.slept != Some(since)
            && connection.exchanges.get() > 0
            && connection.meter.blocked_since().is_none();
        match fit {
            true => self.sleeps_again.max(since + clock::nanos(SLEEP_AFTER)),
            false => u64::MAX,
        }
    }
}

/// What the HTTP/2 library found fault with, where it is not [`Meter::abuse`]; other errors are
/// those of the network.
///
/// [`Meter::abuse`]: crate::wire::Meter::abuse
fn of_error(error: &HttpError) -> &'static str {
    let found = match error {
        HttpError::Http1(_) => None,
        HttpError::Http2(error) => Some(error).filter(|found| !found.is_remote()),
    };
    match found.and_then(h2::Error::reason) {
        Some(_) => "http2-protocol",
        None => "error",
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.asleep(false);
        if let Some(alarm) = self.alarm.take() {
            self.connection.worker.alarms.give(alarm);
        }
    }
}

/// An idle HTTP/1.1 connection is closed this long after the process began to drain.
pub(crate) const LEAVE_IDLE_AFTER: Duration = Duration::from_secs(1);
/// An HTTP/1 connection that has been idle for so long gives its buffers back. Shorter, and one
/// that asks every now and then would build them anew for each request.
const SLEEP_AFTER: Duration = Duration::from_secs(1);
/// A client that is still sending gets this long to hear the last answer.
const LINGER_TIME_MAX: Duration = Duration::from_secs(2);
/// How long an orderly end may take.
const SHUT_DOWN_TIME_MAX: Duration = Duration::from_secs(5);
