//! The life of a connection: a task that drives it, and one that asks the endpoint whether it lives
//! when it has been silent for long although streams are open.

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::Connection;
use h2::{Ping, PingPong};
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::connect::Counted;
use crate::wire::{Meter, Wire};

/// What the tasks of a connection and its exchanges tell each other.
#[derive(Debug, Default)]
pub(super) struct Signs {
    /// Exchanges that have the connection.
    pub(super) streams: Cell<u32>,
    /// Somebody wants to know that the endpoint has said what it has to say.
    asked: Notify,
    answered: Notify,
}

impl Signs {
    /// Waits until the endpoint has answered, so that everything it has sent before is known.
    pub(super) async fn ask(&self, wait: Duration) {
        let answered = self.answered.notified();
        self.asked.notify_one();
        // Without an answer in time, what is known will do.
        let _ = timeout(wait, answered).await;
    }
}

/// Drives a connection until it ends, in tasks of their own.
pub(super) fn spawn(
    mut connection: Connection<Wire, Bytes>,
    signs: Rc<Signs>,
    meter: Rc<Meter>,
    counted: Counted,
) {
    let pings = connection.ping_pong();
    let progress = Rc::clone(&meter);
    let mut driver = tokio::task::spawn_local(async move {
        let _counted = counted;
        let ended = poll_fn(|cx| {
            meter.polled();
            Pin::new(&mut connection).poll(cx)
        });
        if let Err(error) = ended.await {
            tracing::debug!(%error, "connection to an endpoint ended");
        }
    });
    // A connection that has just been made has its pings.
    let Some(pings) = pings else { return };
    tokio::task::spawn_local(async move {
        tokio::select! {
            biased;
            _ = &mut driver => {}
            () = watch(pings, &signs, || progress.reads(), PATIENCE) => {
                tracing::debug!("connection to an endpoint is dead");
                driver.abort();
            }
        }
    });
}

/// How long silence is borne.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// How often it is looked at whether there was any.
    interval: Duration,
    /// Looks that may see silence before the endpoint is asked.
    looks: u32,
    /// How long the answer may take.
    answer: Duration,
}

/// Ends when the endpoint does not answer any more. `reads` counts what is read from it.
async fn watch(mut pings: PingPong, signs: &Signs, reads: impl Fn() -> u64, patience: Patience) {
    let (mut seen, mut silent) = (reads(), 0);
    loop {
        let asked = timeout(patience.interval, signs.asked.notified())
            .await
            .is_ok();
        let now = reads();
        if now != seen {
            (seen, silent) = (now, 0);
        } else if !asked {
            silent += 1;
        }
        let worried = silent >= patience.looks && signs.streams.get() > 0;
        if !asked && !worried {
            continue;
        }
        match timeout(patience.answer, pings.ping(Ping::opaque())).await {
            Ok(Ok(_)) => {
                silent = 0;
                signs.answered.notify_waiters();
            }
            // The connection ends by itself.
            Ok(Err(_)) => return std::future::pending().await,
            Err(_) => return,
        }
    }
}

/// A connection in use that has been silent for 30 s, or up to 10 s more, is asked whether it
/// lives.
const PATIENCE: Patience = Patience {
    interval: Duration::from_secs(10),
    looks: 3,
    answer: Duration::from_secs(10),
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use h2::client::SendRequest;
    use h2::server;
    use tokio::io::{DuplexStream, duplex};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);
    const HASTE: Patience = Patience {
        interval: Duration::from_millis(5),
        looks: 3,
        answer: Duration::from_millis(100),
    };

    /// Both ends of a connection that stands.
    async fn connected() -> (
        SendRequest<Bytes>,
        PingPong,
        server::Connection<DuplexStream, Bytes>,
    ) {
        let (near, far) = duplex(1024);
        let (client, server) =
            tokio::join!(h2::client::handshake(near), server::handshake::<_>(far));
        let (sender, mut connection) = client.unwrap();
        let pings = connection.ping_pong().unwrap();
        tokio::spawn(connection);
        (sender, pings, server.unwrap())
    }

    #[tokio::test]
    async fn who_does_not_answer_in_use_is_dead() {
        let (_sender, pings, server) = connected().await;
        let signs = Signs::default();
        let ended = watch(pings, &signs, || 0, HASTE);
        tokio::pin!(ended);
        // Nobody minds as long as there are no streams.
        let unused = timeout(Duration::from_millis(500), &mut ended).await;
        assert!(unused.is_err());
        signs.streams.set(1);
        timeout(DEADLINE, ended).await.unwrap();
        drop(server);
    }

    #[tokio::test]
    async fn who_says_something_or_answers_lives() {
        let (_sender, pings, mut server) = connected().await;
        let signs = Signs::default();
        signs.streams.set(1);
        let count = Cell::new(0);
        let talks = || {
            count.set(count.get() + 1);
            count.get()
        };
        let patience = Patience {
            answer: DEADLINE,
            ..HASTE
        };
        let ended = watch(pings, &signs, talks, patience);
        tokio::pin!(ended);
        assert!(
            timeout(Duration::from_millis(500), &mut ended)
                .await
                .is_err()
        );
        // When it is asked, it must answer, and then has answered.
        let patient = async {
            tokio::select! {
                () = ended => panic!("it lives"),
                () = signs.ask(DEADLINE) => {}
            }
        };
        let serve = async { while server.accept().await.is_some() {} };
        tokio::select! {
            () = patient => {}
            () = serve => panic!("the connection stands"),
        }
    }
}
