//! The streams of an HTTP/2 connection: each is a task of its own, and is reset when its client
//! takes nothing of its response for too long while the connection lives on.
//!
//! A stream asks its body for the next frame as soon as the client's window has room for one. So a
//! stream whose body has last given a frame, and that waits, waits for its client. Only then is
//! there a timer.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

use weir_telemetry::termination::Termination;

use crate::alarm::Alarm;
use crate::body::{Polled, take_polled};
use crate::clock;
use crate::worker::Worker;

/// Runs the streams of one connection on the worker's own thread.
#[derive(Debug, Clone)]
pub(super) struct StreamExec {
    pub(super) worker: Rc<Worker>,
    /// How long a client may take nothing.
    pub(super) idle: Duration,
}

impl StreamExec {
    pub(super) fn run(&self, future: impl Future + 'static) {
        let Self { worker, idle } = self.clone();
        tokio::task::spawn_local(async move {
            let mut stream = pin!(Some(future));
            // Since when it waits for its client, nanoseconds.
            let mut since = None;
            let mut alarm: Option<Alarm> = None;
            poll_fn(|cx| {
                let Some(running) = stream.as_mut().as_pin_mut() else {
                    return Poll::Ready(());
                };
                // What another stream's body has said.
                take_polled();
                if running.poll(cx).is_ready() {
                    return Poll::Ready(());
                }
                match take_polled() {
                    Some(Polled::Frame) => since = Some(worker.clock.now().nanos),
                    Some(Polled::Pending) => since = None,
                    None => {}
                }
                let Some(since) = since else {
                    return Poll::Pending;
                };
                let when = clock::instant(since.saturating_add(clock::nanos(idle)));
                let alarm = alarm.get_or_insert_with(|| worker.alarms.take(when));
                ready!(alarm.poll(when, cx));
                // The library resets a stream that is dropped on the way.
                worker.ends_as.set(Some(Termination::ClientTimeout));
                stream.set(None);
                worker.ends_as.set(None);
                Poll::Ready(())
            })
            .await;
            if let Some(alarm) = alarm {
                worker.alarms.give(alarm);
            }
        });
    }
}
