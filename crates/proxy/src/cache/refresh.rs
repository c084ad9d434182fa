//! Fetching again what is served stale meanwhile (RFC 5861, `stale-while-revalidate`).

use http::Request;
use weir_policy::snapshot::ServiceId;

use super::fill;
use super::visit::{Received, Visit};
use crate::body::Patience;
use crate::own;

/// Fetches what a visit holds again, behind the client's back. It leads the fetch, so there is one
/// at a time.
pub(super) fn start(mut visit: Box<Visit>, service: ServiceId) {
    visit.leave_client();
    tokio::task::spawn_local(async move {
        let (worker, installed) = visit.runs_on();
        let mut head = Request::new(()).into_parts().0;
        head.uri = visit.target();
        head.headers = visit.sends();
        let plan = installed.snapshot.service(service).timeouts;
        let answer = own::fetch(&worker, &installed, service, head).await;
        let now = worker.clock.now();
        let Some((answer, line)) = answer else {
            visit.failed(now);
            return;
        };
        let (head, incoming) = answer.into_parts();
        let length = http_body::Body::size_hint(&incoming).exact();
        match visit.received(&head, length, now) {
            Received::Fill(sink, _) => {
                let patience = Patience {
                    idle: plan.idle,
                    total_until: None,
                    // What is larger than can be stored is not read further.
                    bytes_max: u64::MAX,
                };
                fill::start(sink, (incoming, line), patience, None).leave();
            }
            Received::Answer(_) if http_body::Body::is_end_stream(&incoming) => {
                line.finish(worker.clock.recent());
                worker.sweep_later();
            }
            Received::Answer(_) | Received::Pass(_) | Received::Refuse(_) => {}
        }
    });
}
