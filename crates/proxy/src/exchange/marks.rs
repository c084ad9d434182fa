//! What every answer carries, whoever wrote it: the id of its request, and which page may read it.

use http::{HeaderMap, HeaderValue, Response};
use weir_policy::pipeline::{self, Admitted, Grant};
use weir_policy::refusal::Refusal;
use weir_policy::snapshot::RouteId;

use super::head::identified;
use crate::body::Reply;
use crate::worker::Entry;

/// The marks of one exchange, known once it was admitted or refused.
#[derive(Debug, Clone)]
pub(super) struct Marks {
    request_id: HeaderValue,
    /// Which page may read the answer, where the route has a say in that.
    grant: Option<(RouteId, Grant)>,
}

impl Marks {
    /// Those of a request with these header fields.
    pub(super) fn new(
        entry: &Entry,
        admitted: &Result<Admitted, Refusal>,
        headers: &HeaderMap,
        request_id: HeaderValue,
    ) -> Self {
        let route = match admitted {
            Ok(admitted) => Some(admitted.route),
            Err(refusal) => refusal.known.route,
        };
        let grant = route.and_then(|route| {
            let grant = pipeline::grant(&entry.installed.snapshot, route, headers)?;
            Some((route, grant))
        });
        Self { request_id, grant }
    }

    /// Marks an answer; `own`: no service has written it.
    pub(super) fn on(
        self,
        entry: &Entry,
        mut response: Response<Reply>,
        own: bool,
    ) -> Response<Reply> {
        if let Some((route, grant)) = self.grant {
            let headers = response.headers_mut();
            pipeline::share(&entry.installed.snapshot, route, grant, headers, own);
        }
        identified(response, self.request_id)
    }
}
