//! Whether the application answers: asked again and again, told when it changes.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::header::{CONNECTION, HOST, USER_AGENT};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

/// How the application is asked.
#[derive(Clone, Debug)]
pub(crate) struct Application {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// The path that answers below 400; without one, accepting a connection is enough.
    pub(crate) path: Option<String>,
}

impl Application {
    /// Asks for as long as anybody wants to know. It counts as well from the first answer on, and
    /// as ill after [`FAILURES_MAX`] failures in a row.
    pub(crate) async fn follow(self, healthy: watch::Sender<bool>) {
        let mut failures = 0;
        loop {
            let answers = timeout(ANSWER_TIME_MAX, self.answers())
                .await
                .unwrap_or(false);
            failures = if answers { 0 } else { failures + 1 };
            let well = answers || (*healthy.borrow() && failures < FAILURES_MAX);
            let changed = healthy.send_if_modified(|was| std::mem::replace(was, well) != well);
            if changed && well {
                tracing::info!(application = %self.address, "the application answers");
            } else if changed {
                tracing::warn!(application = %self.address, "the application does not answer");
            }
            let pause = if answers { PAUSE_WELL } else { PAUSE_ILL };
            tokio::select! {
                () = sleep(pause) => {}
                () = healthy.closed() => return,
            }
        }
    }

    async fn answers(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.address).await else {
            return false;
        };
        let Some(path) = &self.path else { return true };
        let request = Request::get(path)
            .header(HOST, self.address.to_string())
            .header(
                USER_AGENT,
                concat!("weir-health/", env!("CARGO_PKG_VERSION")),
            )
            .header(CONNECTION, "close")
            .body(Empty::<Bytes>::new());
        let (Ok(request), Ok((mut sender, connection))) =
            (request, http1::handshake(TokioIo::new(stream)).await)
        else {
            return false;
        };
        let mut answer = std::pin::pin!(sender.send_request(request));
        // The connection moves only while it is driven; the body does not matter.
        let answer = tokio::select! {
            answer = &mut answer => answer,
            _ended = connection => answer.await,
        };
        answer.is_ok_and(|answer| answer.status().as_u16() < 400)
    }
}

/// A slow answer is none: requests would wait as well.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(2);
const PAUSE_WELL: Duration = Duration::from_secs(2);
/// Soon, because applications that start or restart are waited for.
const PAUSE_ILL: Duration = Duration::from_millis(200);
/// One failure may be a hiccup.
const FAILURES_MAX: u32 = 2;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use weir_testkit::upstream::{Reply, Upstream};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn becomes(watch: &mut watch::Receiver<bool>, wanted: bool) {
        timeout(DEADLINE, watch.wait_for(|now| *now == wanted))
            .await
            .unwrap()
            .unwrap();
    }

    #[tokio::test]
    async fn accepting_is_enough_without_a_path_and_the_status_counts_with_one() {
        let upstream = Upstream::start(Reply::status(500));
        let (accepts, mut accepting) = watch::channel(false);
        let plain = Application {
            address: upstream.addr(),
            path: None,
        };
        tokio::spawn(plain.clone().follow(accepts));
        becomes(&mut accepting, true).await;

        let asked = Application {
            path: Some("/health".to_owned()),
            ..plain
        };
        assert!(!asked.answers().await);
        upstream.set_script(Reply::status(204));
        let (well, mut wellness) = watch::channel(false);
        tokio::spawn(asked.follow(well));
        becomes(&mut wellness, true).await;
        drop(upstream);
        becomes(&mut wellness, false).await;
        becomes(&mut accepting, false).await;
    }
}
