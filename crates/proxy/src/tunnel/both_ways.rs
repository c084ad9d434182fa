//! Both directions of a tunnel, until each has ended, one side breaks, or nothing moves.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};

use super::flow::Flow;
use crate::alarm::Alarm;
use crate::clock;
use crate::worker::Worker;

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Both sides ended and had everything.
    Whole,
    /// The client broke it off.
    Client,
    /// The endpoint broke it off; `answered` when what it had to say is whole, and it only did not
    /// take everything.
    Endpoint { answered: bool },
    /// Nothing moved for too long.
    Idle,
}

/// Copies both ways; tells `moved` how many bytes have come from the client, and from the
/// endpoint, in all, whenever that has changed.
pub(crate) async fn both_ways<C, E>(
    worker: &Rc<Worker>,
    client: &mut C,
    endpoint: &mut E,
    idle: Duration,
    mut moved: impl FnMut(u64, u64),
) -> End
where
    C: AsyncRead + AsyncWrite + Unpin,
    E: AsyncRead + AsyncWrite + Unpin,
{
    let (mut up, mut down) = (Flow::default(), Flow::default());
    let mut last = worker.clock.now().nanos;
    let mut alarm: Option<Alarm> = None;
    let end = poll_fn(|cx| {
        let mut scratch = worker.scratch();
        let before = (up.bytes, down.bytes);
        let sent = up.poll(cx, client, endpoint, &mut scratch);
        let answered = down.poll(cx, endpoint, client, &mut scratch);
        drop(scratch);
        if before != (up.bytes, down.bytes) {
            last = worker.clock.now().nanos;
            moved(up.bytes, down.bytes);
        }
        let broke = |error, end| {
            tracing::debug!(%error, ?end, "a tunnel broke");
            Poll::Ready(end)
        };
        match (sent, answered) {
            (Poll::Ready(Err(error)), _) => return broke(error, End::Client),
            (_, Poll::Ready(Err(error))) => return broke(error, End::Endpoint { answered: false }),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => {
                return Poll::Ready(match (up.is_cut(), down.is_cut()) {
                    (_, true) => End::Client,
                    (true, false) => End::Endpoint { answered: true },
                    (false, false) => End::Whole,
                });
            }
            _ => {}
        }
        let when = clock::instant(last) + idle;
        let alarm = alarm.get_or_insert_with(|| worker.alarms.take(when));
        alarm.poll(when, cx).map(|()| End::Idle)
    })
    .await;
    if let Some(alarm) = alarm {
        worker.alarms.give(alarm);
    }
    end
}
