//! Upgraded connections and streams (WebSocket): once policy, endpoint and client agree, both sides
//! are joined byte by byte.
//!
//! A joined connection is pinned to nothing of the configuration; it counts as an exchange until it
//! ends, so that draining waits for it.

use std::cell::Cell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use weir_telemetry::termination::Termination;

use crate::clock::{self, Clock};
use crate::pool::Line;
use crate::record::Ledger;

/// Joins both sides once hyper lets go of them.
pub(crate) fn join(
    client: OnUpgrade,
    endpoint: OnUpgrade,
    line: Line,
    mut ledger: Box<Ledger>,
    idle: Duration,
) {
    tokio::task::spawn_local(async move {
        // A stream counts as one until its end.
        let _line = line;
        let (client, endpoint) = match tokio::try_join!(client, endpoint) {
            Ok(both) => both,
            Err(error) => {
                tracing::debug!(%error, "upgrade came to nothing");
                ledger.ended(Termination::ClientGoneBeforeResponse);
                return;
            }
        };
        let (termination, bytes) = tunnel(client, endpoint, &ledger, idle).await;
        ledger.end(termination, bytes);
    });
}

async fn tunnel(
    client: Upgraded,
    endpoint: Upgraded,
    ledger: &Ledger,
    idle: Duration,
) -> (Termination, u64) {
    let worker = ledger.worker();
    let moved = Rc::new(Cell::new(worker.clock.now().nanos));
    let watched = |io| Watched {
        io: TokioIo::new(io),
        moved: Rc::clone(&moved),
        clock: Rc::clone(&worker.clock),
        bytes: 0,
    };
    let (mut client, mut endpoint) = (watched(client), watched(endpoint));
    let mut alarm = worker.alarms.take(clock::instant(moved.get()) + idle);
    let silence = poll_fn(|cx| {
        loop {
            let seen = moved.get();
            ready!(alarm.poll(clock::instant(seen) + idle, cx));
            if moved.get() == seen {
                return Poll::Ready(());
            }
        }
    });
    let copied = tokio::io::copy_bidirectional_with_sizes(
        &mut client,
        &mut endpoint,
        TUNNEL_BUFFER_BYTES,
        TUNNEL_BUFFER_BYTES,
    );
    let termination = tokio::select! {
        biased;
        result = copied => match result {
            Ok(_) => Termination::Upgraded,
            Err(_) => Termination::ClientGoneDuringBody,
        },
        () = silence => Termination::UpstreamStalled,
    };
    worker.alarms.give(alarm);
    (termination, endpoint.bytes)
}

/// One side of a tunnel: remembers when it last moved and how much it read.
struct Watched {
    io: TokioIo<Upgraded>,
    moved: Rc<Cell<u64>>,
    clock: Rc<Clock>,
    bytes: u64,
}

impl Watched {
    fn moved(&self) {
        self.moved.set(self.clock.now().nanos);
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.io).poll_read(cx, buf))?;
        self.bytes += (buf.filled().len() - before) as u64;
        self.moved();
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.io).poll_write(cx, buf))?;
        self.moved();
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Copied at once in each direction.
const TUNNEL_BUFFER_BYTES: usize = 16 * 1024;
